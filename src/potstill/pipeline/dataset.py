"""Run the stage `dataset` of a run.

Input: a run's articles and ledger. Output: its rows and near-duplicates, in files and in the manifest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from potstill.dataset.assembling import assemble
from potstill.dataset.duplicates import SIMILAR
from potstill.dataset.reach import LabelReach
from potstill.dataset.rows import Dataset, Pairs
from potstill.dataset.splitting import DEFAULT_FRACTIONS, Fractions
from potstill.errors import RunError
from potstill.parquet import read_parquet

if TYPE_CHECKING:
    from potstill.dataset.assembling import Whole
    from potstill.dataset.rows import DatasetRecord
    from potstill.pipeline.run import Run


def build_dataset(
    run: Run,
    *,
    seed: int = 0,
    fractions: Fractions = DEFAULT_FRACTIONS,
    whole: Whole | None = None,
    oracle: str | None = None,
    like: Run | None = None,
) -> DatasetRecord:
    """Build the dataset of a run from its articles and its ledger; recorded as the stage `dataset`.

    Args:
        run: an open run with labels.
        seed: random seed of the split.
        fractions: shares of the splits.
        whole: keep each source in one split, or split by time.
        oracle: the oracle whose labels to use, if the ledger contains several.
        like: another run; shared articles get the same split as there. For runs that are trained together.

    Returns:
        The record of the dataset, as in the manifest.

    Raises:
        RunError: there are no labels yet, or another process is writing to the run.
        DatasetError: no dataset can be made from the labels.
        LabelError: a label is outside the filter's scale.
    """
    from potstill.labelling import Ledger

    filter_ = run.filter
    ledger = run.need("ledger", "label")
    articles = read_parquet(run.need("articles", "label"))
    parameters: dict[str, Any] = {"fractions": fractions.model_dump(), "whole": whole, "oracle": oracle}
    other = None
    if like is not None:
        other = Dataset.load(like.need("rows", "dataset"), like.filter.dimension_names)
        parameters["like"] = like.fingerprint("rows")
    with run.recording("dataset", parameters=parameters, seeds={"split": seed}):
        with Ledger.reading(ledger) as opened:
            labels = opened.labels(filter_)
        dataset, record, pairs = assemble(
            articles, labels, filter_, seed=seed, fractions=fractions, whole=whole, oracle=oracle, like=other
        )
        dataset.save(run.path("rows"))
        ids = dataset.frame["id"].to_list()
        alike = tuple((ids[i], ids[j], round(jaccard, 6)) for i, j, jaccard in pairs)
        Pairs(threshold=SIMILAR, pairs=alike).save(run.path("pairs"))
        parameters["record"] = record.model_dump(mode="json")
    return record


def unreached_by(run: Run) -> tuple[str, ...]:
    """Return a sentence for each end of the scale that the training labels of some dimensions do not reach.

    Empty if there is no dataset, or an older potstill made it.
    """
    stage = run.manifest.stages.get("dataset")
    recorded = None if stage is None else stage.parameters.get("record", {}).get("reach")
    if recorded is None:
        return ()
    return LabelReach.validated(recorded, f"{run.folder}: stage dataset: reach", error=RunError).unreached
