"""A bundle onto disk: every file, then the manifest, then the proof, and only then its place.

In: the trainer's student, exported encoders, a filter, a calibration. Out: a folder that has loaded once and
said of every golden text what the trainer's student said. What cannot prove itself is never written.
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
    """One encoder's part of a bundle: what it is, and its files by their names in `BUNDLE_LAYOUT`."""

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
    """Write a bundle whole and proven, or leave what was there.

    Args:
        folder: where it goes; a bundle that is there is replaced.
        student: the trainer's own; the golden raw scores are what it says.
        recipe: name of the recipe that made it.
        filter_: the filter it was made for.
        calibration: fitted on data that chose nothing else.
        golden: the texts of the proof.
        encoders: files of a neural student's encoders, in its order.
        kind: whether those files are whole networks or an adapter to a base.
        facts: where it comes from.

    Raises:
        BundleError: the bundle does not load, or does not say what `student` says.
        BadInput: the disk is full or the folder cannot be written.
    """
    raw = student.predict(windows(golden, filter_))
    rows = golden_of(golden, raw, filter_, calibration)
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
