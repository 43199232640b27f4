"""Find boilerplate: cookie notices, paywalls, and phrases that a source repeats in many articles.

Input: rows with text. Output: `Boilerplate`. Known phrases are defined in `builtin/boilerplate.yaml` and match like the
terms of a prefilter. A source's own phrases are found as sequences of words that many of its articles share.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import yaml

from potstill import metrics
from potstill.audit.records import Boilerplate, Declared, Phrase
from potstill.findings import BOILERPLATE_ARTICLES, BOILERPLATE_SHARE
from potstill.markup import readable
from potstill.metrics import number
from potstill.prefilter import TermRule, fold, fold_all, matcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from potstill.audit.labelled import Labelled

WORDS = 6
"""Length in words of the sequences that are searched for; a phrase consists of overlapping sequences."""

MOST = 30
"""Maximum number of phrases to list, the most frequent first."""

RULE = (
    f"A phrase is a sequence of at least {WORDS} words that {BOILERPLATE_ARTICLES} or more articles of a source share, "
    f"and at least {BOILERPLATE_SHARE:.0%} of them; near-duplicates count once."
)


def boilerplate_of(rows: Labelled) -> Boilerplate:
    """Find declared boilerplate in all rows, and phrases that a source repeats."""
    return Boilerplate(declared=declared(rows), repeated=_by_source(rows), rule=RULE)


def kinds() -> dict[str, TermRule]:
    """Return the known kinds of boilerplate and their terms."""
    text = files("potstill").joinpath("builtin/boilerplate.yaml").read_text(encoding="utf-8")
    return {kind: TermRule(any=tuple(terms["any"])) for kind, terms in yaml.safe_load(text).items()}


def declared(rows: Labelled) -> tuple[Declared, ...]:
    """Count the rows with each known kind, the most frequent kind first; kinds that no row has are left out."""
    frame = pl.DataFrame({"folded": fold_all(rows.texts)})
    overall = metrics.with_overall(rows.scores, rows.filter.weights)[:, -1]
    sources = rows.names("source")
    found = []
    for kind, rule in kinds().items():
        has = frame.select(matcher(rule)).to_series().to_numpy()
        if not has.any():
            continue
        by_source = Counter(source for source, here in zip(sources, has, strict=True) if here and source)
        found.append(
            Declared(
                kind=kind,
                rows=int(has.sum()),
                share=round(float(has.mean()), 6),
                overall=_mean(overall[has]),
                overall_without=_mean(overall[~has]),
                sources=tuple(name for name, _ in by_source.most_common(5)),
            )
        )
    return tuple(sorted(found, key=lambda each: -each.rows))


def repeated(texts: Sequence[str]) -> list[tuple[str, int]]:
    """Return phrases that many of one source's texts share, with their number of texts, the most frequent first."""
    wanted = max(BOILERPLATE_ARTICLES, int(np.ceil(BOILERPLATE_SHARE * len(texts))))
    if len(texts) < wanted:
        return []
    counts: Counter[tuple[str, ...]] = Counter()
    words = [fold(readable(text)).split() for text in texts]
    for row in words:
        counts.update({tuple(row[i : i + WORDS]) for i in range(len(row) - WORDS + 1)})
    common = {run: count for run, count in counts.items() if count >= wanted}
    phrases: dict[str, int] = {}
    for row in words:
        for start, end in _stretches(row, common):
            least = min(common[tuple(row[i : i + WORDS])] for i in range(start, end - WORDS + 1))
            phrases[" ".join(row[start:end])] = least
    # A phrase that is part of another one adds no information.
    ordered = sorted(phrases.items(), key=lambda item: (-len(item[0]), item[0]))
    whole: list[tuple[str, int]] = []
    for phrase, count in ordered:
        if not any(f" {phrase} " in f" {longer} " and count <= number_ for longer, number_ in whole):
            whole.append((phrase, count))
    return sorted(whole, key=lambda item: (-item[1], item[0]))


def _stretches(words: list[str], common: dict[tuple[str, ...], int]) -> list[tuple[int, int]]:
    """Return stretches of consecutive sequences with equal counts, as (first word, end of the last word)."""
    found: list[tuple[int, int]] = []
    before = 0
    for i in range(len(words) - WORDS + 1):
        count = common.get(tuple(words[i : i + WORDS]), 0)
        if count and found and count == before and found[-1][1] == i + WORDS - 1:
            found[-1] = (found[-1][0], i + WORDS)
        elif count:
            found.append((i, i + WORDS))
        before = count
    return found


def _by_source(rows: Labelled) -> tuple[Phrase, ...]:
    members: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for source, cluster, text in zip(rows.names("source"), rows.clusters.tolist(), rows.texts, strict=True):
        members[source].setdefault(cluster, text)
    found = [
        Phrase(source=source, phrase=phrase, articles=count, share=round(count / len(texts), 6))
        for source, texts in members.items()
        for phrase, count in repeated(list(texts.values()))
    ]
    return tuple(sorted(found, key=lambda each: (-each.articles, each.source, each.phrase))[:MOST])


def _mean(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float | None:
    known = values[np.isfinite(values)]
    return number(float(known.mean())) if known.size else None
