"""What a cascade saves on `sustainability-gemini`, and what it is shown to keep: TF-IDF first, a frozen encoder second.

Tiers are those of the set's rubric: high (overall 5 or more, positive), mid (3 or more), low. Thresholds come from
out-of-fold scores on training and validation rows; the test part checks them. Several students are tried as the first;
the choice between them is the share answered early at a recall of 0.95, on training and validation rows. In the same
run the first student, the second in fp32 and as `potstill optimize` runs it where the processor has bfloat16, and
transformers' pipeline in fp32 with the second's weights are timed on the same articles in turn, from text to scores.
The speed of each point of the frontier follows from that, on the articles as they are and on a stream with 5%
positives.

Out-of-fold scores take minutes, and are kept under `runs/` between runs. With `--recorded` nothing is timed: speeds are
those of `results/speed.json`, where all but the first student ran side by side.

    POTSTILL_DATA=... python benchmarks/cascade.py [--articles 48] [--rounds 3] [--recorded]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from _minilm import NAME, make_bundle, transformers_pipeline
from _sets import WORK, NoDataError, labelled_set
from _students import write

from potstill.backends.machine import this_machine, usable_cores
from potstill.backends.plan import Variant
from potstill.bundle.reading import open_encoder
from potstill.dataset import Fractions, folds, split
from potstill.files import digest, read_json
from potstill.pipeline.cascade import CONFIDENCE, RECALLS, STREAM, Unseen, highest_recall, may_lose, point, positives
from potstill.scorer.early import signal
from potstill.speed.timing import interleaved
from potstill.students.recipes import TfidfRecipe, load_recipe
from potstill.students.tfidf import fit_tfidf
from potstill.students.torch.backbones import find_backbone
from potstill.training.folding import out_of_fold

if TYPE_CHECKING:
    from collections.abc import Callable

    from potstill.bundle import Bundle
    from potstill.dataset import Examples
    from potstill.types import BoolArray, FloatArray

RESULT = Path(__file__).parent / "results" / "cascade.json"
FRACTIONS = Fractions(train=0.8, validation=0.1, test=0.1)
TOKENS = 256
BATCH = 8
"""Of the pipeline: what suits it best on two cores (`speed.json`)."""

TARGET = 8.0
CHOICE = 0.95
"""The recall at which first students are compared."""

WORDS, MEDIAN = "tfidf-ridge, words", "tfidf-median"


def main() -> int:
    """Fit, bound, time, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--articles", type=int, default=48, help="articles that are timed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recorded", action="store_true", help="take the speeds of results/speed.json")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        found = labelled_set("sustainability-all")
    except NoDataError as error:
        print(f"skipped: {error}", file=sys.stderr)
        return 0
    filter_, rows = found.filter, found.examples
    assert filter_ is not None
    part = split(rows.scores, rows.clusters, seed=0, fractions=FRACTIONS).to_numpy()
    seen, test = rows.take(part != "test"), rows.take(part == "test")
    good = positives(seen, filter_)
    tried = {
        name: Unseen(signal(unseen_scores(recipe, seen), filter_), good, seen.clusters)
        for name, recipe in recipes().items()
    }
    chosen = max(tried, key=lambda name: tried[name].early(point(tried[name], CHOICE, (1.0, 1.0)).threshold, STREAM))
    first = fit_tfidf(recipes()[chosen], seen)
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.recorded:
            seconds = recorded()
        else:
            few = seen.take(np.arange(200))
            bundle = make_bundle(Path(scratch) / "bundle", Path(scratch) / "export", few, filter_, TOKENS)
            seconds = timed(bundle, first.predict, test.take(np.arange(arguments.articles)), arguments.rounds)
    raw = first.predict(test.frame)
    second = min((one for one in seconds if one.startswith("second")), key=lambda one: float(np.median(seconds[one])))
    result = {
        "articles": len(seen),
        "positives": int(good.sum()),
        "positive_clusters": int(tried[chosen].trials.size),
        "positives_within_half_a_point_of_the_tier": int((seen.scores[good] @ filter_.weights < 5.5).sum()),
        "confidence": CONFIDENCE,
        "target_times_transformers_pipeline": TARGET,
        "first": chosen,
        "second": second,
        "speeds": "of results/speed.json" if arguments.recorded else "of this run, in turn",
        "milliseconds": {name: [round(1000 * value, 3) for value in values] for name, values in seconds.items()},
        "frontier": [
            described(tried[chosen], recall, seconds, second, signal(raw, filter_), positives(test, filter_))
            for recall in supported(tried[chosen])
        ],
        "first_stages_tried": {name: early(unseen) for name, unseen in tried.items()},
        "processor": this_machine().model_dump(),
    }
    print(result)
    write(arguments.out, result, started)
    return 0


def recipes() -> dict[str, TfidfRecipe]:
    """First students to try, by name."""
    ridge, median = load_recipe("tfidf-ridge"), load_recipe(MEDIAN)
    assert isinstance(ridge, TfidfRecipe)
    assert isinstance(median, TfidfRecipe)
    return {
        WORDS: ridge.model_copy(update={"characters": None, "alphas": (0.3,)}),
        MEDIAN: median.model_copy(update={"alphas": (0.3,)}),
    }


def unseen_scores(recipe: TfidfRecipe, seen: Examples) -> FloatArray:
    """Out-of-fold scores by a recipe."""
    path = WORK / "cascade" / f"{digest([recipe.hash, list(seen.ids)])[:16]}.npy"
    if path.is_file():
        kept: FloatArray = np.load(path, allow_pickle=False)
        return kept
    raw = out_of_fold(lambda some: fit_tfidf(recipe, some), seen, folds(seen.clusters, seen.scores, 5, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, raw)
    return raw


def supported(unseen: Unseen) -> list[float]:
    """The highest recall that so many positives can show, and the rounder ones below it."""
    highest = highest_recall(unseen.trials.size)
    # Recalls that allow the same number of losses are one point.
    lost = {may_lose(unseen.trials.size, one): one for one in (*RECALLS[::-1], highest) if one <= highest}
    return sorted(lost.values(), reverse=True)


def early(unseen: Unseen) -> dict[str, float]:
    """Recall -> share answered early on a stream with 5% positives."""
    points = (point(unseen, recall, (1.0, 1.0)) for recall in supported(unseen))
    return {f"{one.recall:.4f}": round(one.early_at_5_percent, 4) for one in points}


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

    return {
        "recall_at_least": round(found.recall, 4),
        "lost": found.lost,
        "threshold": round(found.threshold, 4),
        "answered_early": round(found.early, 4),
        "answered_early_at_5_percent": round(found.early_at_5_percent, 4),
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
