"""How many articles of the positive tiers are found, by score and by probability, and what each signal is worth.

Four sets: news of `sustainability-gemini`, and its news and science together, in parts (train, validation, test; three
seeds), the stories of `front-page` in ten folds, and the published predictions of an uplifting student, of which only
the scores are known. Every decision is judged on rows that neither the student nor the cut has seen. Beside the
decisions by score stand those at equal volume, at twice the volume and for a promised recall, and the average precision
of each signal. Then simulations: how often a promised recall is kept, labels of noise, five positives, and a stream
with half as many positives.

    POTSTILL_DATA=... python benchmarks/decisions.py [--parts news news_and_science stories published promises
                                                              simulations added_time]

Parts that are not asked for keep their figures of before. Frozen encoders read each text once; their features are kept
in the cache that all runs share.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from _sets import DATA, HERE, LabelledSet, NoDataError, labelled_set
from _students import run_parts
from students import parts_of_set

from potstill.bundle.deciding import decide_raw
from potstill.bundle.exporting import calibrate, with_tier_head
from potstill.calibration import PrecisionRecall, belonging, choose_cut, fit_calibration
from potstill.dataset import folds
from potstill.evaluation.ranking import average_precision, recall_at
from potstill.filters import load_filter
from potstill.operating_points import OperatingPoint
from potstill.pipeline.predictions import read_predictions
from potstill.prefilter import fold_all
from potstill.students import Outputs, outputs_of
from potstill.students.neural import open_encoder
from potstill.students.recipes import load_recipe
from potstill.students.storage import feature_folder
from potstill.training.fit import fitter, predict_out_of_fold
from potstill.verdict import cap_hits, judge_rows, positive_places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from potstill.calibration import Calibration
    from potstill.dataset import Examples
    from potstill.filters import Filter
    from potstill.students.storage import AnyStudent
    from potstill.types import BoolArray, FloatArray

RESULT = HERE / "results" / "decisions.json"
RECIPE = "e5-median"
SEEDS = (0, 1, 2)
PARTS = ("news", "news_and_science", "stories", "published", "promises", "simulations", "added_time")
RESAMPLES = 200


def main() -> int:
    """Measure what is asked for and write the result."""
    run_parts(globals(), PARTS, RESULT, recipe=RECIPE)
    return 0


@dataclass(frozen=True)
class KnownFeatures:
    """An encoder that looks the features of known texts up."""

    rows: dict[str, NDArray[np.float32]]
    widths: tuple[int, ...]

    @property
    def width(self) -> int:
        """The number of features."""
        return sum(self.widths)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Features, shape (texts, width)."""
        return np.array([self.rows[text] for text in texts], dtype=np.float32).reshape(len(texts), self.width)

    def truncated(self, texts: Sequence[str]) -> BoolArray:
        """No text; nothing here asks."""
        return np.zeros(len(texts), dtype=np.bool_)


def known_features(labelled: LabelledSet, recipe: str) -> KnownFeatures:
    """The features of a set's texts; a text that any run has encoded before comes from the shared cache."""
    texts = labelled.examples.texts
    encoder = open_encoder(load_recipe(recipe), feature_folder())  # type: ignore[arg-type]  # an encoder's recipe
    features = encoder.encode(texts)
    layers = len(load_recipe(recipe).layers)  # type: ignore[union-attr]  # as above
    return KnownFeatures(dict(zip(texts, features, strict=True)), (features.shape[1] // layers,) * layers)


def news() -> dict[str, Any]:
    """News in parts: the student and its cuts from the training part, judged on the test part."""
    labelled = labelled_set("sustainability-news")
    return _over_seeds(labelled, lambda seed: [_parts(labelled, seed)])


def news_and_science() -> dict[str, Any]:
    """News and science in parts, trained and judged together; reading all texts takes half an hour on one core."""
    labelled = labelled_set("sustainability-all")
    return _over_seeds(labelled, lambda seed: [_parts(labelled, seed)])


def stories() -> dict[str, Any]:
    """Stories in ten folds: each fold is judged by a student, a calibration and cuts from the other nine."""
    labelled = labelled_set("front-page")

    def of_seed(seed: int) -> list[Judged]:
        fold = folds(labelled.examples.clusters, labelled.examples.scores, 10, seed)
        return [_judged(labelled, fold != number, fold == number, seed) for number in range(10)]

    return _over_seeds(labelled, of_seed)


@dataclass(frozen=True)
class Judged:
    """Rows that were judged: what belongs, what each way names, and the values that rank, each by positive tier."""

    belongs: FloatArray
    named: dict[str, BoolArray]
    ranked: dict[str, FloatArray]
    error: float
    kinds: tuple[str, ...]


def _parts(labelled: LabelledSet, seed: int) -> Judged:
    part = parts_of_set(labelled, seed)
    return _judged(labelled, part == "train", part == "test", seed)


def _judged(labelled: LabelledSet, learns: BoolArray, judges: BoolArray, seed: int) -> Judged:
    """Fit, calibrate out of fold and decide, with and without tier outputs."""
    filter_, examples = labelled.filter, labelled.examples
    assert filter_ is not None
    train, test = examples.take(learns), examples.take(judges)
    fit = fitter(load_recipe(RECIPE), seed=seed, encoder=known_features(labelled, RECIPE))
    student: Any = fit(train)
    held_out = predict_out_of_fold(fit, train, 5, seed)
    with_head, outputs = with_tier_head(student, train, filter_)
    plain = calibrate(held_out, train, filter_, "out of fold", seed=seed)
    whole = calibrate(held_out, train, filter_, "out of fold", tier_outputs=outputs, seed=seed)
    named, ranked = {}, {}
    for name, calibration, used in (("scores alone", plain, student), ("with tier outputs", whole, with_head)):
        for goal in ("volume=match", "recall=0.9"):
            points = dict.fromkeys(filter_.positive_tiers, OperatingPoint.model_validate(goal))
            named[f"{name}, {goal}"], ranked[name] = _decide(used, calibration, filter_, test, points)
    by_score = judge_rows(whole.apply(student.predict(test.frame)), filter_, cap_hits(test.frame["text"], filter_))
    places = positive_places(filter_)
    named["by score"] = np.column_stack([np.isin(by_score.tiers, places[: n + 1]) for n in range(len(places))])
    ranked["overall"] = np.tile(by_score.overall[:, None], (1, len(places)))
    return Judged(
        belonging(test.scores, filter_, cap_hits(test.frame["text"], filter_)),
        named,
        ranked,
        float(np.nanmean(np.abs(whole.apply(student.predict(test.frame)) - test.scores))),
        tuple(signal.kind for signal in whole.decisions.signals) if whole.decisions else (),
    )


def _decide(
    student: AnyStudent,
    calibration: Calibration,
    filter_: Filter,
    rows: Examples,
    points: dict[str, OperatingPoint],
) -> tuple[BoolArray, FloatArray]:
    """Which rows are named, and by which probability, each of shape (rows, positive tiers)."""
    assert calibration.decisions is not None
    moved = calibration.model_copy(update={"decisions": calibration.decisions.chosen(points)})
    given = outputs_of(student, rows.frame)
    decided = decide_raw(given, fold_all(rows.frame["text"]), filter_, moved)
    places = positive_places(filter_)
    named = np.column_stack([np.isin(decided.judged.tiers, places[: n + 1]) for n in range(len(places))])
    positive = decided.positive if decided.positive is not None else named.astype(np.float64)
    return named, positive


def _over_seeds(labelled: LabelledSet, of_seed: Any) -> dict[str, Any]:  # noqa: ANN401 - a function of the seed
    """Figures of each positive tier or a better one, by seed, pooled over what each seed judged."""
    assert labelled.filter is not None
    found: dict[str, Any] = {tier: [] for tier in labelled.filter.positive_tiers}
    for seed in SEEDS:
        judged = of_seed(seed)
        print(labelled.name, "seed", seed, flush=True)
        for column, tier in enumerate(found):
            belongs = np.concatenate([one.belongs[:, column] > 0 for one in judged])
            count = int(belongs.sum())
            ways = {
                way: _counted(np.concatenate([one.named[way][:, column] for one in judged]), belongs)
                for way in judged[0].named
            }
            rankings = {
                way: _ranked(np.concatenate([one.ranked[way][:, column] for one in judged]), belongs)
                for way in judged[0].ranked
            }
            found[tier].append(
                {
                    "seed": seed,
                    "rows": len(belongs),
                    "positives": count,
                    "mae": round(float(np.mean([one.error for one in judged])), 4),
                    "signals": sorted({one.kinds[column] for one in judged if one.kinds}),
                    "named": ways,
                    "ranked": rankings,
                }
            )
    return {tier: {"mean": _means(runs), "runs": runs} for tier, runs in found.items()}


def _counted(named: BoolArray, belongs: BoolArray) -> dict[str, Any]:
    both = int((named & belongs).sum())
    return {
        "named": int(named.sum()),
        "found": both,
        "recall": _share(both, int(belongs.sum())),
        "precision": _share(both, int(named.sum())),
    }


def _ranked(values: FloatArray, belongs: BoolArray) -> dict[str, Any]:
    count = int(belongs.sum())
    return {
        "average_precision": round(average_precision(belongs, values), 4),
        "recall_at_equal_volume": round(recall_at(belongs, values, count), 4),
        "recall_at_twice_the_volume": round(recall_at(belongs, values, 2 * count), 4),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _means(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread (standard deviation) over seeds of every figure."""
    found: dict[str, Any] = {}
    for kind in ("named", "ranked"):
        for way in runs[0][kind]:
            for figure in runs[0][kind][way]:
                values = [run[kind][way][figure] for run in runs]
                if None not in values:
                    found.setdefault(way, {})[figure] = [
                        round(float(np.mean(values)), 4),
                        round(float(np.std(values, ddof=1)), 4),
                    ]
    return found


def published() -> dict[str, Any]:
    """An uplifting student's published predictions: ten folds, cuts from nine, judged on the tenth."""
    path = DATA / "uplifting-v4-predictions.json"
    if not path.is_file():
        raise NoDataError(f"no benchmark data at {path}; set POTSTILL_DATA")
    filter_ = load_filter("uplifting")
    rows = read_predictions(path, filter_)
    last = len(filter_.positive_tiers) - 1
    belongs = belonging(rows.labels, filter_)[:, last] > 0
    places = positive_places(filter_)
    result: dict[str, Any] = {"positives": int(belongs.sum())}
    for seed in SEEDS:
        fold = folds(rows.clusters, rows.labels, 10, seed)
        named = {goal: np.zeros(len(belongs), dtype=np.bool_) for goal in ("by-score", "volume=match", "recall=0.9")}
        values = np.zeros(len(belongs))
        for number in range(10):
            inside, outside = fold != number, fold == number
            fitted = fit_calibration(
                rows.scores[inside],
                rows.labels[inside],
                rows.clusters[inside],
                seed,
                dimensions=filter_.dimension_names,
                rules=filter_,
            )
            assert fitted.decisions is not None
            for goal, found in named.items():
                points = dict.fromkeys(filter_.positive_tiers, OperatingPoint.model_validate(goal))
                moved = fitted.model_copy(update={"decisions": fitted.decisions.chosen(points)})
                decided = decide_raw(Outputs(rows.scores[outside]), None, filter_, moved)
                found[outside] = np.isin(decided.judged.tiers, places)
                if decided.positive is not None:
                    values[outside] = decided.positive[:, last]
        print("published, seed", seed, flush=True)
        for goal, found in named.items():
            result.setdefault(goal, []).append({"seed": seed, **_counted(found, belongs)})
        result.setdefault("ranked", []).append({"seed": seed, **_ranked(values, belongs)})
    return result


def promises() -> dict[str, Any]:
    """How often a promised recall is kept: the cut from a sample of the news, the recall on all of it."""
    labelled = labelled_set("sustainability-news")
    filter_, examples = labelled.filter, labelled.examples
    assert filter_ is not None
    fit = fitter(load_recipe(RECIPE), seed=0, encoder=known_features(labelled, RECIPE))
    held_out = predict_out_of_fold(fit, examples, 5, 0)
    _, outputs = with_tier_head(fit(examples), examples, filter_)
    assert outputs is not None
    belongs = belonging(examples.scores, filter_)[:, 0] > 0
    values = (held_out @ filter_.weights) / 10 + outputs[:, 0]
    values = (values - values.min()) / (values.max() - values.min())
    rng = np.random.default_rng(0)
    result: dict[str, Any] = {"articles": len(belongs), "positives": int(belongs.sum()), "resamples": RESAMPLES}
    for goal in (0.5, 0.8, 0.9):
        for size in (300, 1000, 2000):
            kept = promised = 0
            for _ in range(RESAMPLES):
                some = rng.integers(0, len(belongs), size)
                curve = PrecisionRecall.of(values[some], belongs[some])
                cut = choose_cut("high", curve, OperatingPoint(recall=goal))
                if cut.promise is None or cut.probability is None:
                    continue
                promised += 1
                recall = float((values[belongs] >= cut.probability).mean())
                kept += recall >= float(cut.promise.removeprefix("recall "))
            result[f"recall {goal}, {size} articles"] = {"promised": promised, "kept": kept}
    return result


def simulations() -> dict[str, Any]:
    """Labels of noise, five positives, and a stream with half as many positives."""
    filter_ = two_tiers()
    taken = {"head": 0, "blend": 0, "residuals": 0}
    for seed in range(20):
        scores, labels, outputs = _simulated(400, seed)
        shuffled = labels[np.random.default_rng(seed).permutation(400)]
        fitted = fit_calibration(
            scores, shuffled, np.arange(400), seed, dimensions=("a", "b"), rules=filter_, tier_outputs=outputs
        )
        for signal in fitted.decisions.signals if fitted.decisions else ():
            taken[signal.kind] += 1
    scores, labels, outputs = _simulated(400, 0)
    top = np.argsort(labels.sum(axis=1))[-5:]
    labels = np.minimum(labels, 6)
    labels[top] = 9
    few = fit_calibration(scores, labels, np.arange(400), dimensions=("a", "b"), rules=filter_, tier_outputs=outputs)
    assert few.decisions is not None
    cut = few.decisions.cuts[0]
    return {
        "noise_labels_signals_taken": taken,
        "five_positives": {"probability": cut.probability, "promise": cut.promise, "note": cut.note},
        "half_the_positives": _drift(filter_),
    }


def two_tiers() -> Filter:
    """A filter of two dimensions with one positive tier."""
    from potstill.filters import parse_filter

    return parse_filter(
        "name: simulated\nversion: 1\ndescription: d\ndimensions:\n  a: {weight: 0.5, description: a}\n"
        "  b: {weight: 0.5, description: b}\ntiers:\n  - {name: high, when: overall >= 7, positive: true}\n"
        "  - {name: low}\n",
        "rubric",
        "simulated",
    )


def _simulated(rows: int, seed: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    labels = np.clip(rng.normal(4, 2.2, (rows, 1)) + rng.normal(0, 0.5, (rows, 2)), 0, 10).round()
    scores = np.clip(3 + 0.4 * (labels - 3) + rng.normal(0, 1, (rows, 2)), 0, 10)
    return scores, labels, (labels.mean(axis=1, keepdims=True) >= 7) + rng.normal(0, 0.4, (rows, 1))


def _drift(filter_: Filter) -> dict[str, Any]:
    scores, labels, outputs = _simulated(2000, 1)
    fitted = fit_calibration(
        scores, labels, np.arange(2000), dimensions=("a", "b"), rules=filter_, tier_outputs=outputs
    )
    scores, labels, outputs = _simulated(20_000, 2)
    positive = labels.mean(axis=1) >= 7
    keep = ~positive | (np.random.default_rng(0).random(20_000) < 0.5)
    decided = decide_raw(Outputs(scores[keep], outputs[keep]), None, filter_, fitted)
    assert fitted.decisions is not None
    return {
        "named_per_thousand_at_the_oracles_volume": round(fitted.decisions.cuts[0].per_thousand or 0.0, 1),
        "named_per_thousand_in_the_stream": round(1000 * float((decided.judged.tiers == 0).mean()), 1),
        "positives_per_thousand_in_the_stream": round(1000 * float(positive[keep].mean()), 1),
    }


def added_time() -> dict[str, Any]:
    """Microseconds that tier outputs and decisions add to one article, and to an article in a batch of 512, by step.

    `head alone` has the logistic regression for every tier, which needs no residuals.
    """
    labelled = labelled_set("front-page")
    filter_, examples = labelled.filter, labelled.examples
    assert filter_ is not None
    fit = fitter(load_recipe(RECIPE), encoder=known_features(labelled, RECIPE))
    student: Any = fit(examples)
    held_out = predict_out_of_fold(fit, examples, 5, 0)
    with_head, outputs = with_tier_head(student, examples, filter_)
    whole = calibrate(held_out, examples, filter_, "out of fold", tier_outputs=outputs)
    decisions = whole.decisions
    assert decisions is not None
    heads = tuple(signal.model_copy(update={"kind": "head"}) for signal in decisions.signals if signal.weights)
    assert len(heads) == len(decisions.signals), "a signal has no head"
    ways = {
        "without": (student, whole.model_copy(update={"decisions": None})),
        "head alone": (
            with_head,
            whole.model_copy(update={"decisions": decisions.model_copy(update={"signals": heads})}),
        ),
        "with": (with_head, whole),
    }
    result: dict[str, Any] = {"signals": [signal.kind for signal in decisions.signals]}
    for count in (1, 512):
        frame = examples.frame[np.arange(count) % len(examples)]
        folded = fold_all(frame["text"])
        seconds: dict[str, dict[str, list[float]]] = {"student": {}, "deciding": {}}
        for _ in range(600 if count == 1 else 60):
            for name, (used, calibration) in ways.items():
                start = time.perf_counter()
                given = outputs_of(used, frame)
                between = time.perf_counter()
                decide_raw(given, folded, filter_, calibration)
                end = time.perf_counter()
                seconds["student"].setdefault(name, []).append(between - start)
                seconds["deciding"].setdefault(name, []).append(end - between)
        # Other processes only ever add time, so the fastest tenth is compared.
        result[f"{count} articles"] = {
            step: _added({name: float(np.quantile(own, 0.1)) / count * 1e6 for name, own in each.items()})
            for step, each in seconds.items()
        }
    return result


def _added(times: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 1) for name, value in times.items()} | {
        "added by the head alone": round(times["head alone"] - times["without"], 1),
        "added": round(times["with"] - times["without"], 1),
    }


if __name__ == "__main__":
    sys.exit(main())
