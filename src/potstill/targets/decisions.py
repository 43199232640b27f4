"""The decision log: what people decided about a run, and why.

In: a decision and its reason. Out: one more line in the run's `decisions.jsonl`, with the hashes of the evaluation and
the bundle. The log is append-only.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from potstill.errors import BadInput, RunError
from potstill.files import read_object, read_text, sha256
from potstill.records import Part, first_fault

if TYPE_CHECKING:
    from pathlib import Path

    from potstill.runs import Run


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
