"""Tests of out-of-fold predictions."""

import numpy as np
import polars as pl
import pytest

from potstill.dataset import Examples, folds
from potstill.errors import DatasetError
from potstill.training import out_of_fold


class Remembers:
    """Predicts 10 for texts it was trained on and 0 for others, so that a leak is visible."""

    dimensions = ("harm",)

    def __init__(self, known):
        self.known = set(known.texts)

    def predict(self, articles):
        return np.array([[10.0 if text in self.known else 0.0] for text in articles["text"]])


def examples(n=12, clusters=None):
    frame = pl.DataFrame({"id": [f"a{i}" for i in range(n)], "text": [f"text {i}" for i in range(n)]})
    scores = np.linspace(0, 10, n)[:, None]
    return Examples(
        tuple(frame["id"]), frame, scores, np.arange(n) if clusters is None else np.array(clusters), ("harm",)
    )


def test_no_row_is_scored_by_a_student_that_saw_it():
    rows = examples()
    scores = out_of_fold(Remembers, rows, folds(rows.clusters, rows.scores, 4, 0))
    assert (scores == 0).all()


def test_every_row_is_scored_once_and_in_its_place():
    rows = examples()
    seen = []

    class Echoes(Remembers):
        def predict(self, articles):
            seen.extend(articles["id"])
            return np.array([[float(text.split()[1])] for text in articles["text"]])

    scores = out_of_fold(Echoes, rows, folds(rows.clusters, rows.scores, 3, 0))
    assert scores[:, 0].tolist() == list(range(12))
    assert sorted(seen) == sorted(rows.ids)


def test_a_cluster_in_two_folds_is_refused():
    rows = examples(4, clusters=[0, 0, 1, 2])
    with pytest.raises(DatasetError, match="cluster 0 lies in two folds"):
        out_of_fold(Remembers, rows, np.array([0, 1, 0, 1]))
