"""Makes a bundle of a fitted student: calibrates it, exports its encoders and writes the folder.

Input: a student with torch encoders or without any, its filter, and rows that it was not trained on. Output: a
calibration, or a bundle that was verified.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.bundle.facts import BundleFacts, Calibrated, Exported
from potstill.bundle.golden import TEXTS, windows, word_lists
from potstill.bundle.layout import BUNDLE_LAYOUT, file_name, read_manifest
from potstill.bundle.writing import EncoderFiles, write_bundle
from potstill.calibration import belonging, fit_calibration
from potstill.calibration.familiarity import FEWEST_DISTANCES
from potstill.dataset import folds
from potstill.errors import BadInput, BundleError, require
from potstill.files import sha256, write_json
from potstill.findings import FEWEST_TO_DECIDE
from potstill.machine import versions
from potstill.students.blend import BlendStudent, encoder_of
from potstill.students.neural import NeuralStudent, part_widths, parts_of
from potstill.students.novelty import FeatureNovelty, WordNovelty, unseen_distances
from potstill.students.tfidf import TfidfStudent
from potstill.students.tier_head import fit_tier_head, out_of_fold_tiers
from potstill.verdict import cap_hits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from potstill.bundle.facts import Choice, Refit
    from potstill.bundle.layout import Kind
    from potstill.bundle.reading import Bundle
    from potstill.calibration import Calibration
    from potstill.dataset import Examples
    from potstill.export import Made
    from potstill.filters import Filter
    from potstill.operating_points import OperatingPoint
    from potstill.students import Encoder
    from potstill.students.novelty import Novelty
    from potstill.students.storage import AnyStudent
    from potstill.training.facts import StudentRecord
    from potstill.types import FloatArray, IntArray

LARGEST_GRAPH = 1_900_000_000
"""Largest size of a network's weights, in bytes, that fits one ONNX file (the format's limit is 2 GiB)."""


TIER_FOLDS = 10
"""Number of folds in which tier outputs of training rows are predicted."""

NOVELTY_FOLDS = 20
"""Number of folds in which distances of texts of the training kind are measured. With few, texts are measured against
fewer training texts than new ones will be, and seem farther away: with 5, 2% to 4% of held-out news were below 0.05."""

CALIBRATION_PART = "the calibration part"
OUT_OF_FOLD = "training rows, predicted by models that had not seen them"


def calibrate(
    predicted: FloatArray,
    rows: Examples,
    filter_: Filter,
    origin: str,
    *,
    tier_outputs: FloatArray | None = None,
    decide: Mapping[str, OperatingPoint] | None = None,
    distances: FloatArray | None = None,
    seed: int = 0,
) -> Calibration:
    """Fit the calibration of a student's raw predictions of rows, shape (rows, dimensions), that trained nothing else.

    Args:
        predicted: the predictions; rows of NaN are skipped, and so are rows that were chosen by a predicted score.
        rows: the labelled rows.
        filter_: the filter, whose tiers the decisions and the deferral table are about.
        origin: `CALIBRATION_PART` or `OUT_OF_FOLD`, for the record.
        tier_outputs: the tier outputs for the rows, shape (rows, positive tiers), by a head that was not fitted on the
            row; None without a tier head.
        decide: operating points that override those of the filter, by positive tier.
        distances: what `with_novelty` returns.
        seed: random seed of the folds.
    """
    return fit_calibration(
        np.where(rows.targeted[:, None], np.nan, predicted),
        rows.scores,
        rows.clusters,
        seed,
        dimensions=filter_.dimension_names,
        low=filter_.scale.min,
        high=filter_.scale.max,
        origin=origin,
        rules=filter_,
        cap_hits=cap_hits(rows.frame["text"], filter_),
        tier_outputs=tier_outputs,
        decide={**filter_.decide, **(decide or {})},
        distances=distances,
    )


def with_tier_head(student: AnyStudent, train: Examples, filter_: Filter) -> tuple[AnyStudent, FloatArray | None]:
    """Fit a tier head on the training rows; only a student with a frozen encoder gets one.

    An encoder that was trained has learned the training rows by heart, so its features of them are not those of new
    articles.

    Args:
        student: the student, with its encoder.
        train: the rows that it was trained on.
        filter_: the filter, whose positive tiers the head tells apart.

    Returns:
        The student, and its tier outputs for the training rows, each by a head fitted without the row's fold, shape
        (rows, positive tiers), NaN for rows whose labels give no tier; the unchanged student and None if it gets none.
    """
    if not isinstance(student, NeuralStudent) or not _is_frozen(student.encoder) or not filter_.positive_tiers:
        return student, None
    belongs = belonging(train.scores, filter_, cap_hits(train.frame["text"], filter_))
    rows = np.flatnonzero(np.isfinite(belongs).all(axis=1))
    enough = (
        len(rows) and min(belongs[rows].sum(axis=0).min(), (1 - belongs[rows]).sum(axis=0).min()) >= FEWEST_TO_DECIDE
    )
    if not enough:
        return student, None
    features = student.features(train.texts)[rows]
    fold = folds(train.clusters[rows], train.scores[rows], TIER_FOLDS, seed=0)
    outputs = np.full(belongs.shape, np.nan)
    outputs[rows] = out_of_fold_tiers(student.head, features, belongs[rows], fold)
    return replace(student, tiers=fit_tier_head(student.head, features, belongs[rows])), outputs


def with_novelty(
    student: AnyStudent, train: Examples, unseen: Sequence[Examples] = (), *, seed: int = 0
) -> tuple[AnyStudent, FloatArray | None]:
    """Let a student measure how far a text is from the training texts.

    Distances of texts of the training kind are measured in folds, each to the texts of the other folds. The features of
    an encoder that was trained are taken from rows that it was not trained on: those of the training rows differ from
    those of any other text. If there are too few such rows, the words of the training rows are used.

    Args:
        student: the student, with its encoder.
        train: the rows that it was trained on.
        unseen: rows that did not train its weights, such as the validation rows, for an encoder that was trained.
        seed: random seed of the folds and of sampling.

    Returns:
        The student, and a distance for each row that was used, NaN for rows that were chosen by a predicted score,
        shape (rows,); the unchanged student and None if it reads no text, or if there are too few rows.
    """
    reader = student.reader if isinstance(student, BlendStudent) else student
    if not isinstance(student, NeuralStudent | TfidfStudent | BlendStudent):
        return student, None
    rows = [train]
    by_words = not isinstance(reader, NeuralStudent)
    if isinstance(reader, NeuralStudent) and not _is_frozen(reader.encoder):
        by_words = not _enough(unseen)
        rows = rows if by_words else list(unseen)
    if not _enough(rows):
        return student, None
    clusters = np.concatenate([part.clusters for part in rows])
    texts = [text or "" for part in rows for text in part.texts]
    scores = np.concatenate([part.scores for part in rows])
    fit: Callable[[IntArray], Novelty]
    if isinstance(reader, NeuralStudent) and not by_words:
        features, widths = reader.features(texts), part_widths(reader.encoder)
        fit, measured = lambda index: FeatureNovelty.fit(features[index], widths, seed=seed), features
    else:
        measured = np.array(texts, dtype=object)
        fit = lambda index: WordNovelty.fit(measured[index])  # noqa: E731 - the same as above, for words
    fold = folds(clusters, scores, NOVELTY_FOLDS, seed)
    distances = unseen_distances(len(texts), fold, lambda inside, outside: fit(inside).distances(measured[outside]))
    distances[np.concatenate([part.targeted for part in rows])] = np.nan
    measuring: AnyStudent = replace(student, novelty=fit(np.arange(len(texts))))  # type: ignore[arg-type]
    return measuring, distances


def _enough(parts: Sequence[Examples]) -> bool:
    """Whether the rows are enough to tell which distances are usual."""
    return bool(parts) and len(np.unique(np.concatenate([part.clusters for part in parts]))) >= FEWEST_DISTANCES


def _is_frozen(encoder: Encoder) -> bool:
    parts = parts_of(encoder)
    return not any(getattr(part, "trained", False) or getattr(part, "learned", None) is not None for part in parts)


def bundle_student(
    folder: Path,
    student: AnyStudent,
    recipe: str,
    filter_: Filter,
    calibration: Calibration,
    *,
    train_texts: Sequence[str],
    kind: Kind | None = None,
    seed: int = 0,
    graphs_of: Sequence[Path] = (),
    choice: Choice | None = None,
    record: StudentRecord | None = None,
    refit: Refit | None = None,
) -> Bundle:
    """Export a student and write it as a bundle, which is verified before it replaces an earlier one.

    Args:
        folder: folder of the bundle.
        student: the fitted student.
        recipe: name of its recipe.
        filter_: the filter.
        calibration: its calibration.
        train_texts: texts of the training rows, from which word lists are drawn as golden texts.
        kind: as in `export_student`.
        seed: random seed of the word lists.
        graphs_of: as in `export_student`.
        choice: why the student was chosen, recorded in the bundle's facts.
        record: how the student was trained, recorded in the bundle's facts.
        refit: how it was refitted on all labelled rows, if it was; `choice` and `record` are then of the fit before.

    Raises:
        BundleError: the bundle cannot be made or does not pass its checks; an earlier bundle is kept.
        MissingExtra: torch is needed and not installed.
        BadInput: the folder cannot be written.
    """
    golden = [*TEXTS, *word_lists(train_texts, seed=seed)]
    with tempfile.TemporaryDirectory(prefix="potstill-") as scratch:
        texts = windows(golden, filter_)["text"].to_list()
        made, encoders, exports = export_student(student, Path(scratch), texts, kind, graphs_of)
        return write_bundle(
            folder,
            student=student,
            recipe=recipe,
            filter_=filter_,
            calibration=calibration,
            golden=golden,
            encoders=encoders,
            kind=made,
            facts=BundleFacts(
                choice=choice,
                student=record,
                calibration=Calibrated(
                    origin=calibration.origin, kept={curve.dimension: curve.method for curve in calibration.curves}
                ),
                exports=exports,
                refit=refit,
                versions=versions(),
            ),
        )


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
