"""Optimization plans: the fastest backend, precision, threads and batch size for one bundle on one machine.

`potstill optimize` writes `plan.json` into a folder next to the bundle. Reading it returns the plan if it was made for
this bundle on this machine with these libraries; otherwise the reason why it is not used. A bundle never changes, so
the plan is not part of it.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from potstill.backends.machine import Machine, this_machine
from potstill.backends.onnx import OnnxEncoder
from potstill.errors import BadInput
from potstill.files import writable
from potstill.machine import Load  # noqa: TC001 - pydantic reads it
from potstill.records import Part, Record
from potstill.students.encoding import TOKEN_BUDGET

if TYPE_CHECKING:
    from pathlib import Path

    from potstill.backends.graph import GraphEncoder
    from potstill.students.encoding import EncoderFacts

MOST_DRIFT = 0.05
"""Largest allowed difference of raw scores from the trainer's, as a share of the scale."""


class Variant(Part):
    """One way to run a bundle's encoders."""

    backend: Literal["onnx", "openvino"] = "onnx"
    precision: Literal["f32", "bf16"] = "f32"
    threads: int | None = Field(default=None, ge=1, le=4096)
    """None: one thread per physical core."""
    streams: int = Field(default=1, ge=1, le=4096)
    """Number of batches that run concurrently, each on its share of the threads; used by OpenVINO."""
    token_budget: int = Field(default=TOKEN_BUDGET, ge=1, le=10_000_000)
    """Maximum number of tokens in a batch."""

    @property
    def title(self) -> str:
        """Backend and precision, in words."""
        return f"{'ONNX Runtime' if self.backend == 'onnx' else 'OpenVINO'} {'fp32' if self.exact else 'bf16'}"

    @property
    def exact(self) -> bool:
        """Whether it computes in the precision in which the bundle was verified."""
        return self.precision == "f32"


PORTABLE = Variant()
"""How a bundle runs without a plan."""


class Change(Part):
    """Differences of a variant's results from the portable backend's, on articles that were used for nothing else."""

    articles: int
    labelled: int
    """Number of these articles with the oracle's labels."""
    largest: float
    """Largest difference of a calibrated score, in points of the filter's scale."""
    mean: float
    largest_raw: float
    mae: float | None
    """Change of the mean absolute error to the labels (positive: worse); None without labels."""
    changed: int
    """Number of articles whose tier changes."""
    changed_bound: float
    """Upper bound on the share of articles whose tier changes: one-sided, 95% (Clopper & Pearson)."""


class Speed(Part):
    """Speed of a variant; variants are timed alternately on the same articles."""

    articles_per_second: float
    """Throughput on many articles: the median over rounds."""
    rounds: tuple[float, ...]
    """Articles per second in each round."""
    milliseconds: float
    """Latency of a single article: the median, in milliseconds."""


class Tried(Part):
    """A variant that was tried, and the result."""

    variant: Variant
    change: Change | None
    """None for the portable backend, which is the reference, and if there were no articles to compare on."""
    speed: Speed | None
    """None if the variant was rejected before it was timed."""
    verdict: Literal["chosen", "slower", "refused", "unavailable"]
    why: str


class Plan(Record):
    """The variant that `potstill optimize` chose for a bundle on a machine, with the measurements behind the choice."""

    made_by = "potstill optimize BUNDLE"

    schema_version: int = 1
    bundle: str
    """The bundle's hash."""
    machine: Machine
    versions: dict[str, str]
    variant: Variant
    drift: float = Field(ge=0, le=MOST_DRIFT)
    """Tolerance of the golden texts' raw scores relative to the trainer's, as a share of the scale."""
    why: str
    proven_on: str
    """Description of the articles behind `Change`."""
    tried: tuple[Tried, ...]
    load: Load | None = None
    """Load of the machine while variants were timed; None if it was not recorded."""


def plan_path(bundle: Path) -> Path:
    """Return the path of a bundle's plan: in the folder `<bundle>.speed` next to the bundle."""
    return bundle.parent / f"{bundle.name}.speed" / "plan.json"


def bench_path(bundle: Path) -> Path:
    """Return the path of a bundle's `potstill bench` results: next to its plan."""
    return plan_path(bundle).with_name("bench.json")


def refuse_unwritable(bundle: Path) -> None:
    """Check before measuring for minutes that the result can be written.

    Raises:
        BadInput: the folder next to the bundle cannot be written.
    """
    folder = plan_path(bundle).parent
    if not writable(folder):
        raise BadInput(f"{folder}: cannot be written (Permission denied); nothing was measured")


def write_plan(bundle: Path, plan: Plan) -> Path:
    """Write a bundle's plan and return its path.

    Raises:
        BadInput: the folder cannot be written.
    """
    path = plan_path(bundle)
    plan.save(path)
    return path


def read_plan(bundle: Path, bundle_hash: str) -> tuple[Plan | None, str | None]:
    """Read a bundle's plan, or the reason why it cannot be used.

    Args:
        bundle: the bundle's folder.
        bundle_hash: the bundle's hash; a plan for another hash is not used.

    Returns:
        The plan or None, and the reason or None; both are None if there is no plan.
    """
    path = plan_path(bundle)
    if not path.exists():
        return None, None
    try:
        plan = Plan.from_file(path)
    except BadInput:
        return None, "the file is invalid, or another version of potstill wrote it"
    misfit = _misfit(plan, bundle_hash)
    return (plan, None) if misfit is None else (None, misfit)


def open_variant(variant: Variant, model: Path, tokenizer: Path, facts: EncoderFacts) -> GraphEncoder:
    """Open one exported encoder as a variant describes.

    Raises:
        BundleError: a file cannot be used, or this processor lacks the required instructions.
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
    """Return the versions of the inference libraries; other versions may be slower or round differently."""
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
