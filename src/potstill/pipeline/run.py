"""Manage a run: one folder that holds a distillation from labels to report and tracks which results are current.

Input: a filter. Output: a folder with a declared layout and a manifest. For each stage the manifest records the hashes
of its inputs and outputs, its parameters, seeds, package versions and duration. A stage is *stale* when one of its
inputs has changed since, or when a stage that it depends on is stale.
"""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout
from pydantic import ConfigDict, Field

from potstill.errors import BadInput, BundleError, RunError
from potstill.files import read_database, read_object, sha256, writable
from potstill.filters import Filter, load_filter, save_filter
from potstill.machine import Load, Watch, versions
from potstill.records import Part, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

State = Literal["done", "stale", "missing"]
"""State of a stage: its record is current, one of its inputs or outputs has changed, or it has not run yet."""

LAYOUT: Mapping[str, str] = {
    "manifest": "run.json",
    "lock": ".lock",
    "filter": "filter",
    "articles": "articles.parquet",
    "ledger": "ledger.sqlite",
    "rows": "dataset/rows.parquet",
    "pairs": "dataset/near-duplicates.json",
    "audit": "audit",
    "audit_record": "audit/audit.json",
    "fresh": "fresh",
    "fresh_record": "fresh/fresh.json",
    "probes": "filter/probes.yaml",
    "probe": "probe",
    "probe_record": "probe/probe.json",
    "students": "students",
    "ladder": "ladder.json",
    "tuning": "tuning",
    "bundle": "bundle",
    "refit": "refit.json",
    "shipped": "shipped",
    "cascade": "cascade",
    "evaluation": "evaluation.json",
    "predictions": "predictions.parquet",
    "acceptance": "acceptance.json",
    "decisions": "decisions.jsonl",
    "comparison": "comparison.json",
    "report": "report",
    "cache": "cache",
}
"""Every path inside a run folder, by name. No other module spells out such a path."""


BUNDLE = "bundle.json"
"""Name of a bundle's manifest, which holds the bundle's hash."""

DEFAULT_PROBED = 50
"""Number of articles, chosen at random, that behaviour tests change in ways that should not matter."""

SIGNATURE = "signature.json"
"""Name of a bundle's signature file. It is left out of the bundle's hash, so signing does not change the bundle."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of the pipeline: its inputs and outputs as names from `LAYOUT`, and the command that runs it.

    Files in `grows` must exist after the stage has run, but may change afterwards without making the stage stale. For
    example, added or corrected labels make the later stages stale, but not the labelling.

    `filter.oracle` and `filter.all` stand for the two hashes of the run's filter: the hash of what the labels depend
    on, and the hash of the whole filter. An `optional` stage is never suggested as the next stage, because no other
    stage waits for it.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    after: tuple[str, ...]
    command: str
    grows: tuple[str, ...] = ()
    optional: bool = False


STAGES: tuple[Stage, ...] = (
    Stage("label", ("filter.oracle",), (), (), "potstill label {run} --oracle ORACLE", grows=("articles", "ledger")),
    Stage(
        *("audit", ("filter.all", "articles", "ledger"), ("audit_record",), ("label",), "potstill audit {run}"),
        optional=True,
    ),
    Stage("dataset", ("filter.oracle", "articles", "ledger"), ("rows",), ("label",), "potstill dataset {run}"),
    Stage("train", ("rows",), ("students",), ("dataset",), "potstill train {run}"),
    Stage("bundle", ("filter.all", "rows", "students"), ("bundle",), ("train",), "potstill bundle {run}"),
    Stage(
        *("cascade", ("bundle", "rows", "students"), ("cascade",), ("bundle",), "potstill cascade {run}"),
        optional=True,
    ),
    Stage("evaluate", ("bundle", "rows"), ("evaluation", "predictions"), ("bundle",), "potstill evaluate {run}"),
    Stage("refit", ("bundle", "rows", "students"), ("refit",), ("bundle",), "potstill refit {run}"),
    Stage(
        *("fresh", ("bundle", "refit"), ("fresh_record",), ("bundle",)),
        "potstill evaluate-fresh {run} --oracle ORACLE --articles FILE",
        optional=True,
    ),
    Stage(
        *("probe", ("bundle", "refit", "probes"), ("probe_record",), ("bundle",), "potstill probe {run}"),
        optional=True,
    ),
    Stage(
        "report",
        (
            *("evaluation", "predictions", "ladder", "cascade", "refit", "fresh_record", "probe_record"),
            *("acceptance", "decisions", "comparison"),
        ),
        ("report",),
        ("evaluate",),
        "potstill report {run}",
    ),
)


class StageRecord(Part):
    """What a stage recorded about itself when it ended."""

    inputs: dict[str, str]
    outputs: dict[str, str]
    parameters: dict[str, Any] = Field(default_factory=dict)
    seeds: dict[str, int] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    started: str
    seconds: float
    """Seconds spent on the stage's results, including results that were kept from earlier executions."""
    load: Load | None = None
    """Load of the machine during the stage; None if it was not recorded."""


@dataclass(slots=True)
class Recording:
    """A stage that is being recorded.

    `before` is the number of seconds already spent on results that are kept from an earlier execution. `nothing_done`
    means that all results are kept, so the earlier record's time is kept as well. `abandoned` means that there is no
    result, so nothing is recorded.
    """

    started: str
    watch: Watch
    before: float = 0.0
    nothing_done: bool = False
    abandoned: bool = False

    def times(self, earlier: StageRecord | None) -> dict[str, Any]:
        """Return when the stage started, how many seconds it took, and the machine's load."""
        if self.nothing_done and earlier is not None:
            return {"started": earlier.started, "seconds": earlier.seconds, "load": earlier.load}
        load = self.watch.load()
        return {"started": self.started, "seconds": round(load.wall_seconds + self.before, 3), "load": load}


class Manifest(Record):
    """Contents of `run.json`."""

    model_config = ConfigDict(frozen=False)
    fault = RunError

    schema_version: int = 1
    filter: str
    created: str
    stages: dict[str, StageRecord] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageStatus:
    """State of a stage. `why` names what changed or is missing, and `command` runs the stage."""

    stage: str
    state: State
    why: str
    command: str
    optional: bool = False


class Run:
    """An open run folder. `Run.create` makes a new one and `Run.open` opens an existing one."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def create(cls, folder: str | Path, filter_: Filter) -> Run:
        """Create a run folder for a filter and copy the filter's package into it.

        Args:
            folder: path of the run folder. If it is already a run of the same filter, that run is opened.
            filter_: the filter.

        Returns:
            The open run.

        Raises:
            RunError: the folder is already a run of another filter.
        """
        folder = Path(folder)
        if (folder / LAYOUT["manifest"]).exists():
            run = cls.open(folder)
            if run.filter.content_hash != filter_.content_hash:
                raise RunError(
                    f"{folder} is a run of {run.manifest.filter} with other contents than the filter given; "
                    f"edit {run.path('filter')} or start a new run"
                )
            return run
        run = cls(folder, Manifest(filter=f"{filter_.name} v{filter_.version}", created=_now()))
        folder.mkdir(parents=True, exist_ok=True)
        save_filter(filter_, run.path("filter"))
        run._save()
        return run

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Open an existing run.

        Raises:
            RunError: the folder is not a run, or a newer version of potstill wrote it.
        """
        folder = Path(folder)
        path = folder / LAYOUT["manifest"]
        if not path.exists():
            raise RunError(f"{folder}: not a run folder (no {path.name}); {_meant(folder)}")
        return cls(folder, Manifest.from_file(path))

    @property
    def filter(self) -> Filter:
        """The run's own copy of its filter, read from its current files."""
        return load_filter(self.path("filter"))

    def path(self, name: str) -> Path:
        """Return the path of an item in the run, given its name in `LAYOUT`."""
        return self.folder / LAYOUT[name]

    def shipped(self) -> Path:
        """Return the bundle to score with: the one refitted on all labelled rows, or else the measured one.

        A refitted bundle counts only if it was made from the bundle that the run holds now.

        Raises:
            RunError: the run has no bundle.
        """
        measured, refitted = self.need("bundle", "bundle"), self.path("shipped")
        record, own, other = (
            _read_or_nothing(path) for path in (self.path("refit"), measured / BUNDLE, refitted / BUNDLE)
        )
        if not record or not own or not other:
            return measured
        made = record.get("measured") == own.get("sha256") and record.get("shipped") == other.get("sha256")
        return refitted if made else measured

    def need(self, name: str, stage: str) -> Path:
        """Return the path of an item that must exist.

        Args:
            name: name of the item in `LAYOUT`.
            stage: name of the stage that writes the item.

        Raises:
            RunError: the item is missing. The message names the command that makes it.
        """
        path = self.path(name)
        if not path.exists():
            raise RunError(f"{path} is missing; run: {self.command(_stage(stage))}")
        return path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold an exclusive lock on the run.

        Raises:
            RunError: another process is writing to the run, or the folder cannot be written.
        """
        lock = FileLock(self.path("lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(f"{self.folder}: another potstill process is writing to this run") from None
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be written ({error.strerror}); nothing was done") from None
        try:
            yield
        finally:
            lock.release()

    @property
    def writable(self) -> bool:
        """Whether results can be saved in the run; reading a run does not require it."""
        return writable(self.folder)

    @contextmanager
    def recording(
        self, stage: str, *, parameters: Mapping[str, Any] | None = None, seeds: Mapping[str, int] | None = None
    ) -> Iterator[Recording]:
        """Lock the run while a stage does its work, and add the stage's record to the manifest on success."""
        declared = _stage(stage)
        with self.locked():
            self.manifest = Run.open(self.folder).manifest
            recording = Recording(_now(), Watch())
            inputs = {name: self.fingerprint(name) for name in declared.reads}
            yield recording
            if recording.abandoned:
                return
            self.manifest.stages[stage] = StageRecord(
                inputs={name: value for name, value in inputs.items() if value is not None},
                outputs={name: value for name in declared.writes if (value := self.fingerprint(name)) is not None},
                parameters=dict(parameters or {}),
                seeds=dict(seeds or {}),
                versions=versions(),
                **recording.times(self.manifest.stages.get(stage)),
            )
            self._save()

    def fingerprint(self, name: str) -> str | None:
        """Return the current hash of an item in the run, or None if it is missing."""
        if name == "filter.oracle":
            return self.filter.oracle_hash
        if name == "filter.all":
            return self.filter.content_hash
        path = self.path(name)
        if not path.exists():
            return None
        return _ledger_hash(path) if name == "ledger" else sha256(path, leave_out={SIGNATURE})

    def status(self) -> list[StageStatus]:
        """Return the state of each stage, in pipeline order."""
        found: dict[str, StageStatus] = {}
        now: dict[str, str | None] = {}
        for stage in STAGES:
            now |= {name: self.fingerprint(name) for name in (*stage.writes, *stage.reads) if name not in now}
            state, why = self._state(stage, found, now)
            found[stage.name] = StageStatus(stage.name, state, why, self.command(stage), stage.optional)
        return list(found.values())

    def check_done(self, stage: str) -> None:
        """Check that a stage has run and that none of its inputs has changed since.

        Raises:
            RunError: the stage has not run, or an input has changed. The message contains the command that runs it.
        """
        found = next(status for status in self.status() if status.stage == stage)
        if found.state != "done":
            raise RunError(f"{self.folder}: {stage} is {found.state} ({found.why}); run: {found.command}")

    def command(self, stage: Stage) -> str:
        """Return the command that runs a stage, with the options of its last execution."""
        record = self.manifest.stages.get(stage.name)
        parameters = {} if record is None else record.parameters
        folder = shlex.quote(str(self.folder))
        words = stage.command.format(run=folder)
        if stage.name == "label" and "file" in parameters:
            return f"potstill import {folder} {shlex.quote(parameters['file'])}{parameters['options']}"
        if stage.name == "label" and (oracle := parameters.get("oracle") or _last_oracle(self.path("ledger"))):
            words = words.replace("ORACLE", shlex.quote(oracle))
        if stage.name == "train":
            words += "".join(f" --with {shlex.quote(other)}" for other in parameters.get("with", ()))
            files = parameters.get("files", {})
            about = parameters.get("leaderboard")
            named = parameters.get("recipes", ()) if about is None else about["named"] or ()
            words += "" if about is None else _leaderboard_options(about)
            words += "".join(f" --recipe {shlex.quote(files.get(name, name))}" for name in named)
        if stage.name == "bundle" and parameters.get("student"):
            words += f" --student {shlex.quote(parameters['student'])}"
        if stage.name == "bundle":
            points = parameters.get("decide", {})
            words += "".join(f" --decide {shlex.quote(f'{tier}:{point}')}" for tier, point in points.items())
            words += " --anyway" if parameters.get("anyway") else ""
        if stage.name == "probe":
            words += _probe_options(parameters)
        return words

    def _state(
        self, stage: Stage, above: Mapping[str, StageStatus], now: Mapping[str, str | None]
    ) -> tuple[State, str]:
        record = self.manifest.stages.get(stage.name)
        if record is None:
            return "missing", (_begun(self.path("ledger")) if stage.name == "label" else "") or "never run"
        done: tuple[State, str] = ("done", f"{record.started}, {record.seconds:.1f} s")
        return next(self._faults(stage, record, above, now), done)

    def _faults(
        self, stage: Stage, record: StageRecord, above: Mapping[str, StageStatus], now: Mapping[str, str | None]
    ) -> Iterator[tuple[State, str]]:
        """Yield the reasons why a stage is not current, the most serious first."""
        yield from self._output_faults(stage, record, now)
        for name in stage.reads:
            if now[name] != record.inputs.get(name):
                yield "stale", f"{LAYOUT.get(name, 'filter')} {'is gone' if now[name] is None else 'has changed'}"
        for name in stage.after:
            if above[name].state != "done":
                yield "stale", f"{name} is {above[name].state}"

    def _output_faults(
        self, stage: Stage, record: StageRecord, now: Mapping[str, str | None]
    ) -> Iterator[tuple[State, str]]:
        """Yield what is wrong with the files that a stage wrote."""
        for name in stage.writes:
            if now[name] is None:
                yield "missing", f"{LAYOUT[name]} is gone"
            if now[name] != record.outputs.get(name):
                yield "stale", f"{LAYOUT[name]} was changed after it was written"
        for name in stage.grows:
            if not self.path(name).exists():
                yield "missing", f"{LAYOUT[name]} is gone"
        if stage.name == "refit" and now["refit"] is not None and not self._shipped_is_there():
            yield "missing", f"{LAYOUT['shipped']} is gone or is another bundle than was written"
        if stage.name == "bundle" and self._bundle_is_outdated():
            yield "stale", "an older potstill wrote it, in a form that is no longer read"

    def _shipped_is_there(self) -> bool:
        """Return whether the refitted bundle that the record of the refit names is there, if it names one."""
        record = _read_or_nothing(self.path("refit"))
        if not record.get("refitted"):
            return True  # there is none, or the record is broken, which its hash shows
        return _read_or_nothing(self.path("shipped") / BUNDLE).get("sha256") == record.get("shipped")

    def _bundle_is_outdated(self) -> bool:
        """Return whether the bundle's manifest has a version that this potstill does not read."""
        from potstill.bundle.layout import Manifest as BundleManifest

        path = self.path("bundle") / BUNDLE
        try:
            BundleManifest.check_version(read_object(path), str(path))
        except BundleError:
            return True
        except BadInput:
            return False  # it is missing or broken, which its hash shows
        return False

    def _save(self) -> None:
        self.manifest.save(self.path("manifest"))


def _leaderboard_options(about: Mapping[str, Any]) -> str:
    """Return the options of `potstill train` that make a leaderboard again."""
    budget = "" if about["milliseconds"] is None else f" --latency {about['milliseconds']:g}"
    return f" --auto --minutes {about['minutes']:g}{budget}"


def _read_or_nothing(path: Path) -> dict[str, Any]:
    """Return a JSON object, or an empty one if the file is missing or broken."""
    try:
        return read_object(path)
    except BadInput:
        return {}


def _probe_options(parameters: Mapping[str, Any]) -> str:
    """Return the options of `potstill probe` that make the same tests again."""
    options = {"--oracle": parameters.get("oracle"), "--articles": parameters.get("file")}
    words = "".join(f" {option} {shlex.quote(value)}" for option, value in options.items() if value)
    number = parameters.get("number", DEFAULT_PROBED)
    return words if number == DEFAULT_PROBED else f"{words} -n {number}"


def _stage(name: str) -> Stage:
    return next(stage for stage in STAGES if stage.name == name)


def _meant(folder: Path) -> str:
    """Suggest what a user who gave this folder as a run may have meant."""
    above = folder.absolute().parent
    if (folder / BUNDLE).exists() and (above / LAYOUT["manifest"]).exists():
        return f"it is the bundle of the run {folder.parent}"
    return f"start one with: potstill label {folder} --filter FILTER --articles FILE --oracle ORACLE"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _begun(path: Path) -> str:
    """Describe unfinished labelling, from the ledger; return an empty string if there is nothing to report."""
    if not path.exists():
        return ""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            [answers] = database.execute("SELECT count(*) FROM calls").fetchone()
            [failed] = database.execute(
                "SELECT count(DISTINCT key) FROM failures WHERE key NOT IN (SELECT key FROM calls)"
            ).fetchone()
            costs = database.execute("SELECT cost FROM calls UNION ALL SELECT cost FROM failures")
            spent = sum(cost for (cost,) in costs) / 1e12
    except sqlite3.DatabaseError as error:
        raise RunError(f"{path}: not a readable ledger ({error})") from None
    if not answers and not failed:
        return ""
    had = f"{answers:,} answers, " if answers else ""
    return f"not finished: {had}{failed:,} failed, ${spent:,.4f} spent"


def _last_oracle(path: Path) -> str | None:
    """Return the oracle that a ledger queried last, or None if it has queried none."""
    if not path.exists():
        return None
    asked = "SELECT oracle, at FROM calls UNION ALL SELECT oracle, at FROM failures ORDER BY at DESC LIMIT 1"
    try:
        with closing(read_database(path)) as database:
            found = database.execute(asked).fetchone()
    except sqlite3.DatabaseError as error:
        raise RunError(f"{path}: not a readable ledger ({error})") from None
    return found and str(found[0])


def _ledger_hash(path: Path) -> str:
    from potstill.labelling.ledger import hash_labels

    try:
        with closing(read_database(path)) as database:
            return hash_labels(database)
    except sqlite3.DatabaseError as error:
        raise RunError(f"{path}: not a readable ledger ({error})") from None
