"""What a cascade saves on `sustainability-gemini`, and what it is shown to keep: TF-IDF first, a frozen encoder second.

Tiers are those of the set's rubric: high (overall 5 or more, positive), mid (3 or more), low. Thresholds come from
out-of-fold scores on training and validation rows; the test part checks them. Both students are timed on the same
articles in turn, from text to scores; the speed of each point of the frontier follows from that, on the articles as
they are and on a stream with 5% positives. Where `results/speed.json` is there, the speed is also given as a multiple
of transformers' pipeline, by way of the second student's own multiple.

    POTSTILL_DATA=... python benchmarks/cascade.py [--rows 6876]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _minilm import make_bundle
from _sets import NoDataError, labelled_set
from _students import write

from potstill.backends.plan import Variant
from potstill.bundle.reading import open_encoder
from potstill.cascade import RECALLS, STREAM, Unseen, highest_recall, point, positives
from potstill.dataset import Fractions, folds, split
from potstill.files import read_json
from potstill.scorer.early import signal
from potstill.speed.timing import interleaved
from potstill.students.recipes import load_recipe
from potstill.students.tfidf import fit_tfidf
from potstill.training.folding import out_of_fold

if TYPE_CHECKING:
    from potstill.dataset import Examples
    from potstill.records import FloatArray

HERE = Path(__file__).parent
RESULT = HERE / "results" / "cascade.json"
SPEED = HERE / "results" / "speed.json"
FRACTIONS = Fractions(train=0.8, validation=0.1, test=0.1)
TIMED = 64


def main() -> int:
    """Fit, bound, time, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=None, help="only the first so many, for a try")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        found = labelled_set("sustainability-all")
    except NoDataError as error:
        print(f"skipped: {error}", file=sys.stderr)
        return 0
    filter_ = found.filter
    assert filter_ is not None
    rows = found.examples if arguments.rows is None else found.examples.take(np.arange(arguments.rows))
    part = split(rows.scores, rows.clusters, seed=0, fractions=FRACTIONS).to_numpy()
    seen, test = rows.take(part != "test"), rows.take(part == "test")
    recipe = load_recipe("tfidf-ridge").model_copy(update={"alphas": (10.0,)})
    raw = out_of_fold(lambda some: fit_tfidf(recipe, some), seen, folds(seen.clusters, seen.scores, 5, 0))
    unseen = Unseen(signal(raw, filter_), positives(seen, filter_), seen.clusters)
    first = fit_tfidf(recipe, seen)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        bundle = make_bundle(scratch / "bundle", scratch / "export", seen.take(np.arange(200)), filter_, 256)
        encoder = open_encoder(bundle.folder, bundle.manifest, Variant())
        head = bundle.student.head  # type: ignore[attr-defined]  # it is a neural student
        frame = test.frame.head(TIMED)
        seconds = interleaved(
            {
                "first": lambda: first.predict(frame),
                "second": lambda: head.predict(encoder.encode(frame["text"].to_list())),
            },
            3,
        )
    each = (float(np.median(seconds["first"])) / frame.height, float(np.median(seconds["second"])) / frame.height)
    highest = highest_recall(unseen.trials.size)
    result = {
        "articles": len(seen),
        "positives": int(unseen.positive.sum()),
        "positive_clusters": int(unseen.trials.size),
        "confidence": 0.95,
        "highest_recall_supported": round(highest, 4),
        "milliseconds": {"first": round(1000 * each[0], 3), "second": round(1000 * each[1], 3)},
        "second_times_transformers_pipeline": multiple(),
        "frontier": [
            described(unseen, recall, each, first.predict(test.frame), test, positives(test, filter_), filter_)
            for recall in (highest, *(one for one in RECALLS if one <= highest))
        ],
    }
    print(result)
    write(arguments.out, result, started)
    return 0


def described(
    unseen: Unseen,
    recall: float,
    seconds: tuple[float, float],
    raw: FloatArray,
    test: Examples,
    good: np.ndarray,
    filter_: Any,  # noqa: ANN401 - a Filter
) -> dict[str, Any]:
    """One point: what is shown, what it saves, and what the test part says."""
    found = point(unseen, recall, seconds)
    early = signal(raw, filter_) < found.threshold
    alone = 1 / seconds[1]
    on_stream = 1 / (seconds[0] + (1 - found.early_at_5_percent) * seconds[1])
    times = {"as they are": found.articles_per_second / alone, f"{STREAM:.0%} positives": on_stream / alone}
    pipeline = multiple()
    return {
        "recall_at_least": round(found.recall, 4),
        "lost": found.lost,
        "threshold": round(found.threshold, 4),
        "answered_early": round(found.early, 4),
        "answered_early_at_5_percent": round(found.early_at_5_percent, 4),
        "times_second_alone": {name: round(value, 2) for name, value in times.items()},
        "times_transformers_pipeline": pipeline and {name: round(value * pipeline, 2) for name, value in times.items()},
        "test": {
            "articles": len(test),
            "early": int(early.sum()),
            "positives": int(good.sum()),
            "positives_passed": int((good & ~early).sum()),
        },
    }


def multiple() -> float | None:
    """How many times as fast as transformers' pipeline the second student runs, as measured elsewhere; None if not."""
    if not SPEED.is_file():
        return None
    ratios = read_json(SPEED)["windows"]["256"]["ratios"]["potstill, ONNX Runtime fp32"]
    return float(ratios["transformers pipeline, fp32"][0])


if __name__ == "__main__":
    sys.exit(main())
