"""Read and evaluate predictions from an evaluated run, or from a file of any origin.

Input: the folder of a run, or a file (see `evaluation.predictions`). Output: `Predictions`, or a `FileEvaluation` with
findings in words.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from potstill.errors import BadInput, RunError
from potstill.evaluation.findings import file_findings
from potstill.evaluation.judging import DEFAULT_BOOTSTRAP, judge
from potstill.evaluation.predictions import predictions_of, read_prediction_file, recorded_tiers, rows_of_source
from potstill.evaluation.records import FileEvaluation
from potstill.evaluation.slices import slices_of
from potstill.files import sha256
from potstill.parquet import read_parquet
from potstill.pipeline.run import Run

if TYPE_CHECKING:
    from potstill.evaluation.predictions import Predictions
    from potstill.evaluation.records import Bootstrap, Source
    from potstill.filters import Filter


def read_predictions(path: str | Path, filter_: Filter, *, source: Source | None = None) -> Predictions:
    """Read predictions from a file (.json, .jsonl or .parquet) or from an evaluated run's folder.

    Args:
        path: the file or run.
        filter_: the filter whose dimensions the file must contain, in any order.
        source: which rows of a run's predictions to use. Default: the first available of out-of-fold, test and
            validation.

    Raises:
        RunError: the run is not evaluated.
        BadInput: as `read_prediction_file`.
    """
    path = Path(path)
    if path.is_dir():
        return _of_run(Run.open(path), filter_, source)
    return read_prediction_file(path, filter_, source=source)


def _of_run(run: Run, filter_: Filter, source: Source | None) -> Predictions:
    path = run.need("predictions", "evaluate")
    frame = rows_of_source(read_parquet(path), path, source)
    rows = run.path("rows")
    if rows.exists():
        known = read_parquet(rows)
        wanted = [name for name in ("text", "cut", "language", "published") if name in known.columns]
        about = known.select("id", *wanted, *(["source"] if "source" in known.columns else []))
        # In predictions, `source` is the origin of the rows. In articles, it is the publisher.
        frame = frame.rename({"source": "_source"}).join(about, on="id", how="left", maintain_order="left")
    found = predictions_of(frame, path, filter_)
    # Under another filter, the bundle's cuts do not apply.
    same = filter_.content_hash == run.filter.content_hash
    return replace(found, decided=recorded_tiers(frame, filter_)) if same else found


def run_filter(path: str | Path) -> Filter:
    """Return the filter of a run's folder.

    Raises:
        RunError: the path is not a run, so the filter has to be given explicitly.
    """
    if not Path(path).exists():
        raise BadInput(f"{path}: no such file or folder")
    if not Path(path).is_dir():
        raise RunError(
            f"{path}: a file of predictions does not say which filter it is of; name it with --filter (compare: "
            "FILE@FILTER)"
        )
    return Run.open(path).filter


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
