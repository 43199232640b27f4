"""Findings of an audit, each from a rule that names its evidence.

In: the parts of an audit. Out: findings, the most severe first. A rule applies only if its figures are recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.audit.redundancy import in_words
from potstill.audit.repeats import REMINDER
from potstill.findings import (
    CROWDED_END,
    FREQUENT_PHRASE,
    LARGE_SOURCE_GAIN,
    LOW_SIGNAL,
    MANY_OPEN_ENDED,
    MUCH_MARKUP,
    NARROW_SPREAD,
    REPEAT_MULTIPLE,
    TRUNCATION_DIFFERENCE,
    Finding,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.audit.records import Audit

_ORDER = {"bad": 0, "caution": 1, "neutral": 2, "good": 3}


def findings_of(audit: Audit) -> tuple[Finding, ...]:
    """The findings of all rules, the most severe first."""
    found = [
        *_curve(audit),
        *_repeats(audit),
        *_redundancy(audit),
        *_spread(audit),
        *_pairs(audit),
        *_source(audit),
        *_prefilter(audit),
        *_duplicates(audit),
        *_truncation(audit),
        *_boilerplate(audit),
        *_markup(audit),
    ]
    return tuple(sorted(found, key=lambda finding: _ORDER[finding.tone]))


def _curve(audit: Audit) -> Iterator[Finding]:
    if audit.curve is not None:
        text = f"Advice: {audit.curve.advice}. {audit.curve.reason}."
        yield Finding(tone="good" if audit.curve.advice == "stop" else "caution", section="curve", text=text)


def _repeats(audit: Audit) -> Iterator[Finding]:
    found = audit.repeats
    if found is None:
        yield Finding(
            tone="caution",
            section="repeats",
            text="No article has more than one answer, so the noise floor is unknown. Label a share of the articles "
            "again with --answers 2.",
        )
        return
    noisy = [each.dimension for each in found.dimensions if each.signal is not None and each.signal < LOW_SIGNAL]
    if noisy:
        yield Finding(
            tone="caution",
            section="repeats",
            text=f"Less than {LOW_SIGNAL:.0%} of the labels' variance is signal in these dimensions: "
            f"{', '.join(noisy)}. Define them more clearly in the rubric, or label with more samples.",
        )
    yield Finding(tone="neutral", section="repeats", text=REMINDER)


def _redundancy(audit: Audit) -> Iterator[Finding]:
    found = audit.redundancy
    if found is None or found.effective is None:
        return
    yield Finding(tone="caution" if found.warning else "good", section="redundancy", text=in_words(found))


def _spread(audit: Audit) -> Iterator[Finding]:
    for text in () if audit.scores.reach is None else audit.scores.reach.unreached:
        yield Finding(tone="caution", section="scores", text=f"{text[0].upper()}{text[1:]}.")
    dimensions = [each for each in audit.scores.dimensions if each.dimension != "overall" and each.rows]
    narrow = [each.dimension for each in dimensions if each.used is not None and each.used < NARROW_SPREAD]
    if narrow:
        yield Finding(
            tone="caution",
            section="scores",
            text=f"90% of the labels lie within {NARROW_SPREAD:.0%} of the scale in these dimensions: "
            f"{', '.join(narrow)}.",
        )
    for end, name in (("at_floor", "minimum"), ("at_ceiling", "maximum")):
        crowded = [each.dimension for each in dimensions if (getattr(each, end) or 0) > CROWDED_END]
        if crowded:
            yield Finding(
                tone="caution",
                section="scores",
                text=f"More than {CROWDED_END:.0%} of the labels are at the {name} of the scale in these dimensions: "
                f"{', '.join(crowded)}.",
            )


def _pairs(audit: Audit) -> Iterator[Finding]:
    for pair in audit.pairs:
        if pair.mean_difference is None or pair.mean_bias is None:
            continue
        kinder = pair.first if pair.mean_bias > 0 else pair.second
        text = (
            f"{pair.first} and {pair.second} differ by {pair.mean_difference:.2f} on {pair.rows} articles; "
            f"{kinder} scores {abs(pair.mean_bias):.2f} higher on average."
        )
        repeat = audit.repeats.mean_difference if audit.repeats is not None else None
        if repeat is not None and pair.mean_difference > REPEAT_MULTIPLE * repeat:
            text += (
                f" That is more than {REPEAT_MULTIPLE:g} times the difference between two answers of {audit.oracle} "
                f"({repeat:.2f})."
            )
        yield Finding(tone="neutral", section="oracles", text=text)


def _source(audit: Audit) -> Iterator[Finding]:
    found = audit.baselines
    ends = found.source_gain_interval if found is not None else None
    if found is None or found.source_gain is None or ends is None:
        return
    if ends.low > 0 and found.source_gain >= LARGE_SOURCE_GAIN:
        yield Finding(
            tone="caution",
            section="baselines",
            text=f"A baseline that knows only the source removes {found.source_gain:.0%} of a constant's error, so a "
            "student may learn sources instead of texts. Evaluate it on held-out sources (potstill dataset "
            "--keep-whole source).",
        )


def _prefilter(audit: Audit) -> Iterator[Finding]:
    found = audit.prefilter
    if found is None or not found.dropped:
        return
    every = found.all
    if not every.judged or every.interval is None:
        yield Finding(
            tone="caution",
            section="prefilter",
            text=f"The prefilter drops {found.dropped} of {found.articles} articles, and the oracle judged none of the "
            "dropped ones; see --drop-sample.",
        )
        return
    text = (
        f"The oracle judged {every.judged} of the dropped articles; {every.missed} of them belong in a positive tier "
        f"(interval for all dropped articles: {every.interval.low:.1%} to {every.interval.high:.1%})."
    )
    yield Finding(tone="caution" if every.missed else "good", section="prefilter", text=text)


def _duplicates(audit: Audit) -> Iterator[Finding]:
    found = audit.duplicates
    if found is None or not found.pairs:
        return
    text = f"{found.rows} rows are near-duplicates of others, in {found.clusters} clusters"
    text += f"; {found.same_text} have exactly the same text as another row." if found.same_text else "."
    yield Finding(tone="neutral", section="duplicates", text=text)
    repeat = audit.repeats.mean_difference if audit.repeats is not None else None
    if found.difference is not None and repeat is not None and found.difference > REPEAT_MULTIPLE * repeat:
        yield Finding(
            tone="caution",
            section="duplicates",
            text=f"Labels of near-duplicates differ by {found.difference:.2f}, more than {REPEAT_MULTIPLE:g} times as "
            "much as repeated answers about one article.",
        )


def _truncation(audit: Audit) -> Iterator[Finding]:
    found = audit.truncation
    if found is None:
        return
    ends = found.difference_interval
    if found.difference is not None and ends is not None and ends.low > 0:
        yield Finding(
            tone="caution" if found.difference >= TRUNCATION_DIFFERENCE else "neutral",
            section="truncation",
            text="High-scoring articles are truncated more often than others (difference of the shares: "
            f"{found.difference:.1%}). A window longer than {found.max_chars} characters would include more of their "
            "text.",
        )
    if found.open_ended > MANY_OPEN_ENDED * found.rows:
        yield Finding(
            tone="caution",
            section="truncation",
            text=f"{found.open_ended} of {found.rows} texts were already truncated when they were imported.",
        )


def _boilerplate(audit: Audit) -> Iterator[Finding]:
    found = audit.boilerplate
    heavy = [] if found is None else [each for each in found.repeated if each.share >= FREQUENT_PHRASE]
    if heavy:
        yield Finding(
            tone="caution",
            section="boilerplate",
            text=f"{len({each.source for each in heavy})} sources repeat a phrase in at least {FREQUENT_PHRASE:.0%} of "
            "their articles.",
        )


def _markup(audit: Audit) -> Iterator[Finding]:
    found = audit.markup
    if found is None or not found.marked or found.marked < MUCH_MARKUP * found.rows:
        return
    heavy = found.taken is not None and found.taken >= MUCH_MARKUP
    text = f"{found.marked} of {found.rows} texts contain markup (HTML tags, entities or Markdown)"
    if heavy:
        text += f". In half of them it takes up at least {found.taken:.0%} of the window. Remove it before labelling"
    yield Finding(tone="caution" if heavy else "neutral", section="markup", text=f"{text}.")
