"""What is scored outlives a kill: each batch of results is a file of its own until all are done.

In: batches of articles and their results, in order. Out: for a batch whose articles and settings are the same as
before the kill, the results that were written then. A part is whole or absent, and is known by the hash of what it
was made from, so that nothing is mistaken for it.
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
    """The folder of parts beside a target; `open_parts` makes one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, number: int, articles: pl.DataFrame) -> pl.DataFrame | None:
        """The results of a batch, if it was done before."""
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
    """The parts of a target: those of an earlier try with `resume`, else none. They go when the block ends well.

    Args:
        target: the file of results.
        settings: all that results depend on beside the articles; any JSON.
        resume: go on from what is there.

    Raises:
        BadInput: another process writes to the target, the earlier try had other settings, or the folder cannot be
            written.
    """
    # The results lie where the target lies, whichever link leads there.
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
                # An interrupted command says so itself, as its last line.
                note(f"{target}: what is scored is kept; go on with --resume")


@contextmanager
def _locked(folder: Path, target: Path) -> Iterator[None]:
    """Hold the folder alone; it is made."""
    lock = FileLock(folder / _LAYOUT["lock"], timeout=0)
    try:
        # The parts are results, and the target may be nobody else's to read.
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
    """Check or clear the folder, and clear what a kill left of the target."""
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
    """A hash of all that a batch of articles holds."""
    stream = io.BytesIO()
    articles.rechunk().write_ipc(stream)
    return hashlib.sha256(stream.getbuffer()).hexdigest()[:24]
