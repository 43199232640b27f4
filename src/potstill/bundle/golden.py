"""Golden texts: the trainer's scores of a few texts, stored in a bundle so that it can be verified.

Input: texts and the trainer's raw scores of them. Output: JSON lines, and a check that a loaded bundle gives the same
scores. Hashes only show that a bundle is unchanged since it was written. Golden texts detect a zeroed head, two swapped
dimensions, another calibration or another tokenizer.

The texts were written for potstill, in several scripts. Others are lists of common words of the training articles,
drawn at random: these cover a student's whole vocabulary and do not reveal any article.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from pydantic import ValidationError

from potstill.bundle.deciding import LEVEL, decide_raw
from potstill.errors import BadInput, BundleError
from potstill.files import read_text
from potstill.prefilter import fold_all
from potstill.records import Part, first_fault
from potstill.students import Outputs, outputs_of
from potstill.types import Article

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from potstill.bundle.deciding import Decided
    from potstill.bundle.layout import Tolerance
    from potstill.calibration import Calibration
    from potstill.filters import Filter
    from potstill.students import Student
    from potstill.types import FloatArray

SHORT_CHARACTERS = 160
"""Maximum length, in characters, of texts that may be checked on loading; `potstill verify` checks all texts."""

SHORT_TEXTS = 6
"""Number of short texts checked: half from the start of the list, half from its end, where the word lists are."""

DISTANCE_TOLERANCE = 0.02
"""Tolerance of distances from the training texts, as a share of the usual distance."""

OUTPUT_TOLERANCE = 1e-3
"""Tolerance of tier outputs, which are between 0 and 1 for most texts: another processor rounds differently."""

_DIGITS = re.compile(r"[0-9.]+")

ODDS_TOLERANCE = 0.02
"""Tolerance of tier probabilities: a draw at the boundary of a tier may fall on either side."""

_RIVER = (
    "Volunteers in three villages spent the autumn clearing the old mill race, and by spring the river ran past the "
    "school again. The council paid for the timber; the children counted the fish. A hydrologist who had warned of "
    "floods said the new banks would hold two metres of water, half a metre more than the highest mark on the "
    "bridge. Prices of houses near the water rose, rents followed, and the tenants' union asked for a limit. "
)

_BANK = (
    "Shares of the bank lost a fifth of their value before noon, when the exchange stopped trading in them. Auditors "
    "had found 4.7 billion in loans to companies that nobody could name, and the finance minister denied on television "
    "that deposits were at risk; by evening people stood in line at the machines in nine cities. "
)

TEXTS: tuple[Article, ...] = (
    Article("library", "Town opens its first library", "Four hundred people queued in the rain on Saturday."),
    Article("markets", "", "Shares fell 4.2% after the central bank raised interest rates to 6%."),
    Article("german", "Brücke über den Fluß eröffnet", "Der Bürgermeister dankte den Ärzten und Pflegern."),
    Article("chinese", "", "市政府周二宣布了一项新的住房计划，预计将惠及两万个家庭。"),  # noqa: RUF001 - Chinese
    Article("dutch", "", "Bewoners van de wijk verzetten zich tegen de komst van een windmolenpark op zee."),
    Article("arabic", "", "أعلنت المدينة يوم الثلاثاء عن خطة جديدة لبناء مدارس في الأحياء الفقيرة."),
    Article("russian", "", "Рыбаки вернулись в порт после трёхдневного шторма, никто не пострадал."),
    Article("hindi", "", "गाँव के किसानों ने नदी पर छोटा बाँध बनाकर सूखे का सामना किया।"),
    Article("mixed", "BREAKING!!! 🙂", "see https://example.org/a?b=1&c=2 -- call 0800 123 456, e=mc², <b>bold</b>"),
    Article("point", "", "."),
    Article("long", "The river comes back", _RIVER * 40),
    Article("turn", "", _RIVER * 2 + _BANK * 4),
    Article("long-word", "", "antidisestablishmentarianism" * 60),
)
"""Written for potstill: short and long, with a change of topic, in several scripts, and nearly empty."""

_WORD = re.compile(r"\w\w+")


class Golden(Part):
    """One line of `golden.jsonl`; scores are by dimension."""

    id: str
    title: str
    content: str
    short: bool
    raw: dict[str, float]
    """The trainer's raw scores, before calibration."""
    scores: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]
    overall: float | None
    tier: str
    gates: tuple[str, ...]
    caps: tuple[str, ...]
    reason: str | None
    """Why the prefilter would drop it, or None."""
    tier_outputs: tuple[float, ...] | None = None
    """The trainer's tier outputs; None for a student without a tier head."""
    distance: float | None = None
    """The trainer's distance from the training texts; None for a student that measures none."""
    novelty: float | None = None
    """The p-value of that distance."""
    probability: float | None = None
    cut: float | None = None
    why: str | None = None
    """Why it has its tier; None in a bundle whose tiers are decided by score."""
    probabilities: dict[str, float] | None = None
    """Probability of each tier; None in a bundle without residuals, such as those of older versions."""


def word_lists(texts: Sequence[str], *, seed: int, most: int = 4000) -> list[Article]:
    """Return golden texts of common words: six lists, three of them short, of words that occur in at least three texts.

    Args:
        texts: text windows of training articles.
        seed: random seed for sampling.
        most: maximum number of texts that are used.
    """
    documents: Counter[str] = Counter()
    for text in texts[:most]:
        documents.update(set(_WORD.findall(text)))
    words = sorted(word for word, count in documents.items() if count >= 3)
    if not words:
        return []
    rng = np.random.default_rng(seed)
    # The square root draws common words more often, but less than proportionally to their frequency.
    chance = np.sqrt([documents[word] for word in words])
    chance /= chance.sum()
    return [
        Article(f"words-{number}", "", " ".join(rng.choice(words, size, p=chance)))
        for number, size in enumerate((8, 10, 12, 60, 150, 300))
    ]


def windows(articles: Iterable[Article], filter_: Filter) -> pl.DataFrame:
    """Return articles as students read them: columns id and text."""
    rows = [(article.id, filter_.text.of(article.title, article.content)) for article in articles]
    return pl.DataFrame(rows, schema={"id": pl.String, "text": pl.String}, orient="row")


def golden_of(
    articles: Sequence[Article],
    given: Outputs,
    filter_: Filter,
    calibration: Calibration,
) -> list[Golden]:
    """Build golden lines for articles.

    Args:
        articles: the golden texts.
        given: what the trainer's student says about them.
        filter_: the filter.
        calibration: the calibration.

    Raises:
        BundleError: a raw score is not finite.
    """
    names, raw, outputs = filter_.dimension_names, given.raw, given.tiers
    if not np.isfinite(raw).all():
        row, column = (int(index[0]) for index in np.nonzero(~np.isfinite(raw)))
        raise BundleError(f"golden text {articles[row].id}: the student's {names[column]} is {raw[row, column]}")
    frame = windows(articles, filter_)
    decided, reasons = _after(frame, given, filter_, calibration)
    why = _explained(decided)
    brief = [row for row, text in enumerate(frame["text"]) if len(text) <= SHORT_CHARACTERS]
    short = {*brief[: SHORT_TEXTS // 2], *brief[-(SHORT_TEXTS // 2) :]}
    return [
        Golden(
            id=article.id,
            title=article.title,
            content=article.content,
            short=row in short,
            raw=_named(names, raw[row]),
            scores=_named(names, decided.scores[row]),
            low=_named(names, decided.low[row]),
            high=_named(names, decided.high[row]),
            tier=verdict["tier"],
            overall=verdict["overall"],
            gates=tuple(verdict["gates"]),
            caps=tuple(verdict["caps"]),
            reason=reasons[row],
            tier_outputs=None if outputs is None else tuple(outputs[row].tolist()),
            distance=None if given.distances is None else float(given.distances[row]),
            novelty=None if decided.novelty is None else float(decided.novelty[row]),
            **why[row],
            probabilities=_odds(filter_.tier_names, decided, row),
        )
        for row, (article, verdict) in enumerate(zip(articles, decided.verdict.iter_rows(named=True), strict=True))
    ]


def write_golden(rows: Sequence[Golden], path: Path) -> None:
    """Write golden lines as JSON lines."""
    lines = [json.dumps(row.model_dump(mode="json"), ensure_ascii=False, sort_keys=True) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")


def read_golden(path: Path, dimensions: Sequence[str]) -> list[Golden]:
    """Read golden lines.

    Raises:
        BundleError: a line is broken or has other dimensions, or there are no lines.
    """
    rows = []
    try:
        text = read_text(path)
    except BadInput as error:
        raise BundleError(str(error)) from None
    # str.splitlines is not used, because a text may contain Unicode line separators.
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            row = Golden.model_validate_json(line, strict=True)
        except ValidationError as error:
            raise BundleError(f"{path}: line {number}: {first_fault(error)}") from None
        for part in (row.raw, row.scores, row.low, row.high):
            if set(part) != set(dimensions):
                raise BundleError(f"{path}: line {number}: scores of {', '.join(part)}, not of the filter's dimensions")
        rows.append(row)
    if not any(row.short for row in rows):
        raise BundleError(f"{path}: holds no short golden text")
    return rows


def prove(
    rows: Sequence[Golden], student: Student, filter_: Filter, calibration: Calibration, tolerance: Tolerance
) -> float:
    """Check a loaded bundle against its golden lines; return the largest difference of a raw score.

    The student's raw scores are compared with the trainer's, and every later step is run on the *recorded* raw scores,
    so that its check is exact on any processor.

    Raises:
        BundleError: something differs; the message names the text, what differs and by how much.
    """
    names = filter_.dimension_names
    articles = [Article(row.id, row.title, row.content) for row in rows]
    frame = windows(articles, filter_)
    wanted = _array(names, [row.raw for row in rows])
    given, outputs, distances = outputs_of(student, frame)
    _near("raw", "the student's files", given, wanted, tolerance.raw, rows, names)
    recorded = _recorded_outputs(rows)
    if (None if outputs is None else outputs.shape) != (None if recorded is None else recorded.shape):
        raise BundleError(f"golden text {rows[0].id}: the student's tier outputs are not those of the training")
    if outputs is not None and recorded is not None:
        _near("tier output", "the student's files", outputs, recorded, OUTPUT_TOLERANCE, rows, filter_.positive_tiers)
    far = _recorded_distances(rows)
    _same_distances(rows, distances, far, calibration)
    decided, reasons = _after(frame, Outputs(wanted, recorded, far), filter_, calibration)
    _same_novelty(rows, decided)
    for what, found, part in (
        ("score", decided.scores, [row.scores for row in rows]),
        ("low", decided.low, [row.low for row in rows]),
        ("high", decided.high, [row.high for row in rows]),
    ):
        _near(what, "calibration.json", found, _array(names, part), tolerance.exact, rows, names)
    why = _explained(decided)
    for row, verdict, reason, own in zip(rows, decided.verdict.iter_rows(named=True), reasons, why, strict=True):
        _same_verdict(row, verdict, reason, tolerance.exact)
        _same_reason(row, own)
    _same_odds(rows, decided, filter_.tier_names)
    return float(np.abs(given - wanted).max())


def _after(
    frame: pl.DataFrame, given: Outputs, filter_: Filter, calibration: Calibration
) -> tuple[Decided, list[str | None]]:
    folded = fold_all(frame["text"])
    odds = calibration.residuals is not None
    decided = decide_raw(given, folded, filter_, calibration, LEVEL, probabilities=odds)
    return decided, filter_.prefilter.reasons(folded).to_list()


def _recorded_outputs(rows: Sequence[Golden]) -> FloatArray | None:
    if any(row.tier_outputs is None for row in rows):
        return None
    return np.array([row.tier_outputs for row in rows], dtype=np.float64)


def _recorded_distances(rows: Sequence[Golden]) -> FloatArray | None:
    if any(row.distance is None for row in rows):
        return None
    return np.array([row.distance for row in rows], dtype=np.float64)


def _same_distances(
    rows: Sequence[Golden], given: FloatArray | None, recorded: FloatArray | None, calibration: Calibration
) -> None:
    if (given is None) != (recorded is None):
        raise BundleError(
            f"golden text {rows[0].id}: its distance from the training texts is {'not ' if given is None else ''}"
            f"measured, and {'not ' if recorded is None else ''}recorded; the student's files are not those of the "
            "training"
        )
    if given is None or recorded is None:
        return
    familiarity = calibration.familiarity
    allowed = DISTANCE_TOLERANCE * (1.0 if familiarity is None else max(familiarity.usual, DISTANCE_TOLERANCE))
    _near("distance", "the student's files", given[:, None], recorded[:, None], allowed, rows, ["from training texts"])


def _same_novelty(rows: Sequence[Golden], decided: Decided) -> None:
    recorded = np.array([np.nan if row.novelty is None else row.novelty for row in rows])
    found = np.full(len(rows), np.nan) if decided.novelty is None else decided.novelty
    given, wanted = np.nan_to_num(found, nan=-1.0), np.nan_to_num(recorded, nan=-1.0)
    _near("novelty", "calibration.json", given[:, None], wanted[:, None], 1e-6, rows, ["p-value"])


def _explained(decided: Decided) -> list[dict[str, Any]]:
    """Return the fields of golden lines that say why each text has its tier."""
    found = decided.reasons
    if found is None:
        return [{} for _ in range(len(decided.judged))]
    return [
        {name: None if np.isnan(value) else value for name, value in (("probability", probability), ("cut", cut))}
        | {"why": why}
        for probability, cut, why in zip(found.probability.tolist(), found.cut.tolist(), found.texts, strict=True)
    ]


def _same_reason(row: Golden, given: Mapping[str, Any]) -> None:
    for name in ("probability", "cut", "why"):
        was, is_ = getattr(row, name), given.get(name)
        near = isinstance(was, float) and isinstance(is_, float) and abs(was - is_) <= ODDS_TOLERANCE
        # The numbers in the sentence are those of the two fields, so only its other words are compared.
        same = _DIGITS.sub("", was or "") == _DIGITS.sub("", is_ or "") if name == "why" else was == is_
        if not (near or same):
            raise BundleError(
                f"golden text {row.id}: {name} is {is_}, recorded was {was}; calibration.json is not that of the "
                "training"
            )


def _near(
    what: str,
    culprit: str,
    given: FloatArray,
    wanted: FloatArray,
    allowed: float,
    rows: Sequence[Golden],
    names: Sequence[str],
) -> None:
    # Written so that NaN counts as a difference.
    far = ~(np.abs(given - wanted) <= allowed)
    if far.any():
        row, column = (int(index[0]) for index in np.nonzero(far))
        raise BundleError(
            f"golden text {rows[row].id}: {what} {names[column]} is {given[row, column]:.6g}, recorded was "
            f"{wanted[row, column]:.6g} (allowed {allowed:g}); {culprit} or the filter's are not those of the training"
        )


def _same_odds(rows: Sequence[Golden], decided: Decided, tiers: Sequence[str]) -> None:
    nothing: dict[str, float] = {}
    recorded = np.array([[(row.probabilities or nothing).get(name, np.nan) for name in tiers] for row in rows])
    found = np.full(recorded.shape, np.nan) if decided.probabilities is None else decided.probabilities
    # Both are NaN for an article for which no draw gives a tier.
    given, wanted = np.nan_to_num(found, nan=-1.0), np.nan_to_num(recorded, nan=-1.0)
    _near("probability of", "calibration.json", given, wanted, ODDS_TOLERANCE, rows, tiers)


def _odds(tiers: Sequence[str], decided: Decided, row: int) -> dict[str, float] | None:
    if decided.probabilities is None or not np.isfinite(decided.probabilities[row]).all():
        return None
    return _named(tiers, decided.probabilities[row])


def _same_verdict(row: Golden, verdict: Mapping[str, object], reason: str | None, allowed: float) -> None:
    overall = verdict["overall"]
    near = row.overall == overall or (
        isinstance(overall, float) and row.overall is not None and abs(overall - row.overall) <= allowed
    )
    found = (verdict["tier"], verdict["gates"], verdict["caps"], reason)
    recorded = (row.tier, list(row.gates), list(row.caps), row.reason)
    if not near or found != recorded:
        raise BundleError(
            f"golden text {row.id}: the verdict is {overall} {found}, recorded was {row.overall} {recorded}; "
            "filter.yaml is not that of the training"
        )


def _named(names: Sequence[str], values: FloatArray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def _array(names: Sequence[str], rows: Sequence[Mapping[str, float]]) -> FloatArray:
    return np.array([[row[name] for name in names] for row in rows], dtype=np.float64)
