"""File layout of a bundle, and its manifest, which makes any change of a byte detectable.

Input: a folder. Output: a manifest that has been checked against the folder: no file is missing or unexpected, and each
has the recorded SHA-256. The manifest itself has exactly one valid spelling and contains its own hash, so that changes
to it are detected too. A signature may be stored next to it; it signs the manifest and is not listed in it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from potstill.errors import BadInput, BundleError
from potstill.files import canonical, check_file, digest, foreign, parse_json, read_bytes, sha256, write_text
from potstill.records import Part, Record
from potstill.students.encoding import EncoderFacts  # noqa: TC001 - pydantic reads it when the class is made

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Kind = Literal["self-contained", "adapter"]

BUNDLE_LAYOUT: Mapping[str, str] = {
    "manifest": "bundle.json",
    "filter": "filter.yaml",
    "rubric": "rubric.md",
    "student": "student.json",
    "arrays": "student.safetensors",
    "calibration": "calibration.json",
    "golden": "golden.jsonl",
    "verdicts": "verdicts.json",
    "facts": "facts.json",
    "model": "model.onnx",
    "tokenizer": "tokenizer.json",
    "adapter": "adapter.safetensors",
    "lora": "adapter.json",
    "signature": "signature.json",
}
"""Every file of a bundle, by name. A student with several encoders has a numbered `model` and `tokenizer` for each
after the first: `model-1.onnx`, `tokenizer-1.json`, and so on."""

_EACH = ("filter", "rubric", "student", "arrays", "calibration", "golden", "verdicts", "facts")
_PER_ENCODER: Mapping[Kind, tuple[str, ...]] = {
    "self-contained": ("model", "tokenizer"),
    "adapter": ("adapter", "lora"),
}


RAW_TOLERANCE = 1e-4
"""Tolerance of raw scores relative to the trainer's, as a share of the scale: 0.001 on a scale from 0 to 10. No bundle
may allow more."""

EXACT_TOLERANCE = 1e-7
"""The same for values that are computed from recorded raw scores."""


class Tolerance(Part):
    """Tolerances of the golden texts' numbers, in points of the filter's scale."""

    raw: float = Field(gt=0)
    """For raw scores: another processor rounds differently."""
    exact: float = Field(gt=0)
    """For values computed from recorded raw scores: calibration, intervals, overall."""


class Manifest(Record):
    """`bundle.json`."""

    fault = BundleError
    made_by = "potstill bundle RUN"
    oldest = 2

    schema_version: int = 2
    kind: Kind
    filter: str
    filter_version: int
    filter_hash: str
    dimensions: tuple[str, ...]
    """In the order of the student's columns, which is the filter's order."""
    recipe: str
    student: str
    """The student's type."""
    encoders: tuple[EncoderFacts, ...]
    """Empty for a student without a network; several if their features are joined."""
    tolerance: Tolerance
    files: dict[str, str]
    """Every other file of the bundle except a signature -> its SHA-256."""


def tolerance_of(span: float) -> Tolerance:
    """Return the tolerances of golden texts on a scale of width `span`."""
    return Tolerance(raw=RAW_TOLERANCE * span, exact=EXACT_TOLERANCE * span)


def file_name(name: str, index: int = 0) -> str:
    """Return the name of a bundle file by its key in `BUNDLE_LAYOUT`, for the encoder with index `index`, from 0."""
    plain = BUNDLE_LAYOUT[name]
    stem, dot, suffix = plain.rpartition(".")
    return plain if index == 0 else f"{stem}-{index}{dot}{suffix}"


def expected_files(kind: Kind, encoders: int) -> frozenset[str]:
    """Return all files that a bundle of this kind has in addition to its manifest."""
    own = {file_name(name, index) for name in _PER_ENCODER[kind] for index in range(encoders)}
    return frozenset(own | {BUNDLE_LAYOUT[name] for name in _EACH})


def write_manifest(folder: Path, manifest: Manifest) -> str:
    """Write `bundle.json`, after all other files, and return the bundle's hash."""
    content = manifest.model_dump(mode="json")
    own = digest(content)
    write_text(folder / BUNDLE_LAYOUT["manifest"], canonical({**content, "sha256": own}))
    return own


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """Read `bundle.json` and check its consistency; return the manifest and the bundle's hash.

    Raises:
        BundleError: there is none, it was written by another version of potstill or changed, or it does not list the
            files that such a bundle has.
    """
    path = folder / BUNDLE_LAYOUT["manifest"]
    content = _object(path)
    own = content.pop("sha256", None)
    Manifest.check_version(content, str(path))
    if own != digest(content):
        raise BundleError(f"{path}: changed after it was written (its own hash does not fit)")
    manifest = Manifest.from_json(content, str(path))
    expected = expected_files(manifest.kind, len(manifest.encoders))
    for name in sorted(expected ^ set(manifest.files)):
        what = "is not listed" if name in expected else "is listed, but no such bundle has it"
        raise BundleError(f"{folder / name}: {what} in {path.name}")
    return manifest, str(own)


def check_files(folder: Path, manifest: Manifest) -> None:
    """Check that the folder holds exactly the files that its manifest lists, each unchanged.

    Raises:
        BundleError: it does not; the message names the file.
    """
    expected = set(manifest.files)
    with foreign(folder, BundleError):
        found = {path.name for path in folder.iterdir()} - {BUNDLE_LAYOUT["manifest"], BUNDLE_LAYOUT["signature"]}
    for name in sorted(found ^ expected):
        what = "is missing" if name in expected else "is no part of the bundle"
        raise BundleError(f"{folder / name}: {what}")
    for name, wanted in sorted(manifest.files.items()):
        with foreign(folder / name, BundleError):
            _check_file(folder / name)
            if sha256(folder / name) != wanted:
                raise BundleError(f"{folder / name}: changed after it was written (SHA-256 does not fit)")


def _object(path: Path) -> dict[str, Any]:
    """Read a JSON object that must be spelled as `canonical` spells it, so that any change of a byte is detected."""
    if not os.path.lexists(path):
        raise BundleError(f"{path.parent}: not a bundle (no {path.name})")
    try:
        raw = read_bytes(path)
    except BadInput as error:
        raise BundleError(str(error)) from None
    try:
        content = parse_json(raw.decode("utf-8"), str(path))
        whole = isinstance(content, dict) and canonical(content).encode() == raw
    except (BadInput, UnicodeDecodeError):
        whole = False
    if not whole:
        raise BundleError(f"{path}: changed after it was written (not the JSON that potstill writes)")
    return content  # type: ignore[no-any-return]  # it is a dict, as seen above


def _check_file(path: Path) -> None:
    try:
        check_file(path)
    except BadInput as error:
        raise BundleError(str(error)) from None
