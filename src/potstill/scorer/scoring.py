"""Scores articles with a bundle: one article, an iterable, or a frame.

Input: articles. Output: verdicts, or the frame with verdict columns. Articles that are empty or dropped by the
prefilter are never tokenized. The steps before the model (`prepare`) and the rest (`finish`) are separate calls, so
that reading and preparing can run in parallel with the model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl

from potstill.articles import article_id
from potstill.articles.extra import dumps, unfolded
from potstill.backends.plan import plan_path, read_plan
from potstill.bundle.deciding import LEVEL, Decided, decide_raw, merged
from potstill.bundle.layout import read_manifest
from potstill.bundle.reading import Bundle, load_bundle
from potstill.bundle.signing import trust_of
from potstill.calibration import cut_for, given_probability, least_error
from potstill.errors import BadInput, BundleError, Unavailable
from potstill.prefilter import fold_all
from potstill.scorer.early import load_early
from potstill.terminal import note
from potstill.types import DROPPED, Article, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from potstill.bundle.reading import Check
    from potstill.bundle.signing import Trust
    from potstill.calibration import Cut
    from potstill.scorer.early import Early
    from potstill.text import Window
    from potstill.types import BoolArray, FloatArray
    from potstill.verdict import Judged

BATCH = 512
"""Number of articles per batch: large enough to group texts of similar length, small enough to limit memory."""

EMPTY = "empty text"
"""Reason given for an article without a text."""

NOT_FINITE = "the student's score is not finite"
"""Reason given for an article if the student returned NaN or infinity."""

UNDEFINED = "a condition of the filter has no value for these scores"
"""Reason given for an article if a gate or tier is undefined for its finite scores, for example a division by 0."""


class Scorer:
    """Scores articles with a bundle; create it with `Scorer.load`."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        level: float = LEVEL,
        probabilities: bool = False,
        ask_oracle_above: float | None = None,
        ask_oracle_below: float | None = None,
        early: Early | None = None,
    ) -> None:
        """Create a scorer from an open bundle.

        Args:
            bundle: the bundle to score with.
            level: nominal coverage of the intervals, above 0 and below 1.
            probabilities: also compute the probability of each tier.
            ask_oracle_above: mark the articles with the least certain tiers, so that at most this share of the tiers of
                all other articles is wrong (see `calibration.cut_for`); above 0 and below 1.
            ask_oracle_below: mark the articles whose tier has less than this probability, above 0 and below 1, without
                any guarantee; with a cascade, only articles that its first student does not answer.
            early: a cheap student that scores first; its answer is final if the cascade's rule accepts it.

        Raises:
            BadInput: `level`, `ask_oracle_above` or `ask_oracle_below` is not above 0 and below 1; the bundle was built
                without its student's residuals; its calibration rows cannot support the error rate; or an error rate is
                combined with a cascade.
        """
        if not 0 < level < 1:
            raise BadInput(f"level: got {level:g}, expected above 0 and below 1")
        if ask_oracle_below is not None and not 0 < ask_oracle_below < 1:
            raise BadInput(f"probability to ask below: got {ask_oracle_below:g}, expected above 0 and below 1")
        if (probabilities or ask_oracle_below is not None) and bundle.calibration.residuals is None:
            raise BadInput(f"{bundle.folder}: was built without the errors that tiers' probabilities come from")
        self.bundle = bundle
        self.level = level
        self.probabilities = probabilities
        if early is not None and ask_oracle_above is not None:
            raise BadInput(
                "an error rate is kept by the bundle's own student: leave out --cascade or --ask-oracle-above"
            )
        self.early = early
        self.cut = None if ask_oracle_above is None else _cut(bundle, ask_oracle_above)
        self.unsure = ask_oracle_below if self.cut is None else self.cut.probability
        """Tiers with a lower probability are marked as uncertain; None if nothing is marked."""

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        check: Check = "short",
        threads: int | None = None,
        device: str = "auto",
        level: float = LEVEL,
        probabilities: bool = False,
        ask_oracle_above: float | None = None,
        ask_oracle_below: float | None = None,
        follow_plan: bool = True,
        cascade: str | Path | None = None,
        trusted_keys: Sequence[str | Path] = (),
        require_signature: bool = False,
    ) -> Self:
        """Open a bundle and create its scorer; the arguments are those of `load_bundle` and of the class.

        With `follow_plan`, the bundle runs as `potstill optimize` found fastest, if the plan was made for this bundle
        on this machine with these libraries and the golden texts score within its tolerance; otherwise it runs on the
        portable backend and a message says why. `cascade` is a folder that `potstill cascade` made for this bundle.
        With `trusted_keys` (files of public keys), the bundle must be signed by one of these keys; with
        `require_signature`, by any key.

        Raises:
            BadInput: the options cannot be combined or are not supported by the bundle.
            BundleError: the bundle does not pass its checks, or is not signed as required.
            MissingExtra, MissingModel: an adapter bundle's libraries or base, or the library that checks signatures,
                are not installed.
        """
        trust = trust_of(trusted_keys, require_signature=require_signature)
        if trust is not None and cascade is not None:
            raise BadInput(
                "no signature covers a cascade: leave out --cascade, or --trusted-key and --require-signature"
            )
        bundle = _planned(Path(path), check, threads, trust) if follow_plan else None
        bundle = bundle or load_bundle(path, check=check, threads=threads, device=device, trust=trust)
        early = None if cascade is None else load_early(cascade, bundle, check=check)
        return cls(
            bundle,
            level=level,
            probabilities=probabilities,
            ask_oracle_above=ask_oracle_above,
            ask_oracle_below=ask_oracle_below,
            early=early,
        )

    @property
    def scorers(self) -> tuple[Scorer, ...]:
        """A tuple with only this scorer, for the same interface as `Together`."""
        return (self,)

    @property
    def name(self) -> str:
        """The filter's name, without its version."""
        return self.bundle.filter.name

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the scored dimensions, in the filter's order."""
        return self.bundle.manifest.dimensions

    def score(self, article: str | Article) -> Verdict:
        """Return the verdict on one text or article."""
        return next(self.score_many([article]))

    def score_many(self, articles: Iterable[str | Article], *, batch_size: int = BATCH) -> Iterator[Verdict]:
        """Yield the verdict on each text or article, in input order; articles are scored in batches."""
        remaining = iter(articles)
        while batch := list(islice(remaining, batch_size)):
            frame = frame_of(batch)
            yield from self.verdicts(frame, self.finish(self.prepare(frame)))

    def score_batch(self, articles: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with the verdict's columns added.

        For each dimension: `score_<name>`, `low_<name>` and `high_<name>` (Float64, on the filter's scale, null without
        a score). Then `overall` (Float64, null without a score), `tier`, `gates` and `caps` (List[String], the reasons
        of those that fired) and `reason` (why there is no score, else null). If asked for, `probability_<tier>`
        (Float64) and `ask_oracle` (Boolean), null without a score. A column of the input with one of these names is
        renamed to `input_<name>` or, if that is taken, to `input_<name>_2`, and so on.

        Args:
            articles: frame with the column `content` and, optionally, `title` (String); a null is an empty text. Other
                columns are kept.

        Raises:
            BadInput: there is no column `content`, or one of the two does not hold text.
        """
        return self.flat(self.prepare(articles))

    def flat(self, prepared: Prepared) -> pl.DataFrame:
        """Return what `score_batch` returns, for prepared articles."""
        return beside(prepared.articles, self.flat_columns(self.finish(prepared)))

    def flat_columns(self, outcome: Outcome) -> list[pl.Series]:
        """Return the columns that `score_batch` adds."""
        added = [
            pl.Series(f"{what}_{name}", values[:, index]).fill_nan(None)
            for what, values in outcome.numbers.items()
            for index, name in enumerate(self.dimensions)
        ]
        odds = (column.alias(f"probability_{column.name}") for column in outcome.odds.iter_columns())
        return [*added, *outcome.verdict.iter_columns(), *odds, *outcome.ask]

    def nested_batch(self, articles: pl.DataFrame) -> pl.DataFrame:
        """Score as `score_batch`, with structs: `scores` (dimension -> score), `intervals` (dimension -> [low, high]).

        If asked for, also `tier_probabilities` (tier -> probability). All are null without a score. The columns have
        the structure of the JSON lines output.
        """
        return self.nested(self.prepare(articles))

    def nested(self, prepared: Prepared) -> pl.DataFrame:
        """Return what `nested_batch` returns, for prepared articles."""
        return beside(prepared.articles, self.nested_columns(self.finish(prepared)))

    def nested_columns(self, outcome: Outcome) -> list[pl.Series]:
        """Return the columns that `nested_batch` adds."""
        numbers = outcome.numbers
        scores = pl.DataFrame({name: numbers["score"][:, index] for index, name in enumerate(self.dimensions)})
        ends = {
            name: np.column_stack([numbers["low"][:, index], numbers["high"][:, index]])
            for index, name in enumerate(self.dimensions)
        }
        intervals = pl.DataFrame(
            {name: pl.Series(values, dtype=pl.Array(pl.Float64, 2)).arr.to_list() for name, values in ends.items()}
        )
        structs = {"scores": scores, "intervals": intervals}
        if outcome.odds.width:
            structs["tier_probabilities"] = outcome.odds
        nested = {name: frame.to_struct(name) for name, frame in structs.items()}
        frame = pl.DataFrame({**nested, "known": outcome.known})
        numbers_of = frame.select(pl.when("known").then(name).alias(name) for name in structs).get_columns()
        return [*numbers_of[:2], *outcome.verdict.iter_columns(), *numbers_of[2:], *outcome.ask]

    def told(self, result: pl.DataFrame) -> Iterator[tuple[Scorer, pl.Series, pl.Series]]:
        """Yield this scorer with the tiers and reasons of a frame that `flat` or `nested` returned."""
        yield self, result["tier"], result["reason"]

    def prepare(self, articles: pl.DataFrame, windows: Windows | None = None) -> Prepared:
        """Run the steps before the student: extract the text windows, unless given, and apply the prefilter.

        Raises:
            BadInput: as `score_batch`.
        """
        windows = windows or Windows.of(articles, self.bundle.filter.text)
        empty = np.array([not text for text in windows.texts], dtype=np.bool_)
        prefilter, reasons = self.bundle.filter.prefilter, None
        dropped = np.zeros(len(empty), dtype=np.bool_)
        # Most filters drop nothing, and then the texts need not be case-folded here.
        if prefilter.drop:
            found = prefilter.reasons(windows.folded)
            dropped, reasons = found.is_not_null().to_numpy() & ~empty, found.to_list()
        return Prepared(articles, windows, empty, dropped, reasons)

    def finish(self, prepared: Prepared) -> Outcome:
        """Run the student and all later steps."""
        kept = ~prepared.empty & ~prepared.dropped
        # Some students read further columns, such as the source, so these are kept.
        texts = pl.Series("text", prepared.windows.texts, dtype=pl.String)
        read = prepared.articles
        read = read.with_columns(texts) if "text" in read.columns else read.hstack([texts])
        if self.early is None:
            decided, answered = self._decide(self._raw(self.bundle, read, kept), prepared), None
        else:
            decided, answered = self._cascade(self.early, prepared, read, kept)
        outcome = Outcome.of(decided, prepared, answered)
        return outcome if decided.probabilities is None else self._with_odds(outcome, decided.probabilities)

    def _raw(self, bundle: Bundle, read: pl.DataFrame, which: BoolArray) -> FloatArray:
        """Return raw scores, shape (articles, dimensions), of the selected rows; NaN in all others."""
        raw = np.full((read.height, len(self.dimensions)), np.nan)
        if which.any():
            # An overflow gives a score that is not finite, which is reported as such.
            with np.errstate(all="ignore"):
                raw[which] = bundle.student.predict(read if which.all() else read.filter(pl.Series(which)))
        return raw

    def _decide(self, raw: FloatArray, prepared: Prepared) -> Decided:
        filter_, calibration = self.bundle.filter, self.bundle.calibration
        folded = prepared.windows.folded if filter_.caps else None
        return decide_raw(raw, folded, filter_, calibration, self.level, probabilities=self._odds)

    @property
    def _odds(self) -> bool:
        """Whether tier probabilities are needed."""
        return self.probabilities or self.unsure is not None

    def _cascade(
        self, early: Early, prepared: Prepared, read: pl.DataFrame, kept: BoolArray
    ) -> tuple[Decided, list[str | None]]:
        """Score with both students of a cascade; return the verdicts and which student gave each."""
        first = self._raw(early.bundle, read, kept)
        quick = early.decide(first, prepared.windows.folded, self.level, probabilities=self._odds)
        stands = early.answers(quick, first)
        full = self._decide(self._raw(self.bundle, read, kept & ~stands), prepared)
        names = np.where(stands, early.bundle.manifest.recipe, self.bundle.manifest.recipe).tolist()
        answered = [name if given else None for name, given in zip(names, kept.tolist(), strict=True)]
        return merged(quick, full, stands), answered

    def _with_odds(self, outcome: Outcome, odds: FloatArray) -> Outcome:
        names = self.bundle.filter.tier_names
        table = {name: pl.Series(odds[:, index]).fill_nan(None) for index, name in enumerate(names)}
        ask = []
        if self.unsure is not None:
            sure = given_probability(odds, names, np.array(outcome.tiers))
            # A verdict with an undefined probability counts as uncertain; articles without a verdict are handled
            # separately.
            marked = ~(sure >= self.unsure)
            if outcome.answered is not None:
                # Answers of the first student are final and never marked.
                marked &= np.array([name == self.bundle.manifest.recipe for name in outcome.answered])
            unsure = pl.Series("ask_oracle", marked)
            ask = [pl.select(pl.when(pl.Series(outcome.known)).then(unsure).alias("ask_oracle")).to_series()]
        return replace(outcome, odds=pl.DataFrame(table if self.probabilities else {}), ask=ask)

    def verdicts(self, articles: pl.DataFrame, outcome: Outcome) -> Iterator[Verdict]:
        """Yield the outcome as one verdict per article."""
        odds = outcome.odds.to_dicts() if outcome.odds.width else None
        overall = outcome.judged.overall.tolist()
        for index, id_ in enumerate(articles["id"]):
            known = bool(outcome.known[index])
            scores, low, high = (values[index].tolist() for values in outcome.numbers.values())
            yield Verdict(
                id=id_,
                tier=outcome.tiers[index],
                overall=overall[index] if known else None,
                scores=dict(zip(self.dimensions, scores, strict=True)) if known else {},
                intervals=dict(zip(self.dimensions, zip(low, high, strict=True), strict=True)) if known else {},
                gates=outcome.judged.gate_reasons(index),
                caps=outcome.judged.cap_reasons(index),
                reason=outcome.reasons[index],
                tier_probabilities=odds[index] if odds is not None and known else {},
                ask_oracle=outcome.ask[0][index] if outcome.ask else None,
                answered_by=None if outcome.answered is None else outcome.answered[index],
            )


@dataclass(frozen=True, eq=False)
class Windows:
    """Text windows of articles, one per article."""

    texts: list[str]

    @classmethod
    def of(cls, articles: pl.DataFrame, window: Window) -> Self:
        """Extract the windows of articles.

        Raises:
            BadInput: as `Scorer.score_batch`.
        """
        return cls(list(map(window.of, _column(articles, "title"), _column(articles, "content"))))

    @cached_property
    def folded(self) -> pl.Series:
        """The case-folded windows for word search; computed only if a filter has words to search for."""
        return fold_all(self.texts)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Articles ready for the student, with one text window each.

    `empty` and `dropped`, shape (articles,), mark the articles that are not scored; `reasons` says why an article was
    dropped, and is None if the filter has no drop rule.
    """

    articles: pl.DataFrame
    windows: Windows
    empty: BoolArray
    dropped: BoolArray
    reasons: list[str | None] | None


@dataclass(frozen=True, eq=False)
class Outcome:
    """Results of scoring: arrays of shape (articles, dimensions), verdicts, and reasons for missing verdicts.

    `tiers` and `reasons` cover all articles. If asked for, `odds` has one column of probabilities per tier, and `ask`
    holds the column `ask_oracle`. `answered` names the student that gave the scores, if there are two.
    """

    numbers: Mapping[str, FloatArray]
    judged: Judged
    tiers: list[str]
    reasons: list[str | None]
    answered: list[str | None] | None = None
    odds: pl.DataFrame = field(default_factory=pl.DataFrame)
    ask: Sequence[pl.Series] = ()

    @classmethod
    def of(cls, decided: Decided, prepared: Prepared, answered: list[str | None] | None = None) -> Outcome:
        """Combine the decisions, the student behind each, and the reasons of the articles without one."""
        tiers = list(decided.judged.tier_names)
        reasons: list[str | None] = [None] * len(tiers)
        unknown = np.asarray(np.isnan(decided.scores).any(axis=1))
        # Only the few articles without a tier need a reason.
        for row in np.flatnonzero(unknown | (decided.judged.tiers < 0)).tolist():
            if prepared.empty[row]:
                reasons[row] = EMPTY
            elif prepared.dropped[row] and prepared.reasons is not None:
                tiers[row], reasons[row] = DROPPED, prepared.reasons[row]
            else:
                reasons[row] = NOT_FINITE if unknown[row] else UNDEFINED
        numbers = {"score": decided.scores, "low": decided.low, "high": decided.high}
        return cls(numbers, decided.judged, tiers, reasons, answered)

    @property
    def known(self) -> BoolArray:
        """Which articles have an overall score, shape (articles,)."""
        return np.asarray(np.isfinite(self.judged.overall))

    @cached_property
    def verdict(self) -> pl.DataFrame:
        """The columns of `verdict.decide`, then `reason`, and `answered_by` if there are two students."""
        added = [
            pl.Series("tier", self.tiers, dtype=pl.String),
            pl.Series("reason", self.reasons, dtype=pl.String),
        ]
        if self.answered is not None:
            added.append(pl.Series("answered_by", self.answered, dtype=pl.String))
        return self.judged.frame.with_columns(added)


def _planned(folder: Path, check: Check, threads: int | None, trust: Trust | None) -> Bundle | None:
    """Load the bundle as its plan says; return None if it has no plan that can be used."""
    own = read_manifest(folder)[1]
    if trust is not None:
        trust.check(folder, own)
    plan, why = read_plan(folder, own)
    if plan is not None:
        try:
            return load_bundle(folder, check=check, threads=threads, plan=plan, trust=trust)
        except (BundleError, Unavailable) as error:
            # If the bundle itself is broken, loading it on the portable backend raises the error.
            why = str(error)
    if why is not None:
        note(f"{plan_path(folder)}: not followed: {why}; renew it with: potstill optimize {folder}")
    return None


def _cut(bundle: Bundle, error: float) -> Cut:
    """Return the threshold for an error rate.

    Raises:
        BadInput: the bundle's calibration rows cannot support that rate; the message says what is missing.
    """
    if not 0 < error < 1:
        raise BadInput(f"error rate: got {error:g}, expected above 0 and below 1")
    abstention = bundle.calibration.abstention
    if abstention is None:
        raise BadInput(f"{bundle.folder}: was built without the rows that tell when to ask the oracle")
    cut = cut_for(abstention, error)
    if cut is None:
        least = least_error(abstention)
        raise BadInput(
            f"error rate {error:g}: the {abstention.rows} articles that the bundle was calibrated on can't show that "
            f"any threshold keeps it; {'none can be shown' if least is None else f'the lowest is {least:g}'}"
        )
    return cut


def frame_of(articles: Iterable[str | Article]) -> pl.DataFrame:
    """Return articles as a frame; a bare text gets the id that a file row without an id would get."""
    rows: list[dict[str, Any]] = []
    for item in articles:
        article = item if isinstance(item, Article) else Article("", "", item)
        title, content = _whole(article.title), _whole(article.content)
        id_ = article.id or article_id(title, content)
        source = article.extra.get("source")
        rows.append({"id": id_, "title": title, "content": content, "source": None if source is None else str(source)})
    return pl.DataFrame(rows, schema=dict.fromkeys(("id", "title", "content", "source"), pl.String))


def _column(articles: pl.DataFrame, name: str) -> list[str]:
    if name not in articles.columns:
        if name == "title":
            return [""] * articles.height
        raise BadInput(f"articles: no column {name}; there are {', '.join(articles.columns) or 'none'}")
    if articles.schema[name] not in {pl.String, pl.Null}:
        raise BadInput(f"articles: column {name} is {articles.schema[name]}, expected String")
    # Nulls are replaced here and not in Polars, which takes longer than everything else done to a single article.
    return [text or "" for text in articles[name].to_list()]


def _whole(text: str) -> str:
    """Replace lone surrogates, which broken JSON escapes produce and UTF-8 cannot encode, with question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def beside(articles: pl.DataFrame, added: list[pl.Series]) -> pl.DataFrame:
    """Return the articles with columns added; input columns of the same name are renamed to `input_<name>`.

    If one of these names is taken, as in a file that is scored for the third time, all renamed columns get the same
    numeric suffix: the first from 2 on that makes all of them unique. No column is lost, and the columns of an earlier
    verdict keep a common suffix.
    """
    names = [series.name for series in added]
    taken = {*articles.columns, *names}
    moved = articles.rename(_free_names([name for name in names if name in articles.columns], taken))
    if "extra" in moved.columns:
        columns = {*moved.columns, *names} - {"extra"}
        moved = moved.with_columns(
            pl.Series("extra", [_moved(text, columns) for text in moved["extra"]], dtype=pl.String)
        )
    return moved.with_columns(added)


def _free_names(moving: Sequence[str], taken: Collection[str]) -> dict[str, str]:
    """Return new names for columns that have to be renamed, avoiding the names in `taken`.

    A new name is `input_<name>`, with a numeric suffix if one of them is taken. A column that was renamed before keeps
    its name and gets another suffix.
    """
    before = [name for name in moving if name.startswith("input_")]
    first = [name for name in moving if name not in before]
    tries = ({name: f"input_{name}{_numbered(number)}" for name in first} for number in count(1))
    names = next(found for found in tries if not any(name in taken for name in found.values()))
    for name in before:
        used = {*taken, *names.values()}
        names[name] = next(found for number in count(2) if (found := f"{name}{_numbered(number)}") not in used)
    return names


def _numbered(number: int) -> str:
    return "" if number == 1 else f"_{number}"


def _moved(extra: str | None, columns: Collection[str]) -> str | None:
    """Rename fields in the same way in a JSON line's extra fields, which the column `extra` holds as one object."""
    # Nearly no line has such a field, and this search is a hundred times cheaper than parsing.
    if extra is None or not any(json.dumps(name, ensure_ascii=False) in extra for name in columns):
        return extra
    fields = unfolded(extra)
    names = _free_names([key for key in fields if key in columns], {*fields, *columns})
    return dumps({names.get(key, key): value for key, value in fields.items()}) if names else extra
