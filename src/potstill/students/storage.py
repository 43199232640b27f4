"""Saves students to disk and loads them again.

A student's folder holds `student.json` (type and settings), `student.safetensors` (all numbers, as arrays) and, if its
encoder was trained, a folder with the encoder. Nothing is pickled, so a folder from an untrusted source can be wrong
but cannot run code.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from potstill.errors import BadInput, BundleError, PotstillError
from potstill.files import check_file, digest, foreign, replacing, sha256
from potstill.records import Record
from potstill.students.blend import BlendStudent, check_weights, encoder_of
from potstill.students.constant import ConstantStudent
from potstill.students.neural import (
    DescribedEncoder,
    NeuralStudent,
    joined,
    novelty_for,
    parts_of,
    restore_encoder,
)
from potstill.students.novelty import NOVELTY, novelty_from
from potstill.students.source_median import SourceMedianStudent
from potstill.students.tfidf import TfidfStudent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from potstill.students import Encoder

LAYOUT = {"facts": "student.json", "arrays": "student.safetensors", "encoder": "encoder"}
"""Contents of a student's folder; `encoder` exists only if the encoder's weights were trained."""

AnyStudent = ConstantStudent | SourceMedianStudent | TfidfStudent | NeuralStudent | BlendStudent
_PLAIN: dict[str, type[ConstantStudent | SourceMedianStudent | TfidfStudent]] = {
    ConstantStudent.kind: ConstantStudent,
    SourceMedianStudent.kind: SourceMedianStudent,
    TfidfStudent.kind: TfidfStudent,
}
_BLENDED = {ConstantStudent.kind, TfidfStudent.kind, NeuralStudent.kind}


class StudentFacts(Record):
    """`student.json`: a student's type, dimensions and settings."""

    fault = BundleError

    schema_version: int = 1
    kind: str
    dimensions: tuple[str, ...] = Field(min_length=1)
    """Names of the dimensions, in the column order of the scores."""
    settings: dict[str, Any]


def feature_folder() -> Path:
    """Return the folder in which all runs share the features of frozen encoders; each encoder has a folder in it."""
    from potstill.students.torch.backbones import cache_folder

    return cache_folder() / "features"


def save_student(student: AnyStudent, folder: Path, *, encoder_beside: bool = False) -> None:
    """Write a student into a folder; `student.json` is written last, so a folder that contains it is complete.

    With `encoder_beside`, the caller stores a neural student's encoder, and `student.json` does not describe it.

    Raises:
        BadInput: the disk is full or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_arrays(student.arrays(), folder / LAYOUT["arrays"])
    settings = student.settings()
    if encoder_beside and "encoder" in settings:
        settings["encoder"] = {}
    else:
        encoder = encoder_of(student)
        if isinstance(encoder, DescribedEncoder):
            encoder.save(folder / LAYOUT["encoder"])
    facts = StudentFacts(kind=student.kind, dimensions=tuple(student.dimensions), settings=settings)
    facts.save(folder / LAYOUT["facts"])


def load_student(folder: Path, encoder: Encoder | None = None, *, cache: Path | None = None) -> AnyStudent:
    """Load a student from its folder.

    A neural student uses `encoder` if given (for example one of ONNX Runtime); otherwise its own encoder is opened with
    torch, and `cache` is the folder in which that encoder caches features.

    Raises:
        BundleError: a file is missing, broken, newer than this version of potstill, or inconsistent with the others;
            the message names the file.
        MissingExtra, MissingModel: torch or the backbone is needed and not installed.
    """
    path, arrays_path = folder / LAYOUT["facts"], folder / LAYOUT["arrays"]
    facts = _facts(path)
    arrays = _Arrays(load_arrays(arrays_path))
    dimensions, settings = facts.dimensions, facts.settings
    # A blend of students without encoders has no such setting.
    if encoder is None and (facts.kind == NeuralStudent.kind or "encoder" in settings):
        if "encoder" not in settings:
            raise BundleError(f"{path}: 'encoder' is missing from the settings")
        with foreign(path, BundleError):
            encoder = restore_encoder(settings["encoder"], folder / LAYOUT["encoder"], cache)
    try:
        student = _restored(facts.kind, dimensions, arrays, settings, encoder, arrays_path)
        _refuse_strangers(student, arrays, arrays_path)
    except PotstillError:
        raise
    except _NoArrayError as error:
        raise BundleError(f"{arrays_path}: the array {error.args[0]!r} is missing") from None
    except KeyError as error:
        raise BundleError(f"{path}: {error.args[0]!r} is missing from the settings") from None
    except Exception as error:
        # numpy and Python raise various errors if the shapes, types or values of arrays and settings were changed.
        raise BundleError(
            f"{folder}: {LAYOUT['facts']} and {LAYOUT['arrays']} do not fit together ({error})"
        ) from error
    else:
        return student


def _refuse_strangers(student: AnyStudent, arrays: _Arrays, path: Path) -> None:
    if strangers := set(arrays) - set(student.arrays()):
        raise BundleError(f"{path}: arrays that the student does not have: {', '.join(sorted(strangers))}")


def student_hash(folder: Path) -> str:
    """Return the SHA-256 of everything that defines a student: settings, arrays and, if trained, its encoder.

    Raises:
        BundleError: the folder holds no student.
    """
    if not (folder / LAYOUT["facts"]).is_file():
        raise BundleError(f"{folder}: holds no student (no {LAYOUT['facts']})")
    files = [folder / LAYOUT["facts"], folder / LAYOUT["arrays"]]
    files += sorted(path for path in (folder / LAYOUT["encoder"]).rglob("*") if path.is_file())
    return digest([[path.relative_to(folder).as_posix(), sha256(path)] for path in files])


def save_arrays(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write arrays to a safetensors file atomically."""
    with replacing(path) as temporary:
        # save_file would replace the file that `replacing` created with one that only its owner may read.
        temporary.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read arrays from a safetensors file.

    Raises:
        BundleError: the file is missing or broken, or an array contains NaN or infinity.
    """
    with foreign(path, BundleError):
        try:
            check_file(path)
            arrays = dict(load_file(path))
        except BadInput as error:
            raise BundleError(str(error)) from None
        except SafetensorError as error:
            raise BundleError(f"{path}: not a whole safetensors file ({error})") from None
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BundleError(f"{path}: {name} holds a number that is not finite")
    return arrays


class _NoArrayError(Exception):
    """The file does not hold the requested array."""


class _Arrays(dict[str, "NDArray[Any]"]):
    """Arrays by name; a missing array raises another error than a missing setting."""

    def __missing__(self, name: str) -> NDArray[Any]:
        raise _NoArrayError(name)

    def under(self, prefix: str) -> _Arrays:
        """Return the arrays whose names start with `prefix`, with the prefix removed."""
        return _Arrays({name.removeprefix(prefix): self[name] for name in self if name.startswith(prefix)})


def _restored(
    kind: str,
    dimensions: tuple[str, ...],
    arrays: _Arrays,
    settings: Mapping[str, Any],
    encoder: Encoder | None,
    path: Path,
) -> AnyStudent:
    if kind == BlendStudent.kind:
        return _blend(dimensions, arrays, settings, encoder, path)
    if encoder is None and kind == NeuralStudent.kind:
        raise BundleError(f"{path}: a neural student, and no encoder for it")
    try:
        if encoder is None or kind != NeuralStudent.kind:
            return _PLAIN[kind].restore(dimensions, arrays, settings)
        return NeuralStudent.restore(dimensions, arrays, settings, encoder)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from None


def _blend(
    dimensions: tuple[str, ...], arrays: _Arrays, settings: Mapping[str, Any], encoder: Encoder | None, path: Path
) -> BlendStudent:
    parts = () if encoder is None else parts_of(encoder)
    members: list[Any] = []
    strangers = {name for name in arrays if name != "weights" and not name.startswith(NOVELTY)}
    for place, stored in enumerate(settings["members"]):
        own, prefix = stored["settings"], f"{place}."
        if stored["kind"] not in _BLENDED:
            raise BundleError(f"{path}: a blend holds no student of kind {stored['kind']!r}")
        if not set(own.get("encoder", ())) <= set(range(len(parts))):
            raise BundleError(f"{path}: member {place} reads with encoders {own['encoder']} of {len(parts)}")
        reader = joined([parts[at] for at in own["encoder"]]) if own.get("encoder") else None
        members.append(_restored(stored["kind"], dimensions, arrays.under(prefix), own, reader, path))
        strangers -= {name for name in strangers if name.startswith(prefix)}
    if strangers:
        raise BundleError(f"{path}: arrays that no member has: {', '.join(sorted(strangers))}")
    try:
        check_weights(arrays["weights"], len(members), len(dimensions))
        blend = BlendStudent(dimensions, tuple(members), arrays["weights"])
        first = blend.reader
        novelty = novelty_from(arrays) if first is None else novelty_for(arrays, first.encoder.width)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from None
    return replace(blend, novelty=novelty)


def _facts(path: Path) -> StudentFacts:
    facts = StudentFacts.from_file(path)
    if facts.kind not in [*_PLAIN, NeuralStudent.kind, BlendStudent.kind]:
        raise BundleError(f"{path}: unknown kind of student {facts.kind!r}")
    return facts
