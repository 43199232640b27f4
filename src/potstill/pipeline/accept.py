"""Judges an evaluated run against its targets and the bundle that it would replace, and logs decisions about it.

In: a run, `targets.yaml` and, optionally, an incumbent bundle. Out: `acceptance.json` in the run. The incumbent scores
the run's test texts and is judged on the run's labels by the run's filter, so both are judged on the same rows.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from pydantic import Field, ValidationError

from potstill import metrics
from potstill.bundle.deciding import decide_articles
from potstill.bundle.seen import refuse_seen
from potstill.dataset import Dataset
from potstill.errors import BadInput, RunError
from potstill.evaluation.judging import Predicted, constant_for, judge
from potstill.evaluation.positive_tiers import DecidedTiers
from potstill.evaluation.records import Evaluation, Judgement
from potstill.evaluation.targets import Outcome, judge_targets, read_targets
from potstill.files import read_object, read_text, sha256, write_text
from potstill.filters import builtin_filters
from potstill.parquet import read_parquet
from potstill.pipeline.run import LAYOUT
from potstill.records import Interval, Part, Record, first_fault
from potstill.scorer import Scorer
from potstill.verdict import cap_hits

if TYPE_CHECKING:
    from potstill.dataset import Examples
    from potstill.filters import Filter
    from potstill.pipeline.run import Run
    from potstill.types import FloatArray

TARGETS_NAME = "targets.yaml"

EXAMPLE = "targets: [{figure: shipped/judgement/mean/skill, at_least: 0.35}]"
"""An example of a complete file of targets: the bundle removes 35% of the constant's error."""


class Against(Part):
    """The bundle of the run compared with the incumbent, on the same test rows and labels.

    `difference` is the mean absolute error of the run's bundle minus that of the incumbent, below 0 if the run's bundle
    is better; `p` is the p-value of the difference, given the sampling of rows alone.
    """

    bundle: str
    bundle_sha256: str
    judgement: Judgement
    difference: float
    interval: Interval
    p: float


class Acceptance(Record):
    """`acceptance.json`: the outcome of every target, and hashes of what they were judged on."""

    fault = RunError
    made_by = "potstill accept RUN"

    schema_version: int = 1
    targets: str
    targets_sha256: str
    evaluation_sha256: str
    met: bool
    outcomes: tuple[Outcome, ...]
    incumbent: Against | None = None


def accept_run(run: Run, targets: Path | None = None, incumbent: Path | None = None) -> Acceptance:
    """Judge a run's targets and record it.

    Args:
        run: an evaluated run.
        targets: a `targets.yaml`; by default, the one next to the run's filter.
        incumbent: a bundle folder to compare with.

    Raises:
        RunError: the run is not evaluated, or has changed since.
        BadInput: a target is not valid, names a figure that does not exist, or is vacuous.
        BundleError: the incumbent fails its verification.
    """
    path = targets or run.path("filter") / TARGETS_NAME
    if targets is None and not path.is_file():
        raise BadInput(
            f"{path}: no such file; create it, for example with this line: {EXAMPLE} (or pass a file with --targets)"
        )
    wanted = read_targets(path)
    record = run.need("evaluation", "evaluate")
    run.check_done("evaluate")
    evaluation = Evaluation.from_file(record)
    against = None if incumbent is None else against_incumbent(run, incumbent)
    figures = evaluation.model_dump(mode="json")
    if against is not None:
        figures["incumbent"] = against.judgement.model_dump(mode="json")
    outcomes = judge_targets(wanted, figures, str(path))
    found = Acceptance(
        targets=str(path),
        targets_sha256=sha256(path),
        evaluation_sha256=sha256(record),
        met=all(outcome.met for outcome in outcomes),
        outcomes=outcomes,
        incumbent=against,
    )
    found.save(run.path("acceptance"))
    return found


def carry_targets(package: str | Path, run: Path) -> Path | None:
    """Copy the targets of a filter package into a run that has no targets yet, and return the path of the copy.

    Targets are fixed when a run starts: later changes of the package's targets do not affect the run. Returns None for
    a built-in filter, for a package without targets, and if the run has its own targets.
    """
    folder = Path(package)
    source = (folder.parent if folder.is_file() else folder) / TARGETS_NAME
    target = run / LAYOUT["filter"] / TARGETS_NAME
    if package in builtin_filters() or not source.is_file() or target.exists() or not target.parent.is_dir():
        return None
    read_targets(source)
    write_text(target, read_text(source))
    return target


def against_incumbent(run: Run, folder: Path) -> Against:
    """Compare the run's bundle with another on the run's test part.

    Raises:
        BadInput: the incumbent scores different dimensions, or has learned from test rows.
        BundleError: the incumbent fails its verification.
    """
    filter_ = run.filter
    dataset = Dataset.load(run.need("rows", "dataset"), filter_.dimension_names)
    test = dataset.part("test")
    scorer = Scorer.load(folder, follow_plan=False)
    refuse_seen(scorer.bundle.seen, folder, f"the test part of {run.folder}", test.ids, test.texts)
    theirs, decided = _decided(scorer, test, filter_)
    constant = constant_for(dataset.part("train").untargeted().scores, filter_, len(test))
    hits = cap_hits(test.frame["text"], filter_)
    rows = Predicted("test", test.ids, theirs, test.scores, constant, test.clusters, hits, decided=decided)
    judgement = judge(rows, filter_)
    ours = _recorded(run, test, filter_)
    found = metrics.compare(np.abs(ours - test.scores), np.abs(theirs - test.scores), test.clusters)
    return Against(
        bundle=str(folder),
        bundle_sha256=scorer.bundle.hash,
        judgement=judgement,
        difference=round(found.difference, 6),
        interval=Interval(low=round(found.low, 6), high=round(found.high, 6)),
        p=round(found.p, 6),
    )


def _decided(scorer: Scorer, rows: Examples, filter_: Filter) -> tuple[FloatArray, DecidedTiers | None]:
    """Another bundle's calibrated scores, in the order of this filter's dimensions, and what it decided.

    A bundle of another filter has cuts for other tiers, so the run's filter decides by its scores.
    """
    bundle, names = scorer.bundle, filter_.dimension_names
    if set(bundle.filter.dimension_names) != set(names):
        raise BadInput(
            f"{bundle.folder}: scores {', '.join(bundle.filter.dimension_names)}, but the run has labels for "
            f"{', '.join(names)}; the dimensions must be the same"
        )
    found = decide_articles(bundle.student, rows.frame, bundle.filter, bundle.calibration)
    same = bundle.filter.content_hash == filter_.content_hash
    decided = DecidedTiers.of(found, bundle.calibration.decisions) if same else None
    return found.scores[:, [bundle.filter.dimension_names.index(name) for name in names]], decided


def _recorded(run: Run, rows: Examples, filter_: Filter) -> FloatArray:
    """The bundle's scores of the test part, as the evaluation stored them."""
    table = read_parquet(run.need("predictions", "evaluate")).filter(pl.col("source") == "test")
    place = {id_: i for i, id_ in enumerate(table["id"])}
    scores = table.select(f"p_{name}" for name in filter_.dimension_names).to_numpy().astype(np.float64)
    found: FloatArray = scores[[place[id_] for id_ in rows.ids]]
    return found


class Decision(Part):
    """One line of `decisions.jsonl`; `targets_met` is None if targets were not judged on this evaluation."""

    when: str
    accepted: bool
    why: str = Field(min_length=1)
    evaluation_sha256: str
    bundle_sha256: str | None
    targets_met: bool | None


def decide(run: Run, why: str, *, accepted: bool) -> Decision:
    """Record a decision about the run and its current evaluation.

    Raises:
        BadInput: no reason is given.
        RunError: the run is not evaluated, has changed since, or another process writes to it.
    """
    if not why.strip():
        raise BadInput("--why: give a reason for the decision")
    evaluation = run.need("evaluation", "evaluate")
    run.check_done("evaluate")
    with run.locked():
        digest = sha256(evaluation)
        decision = Decision(
            when=datetime.now(UTC).isoformat(timespec="seconds"),
            accepted=accepted,
            why=why.strip(),
            evaluation_sha256=digest,
            bundle_sha256=((read_object(evaluation).get("shipped") or {}).get("bundle_sha256")),
            targets_met=_targets_met(run, digest),
        )
        with run.path("decisions").open("a", encoding="utf-8", newline="\n") as stream:
            stream.write(json.dumps(decision.model_dump(mode="json"), ensure_ascii=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    return decision


def decisions_of(path: Path) -> tuple[Decision, ...]:
    """All decisions of a log, the oldest first; none if there is no log.

    Raises:
        RunError: a line is broken; the message names it.
    """
    if not path.exists():
        return ()
    found = []
    # Not splitlines: a reason may contain Unicode line separators.
    for number, line in enumerate(read_text(path).removesuffix("\n").split("\n"), start=1):
        try:
            found.append(Decision.model_validate_json(line, strict=True))
        except ValidationError as error:
            raise RunError(f"{path}: line {number}: {first_fault(error)}") from None
    return tuple(found)


def _targets_met(run: Run, evaluation: str) -> bool | None:
    path = run.path("acceptance")
    record = read_object(path) if path.exists() else {}
    return bool(record["met"]) if record.get("evaluation_sha256") == evaluation else None
