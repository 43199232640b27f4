"""Tests of backbones with fewer layers: they start with some of the full one's, in order, also after saving."""

import numpy as np
import pytest
import torch
from tiny_network import tiny_bert, tiny_qwen

from potstill.errors import RecipeError
from potstill.students.recipes import load_recipe, parse_recipe
from potstill.students.torch.encoder import shallower
from potstill.training.counts import params


def deep(layers=6):
    """Return a network whose layers can be identified by their first bias."""
    model = tiny_bert()
    model.encoder.layer = torch.nn.ModuleList(tiny_bert(seed=place).encoder.layer[0] for place in range(layers))
    for place, layer in enumerate(model.encoder.layer):
        torch.nn.init.constant_(layer.output.dense.bias, float(place))
    model.config.num_hidden_layers = layers
    return model


def kept(model):
    return [int(layer.output.dense.bias[0]) for layer in model.encoder.layer]


@pytest.mark.parametrize(
    ("keep", "found"), [(3, [0, 2, 5]), (6, [0, 1, 2, 3, 4, 5]), (1, [0]), (2, [0, 5]), ((1, 4), [1, 4])]
)
def test_layers_are_spread_evenly_or_as_named(keep, found):
    model = shallower(deep(), keep)
    assert kept(model) == found
    assert model.config.num_hidden_layers == len(found)
    assert model(input_ids=torch.tensor([[2, 5, 3]])).last_hidden_state.shape == (1, 3, 32)


@pytest.mark.parametrize("keep", [7, (0, 6), (-1, 2)])
def test_layers_that_are_not_there_are_refused(keep):
    with pytest.raises(RecipeError, match=r"keep_layers: .*; BertModel has 6 layers, 0 to 5"):
        shallower(deep(), keep)


def test_a_network_of_another_build_is_refused():
    with pytest.raises(RecipeError, match="a Qwen2Model is not of BERT's build"):
        shallower(tiny_qwen(), 1)


def test_what_trains_is_counted_without_the_layers_that_went():
    shallow, whole = params(load_recipe("minilm-3-layers")), params(load_recipe("minilm-full"))
    layer = 1_774_464
    assert whole.base - shallow.base == whole.trainable_base - shallow.trainable_base == 3 * layer


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("keep_layers: [2, 1]", "do not rise"),
        ("keep_layers: 3\nlora: {rank: 1, alpha: 1, targets: [query]}", "leave out lora"),
        ("keep_layers: 0", "keep_layers"),
        ("keep_layers: []", "keep_layers"),
    ],
)
def test_recipes_that_contradict_themselves_are_refused(field, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe(f"name: mine\nstudent: fine-tuned\n{field}\n", "mine.yaml")


def test_a_recipe_without_it_keeps_its_hash():
    recipe = load_recipe("minilm-full")
    assert "keep_layers" not in recipe.model_dump(exclude_defaults=True)
    assert recipe.model_copy(update={"keep_layers": None}).hash == recipe.hash
    assert recipe.model_copy(update={"keep_layers": 3}).hash != recipe.hash
    assert np.unique([recipe.model_copy(update={"keep_layers": keep}).hash for keep in (2, 3, (0, 5))]).size == 3
