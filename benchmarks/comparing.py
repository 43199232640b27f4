"""Does a comparison tell improvement from noise? `front-page` on the Lee corpus: `python benchmarks/comparing.py`.

Two recipes, TF-IDF ridge and MiniLM with ridge, are fitted out of fold with several seeds, each of which divides the
350 stories otherwise. Fifty times over, 250 stories are drawn and three seeds of each side, disjoint where a recipe
meets itself: how often is a recipe against itself called noise, and the better recipe real? The same is asked with
one seed a side, where only the rows count.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from _sets import WORK, labelled_set
from _students import write

from potstill.dataset import Examples, folds
from potstill.findings import SIGNIFICANCE
from potstill.pipeline.compare import compare_seeds
from potstill.students.neural import open_encoder
from potstill.students.recipes import EncoderHeadRecipe, Recipe, TfidfRecipe, load_recipe
from potstill.training import out_of_fold
from potstill.training.fit import fitter

RESULT = Path(__file__).parent / "results" / "comparing.json"
FOLDS, SEEDS, PAIRS, ROWS = 5, 8, 50, 250


def main() -> None:
    """Fit, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    started = time.monotonic()
    examples = labelled_set("front-page").examples
    recipes: list[Recipe] = [
        TfidfRecipe(name="tfidf-ridge-fixed", student="tfidf-ridge", alphas=(1.0,), min_documents=1),
        load_recipe("minilm-ridge"),
    ]
    errors = {recipe.name: np.array([held_out(recipe, examples, seed) for seed in range(SEEDS)]) for recipe in recipes}
    print(
        {name: found.mean().round(4) for name, found in errors.items()},
        f"{time.monotonic() - started:.0f} s",
        flush=True,
    )
    weak, strong = errors
    results = {
        f"{seeds} seeds a side": {
            **{
                f"{name} against itself, called noise": noise(errors[name], errors[name], examples, seeds, same=True)
                for name in errors
            },
            f"{strong} against {weak}, called real": round(
                1 - noise(errors[strong], errors[weak], examples, seeds, same=False), 2
            ),
        }
        for seeds in (3, 1)
    }
    write(
        arguments.out,
        {
            "what": f"share of {PAIRS} comparisons on {ROWS} of {len(examples)} stories, at {SIGNIFICANCE}",
            "seeds": SEEDS,
            "mae": {name: round(float(found.mean()), 4) for name, found in errors.items()},
            "results": results,
        },
        started,
    )
    print(json.dumps(results, indent=2))


def held_out(recipe: Recipe, examples: Examples, seed: int) -> np.ndarray:
    """Each story's mean absolute error by a student that had not seen it, shape (rows,)."""
    fold = folds(examples.clusters, examples.scores, FOLDS, seed)
    encoder = open_encoder(recipe, WORK / "features") if isinstance(recipe, EncoderHeadRecipe) else None
    unseen = out_of_fold(fitter(recipe, seed=seed, encoder=encoder), examples, fold)
    return np.abs(unseen - examples.scores).mean(axis=1)


def noise(ours: np.ndarray, theirs: np.ndarray, examples: Examples, seeds: int, *, same: bool) -> float:
    """Share of pairs called noise; seeds of a recipe against itself are disjoint."""
    rng = np.random.default_rng(3)
    called = 0
    for place in range(PAIRS):
        rows = rng.choice(len(examples), ROWS, replace=False)
        order = rng.permutation(SEEDS)
        first, second = order[:seeds], order[seeds : 2 * seeds] if same else rng.permutation(SEEDS)[:seeds]
        found = compare_seeds(
            ours[np.ix_(first, rows)], theirs[np.ix_(second, rows)], examples.clusters[rows], n=4000, seed=place
        )
        called += found.p >= SIGNIFICANCE
    return round(called / PAIRS, 2)


if __name__ == "__main__":
    main()
