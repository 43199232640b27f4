"""Folders that people name for one another: a run where its bundle is meant, a bundle where its run is.

A run may hold two bundles: the measured one, whose figures are stated, and the one to ship, whose student was refitted
on all labelled rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.errors import BundleError
from potstill.terminal import note

if TYPE_CHECKING:
    from pathlib import Path


def bundle_of(path: Path, *, measured: bool = False) -> Path:
    """The bundle that is meant: `path`, or a bundle in it where it is a run; says so then.

    Args:
        path: a bundle, or a run.
        measured: take the measured bundle of a run; by default the one to ship.

    Raises:
        BundleError: it is a run that has no bundle yet.
    """
    from potstill.bundle.layout import BUNDLE_LAYOUT
    from potstill.pipeline.run import LAYOUT, Run

    if (path / BUNDLE_LAYOUT["manifest"]).exists() or not (path / LAYOUT["manifest"]).exists():
        return path
    bundle = path / LAYOUT["bundle"]
    if not bundle.exists():
        raise BundleError(f"{path}: is a run, and it has no bundle yet; run: potstill bundle {path}")
    shipped = bundle if measured else Run.open(path).shipped()
    remark, refitted = "", path / LAYOUT["shipped"]
    if shipped != bundle:
        remark = ", refitted on all labelled rows"
    elif not measured and refitted.exists():
        remark = f"; {refitted} was refitted from an earlier one, to renew it: potstill refit {path}"
    note(f"{path} is a run; its bundle is used: {shipped}{remark}")
    return shipped


def ledger_of(bundle: Path) -> Path:
    """The default file of an oracle's answers about the articles that a bundle scores.

    It is beside the bundle. Both bundles of a run share one, so that no answer is paid for again after a refit.
    """
    from potstill.pipeline.run import LAYOUT

    place = bundle.resolve()
    refitted = place.name == LAYOUT["shipped"] and (place.parent / LAYOUT["manifest"]).exists()
    return bundle.with_name(f"{LAYOUT['bundle'] if refitted else place.name}.oracle.sqlite")
