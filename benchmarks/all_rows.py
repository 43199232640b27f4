"""What a student gains by being fitted again on all labelled rows, and what is kept apart from both measures it.

In: labelled sets with a frozen encoder's features. For each seed, a final part is kept apart that neither student sees.
The rest is split as by default. The student before is fitted on the training part and calibrated on the calibration
part or out of fold; the refitted one learns from the whole rest. Both are judged on the final part: errors as shipped,
coverage of 90% intervals, and what the cut on the positive tiers finds. Beside them stands kernel ridge regression on
P(y <= k) of the same features in a few lines of numpy, with fixed parameters. Out: `results/all_rows.json`.

    python -m benchmarks.all_rows [SET ...]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.api import Parts, Rows, Student
from potstill.bundle.deciding import decide_articles
from potstill.dataset import PARTS, folds
from potstill.dataset.splitting import split
from potstill.students.head_fitting import fit_head
from potstill.students.neural import NeuralStudent, part_widths
from potstill.students.recipes import load_recipe
from potstill.students.storage import feature_folder
from potstill.verdict import cap_hits, decide_rows

sys.path.insert(0, str(Path(__file__).parent))
from _sets import NoDataError, labelled_set
from _students import write

if TYPE_CHECKING:
    from _sets import LabelledSet

    from potstill.dataset import Examples
    from potstill.types import FloatArray

RESULT = Path(__file__).parent / "results" / "all_rows.json"
RECIPE = "e5-median"
LEVEL = 0.9
ROUNDS = {"sustainability-news": [(seed, 0) for seed in range(3)], "front-page": [(0, fold) for fold in range(10)]}
"""Set -> (seed, which tenth is the final part): three seeds of a large set, or each tenth of a small one."""

GAMMA, ALPHA = 1.0, 0.3
"""The parameters of the few lines of numpy: the best of four pairs on the news, so they flatter the peer."""


def peer(features: FloatArray, scores: FloatArray, new: FloatArray, parts: int) -> FloatArray:
    """Kernel ridge regression on P(y <= k), and the median: six lines of numpy that a user might write instead."""

    def ready(rows: FloatArray) -> FloatArray:
        each = np.split(rows - features.mean(axis=0), parts, axis=1)
        return np.concatenate([one / np.linalg.norm(one, axis=1, keepdims=True) for one in each], 1) / np.sqrt(parts)

    known, asked, levels = ready(features), ready(new), np.unique(scores)
    kernel, across = (np.exp(-2 * GAMMA * (1 - rows @ known.T)) for rows in (known, asked))
    below = (scores[:, :, None] <= levels[:-1]).reshape(len(scores), -1).astype(float)
    share = across @ np.linalg.solve(kernel + ALPHA * np.eye(len(known)), below - below.mean(0)) + below.mean(0)
    share = share.reshape(len(new), scores.shape[1], -1)
    return levels[np.minimum((np.maximum.accumulate(share, 2) < 0.5).sum(2), len(levels) - 1)]


def parts_of(labelled: LabelledSet, rest: Examples, seed: int) -> Parts:
    """The default split of the rest."""
    where = split(rest.scores, rest.clusters, seed=seed)
    return Parts(*(Rows(labelled.filter, rest.take((where == name).to_numpy())) for name in PARTS))


def judged(student: Student, final: Examples, labelled: LabelledSet) -> dict[str, Any]:
    """Per row, so that folds can be pooled: errors, whether intervals hold, and what is named and positive."""
    filter_ = labelled.filter
    decided = decide_articles(student.fitted.student, final.frame, filter_, student.calibration, LEVEL)
    raw = np.clip(student.fitted.student.predict(final.frame), *labelled.scale)
    inside = (final.scores >= decided.low - 1e-9) & (final.scores <= decided.high + 1e-9)
    truth = decide_rows(final.scores, filter_, cap_hits(final.frame["text"], filter_))["tier"].to_list()
    named = [filter_.tiers[place].name for place in decided.judged.tiers]
    return {
        "error": np.abs(decided.scores - final.scores),
        "raw error": np.abs(raw - final.scores),
        "inside": inside,
        "width": decided.high - decided.low,
        "positive": np.isin(truth, filter_.positive_tiers),
        "named": np.isin(named, filter_.positive_tiers),
    }


def figures(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of pooled rounds; `mae_rounds` are those of each."""
    whole = {name: np.concatenate([one[name] for one in rounds]) for name in rounds[0]}
    positive, named = whole["positive"], whole["named"]
    both = int((positive & named).sum())
    return {
        "mae": round(float(whole["error"].mean()), 4),
        "mae_uncalibrated": round(float(whole["raw error"].mean()), 4),
        "mae_rounds": [round(float(one["error"].mean()), 4) for one in rounds],
        "coverage_of_90": round(float(whole["inside"].mean()), 4),
        "coverage_of_90_by_dimension": np.round(whole["inside"].mean(axis=0), 3).tolist(),
        "mean_width_of_90": round(float(whole["width"].mean()), 3),
        "positives": int(positive.sum()),
        "named": int(named.sum()),
        "found": both,
        "recall": round(both / max(1, int(positive.sum())), 4),
        "precision": round(both / max(1, int(named.sum())), 4),
    }


CHOSEN: list[tuple[float, float]] = []
"""The penalty and gamma that each fit of a head chose, since the list was emptied."""


def with_choice_before(before: NeuralStudent, rows: Examples, choice: tuple[float, float], seed: int) -> NeuralStudent:
    """The student fitted on all rows with the penalty and gamma that the training part had chosen."""
    recipe = load_recipe(RECIPE)
    head = recipe.head.model_copy(update={"alphas": choice[:1], "gamma": choice[1:]})
    widths = part_widths(before.encoder)
    features = before.features(rows.texts)
    fitted = fit_head(head, features, rows.scores, rows.clusters, widths=widths, learns=recipe.learns, seed=seed)
    return NeuralStudent(before.encoder, fitted, before.dimensions)


def noting_choices() -> None:
    """Add to `CHOSEN` what every fit of a head chooses."""
    from potstill.students import head_fitting

    choose = head_fitting.choose

    def noting(*arguments: Any) -> Any:  # noqa: ANN401 - as `choose`
        found = choose(*arguments)
        CHOSEN.append(found)
        return found

    head_fitting.choose = noting


def measure(name: str) -> dict[str, Any]:
    """All rounds of one set."""
    labelled = labelled_set(name)
    rows = labelled.examples
    found: dict[str, list[dict[str, Any]]] = {"before": [], "refitted": []}
    others: dict[str, list[FloatArray]] = {}
    choices, sizes, constant = [], [], []
    for seed, place in ROUNDS[name]:
        tenth = folds(rows.clusters, rows.scores, 10, seed=100 + seed) == place
        rest, final = rows.take(~tenth), rows.take(tenth)
        parts = parts_of(labelled, rest, seed)
        CHOSEN.clear()
        student = Student(RECIPE, seed=seed, cache=feature_folder()).fit(parts.train, parts.validation)
        before = student.calibrate(parts.calibration if len(parts.calibration) else None)
        found["before"].append(judged(before, final, labelled))
        choices.append({"before": CHOSEN[0]})
        same = with_choice_before(before.fitted.student, rest, CHOSEN[0], seed)
        CHOSEN.clear()
        refitted = before.refit(parts)
        choices[-1]["refitted"] = CHOSEN[0]
        found["refitted"].append(judged(refitted, final, labelled))
        encoder = before.fitted.student.encoder
        features, new = encoder.encode(rest.texts), encoder.encode(final.texts)
        train = np.isin(rest.ids, parts.train.examples.ids)
        layers = len(part_widths(encoder))
        predicted = {
            "the hyperparameters chosen before, uncalibrated": same.predict(final.frame),
            "numpy on the training part": peer(features[train], rest.scores[train], new, layers),
            "numpy on the whole rest": peer(features, rest.scores, new, layers),
        }
        for what, scores in predicted.items():
            others.setdefault(what, []).append(np.abs(np.clip(scores, *labelled.scale) - final.scores))
        middle = np.nanmedian(parts.train.scores, axis=0)
        constant.append(np.abs(middle - final.scores))
        sizes.append({part: len(getattr(parts, part)) for part in PARTS} | {"final": len(final)})
        print(name, seed, place, {what: each[-1]["error"].mean().round(4) for what, each in found.items()},
              {what: each[-1].mean().round(4) for what, each in others.items()}, flush=True)  # fmt: skip
    return {
        "labels_sha256": labelled.labels,
        "rounds": [{"seed": seed, "final_tenth": place} for seed, place in ROUNDS[name]],
        "rows": sizes[0],
        "choices": choices,
        "constant_mae": round(float(np.concatenate(constant).mean()), 4),
        **{what: figures(each) for what, each in found.items()},
        **{
            what: {
                "mae": round(float(np.concatenate(each).mean()), 4),
                "mae_rounds": [round(float(one.mean()), 4) for one in each],
            }
            for what, each in others.items()
        },
    }


def main(wanted: list[str]) -> None:
    """Measure the named sets, or all, and write the result."""
    started = time.monotonic()
    noting_choices()
    found = {}
    for name in wanted or ROUNDS:
        try:
            found[name] = measure(name)
        except NoDataError as error:
            print(f"{name}: skipped: {error}")
    write(RESULT, {"recipe": RECIPE, "numpy": {"gamma": GAMMA, "alpha": ALPHA}, "sets": found}, started)


if __name__ == "__main__":
    main(sys.argv[1:])
