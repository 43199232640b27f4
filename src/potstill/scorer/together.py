"""Several filters in one pass: each article is read once by each network, and every filter gives its own verdict.

In: bundles of different filters. Out: for each article a verdict per filter. A filter keeps its own window, prefilter,
head, calibration and rules; what is shared is the network, where bundles have the same one (`trunks`), and with it
nearly all of the work.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Self

import polars as pl

from potstill.backends.plan import plan_path, read_plan
from potstill.bundle.deciding import LEVEL
from potstill.bundle.layout import read_manifest
from potstill.bundle.reading import load_bundle
from potstill.bundle.signing import trust_of
from potstill.errors import BadInput, BundleError, Unavailable
from potstill.scorer.scoring import BATCH, Scorer, Windows, beside, frame_of
from potstill.scorer.trunks import Trunks, trunk_keys
from potstill.terminal import note

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from potstill.backends.plan import Plan
    from potstill.bundle import Bundle
    from potstill.bundle.layout import Manifest
    from potstill.bundle.reading import Check
    from potstill.bundle.signing import Trust
    from potstill.scorer.scoring import Outcome, Prepared
    from potstill.text import Window
    from potstill.types import Article, Verdict

VERDICTS = "verdicts"
"""The field of a line of JSON that holds an object for each filter."""


class Together:
    """Scores articles with the bundles of several filters; make one with `Together.load`."""

    def __init__(self, scorers: Sequence[Scorer], trunks: Trunks) -> None:
        """Take open scorers, whose encoders `trunks` has opened.

        Raises:
            BadInput: two of them are of one filter.
        """
        _distinct([scorer.bundle.manifest for scorer in scorers], [scorer.bundle.folder for scorer in scorers])
        self.scorers = tuple(scorers)
        self.trunks = trunks

    @classmethod
    def load(
        cls,
        paths: Sequence[str | Path],
        *,
        check: Check = "short",
        threads: int | None = None,
        device: str = "auto",
        level: float = LEVEL,
        probabilities: bool = False,
        ask_oracle_above: float | None = None,
        follow_plan: bool = True,
        trusted_keys: Sequence[str | Path] = (),
        require_signature: bool = False,
    ) -> Self:
        """Open bundles of different filters; the arguments are those of `Scorer.load`, and hold for each.

        Bundles that share a network run it as `potstill optimize` found best where it was proven so for each of
        them; else they run the portable way, and it is said why.

        Raises:
            BadInput: none is given, two are of one filter, or what is asked for can't be had of one.
            BundleError: one does not prove itself, or is not signed as it must be.
            MissingExtra, MissingModel: an adapter bundle's libraries or base are not on this machine, or the library
                that checks signatures.
        """
        trust = trust_of(trusted_keys, require_signature=require_signature)
        folders = [Path(path) for path in paths]
        if not folders:
            raise BadInput("no bundle was named")
        read = [read_manifest(folder) for folder in folders]
        if trust is not None:
            for folder, (_, bundle_hash) in zip(folders, read, strict=True):
                trust.check(folder, bundle_hash)
        manifests = [manifest for manifest, _ in read]
        _distinct(manifests, folders)
        plans = _plans(folders, read) if follow_plan else [None] * len(folders)
        trunks = Trunks()
        bundles: dict[int, Bundle] = {}
        with trunks.one_pass():
            for group in _sharing(manifests):
                bundles |= _opened(
                    group, folders, plans, trunks, check=check, threads=threads, device=device, trust=trust
                )
        scorers = [
            Scorer(bundles[place], level=level, probabilities=probabilities, ask_oracle_above=ask_oracle_above)
            for place in range(len(folders))
        ]
        return cls(scorers, trunks)

    @property
    def filters(self) -> tuple[str, ...]:
        """The filters' names, in the order of the bundles."""
        return tuple(scorer.name for scorer in self.scorers)

    def score(self, article: str | Article) -> dict[str, Verdict]:
        """The verdict of each filter on one text or article, by the filter's name."""
        return next(self.score_many([article]))

    def score_many(self, articles: Iterable[str | Article], *, batch_size: int = BATCH) -> Iterator[dict[str, Verdict]]:
        """The verdicts on each of many texts or articles, in their order, a batch at a time."""
        remaining = iter(articles)
        while batch := list(islice(remaining, batch_size)):
            frame = frame_of(batch)
            outcomes = self.finish(self.prepare(frame))
            each = [scorer.verdicts(frame, outcome) for scorer, outcome in zip(self.scorers, outcomes, strict=True)]
            for verdicts in zip(*each, strict=True):
                yield dict(zip(self.filters, verdicts, strict=True))

    def score_batch(self, articles: pl.DataFrame) -> pl.DataFrame:
        """The frame with the columns of `Scorer.score_batch` added for each filter, named `<filter>.<column>`.

        Raises:
            BadInput: as `Scorer.score_batch`.
        """
        return self.flat(self.prepare(articles))

    def nested_batch(self, articles: pl.DataFrame) -> pl.DataFrame:
        """The frame with a struct `verdicts`, of a struct per filter with what `Scorer.nested_batch` adds."""
        return self.nested(self.prepare(articles))

    def prepare(self, articles: pl.DataFrame) -> tuple[Prepared, ...]:
        """All that comes before the students, for each filter; filters of one window share it.

        Raises:
            BadInput: as `Scorer.score_batch`.
        """
        known: dict[Window, Windows] = {}
        prepared = []
        for scorer in self.scorers:
            window = scorer.bundle.filter.text
            if window not in known:
                known[window] = Windows.of(articles, window)
            prepared.append(scorer.prepare(articles, known[window]))
        return tuple(prepared)

    def finish(self, prepared: Sequence[Prepared]) -> tuple[Outcome, ...]:
        """The students and all that comes after them, for each filter; a network reads a text once."""
        with self.trunks.one_pass():
            return tuple(scorer.finish(one) for scorer, one in zip(self.scorers, prepared, strict=True))

    def flat(self, prepared: Sequence[Prepared]) -> pl.DataFrame:
        """What `score_batch` gives, for articles that are prepared."""
        added = [
            column.alias(f"{scorer.name}.{column.name}")
            for scorer, outcome in zip(self.scorers, self.finish(prepared), strict=True)
            for column in scorer.flat_columns(outcome)
        ]
        return beside(prepared[0].articles, added)

    def nested(self, prepared: Sequence[Prepared]) -> pl.DataFrame:
        """What `nested_batch` gives, for articles that are prepared."""
        each = [
            pl.DataFrame(scorer.nested_columns(outcome)).to_struct(scorer.name)
            for scorer, outcome in zip(self.scorers, self.finish(prepared), strict=True)
        ]
        return beside(prepared[0].articles, [pl.DataFrame(each).to_struct(VERDICTS)])

    def told(self, result: pl.DataFrame) -> Iterator[tuple[Scorer, pl.Series, pl.Series]]:
        """Each filter's scorer with its tiers and reasons in rows that `flat` or `nested` gave."""
        for scorer in self.scorers:
            if VERDICTS in result.columns and isinstance(result.schema[VERDICTS], pl.Struct):
                own = result[VERDICTS].struct.field(scorer.name).struct
                yield scorer, own.field("tier"), own.field("reason")
            else:
                yield scorer, result[f"{scorer.name}.tier"], result[f"{scorer.name}.reason"]


def _distinct(manifests: Sequence[Manifest], folders: Sequence[Path]) -> None:
    first: dict[str, Path] = {}
    for manifest, folder in zip(manifests, folders, strict=True):
        other = first.setdefault(manifest.filter, folder)
        if other is not folder:
            raise BadInput(
                f"{folder}: is for the filter {manifest.filter}, as {other} is; one pass takes one bundle a filter"
            )


def _sharing(manifests: Sequence[Manifest]) -> list[list[int]]:
    """The bundles' places, in groups that share networks, directly or by way of others."""
    groups: list[tuple[set[str], list[int]]] = []
    for place, manifest in enumerate(manifests):
        keys, places = set(trunk_keys(manifest)), [place]
        for group in [group for group in groups if group[0] & keys]:
            groups.remove(group)
            keys, places = group[0] | keys, group[1] + places
        groups.append((keys, sorted(places)))
    return [places for _, places in groups]


def _plans(folders: Sequence[Path], read: Sequence[tuple[Manifest, str]]) -> list[Plan | None]:
    """The plan that each bundle follows: none in a group that has not proven one and the same way for each."""
    found = [read_plan(folder, hash_) for folder, (_, hash_) in zip(folders, read, strict=True)]
    chosen: list[Plan | None] = [None] * len(folders)
    for group in _sharing([manifest for manifest, _ in read]):
        plans = {place: plan for place in group if (plan := found[place][0]) is not None}
        for place in group:
            why = found[place][1]
            if why is not None:
                path = plan_path(folders[place])
                note(f"{path}: not followed: {why}; renew it with: potstill optimize {folders[place]}")
        if not plans:
            continue
        first = next(iter(plans.values()))
        without = next((folders[place] for place in group if place not in plans), None)
        if without is not None:
            note(f"{first.variant.title} is proven for some bundles of a shared network and not for {without}; all run "
                 f"the portable way until you run: potstill optimize {without}")  # fmt: skip
        elif len({(plan.variant.backend, plan.variant.precision) for plan in plans.values()}) > 1:
            titles = " and ".join(dict.fromkeys(plan.variant.title for plan in plans.values()))
            note(f"bundles of a shared network have plans for {titles}; all run the portable way")
        else:
            # Each keeps how far its own golden texts may be off; threads and batches change no score.
            for place, plan in plans.items():
                chosen[place] = plan.model_copy(update={"variant": first.variant})
    return chosen


def _opened(
    group: Sequence[int],
    folders: Sequence[Path],
    plans: Sequence[Plan | None],
    trunks: Trunks,
    *,
    check: Check,
    threads: int | None,
    device: str,
    trust: Trust | None,
) -> dict[int, Bundle]:
    """The bundles of a group by their places, all as their plans say, or else all the portable way."""

    def load(place: int, plan: Plan | None) -> Bundle:
        return load_bundle(
            folders[place], check=check, threads=threads, device=device, plan=plan, opener=trunks.open, trust=trust
        )

    if plans[group[0]] is not None:
        before = trunks.names
        try:
            return {place: load(place, plans[place]) for place in group}
        except (BundleError, Unavailable) as error:
            # Should a bundle be what is broken, the portable way will say so.
            trunks.keep(before)
            note(f"{plan_path(folders[group[0]])}: not followed: {error}; renew it with: potstill optimize")
    return {place: load(place, None) for place in group}
