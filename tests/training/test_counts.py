"""Tests that trained parameters are counted, and that training stops if they differ from the recipe."""

import sys
from pathlib import Path

import pytest
import torch

from potstill.errors import RecipeError, TrainingError
from potstill.students.recipes import load_recipe
from potstill.students.torch.model import build_model, part_of
from potstill.training import loop
from potstill.training.counts import check_trainable, count_parameters, implied_counts, params

sys.path.insert(0, str(Path(__file__).parent))
import trainings


def freeze(model, part):
    for name, parameter in model.named_parameters():
        if part_of(name) == part:
            parameter.requires_grad_(False)


class TestTheReferenceRecipe:
    def test_has_the_counts_that_were_reported_for_it(self):
        counts = params(load_recipe("qwen2.5-1.5b-lora"), 8)

        assert counts.base == 1_543_714_304
        assert counts.adapter == 18_464_768
        assert counts.head == 12_288
        assert counts.trainable == 18_477_056
        assert counts.total == 1_562_203_648

    def test_as_printed_has_another_adapter(self):
        counts = params(load_recipe("qwen2.5-1.5b-lora-printed"), 8)

        assert counts.trainable == 2_191_360
        assert counts.total == 1_545_917_952


def test_freezing_the_embeddings_leaves_them_out_of_what_trains():
    frozen, free = (
        params(load_recipe("minilm-full")),
        params(load_recipe("minilm-full").model_copy(update={"freeze_embeddings": False})),
    )

    assert free.trainable_base == free.base
    # Words, positions and segments; the normalisation after them is still trained.
    assert free.trainable_base - frozen.trainable_base == (30_522 + 512 + 2) * 384


def test_a_recipe_for_layers_that_are_not_there_is_refused():
    with pytest.raises(RecipeError, match=r"q_proj: no such layer here; there are dense, key, query, value"):
        trainings.model_of(trainings.recipe_of(lora={"rank": 2, "alpha": 4, "targets": ["q_proj"]}))


@pytest.mark.parametrize("lora", [{"rank": 2, "alpha": 4, "targets": ["query", "dense"]}, None])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("freeze", [True, False])
def test_a_fresh_model_trains_what_its_recipe_implies(lora, bias, freeze):
    recipe = trainings.recipe_of(lora=lora, head_bias=bias, freeze_embeddings=freeze)

    model, implied = trainings.model_of(recipe)

    assert check_trainable(model, implied) == implied == count_parameters(model)


@pytest.mark.parametrize("part", ["adapter", "head"])
def test_a_part_frozen_by_hand_before_the_start_makes_training_refuse(tmp_path, part):
    recipe = trainings.recipe_of()
    model, implied = trainings.model_of(recipe)
    freeze(model, part)

    with pytest.raises(TrainingError, match=rf"trainable {part}: 0 parameters, the recipe implies [\d,]+"):
        loop.train_model(model, trainings.task_of(recipe, implied), tmp_path)


def test_a_base_that_trains_beside_its_adapter_makes_training_refuse(tmp_path):
    recipe = trainings.recipe_of()
    model, implied = trainings.model_of(recipe)
    next(model.parameters()).requires_grad_(True)

    with pytest.raises(TrainingError, match=r"trainable base: 6,400 parameters, the recipe implies 0"):
        loop.train_model(model, trainings.task_of(recipe, implied), tmp_path)


def test_an_adapter_frozen_while_it_trains_makes_training_refuse(tmp_path, monkeypatch):
    step = loop.CheckpointCallback.on_step_end

    def freezing(callback, args, state, control, **rest):
        if state.global_step == 2:
            freeze(callback.training.model, "adapter")
        step(callback, args, state, control, **rest)

    monkeypatch.setattr(loop.CheckpointCallback, "on_step_end", freezing)

    with pytest.raises(TrainingError, match="trainable adapter: 0 parameters"):
        trainings.train(tmp_path)


def test_an_optimizer_that_leaves_something_out_is_refused():
    model, implied = trainings.model_of(trainings.recipe_of())
    first = next(parameter for parameter in model.parameters() if parameter.requires_grad)

    with pytest.raises(TrainingError, match=r"the optimizer holds 1 of \d+ tensors that train and 0 others"):
        check_trainable(model, implied, torch.optim.AdamW([first]))


def test_an_adapter_that_no_gradient_reaches_makes_training_refuse(tmp_path, monkeypatch):
    # This simulates a backbone that runs without recording the adapter's gradients.
    features = trainings.model_of(trainings.recipe_of())[0].base_model.model.__class__.features
    monkeypatch.setattr(
        "potstill.students.torch.model.ScoreModel.features",
        lambda self, ids, mask: features(self, ids, mask).detach(),
    )

    with pytest.raises(TrainingError, match=r"tensors that should train got no gradient, such as .*lora_"):
        trainings.train(tmp_path)


def test_counts_of_a_decoder_include_the_frozen_copy_of_its_head():
    recipe = trainings.recipe_of(lora={"rank": 2, "alpha": 4, "targets": ["q_proj"]}, head_bias=False, pooling="last")
    network = trainings.tiny_qwen()
    implied = implied_counts(network, trainings.WIDTH, 3, recipe)

    counts = count_parameters(build_model(network, trainings.WIDTH, 3, recipe))

    assert counts.head == counts.head_copy == 3 * trainings.WIDTH
    assert counts == implied


def test_a_head_that_learns_distributions_has_an_output_less_than_levels():
    plain = params(load_recipe("minilm-full"), dimensions=2)
    graded = params(load_recipe("minilm-full-median"), dimensions=2, levels=5)

    assert graded.head == 4 * plain.head
    assert graded.trainable_head == graded.head


@pytest.mark.parametrize(
    ("name", "base", "embeddings"),
    # The publishers state 0.49B parameters, 0.36B without embeddings, and 7.61B and 6.53B with a language-model head
    # that no student has.
    [("qwen2.5-0.5b-lora", 494_032_768, 151_936 * 896), ("qwen2.5-7b-lora", 7_070_619_136, 152_064 * 3584)],
)
def test_qwens_sizes_are_those_their_makers_give(name, base, embeddings):
    recipe = load_recipe(name)
    counts = params(recipe, 8)

    assert counts.base == base
    assert round((base - embeddings) / 1e9, 2) == {"Qwen2.5-0.5B": 0.36, "Qwen2.5-7B": 6.53}[recipe.backbone]
    assert counts.trainable == counts.adapter + counts.head
    assert counts.trainable_base == 0
