"""Sample new articles for the evaluation of a bundle: ones that it would score and was not trained on.

Input: articles, the bundle's filter, and the run in which the bundle was made, if known. Output: a `Sample`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from potstill.dataset.assembling import with_facts
from potstill.errors import BadInput
from potstill.prefilter import fold_all
from potstill.sampling import at_random

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from potstill.bundle.seen import SeenRows
    from potstill.filters import Filter


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A random sample of new articles.

    `articles` has the columns id, title, content, source, language, published and text (the window). `pool` is the
    number of available articles, and `left_out` counts by reason those that were excluded from sampling.
    """

    articles: pl.DataFrame
    pool: int
    left_out: dict[str, int]
    seed: int


def draw(
    articles: pl.DataFrame,
    filter_: Filter,
    n: int,
    *,
    seed: int = 0,
    seen: Collection[str] = (),
    learned: SeenRows | None = None,
) -> Sample:
    """Sample articles that a bundle with this filter would score; each distinct window occurs once.

    The result is deterministic for given articles and seed, and a larger sample contains the smaller ones.

    Args:
        articles: columns id, title, content; ids are unique.
        filter_: the bundle's filter.
        n: number of articles.
        seed: random seed for sampling.
        seen: windows that may have been used to train the bundle's student.
        learned: the bundle's own record of the rows that its student was refitted on.

    Returns:
        The sample.

    Raises:
        BadInput: there are fewer than `n` articles.
    """
    rows = with_facts(articles)
    texts = [filter_.text.of(title, content) for title, content in rows.select("title", "content").iter_rows()]
    dropped = filter_.prefilter.reasons(fold_all(texts)).is_not_null().to_list()
    if learned is not None:
        known = learned.among(rows["id"].to_list(), texts)
        seen = {*seen, *(text for text, there in zip(texts, known.tolist(), strict=True) if there)}
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
            yield "with a text that is there twice or that the bundle or its run has"
        else:
            yield None
        seen.add(text)
