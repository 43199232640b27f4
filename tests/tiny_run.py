"""A run that already has a dataset, without an oracle."""

import numpy as np
import polars as pl
from tiny_bundle import FILTER, articles

from potstill.dataset import Dataset
from potstill.pipeline.run import Run


def started(folder, *, calibration=False):
    """Create a run with a dataset of synthetic news: 120 rows, of which 80 are for training."""
    run = Run.create(folder, FILTER)
    frame, scores = articles(120)
    texts = [FILTER.text.of(title, content) for title, content in zip(frame["title"], frame["content"], strict=True)]
    last = "calibration" if calibration else "train"
    split = ["train"] * 60 + [last] * 20 + ["validation"] * 20 + ["test"] * 20
    rows = frame.select("id", "title").with_columns(
        pl.Series("text", texts),
        pl.Series("cluster", np.arange(120)),
        pl.Series("split", split),
        pl.Series("source", ["herald", "gazette"] * 60),
        *(pl.Series(f"y_{name}", scores[:, place]) for place, name in enumerate(FILTER.dimension_names)),
    )
    Dataset(rows, FILTER.dimension_names).save(run.path("rows"))
    return run
