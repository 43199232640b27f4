"""Scores articles with several filters in one pass: each network reads each article once.

Input: bundles of different filters. Output: for each article, one verdict per filter. Each filter keeps its own text
window, prefilter, head, calibration and rules. Bundles with the same network share it (`trunks`), and with it nearly
all of the computation.
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
"""Field of a JSON line that holds one object per filter."""


class Together:
    """Scores articles with the bundles of several filters; create it with `Together.load`."""

    def __init__(self, scorers: Sequence[Scorer], trunks: Trunks) -> None:
        """Create it from open scorers whose encoders were opened by `trunks`.

        Raises:
            BadInput: two scorers have the same filter.
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
        """Open bundles of different filters; the arguments are those of `Scorer.load` and apply to every bundle.

        Bundles that share a network run it as `potstill optimize` found fastest only if every one of them has the same
        plan; otherwise all of them run on the portable backend, and a message says why.

        Raises:
            BadInput: no bundle is given, two have the same filter, or one does not support the options.
            BundleError: a bundle does not pass its checks, or is not signed as required.
            MissingExtra, MissingModel: an adapter bundle's libraries or base, or the library that checks signatures,
                are not installed.
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
        """Return the verdict of each filter on one text or article, by the filter's name."""
        return next(self.score_many([article]))

    def score_many(self, articles: Iterable[str | Article], *, batch_size: int = BATCH) -> Iterator[dict[str, Verdict]]:
        """Yield the verdicts on each text or article, in input order; articles are scored in batches."""
        remaining = iter(articles)
        while batch := list(islice(remaining, batch_size)):
            frame = frame_of(batch)
            outcomes = self.finish(self.prepare(frame))
            each = [scorer.verdicts(frame, outcome) for scorer, outcome in zip(self.scorers, outcomes, strict=True)]
            for verdicts in zip(*each, strict=True):
                yield dict(zip(self.filters, verdicts, strict=True))

    def score_batch(self, articles: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with the columns of `Scorer.score_batch` for each filter, named `<filter>.<column>`.

        Raises:
            BadInput: as `Scorer.score_batch`.
        """
        return self.flat(self.prepare(articles))

    def nested_batch(self, articles: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with a struct `verdicts`: one struct per filter with what `Scorer.nested_batch` adds."""
        return self.nested(self.prepare(articles))

    def prepare(self, articles: pl.DataFrame) -> tuple[Prepared, ...]:
        """Run the steps before the students, for each filter; filters with the same text window share the windows.

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
        """Run the students and all later steps, for each filter; a network reads each text once."""
        with self.trunks.one_pass():
            return tuple(scorer.finish(one) for scorer, one in zip(self.scorers, prepared, strict=True))

    def flat(self, prepared: Sequence[Prepared]) -> pl.DataFrame:
        """Return what `score_batch` returns, for prepared articles."""
        added = [
            column.alias(f"{scorer.name}.{column.name}")
            for scorer, outcome in zip(self.scorers, self.finish(prepared), strict=True)
            for column in scorer.flat_columns(outcome)
        ]
        return beside(prepared[0].articles, added)

    def nested(self, prepared: Sequence[Prepared]) -> pl.DataFrame:
        """Return what `nested_batch` returns, for prepared articles."""
        each = [
            pl.DataFrame(scorer.nested_columns(outcome)).to_struct(scorer.name)
            for scorer, outcome in zip(self.scorers, self.finish(prepared), strict=True)
        ]
        return beside(prepared[0].articles, [pl.DataFrame(each).to_struct(VERDICTS)])

    def told(self, result: pl.DataFrame) -> Iterator[tuple[Scorer, pl.Series, pl.Series]]:
        """Yield each filter's scorer with its tiers and reasons of a frame that `flat` or `nested` returned."""
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
    """Group the bundles' indices so that bundles that share a network, directly or indirectly, are together."""
    groups: list[tuple[set[str], list[int]]] = []
    for place, manifest in enumerate(manifests):
        keys, places = set(trunk_keys(manifest)), [place]
        for group in [group for group in groups if group[0] & keys]:
            groups.remove(group)
            keys, places = group[0] | keys, group[1] + places
        groups.append((keys, sorted(places)))
    return [places for _, places in groups]


def _plans(folders: Sequence[Path], read: Sequence[tuple[Manifest, str]]) -> list[Plan | None]:
    """Return the plan that each bundle follows; None in a group whose bundles do not all have the same plan."""
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
            # Each bundle keeps its own tolerance for golden texts; threads and batch sizes change no score.
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
    """Open the bundles of a group, by index: all as their plans say, or all on the portable backend."""

    def load(place: int, plan: Plan | None) -> Bundle:
        return load_bundle(
            folders[place], check=check, threads=threads, device=device, plan=plan, opener=trunks.open, trust=trust
        )

    if plans[group[0]] is not None:
        before = trunks.names
        try:
            return {place: load(place, plans[place]) for place in group}
        except (BundleError, Unavailable) as error:
            # If a bundle itself is broken, loading it on the portable backend raises the error.
            trunks.keep(before)
            note(f"{plan_path(folders[group[0]])}: not followed: {error}; renew it with: potstill optimize")
    return {place: load(place, None) for place in group}
