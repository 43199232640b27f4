"""What helps to find rare positives before a tier is decided: which articles are labelled, and how labels are weighted.

On the news of `sustainability-gemini`, whose tier `high` (overall >= 5) holds 5% of the articles, labels are hidden
until they are asked for. Each part has random divisions of the articles:

- enrichment: 300 random labels and 300 more, at random, by `sample --how high`, half of each, or drawn with known
  probabilities that rise with the predicted score. Measured on articles that were never in the pool: average precision,
  recall at the volume of the tier and at twice the volume, error and bias.
- estimates: the tier's share and a student's measures as 300 labelled articles estimate them, taken as a random sample
  or weighted by 1 / probability.
- weights: rows of the positive tier weighted in training, ten-fold, for a kernel head and a linear head.
- dimension: the error of the two weakest dimensions as labels are added, at random and by
  `sample --how high --dimension NAME`.

    POTSTILL_DATA=... python benchmarks/rare_positives.py [--parts enrichment dimension weights] [--features FILE.npy]

Parts that are not run keep the results that are recorded.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from _sets import HERE, WORK, LabelledSet, NoDataError, labelled_set
from _students import write
from scipy import stats
from sklearn.metrics import average_precision_score

from potstill import metrics
from potstill.audit.suspects import cheap_student
from potstill.dataset import folds
from potstill.files import read_json
from potstill.sampling import choose
from potstill.students.heads import Centring, rbf
from potstill.students.levels import Levels
from potstill.students.recipes import load_recipe
from potstill.training import fitter
from potstill.training.fit import frozen_encoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from potstill.dataset import Examples
    from potstill.types import BoolArray, FloatArray, IntArray

RESULT = HERE / "results" / "rare_positives.json"
SET, RECIPE = "sustainability-news", "e5-median"
HIGH = 5.0
"""The least `overall` of the tier `high`."""

FIRST, NEXT, POOL = 300, 300, 1200
STEPS = (0, 100, 200, 300, 500, 700, 1000, 1500)
"""Labels that are added to the first 300, in the part `dimension`."""

DIMENSION_POOL = 1700
ALPHA, GAMMA = 0.1, 0.5
"""Penalty and kernel width of the head on features, in the middle of what the recipe tries."""

FOLDS = 10
WEIGHT_SEEDS = 3
WEAKEST = ("deployment_readiness", "justice_equity")
"""The dimension with the largest error, and the one on which a student gains least on the constant."""

LESS = 0.1
"""Share of the first error that is to go."""

POWER = 8.0
"""How steeply the probability of being drawn rises with the rank."""

REDRAWS = 40
"""Samples per division from which the tier's share and the student's measures are estimated."""


@dataclass(frozen=True, eq=False)
class News:
    """The articles, their features, and what the oracle says of them."""

    set: LabelledSet
    features: NDArray[np.float32]

    @property
    def examples(self) -> Examples:
        """The labelled articles."""
        return self.set.examples

    def overall(self, scores: FloatArray) -> FloatArray:
        """Weighted mean of scores (rows, dimensions) on the scale, shape (rows,)."""
        return metrics.weighted(np.clip(scores, *self.set.scale), self.set.filter.weights)

    def positive(self) -> BoolArray:
        """Which articles the oracle puts in the tier `high`."""
        return self.overall(self.examples.scores) >= HIGH

    def articles(self, rows: IntArray) -> pl.DataFrame:
        """The pool as `choose` reads it."""
        taken = self.examples.take(rows)
        return pl.DataFrame({"id": taken.ids, "title": [""] * len(taken), "content": taken.texts})


@dataclass(frozen=True, eq=False)
class Predicted:
    """Scores, shape (rows, dimensions), and what the tier is ranked by, shape (rows,) each."""

    scores: FloatArray
    ranking: dict[str, FloatArray]


def main() -> None:
    """Run the wanted parts and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--features", type=Path, help=f"features of {RECIPE}, in the order of the set; else computed")
    parser.add_argument("--seeds", type=int, nargs="+", help="of the divisions; 30 for enrichment and 10 otherwise")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        labelled = labelled_set(SET)
    except NoDataError as missing:
        print(f"skipped: {missing}")
        return
    news = News(labelled, _features(labelled, arguments.features))
    parts = read_json(arguments.out)["parts"] if arguments.out.is_file() else {}
    for name in arguments.parts:
        clock = time.monotonic()
        seeds = arguments.seeds or list(range(30 if name == "enrichment" else 10))
        parts[name] = PARTS[name](news, seeds) | {"seconds": round(time.monotonic() - clock, 1)}
    facts = {
        "what": "labels are asked for, or weighted, so that more of a rare tier is found",
        "set": SET,
        "articles": len(news.examples),
        "positives": int(news.positive().sum()),
        "head": {"features": RECIPE, "alpha": ALPHA, "gamma": GAMMA},
        "parts": parts,
        "inputs": {"labels": labelled.labels},
    }
    write(arguments.out, facts, started)


def _features(labelled: LabelledSet, path: Path | None) -> NDArray[np.float32]:
    if path is not None:
        return np.load(path)
    return frozen_encoder(load_recipe(RECIPE), WORK / "features").encode(labelled.examples.texts)


# What is learned.


def words(news: News, rows: IntArray, held: IntArray, seed: int) -> Predicted:
    """Scores by the cheap student, which also chooses what is sampled."""
    learned = news.examples.take(rows)
    scores = fitter(cheap_student(len(rows)), seed=seed)(learned).predict(news.examples.take(held).frame)
    return Predicted(scores, {"scores": news.overall(scores)})


@dataclass(frozen=True, eq=False)
class Problem:
    """The kernel between training rows, from held-out rows to them, and the targets, shape (training rows, outputs)."""

    kernel: FloatArray
    across: FloatArray
    targets: FloatArray
    levels: Levels

    def solved(self, news: News, weights: FloatArray | None = None) -> Predicted:
        """Ridge regression on the features: scores are medians of a distribution, the tier is learned as 0 or 1."""
        count = len(self.kernel)
        weight = np.ones(count) if weights is None else weights
        coefficients, bias = weighted_dual(self.kernel, self.targets, ALPHA, weight)
        outputs = self.across @ coefficients + bias
        scores = self.levels.median(outputs[:, :-1])
        means = news.overall(self.levels.mean(outputs[:, :-1]))
        return Predicted(scores, {"scores": news.overall(scores), "means": means, "tier": outputs[:, -1]})


def problem(news: News, rows: IntArray, held: IntArray, *, linear: bool = False) -> Problem:
    """What a head on the features learns from `rows` for `held`."""
    centring = Centring.of(news.features[rows], [news.features.shape[1]])
    inside, outside = centring.apply(news.features[rows]), centring.apply(news.features[held])
    labels = news.examples.scores[rows]
    levels = Levels.of(labels)
    targets = np.column_stack([levels.targets(labels), news.positive()[rows]])
    kernel, across = (
        (inside @ inside.T, outside @ inside.T) if linear else (rbf(inside, inside, GAMMA), rbf(outside, inside, GAMMA))
    )
    return Problem(kernel, across, targets, levels)


def kernel_head(news: News, rows: IntArray, held: IntArray, weights: FloatArray | None = None) -> Predicted:
    """Scores by the head of the recipe, with fixed penalty and kernel width."""
    return problem(news, rows, held).solved(news, weights)


def weighted_dual(
    kernel: FloatArray, targets: FloatArray, alpha: float, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Coefficients and bias that minimise the weighted squared error and alpha times the norm; weights average 1."""
    count = len(kernel)
    system = np.ones((count + 1, count + 1))
    system[-1, -1] = 0.0
    system[:count, :count] = kernel
    system[range(count), range(count)] += alpha * weights.mean() / weights
    solved = np.linalg.solve(system, np.vstack([targets, np.zeros(targets.shape[1])]))
    return solved[:-1], solved[-1]


# What is measured.


def average_precision(positive: BoolArray, ranking: FloatArray, weights: FloatArray | None = None) -> float:
    """Mean, over the positives, of the precision among all rows that rank at least as high; rows may have weights."""
    return float(average_precision_score(positive, ranking, sample_weight=weights))


def recall_at(positive: BoolArray, ranking: FloatArray, volume: float, weights: FloatArray | None = None) -> float:
    """Share of the positives among the first rows that hold `volume` times as much weight as all positives."""
    weight = np.ones(len(positive)) if weights is None else weights
    order = np.argsort(-ranking, kind="stable")
    among = np.cumsum(weight[order]) <= volume * weight[positive].sum() + 1e-9
    return float(weight[order][among & positive[order]].sum() / weight[positive].sum())


def measures(news: News, predicted: Predicted, held: IntArray) -> dict[str, float]:
    """What a student is worth on articles that were never in the pool."""
    scores, positive = np.clip(predicted.scores, *news.set.scale), news.positive()[held]
    labels = news.examples.scores[held]
    named = news.overall(scores) >= HIGH
    found: dict[str, float] = {
        "mae": metrics.average(metrics.mae(scores, labels)),
        "bias": metrics.average(metrics.bias(scores, labels)),
        "mae_of_positives": metrics.average(metrics.mae(scores[positive], labels[positive])),
        "positives": int(positive.sum()),
        "named_by_score": int(named.sum()),
        "hit_by_score": int((named & positive).sum()),
    }
    for name, ranking in predicted.ranking.items():
        found[f"average_precision_by_{name}"] = average_precision(positive, ranking)
        for volume, word in ((1, "equal"), (2, "twice")):
            found[f"recall_at_{word}_volume_by_{name}"] = recall_at(positive, ranking, volume)
    return found


def over_seeds(runs: list[dict[str, float]], base: list[dict[str, float]] | None = None) -> dict[str, Any]:
    """Mean and standard deviation over seeds; the paired difference from `base` with its 95% interval."""
    summary: dict[str, Any] = {}
    for name in runs[0]:
        values = np.array([run[name] for run in runs], dtype=np.float64)
        summary[name] = {"mean": _number(values.mean()), "sd": _number(values.std(ddof=1))}
        if base is not None:
            difference = values - np.array([run[name] for run in base])
            half = stats.t.ppf(0.975, len(values) - 1) * difference.std(ddof=1) / np.sqrt(len(values))
            summary[name]["difference"] = _number(difference.mean())
            summary[name]["interval"] = [_number(difference.mean() - half), _number(difference.mean() + half)]
    return summary


def _number(value: float) -> float:
    return round(float(value), 4)


def divided(news: News, seed: int, pool: int) -> tuple[IntArray, IntArray, IntArray]:
    """First rows, pool and held-out rows; near-duplicates stay together."""
    clusters = news.examples.clusters
    order = np.random.default_rng(seed).permutation(int(clusters.max()) + 1)[clusters]
    shuffled = np.argsort(order, kind="stable")
    return shuffled[:FIRST], shuffled[FIRST : FIRST + pool], shuffled[FIRST + pool :]


def asked(news: News, pool: IntArray, count: int, known: IntArray, seed: int, dimension: str | None = None,
          how: str = "high") -> IntArray:  # fmt: skip
    """Rows of the pool that `potstill sample` chooses."""
    learned = news.examples.take(known)
    chosen = choose(news.articles(pool), count, how, news.set.filter, learned, dimension=dimension, seed=seed)
    place = {news.examples.ids[row]: row for row in pool.tolist()}
    return np.array([place[id_] for id_ in chosen["id"]], dtype=np.int64)


# The parts.


def drawn(ranking: FloatArray, count: int, seed: int) -> tuple[IntArray, FloatArray]:
    """A systematic sample in the order of `ranking`: positions, and the inclusion probability of every row.

    Two fifths of the sampling rate are the same for all rows; the rest rises with a power of the rank.
    """
    size = len(ranking)
    rise = ((np.argsort(np.argsort(ranking)) + 1.0) / size) ** POWER
    low, high = 0.0, 1e6
    for _ in range(80):
        middle = (low + high) / 2
        chance = np.minimum(1.0, 0.4 * count / size + middle * rise)
        low, high = (middle, high) if chance.sum() < count else (low, middle)
    order = np.argsort(ranking, kind="stable")
    ends = np.cumsum(chance[order])
    start = np.random.default_rng(seed).random()
    taken = np.floor(ends - start) > np.floor(np.concatenate([[0.0], ends[:-1]]) - start)
    return order[taken], chance


def enrichment(news: News, seeds: list[int]) -> dict[str, Any]:
    """300 labels more, chosen in four ways: what each buys on articles that were never in the pool."""
    runs: dict[str, dict[str, list[dict[str, float]]]] = {"words": {}, "features": {}}
    positives: dict[str, list[int]] = {}
    for seed in seeds:
        first, pool, held = divided(news, seed, POOL)
        places, chance = drawn(words(news, first, pool, seed).ranking["scores"], NEXT, seed)
        high = asked(news, pool, NEXT, first, seed)
        random = asked(news, pool, NEXT, first, seed, how="random")
        half = high[: NEXT // 2]
        both = np.concatenate([half, random[~np.isin(random, half)][: NEXT // 2]])
        none = np.empty(0, dtype=np.int64)
        for way, more in {"random": random, "none": none, "high": high, "half": both, "drawn": pool[places]}.items():
            rows = np.concatenate([first, more])
            positives.setdefault(way, []).append(int(news.positive()[more].sum()))
            runs["words"].setdefault(way, []).append(measures(news, words(news, rows, held, seed), held))
            runs["features"].setdefault(way, []).append(measures(news, kernel_head(news, rows, held), held))
        weights = np.concatenate([np.ones(FIRST), 1 / chance[places]])
        weighted = kernel_head(news, np.concatenate([first, pool[places]]), held, weights)
        runs["features"].setdefault("drawn, weighted in training", []).append(measures(news, weighted, held))
        print("enrichment", seed, flush=True)
    return {
        "seeds": seeds,
        "labels": {"first": FIRST, "next": NEXT, "pool": POOL, "held_out": len(news.examples) - FIRST - POOL},
        "positives_among_the_next": {way: _number(np.mean(found)) for way, found in positives.items()},
        "students": {
            student: {way: over_seeds(found, ways["random"]) for way, found in ways.items()}
            for student, ways in runs.items()
        },
    }


def estimates(news: News, seeds: list[int]) -> dict[str, Any]:
    """How far from the truth a labelled sample puts the tier's share and a student's measures.

    The student learns from the first 300 labels; all other articles are the population, and 300 of them are labelled.
    """
    errors: dict[str, list[list[float]]] = {}
    names: list[str] = []
    for seed in seeds:
        first, *others = divided(news, seed, POOL)
        population = np.concatenate(others)
        scores = np.clip(words(news, first, population, seed).scores, *news.set.scale)
        ranking, positive, labels = news.overall(scores), news.positive()[population], news.examples.scores[population]
        named = ranking >= np.sort(ranking)[-positive.sum()]
        every = np.arange(len(population))
        truth = _estimated(every, np.ones(len(every)), scores, labels, ranking, positive, named)
        names = list(truth)
        generator = np.random.default_rng(seed)
        top = np.argsort(-ranking, kind="stable")
        for redraw in range(REDRAWS):
            random = generator.permutation(every)[:NEXT]
            places, chance = drawn(ranking, NEXT, seed * REDRAWS + redraw)
            ones = np.ones(len(places))
            ways = {
                "random": (random, np.ones(NEXT)),
                "half of them, at random": (random[: NEXT // 2], np.ones(NEXT // 2)),
                "high, as if at random": (top[:NEXT], np.ones(NEXT)),
                "drawn, as if at random": (places, ones),
                "drawn, weighted by 1 / probability": (places, 1 / chance[places]),
            }
            for way, (rows, weights) in ways.items():
                found = _estimated(rows, weights, scores, labels, ranking, positive, named)
                errors.setdefault(way, []).append([found[name] - truth[name] for name in names])
    return {
        "seeds": seeds,
        "redraws": REDRAWS,
        "labelled": NEXT,
        "ways": {
            way: {
                name: {"mean_error": _number(np.nanmean(column)), "rms_error": _number(np.sqrt(np.nanmean(column**2)))}
                for name, column in zip(names, np.array(found).T, strict=True)
            }
            for way, found in errors.items()
        },
    }


def _estimated(
    rows: IntArray,
    weights: FloatArray,
    scores: FloatArray,
    labels: FloatArray,
    ranking: FloatArray,
    positive: BoolArray,
    named: BoolArray,
) -> dict[str, float]:
    """Weighted means over labelled rows; the tier is named where the ranking is as high as that of its whole volume."""
    given, labelled = scores[rows], labels[rows]
    wanted, said = weights * positive[rows], weights * named[rows]
    return {
        "share_of_the_tier": float(wanted.sum() / weights.sum()),
        "recall": float((wanted * named[rows]).sum() / wanted.sum()) if wanted.any() else np.nan,
        "precision": float((wanted * named[rows]).sum() / said.sum()) if said.any() else np.nan,
        "average_precision": average_precision(positive[rows], ranking[rows], weights) if wanted.any() else np.nan,
        "mae": float(weights @ np.abs(given - labelled).mean(axis=1) / weights.sum()),
        "bias": float(weights @ (given - labelled).mean(axis=1) / weights.sum()),
    }


def dimension(news: News, seeds: list[int]) -> dict[str, Any]:
    """The error of the weakest dimensions as labels are added, at random and by their highest predicted scores."""
    ways = ["random", *(f"high by {name}" for name in WEAKEST)]
    curves: dict[str, dict[str, list[FloatArray]]] = {"words": {}, "features": {}}
    for seed in seeds:
        first, pool, held = divided(news, seed, DIMENSION_POOL)
        labels = news.examples.scores[held]
        for way, name in zip(ways, (None, *WEAKEST), strict=True):
            known = first
            for step in STEPS:
                count = FIRST + step - len(known)
                if count:
                    how = "random" if name is None else "high"
                    left = pool[~np.isin(pool, known)]
                    known = np.concatenate([known, asked(news, left, count, known, seed, name, how)])
                for student, predicted in (
                    ("words", words(news, known, held, seed)),
                    ("features", kernel_head(news, known, held)),
                ):
                    given = np.clip(predicted.scores, *news.set.scale)
                    curves[student].setdefault(way, []).append(_by_dimension(given, labels))
        print("dimension", seed, flush=True)
    shape = (len(seeds), len(STEPS), 3, len(news.examples.dimensions))
    found = {
        student: {way: np.array(values).reshape(shape) for way, values in own.items()}
        for student, own in curves.items()
    }
    constant = metrics.mae(
        np.broadcast_to(metrics.constant(news.examples.scores), news.examples.scores.shape), news.examples.scores
    )
    names = news.examples.dimensions
    return {
        "seeds": seeds,
        "labels": {"first": FIRST, "added": list(STEPS), "pool": DIMENSION_POOL},
        "first_error": {
            student: dict(zip(names, np.round(own["random"][:, 0, 0].mean(axis=0), 4).tolist(), strict=True))
            for student, own in found.items()
        },
        "constant_error": dict(zip(names, np.round(constant, 4).tolist(), strict=True)),
        "curves": {
            student: {
                name: {
                    way: _curve(own[way][..., names.index(name)], own["random"][..., names.index(name)])
                    for way in ("random", f"high by {name}")
                }
                for name in WEAKEST
            }
            for student, own in found.items()
        },
    }


def _by_dimension(scores: FloatArray, labels: FloatArray) -> FloatArray:
    """Error, bias, and error where the label is at least 5, shape (3, dimensions)."""
    errors = np.abs(scores - labels)
    high = labels >= HIGH
    of_high = [float(errors[high[:, i], i].mean()) if high[:, i].any() else np.nan for i in range(labels.shape[1])]
    return np.array([errors.mean(axis=0), (scores - labels).mean(axis=0), of_high])


def _curve(found: FloatArray, random: FloatArray) -> dict[str, Any]:
    """Mean and spread at each step, shape (seeds, steps, 3), and how many labels lower the first error by a tenth."""
    difference = found[..., 0] - random[..., 0]
    half = stats.t.ppf(0.975, len(found) - 1) * difference.std(axis=0, ddof=1) / np.sqrt(len(found))
    needed = [_labels_needed(one) for one in found[..., 0]]
    reached = [labels for labels in needed if labels is not None]
    return {
        "mae": np.round(found[..., 0].mean(axis=0), 4).tolist(),
        "mae_sd": np.round(found[..., 0].std(axis=0, ddof=1), 4).tolist(),
        "mae_difference": np.round(difference.mean(axis=0), 4).tolist(),
        "mae_difference_half_interval": np.round(half, 4).tolist(),
        "bias": np.round(found[..., 1].mean(axis=0), 4).tolist(),
        "mae_where_label_is_high": np.round(np.nanmean(found[..., 2], axis=0), 4).tolist(),
        "labels_for_a_tenth_less": {
            "by_the_mean_curve": _labels_needed(found[..., 0].mean(axis=0)),
            "seeds_that_reach_it": len(reached),
            "median_of_those": round(float(np.median(reached))) if reached else None,
            "least_and_most": [min(reached), max(reached)] if reached else None,
        },
    }


def _labels_needed(errors: FloatArray) -> int | None:
    """Number of added labels, by linear interpolation, from which the error is lower by `LESS`; None if it never is."""
    goal = errors[0] * (1 - LESS)
    below = np.flatnonzero(errors <= goal)
    if not below.size:
        return None
    last = int(below[0])
    share = (errors[last - 1] - goal) / (errors[last - 1] - errors[last])
    return round(float(STEPS[last - 1] + share * (STEPS[last] - STEPS[last - 1])))


def weights(news: News, seeds: list[int]) -> dict[str, Any]:
    """Rows of the positive tier, or of both upper tiers, weighted in training: ten-fold, for two heads."""
    every, overall = np.arange(len(news.examples)), news.overall(news.examples.scores)
    tier = np.digitize(overall, [3.0, HIGH])
    shares = np.bincount(tier) / len(tier)
    ways = {f"positives x {factor}": np.where(tier == 2, float(factor), 1.0) for factor in (1, 2, 4, 8, 16)}
    ways["tiers by 1 / root of their share"] = 1 / np.sqrt(shares[tier])
    ways["tiers by 1 / their share"] = 1 / shares[tier]
    runs: dict[str, dict[str, list[dict[str, float]]]] = {"kernel": {}, "linear": {}}
    own_seeds = seeds[:WEIGHT_SEEDS]
    for head, seed in [(head, seed) for head in runs for seed in own_seeds]:
        fold = folds(news.examples.clusters, news.examples.scores, FOLDS, seed)
        found: dict[str, list[tuple[IntArray, Predicted]]] = {}
        for number in range(FOLDS):
            inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            asked_for = problem(news, inside, outside, linear=head == "linear")
            for way, weight in ways.items():
                found.setdefault(way, []).append((outside, asked_for.solved(news, weight[inside])))
        for way, parts in found.items():
            runs[head].setdefault(way, []).append(measures(news, _joined(parts), every))
        print("weights", head, seed, flush=True)
    return {
        "seeds": own_seeds,
        "folds": FOLDS,
        "heads": {
            head: {way: over_seeds(found, own["positives x 1"]) for way, found in own.items()}
            for head, own in runs.items()
        },
    }


def _joined(parts: list[tuple[IntArray, Predicted]]) -> Predicted:
    """Predictions of all folds in the order of the rows."""
    order = np.argsort(np.concatenate([rows for rows, _ in parts]))
    scores = np.concatenate([one.scores for _, one in parts])[order]
    names = parts[0][1].ranking
    return Predicted(scores, {name: np.concatenate([one.ranking[name] for _, one in parts])[order] for name in names})


PARTS: dict[str, Callable[[News, list[int]], dict[str, Any]]] = {
    "enrichment": enrichment,
    "estimates": estimates,
    "weights": weights,
    "dimension": dimension,
}


if __name__ == "__main__":
    main()
