"""Opens the bundles of a scorer: each as its plan says, and encoders that several of them use only once.

Input: bundle folders. Output: open bundles that have passed their checks. Bundles that share an encoder, directly or
through others, run it in one way: as the plans of all of them say, or on the portable backend.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from potstill.backends.plan import plan_path, read_plan
from potstill.bundle.layout import read_manifest
from potstill.bundle.reading import load_bundle
from potstill.errors import BadInput, BundleError, Unavailable
from potstill.scorer.shared_encoders import encoder_keys
from potstill.terminal import note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from potstill.backends.plan import Plan
    from potstill.bundle.layout import Manifest
    from potstill.bundle.reading import Bundle, Check
    from potstill.bundle.signing import Trust
    from potstill.scorer.shared_encoders import SharedEncoders


def open_bundles(
    folders: Sequence[Path],
    encoders: SharedEncoders,
    *,
    check: Check,
    threads: int | None,
    device: str,
    follow_plan: bool,
    trust: Trust | None,
) -> list[Bundle]:
    """Open bundles of different filters; see `Scorer.load` for the arguments.

    Raises:
        BadInput: no bundle is named, or two are for the same filter.
        BundleError, MissingExtra, MissingModel: as `load_bundle`.
    """
    if not folders:
        raise BadInput("no bundle was named")
    read = [read_manifest(folder) for folder in folders]
    if trust is not None:
        for folder, (_, bundle_hash) in zip(folders, read, strict=True):
            trust.check(folder, bundle_hash)
    manifests = [manifest for manifest, _ in read]
    refuse_repeated_filters(manifests, folders)
    groups = _sharing(manifests)
    plans = _plans(folders, [bundle_hash for _, bundle_hash in read], groups) if follow_plan else {}
    opener = encoders.open if len(folders) > 1 else None
    load = partial(load_bundle, check=check, threads=threads, device=device, opener=opener, trust=trust)
    bundles: dict[int, Bundle] = {}
    with encoders.one_pass():
        for group in groups:
            bundles |= _opened({index: folders[index] for index in group}, plans, encoders, load)
    return [bundles[index] for index in range(len(folders))]


def refuse_repeated_filters(manifests: Sequence[Manifest], folders: Sequence[Path]) -> None:
    """Refuse two bundles of one filter.

    Raises:
        BadInput: two bundles are for the same filter.
    """
    first: dict[str, Path] = {}
    for index, (manifest, folder) in enumerate(zip(manifests, folders, strict=True)):
        other = first.setdefault(manifest.filter, folder)
        if len(first) <= index:
            raise BadInput(
                f"{folder}: is for the filter {manifest.filter}, as {other} is; one pass takes one bundle a filter"
            )


def _sharing(manifests: Sequence[Manifest]) -> list[list[int]]:
    """Group the bundles' indices so that bundles that share an encoder, directly or indirectly, are together."""
    groups: list[tuple[set[str], list[int]]] = []
    for index, manifest in enumerate(manifests):
        keys, indices = set(encoder_keys(manifest)), [index]
        for group in [group for group in groups if group[0] & keys]:
            groups.remove(group)
            keys, indices = group[0] | keys, group[1] + indices
        groups.append((keys, sorted(indices)))
    return [indices for _, indices in groups]


def _plans(folders: Sequence[Path], hashes: Sequence[str], groups: Sequence[Sequence[int]]) -> dict[int, Plan]:
    """Return the plans to follow, by the bundle's index; none in a group whose bundles do not all have the same."""
    chosen: dict[int, Plan] = {}
    for group in groups:
        plans: dict[int, Plan] = {}
        for index in group:
            plan, why = read_plan(folders[index], hashes[index])
            if plan is not None:
                plans[index] = plan
            elif why is not None:
                _note_plan_not_followed(folders[index], why)
        if not plans:
            continue
        first = next(iter(plans.values()))
        without = next((folders[index] for index in group if index not in plans), None)
        if without is not None:
            note(f"{first.variant.title} is proven for some bundles of a shared network and not for {without}; all run "
                 f"the portable way until you run: potstill optimize {without}")  # fmt: skip
        elif len({(plan.variant.backend, plan.variant.precision) for plan in plans.values()}) > 1:
            titles = " and ".join(dict.fromkeys(plan.variant.title for plan in plans.values()))
            note(f"bundles of a shared network have plans for {titles}; all run the portable way")
        else:
            # Each bundle keeps its own tolerance for golden texts; threads and batch sizes change no score.
            for index, plan in plans.items():
                chosen[index] = plan.model_copy(update={"variant": first.variant})
    return chosen


def _opened(
    group: dict[int, Path], plans: dict[int, Plan], encoders: SharedEncoders, load: Callable[..., Bundle]
) -> dict[int, Bundle]:
    """Open the bundles of a group, by index: all as their plans say, or all on the portable backend."""
    before = encoders.names
    bundles: dict[int, Bundle] = {}
    for index, folder in group.items():
        try:
            bundles[index] = load(folder, plan=plans.get(index))
        except (BundleError, Unavailable) as error:
            if index not in plans:
                raise
            # If the bundle itself is broken, loading it on the portable backend raises the error.
            _note_plan_not_followed(folder, str(error))
            encoders.keep(before)
            return {index: load(folder, plan=None) for index, folder in group.items()}
    return bundles


def _note_plan_not_followed(folder: Path, why: str) -> None:
    note(f"{plan_path(folder)}: not followed: {why}; renew it with: potstill optimize {folder}")
