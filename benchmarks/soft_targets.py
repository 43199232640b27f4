"""Whether a head learns more from the distribution of an oracle's answers than from their mean.

In: the two passes `a` and `b` of one oracle over the 350 stories of the Lee corpus, filter `front-page`. Out:
`results/soft_targets.json`: the error of the predicted median against the mean of both passes, in ten folds and three
seeds, on TF-IDF (ridge) and on three layers of frozen multilingual-e5-small (RBF ridge), for three kinds of targets
P(y <= level): of the mean (0 or 1, as students learn today), of the empirical distribution of both passes (0, 0.5 or
1), and of the first pass alone. Everything else is equal: the penalty and the kernel are chosen on inner folds by the
error against the mean of the passes in question. Differences come with a bootstrap interval over stories.

Run: `python -m benchmarks soft_targets`, in a few minutes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _sets import labelled_set
from _students import write
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer

from potstill.dataset import folds
from potstill.students.heads import Centring, rbf
from potstill.students.levels import Levels
from potstill.students.recipes import load_recipe
from potstill.students.ridge import choose, dual
from potstill.terminal import steps
from potstill.training import fit

if TYPE_CHECKING:
    from collections.abc import Callable

    from potstill.types import FloatArray, IntArray

    Kernels = Callable[[IntArray, IntArray], list[FloatArray]]
    """(fitted rows, all rows to relate) -> one kernel per candidate, shape (all rows, fitted rows)."""

RESULTS = Path(__file__).parent / "results" / "soft_targets.json"
SEEDS = (0, 1, 2)
FOLDS = 10
RESAMPLES = 2_000
TARGETS = ("mean", "both passes", "first pass")


def levels_and_targets(kind: str, answers: FloatArray) -> tuple[Levels, FloatArray]:
    """Levels, and the target of each, from answers of shape (passes, rows, dimensions)."""
    if kind == "mean":
        levels = Levels.of(answers.mean(axis=0))
        return levels, levels.targets(answers.mean(axis=0))
    used = answers if kind == "both passes" else answers[:1]
    levels = Levels.of(used.reshape(-1, used.shape[2]))
    return levels, np.mean([levels.targets(one) for one in used], axis=0)


def predicted(
    kernels: Kernels, penalties: list[float], kind: str, answers: FloatArray, train: IntArray, test: IntArray,
    clusters: IntArray, seed: int,
) -> FloatArray:  # fmt: skip
    """Median scores of the test rows, from heads fitted on the training rows."""
    levels, targets = levels_and_targets(kind, answers[:, train])
    known = (answers[:, train] if kind != "first pass" else answers[:1, train]).mean(axis=0)
    whole = kernels(train, np.concatenate([train, test]))

    def fit_predict(inside: IntArray, outside: IntArray, choice: tuple[int, float]) -> FloatArray:
        kernel = whole[choice[0]]
        coefficients, bias = dual(kernel[np.ix_(inside, inside)], targets[inside], choice[1])
        return levels.median(kernel[np.ix_(outside, inside)] @ coefficients + bias)

    choices = [(place, penalty) for place in range(len(whole)) for penalty in penalties]
    place, penalty = choose(choices, fit_predict, known, clusters[train], seed)
    coefficients, bias = dual(whole[place][: train.size], targets, penalty)
    return levels.median(whole[place][train.size :] @ coefficients + bias)


def tfidf_kernels(texts: list[str]) -> Kernels:
    """Dot products of TF-IDF vectors; their terms and frequencies are those of all texts, whose labels they ignore."""
    kinds: tuple[dict[str, Any], ...] = ({"ngram_range": (1, 2)}, {"analyzer": "char_wb", "ngram_range": (3, 5)})
    vectors = [TfidfVectorizer(sublinear_tf=True, min_df=2, max_features=50_000, **how) for how in kinds]
    blocks = [one.fit_transform(texts) for one in vectors]
    features = hstack(blocks, format="csr")
    products = np.asarray((features @ features.T).todense())
    return lambda fitted, rows: [products[np.ix_(rows, fitted)]]


def e5_kernels(features: FloatArray, widths: list[int], gammas: tuple[float, ...]) -> Kernels:
    """RBF kernels of features that are centred by the fitted rows."""

    def kernels(fitted: IntArray, rows: IntArray) -> list[FloatArray]:
        centring = Centring.of(features[fitted], widths)
        ready = centring.apply(features[rows])
        return [rbf(ready, ready[: fitted.size], gamma) for gamma in gammas]

    return kernels


def compared(kernels: Kernels, penalties: list[float], answers: FloatArray, clusters: IntArray) -> dict[str, Any]:
    """Errors of each kind of targets, and their differences from those of the mean."""
    truth = answers.mean(axis=0)
    errors = {kind: np.empty((len(SEEDS), *truth.shape)) for kind in TARGETS}
    with steps("folds", len(SEEDS) * FOLDS) as advance:
        for number, seed in enumerate(SEEDS):
            fold = folds(clusters, truth, FOLDS, seed)
            for one in range(FOLDS):
                train, test = np.flatnonzero(fold != one), np.flatnonzero(fold == one)
                for kind in TARGETS:
                    scores = predicted(kernels, penalties, kind, answers, train, test, clusters, seed)
                    errors[kind][number, test] = np.abs(scores - truth[test])
                advance(1)
    rows = np.random.default_rng(0).integers(len(truth), size=(RESAMPLES, len(truth)))
    result: dict[str, Any] = {}
    for kind in TARGETS:
        own = errors[kind]
        result[kind] = {"mae": round(float(own.mean()), 4), "by_seed": [round(float(one.mean()), 4) for one in own]}
        if kind != "mean":
            by_story = (own - errors["mean"]).mean(axis=(0, 2))
            low, high = np.quantile(by_story[rows].mean(axis=1), (0.025, 0.975))
            result[kind]["difference"] = {"mean": round(float(by_story.mean()), 4), "low": round(float(low), 4),
                                          "high": round(float(high), 4)}  # fmt: skip
    return result


def main() -> None:
    """Write the result."""
    started = time.monotonic()
    found = labelled_set("front-page")
    rows, answers = found.examples, found.oracles
    texts = rows.frame["text"].to_list()
    sets = {"tfidf-ridge": compared(tfidf_kernels(texts), [0.1, 0.3, 1.0, 3.0], answers, rows.clusters)}
    if "--tfidf" not in sys.argv:
        with tempfile.TemporaryDirectory() as folder:
            student = fit(load_recipe("e5-median"), rows, None, workdir=Path(folder), crossfit=0).student
        features = student.features(texts)
        widths = [features.shape[1] // 3] * 3
        kernels = e5_kernels(features, widths, (0.5, 1.0))
        sets["e5-three-layers-rbf"] = compared(kernels, [0.03, 0.1, 0.3], answers, rows.clusters)
    what = "front-page, ten folds, MAE of the median against the mean of both passes"
    write(RESULTS, {"what": what, "seeds": SEEDS, "students": sets}, started)


if __name__ == "__main__":
    main()
