"""Writes a bundle: all files, then the manifest, then verification, and only then the move to its final place.

Input: the trainer's student, exported encoders, a filter, a calibration. Output: a folder that was loaded once and gave
the trainer's scores on every golden text. A bundle that does not pass this check is not written.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from potstill.bundle.facts import BundleFacts
from potstill.bundle.golden import golden_of, windows, write_golden
from potstill.bundle.layout import (
    BUNDLE_LAYOUT,
    Kind,
    Manifest,
    expected_files,
    file_name,
    tolerance_of,
    write_manifest,
)
from potstill.bundle.reading import Bundle, load_bundle
from potstill.bundle.verdicts import identity_of, verdicts_of
from potstill.files import replacing_folder, sha256
from potstill.filters import save_filter
from potstill.students import outputs_of
from potstill.students.storage import AnyStudent, save_student

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from potstill.calibration import Calibration
    from potstill.filters import Filter
    from potstill.students.encoding import EncoderFacts
    from potstill.types import Article


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """One encoder's part of a bundle: its facts, and its files by their names in `BUNDLE_LAYOUT`."""

    facts: EncoderFacts
    files: Mapping[str, Path]


def write_bundle(
    folder: Path,
    *,
    student: AnyStudent,
    recipe: str,
    filter_: Filter,
    calibration: Calibration,
    golden: Sequence[Article],
    encoders: Sequence[EncoderFiles] = (),
    kind: Kind = "self-contained",
    facts: BundleFacts | None = None,
) -> Bundle:
    """Write a complete and verified bundle, or leave the previous one unchanged.

    Args:
        folder: folder of the bundle; an existing bundle is replaced.
        student: the trainer's student, whose raw scores become the golden ones.
        recipe: name of the recipe that made it.
        filter_: the filter it was made for.
        calibration: fitted on rows that were not used for any selection.
        golden: the golden texts.
        encoders: files of a neural student's encoders, in its order.
        kind: whether those files are complete networks or an adapter to a base.
        facts: the origin of the bundle.

    Raises:
        BundleError: the bundle does not load, or its scores differ from those of `student`.
        BadInput: the disk is full or the folder cannot be written.
    """
    rows = golden_of(golden, outputs_of(student, windows(golden, filter_)), filter_, calibration)
    manifest = Manifest(
        kind=kind,
        filter=filter_.name,
        filter_version=filter_.version,
        filter_hash=filter_.content_hash,
        dimensions=filter_.dimension_names,
        recipe=recipe,
        student=student.kind,
        encoders=tuple(encoder.facts for encoder in encoders),
        tolerance=tolerance_of(filter_.scale.max - filter_.scale.min),
        files={},
    )
    verdicts = verdicts_of(identity_of(manifest, filter_), filter_, calibration)
    with replacing_folder(folder) as temporary:
        save_filter(filter_, temporary)
        save_student(student, temporary, encoder_beside=True)
        for index, encoder in enumerate(encoders):
            for name, file in encoder.files.items():
                shutil.copyfile(file, temporary / file_name(name, index))
        calibration.save(temporary / BUNDLE_LAYOUT["calibration"])
        write_golden(rows, temporary / BUNDLE_LAYOUT["golden"])
        verdicts.save(temporary / BUNDLE_LAYOUT["verdicts"])
        (facts or BundleFacts()).save(temporary / BUNDLE_LAYOUT["facts"])
        files = {name: sha256(temporary / name) for name in sorted(expected_files(kind, len(encoders)))}
        write_manifest(temporary, manifest.model_copy(update={"files": files}))
        load_bundle(temporary, check="all")
    return load_bundle(folder, check="hashes")
