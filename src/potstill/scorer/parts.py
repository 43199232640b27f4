"""Keeps finished batches of results across crashes: each batch is a separate file until all are done.

Input: batches of articles and their results, in order. Output: for a batch whose articles and settings are the same as
before the crash, the results written then. A part is written atomically and identified by the hash of its inputs, so
that parts cannot be confused.
"""

from __future__ import annotations

import glob
import hashlib
import io
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from filelock import FileLock, Timeout

from potstill.errors import BadInput
from potstill.files import read_object, replacing, temporary_prefix, write_json
from potstill.interrupts import on_interrupt
from potstill.terminal import note

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LAYOUT = {"settings": "settings.json", "lock": "lock"}


class Parts:
    """The folder of parts next to a target; created by `open_parts`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, number: int, articles: pl.DataFrame) -> pl.DataFrame | None:
        """Return the results of a batch if it was finished before, else None."""
        path = self._path(number, articles)
        return pl.read_ipc(path) if path.exists() else None

    def keep(self, number: int, articles: pl.DataFrame, results: pl.DataFrame) -> None:
        """Write the results of a batch.

        Raises:
            BadInput: the disk is full or the folder cannot be written.
        """
        with replacing(self._path(number, articles)) as temporary:
            results.write_ipc(temporary, compression="lz4")
        on_interrupt("what is scored is kept; run the same command with --resume to resume")

    def _path(self, number: int, articles: pl.DataFrame) -> Path:
        return self.folder / f"{number:08d}-{_digest(articles)}.arrow"


@contextmanager
def open_parts(target: Path, settings: Mapping[str, Any], *, resume: bool) -> Iterator[Parts]:
    """Open the parts of a target: those of an earlier call with `resume`, else none. They are deleted on success.

    Args:
        target: the file of results.
        settings: everything except the articles that results depend on; any JSON.
        resume: continue from the existing parts.

    Raises:
        BadInput: another process is writing to the target, the earlier call had other settings, or the folder cannot be
            written.
    """
    # Symbolic links are resolved, so that the parts are next to the real target.
    target = Path(os.path.realpath(target))
    folder = target.parent / f"{temporary_prefix(target)}parts"
    with _locked(folder, target):
        _begin(folder, target, settings, resume=resume)
        done = False
        try:
            yield Parts(folder)
            done = True
        finally:
            if done or not any(folder.glob("*.arrow")):
                shutil.rmtree(folder, ignore_errors=True)
            elif not isinstance(sys.exception(), KeyboardInterrupt):
                # An interrupted command prints this itself, as its last line.
                note(f"{target}: what is scored is kept; go on with --resume")


@contextmanager
def _locked(folder: Path, target: Path) -> Iterator[None]:
    """Create the folder if necessary and lock it."""
    lock = FileLock(folder / _LAYOUT["lock"], timeout=0)
    try:
        # The parts contain results, which only the owner may be allowed to read.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise BadInput(f"{target}: another potstill process is writing it") from None
    except OSError as error:
        raise BadInput(f"{target}: cannot be written ({error.strerror}); what was there is unchanged") from None
    try:
        yield
    finally:
        lock.release()


def _begin(folder: Path, target: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
    """Check or clear the folder, and remove what a killed process left of the target."""
    path = folder / _LAYOUT["settings"]
    if resume and path.exists():
        before = read_object(path)
        others = sorted(name for name in {*before, *settings} if before.get(name) != settings.get(name))
        if others:
            raise BadInput(
                f"{target}: was begun with another {', '.join(others)}; resume with the same, or begin again without "
                "--resume"
            )
    else:
        for old in folder.glob("*.arrow"):
            old.unlink()
        write_json(path, dict(settings))
    for half in (*folder.glob(".*.part"), *target.parent.glob(f"{glob.escape(temporary_prefix(target))}*.part")):
        half.unlink()


def _digest(articles: pl.DataFrame) -> str:
    """Return a hash of the complete content of a batch of articles."""
    stream = io.BytesIO()
    articles.rechunk().write_ipc(stream)
    return hashlib.sha256(stream.getbuffer()).hexdigest()[:24]
