"""The plan: which backend, precision, threads and batches are fastest for one bundle on one machine.

In: `plan.json` in the folder beside a bundle, where `potstill optimize` writes it. Out: the plan, where it was made
for this bundle on this machine with these libraries; else the reason why it is not used. A bundle never changes, so
nothing of this is in it.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from potstill.backends.machine import Machine, this_machine
from potstill.backends.onnx import OnnxEncoder
from potstill.errors import BadInput
from potstill.files import writable
from potstill.load import Load  # noqa: TC001 - pydantic reads it
from potstill.records import Part, Record
from potstill.students.encoding import TOKEN_BUDGET

if TYPE_CHECKING:
    from pathlib import Path

    from potstill.backends.graph import GraphEncoder
    from potstill.students.encoding import EncoderFacts

SCHEMA_VERSION: Final = 1

MOST_DRIFT = 0.05
"""A plan may not let raw scores differ from the trainer's by more than this share of the scale."""


class Variant(Part):
    """One way to run a bundle's encoders."""

    backend: Literal["onnx", "openvino"] = "onnx"
    precision: Literal["f32", "bf16"] = "f32"
    threads: int | None = Field(default=None, ge=1, le=4096)
    """One for each physical core where it is None."""
    streams: int = Field(default=1, ge=1, le=4096)
    """Batches that run at once, each on its share of the threads; for OpenVINO."""
    token_budget: int = Field(default=TOKEN_BUDGET, ge=1, le=10_000_000)
    """Tokens in a batch."""

    @property
    def title(self) -> str:
        """Backend and precision, in words."""
        return f"{'ONNX Runtime' if self.backend == 'onnx' else 'OpenVINO'} {'fp32' if self.exact else 'bf16'}"

    @property
    def exact(self) -> bool:
        """Whether it computes in the precision that the bundle was proven in."""
        return self.precision == "f32"


PORTABLE = Variant()
"""How a bundle runs without a plan."""


class Change(Part):
    """What a variant changes of the portable backend's answers, on articles that chose nothing else."""

    articles: int
    labelled: int
    """Those of them with the oracle's labels."""
    largest: float
    """Difference of one calibrated score, in points of the filter's scale."""
    mean: float
    largest_raw: float
    mae: float | None
    """By how much the mean absolute error to the labels moves (positive: worse); None without labels."""
    changed: int
    """Articles whose tier becomes another one."""
    changed_bound: float
    """Largest share of articles that may change tier: a one-sided 95% bound (Clopper and Pearson)."""


class Speed(Part):
    """What a variant does, timed beside the others in turn on the same articles."""

    articles_per_second: float
    """In bulk: the median over rounds."""
    rounds: tuple[float, ...]
    """Articles per second of each round."""
    milliseconds: float
    """Of one article alone: the median."""


class Tried(Part):
    """A variant that was looked at, and what came of it."""

    variant: Variant
    change: Change | None
    """None for the portable way, which it is held against, and where no articles could show it."""
    speed: Speed | None
    """None where the variant was refused before it was timed."""
    verdict: Literal["chosen", "slower", "refused", "unavailable"]
    why: str


class Plan(Record):
    """What `potstill optimize` chose for a bundle on a machine, and everything that it was chosen by."""

    made_by = "potstill optimize BUNDLE"

    schema_version: int = 1
    bundle: str
    """The bundle's hash."""
    machine: Machine
    versions: dict[str, str]
    variant: Variant
    drift: float = Field(ge=0, le=MOST_DRIFT)
    """How far raw scores of golden texts may be from the trainer's, as a share of the scale."""
    why: str
    proven_on: str
    """The articles of `Change`, in words."""
    tried: tuple[Tried, ...]
    load: Load | None = None
    """How busy the machine was while variants were timed; None where nobody recorded it."""


def plan_path(bundle: Path) -> Path:
    """Where the plan of a bundle is kept: in a folder beside it, `<bundle>.speed`."""
    return bundle.parent / f"{bundle.name}.speed" / "plan.json"


def bench_path(bundle: Path) -> Path:
    """Where the measurement of a bundle, by `potstill bench`, is kept: beside its plan."""
    return plan_path(bundle).with_name("bench.json")


def refuse_unwritable(bundle: Path) -> None:
    """Refuse to measure for minutes what could not be kept.

    Raises:
        BadInput: the folder beside the bundle cannot be written.
    """
    folder = plan_path(bundle).parent
    if not writable(folder):
        raise BadInput(f"{folder}: cannot be written (Permission denied); nothing was measured")


def write_plan(bundle: Path, plan: Plan) -> Path:
    """Write a bundle's plan; its path.

    Raises:
        BadInput: the folder cannot be written.
    """
    path = plan_path(bundle)
    plan.save(path)
    return path


def read_plan(bundle: Path, bundle_hash: str) -> tuple[Plan | None, str | None]:
    """The plan of a bundle where it fits, and why there is one that is not used.

    Args:
        bundle: its folder.
        bundle_hash: its hash; a plan for another one does not fit.

    Returns:
        The plan or None, and the reason or None; both are None where there is no plan.
    """
    path = plan_path(bundle)
    if not path.exists():
        return None, None
    try:
        plan = Plan.from_file(path)
    except BadInput:
        return None, "it is broken, or of another potstill"
    misfit = _misfit(plan, bundle_hash)
    return (plan, None) if misfit is None else (None, misfit)


def open_variant(variant: Variant, model: Path, tokenizer: Path, facts: EncoderFacts) -> GraphEncoder:
    """Open one exported encoder as a variant says.

    Raises:
        BundleError: a file cannot be used, or this processor lacks the instructions.
        MissingExtra: the variant's library is not installed.
    """
    if variant.backend == "onnx":
        return OnnxEncoder(model, tokenizer, facts, threads=variant.threads, token_budget=variant.token_budget)
    from potstill.backends.openvino import OpenVinoEncoder

    return OpenVinoEncoder(
        model,
        tokenizer,
        facts,
        precision=variant.precision,
        threads=variant.threads,
        streams=variant.streams,
        token_budget=variant.token_budget,
    )


def library_versions() -> dict[str, str]:
    """Versions of what runs a network; another version may be slower, or round otherwise."""
    found = {}
    for package in ("potstill", "onnxruntime", "openvino", "tokenizers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _misfit(plan: Plan, bundle_hash: str) -> str | None:
    here, now = this_machine(), library_versions()
    if plan.bundle != bundle_hash:
        return "it was made for another bundle"
    if plan.machine != here:
        return f"it was made on another machine ({plan.machine.title}; this is {here.title})"
    for package in sorted({*plan.versions, *now}):
        if plan.versions.get(package) != now.get(package):
            was, is_ = (found.get(package, "none") for found in (plan.versions, now))
            return f"it was made with another version of {package} ({was}, now {is_})"
    return None
