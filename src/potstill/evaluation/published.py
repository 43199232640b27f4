"""Evaluate a file of predictions and labels in the same way as a run's own students.

Input: the file and the filter. Output: a `FileEvaluation` with findings in words.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from potstill.evaluation.findings import file_findings
from potstill.evaluation.judging import DEFAULT_BOOTSTRAP, judge
from potstill.evaluation.predictions import read_predictions
from potstill.evaluation.records import FileEvaluation
from potstill.evaluation.slices import slices_of
from potstill.files import sha256

if TYPE_CHECKING:
    from potstill.evaluation.records import Bootstrap
    from potstill.filters import Filter


def evaluate_file(path: str | Path, filter_: Filter, bootstrap: Bootstrap = DEFAULT_BOOTSTRAP) -> FileEvaluation:
    """Evaluate a file of predictions and labels with a filter.

    Raises:
        BadInput: the file is not valid; see `read_predictions`.
    """
    path = Path(path)
    rows = read_predictions(path, filter_)
    predicted = rows.predicted(filter_)
    judgement = judge(predicted, filter_, bootstrap)
    found = slices_of(predicted, rows.facts)
    blind = 0 if rows.cap_hits is not None else len(filter_.caps)
    return FileEvaluation(
        file=str(path),
        sha256=sha256(path),
        filter=filter_.name,
        filter_version=filter_.version,
        filter_hash=filter_.content_hash,
        dimensions=filter_.dimension_names,
        caps_applied=not blind,
        judgement=judgement,
        slices=found,
        findings=file_findings(judgement, found, span=filter_.scale.max - filter_.scale.min, blind_caps=blind),
        bootstrap=bootstrap,
    )
