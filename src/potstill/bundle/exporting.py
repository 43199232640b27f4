"""Exports a fitted student's encoders as the files of a bundle.

Input: a student with torch encoders, or without any. Output: the kind of bundle, its encoder files, and what to record
about them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from potstill.bundle.facts import BundleFacts, Exported
from potstill.bundle.layout import BUNDLE_LAYOUT, file_name, read_manifest
from potstill.bundle.writing import EncoderFiles
from potstill.errors import BadInput, BundleError, require
from potstill.files import sha256, write_json
from potstill.students.blend import encoder_of
from potstill.students.neural import NeuralStudent, parts_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from potstill.bundle.layout import Kind
    from potstill.export import Made
    from potstill.students.storage import AnyStudent

LARGEST_GRAPH = 1_900_000_000
"""Largest size of a network's weights, in bytes, that fits one ONNX file (the format's limit is 2 GiB)."""


def export_student(
    student: AnyStudent,
    folder: Path,
    texts: Sequence[str],
    kind: Kind | None = None,
    graphs_of: Sequence[Path] = (),
) -> tuple[Kind, list[EncoderFiles], tuple[Exported, ...]]:
    """Write a student's encoders as bundle files; return the kind of bundle, the files and what to record.

    Args:
        student: the student, with torch encoders if it has any.
        folder: where the files are written.
        texts: text windows on which an exported network is compared with the original.
        kind: as in `build_bundle`.
        graphs_of: as in `build_bundle`.

    Raises:
        BundleError: the student cannot be stored in this form.
        MissingExtra: torch is not installed.
    """
    encoder: Any = encoder_of(student)
    if encoder is None:
        if kind == "adapter":
            raise BundleError(f"a {student.kind} student has no adapter")
        return "self-contained", [], ()
    require("torch", "train")
    from potstill.export import export_encoder, weight_bytes
    from potstill.students.torch.adapted import AdaptedEncoder

    parts: tuple[Any, ...] = parts_of(encoder)
    too_large = any(weight_bytes(part) > LARGEST_GRAPH for part in parts)
    adapted = isinstance(student, NeuralStudent) and isinstance(encoder, AdaptedEncoder)
    if kind == "adapter" or (kind is None and too_large and adapted):
        if not adapted:
            raise BundleError("only a student with a LoRA adapter can be shipped as an adapter to its base")
        encoder.save(folder)
        write_json(folder / "adapter.json", encoder.lora.model_dump(mode="json"))
        files = {"adapter": folder / "adapter.safetensors", "lora": folder / "adapter.json"}
        return "adapter", [EncoderFiles(encoder.facts, files)], ()
    if too_large:
        raise BundleError(f"weights above {LARGEST_GRAPH / 1e9:.1f} GB do not fit an ONNX file; train with lora")
    exported = [
        export_encoder(part, folder / str(place), texts, made=_graphs(graphs_of, part))
        for place, part in enumerate(parts)
    ]
    return (
        "self-contained",
        [EncoderFiles(one.facts, {"model": one.model, "tokenizer": one.tokenizer}) for one in exported],
        tuple(
            Exported(
                backbone=one.facts.backbone,
                fused=one.fused,
                largest_difference=float(f"{one.difference:.3g}"),
            )
            for one in exported
        ),
    )


def _graphs(bundles: Sequence[Path], part: Any) -> list[Made]:  # noqa: ANN401 - an encoder of torch
    """Return intact graphs of a frozen encoder from other bundles; none for an encoder that was trained."""
    from potstill.export import Made

    found = []
    for folder in bundles if bundles and not part.trained and part.learned is None else ():
        try:
            manifest, _ = read_manifest(folder)
            exports = BundleFacts.from_file(folder / BUNDLE_LAYOUT["facts"]).exports
        except BadInput:
            continue  # not a bundle, or one that fails its checks: its graph is not used
        for place, facts in enumerate(manifest.encoders if manifest.kind == "self-contained" else ()):
            name = file_name("model", place)
            if place < len(exports) and facts == part.facts and sha256(folder / name) == manifest.files[name]:
                found.append(Made(folder / name, exports[place].fused))
    return found
