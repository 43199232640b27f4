"""Checkpoints: everything that training needs to resume exactly where it stopped.

Input: tensors and JSON. Output: folders of safetensors and JSON files without pickle, written atomically, each with the
hashes of its files. `checkpoint-000120` holds the state after step 120; `best-0003` the parameters of epoch 3, written
before the checkpoint that refers to it. A folder that is incomplete or has changed bytes is skipped with a note, and
the previous one is used.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from potstill.errors import BadInput, TrainingError
from potstill.files import read_json, replacing_folder, sha256, write_json
from potstill.records import Record
from potstill.terminal import note

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import torch

KEEP = 2
"""Number of checkpoints that are kept: the newest, and one to fall back to."""

MANIFEST = "manifest.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d{6,})")
_BEST = re.compile(r"best-(\d{4,})")


class Files(Record):
    """The files of a checkpoint, by name, and their SHA-256."""

    fault = TrainingError

    schema_version: int = 1
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Content of one folder: JSON documents and groups of tensors, by file name without its extension."""

    documents: Mapping[str, Any]
    tensors: Mapping[str, Mapping[str, torch.Tensor]]


def checkpoint_folder(workdir: Path, step: int) -> Path:
    """Return the folder of the state after a step."""
    return workdir / f"checkpoint-{step:06d}"


def best_folder(workdir: Path, epoch: int) -> Path:
    """Return the folder of the parameters of an epoch that was the best so far."""
    return workdir / f"best-{epoch:04d}"


def write(folder: Path, snapshot: Snapshot) -> None:
    """Write a temporary folder next to the target, its manifest last, and rename it when it is complete.

    Raises:
        BadInput: the disk is full or the folder cannot be written; older checkpoints are unchanged.
    """
    try:
        with replacing_folder(folder) as temporary:
            for name, document in snapshot.documents.items():
                write_json(temporary / f"{name}.json", document)
            for name, tensors in snapshot.tensors.items():
                whole = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
                save_file(whole, temporary / f"{name}.safetensors")
            hashes = {file.name: sha256(file) for file in sorted(temporary.iterdir())}
            Files(files=hashes).save(temporary / MANIFEST)
    except SafetensorError as error:
        raise BadInput(f"{folder}: cannot be written ({error}); older checkpoints are unchanged") from error


def fault(folder: Path) -> str | None:
    """Return why a folder is not a complete checkpoint, or None if it is one."""
    try:
        manifest = Files.from_file(folder / MANIFEST)
    except BadInput as error:
        return str(error)
    for name, wanted in manifest.files.items():
        file = folder / str(name)
        if not file.is_file() or sha256(file) != wanted:
            return f"{name} is not what was written"
    return None


def read(folder: Path) -> Snapshot:
    """Read a folder whose `fault` is None.

    Raises:
        TrainingError: a file in it is missing or has changed.
    """
    if (why := fault(folder)) is not None:
        raise TrainingError(f"{folder}: {why}")
    files = list(Files.from_file(folder / MANIFEST).files)
    return Snapshot(
        documents={name.removesuffix(".json"): read_json(folder / name) for name in files if name.endswith(".json")},
        tensors={
            name.removesuffix(".safetensors"): load_file(folder / name)
            for name in files
            if name.endswith(".safetensors")
        },
    )


def newest(workdir: Path) -> Path | None:
    """Return the newest complete checkpoint whose best epoch is complete too; print a note for each one skipped."""
    for _, folder in sorted(_numbered(workdir, _CHECKPOINT), reverse=True):
        why = fault(folder)
        if why is None:
            best = read_json(folder / "progress.json").get("best_epoch")
            if best is None or (why := fault(best_folder(workdir, best))) is None:
                return folder
            why = f"its {best_folder(workdir, best).name}: {why}"
        note(f"{folder.name} is skipped: {why}")
    return None


def prune(workdir: Path) -> None:
    """Remove all but the newest checkpoints, and best epochs that none of those refers to."""
    checkpoints = [folder for _, folder in sorted(_numbered(workdir, _CHECKPOINT))]
    for folder in checkpoints[:-KEEP]:
        shutil.rmtree(folder)
    named = {
        read_json(folder / "progress.json").get("best_epoch")
        for folder in checkpoints[-KEEP:]
        if fault_of_progress(folder) is None
    }
    for epoch, folder in _numbered(workdir, _BEST):
        if epoch not in named:
            shutil.rmtree(folder)


def fault_of_progress(folder: Path) -> str | None:
    """Return why a checkpoint's `progress.json` cannot be read, or None; cheap, since no tensor is hashed."""
    try:
        read_json(folder / "progress.json")
    except BadInput as error:
        return str(error)
    return None


def sweep(workdir: Path) -> None:
    """Remove files that a killed process left incomplete."""
    for leftover in [*workdir.glob(".*.part"), *workdir.glob(".*.old")]:
        shutil.rmtree(leftover)


def clear(workdir: Path) -> None:
    """Remove every checkpoint, for a training that starts from the beginning."""
    for pattern in (_CHECKPOINT, _BEST):
        for _, folder in _numbered(workdir, pattern):
            shutil.rmtree(folder)


def _numbered(workdir: Path, pattern: re.Pattern[str]) -> Iterator[tuple[int, Path]]:
    for folder in workdir.iterdir():
        if (match := pattern.fullmatch(folder.name)) is not None and folder.is_dir():
            yield int(match.group(1)), folder
