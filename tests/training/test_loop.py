import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from potstill.errors import TrainingError
from potstill.metrics import mae
from potstill.students.recipes import load_recipe
from potstill.training import loop
from potstill.training.loop import Plan
from potstill.training.objectives import Target

sys.path.insert(0, str(Path(__file__).parent))
import trainings


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return trainings.train(tmp_path_factory.mktemp("trained"), epochs=4)


def test_training_learns_what_can_be_read_off_the_tokens(trained):
    _, outcome = trained

    maes = [record.validation.mae for record in outcome.history]

    assert maes[-1] < 0.8 * maes[0]
    assert [record.epoch for record in outcome.history] == [1, 2, 3, 4]
    assert [record.step for record in outcome.history] == [7, 14, 21, 28]


def test_the_model_ends_with_the_epoch_of_the_best_validation_mae(trained):
    model, outcome = trained
    validation = trainings.part_of_data(20, 1)

    now = mae(loop.predict(model, validation.tokens, device="cpu"), validation.scores)

    assert outcome.best_epoch == 1 + int(np.argmin([record.validation.mae for record in outcome.history]))
    assert now.mean() == pytest.approx(outcome.best.validation.mae, abs=1e-6)
    assert list(outcome.best.validation.mae_by_dimension.values()) == pytest.approx(now.tolist(), abs=1e-6)


def test_train_figures_are_of_the_same_weights_as_validation_figures(trained):
    model, outcome = trained
    train = trainings.part_of_data(50, 0)

    now = mae(loop.predict(model, train.tokens, device="cpu"), train.scores).mean()

    assert outcome.best.train.mae == pytest.approx(now, abs=1e-6)
    assert outcome.best.train.rows == 50


def test_the_counts_of_what_trained_are_kept(trained):
    _, outcome = trained

    assert outcome.counts.trainable_adapter == outcome.counts.adapter > 0
    assert outcome.counts.trainable_base == 0


def test_training_stops_when_validation_has_not_improved_for_the_patience(tmp_path):
    # With a tiny learning rate the weights hardly change, and the first epoch remains the best or nearly so.
    _, outcome = trainings.train(tmp_path, epochs=9, patience=2, learning_rate=1e-12, objective="mse")

    assert outcome.stopped
    assert len(outcome.history) == outcome.best_epoch + 2 < 9


def test_a_training_that_stopped_early_stays_stopped_on_resume(tmp_path):
    settings = {"epochs": 9, "patience": 2, "learning_rate": 1e-12}
    _, first = trainings.train(tmp_path, **settings)

    _, again = trainings.train(tmp_path, resume=True, **settings)

    assert len(again.history) == len(first.history)


def test_without_validation_rows_the_given_epoch_is_the_last_and_is_kept(tmp_path):
    recipe = trainings.recipe_of(epochs=3)
    whole, _ = trainings.model_of(recipe)
    full = loop.train_model(whole, trainings.task_of(recipe, trainings.model_of(recipe)[1]), tmp_path / "full")
    model, implied = trainings.model_of(recipe)
    task = replace(trainings.task_of(recipe, implied), validation=None, stop_after=2)
    outcome = loop.train_model(model, task, tmp_path / "again")

    # The same steps as the first epochs of a full training, at the same learning rates.
    assert [record.train.mae for record in outcome.history] == [record.train.mae for record in full.history[:2]]
    assert [record.learning_rate for record in outcome.history] == [one.learning_rate for one in full.history[:2]]
    assert (outcome.best_epoch, outcome.stopped) == (2, True)


def test_without_validation_rows_an_epoch_is_kept_even_if_an_earlier_one_was_better(tmp_path):
    recipe = trainings.recipe_of(epochs=3, learning_rate=1e-12, objective="mse")
    model, implied = trainings.model_of(recipe)
    outcome = loop.train_model(
        model, replace(trainings.task_of(recipe, implied), validation=None, stop_after=3), tmp_path
    )
    assert [record.best for record in outcome.history] == [False, False, True]
    assert outcome.best_epoch == 3


def test_evaluating_moves_neither_mode_nor_random_state():
    model, _ = trainings.model_of(trainings.recipe_of())
    model.train()
    before = torch.get_rng_state()

    loop.predict(model, trainings.part_of_data(20, 1).tokens, device="cpu")

    assert model.training
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.by_example(2)
def test_precisions_train_alike(tmp_path, precision):
    _, outcome = trainings.train(tmp_path, precision=precision)

    assert outcome.best.validation.mae == pytest.approx(3.21, abs=0.02)


def test_all_but_the_embeddings_can_train(tmp_path):
    model, outcome = trainings.train(tmp_path, lora=None, freeze_embeddings=True)
    fresh, _ = trainings.model_of(trainings.recipe_of(lora=None, freeze_embeddings=True))

    moved = {
        name: not torch.equal(parameter, dict(fresh.named_parameters())[name])
        for name, parameter in model.named_parameters()
    }

    assert outcome.counts.trainable_base < outcome.counts.base
    assert all(moved[name] == ("embeddings.weight" not in name and "_embeddings" not in name) for name in moved)


def test_a_decoder_trains_on_its_last_token(tmp_path):
    _, outcome = trainings.train(
        tmp_path,
        backbone=trainings.tiny_qwen,
        lora={"rank": 4, "alpha": 8, "targets": ["q_proj", "up_proj"]},
        head_bias=False,
        pooling="last",
        objective="mse",
    )

    assert outcome.history[-1].train.mae < outcome.history[0].train.mae


class TestNumbersThatAreNotFinite:
    def test_a_loss_stops_training_with_its_step(self, tmp_path, monkeypatch):
        self.break_loss_from_call(monkeypatch, 5)

        with pytest.raises(TrainingError, match=r"step 5: the loss is nan; older checkpoints are unchanged"):
            trainings.train(tmp_path)

    def test_training_goes_on_from_the_checkpoint_before_it(self, tmp_path, monkeypatch):
        with monkeypatch.context() as broken:
            self.break_loss_from_call(broken, 5)
            with pytest.raises(TrainingError):
                trainings.train(tmp_path)

        model, outcome = trainings.train(tmp_path, resume=True)

        assert outcome.resumed_from == (3,)
        whole, _ = trainings.train(tmp_path / "other")
        assert all(
            torch.equal(a, b)
            for a, b in zip(trainings.weights(model).values(), trainings.weights(whole).values(), strict=True)
        )

    def test_a_parameter_is_never_written_to_a_checkpoint(self, tmp_path, monkeypatch):
        step = loop.CheckpointCallback.on_step_end

        def breaking(callback, args, state, control, **rest):
            if state.global_step == 3:
                next(iter(trainings.trainable(callback.training.model).values())).data.fill_(float("inf"))
            step(callback, args, state, control, **rest)

        monkeypatch.setattr(loop.CheckpointCallback, "on_step_end", breaking)

        with pytest.raises(TrainingError, match="step 3: a parameter is not finite"):
            trainings.train(tmp_path)
        assert not list(tmp_path.glob("checkpoint-*"))

    @staticmethod
    def break_loss_from_call(monkeypatch, number):
        calls = 0
        honest = Target.loss

        def breaking(*given):
            nonlocal calls
            calls += 1
            return honest(*given) * (float("nan") if calls == number else 1)

        monkeypatch.setattr(Target, "loss", breaking)


class TestPlan:
    def test_the_rate_goes_up_over_the_warm_up_and_down_to_nothing(self):
        plan = Plan.of(trainings.recipe_of(epochs=2, batch_size=10, warmup_share=0.2), 50)

        assert (plan.steps_per_epoch, plan.steps, plan.warmup) == (5, 10, 2)
        assert [plan.rate(step) for step in (0, 1, 2, 6, 10)] == [0.0, 0.5, 1.0, 0.5, 0.0]

    def test_a_warm_up_longer_than_the_run_is_cut_and_said(self):
        plan = Plan.of(trainings.recipe_of(epochs=9, batch_size=8, warmup_share=None, warmup_steps=500), 50)

        assert plan.warmup == 6
        assert plan.notes == ("warm-up of 500 steps is not shorter than the run of 63; it is cut to 6",)

    def test_a_run_of_one_step_has_a_rate(self):
        plan = Plan.of(trainings.recipe_of(epochs=1, batch_size=50, warmup_share=0.1), 20)

        assert plan.rate(0) == 1.0


def test_biases_and_norms_do_not_decay_and_the_head_may_learn_faster():
    recipe = trainings.recipe_of(lora=None, head_learning_rate=0.5, weight_decay=0.01)
    model, _ = trainings.model_of(recipe)

    optimizer = loop.make_optimizer(model, recipe)

    found = {
        (group["lr"], group["weight_decay"], all(parameter.ndim > 1 for parameter in group["params"]))
        for group in optimizer.param_groups
    }
    assert found == {(3e-3, 0.01, True), (3e-3, 0.0, False), (0.5, 0.01, True), (0.5, 0.0, False)}


def test_checkpoints_that_were_written_before_options_were_removed_belong_to_the_same_training():
    recorded = json.loads((Path(__file__).parents[1] / "students" / "recipe_hashes.json").read_text())
    fine_tuned = {name: own["checkpoint"] for name, own in recorded.items() if "checkpoint" in own}

    assert len(fine_tuned) == 11
    assert {name: loop.fixed_on_resume(load_recipe(name)) for name in fine_tuned} == fine_tuned
