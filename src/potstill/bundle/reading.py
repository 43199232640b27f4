"""Loads a bundle from disk and checks it against its golden texts before it can be used.

Input: a folder. Output: a `Bundle`, or a BundleError that names the file. Self-contained bundles need neither torch nor
transformers; adapter bundles need both to open their base.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from potstill.backends.plan import PORTABLE, open_variant
from potstill.backends.weights import check_weights
from potstill.bundle.golden import prove, read_golden
from potstill.bundle.layout import BUNDLE_LAYOUT, Manifest, check_files, file_name, read_manifest, tolerance_of
from potstill.bundle.signing import Trust, fingerprint, read_signature
from potstill.bundle.verdicts import Verdicts, identity_of, prove_verdicts
from potstill.calibration import Calibration
from potstill.errors import BadInput, BundleError, MissingExtra, PotstillError, require
from potstill.files import foreign
from potstill.filters import load_filter
from potstill.students.blend import encoder_of
from potstill.students.neural import joined, parts_of
from potstill.students.storage import load_student

if TYPE_CHECKING:
    from collections.abc import Callable

    from potstill.backends.plan import Plan, Variant
    from potstill.bundle.facts import BundleFacts, HeldOutSkill
    from potstill.bundle.golden import Golden
    from potstill.bundle.seen import SeenRows
    from potstill.filters import Filter
    from potstill.students import Encoder, Student
    from potstill.students.storage import AnyStudent

    Opener = Callable[[Path, Manifest, Variant, str], Encoder | None]

Check = Literal["hashes", "short", "all"]
"""How much of a bundle is checked on loading: only the file hashes; also the short golden texts and the golden
verdicts; or everything."""

SignatureState = Literal["none", "unchecked", "valid", "trusted"]

_STUDENT_FILES = "student.json and student.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """An opened bundle. `hash` is a SHA-256 that covers all its files."""

    folder: Path
    hash: str
    manifest: Manifest
    filter: Filter
    student: Student
    calibration: Calibration
    plan: Plan | None = None
    """How its encoders run on this machine; None for the portable backend."""

    @classmethod
    def in_memory(cls, filter_: Filter, student: AnyStudent, calibration: Calibration, recipe: str) -> Bundle:
        """Return a bundle that is on no disk, so that a scorer can use a student that was just fitted.

        It has no hash, files or golden texts; `writing.write_bundle` makes a bundle that proves itself.

        Raises:
            BundleError: the student scores other dimensions than the filter's.
        """
        if student.dimensions != filter_.dimension_names:
            raise BundleError(
                f"{recipe}: scores {', '.join(student.dimensions)}; the dimensions of {filter_.name} are "
                f"{', '.join(filter_.dimension_names)}"
            )
        manifest = Manifest(
            kind="self-contained",
            filter=filter_.name,
            filter_version=filter_.version,
            filter_hash=filter_.content_hash,
            dimensions=filter_.dimension_names,
            recipe=recipe,
            student=student.kind,
            encoders=(),
            tolerance=tolerance_of(filter_.scale.max - filter_.scale.min),
            files={},
        )
        return cls(Path(recipe), "", manifest, filter_, student, calibration)

    @property
    def facts(self) -> BundleFacts:
        """Facts recorded when the bundle was built: the reason for the choice, the student's metrics, and versions."""
        from potstill.bundle.facts import BundleFacts

        return BundleFacts.from_file(self.folder / BUNDLE_LAYOUT["facts"])

    @property
    def seen(self) -> SeenRows | None:
        """The rows that a refitted student has learned from; None for a student that was not refitted."""
        path = self.folder / BUNDLE_LAYOUT["facts"]
        refit = self.facts.refit if path.is_file() else None
        return None if refit is None else refit.seen

    @property
    def skill(self) -> HeldOutSkill | None:
        """Skill of its student on rows that neither trained nor selected it; None if it is not recorded."""
        if not (self.folder / BUNDLE_LAYOUT["facts"]).is_file():
            return None
        choice = self.facts.choice
        return None if choice is None else choice.skill

    @property
    def caution(self) -> str | None:
        """What to say of a student that is not shown to be better than the constant; None of any other."""
        return None if self.skill is None else self.skill.caution

    @property
    def golden(self) -> list[Golden]:
        """The golden texts of the bundle."""
        return read_golden(self.folder / BUNDLE_LAYOUT["golden"], self.manifest.dimensions)

    def prove(self, *, short: bool) -> tuple[int, float]:
        """Score all or only the short golden texts; return their number and the largest difference of a raw score.

        Raises:
            BundleError: the score of a text is not as recorded.
        """
        rows = [row for row in self.golden if row.short or not short]
        tolerance = self.manifest.tolerance
        if self.plan is not None:
            span = self.filter.scale.max - self.filter.scale.min
            tolerance = tolerance.model_copy(update={"raw": max(tolerance.raw, self.plan.drift * span)})
        try:
            # An overflow shows in the result; numpy would print an additional warning.
            with np.errstate(all="ignore"):
                return len(rows), prove(rows, self.student, self.filter, self.calibration, tolerance)
        except BundleError as error:
            # Errors in an encoder's files already name the file.
            named = str(error).startswith(str(self.folder))
            raise error if named else BundleError(f"{self.folder}: {error}") from None
        except PotstillError:
            raise
        except Exception as error:
            raise BundleError(f"{self.folder}: {_STUDENT_FILES} do not fit together ({error})") from error

    def check_weights(self) -> None:
        """Check that all weights of its networks are finite; the student's own arrays are checked on every load.

        Raises:
            BundleError: a weight is NaN or infinite.
        """
        if self.manifest.kind == "self-contained":
            for index in range(len(self.manifest.encoders)):
                check_weights(self.folder / file_name("model", index))

    def prove_verdicts(self, *, whole: bool) -> int:
        """Check filter, calibration and manifest against the golden verdicts; return the number of verdicts.

        Args:
            whole: also check that no verdict was left out, and check the tier probabilities.

        Raises:
            BundleError: a verdict is not as recorded.
        """
        path = self.folder / BUNDLE_LAYOUT["verdicts"]
        identity = identity_of(self.manifest, self.filter)
        with foreign(path, BundleError), np.errstate(all="ignore"):
            verdicts = Verdicts.from_file(path)
            try:
                return prove_verdicts(
                    verdicts, identity, self.filter, self.calibration, self.manifest.tolerance, whole=whole
                )
            except BundleError as error:
                raise BundleError(f"{path}: {error}") from None


@dataclass(frozen=True, slots=True)
class Verification:
    """Results of `verify_bundle`; created only if every check passed."""

    bundle: str
    hash: str
    kind: str
    filter: str
    recipe: str
    files: int
    bytes: int
    golden_texts: int
    golden_verdicts: int
    """Number of score rows and texts whose verdicts were recorded."""
    largest_difference: float
    """Largest difference of a raw score from the trainer's, in points of the filter's scale."""
    allowed_difference: float
    seconds: float
    signed_by: str | None = None
    """Fingerprint of the signing key; None if the bundle is not signed."""
    signature: SignatureState = "none"
    """Whether the signature is by a key that the caller named; otherwise it is valid, unchecked because the library is
    not installed, or absent."""
    refitted_rows: int | None = None
    """Number of labelled rows that its student was refitted on; None for a student that was not refitted."""
    caution: str | None = None
    """What to say of a student that is not shown to be better than the constant; None of any other."""


def load_bundle(
    path: str | Path,
    *,
    check: Check = "short",
    threads: int | None = None,
    device: str = "auto",
    plan: Plan | None = None,
    opener: Opener | None = None,
    trust: Trust | None = None,
) -> Bundle:
    """Open a bundle and check that it is intact.

    Args:
        path: the bundle's folder.
        check: how much is checked; the hashes always are.
        threads: number of threads of the network; None: as in the plan, or one per physical core.
        device: device on which the network of an adapter bundle runs.
        plan: how encoders run, and the tolerance of the golden texts' raw scores for that; None for the portable
            backend.
        opener: opens the encoders instead of `open_encoder`, so that bundles can share them.
        trust: requirements on its signature (`signing.trust_of`), checked before anything else is opened.

    Raises:
        BundleError: a file is missing, unexpected, changed or of another version of potstill, or files are
            inconsistent, or golden texts or verdicts are not as recorded, or the signature does not meet the
            requirements; the message names the file or the text.
        MissingExtra, MissingModel: an adapter bundle's libraries or base are not installed.
    """
    folder = Path(path)
    manifest, own = read_manifest(folder)
    if trust is not None:
        trust.check(folder, own)
    else:
        _refuse_false_signature(folder, own)
    check_files(folder, manifest)
    filter_ = _named_filter(folder, manifest)
    _check_tolerance(folder, manifest, filter_)
    variant = PORTABLE if plan is None else plan.variant
    if threads is not None:
        variant = variant.model_copy(update={"threads": threads})
    encoder = (opener or open_encoder)(folder, manifest, variant, device)
    student = load_student(folder, encoder)
    if student.dimensions != manifest.dimensions:
        raise BundleError(
            f"{folder / BUNDLE_LAYOUT['student']}: dimensions {', '.join(student.dimensions)}; "
            f"the bundle's are {', '.join(manifest.dimensions)}"
        )
    if student.kind != manifest.student or len(_encoders(student)) != len(manifest.encoders):
        raise BundleError(f"{folder / BUNDLE_LAYOUT['student']}: is a {student.kind} student, not as listed")
    calibration = _calibration(folder / BUNDLE_LAYOUT["calibration"], manifest, filter_)
    bundle = Bundle(folder, own, manifest, filter_, student, calibration, plan)
    if check != "hashes":
        bundle.check_weights()
        bundle.prove(short=check == "short")
        bundle.prove_verdicts(whole=check == "all")
    return bundle


def verify_bundle(path: str | Path, *, device: str = "auto", trust: Trust | None = None) -> Verification:
    """Verify a bundle completely: every hash, every golden text and verdict, and the signature if it has one.

    Raises:
        BundleError, MissingExtra, MissingModel: as `load_bundle`.
    """
    started = time.perf_counter()
    bundle = load_bundle(path, check="hashes", device=device, trust=trust)
    signer, signature = _signature(bundle, trust)
    bundle.check_weights()
    count, largest = bundle.prove(short=False)
    verdicts = bundle.prove_verdicts(whole=True)
    files = sorted(bundle.manifest.files)
    return Verification(
        bundle=str(bundle.folder),
        hash=bundle.hash,
        kind=bundle.manifest.kind,
        filter=f"{bundle.manifest.filter} v{bundle.manifest.filter_version}",
        recipe=bundle.manifest.recipe,
        files=len(files) + 1,
        bytes=sum((bundle.folder / name).stat().st_size for name in (*files, BUNDLE_LAYOUT["manifest"])),
        golden_texts=count,
        golden_verdicts=verdicts,
        largest_difference=largest,
        allowed_difference=bundle.manifest.tolerance.raw,
        seconds=round(time.perf_counter() - started, 3),
        signed_by=signer,
        signature=signature,
        refitted_rows=None if bundle.seen is None else bundle.seen.rows,
        caution=bundle.caution,
    )


def _refuse_false_signature(folder: Path, own: str) -> None:
    """Refuse a bundle with an invalid signature, even if none is required; not checked without `cryptography`."""
    if read_signature(folder) is not None:
        with suppress(MissingExtra):
            Trust().check(folder, own)


def _signature(bundle: Bundle, trust: Trust | None) -> tuple[str | None, SignatureState]:
    """Return the fingerprint of the key that signed a bundle, and the state of the signature."""
    found = read_signature(bundle.folder)
    if found is None:
        return None, "none"
    signer = fingerprint(bytes.fromhex(found.public_key))
    if trust is not None and trust.keys:
        return signer, "trusted"
    try:
        Trust().check(bundle.folder, bundle.hash)
    except MissingExtra:
        return signer, "unchecked"
    return signer, "valid"


def open_encoder(folder: Path, manifest: Manifest, variant: Variant, device: str = "auto") -> Encoder | None:
    """Open a bundle's encoder as `variant` describes; an adapter's runs on torch. None for a student without one.

    Raises:
        BundleError, MissingExtra, MissingModel: as `load_bundle`.
    """
    if not manifest.encoders:
        return None
    if manifest.kind == "adapter":
        require("torch", "train")
        from potstill.backends.torch import open_adapter

        if len(manifest.encoders) != 1:
            raise BundleError(f"{folder / BUNDLE_LAYOUT['manifest']}: an adapter bundle has one encoder")
        with foreign(folder / BUNDLE_LAYOUT["adapter"], BundleError):
            return open_adapter(folder, folder / BUNDLE_LAYOUT["lora"], manifest.encoders[0], device=device)
    parts = tuple(
        open_variant(variant, folder / file_name("model", index), folder / file_name("tokenizer", index), facts)
        for index, facts in enumerate(manifest.encoders)
    )
    return joined(parts)


def _encoders(student: Student) -> tuple[Encoder, ...]:
    encoder = encoder_of(student)
    return () if encoder is None else parts_of(encoder)


def _named_filter(folder: Path, manifest: Manifest) -> Filter:
    path = folder / BUNDLE_LAYOUT["filter"]
    try:
        with foreign(path, BundleError):
            filter_ = load_filter(folder)
    except BadInput as error:
        raise BundleError(str(error)) from None
    if filter_.content_hash != manifest.filter_hash:
        raise BundleError(f"{path}: is not the filter that {BUNDLE_LAYOUT['manifest']} names")
    if filter_.dimension_names != manifest.dimensions:
        raise BundleError(
            f"{path}: dimensions {', '.join(filter_.dimension_names)}; the student's are "
            f"{', '.join(manifest.dimensions)}"
        )
    if (filter_.name, filter_.version) != (manifest.filter, manifest.filter_version):
        raise BundleError(
            f"{folder / BUNDLE_LAYOUT['manifest']}: names the filter {manifest.filter} v{manifest.filter_version}; "
            f"{path.name} is {filter_.name} v{filter_.version}"
        )
    return filter_


def _check_tolerance(folder: Path, manifest: Manifest, filter_: Filter) -> None:
    """Check that the manifest's tolerance is the one that potstill requires of every bundle."""
    most = tolerance_of(filter_.scale.max - filter_.scale.min)
    for name, given, allowed in (
        ("raw", manifest.tolerance.raw, most.raw),
        ("exact", manifest.tolerance.exact, most.exact),
    ):
        if given > allowed * (1 + 1e-9):
            raise BundleError(
                f"{folder / BUNDLE_LAYOUT['manifest']}: tolerance -> {name}: {given:g}; no bundle may allow more than "
                f"{allowed:g} on this scale"
            )


def _calibration(path: Path, manifest: Manifest, filter_: Filter) -> Calibration:
    try:
        with foreign(path, BundleError):
            calibration = Calibration.from_file(path)
    except BadInput as error:
        raise BundleError(str(error)) from None
    if calibration.dimensions != manifest.dimensions:
        raise BundleError(f"{path}: calibrates {', '.join(calibration.dimensions)}; the bundle's dimensions are others")
    decisions = calibration.decisions
    if decisions is not None and decisions.tiers != filter_.positive_tiers:
        raise BundleError(
            f"{path}: decides the positive tiers {', '.join(decisions.tiers)}; those of the filter are "
            f"{', '.join(filter_.positive_tiers) or 'none'}"
        )
    if (calibration.low, calibration.high) != (filter_.scale.min, filter_.scale.max):
        raise BundleError(
            f"{path}: for a scale from {calibration.low:g} to {calibration.high:g}; the filter's is from "
            f"{filter_.scale.min:g} to {filter_.scale.max:g}"
        )
    return calibration
