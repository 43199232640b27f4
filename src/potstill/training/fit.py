"""Fits a student of any recipe on examples, and predicts each training row by models that were not trained on it.

Input: a recipe and examples. Output: a fitted student with its out-of-fold or held-out predictions. torch is imported
only when it is needed. `pipeline.train` fits the students of a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.dataset import folds
from potstill.errors import DatasetError, RecipeError, Unavailable, require
from potstill.machine import Watch
from potstill.students.constant import fit_constant
from potstill.students.neural import (
    NeuralStudent,
    assembled,
    fit_encoder_head,
    member_encoder,
    open_encoder,
    parts_of,
    reading,
    reading_members,
)
from potstill.students.recipes import (
    BlendRecipe,
    ConstantRecipe,
    DistilledRecipe,
    EncoderHeadRecipe,
    EnsembleRecipe,
    FineTunedRecipe,
    SourceMedianRecipe,
    TfidfRecipe,
)
from potstill.students.source_median import fit_source_median
from potstill.students.tfidf import fit_tfidf
from potstill.terminal import steps
from potstill.training.blending import FOLDS, fit_blend
from potstill.training.facts import Fitted
from potstill.training.folding import out_of_fold

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from potstill.dataset import Examples
    from potstill.students import Encoder, Student
    from potstill.students.blend import Blended
    from potstill.students.recipes import Recipe
    from potstill.types import FloatArray

    Fit = Callable[[Examples], Student]


def fit(
    recipe: Recipe,
    train: Examples,
    validation: Examples | None,
    *,
    workdir: Path,
    seed: int = 0,
    resume: bool = False,
    crossfit: int = FOLDS,
    holdout: float = 0.1,
    device: str = "auto",
    tiny: bool = False,
    cache: Path | None = None,
    rubric: str = "",
    epochs: int | None = None,
) -> Fitted:
    """Fit a student of any recipe.

    A student that is fitted in seconds is fitted on all training rows, and again for each cross-validation fold to get
    out-of-fold predictions. A fine-tuned student is trained once, with some rows held out.

    Args:
        recipe: what to fit.
        train: training examples.
        validation: examples used to select the best epoch and, later, the best student; None if nothing is selected.
        workdir: a folder used by this fit only, for checkpoints and a tiny backbone.
        seed: random seed.
        resume: continue from the newest complete checkpoint in `workdir`.
        crossfit: number of folds for a student that is fitted in seconds; 0 for none, except for a blend, which needs
            them to choose its weights.
        holdout: share of the training rows held out from a fine-tuned student, from 0 to 1; 0 for none.
        device: device on which a fine-tuned student is trained, as torch names it, or `auto`.
        tiny: replace the recipe's backbones with tiny random ones, to test the whole pipeline; scores are meaningless.
        cache: folder in which frozen encoders cache features of texts; default: a folder in `workdir`.
        rubric: the filter's rubric, for recipes that prepend it to every text.
        epochs: number of epochs of a fine-tuned student without validation examples.

    Raises:
        TrainingError: training had to stop.
        MissingExtra, MissingModel: torch, scikit-learn or a backbone is not installed.
        DatasetError, RecipeError: the examples or the recipe cannot be used.
    """
    if not len(train) or (validation is not None and not len(validation)):
        raise DatasetError("training needs at least one training and one validation row")
    workdir.mkdir(parents=True, exist_ok=True)
    if isinstance(recipe, FineTunedRecipe):
        require("peft", "train")
        require("accelerate", "train")
        from potstill.training.finetune import fine_tune

        return fine_tune(
            recipe,
            train,
            validation,
            workdir=workdir,
            seed=seed,
            resume=resume,
            holdout=holdout,
            device=device,
            tiny=tiny,
            rubric=rubric,
            epochs=epochs,
        )
    watch = Watch()
    encoder = _encoder(recipe, workdir, cache or workdir / "features", tiny=tiny, seed=seed)
    student, held_out, notes = _fitted(recipe, train, seed=seed, encoder=encoder, crossfit=crossfit)
    cut = None
    if encoder is not None:
        cut = float(np.mean(np.any([one.truncated(train.texts) for one in readers(recipe, encoder)], axis=0)))
    return Fitted(
        student=student,
        validation=np.empty((0, train.scores.shape[1])) if validation is None else student.predict(validation.frame),
        held_out=held_out,
        seconds=(load := watch.load()).wall_seconds,
        load=load,
        # Frozen networks run in float32 on every machine, as the exported graph does; see docs/decisions.md.
        precision=None if encoder is None else "fp32",
        backbones={} if encoder is None else _hashes(encoder),
        truncated_share=cut,
        notes=notes,
    )


def fitter(recipe: Recipe, *, seed: int = 0, encoder: Encoder | None = None) -> Fit:
    """Return a function that fits a recipe to examples; a frozen encoder is opened once for all its calls.

    Raises:
        RecipeError: the recipe trains its encoder, which takes longer than seconds, or is made from other students.
    """
    match recipe:
        case ConstantRecipe():
            return lambda examples: fit_constant(recipe, examples, seed=seed)
        case SourceMedianRecipe():
            return lambda examples: fit_source_median(recipe, examples, seed=seed)
        case TfidfRecipe():
            return lambda examples: fit_tfidf(recipe, examples, seed=seed)
        case EncoderHeadRecipe():
            opened = encoder or open_encoder(recipe)
            return lambda examples: fit_encoder_head(recipe, examples, seed=seed, encoder=opened)
        case BlendRecipe():
            fits = _member_fits(recipe, seed=seed, encoder=encoder)
            return lambda examples: fit_blend(recipe, fits, examples, seed=seed)[0]
        case FineTunedRecipe():
            raise RecipeError(f"{recipe.name}: a fine-tuned student is not fitted again for each fold")
        case DistilledRecipe() | EnsembleRecipe():
            raise RecipeError(f"{recipe.name}: is made from other students, which a run holds")


def refitter(recipe: Recipe, *, seed: int = 0, cache: Path | None = None, tiny: bool = False) -> Fit | None:
    """Return a function that fits a cheap student again, or None if that takes minutes or a backbone is missing.

    A frozen encoder is not trained on any fold, so its features are cached between calls.

    Args:
        recipe: what to fit.
        seed: random seed.
        cache: folder in which frozen encoders cache features of texts.
        tiny: whether the student was trained with tiny stand-ins for backbones. They only test the code path, and
            fitting it again would need the real ones.
    """
    if isinstance(recipe, FineTunedRecipe | DistilledRecipe | EnsembleRecipe) or tiny:
        return None
    try:
        encoder = frozen_encoder(recipe, cache)
    except Unavailable:
        return None
    return fitter(recipe, seed=seed, encoder=encoder)


def predict_out_of_fold(fitting: Fit, examples: Examples, k: int, seed: int, name: str = "student") -> FloatArray:
    """Return out-of-fold predictions of every row, shape (rows, dimensions); see `out_of_fold`.

    The folds are created here: `k` of them, or fewer if there are fewer clusters. With fewer than two, all predictions
    are NaN.
    """
    k = min(k, len(np.unique(examples.clusters)))
    if k < 2:
        return np.full(examples.scores.shape, np.nan)
    with steps(f"{name}: out of fold", k) as advance:
        return out_of_fold(fitting, examples, folds(examples.clusters, examples.scores, k, seed), done=advance)


def predict_training_rows(recipe: Recipe, student: Student, train: Examples, seed: int) -> FloatArray:
    """Return out-of-fold predictions of a fitted student's training rows, shape (rows, dimensions).

    They are made by students that are fitted with the same encoder, which may be a tiny stand-in. NaN for a student
    that takes longer than seconds to fit.
    """
    if not isinstance(recipe, ConstantRecipe | SourceMedianRecipe | TfidfRecipe | EncoderHeadRecipe):
        return np.full(train.scores.shape, np.nan)
    encoder = student.encoder if isinstance(student, NeuralStudent) else None
    return predict_out_of_fold(fitter(recipe, seed=seed, encoder=encoder), train, FOLDS, seed, recipe.name)


def frozen_encoder(recipe: Recipe, cache: Path | None = None) -> Encoder | None:
    """Open the encoder of the recipe's heads with torch, for `fitter`; None if the recipe has none.

    Raises:
        MissingExtra, MissingModel: torch or a backbone is not installed.
    """
    if isinstance(recipe, EncoderHeadRecipe | BlendRecipe) and reading_members(recipe):
        return open_encoder(recipe, cache)
    return None


def readers(recipe: Recipe, encoder: Encoder) -> list[Encoder]:
    """Return one encoder per head of the student, each a part of the encoder that `frozen_encoder` opened."""
    match recipe:
        case EncoderHeadRecipe():
            return [reading(encoder, recipe.chunks)]
        case BlendRecipe():
            members = reading_members(recipe)
            return [reading(member_encoder(recipe, member, encoder), member.chunks) for member in members]
        case _:
            return []


def _fitted(
    recipe: Recipe, train: Examples, *, seed: int, encoder: Encoder | None, crossfit: int
) -> tuple[Student, FloatArray, tuple[str, ...]]:
    """Fit a student that takes seconds; return it with its out-of-fold scores and notes."""
    if not isinstance(recipe, BlendRecipe):
        fitting = fitter(recipe, seed=seed, encoder=encoder)
        return fitting(train), predict_out_of_fold(fitting, train, crossfit, seed, recipe.name), ()
    # The weights are already chosen on out-of-fold scores, so these are there for any `crossfit`; refitting the whole
    # blend for each fold would take five times as long.
    fits = _member_fits(recipe, seed=seed, encoder=encoder)
    student, chosen = fit_blend(recipe, fits, train, seed=seed, k=crossfit or FOLDS)
    return student, chosen.scores, chosen.notes([member.name for member in recipe.members], train.dimensions)


def _member_fits(recipe: BlendRecipe, *, seed: int, encoder: Encoder | None) -> list[Callable[[Examples], Blended]]:
    """Return a fit function for each member of a blend; members that use the same encoder share one instance."""
    encoder = encoder or frozen_encoder(recipe)
    fits: list[Any] = []
    for member in recipe.members:
        own = None
        if isinstance(member, EncoderHeadRecipe) and encoder is not None:
            own = member_encoder(recipe, member, encoder)
        fits.append(fitter(member, seed=seed, encoder=own))
    return fits


def _encoder(recipe: Recipe, workdir: Path, cache: Path, *, tiny: bool, seed: int) -> Encoder | None:
    if not tiny:
        return frozen_encoder(recipe, cache)
    if not isinstance(recipe, EncoderHeadRecipe | BlendRecipe) or not reading_members(recipe):
        return None
    require("torch", "train")
    from potstill.students.torch.backbones import tiny_backbone
    from potstill.students.torch.encoder import TorchEncoder

    made: list[Encoder] = []

    def opening(member: EncoderHeadRecipe, backbone: str) -> Encoder:
        folder = (workdir / f"backbone-{len(made)}").resolve()
        small = TorchEncoder.open(
            tiny_backbone(backbone, folder, seed=seed),
            max_tokens=member.max_tokens,
            pooling=member.pooling,
            # A tiny network has two layers, however many the recipe's real backbone has.
            layers=tuple(layer for layer in member.layers if -3 <= layer <= 2),
        )
        made.append(small)
        return small

    return assembled(recipe, opening)


def _hashes(encoder: Encoder) -> dict[str, str]:
    parts: tuple[Any, ...] = parts_of(encoder)
    return {part.facts.backbone: part.facts.backbone_sha256 for part in parts}
