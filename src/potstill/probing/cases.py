"""Turn behaviour tests and articles into pairs of texts whose scores are compared.

Input: the `Probes` of a filter and texts. Output: `Cases`: the distinct texts to score, and for each pair what must
hold of its scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from potstill.probing.changes import CHANGES
from potstill.sampling import at_random

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from potstill.filters import Filter, Probes

MOVES = ("ramps", "negation")
"""Tests in which the second text must score higher than the first, in one dimension."""

CHECKS = (*MOVES, "paraphrase", *CHANGES)
"""Every kind of test. In those that are not in `MOVES`, no score may move."""


class Text(NamedTuple):
    """A text, and its source if a file names one."""

    content: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """Two texts, by their places, and the kind of test; `dimension` is None for a test of every dimension."""

    check: str
    first: int
    second: int
    dimension: str | None = None


@dataclass(frozen=True, slots=True)
class Cases:
    """The distinct texts to score, and the pairs to compare.

    `unchanged` counts, for each test, the texts that it left as they were within the filter's window; they are not
    compared.
    """

    texts: tuple[Text, ...]
    cases: tuple[Case, ...]
    unchanged: dict[str, int]


def build_cases(probes: Probes, filter_: Filter, articles: Sequence[Text]) -> Cases:
    """Return all pairs of texts: those of the filter's tests, and the articles with each change.

    Args:
        probes: the tests of the filter.
        filter_: the filter, whose window is what a scorer reads of a text.
        articles: texts that are changed in ways that should not move their scores.
    """
    places: dict[Text, int] = {}
    cases: list[Case] = []
    unchanged: dict[str, int] = {}
    for check, first, second, dimension in (*_own(probes), *_changed(articles, filter_)):
        if _read(first, filter_) == _read(second, filter_):
            unchanged[check] = unchanged.get(check, 0) + 1
            continue
        ends = [places.setdefault(text, len(places)) for text in (first, second)]
        cases.append(Case(check, ends[0], ends[1], dimension))
    return Cases(tuple(places), tuple(cases), unchanged)


def _own(probes: Probes) -> Iterator[tuple[str, Text, Text, str | None]]:
    """Yield the pairs of the filter's own tests."""
    for name, ramps in probes.ramps.items():
        for ramp in ramps:
            for lower, higher in pairwise(ramp):
                yield "ramps", Text(lower), Text(higher), name
    for name, negations in probes.negations.items():
        for one in negations:
            yield "negation", Text(one.negated), Text(one.text), name
    for first, second in probes.paraphrases:
        yield "paraphrase", Text(first), Text(second), None


def _changed(articles: Sequence[Text], filter_: Filter) -> Iterator[tuple[str, Text, Text, None]]:
    """Yield each article with each change."""
    sources = sorted({article.source for article in articles if article.source})
    for article in articles:
        window = filter_.text.of("", article.content)
        for check, change in CHANGES.items():
            before, after = change(window)
            source = _next(sources, article.source) if check == "sources" else article.source
            yield check, Text(before, article.source), Text(after, source), None


def _next(sources: Sequence[str], source: str | None) -> str | None:
    """Return the source that follows in the list; None stays None."""
    return sources[(sources.index(source) + 1) % len(sources)] if source else source


def _read(text: Text, filter_: Filter) -> Text:
    return Text(filter_.text.of("", text.content), text.source)


def drawn(texts: Iterable[Text], number: int, seed: int) -> list[Text]:
    """Return a random sample of distinct texts that are not empty; a larger sample contains the smaller ones."""
    known = {text.content: text for text in texts if text.content.strip()}
    contents = list(known)
    return [known[contents[place]] for place in at_random(contents, seed)[:number].tolist()]
