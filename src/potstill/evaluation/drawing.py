"""New articles to judge a bundle on: a random sample of those that it would score and did not learn from.

In: articles, the bundle's filter, and the run that the bundle was made in, where it is known. Out: a `Sample`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from potstill.articles import read_articles
from potstill.dataset.assembling import with_facts
from potstill.errors import BadInput
from potstill.prefilter import fold_all
from potstill.sampling import at_random

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from potstill.filters import Filter
    from potstill.runs import Run


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A random sample of new articles.

    `articles` has the columns id, title, content, source, language, published and text (the window). Of `pool`
    articles there were, `left_out` counts by reason those that were not drawn from.
    """

    articles: pl.DataFrame
    pool: int
    left_out: dict[str, int]
    seed: int


def draw(articles: pl.DataFrame, filter_: Filter, n: int, *, seed: int = 0, seen: Collection[str] = ()) -> Sample:
    """A random sample of the articles that a bundle with this filter would score, each window once.

    The same articles and seed give the same sample, and a larger one holds the smaller.

    Args:
        articles: columns id, title, content; ids are unique.
        filter_: the bundle's.
        n: how many.
        seed: of the draw.
        seen: windows that the bundle's student may have learned from.

    Raises:
        BadInput: there are fewer.
    """
    rows = with_facts(articles)
    texts = [filter_.text.of(title, content) for title, content in rows.select("title", "content").iter_rows()]
    dropped = filter_.prefilter.reasons(fold_all(texts)).is_not_null().to_list()
    reasons = list(_reasons(texts, dropped, set(seen)))
    keep = [reason is None for reason in reasons]
    left_out = {reason: reasons.count(reason) for reason in dict.fromkeys(reasons) if reason is not None}
    if sum(keep) < n:
        why = "".join(f", {count:,} {reason}" for reason, count in left_out.items())
        raise BadInput(
            f"a sample of {n:,} was asked for, and there are {sum(keep):,} articles to draw from: "
            f"{articles.height:,} in the file{why}"
        )
    kept = rows.with_columns(pl.Series("text", texts, dtype=pl.String)).filter(pl.Series(keep, dtype=pl.Boolean))
    order = at_random(kept["id"].to_list(), seed)[:n]
    return Sample(kept[order.tolist()], articles.height, left_out, seed)


def _reasons(texts: list[str], dropped: list[bool], seen: set[str]) -> Iterator[str | None]:
    for text, gone in zip(texts, dropped, strict=True):
        if not text.strip():
            yield "without text"
        elif gone:
            yield "dropped by the prefilter"
        elif text in seen:
            yield "with a text that is there twice or that the run has"
        else:
            yield None
        seen.add(text)


def seen_by(run: Run, filter_: Filter) -> set[str]:
    """The windows of a run's articles, on which its bundle cannot be judged anew."""
    path = run.path("articles")
    return {
        filter_.text.of(title, content)
        for frame in (read_articles(path) if path.exists() else ())
        for title, content in frame.select("title", "content").iter_rows()
    }
