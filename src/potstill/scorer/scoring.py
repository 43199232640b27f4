"""Verdicts on articles: one, many, or a frame of them.

In: articles. Out: verdicts, or the frame with their columns. An article that the prefilter drops, or that has no text,
is never tokenised. What comes before the model (`prepare`) and the rest (`finish`) are two calls, so that reading and
preparing may run beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl

from potstill.articles import article_id
from potstill.backends.plan import plan_path, read_plan
from potstill.bundle.deciding import LEVEL, Decided, decide_raw, merged
from potstill.bundle.layout import read_manifest
from potstill.bundle.reading import Bundle, load_bundle
from potstill.calibration import cut_for, given_probability, least_error
from potstill.errors import BadInput, BundleError, Unavailable
from potstill.prefilter import fold_all
from potstill.records import DROPPED, UNSCORED, Article, Verdict
from potstill.scorer.early import load_early
from potstill.terminal import note

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from potstill.bundle.reading import Check
    from potstill.calibration import Cut
    from potstill.records import BoolArray, FloatArray
    from potstill.scorer.early import Early
    from potstill.text import Window

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
        early: Early | None = None,
    ) -> None:
        """Take an opened bundle.

        Args:
            bundle: what scores.
            level: the share of labels that intervals are meant to hold.
            probabilities: give each tier's probability too.
            ask_oracle_above: mark the articles whose tier is too unsure, so that of the tiers of all others at most
                this share is wrong (see `calibration.cut_for`).
            early: a cheap student that answers first, and alone where its cascade lets it.

        Raises:
            BadInput: `level` or `ask_oracle_above` is not above 0 and below 1, the bundle knows no errors of its
                student, or the rows it was calibrated on can't support that error rate; or a cascade is asked for
                beside one.
        """
        if not 0 < level < 1:
            raise BadInput(f"level: got {level:g}, expected above 0 and below 1")
        if probabilities and bundle.calibration.residuals is None:
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
        follow_plan: bool = True,
        cascade: str | Path | None = None,
    ) -> Self:
        """Open a bundle and score with it; the arguments are those of `load_bundle` and of the class.

        With `follow_plan` it runs as `potstill optimize` found best, where that was for this bundle on this machine
        with these libraries and golden texts come out as near as it was proven; else it runs the portable way, and
        says why. `cascade` is a folder that `potstill cascade` made for this bundle.

        Raises:
            BadInput: what is asked for can't be had.
            BundleError: the bundle does not prove itself.
            MissingExtra, MissingModel: an adapter bundle's libraries or base are not on this machine.
        """
        bundle = _planned(Path(path), check, threads) if follow_plan else None
        bundle = bundle or load_bundle(path, check=check, threads=threads, device=device)
        early = None if cascade is None else load_early(cascade, bundle, check=check)
        return cls(bundle, level=level, probabilities=probabilities, ask_oracle_above=ask_oracle_above, early=early)

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
        input with one of these names moves to `input_<name>`.

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
        scored = outcome.verdict["overall"].is_not_null()
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
        frame = pl.DataFrame({**nested, "known": scored})
        numbers_of = [frame.select(pl.when("known").then(name).alias(name)).to_series() for name in structs]
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
        empty = (windows.texts == "").to_numpy()
        reasons = self.bundle.filter.prefilter.reasons(windows.folded).to_list()
        dropped = np.array([reason is not None for reason in reasons], dtype=np.bool_) & ~empty
        return Prepared(articles, windows.texts, windows.folded, empty, dropped, reasons)

    def finish(self, prepared: Prepared) -> Outcome:
        """The student, and all that comes after it."""
        kept = ~prepared.empty & ~prepared.dropped
        # What else the rows held is for students that read it, such as the source.
        read = prepared.articles.with_columns(prepared.texts)
        if self.early is None:
            decided, answered = self._decide(self._raw(self.bundle, read, kept), prepared), None
        else:
            decided, answered = self._cascade(self.early, prepared, read, kept)
        outcome = Outcome.of(decided, prepared.empty, prepared.dropped, prepared.reasons, answered)
        return outcome if decided.probabilities is None else self._with_odds(outcome, decided.probabilities)

    def _raw(self, bundle: Bundle, read: pl.DataFrame, which: BoolArray) -> FloatArray:
        """Raw scores of some rows, NaN in the others."""
        raw = np.full((read.height, len(self.dimensions)), np.nan)
        if which.any():
            raw[which] = bundle.student.predict(read.filter(pl.Series(which)))
        return raw

    def _decide(self, raw: FloatArray, prepared: Prepared) -> Decided:
        odds = self.probabilities or self.cut is not None
        filter_, calibration = self.bundle.filter, self.bundle.calibration
        return decide_raw(raw, prepared.folded, filter_, calibration, self.level, probabilities=odds)

    def _cascade(
        self, early: Early, prepared: Prepared, read: pl.DataFrame, kept: BoolArray
    ) -> tuple[Decided, pl.Series]:
        """Verdicts by two students, and which of them gave each."""
        first = self._raw(early.bundle, read, kept)
        quick = early.decide(first, prepared.folded, self.level, probabilities=self.probabilities)
        stands = early.answers(quick, first)
        full = self._decide(self._raw(self.bundle, read, kept & ~stands), prepared)
        names = np.where(stands, early.bundle.manifest.recipe, self.bundle.manifest.recipe)
        answered = pl.select(pl.when(pl.Series(kept)).then(pl.Series("answered_by", names))).to_series()
        return merged(quick, full, stands), answered.alias("answered_by")

    def _with_odds(self, outcome: Outcome, odds: FloatArray) -> Outcome:
        names = self.bundle.filter.tier_names
        table = {name: pl.Series(odds[:, index]).fill_nan(None) for index, name in enumerate(names)}
        ask = []
        if self.cut is not None:
            sure = given_probability(odds, names, outcome.verdict["tier"].to_numpy())
            # A verdict without any probability is as unsure as can be; an article without a verdict is another matter.
            unsure = pl.Series("ask_oracle", ~(sure >= self.cut.probability))
            known = outcome.verdict["overall"].is_not_null()
            ask = [pl.select(pl.when(known).then(unsure).alias("ask_oracle")).to_series()]
        return replace(outcome, odds=pl.DataFrame(table if self.probabilities else {}), ask=ask)

    def verdicts(self, articles: pl.DataFrame, outcome: Outcome) -> Iterator[Verdict]:
        """What was found, a verdict for each article."""
        rows = outcome.verdict.iter_rows(named=True)
        odds = outcome.odds.to_dicts() if outcome.odds.width else None
        for index, (id_, row) in enumerate(zip(articles["id"], rows, strict=True)):
            known = row["overall"] is not None
            scores, low, high = (values[index].tolist() for values in outcome.numbers.values())
            yield Verdict(
                id=id_,
                tier=row["tier"],
                overall=row["overall"],
                scores=dict(zip(self.dimensions, scores, strict=True)) if known else {},
                intervals=dict(zip(self.dimensions, zip(low, high, strict=True), strict=True)) if known else {},
                gates=tuple(row["gates"]),
                caps=tuple(row["caps"]),
                reason=row["reason"],
                tier_probabilities=odds[index] if odds is not None and known else {},
                ask_oracle=outcome.ask[0][index] if outcome.ask else None,
                answered_by=row.get("answered_by"),
            )


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """What is read of articles: `texts`, and `folded` as words are looked for in them."""

    texts: pl.Series
    folded: pl.Series

    @classmethod
    def of(cls, articles: pl.DataFrame, window: Window) -> Self:
        """The windows of articles.

        Raises:
            BadInput: as `Scorer.score_batch`.
        """
        titles, contents = _column(articles, "title"), _column(articles, "content")
        texts = pl.Series("text", list(map(window.of, titles, contents)), dtype=pl.String)
        return cls(texts, fold_all(texts))


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Articles as the student reads them: `texts` and `folded` are windows, a row for each article.

    `empty` and `dropped` say which are not scored, and `reasons` why the latter.
    """

    articles: pl.DataFrame
    texts: pl.Series
    folded: pl.Series
    empty: BoolArray
    dropped: BoolArray
    reasons: list[str | None]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What scoring found: arrays of shape (articles, dimensions), and the verdict's columns with `reason`.

    `odds` has a column per tier, and `ask` holds the column `ask_oracle`, where they were asked for.
    """

    numbers: Mapping[str, FloatArray]
    verdict: pl.DataFrame
    odds: pl.DataFrame = field(default_factory=pl.DataFrame)
    ask: Sequence[pl.Series] = ()

    @classmethod
    def of(
        cls,
        decided: Decided,
        empty: BoolArray,
        dropped: BoolArray,
        reasons: list[str | None],
        answered: pl.Series | None = None,
    ) -> Outcome:
        """What was decided and by whom, and why the rest was not."""
        verdict = decided.verdict.with_columns(
            pl.Series("reason", reasons, dtype=pl.String),
            empty=pl.Series(empty),
            dropped=pl.Series(dropped),
            unknown=pl.Series(np.isnan(decided.scores).any(axis=1)),
        )
        reason = (
            pl.when("empty")
            .then(pl.lit(EMPTY))
            .when("dropped")
            .then("reason")
            .when("unknown")
            .then(pl.lit(NOT_FINITE))
            .when(pl.col("tier") == UNSCORED)
            .then(pl.lit(UNDEFINED))
        )
        tier = pl.when("dropped").then(pl.lit(DROPPED)).otherwise("tier")
        verdict = verdict.with_columns(reason.alias("reason"), tier.alias("tier")).drop("empty", "dropped", "unknown")
        if answered is not None:
            verdict = verdict.with_columns(answered)
        return cls({"score": decided.scores, "low": decided.low, "high": decided.high}, verdict)


def _planned(folder: Path, check: Check, threads: int | None) -> Bundle | None:
    """The bundle, run as its plan says; None where it has no plan that can be followed."""
    plan, why = read_plan(folder, read_manifest(folder)[1])
    if plan is not None:
        try:
            return load_bundle(folder, check=check, threads=threads, plan=plan)
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
    return articles[name].cast(pl.String).fill_null("").to_list()


def _whole(text: str) -> str:
    """Text that UTF-8 can hold: half a surrogate pair, as broken JSON escapes leave it, becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def beside(articles: pl.DataFrame, added: list[pl.Series]) -> pl.DataFrame:
    """The articles with columns added; what the input had under their names moves to `input_<name>`."""
    names = {series.name for series in added}
    moved = articles.rename({name: f"input_{name}" for name in articles.columns if name in names})
    if "extra" in moved.columns:
        moved = moved.with_columns(
            pl.Series("extra", [_moved(text, names) for text in moved["extra"]], dtype=pl.String)
        )
    return moved.with_columns(added)


def _moved(extra: str | None, names: set[str]) -> str | None:
    """The same for the fields of a line of JSON, which the column `extra` holds as one object."""
    # Nearly no line has such a field, and looking is a hundred times cheaper than parsing.
    if extra is None or not any(f'"{name}"' in extra for name in names):
        return extra
    fields = {f"input_{key}" if key in names else key: value for key, value in json.loads(extra).items()}
    return json.dumps(fields, ensure_ascii=False)
