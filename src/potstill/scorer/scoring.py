"""Scores articles with the bundles of one or several filters: one article, an iterable, or a frame.

Input: articles. Output: verdicts, or the frame with verdict columns. The steps of each filter are in `one_filter`; here
they are run for all filters in one pass, in which each encoder reads a text only once, and their results are combined.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Unpack, cast, overload

import polars as pl

from potstill.articles import article_id
from potstill.bundle.reading import Bundle
from potstill.bundle.signing import trust_of
from potstill.errors import BadInput
from potstill.operating_points import by_filter
from potstill.scorer.columns import with_columns
from potstill.scorer.early import load_early
from potstill.scorer.loading import open_bundles, refuse_repeated_filters
from potstill.scorer.one_filter import FilterScorer, ScoringOptions, Windows
from potstill.scorer.shared_encoders import SharedEncoders
from potstill.students.blend import encoder_of
from potstill.students.neural import parts_of
from potstill.types import Article, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from typing_extensions import TypeVar

    from potstill.bundle.facts import HeldOutSkill
    from potstill.bundle.reading import Check
    from potstill.operating_points import OperatingPoint
    from potstill.scorer.early import Early
    from potstill.scorer.one_filter import Outcome, Prepared

    Result = TypeVar("Result", default=Verdict)

    class LoadingOptions(ScoringOptions, total=False):
        """Options of `Scorer.load`, which explains them."""

        check: Check
        threads: int | None
        device: str
        follow_plan: bool
        cascade: str | Path | None
        trusted_keys: Sequence[str | Path]
        require_signature: bool
else:
    from typing import TypeVar

    Result = TypeVar("Result")

BATCH = 512
"""Number of articles per batch: large enough to group texts of similar length, small enough to limit memory."""

VERDICTS = "verdicts"
"""Field of a JSON line that holds one object per filter."""


class Scorer(Generic[Result]):
    """Scores articles with one or several filters; create it with `Scorer.load`.

    A scorer of one bundle gives a `Verdict` per article. A scorer of a list of bundles gives a dictionary of verdicts
    by the filter's name, also if the list has one element. `Result` is one of these types.
    """

    @overload
    def __init__(
        self: Scorer[Verdict],
        bundles: Bundle,
        *,
        early: Early | None = None,
        encoders: SharedEncoders | None = None,
        **options: Unpack[ScoringOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: Scorer[dict[str, Verdict]],
        bundles: Sequence[Bundle],
        *,
        early: Early | None = None,
        encoders: SharedEncoders | None = None,
        **options: Unpack[ScoringOptions],
    ) -> None: ...
    def __init__(
        self,
        bundles: Bundle | Sequence[Bundle],
        *,
        early: Early | None = None,
        encoders: SharedEncoders | None = None,
        **options: Unpack[ScoringOptions],
    ) -> None:
        """Create a scorer from open bundles.

        Args:
            bundles: a bundle, or several of different filters.
            early: the open cascade of the bundle (see `FilterScorer`); only with one bundle.
            encoders: what opened the encoders of several bundles, if they share any.
            options: see `FilterScorer`.

        Raises:
            BadInput: two bundles are for the same filter, a cascade is combined with a list of bundles, or a bundle
                does not support the options.
        """
        self.by_filter = not isinstance(bundles, Bundle)
        """Whether results are given by filter, as for several bundles."""
        each = (bundles,) if isinstance(bundles, Bundle) else tuple(bundles)
        if self.by_filter and early is not None:
            raise BadInput("a cascade works with one bundle only, not with a list of bundles")
        refuse_repeated_filters([bundle.manifest for bundle in each], [bundle.folder for bundle in each])
        decide = options.get("decide")
        points: list[dict[str, OperatingPoint]]
        points = [{}] * len(each) if decide is None else by_filter(decide, [one.filter.positive_tiers for one in each])
        self.filter_scorers = tuple(
            FilterScorer(bundle, early=early, **(options | {"decide": own or None}))
            for bundle, own in zip(each, points, strict=True)
        )
        self.encoders = encoders or SharedEncoders()

    # A string is also a sequence of strings; the first of the two signatures that fit is the one that counts.
    @overload
    @classmethod
    def load(  # type: ignore[overload-overlap]
        cls, paths: str | Path, **options: Unpack[LoadingOptions]
    ) -> Scorer[Verdict]: ...
    @overload
    @classmethod
    def load(cls, paths: Sequence[str | Path], **options: Unpack[LoadingOptions]) -> Scorer[dict[str, Verdict]]: ...
    @classmethod
    def load(
        cls,
        paths: str | Path | Sequence[str | Path],
        *,
        check: Check = "short",
        threads: int | None = None,
        device: str = "auto",
        follow_plan: bool = True,
        cascade: str | Path | None = None,
        trusted_keys: Sequence[str | Path] = (),
        require_signature: bool = False,
        **options: Unpack[ScoringOptions],
    ) -> Any:
        """Open a bundle, or several of different filters, and create their scorer.

        Bundles that share an encoder run it as `potstill optimize` found fastest only if every one of them has the same
        plan; otherwise all of them run on the portable backend, and a message says why.

        Args:
            paths: a bundle's folder, or a sequence of them.
            check: how much of a bundle is checked; see `load_bundle`.
            threads: number of threads of the encoders; None: as in the plan, or one per physical core.
            device: device on which the encoder of an adapter bundle runs.
            follow_plan: run a bundle as `potstill optimize` found fastest, if the plan was made for this bundle on this
                machine with these libraries and the golden texts score within its tolerance; otherwise it runs on the
                portable backend and a message says why.
            cascade: a folder that `potstill cascade` made for this bundle; only with one bundle.
            trusted_keys: files of public keys; each bundle must be signed by one of these keys.
            require_signature: each bundle must be signed, by any key.
            options: `level`, `probabilities`, `ask_oracle_above`, `ask_oracle_below` and `decide`, the operating points
                at which positive tiers are decided; see `FilterScorer`. They apply to every bundle, and an operating
                point for one tier to every bundle that has the tier.

        Raises:
            BadInput: no bundle is given, two are for the same filter, or the options cannot be combined or are not
                supported by a bundle.
            BundleError: a bundle does not pass its checks, or is not signed as required.
            MissingExtra, MissingModel: an adapter bundle's libraries or base, or the library that checks signatures,
                are not installed.
        """
        trust = trust_of(trusted_keys, require_signature=require_signature)
        if trust is not None and cascade is not None:
            raise BadInput(
                "no signature covers a cascade: leave out --cascade, or --trusted-key and --require-signature"
            )
        one = isinstance(paths, str | Path)
        folders = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
        encoders = SharedEncoders()
        bundles = open_bundles(
            folders, encoders, check=check, threads=threads, device=device, follow_plan=follow_plan, trust=trust
        )
        early = None if cascade is None else load_early(cascade, bundles[0], check=check)
        return cls(bundles[0] if one else bundles, early=early, encoders=encoders, **options)

    @property
    def filters(self) -> tuple[str, ...]:
        """The filters' names, in the order of the bundles."""
        return tuple(one.name for one in self.filter_scorers)

    @property
    def only(self) -> FilterScorer:
        """The steps of the filter, of a scorer of one bundle.

        Raises:
            BadInput: it is a scorer of a list of bundles.
        """
        if self.by_filter:
            raise BadInput(f"expected a scorer of one bundle, got one of the list {', '.join(self.filters)}")
        return self.filter_scorers[0]

    @property
    def bundle(self) -> Bundle:
        """The bundle, of a scorer of one bundle.

        Raises:
            BadInput: as `only`.
        """
        return self.only.bundle

    @property
    def skill(self) -> HeldOutSkill | None:
        """Skill of the student on rows that neither trained nor selected it, of a scorer of one bundle.

        None if the bundle does not record it.

        Raises:
            BadInput: as `only`.
        """
        return self.bundle.skill

    @property
    def cautions(self) -> dict[str, str]:
        """By filter: what to say of a student that is not shown to be better than the constant; empty if all are."""
        found = {one.name: one.bundle.caution for one in self.filter_scorers}
        return {name: caution for name, caution in found.items() if caution is not None}

    @property
    def networks(self) -> int:
        """Number of networks that read the articles."""
        opened = (encoder_of(one.bundle.student) for one in self.filter_scorers)
        return len({id(part) for encoder in opened if encoder is not None for part in parts_of(encoder)})

    def score(self, article: str | Article) -> Result:
        """Return the verdict on one text or article: a `Verdict`, or one by each filter's name."""
        return next(self.score_many([article]))

    def score_many(self, articles: Iterable[str | Article], *, batch_size: int = BATCH) -> Iterator[Result]:
        """Yield the verdict on each text or article, in input order; articles are scored in batches."""
        remaining = iter(articles)
        while batch := list(islice(remaining, batch_size)):
            frame = _frame_of(batch)
            outcomes = self.finish(self.prepare(frame))
            each = [one.verdicts(frame, outcome) for one, outcome in zip(self.filter_scorers, outcomes, strict=True)]
            for verdicts in zip(*each, strict=True):
                found = dict(zip(self.filters, verdicts, strict=True)) if self.by_filter else verdicts[0]
                yield cast("Result", found)

    def score_batch(self, articles: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with the verdict's columns added.

        For each dimension: `score_<name>`, `low_<name>` and `high_<name>` (Float64, on the filter's scale, null without
        a score). Then `overall` (Float64, null without a score), `tier`, `gates` and `caps` (List[String], the reasons
        of those that fired) and `reason` (why there is no score, else null). If asked for, `probability_<tier>`
        (Float64) and `ask_oracle` (Boolean), null without a score. For a list of bundles, the columns of each filter
        are named `<filter>.<column>`. A column of the input with one of these names is renamed to `input_<name>` or, if
        that is taken, to `input_<name>_2`, and so on.

        Args:
            articles: frame with the column `content` and, optionally, `title` (String); a null is an empty text. Other
                columns are kept.

        Raises:
            BadInput: there is no column `content`, or one of the two does not hold text.
        """
        return self.flat(self.prepare(articles))

    def nested_batch(self, articles: pl.DataFrame) -> pl.DataFrame:
        """Score as `score_batch`, with structs: `scores` (dimension -> score), `intervals` (dimension -> [low, high]).

        If asked for, also `tier_probabilities` (tier -> probability). All are null without a score. The columns have
        the structure of the JSON lines output. For a list of bundles, there is one struct `verdicts`, which holds a
        struct with these fields for each filter.
        """
        return self.nested(self.prepare(articles))

    def prepare(self, articles: pl.DataFrame) -> tuple[Prepared, ...]:
        """Run the steps before the students, for each filter; filters with the same text window share the windows.

        Raises:
            BadInput: as `score_batch`.
        """
        windows = {window: Windows.of(articles, window) for window in {one.window for one in self.filter_scorers}}
        return tuple(one.prepare(articles, windows[one.window]) for one in self.filter_scorers)

    def finish(self, prepared: Sequence[Prepared]) -> tuple[Outcome, ...]:
        """Run the students and all later steps, for each filter; a shared encoder reads each text once."""
        with self.encoders.one_pass():
            return tuple(one.finish(part) for one, part in zip(self.filter_scorers, prepared, strict=True))

    def flat(self, prepared: Sequence[Prepared]) -> pl.DataFrame:
        """Return what `score_batch` returns, for prepared articles."""
        added = [
            column.alias(self._column_name(one, column.name))
            for one, outcome in zip(self.filter_scorers, self.finish(prepared), strict=True)
            for column in one.flat_columns(outcome)
        ]
        return with_columns(prepared[0].articles, added)

    def nested(self, prepared: Sequence[Prepared]) -> pl.DataFrame:
        """Return what `nested_batch` returns, for prepared articles."""
        each = {
            one.name: one.nested_columns(outcome)
            for one, outcome in zip(self.filter_scorers, self.finish(prepared), strict=True)
        }
        if self.by_filter:
            structs = [pl.DataFrame(columns).to_struct(name) for name, columns in each.items()]
            added = [pl.DataFrame(structs).to_struct(VERDICTS)]
        else:
            (added,) = each.values()
        return with_columns(prepared[0].articles, added)

    def columns_of(
        self, result: pl.DataFrame, *, nested: bool
    ) -> Iterator[tuple[FilterScorer, Callable[[str], pl.Series]]]:
        """Yield each filter's steps, with a function that gets one of its columns by name.

        Args:
            result: a frame that `nested` or `flat` returned.
            nested: whether it was `nested`.
        """
        for one in self.filter_scorers:
            if nested and self.by_filter:
                yield one, result[VERDICTS].struct.field(one.name).struct.field
            else:
                yield one, partial(self._column_of, result, one)

    def _column_of(self, result: pl.DataFrame, one: FilterScorer, column: str) -> pl.Series:
        return result[self._column_name(one, column)]

    def _column_name(self, one: FilterScorer, column: str) -> str:
        return f"{one.name}.{column}" if self.by_filter else column


def _frame_of(articles: Iterable[str | Article]) -> pl.DataFrame:
    """Return articles as a frame; a bare text gets the id that a file row without an id would get."""
    rows: list[dict[str, Any]] = []
    for item in articles:
        article = item if isinstance(item, Article) else Article("", "", item)
        title, content = _encodable(article.title), _encodable(article.content)
        id_ = article.id or article_id(title, content)
        source = article.extra.get("source")
        rows.append({"id": id_, "title": title, "content": content, "source": None if source is None else str(source)})
    return pl.DataFrame(rows, schema=dict.fromkeys(("id", "title", "content", "source"), pl.String))


def _encodable(text: str) -> str:
    """Replace lone surrogates, which broken JSON escapes produce and UTF-8 cannot encode, with question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
