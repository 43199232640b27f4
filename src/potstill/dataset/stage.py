"""The stage `dataset` of a run.

In: a run's articles and ledger. Out: its rows and near-duplicates, on disk and in the manifest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from potstill.dataset.assembling import assemble
from potstill.dataset.duplicates import SIMILAR
from potstill.dataset.rows import Dataset, Pairs
from potstill.dataset.splitting import DEFAULT_FRACTIONS, Fractions
from potstill.parquet import read_parquet

if TYPE_CHECKING:
    from potstill.dataset.assembling import Whole
    from potstill.dataset.rows import DatasetRecord
    from potstill.runs import Run


def build_dataset(
    run: Run,
    *,
    seed: int = 0,
    fractions: Fractions = DEFAULT_FRACTIONS,
    whole: Whole | None = None,
    oracle: str | None = None,
    like: Run | None = None,
) -> DatasetRecord:
    """Make the dataset of a run from its articles and its ledger; recorded as the stage `dataset`.

    Args:
        run: an open run with labels.
        seed: of the split.
        fractions: shares of the parts.
        whole: keep sources whole too, or split by time.
        oracle: whose labels, where the ledger holds several oracles'.
        like: another run, whose articles have the part here that they have there; for runs that train together.

    Raises:
        RunError: nothing is labelled yet, or another process writes to the run.
        DatasetError: the labels cannot make a dataset.
        LabelError: a label is not on the filter's scale.
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
