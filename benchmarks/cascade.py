"""What a cascade saves by each signal of early answers, and what it is shown to keep.

Three sets: news and science items, the news alone, and the stories of `front-page`. The first student is TF-IDF, and on
the last two sets also a frozen encoder with a tier head. The signals that are compared, all out of fold, are the
weighted mean of its raw scores; its probability of a positive tier, from a calibration without the row; and students
that know the positive tier alone (ridge and logistic regression on TF-IDF). For several seeds of the
folds: the share answered early on a stream with 5% positives at a recall of 0.90 and 0.95 that is shown with 95%
confidence, and the speed that follows. In 200 resamples of the rows, thresholds are chosen on the resample and judged
on all rows: how often the recall is kept, also if the signal is chosen on the resample.

Then, on news and science items, the frontier of the chosen signal with its test part, and how fast the cascade is,
compared with transformers' pipeline. The first student, the second in fp32 and as `potstill optimize` runs it where the
processor has bfloat16, and transformers' pipeline in fp32 with the second's weights are timed on the same articles in
turn, from text to scores. With `--recorded` nothing is timed: speeds are those of `results/speed.json`, where all but
the first student ran side by side.

Out-of-fold signals take minutes, and are kept under `runs/` between runs.

    POTSTILL_DATA=... python benchmarks/cascade.py [--articles 48] [--rounds 3] [--recorded] [--seeds 1]

Parts and sets that are not asked for keep their figures of before.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from _minilm import NAME, make_bundle, transformers_pipeline
from _sets import WORK, LabelledSet, NoDataError, labelled_set
from _students import write
from decisions import known_features
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from potstill.backends.machine import this_machine, usable_cores
from potstill.backends.plan import Variant
from potstill.bundle.deciding import decide_articles
from potstill.bundle.exporting import OUT_OF_FOLD, calibrate, with_tier_head
from potstill.bundle.reading import open_encoder
from potstill.dataset import Fractions, folds, split
from potstill.evaluation.ranking import average_precision
from potstill.files import digest, read_json
from potstill.pipeline.cascade import CONFIDENCE, RECALLS, STREAM, choose_signal, highest_recall, may_lose, point
from potstill.pipeline.unseen import HeldOutRows, Unseen, positives
from potstill.scorer.early import signal, weighted_mean
from potstill.speed.timing import interleaved
from potstill.students.recipes import TfidfRecipe, load_recipe
from potstill.students.tfidf import fit_tfidf
from potstill.students.torch.backbones import find_backbone
from potstill.training.fit import fitter, predict_out_of_fold
from potstill.training.folding import out_of_fold

if TYPE_CHECKING:
    from collections.abc import Callable

    from potstill.bundle import Bundle
    from potstill.dataset import Examples
    from potstill.filters import Filter
    from potstill.types import BoolArray, FloatArray, IntArray

RESULT = Path(__file__).parent / "results" / "cascade.json"
FRACTIONS = Fractions(train=0.8, validation=0.1, test=0.1)
TOKENS = 256
BATCH = 8
"""Of the pipeline: what suits it best on two cores (`speed.json`)."""

TARGETS = {"0.95": 5.0, "0.9": 8.0}
"""Recall -> how many times as fast as the pipeline a cascade should be, on a stream with 5% positives."""

WANTED = (0.95, 0.9)
RESAMPLES = 200
PENALTY = 100.0
"""Inverse penalty of the logistic regression; 1 and 10 answer fewer articles of the news early."""

RIDGE, WORDS, ENCODER = "tfidf-ridge", "tfidf-ridge, words", "e5-median"
FIRST = {"front-page": RIDGE, "sustainability-news": RIDGE, "sustainability-all": WORDS}
"""Set -> first student."""

ENCODED = ("front-page", "sustainability-news")
SCORE, PROBABILITY = "score", "probability"


def main() -> int:
    """Fit, bound, time, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--articles", type=int, default=48, help="articles that are timed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sets", nargs="+", choices=list(FIRST), default=list(FIRST))
    parser.add_argument("--parts", nargs="+", choices=("signals", "speeds"), default=("signals", "speeds"))
    parser.add_argument("--recorded", action="store_true", help="take the speeds of results/speed.json")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    started = time.monotonic()
    result: dict[str, Any] = read_json(arguments.out) if arguments.out.is_file() else {}
    for name in arguments.sets:
        try:
            labelled = labelled_set(name)
        except NoDataError as error:
            print(f"skipped: {error}", file=sys.stderr)
            continue
        # Written after each part, so that a killed run keeps the parts that were done.
        if "signals" in arguments.parts:
            result["sets"] = result.get("sets", {}) | {name: measured(labelled, arguments.seeds)}
            write(arguments.out, result, started)
        if "speeds" in arguments.parts and name == "sustainability-all":
            result |= with_speeds(labelled, arguments) | {"processor": this_machine().model_dump()}
            write(arguments.out, result, started)
    return 0


def measured(labelled: LabelledSet, seeds: int) -> dict[str, Any]:
    """Each way of answering early, by seed of the folds, and in resamples of the rows of the first seed."""
    by_seed = [ways(labelled, seed) for seed in range(seeds)]
    found: dict[str, Any] = {
        "articles": len(labelled.examples),
        "positives": int(by_seed[0][SCORE].positive.sum()),
        "positive_clusters": int(by_seed[0][SCORE].trials.size),
        "answered_early_at_5_percent": {
            way: {
                str(recall): [round(point(one[way], recall, (1.0, 1.0)).early_at_5_percent, 4) for one in by_seed]
                for recall in WANTED
            }
            for way in by_seed[0]
        },
        "average_precision": {
            way: [round(float(average_precision(one[way].positive, one[way].signals)), 4) for one in by_seed]
            for way in by_seed[0]
        },
        "resamples": {str(recall): resampled(by_seed[0], recall) for recall in WANTED},
    }
    print(labelled.name, found, flush=True)
    return found


def ways(labelled: LabelledSet, seed: int) -> dict[str, Unseen]:
    """The rows of a set, by each signal of early answers."""
    filter_, rows = labelled.filter, labelled.examples
    assert filter_ is not None
    good, recipe = positives(rows, filter_), recipes()[FIRST[labelled.name]]

    def by(signals: FloatArray) -> Unseen:
        return Unseen(signals, good, rows.clusters)

    raw = unseen_scores(recipe, rows, seed)
    found = {
        SCORE: by(weighted_mean(raw, filter_)),
        PROBABILITY: by(probabilities(rows, raw, None, filter_, seed)),
    }
    for name, fit in positive_only(recipe).items():
        known = replace(rows, scores=good[:, None].astype(np.float64), dimensions=("positive",))
        key = [name, recipe.hash, list(rows.ids), seed]
        found[name] = by(kept(key, lambda known=known, fit=fit: fit(known, folds(rows.clusters, rows.scores, 5, seed))))
    if labelled.name in ENCODED:
        fit = fitter(load_recipe(ENCODER), seed=seed, encoder=known_features(labelled, ENCODER))
        outputs = with_tier_head(fit(rows), rows, filter_)[1]
        raw = predict_out_of_fold(fit, rows, 5, seed)
        found |= {
            f"{ENCODER}, {SCORE}": by(weighted_mean(raw, filter_)),
            f"{ENCODER}, {PROBABILITY}, tier head": by(probabilities(rows, raw, outputs, filter_, seed)),
        }
    return found


def positive_only(recipe: TfidfRecipe) -> dict[str, Callable[[Examples, IntArray], FloatArray]]:
    """Students that know the positive tier alone: each gives out-of-fold signals of rows labelled 0 or 1."""

    def ridge(rows: Examples, fold: IntArray) -> FloatArray:
        return out_of_fold(lambda some: fit_tfidf(recipe, some), rows, fold)[:, 0]

    def logistic(rows: Examples, fold: IntArray) -> FloatArray:
        found = np.empty(len(rows))
        texts = np.array([text or "" for text in rows.texts], dtype=object)
        for number in np.unique(fold):
            inside, outside = fold != number, fold == number
            vectors = [TfidfVectorizer(ngram_range=recipe.words, min_df=2, sublinear_tf=True)]
            if recipe.characters is not None:
                kind = {"analyzer": "char", "ngram_range": recipe.characters}
                vectors.append(TfidfVectorizer(min_df=2, sublinear_tf=True, max_features=200_000, **kind))
            learned = hstack([one.fit_transform(texts[inside]) for one in vectors], format="csr")
            model = LogisticRegression(C=PENALTY, solver="liblinear", tol=1e-3)
            model.fit(learned, rows.scores[inside, 0])
            found[outside] = model.decision_function(
                hstack([one.transform(texts[outside]) for one in vectors], format="csr")
            )
        return found

    return {"positive tier alone, ridge": ridge, "positive tier alone, logistic": logistic}


def resampled(by_way: dict[str, Unseen], recall: float) -> dict[str, Any]:
    """By each way: how often a threshold from a resample keeps its recall on all rows, and what it answers early.

    `chosen` is the signal that `potstill cascade` chooses on the resample, with its bound for two signals.
    """
    rng = np.random.default_rng(0)
    kept_: dict[str, list[bool]] = {}
    shares: dict[str, list[float]] = {}
    by_probability = 0
    good = by_way[SCORE].positive

    def judged(way: str, signals: FloatArray, threshold: float, promised: float) -> None:
        kept_.setdefault(way, []).append(bool((signals[good] >= threshold).mean() >= promised))
        early = Unseen(signals, good, np.arange(good.size)).early(threshold, STREAM)
        shares.setdefault(way, []).append(early)

    for _ in range(RESAMPLES):
        drawn = rng.integers(0, good.size, good.size)
        some = {way: Unseen(one.signals[drawn], good[drawn], np.arange(good.size)) for way, one in by_way.items()}
        for way, one in some.items():
            found = point(one, recall, (1.0, 1.0))
            judged(way, by_way[way].signals, found.threshold, found.recall)
        chosen = choose_signal(some[SCORE], some[PROBABILITY], recall, (1.0, 1.0))
        by_probability += chosen.kind == "probability"
        found = chosen.compared[chosen.kind]
        own = by_way[PROBABILITY if chosen.kind == "probability" else SCORE].signals
        judged("chosen", own, found.threshold, found.recall)
    return {
        "chosen_by_probability": by_probability / RESAMPLES,
        "kept": {way: float(np.mean(values)) for way, values in kept_.items()},
        "answered_early_at_5_percent": {
            way: [round(float(np.mean(values)), 4), round(float(np.std(values)), 4)] for way, values in shares.items()
        },
    }


def with_speeds(labelled: LabelledSet, arguments: argparse.Namespace) -> dict[str, Any]:
    """The frontier of the chosen signal from training and validation rows, with speeds and the test part."""
    filter_, rows = labelled.filter, labelled.examples
    assert filter_ is not None
    part = split(rows.scores, rows.clusters, seed=0, fractions=FRACTIONS).to_numpy()
    seen, test = rows.take(part != "test"), rows.take(part == "test")
    good, recipe = positives(seen, filter_), recipes()[WORDS]
    first = fit_tfidf(recipe, seen)
    raw = unseen_scores(recipe, seen, 0)
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.recorded:
            seconds = recorded()
        else:
            few = seen.take(np.arange(200))
            bundle = make_bundle(Path(scratch) / "bundle", Path(scratch) / "export", few, filter_, TOKENS)
            seconds = timed(bundle, first.predict, test.take(np.arange(arguments.articles)), arguments.rounds)
    second = min((one for one in seconds if one.startswith("second")), key=lambda one: float(np.median(seconds[one])))
    by_score = Unseen(weighted_mean(raw, filter_), good, seen.clusters)
    by_probability = Unseen(probabilities(seen, raw, None, filter_, 0), good, seen.clusters)
    decided = decide_articles(first, test.frame, filter_, calibrate(raw, seen, filter_, OUT_OF_FOLD))
    frontiers = {}
    for kind, unseen in (("score", by_score), ("probability", by_probability)):
        signals = signal(decided, filter_, kind)
        frontiers[kind] = [
            described(unseen, recall, seconds, second, signals, positives(test, filter_))
            for recall in supported(unseen)
        ]
    return {
        "articles": len(seen),
        "positives": int(good.sum()),
        "positive_clusters": int(by_score.trials.size),
        "positives_within_half_a_point_of_the_tier": int((seen.scores[good] @ filter_.weights < 5.5).sum()),
        "confidence": CONFIDENCE,
        "first": WORDS,
        "second": second,
        "speeds": "of results/speed.json" if arguments.recorded else "of this run, in turn",
        "milliseconds": {name: [round(1000 * value, 3) for value in values] for name, values in seconds.items()},
        "frontier": frontiers,
        "chosen": {
            str(recall): choose_signal(by_score, by_probability, recall, (1.0, 1.0)).reason for recall in WANTED
        },
    }


def recipes() -> dict[str, TfidfRecipe]:
    """First students, by name."""
    ridge = load_recipe(RIDGE)
    assert isinstance(ridge, TfidfRecipe)
    fixed = ridge.model_copy(update={"alphas": (0.3,)})
    return {RIDGE: fixed, WORDS: fixed.model_copy(update={"characters": None})}


def unseen_scores(recipe: TfidfRecipe, seen: Examples, seed: int) -> FloatArray:
    """Out-of-fold scores by a recipe."""
    return kept(
        [recipe.hash, list(seen.ids), seed],
        lambda: out_of_fold(lambda some: fit_tfidf(recipe, some), seen, folds(seen.clusters, seen.scores, 5, seed)),
    )


def probabilities(
    rows: Examples, raw: FloatArray, outputs: FloatArray | None, filter_: Filter, seed: int
) -> FloatArray:
    """The probability of a positive tier of each row, by calibrations without the row."""
    key = ["probability", list(rows.ids), sha256(raw.tobytes()).hexdigest(), outputs is None, seed]
    return kept(key, lambda: HeldOutRows(rows, raw, outputs).cross_fitted(filter_, OUT_OF_FOLD, seed))


def kept(key: list[Any], compute: Callable[[], FloatArray]) -> FloatArray:
    """An array that is computed once."""
    path = WORK / "cascade" / f"{digest(key)[:16]}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, compute())
    found: FloatArray = np.load(path, allow_pickle=False)
    return found


def supported(unseen: Unseen) -> list[float]:
    """The highest recall that so many positives can show, and the rounder ones below it."""
    highest = highest_recall(unseen.trials.size)
    # Recalls that allow the same number of losses are one point.
    lost = {may_lose(unseen.trials.size, one): one for one in (*RECALLS[::-1], highest) if one <= highest}
    return sorted(lost.values(), reverse=True)


def recorded() -> dict[str, list[float]]:
    """Seconds of an article in each round, as `speed.py` measured them."""
    found = read_json(RESULT.with_name("speed.json"))
    ways = found["windows"][str(TOKENS)]["contenders"]
    names = {"transformers pipeline, fp32": "transformers pipeline, fp32"}
    names |= {f"second, {way}": f"potstill, {way}" for way in ("ONNX Runtime fp32", "OpenVINO bf16")}
    rates = {name: ways[way]["rounds"] for name, way in names.items()}
    rates["first"] = found["cheap"]["words"]["articles_per_second"]
    return {name: [1 / rate for rate in each] for name, each in rates.items()}


def timed(bundle: Bundle, first: Callable[[Any], FloatArray], rows: Examples, rounds: int) -> dict[str, list[float]]:
    """Seconds of an article in each round, by each student and by the pipeline."""
    head = bundle.student.head  # type: ignore[attr-defined]  # it is a neural student
    torch.set_num_threads(usable_cores())
    variants = [Variant(threads=usable_cores())]
    if "avx512_bf16" in this_machine().features:
        variants.append(Variant(backend="openvino", precision="bf16", threads=usable_cores(), streams=usable_cores()))
    pipeline = transformers_pipeline(find_backbone(NAME).folder, TOKENS, head, torch.float32)
    work: dict[str, Callable[[], object]] = {
        "first": lambda: first(rows.frame),
        "transformers pipeline, fp32": lambda: pipeline.score(rows.texts, BATCH),
    }
    for variant in variants:
        encoder = open_encoder(bundle.folder, bundle.manifest, variant)
        work[f"second, {variant.title}"] = lambda encoder=encoder: head.predict(encoder.encode(rows.texts))
    found = interleaved(work, rounds)
    return {name: [value / len(rows) for value in values] for name, values in found.items()}


def described(
    unseen: Unseen, recall: float, seconds: dict[str, list[float]], second: str, signals: FloatArray, good: BoolArray
) -> dict[str, Any]:
    """One point: what is shown, what it saves, and what the test part says."""
    each = {name: np.array(values) for name, values in seconds.items()}
    found = point(unseen, recall, (float(np.median(each["first"])), float(np.median(each[second]))))
    early = signals < found.threshold

    def times(share: float) -> list[float]:
        """Times the pipeline: median, least and most over rounds that ran side by side."""
        ratios = each["transformers pipeline, fp32"] / (each["first"] + (1 - share) * each[second])
        return [round(float(value), 2) for value in (np.median(ratios), ratios.min(), ratios.max())]

    def alone(share: float) -> float:
        own = float(np.median(each[second]))
        return round(own / (float(np.median(each["first"])) + (1 - share) * own), 2)

    return {
        "recall_at_least": round(found.recall, 4),
        "lost": found.lost,
        "threshold": round(found.threshold, 4),
        "answered_early": round(found.early, 4),
        "answered_early_at_5_percent": round(found.early_at_5_percent, 4),
        "times_second_alone": {
            "as they are": alone(found.early),
            f"{STREAM:.0%} positives": alone(found.early_at_5_percent),
        },
        "times_transformers_pipeline": {
            "as they are": times(found.early),
            f"{STREAM:.0%} positives": times(found.early_at_5_percent),
        },
        "test": {
            "articles": int(good.size),
            "early": int(early.sum()),
            "positives": int(good.sum()),
            "positives_passed": int((good & ~early).sum()),
        },
    }


if __name__ == "__main__":
    sys.exit(main())
