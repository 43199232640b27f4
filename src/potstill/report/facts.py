"""The facts of a report: recorded values, each with the file, hash and field that it comes from.

In: a run folder. Out: records that are read once, and facts taken from them. Nothing is computed here; a missing
record or field gives a fact without a value, which a report shows as "not recorded".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from potstill import records
from potstill.backends.plan import Plan, bench_path, plan_path
from potstill.bundle import BUNDLE_LAYOUT
from potstill.bundle.facts import BundleFacts
from potstill.bundle.layout import Manifest
from potstill.calibration import Calibration
from potstill.dataset.rows import Pairs
from potstill.evaluation.records import Evaluation, FreshEvaluation
from potstill.files import digest, parse_json, read_json, read_object, read_text, sha256
from potstill.filters import Filter
from potstill.filters.reading import read_yaml
from potstill.parquet import read_parquet
from potstill.pipeline.accept import Acceptance, Decision
from potstill.pipeline.compare import Comparing
from potstill.pipeline.leaderboard import Leaderboard
from potstill.pipeline.refit import Refitted
from potstill.pipeline.run import STAGES, StageRecord
from potstill.probing import ProbeRecord
from potstill.report.shapes import NoSuchFieldError, leads
from potstill.scorer.early import CASCADE_LAYOUT, Cascade
from potstill.speed.benching import Bench
from potstill.training.facts import EpochRecord, StudentRecord
from potstill.training.folder import LAYOUT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import polars as pl

    from potstill.pipeline.run import Run


@dataclass(frozen=True, slots=True)
class Fact:
    """One recorded value and its source.

    `file` is a path inside the run (for a stage of the manifest `run.json#<stage>`), `sha256` that file's hash,
    `field` a JSON pointer (RFC 6901). `value` is None if nothing is recorded; `sha256` is None if the file is
    missing.
    """

    value: Any
    file: str
    sha256: str | None
    field: str

    @property
    def recorded(self) -> bool:
        """Whether there is a value."""
        return self.value is not None


@dataclass(frozen=True, slots=True)
class Record:
    """A JSON record of a run, or a missing one (`content` is None); `shape` is the type that it is written from."""

    file: str
    sha256: str | None
    content: Any = field(repr=False)
    shape: Any = field(repr=False)

    def at(self, *path: str | int) -> Fact:
        """The value at a path of keys and positions, or a fact without a value.

        Raises:
            NoSuchFieldError: records of this shape have no such path, whether this record exists or not.
        """
        if not leads(self.shape, path):
            raise NoSuchFieldError(f"{self.file}: records of this kind have no {pointer(*path)}")
        value = self.content
        for step in path:
            in_object = isinstance(value, dict) and step in value
            in_list = isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value)
            value = value[step] if in_object or in_list else None
        return Fact(value, self.file, self.sha256, pointer(*path))

    def minus(self, first: tuple[str | int, ...], second: tuple[str | int, ...]) -> Fact:
        """The difference of two numbers of this record; its `field` is `<pointer> - <pointer>`."""
        a, b = self.at(*first), self.at(*second)
        value = None if a.value is None or b.value is None else a.value - b.value
        return Fact(value, self.file, self.sha256, f"{a.field} - {b.field}")

    def keys(self, *path: str | int) -> tuple[str, ...]:
        """The keys of the object at a path, in the order of the file; empty if there is no object."""
        value = self.at(*path).value
        return tuple(value) if isinstance(value, dict) else ()

    def size(self, *path: str | int) -> int:
        """The length of the list at a path; 0 if there is none."""
        value = self.at(*path).value
        return len(value) if isinstance(value, list) else 0

    @property
    def recorded(self) -> bool:
        """Whether the file exists."""
        return self.content is not None


@dataclass(frozen=True, slots=True)
class Table:
    """A Parquet record; `frame` is None if the file is missing."""

    file: str
    sha256: str | None
    frame: pl.DataFrame | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Facts:
    """Every record that a report reads.

    `students` and `histories` hold a record per student; `stages` one per stage of the manifest that has run. `sizes`
    lists the bundle's folder: file name -> bytes. `bundle`, `sizes`, `bench` and `plan` are of the bundle to ship;
    `calibration` and `made` are of the measured bundle, and `refit` says what distinguishes the two (empty if nothing).
    """

    evaluation: Record
    predictions: Table
    fresh: Record
    probe: Record
    students: Mapping[str, Record]
    histories: Mapping[str, Record]
    refit: Record
    calibration: Record
    pairs: Record
    stages: Mapping[str, Record]
    manifest: Record
    filter: Record
    bundle: Record
    made: Record
    sizes: Record
    bench: Record
    plan: Record
    cascade: Record
    acceptance: Record
    decisions: Record
    comparison: Record
    leaderboard: Record

    def stage(self, name: str) -> Record:
        """The manifest's record of a stage, or an empty record."""
        return self.stages.get(name, Record(f"run.json#{name}", None, None, StageRecord))

    def history(self, rung: str) -> Record:
        """The epochs of a student, or an empty record."""
        return self.histories.get(rung, Record(f"students/{rung}/{HISTORY}", None, None, tuple[EpochRecord, ...]))


class _WrittenManifest(Manifest):
    """A bundle's manifest with the hash that is written into it."""

    sha256: str


RECORD, HISTORY = LAYOUT["record"], LAYOUT["history"]
CALIBRATION = BUNDLE_LAYOUT["calibration"]


def collect(run: Run) -> Facts:
    """Read every record of a run, once."""
    root = run.folder
    students = run.path("students")
    folders = sorted(path for path in students.iterdir() if path.is_dir()) if students.is_dir() else []
    manifest = run.manifest
    stages = {
        # The manifest grows as stages end, including this report's stage, so each stage's record has its own hash.
        stage.name: Record(f"run.json#{stage.name}", digest(content), content, StageRecord)
        for stage in STAGES
        # A report cannot include its own stage, and must not include that of the report that it replaces.
        if stage.name in manifest.stages and stage.name != "report"
        for content in (manifest.stages[stage.name].model_dump(mode="json"),)
    }
    histories = {path.name: json_record(root, path / HISTORY, tuple[EpochRecord, ...]) for path in folders}
    measured, shipped = run.path("bundle"), run.shipped() if run.path("bundle").exists() else run.path("bundle")
    refit = json_record(root, run.path("refit"), Refitted)
    own = json_record(root, measured / BUNDLE_LAYOUT["manifest"], _WrittenManifest)
    current = own.at("sha256").value == refit.at("measured").value
    started = {"filter": manifest.filter, "created": manifest.created}
    return Facts(
        evaluation=json_record(root, run.path("evaluation"), Evaluation),
        predictions=_table(root, run.path("predictions")),
        fresh=json_record(root, run.path("fresh_record"), FreshEvaluation),
        probe=json_record(root, run.path("probe_record"), ProbeRecord),
        students={path.name: json_record(root, path / RECORD, StudentRecord) for path in folders},
        # A student that is not trained in epochs has an empty history.
        histories={name: record for name, record in histories.items() if record.content},
        refit=refit if current else Record(refit.file, None, None, Refitted),
        calibration=json_record(root, measured / CALIBRATION, Calibration),
        pairs=json_record(root, run.path("pairs"), Pairs),
        stages=stages,
        manifest=Record("run.json#start", digest(started), started, started),
        filter=_yaml(root, run.path("filter") / BUNDLE_LAYOUT["filter"]),
        bundle=json_record(root, shipped / BUNDLE_LAYOUT["manifest"], _WrittenManifest),
        made=json_record(root, measured / BUNDLE_LAYOUT["facts"], BundleFacts),
        sizes=_sizes(root, shipped),
        bench=json_record(root, bench_path(shipped), Bench),
        plan=json_record(root, plan_path(shipped), Plan),
        cascade=json_record(root, run.path("cascade") / CASCADE_LAYOUT["record"], Cascade),
        acceptance=json_record(root, run.path("acceptance"), Acceptance),
        decisions=_lines(root, run.path("decisions")),
        comparison=json_record(root, run.path("comparison"), Comparing),
        leaderboard=json_record(root, run.path("ladder"), Leaderboard),
    )


def pointer(*path: str | int) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


_LISTS = {"history.json"}
"""Files whose JSON is a list; all others hold an object."""


def json_record(root: Path, path: Path, shape: Any) -> Record:  # noqa: ANN401 - any type
    """Read a JSON file as a record whose name is its path inside `root`, or return an empty record.

    Raises:
        PotstillError: a file that potstill writes is broken, or was written by a newer potstill.
    """
    file = path.relative_to(root).as_posix()
    if not path.is_file():
        return Record(file, None, None, shape)
    content = read_json(path) if path.name in _LISTS else read_object(path)
    if isinstance(shape, type) and issubclass(shape, records.Record):
        shape.from_json(content, str(path))
    return Record(file, sha256(path), content, shape)


def _yaml(root: Path, path: Path) -> Record:
    file = path.relative_to(root).as_posix()
    if not path.is_file():
        return Record(file, None, None, Filter)
    return Record(file, sha256(path), read_yaml(read_text(path), str(path))[0], Filter)


def _lines(root: Path, path: Path) -> Record:
    """A file of JSON lines, as a list."""
    file = path.relative_to(root).as_posix()
    if not path.is_file():
        return Record(file, None, None, tuple[Decision, ...])
    # Not splitlines: a text may contain Unicode line separators.
    lines = enumerate(read_text(path).split("\n"), start=1)
    found = [parse_json(line, f"{path}: line {number}") for number, line in lines if line.strip()]
    return Record(file, sha256(path), found, tuple[Decision, ...])


def _sizes(root: Path, folder: Path) -> Record:
    """The files of a folder and their sizes in bytes, hashed as canonical JSON."""
    name = folder.relative_to(root).as_posix() + "/"
    if not folder.is_dir():
        return Record(name, None, None, dict[str, int])
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    return Record(name, digest(sizes), sizes, dict[str, int])


def _table(root: Path, path: Path) -> Table:
    file = path.relative_to(root).as_posix()
    return Table(file, sha256(path), read_parquet(path)) if path.is_file() else Table(file, None, None)
