"""Tests of weight averaging: the mean is evaluated and saved, while training continues with the weights themselves."""

import sys
from pathlib import Path

import pytest
import torch

from potstill.errors import TrainingError
from potstill.metrics import mae
from potstill.training import loop
from potstill.training.averaging import Average

sys.path.insert(0, str(Path(__file__).parent))
import trainings


def test_the_mean_of_weights_that_stay_is_these_weights():
    model, _ = trainings.model_of(trainings.recipe_of())
    average = Average(model, 0.9)

    for step in range(1, 4):
        average.update(model, step)

    assert all(torch.allclose(average.tensors[name], one) for name, one in trainings.weights(model).items())


def test_the_mean_lies_between_where_the_weights_were():
    model, _ = trainings.model_of(trainings.recipe_of())
    average = Average(model, 0.5)
    bias = dict(model.named_parameters())["base_model.model.score.modules_to_save.default.bias"]

    bias.data.fill_(0.0)
    average.update(model, 10)
    bias.data.fill_(1.0)
    average.update(model, 11)

    name = "base_model.model.score.modules_to_save.default.bias"
    assert average.tensors[name].tolist() == pytest.approx([0.5] * 3, abs=0.05)
    with average.in_place(model):
        assert torch.equal(bias, average.tensors[name])
    assert bias.tolist() == [1.0] * 3


def test_training_keeps_the_mean_and_is_not_moved_by_it(tmp_path):
    plain, without = trainings.train(tmp_path / "plain", epochs=2)
    averaged, outcome = trainings.train(tmp_path / "averaged", epochs=2, ema=0.9)
    validation = trainings.part_of_data(20, 1)

    now = mae(loop.predict(averaged, validation.tokens, device="cpu"), validation.scores)

    assert now.mean() == pytest.approx(outcome.best.validation.mae, abs=1e-6)
    assert outcome.best.validation.mae != pytest.approx(without.best.validation.mae, abs=1e-3)
    kept = trainings.checkpoints.read(trainings.checkpoints.newest(tmp_path / "averaged")).tensors["parameters"]
    if without.best_epoch == 2:
        assert all(torch.equal(kept[name], one) for name, one in trainings.weights(plain).items())


def test_a_training_that_goes_on_has_the_mean_of_the_unbroken_one(tmp_path, monkeypatch):
    with monkeypatch.context() as broken:
        step = loop._Keeper.on_step_end

        def breaking(keeper, args, state, control, **rest):
            step(keeper, args, state, control, **rest)
            if state.global_step == 5:
                raise TrainingError("broken on purpose")

        broken.setattr(loop._Keeper, "on_step_end", breaking)
        with pytest.raises(TrainingError, match="on purpose"):
            trainings.train(tmp_path / "broken", epochs=2, ema=0.9)

    resumed, outcome = trainings.train(tmp_path / "broken", resume=True, epochs=2, ema=0.9)
    whole, _ = trainings.train(tmp_path / "whole", epochs=2, ema=0.9)

    assert outcome.resumed_from == (3,)
    assert all(torch.equal(trainings.weights(resumed)[name], one) for name, one in trainings.weights(whole).items())


def test_another_mean_is_another_training(tmp_path):
    recipes = [trainings.recipe_of(ema=ema).digest_without(*loop.SCHEDULE) for ema in (None, 0.9, 0.99)]
    assert len(set(recipes)) == 3
