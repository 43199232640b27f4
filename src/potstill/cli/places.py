"""Folders that people name for one another: a run where its bundle is meant, a bundle where its run is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.errors import BundleError
from potstill.terminal import note

if TYPE_CHECKING:
    from pathlib import Path


def bundle_of(path: Path) -> Path:
    """The bundle that is meant: `path`, or the bundle in it where it is a run; says so then.

    Raises:
        BundleError: it is a run that has no bundle yet.
    """
    from potstill.bundle.layout import BUNDLE_LAYOUT
    from potstill.pipeline.run import LAYOUT

    if (path / BUNDLE_LAYOUT["manifest"]).exists() or not (path / LAYOUT["manifest"]).exists():
        return path
    bundle = path / LAYOUT["bundle"]
    if not bundle.exists():
        raise BundleError(f"{path}: is a run, and it has no bundle yet; run: potstill bundle {path}")
    note(f"{path} is a run; its bundle is used: {bundle}")
    return bundle
