"""Small trainings that take a second: real code, a tiny random backbone, random tokens."""

import os
import signal
from pathlib import Path

import numpy as np
import torch
from tiny_network import tiny_bert, tiny_qwen

from potstill.students.recipes import FineTunedRecipe, Lora
from potstill.students.torch.model import build_model, trainable
from potstill.training import checkpoints, loop
from potstill.training.batches import Part, Tokens
from potstill.training.counts import implied_counts
from potstill.training.objectives import Target

DIMENSIONS = ("early", "odd", "long")
WIDTH = 32


def recipe_of(**changes):
    """Return a recipe: LoRA with dropout, shuffled batches, a checkpoint every third step and after each epoch."""
    settings = {
        "name": "tiny",
        "student": "fine-tuned",
        "lora": Lora(rank=4, alpha=8, dropout=0.1, targets=("query", "value", "dense")),
        "epochs": 3,
        "batch_size": 8,
        "learning_rate": 3e-3,
        "warmup_share": 0.1,
        "checkpoint_steps": 3,
    }
    return FineTunedRecipe.model_validate(settings | changes)


def part_of_data(rows, seed):
    """Return random tokens with scores that depend on them; a tenth of the labels is missing."""
    random = np.random.default_rng(seed)
    ids = tuple(random.integers(5, 200, size=random.integers(3, 20)).astype(np.int32) for _ in range(rows))
    scores = np.array([[np.mean(row < 100) * 10, np.mean(row % 2) * 10, len(row) / 2] for row in ids])
    scores[random.random(scores.shape) < 0.1] = np.nan
    return Part(Tokens(ids, np.zeros(rows, dtype=bool), 0), scores)


def target_of(recipe, rows=50):
    return Target.of(recipe, part_of_data(rows, 0).scores)


def model_of(recipe, backbone=tiny_bert):
    network = backbone()
    outputs = target_of(recipe).outputs
    implied = implied_counts(network, WIDTH, outputs, recipe)
    torch.manual_seed(1)
    return build_model(network, WIDTH, outputs, recipe), implied


def task_of(recipe, implied, rows=50):
    train = part_of_data(rows, 0)
    identity = {"data": "made up"}
    target = target_of(recipe, rows)
    return loop.Task(recipe, target, train, part_of_data(20, 1), DIMENSIONS, implied, 7, "cpu", identity=identity)


def train(workdir, *, resume=False, backbone=tiny_bert, **changes):
    recipe = recipe_of(**changes)
    model, implied = model_of(recipe, backbone)
    outcome = loop.train_model(model, task_of(recipe, implied), Path(workdir), resume=resume)
    return model, outcome


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in trainable(model).items()}


def train_until_killed(workdir, *, step=None, write=None):
    """Train in this process until SIGKILL: after a step, or in the middle of writing a checkpoint's tensors."""
    torch.set_num_threads(1)

    def kill():
        os.kill(os.getpid(), signal.SIGKILL)

    after_step = loop.CheckpointCallback.on_step_end
    save = checkpoints.save_file
    written = 0

    def killing_step(callback, args, state, control, **rest):
        after_step(callback, args, state, control, **rest)
        if state.global_step == step:
            kill()

    def killing_save(tensors, path):
        nonlocal written
        written += 1
        save(tensors, path)
        if written == write:
            os.truncate(path, path.stat().st_size // 2)
            kill()

    loop.CheckpointCallback.on_step_end = killing_step
    checkpoints.save_file = killing_save
    train(workdir)


def train_and_keep(workdir, resume, target):
    """Train to the end in this process, and save the weights to a file."""
    torch.set_num_threads(1)
    model, outcome = train(workdir, resume=resume)
    checkpoints.save_file(weights(model), target)
    checkpoints.write_json(target.with_suffix(".json"), list(outcome.resumed_from))


__all__ = ["tiny_bert", "tiny_qwen"]
