"""Read and evaluate predictions from an evaluated run, or from a file of any origin.

Input: the folder of a run, or a file (see `evaluation.predictions`). Output: `Predictions`, or a `FileEvaluation` with
findings in words.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from potstill.bundle import load_bundle
from potstill.bundle.seen import refuse_seen
from potstill.dataset import Dataset
from potstill.errors import BadInput, RunError
from potstill.evaluation.findings import file_findings
from potstill.evaluation.judging import DEFAULT_BOOTSTRAP, judge
from potstill.evaluation.predictions import (
    TrainingLabels,
    predictions_of,
    read_prediction_file,
    read_training_labels,
    recorded_tiers,
    rows_of_source,
)
from potstill.evaluation.records import FileEvaluation
from potstill.evaluation.slices import slices_of
from potstill.files import sha256
from potstill.parquet import read_parquet
from potstill.pipeline.run import LAYOUT, Run

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
    found = replace(predictions_of(frame, path, filter_), training=_training_part(run, filter_))
    # Under another filter, the bundle's cuts do not apply.
    same = filter_.content_hash == run.filter.content_hash
    return replace(found, decided=recorded_tiers(frame, filter_)) if same else found


def _training_part(run: Run, filter_: Filter) -> TrainingLabels | None:
    """Return the labels of the run's training part; None if the run has no dataset with the filter's dimensions."""
    if not run.path("rows").exists() or set(filter_.dimension_names) - set(run.filter.dimension_names):
        return None
    dataset = Dataset.load(run.path("rows"), filter_.dimension_names)
    return TrainingLabels(str(run.folder), dataset.part("train").untargeted().scores)


def _training_labels(path: Path, given: Path | None, filter_: Filter) -> TrainingLabels | None:
    """Return the training labels of a run or a file, or of the run that wrote the predictions; None if there are none.

    Raises:
        RunError, BadInput: `given` is no run with a dataset, or no valid file.
    """
    if given is None:
        written = path.name == LAYOUT["predictions"] and (path.parent / LAYOUT["manifest"]).exists()
        return _training_part(Run.open(path.parent), filter_) if written else None
    if not given.is_dir():
        return read_training_labels(given, filter_)
    run = Run.open(given)
    run.need("rows", "dataset")
    found = _training_part(run, filter_)
    if found is None:
        raise BadInput(
            f"{given}: its dimensions are {', '.join(run.filter.dimension_names)}; {filter_.name} has "
            f"{', '.join(filter_.dimension_names)}"
        )
    return found


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


def evaluate_file(
    path: str | Path,
    filter_: Filter,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    *,
    training: str | Path | None = None,
    bundle: str | Path | None = None,
) -> FileEvaluation:
    """Evaluate a file of predictions and labels with a filter.

    Args:
        path: the file.
        filter_: the filter whose dimensions the file must contain.
        bootstrap: how intervals are computed.
        training: a run, or a file with the labels of the training rows, for the constant baseline. Default: the run
            that wrote the file, or else the judged labels themselves.
        bundle: the bundle that made the predictions; rows that its student has learned from are refused.

    Raises:
        RunError: `training` is a run without a dataset.
        BadInput: a file is not valid (see `read_predictions`), or the bundle has learned from its rows.
        BundleError: `bundle` is no bundle, or does not have the recorded hashes.
    """
    path = Path(path)
    rows = read_predictions(path, filter_)
    if bundle is not None:
        opened = load_bundle(bundle, check="hashes")
        texts = None
        if "text" in rows.facts.columns:
            texts = [opened.filter.text.of("", text or "") for text in rows.facts["text"]]
        refuse_seen(opened.seen, opened.folder, str(path), rows.ids, texts)
    known = _training_labels(path, None if training is None else Path(training), filter_)
    rows = replace(rows, training=known)
    predicted = rows.predicted(filter_)
    judgement = judge(predicted, filter_, bootstrap)
    found = slices_of(predicted, rows.facts)
    blind = 0 if rows.cap_hits is not None else len(filter_.caps)
    return FileEvaluation(
        file=str(path),
        sha256=sha256(path),
        training=None if known is None else known.origin,
        training_rows=None if known is None else len(known.labels),
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
