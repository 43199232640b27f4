"""Articles in and out: JSONL (also .gz and .zst), CSV and Parquet, a batch at a time; texts, web pages and feeds in.

In: a file, a folder of texts and pages, or `-` for JSON lines on stdin. Out: Polars frames with the columns `id`,
`title`, `content` and whatever else the rows held, passed through unread: as columns of their own from CSV (text),
Parquet (typed), pages and feeds, and from JSONL, whose lines may differ in their fields, as one String column `extra`
that holds a JSON object. A bad row stops the reading with one line that names the file, the row and the field, because
a row that is silently skipped is a hole in somebody's data. Memory does not grow with a file of rows.
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
from potstill.articles.rows import MAX_TEXT_CHARACTERS, OnEmpty, article_id
from potstill.articles.types import check_columns
from potstill.articles.writing import Writer, open_writer

__all__ = [
    "FORMATS",
    "INPUTS",
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
    "refuse_duplicates",
]
