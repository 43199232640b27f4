"""What a fine-tuned network should make small: its objectives side by side, on one set and with one budget.

The English news of the sustainability set, whose labels are integers by one oracle, MiniLM at 96 tokens, as many
epochs and the same seeds, rows and batches for all. The epoch is chosen by validation, and the test part judges once.
`another seed` changes head, batches and dropout alone, and so tells what a difference may be by chance.

The recorded result also holds options that were removed because of it: `l1`, `ordinal`, ListNet, weighted rare labels.

    POTSTILL_DATA=... python benchmarks/objectives.py [--seeds 0 1 2] [--objectives huber corn]

Every fit is kept under `runs/students`, so that a killed run goes on where it was; the result holds every fit of these
seeds that is done, whenever it was.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from _sets import HERE, WORK, NoDataError, labelled_set
from _students import write
from students import measures, parts_of_set

from potstill.errors import BadInput
from potstill.files import digest, read_json, write_json
from potstill.students.recipes import FineTunedRecipe, load_recipe
from potstill.training.fit import fit

if TYPE_CHECKING:
    from pathlib import Path

    from _sets import LabelledSet
    from numpy.typing import NDArray

RESULT = HERE / "results" / "objectives.json"
KEPT = WORK / "objectives"
BUDGET = {"max_tokens": 96, "epochs": 3, "patience": None}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "mse": {"objective": "mse"},
    "huber": {"objective": "huber"},
    "corn": {"objective": "corn"},
    "corn, mean": {"objective": "corn", "decode": "mean"},
    "distribution": {"objective": "distribution"},
    "huber, another seed": {"objective": "huber", "seed_offset": 1},
    "corn, another seed": {"objective": "corn", "seed_offset": 1},
}


def main() -> int:
    """Fit what is not fitted yet, and write the table."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--objectives", nargs="+", default=list(OBJECTIVES), choices=list(OBJECTIVES))
    parser.add_argument("--fresh", action="store_true", help="fit again what is done already")
    arguments = parser.parse_args()
    try:
        labelled = english()
    except NoDataError as missing:
        print(f"skipped: {missing}", file=sys.stderr)
        return 0
    base = load_recipe("minilm-full")
    table: dict[str, Any] = {name: [] for name in ("constant", *OBJECTIVES)}
    for seed in arguments.seeds:
        part = parts_of_set(labelled, seed)
        table["constant"].append({"seed": seed, **constant(labelled, part)})
        for name, changes in OBJECTIVES.items():
            recipe = FineTunedRecipe.model_validate({**base.model_dump(), **BUDGET, **changes})
            if name in arguments.objectives or kept_path(labelled, recipe, seed).is_file():
                fresh = arguments.fresh and name in arguments.objectives
                table[name].append({"seed": seed, **fitted(labelled, part, recipe, seed, fresh=fresh)})
                print(f"{seed} {name:32} {table[name][-1]['mae']:.3f}", flush=True)
    write(
        RESULT,
        {
            "what": "MAE on test rows, clipped to the scale, by what the network learns; same rows, seeds and epochs",
            "rows": len(labelled.examples),
            "labels": labelled.labels,
            "recipe": base.model_dump(mode="json") | BUDGET,
            "objectives": {name: _summary(runs, table["huber"]) for name, runs in table.items() if runs},
        },
        started,
    )
    return 0


def english() -> LabelledSet:
    """The set's English rows: MiniLM reads no other language."""
    whole = labelled_set("sustainability-news")
    own = np.array(whole.slices["language"]) == "en"
    return replace(whole, examples=whole.examples.take(own), slices={})


def constant(labelled: LabelledSet, part: NDArray[np.str_]) -> dict[str, Any]:
    """What the medians of the training rows err on the test part."""
    scores = labelled.examples.scores
    said = np.broadcast_to(np.nanmedian(scores[part == "train"], axis=0), scores.shape)
    return measures(labelled, said, part == "test")


def kept_path(labelled: LabelledSet, recipe: FineTunedRecipe, seed: int) -> Path:
    """Where what a fit measured is kept."""
    return KEPT / f"{digest([recipe.hash, labelled.labels, digest(labelled.examples.texts), seed])[:16]}.json"


def fitted(
    labelled: LabelledSet, part: NDArray[np.str_], recipe: FineTunedRecipe, seed: int, *, fresh: bool
) -> dict[str, Any]:
    """Train once and measure on the test part, or read what was measured before."""
    path = kept_path(labelled, recipe, seed)
    if path.is_file() and not fresh:
        return read_json(path)
    KEPT.mkdir(parents=True, exist_ok=True)
    train, validation, test = (labelled.examples.take(part == name) for name in ("train", "validation", "test"))
    workdir = path.with_suffix("")
    done = fit(recipe, train, validation, workdir=workdir, seed=seed, resume=True, holdout=0.0)
    said = np.full(labelled.examples.scores.shape, np.nan)
    said[part == "test"] = done.student.predict(test.frame)
    measured = {
        **measures(labelled, said, part == "test"),
        "best_epoch": done.best_epoch,
        "epochs": [round(epoch.validation.mae, 4) for epoch in done.history],
        "training_seconds": done.seconds,
    }
    write_json(path, measured)
    shutil.rmtree(workdir)
    return measured


def _summary(runs: list[dict[str, Any]], beside: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, and how far each seed is from Huber's on the same rows."""
    found, labelled = (sum(run["positives"][name] for run in runs) for name in ("found", "labelled"))
    others = {run["seed"]: run["mae"] for run in beside}
    less = [round(run["mae"] - others[run["seed"]], 4) for run in runs if run["seed"] in others]
    return {
        "mae_mean": round(float(np.mean([run["mae"] for run in runs])), 4),
        "rmse_mean": round(float(np.mean([run["mcrmse"] for run in runs])), 4),
        "beside_huber": less,
        "positives_found": found,
        "positives_labelled": labelled,
        "runs": runs,
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BadInput as error:
        sys.exit(f"{error}")
