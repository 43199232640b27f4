"""Read and write articles: JSONL (also .gz and .zst), CSV and Parquet, in batches; read texts, web pages and feeds.

Input: a file, a folder of texts and pages, or `-` for JSON Lines on stdin. Output: Polars data frames with the columns
`id`, `title`, `content` and all other fields of the rows, passed through unread. These are separate columns for CSV
(text), Parquet (typed), pages and feeds. For JSONL, whose lines may have different fields, they are one String column
`extra` that contains a JSON object. An invalid row stops the reading with one line that names the file, the row and the
field, because a silently skipped row would leave a gap in the user's data. Memory does not grow with the number of rows
of a file.
"""

from potstill.articles.endings import FORMATS, INPUTS, form_of
from potstill.articles.reading import (
    count_articles,
    read_all,
    read_articles,
    read_numbered,
    read_objects,
    refuse_duplicates,
)
from potstill.articles.rows import MAX_ID_CHARACTERS, MAX_TEXT_CHARACTERS, OnEmpty, article_id
from potstill.articles.tables import read_table_file
from potstill.articles.types import check_columns
from potstill.articles.writing import Writer, open_writer

__all__ = [
    "FORMATS",
    "INPUTS",
    "MAX_ID_CHARACTERS",
    "MAX_TEXT_CHARACTERS",
    "OnEmpty",
    "Writer",
    "article_id",
    "check_columns",
    "count_articles",
    "form_of",
    "open_writer",
    "read_all",
    "read_articles",
    "read_numbered",
    "read_objects",
    "read_table_file",
    "refuse_duplicates",
]
