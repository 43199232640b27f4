"""What the benchmarks of students share: fitting by recipe, and the facts that every result is written with."""

from __future__ import annotations

import platform
import resource
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.files import write_json
from potstill.metrics import average, mae
from potstill.runs import versions
from potstill.students.constant import fit_constant
from potstill.students.neural import fit_encoder_head, open_encoder
from potstill.students.recipes import (
    ConstantRecipe,
    EncoderHeadRecipe,
    Recipe,
    SourceMedianRecipe,
    TfidfRecipe,
)
from potstill.students.source_median import fit_source_median
from potstill.students.tfidf import fit_tfidf
from potstill.students.torch.backbones import cache_folder

if TYPE_CHECKING:
    from pathlib import Path

    from potstill.dataset import Examples
    from potstill.records import FloatArray
    from potstill.students import Encoder, Student


class Ladder:
    """Fits cheap students by recipe; each encoder is opened once, and its features are kept on disk."""

    def __init__(self) -> None:
        self._encoders: dict[tuple[Any, ...], Encoder] = {}
        self.backbones: dict[str, str] = {}

    def fit(self, recipe: Recipe, train: Examples, seed: int) -> Student:
        """A student by a recipe of any cheap rung."""
        match recipe:
            case ConstantRecipe():
                return fit_constant(recipe, train, seed=seed)
            case SourceMedianRecipe():
                return fit_source_median(recipe, train, seed=seed)
            case TfidfRecipe():
                return fit_tfidf(recipe, train, seed=seed)
            case EncoderHeadRecipe():
                return fit_encoder_head(recipe, train, seed=seed, encoder=self.encoder(recipe))
            case _:
                raise TypeError(f"{recipe.name} is no cheap rung")

    def encoder(self, recipe: EncoderHeadRecipe) -> Encoder:
        """The recipe's encoder."""
        key = (recipe.backbones, recipe.max_tokens, recipe.pooling)
        if key not in self._encoders:
            opened = open_encoder(recipe, cache_folder() / "features")
            self._encoders[key] = opened
            for part in getattr(opened, "parts", (opened,)):
                self.backbones[part.facts.backbone] = part.facts.backbone_sha256
        return self._encoders[key]


def measured(errors: FloatArray, dimensions: tuple[str, ...]) -> dict[str, Any]:
    """MAE over dimensions and of each, from absolute errors, shape (rows, dimensions)."""
    each = mae(errors, np.where(np.isnan(errors), np.nan, 0.0))
    return {
        "mae": round(average(each), 4),
        "by_dimension": dict(zip(dimensions, np.round(each, 4).tolist(), strict=True)),
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread over runs that differ in their seed."""
    values = [run["mae"] for run in runs]
    return {
        "mae_mean": round(float(np.mean(values)), 4),
        "mae_spread": round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else None,
        "runs": runs,
    }


def machine() -> dict[str, str]:
    """What kind of machine this is, without its name."""
    return {"processor": platform.machine(), "system": platform.system()}


def write(path: Path, result: dict[str, Any], started: float) -> None:
    """Add what ran where and for how long, and write the result."""
    facts = {
        "schema_version": 1,
        "versions": versions(),
        "machine": machine(),
        "wall_seconds": round(time.monotonic() - started, 1),
        # Linux counts in KiB.
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 0),
    }
    write_json(path, result | facts)
    print(f"written: {path}")
