"""Does a student know when it does not know?

Three parts. `bands`: whether 90% intervals hold 90% of the labels in every band of the predicted score and of the
label, on articles of the same set. `transfers`: a student of one kind of article judges another kind (another source,
language or subject): how many labels its intervals hold with and without widening, how many articles are flagged as
unlike the training articles, and how well the distance tells both kinds apart; false alarms are those on held-out
articles of the student's own kind. `cost`: what measuring the distance adds to one article, to an article in a batch,
and to a bundle. The frozen encoder reads each text once; its features are kept under `runs/`. Results are in
`results/knowing.json`.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from _sets import LabelledSet, labelled_set, lee
from _students import run_parts
from decisions import KnownFeatures, known_features

from potstill import metrics
from potstill.bundle.deciding import decide_articles
from potstill.bundle.exporting import OUT_OF_FOLD, calibrate, with_novelty, with_tier_head
from potstill.calibration.decisions import belonging
from potstill.dataset import Examples, folds
from potstill.filters import load_filter
from potstill.findings import NOVEL
from potstill.students import outputs_of
from potstill.students.novelty import novelty_arrays
from potstill.students.recipes import load_recipe
from potstill.training.fit import fitter, predict_out_of_fold
from potstill.verdict import cap_hits

if TYPE_CHECKING:
    from potstill.calibration import Calibration
    from potstill.filters import Filter
    from potstill.students.storage import AnyStudent
    from potstill.types import BoolArray, FloatArray

HERE = Path(__file__).parent
RESULT = HERE / "results" / "knowing.json"
ENCODER, WORDS = "e5-median", "tfidf-ridge"
PARTS = ("cost", "transfers", "science", "bands")
SEEDS = (0, 1, 2)
LEVEL = 0.9
HIGH = 7
"""Labels above it are the ones that users look for."""

FEWEST = 50
"""Labels from which a band is shown."""


def main() -> int:
    """Measure what is asked for and write the result after each part."""
    run_parts(globals(), PARTS, RESULT, level=LEVEL)
    return 0


@dataclass(frozen=True)
class Kind:
    """One kind of article: labelled rows, and the filter that they are labelled for."""

    examples: Examples
    filter: Filter


def transfers() -> dict[str, Any]:
    """Each student on held-out articles of its own kind and on articles of another source or language."""
    news, stories, pairs = (
        labelled_set(name) for name in ("sustainability-news", "front-page", "uplifting-multi-oracle")
    )
    language = news.slices["language"]
    kinds = {
        "English news": Kind(news.examples.take(language == "en"), _filter(news)),
        "Dutch news": Kind(news.examples.take(language == "nl"), _filter(news)),
        "Lee's stories, front-page": Kind(stories.examples, _filter(stories)),
        "Lee's stories, uplifting": Kind(_lee_uplifting(), load_filter("uplifting")),
        "articles of three projects, uplifting": Kind(pairs.examples, load_filter("uplifting")),
    }
    routes = [
        ("English news", "Dutch news"),
        ("Dutch news", "English news"),
        ("Lee's stories, uplifting", "articles of three projects, uplifting"),
        ("articles of three projects, uplifting", "Lee's stories, uplifting"),
        ("Lee's stories, front-page", "English news"),
        ("English news", "Lee's stories, front-page"),
    ]
    return _over_routes(kinds, routes, [news, stories, pairs])


def science() -> dict[str, Any]:
    """The same for another subject: news and science items, with the labels of one oracle."""
    everything = labelled_set("sustainability-all")
    subject = everything.slices["kind"]
    kinds = {name: Kind(everything.examples.take(subject == name), _filter(everything)) for name in ("news", "science")}
    return _over_routes(kinds, [("science", "news"), ("news", "science")], [everything])


def _over_routes(kinds: dict[str, Kind], routes: list[tuple[str, str]], sets: list[LabelledSet]) -> dict[str, Any]:
    known = [known_features(one, ENCODER) for one in sets]
    encoder = KnownFeatures({text: row for one in known for text, row in one.rows.items()}, known[0].widths)
    found: dict[str, Any] = {}
    for recipe in (ENCODER, WORDS):
        for own, other in routes:
            runs = [_transfer(kinds[own], kinds[other], recipe, encoder, seed) for seed in SEEDS]
            found[f"{recipe}: {own} -> {other}"] = {"mean": _means(runs), "runs": runs}
            print(f"{recipe}: {own} -> {other}", json.dumps(_means(runs)), flush=True)
    return found


def _filter(labelled: LabelledSet) -> Filter:
    assert labelled.filter is not None
    return labelled.filter


def _lee_uplifting() -> Examples:
    """Lee's stories with the means of the two passes of the oracle on `uplifting`."""
    stories, names = labelled_set("front-page").examples, load_filter("uplifting").dimension_names
    ids, _ = lee()
    path = Path(str(files("potstill") / "builtin" / "lee-oracle.jsonl"))
    by_id = {row["id"]: row["uplifting"] for row in map(json.loads, path.read_text("utf-8").splitlines())}
    scores = np.array([[[by_id[i][one][name] for name in names] for i in ids] for one in "ab"], dtype=float)
    return replace(stories, scores=scores.mean(axis=0), dimensions=names)


def fitted(
    recipe: str, train: Examples, filter_: Filter, encoder: KnownFeatures, seed: int
) -> tuple[AnyStudent, Calibration]:
    """Fit a student as `train` and `bundle` do, calibrated on out-of-fold predictions."""
    fit = fitter(load_recipe(recipe), seed=seed, encoder=encoder if recipe == ENCODER else None)
    student: Any = fit(train)
    held_out = predict_out_of_fold(fit, train, 5, seed)
    student, outputs = with_tier_head(student, train, filter_)
    student, distances = with_novelty(student, train, seed=seed)
    calibration = calibrate(held_out, train, filter_, OUT_OF_FOLD, tier_outputs=outputs, distances=distances, seed=seed)
    return student, calibration


def _transfer(own: Kind, other: Kind, recipe: str, encoder: KnownFeatures, seed: int) -> dict[str, Any]:
    fold = folds(own.examples.clusters, own.examples.scores, 4, seed)
    train = own.examples.take(fold != 0)
    student, calibration = fitted(recipe, train, own.filter, encoder, seed)
    held_out = _told(student, calibration, own.filter, own.examples.take(fold == 0), train)
    result = {"own kind": held_out.figures}
    same = own.examples.dimensions == other.examples.dimensions
    told = _told(student, calibration, own.filter, other.examples, train, labels=same)
    result["other kind"] = told.figures
    result["AUROC"] = {"distance": _auroc(held_out.novelty, told.novelty)}
    return result


@dataclass(frozen=True)
class _Told:
    novelty: FloatArray
    figures: dict[str, float]


def _told(
    student: AnyStudent,
    calibration: Calibration,
    filter_: Filter,
    rows: Examples,
    train: Examples,
    *,
    labels: bool = True,
) -> _Told:
    """What a student says about rows, with and without widening, against their labels if they have the dimensions."""
    decided = decide_articles(student, rows.frame, filter_, calibration, LEVEL)
    assert decided.novelty is not None
    novel = decided.novelty < NOVEL
    figures: dict[str, float] = {"rows": len(rows), "flagged": float(novel.mean())}
    if not labels:
        return _Told(decided.novelty, figures)
    never = calibration.model_copy(update={"familiarity": None})
    plain = decide_articles(student, rows.frame, filter_, never, LEVEL)
    y, known = rows.scores, np.isfinite(rows.scores)
    high = known & (y > HIGH)
    constant = np.broadcast_to(metrics.constant(train.scores), y.shape)
    held = {
        "not widened": (plain.low <= y) & (y <= plain.high),
        "widened": (decided.low <= y) & (y <= decided.high),
    }
    figures |= {
        "MAE": float(np.abs(decided.scores - y)[known].mean()),
        "constant": float(np.abs(constant - y)[known].mean()),
        "held, not widened": float(held["not widened"][known].mean()),
        "held": float(held["widened"][known].mean()),
        "held or flagged": float((held["widened"] | novel[:, None])[known].mean()),
        "labels above 7": int(high.sum()),
    }
    if high.any():
        figures |= {
            "above 7: held, not widened": float(held["not widened"][high].mean()),
            "above 7: held": float(held["widened"][high].mean()),
            "above 7: held or flagged": float((held["widened"] | novel[:, None])[high].mean()),
        }
    figures["width, not widened"] = float((plain.high - plain.low)[known].mean())
    figures["width"] = float((decided.high - decided.low)[known].mean())
    if decided.positive is not None and plain.positive is not None:
        belongs = belonging(y, filter_, cap_hits(rows.frame["text"], filter_))
        figures |= {
            "log-loss, not widened": _log_loss(plain.positive, belongs),
            "log-loss": _log_loss(decided.positive, belongs),
        }
    return _Told(decided.novelty, figures)


def _log_loss(probabilities: FloatArray, belongs: FloatArray) -> float:
    known = np.isfinite(probabilities) & np.isfinite(belongs)
    p = np.clip(probabilities[known], 1e-4, 1 - 1e-4)
    return float(-np.where(belongs[known] > 0, np.log(p), np.log(1 - p)).mean())


def _auroc(own: FloatArray, other: FloatArray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(np.repeat([0, 1], [len(own), len(other)]), -np.concatenate([own, other])))


def _means(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds of each figure."""
    return {
        part: {
            name: [round(float(np.mean(values)), 4), round(float(np.std(values, ddof=1)), 4)]
            for name in runs[0][part]
            for values in ([run[part][name] for run in runs if name in run[part]],)
            if len(values) > 1
        }
        for part in runs[0]
    }


def bands() -> dict[str, Any]:
    """Coverage in each band of the predicted score and of the label, on a quarter of each set, pooled over seeds."""
    found: dict[str, Any] = {}
    for name, recipes, seeds in (
        ("sustainability-news", (ENCODER, WORDS), SEEDS),
        ("front-page", (ENCODER, WORDS), SEEDS),
        ("uplifting-multi-oracle", (ENCODER, WORDS), SEEDS),
        ("emobank", (WORDS,), SEEDS[:1]),
        ("ellipse", (WORDS,), SEEDS[:1]),
    ):
        labelled = labelled_set(name)
        for recipe in recipes:
            encoder = known_features(labelled, ENCODER) if recipe == ENCODER else None
            scores, labels, held = [], [], []
            for seed in seeds:
                rows = labelled.examples
                fold = folds(rows.clusters, rows.scores, 4, seed)
                one = _covered(labelled, rows, fold, recipe, encoder, seed)
                for kept, own in zip((scores, labels, held), one, strict=True):
                    kept.append(own)
            each = [np.concatenate(kept).ravel() for kept in (scores, labels, held)]
            known = np.isfinite(each[1])
            score, label, inside = (one[known] for one in each)
            edges = np.linspace(*labelled.scale, 11 if labelled.scale[1] > 5 else 9)
            found[f"{recipe}: {name}"] = {
                "labels": len(label),
                "held": round(float(inside.mean()), 4),
                "by predicted score": _by_band(score, inside > 0, edges),
                "by label": _by_band(label, inside > 0, edges),
            }
            print(f"{recipe}: {name}", json.dumps(found[f"{recipe}: {name}"]), flush=True)
    return found


def _covered(
    labelled: LabelledSet,
    rows: Examples,
    fold: Any,  # noqa: ANN401 - integers, shape (rows,)
    recipe: str,
    encoder: KnownFeatures | None,
    seed: int,
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Scores, labels and whether intervals hold them, of the rows of fold 0 by a student of the others."""
    from potstill.calibration import fit_calibration

    train, test = rows.take(fold != 0), rows.take(fold == 0)
    fit = fitter(load_recipe(recipe), seed=seed, encoder=encoder)
    student: Any = fit(train)
    low, high = labelled.scale
    calibration = fit_calibration(
        predict_out_of_fold(fit, train, 5, seed),
        train.scores,
        train.clusters,
        seed,
        dimensions=rows.dimensions,
        low=low,
        high=high,
    )
    scores, bottom, top = calibration.scores_and_intervals(student.predict(test.frame), LEVEL)
    return scores, test.scores, (bottom <= test.scores) & (test.scores <= top)


def _by_band(values: FloatArray, inside: BoolArray, edges: FloatArray) -> list[dict[str, Any]]:
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    rows = []
    for band in range(len(edges) - 1):
        own = inside[place == band]
        if len(own):
            low, high = metrics.exact_interval(int(own.sum()), len(own))
            rows.append(
                {
                    "from": round(float(edges[band]), 2),
                    "to": round(float(edges[band + 1]), 2),
                    "labels": len(own),
                    "held": round(float(own.mean()), 4),
                    "interval": [round(low, 4), round(high, 4)],
                    "enough": len(own) >= FEWEST,
                }
            )
    return rows


def cost() -> dict[str, Any]:
    """Microseconds that distances and p-values add, and bytes that they take in a bundle, on 4,000 training texts."""
    found: dict[str, Any] = {}
    rng = np.random.default_rng(0)
    for width, parts in ((384, 1), (1152, 3)):
        texts = [f"text {row}" for row in range(4_000)]
        features = rng.normal(size=(4_000, width)).astype(np.float32)
        encoder = KnownFeatures(dict(zip(texts, features, strict=True)), (width // parts,) * parts)
        rows = Examples(
            tuple(texts), pl.DataFrame({"text": texts}), rng.uniform(0, 10, (4_000, 1)), np.arange(4_000), ("only",)
        )
        from potstill.students.heads import LinearHead
        from potstill.students.neural import NeuralStudent

        plain = NeuralStudent(encoder, LinearHead(np.zeros((width, 1)), np.zeros(1)), ("only",))
        novel, distances = with_novelty(plain, rows)
        assert distances is not None
        from potstill.calibration.familiarity import fit_familiarity

        familiarity = fit_familiarity(distances)
        assert familiarity is not None
        own: dict[str, Any] = {
            "bytes in student.safetensors": sum(array.nbytes for array in novelty_arrays(novel.novelty).values()),
            "bytes in calibration.json": len(familiarity.model_dump_json()),
        }
        for count in (1, 512):
            frame = pl.DataFrame({"text": texts[:count]})
            seconds: dict[str, list[float]] = {"without": [], "with": []}
            for _ in range(300 if count == 1 else 30):
                start = time.perf_counter()
                outputs_of(plain, frame)
                between = time.perf_counter()
                given = outputs_of(novel, frame)
                assert given.distances is not None
                familiarity.p_values(given.distances)
                familiarity.widening(given.distances)
                seconds["without"].append(between - start)
                seconds["with"].append(time.perf_counter() - between)
            # Other processes only ever add time, so the fastest tenth is compared.
            before, after = (float(np.quantile(seconds[name], 0.1)) / count * 1e6 for name in ("without", "with"))
            own[f"microseconds added, {count} at once"] = round(after - before, 1)
        found[f"features {width} wide"] = own
    print(json.dumps(found), flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
