"""Verdicts on articles: one, many, or a frame of them.

In: articles. Out: verdicts, or the frame with their columns. An article that the prefilter drops, or that has no text,
is never tokenised. What comes before the model (`prepare`) and the rest (`finish`) are two calls, so that reading and
preparing may run beside it.
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
"""Articles scored at a time: enough that texts of like length meet, little enough to keep memory small."""

EMPTY = "empty text"
"""The reason of an article without a text."""

NOT_FINITE = "the student's score is not finite"
"""The reason of an article for which the student gave NaN or infinity."""

UNDEFINED = "a condition of the filter has no value for these scores"
"""The reason of an article whose finite scores a gate or tier cannot be decided on, such as a division by 0."""


class Scorer:
    """Scores articles with a bundle; make one with `Scorer.load`."""

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
        """Take an opened bundle.

        Args:
            bundle: what scores.
            level: the share of labels that intervals are meant to hold.
            probabilities: give each tier's probability too.
            ask_oracle_above: mark the articles whose tier is too unsure, so that of the tiers of all others at most
                this share is wrong (see `calibration.cut_for`).
            ask_oracle_below: mark the articles whose tier has less than this probability, without a promise; with a
                cascade, only those that its first student leaves.
            early: a cheap student that answers first, and alone where its cascade lets it.

        Raises:
            BadInput: `level`, `ask_oracle_above` or `ask_oracle_below` is not above 0 and below 1, the bundle knows no
                errors of its student, or the rows it was calibrated on can't support that error rate; or a cascade is
                asked for beside one.
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
        """The probability below which a tier is too unsure; None where nothing is marked."""

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
        """Open a bundle and score with it; the arguments are those of `load_bundle` and of the class.

        With `follow_plan` it runs as `potstill optimize` found best, where that was for this bundle on this machine
        with these libraries and golden texts come out as near as it was proven; else it runs the portable way, and
        says why. `cascade` is a folder that `potstill cascade` made for this bundle. With `trusted_keys`, files of
        public keys, the bundle must be signed by one of them, and with `require_signature` by some key.

        Raises:
            BadInput: what is asked for can't be had.
            BundleError: the bundle does not prove itself, or is not signed as it must be.
            MissingExtra, MissingModel: an adapter bundle's libraries or base are not on this machine, or the library
                that checks signatures.
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
        """This one alone, as `Together` has several."""
        return (self,)

    @property
    def name(self) -> str:
        """The filter's name, without its version."""
        return self.bundle.filter.name

    @property
    def dimensions(self) -> tuple[str, ...]:
        """What is scored, in the filter's order."""
        return self.bundle.manifest.dimensions

    def score(self, article: str | Article) -> Verdict:
        """The verdict on one text or article."""
        return next(self.score_many([article]))

    def score_many(self, articles: Iterable[str | Article], *, batch_size: int = BATCH) -> Iterator[Verdict]:
        """The verdict on each of many texts or articles, in their order, a batch at a time."""
        remaining = iter(articles)
        while batch := list(islice(remaining, batch_size)):
            frame = frame_of(batch)
            yield from self.verdicts(frame, self.finish(self.prepare(frame)))

    def score_batch(self, articles: pl.DataFrame) -> pl.DataFrame:
        """The frame with the verdict's columns added.

        For each dimension `score_<name>`, `low_<name>` and `high_<name>` (Float64, on the filter's scale, null
        without a score), then `overall` (Float64, null without a score), `tier`, `gates` and `caps`
        (List[String], the reasons of those that fired) and `reason` (why there is no score, else null). Where
        asked for, `probability_<tier>` (Float64) and `ask_oracle` (Boolean), null without a score. A column of the
        input with one of these names moves to `input_<name>`, or, where that is taken, to `input_<name>_2`, and so on.

        Args:
            articles: columns `content` and, where there are titles, `title` (String); a null is an empty text.
                Others pass through.

        Raises:
            BadInput: there is no column `content`, or one of the two does not hold text.
        """
        return self.flat(self.prepare(articles))

    def flat(self, prepared: Prepared) -> pl.DataFrame:
        """What `score_batch` gives, for articles that are prepared."""
        return beside(prepared.articles, self.flat_columns(self.finish(prepared)))

    def flat_columns(self, outcome: Outcome) -> list[pl.Series]:
        """The columns that `score_batch` adds."""
        added = [
            pl.Series(f"{what}_{name}", values[:, index]).fill_nan(None)
            for what, values in outcome.numbers.items()
            for index, name in enumerate(self.dimensions)
        ]
        odds = (column.alias(f"probability_{column.name}") for column in outcome.odds.iter_columns())
        return [*added, *outcome.verdict.iter_columns(), *odds, *outcome.ask]

    def nested_batch(self, articles: pl.DataFrame) -> pl.DataFrame:
        """As `score_batch`, with structs: `scores` (dimension -> score), `intervals` (dimension -> [low, high]).

        And `tier_probabilities` (tier -> probability) where asked for. All are null without a score. It is the
        shape of a line of JSON.
        """
        return self.nested(self.prepare(articles))

    def nested(self, prepared: Prepared) -> pl.DataFrame:
        """What `nested_batch` gives, for articles that are prepared."""
        return beside(prepared.articles, self.nested_columns(self.finish(prepared)))

    def nested_columns(self, outcome: Outcome) -> list[pl.Series]:
        """The columns that `nested_batch` adds."""
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
        """This scorer with the tiers and the reasons in rows that `flat` or `nested` gave."""
        yield self, result["tier"], result["reason"]

    def prepare(self, articles: pl.DataFrame, windows: Windows | None = None) -> Prepared:
        """All that comes before the student: windows, unless they are known, and what the prefilter drops.

        Raises:
            BadInput: as `score_batch`.
        """
        windows = windows or Windows.of(articles, self.bundle.filter.text)
        empty = np.array([not text for text in windows.texts], dtype=np.bool_)
        prefilter, reasons = self.bundle.filter.prefilter, None
        dropped = np.zeros(len(empty), dtype=np.bool_)
        # Most filters drop nothing, and then no text need be folded for it.
        if prefilter.drop:
            found = prefilter.reasons(windows.folded)
            dropped, reasons = found.is_not_null().to_numpy() & ~empty, found.to_list()
        return Prepared(articles, windows, empty, dropped, reasons)

    def finish(self, prepared: Prepared) -> Outcome:
        """The student, and all that comes after it."""
        kept = ~prepared.empty & ~prepared.dropped
        # What else the rows held is for students that read it, such as the source.
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
        """Raw scores of some rows, NaN in the others."""
        raw = np.full((read.height, len(self.dimensions)), np.nan)
        if which.any():
            # What overflows is not finite, and is told as that.
            with np.errstate(all="ignore"):
                raw[which] = bundle.student.predict(read if which.all() else read.filter(pl.Series(which)))
        return raw

    def _decide(self, raw: FloatArray, prepared: Prepared) -> Decided:
        filter_, calibration = self.bundle.filter, self.bundle.calibration
        folded = prepared.windows.folded if filter_.caps else None
        return decide_raw(raw, folded, filter_, calibration, self.level, probabilities=self._odds)

    @property
    def _odds(self) -> bool:
        """Whether tiers' probabilities are needed."""
        return self.probabilities or self.unsure is not None

    def _cascade(
        self, early: Early, prepared: Prepared, read: pl.DataFrame, kept: BoolArray
    ) -> tuple[Decided, list[str | None]]:
        """Verdicts by two students, and which of them gave each."""
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
            # A verdict without any probability is as unsure as can be; an article without a verdict is another matter.
            marked = ~(sure >= self.unsure)
            if outcome.answered is not None:
                # What the first student answers, it answers for good.
                marked &= np.array([name == self.bundle.manifest.recipe for name in outcome.answered])
            unsure = pl.Series("ask_oracle", marked)
            ask = [pl.select(pl.when(pl.Series(outcome.known)).then(unsure).alias("ask_oracle")).to_series()]
        return replace(outcome, odds=pl.DataFrame(table if self.probabilities else {}), ask=ask)

    def verdicts(self, articles: pl.DataFrame, outcome: Outcome) -> Iterator[Verdict]:
        """What was found, a verdict for each article."""
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
    """What is read of articles, one text for each."""

    texts: list[str]

    @classmethod
    def of(cls, articles: pl.DataFrame, window: Window) -> Self:
        """The windows of articles.

        Raises:
            BadInput: as `Scorer.score_batch`.
        """
        return cls(list(map(window.of, _column(articles, "title"), _column(articles, "content"))))

    @cached_property
    def folded(self) -> pl.Series:
        """The windows as words are looked for in them; made when a filter has words to look for."""
        return fold_all(self.texts)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Articles as the student reads them, a window for each.

    `empty` and `dropped` say which are not scored, and `reasons` why the latter; None where no rule drops anything.
    """

    articles: pl.DataFrame
    windows: Windows
    empty: BoolArray
    dropped: BoolArray
    reasons: list[str | None] | None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What scoring found: arrays of shape (articles, dimensions), and verdicts with the reasons of those without one.

    `tiers` and `reasons` are of all articles. `odds` has a column per tier, and `ask` holds the column `ask_oracle`,
    where they were asked for; `answered` says which student gave the scores where there are two.
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
        """What was decided and by whom, and why the rest was not."""
        tiers = list(decided.judged.tier_names)
        reasons: list[str | None] = [None] * len(tiers)
        unknown = np.asarray(np.isnan(decided.scores).any(axis=1))
        # Few have no tier, and only they need a reason.
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
        """The columns of `verdict.decide`, then `reason`, and `answered_by` where there are two students."""
        added = [
            pl.Series("tier", self.tiers, dtype=pl.String),
            pl.Series("reason", self.reasons, dtype=pl.String),
        ]
        if self.answered is not None:
            added.append(pl.Series("answered_by", self.answered, dtype=pl.String))
        return self.judged.frame.with_columns(added)


def _planned(folder: Path, check: Check, threads: int | None, trust: Trust | None) -> Bundle | None:
    """The bundle, run as its plan says; None where it has no plan that can be followed."""
    own = read_manifest(folder)[1]
    if trust is not None:
        trust.check(folder, own)
    plan, why = read_plan(folder, own)
    if plan is not None:
        try:
            return load_bundle(folder, check=check, threads=threads, plan=plan, trust=trust)
        except (BundleError, Unavailable) as error:
            # Should the bundle be what is broken, the portable way will say so.
            why = str(error)
    if why is not None:
        note(f"{plan_path(folder)}: not followed: {why}; renew it with: potstill optimize {folder}")
    return None


def _cut(bundle: Bundle, error: float) -> Cut:
    """The threshold for an error rate, or what is lacking for it."""
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
    """Articles as columns; a bare text gets the id that a file's row without one would get."""
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
    # Nulls go here and not in Polars, which takes longer than all else that is done to a single article.
    return [text or "" for text in articles[name].to_list()]


def _whole(text: str) -> str:
    """Text that UTF-8 can hold: half a surrogate pair, as broken JSON escapes leave it, becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def beside(articles: pl.DataFrame, added: list[pl.Series]) -> pl.DataFrame:
    """The articles with columns added; what the input had under their names moves to `input_<name>`.

    Where one of these names is taken, as in a file that is scored for the third time, all that moves gets a number
    behind its new name, the first from 2 on with which none is taken. So no column is lost, and those of an earlier
    verdict keep together.
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
    """New names for what is in the way; `taken` are the names that they must not have.

    It is `input_<name>`, with a number behind it where one of them is taken. What has moved before keeps its name and
    gets another number.
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
    """The same for the fields of a line of JSON, which the column `extra` holds as one object."""
    # Nearly no line has such a field, and looking is a hundred times cheaper than parsing.
    if extra is None or not any(json.dumps(name, ensure_ascii=False) in extra for name in columns):
        return extra
    fields = unfolded(extra)
    names = _free_names([key for key in fields if key in columns], {*fields, *columns})
    return dumps({names.get(key, key): value for key, value in fields.items()}) if names else extra
