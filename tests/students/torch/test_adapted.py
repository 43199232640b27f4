"""Tests of an adapted encoder: an adapter on disk, merged in memory, and refused for another base model."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from potstill.errors import BundleError
from potstill.students.recipes import Lora
from potstill.students.torch.adapted import ADAPTER, AdaptedEncoder, adapter_of, merge_adapter
from potstill.students.torch.backbones import tiny_backbone
from potstill.students.torch.encoder import encoder_facts
from potstill.students.torch.model import ScoreModel, core, with_adapter

LORA = Lora(rank=2, alpha=4, targets=("query", "dense"))
TEXTS = ["The river rose again overnight.", "", "市政府周二宣布了一项新的住房计划。"]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny_backbone("all-MiniLM-L6-v2", tmp_path_factory.mktemp("backbone"))


def adapted_model(backbone):
    """A model with a trained adapter; a new one has no effect."""
    torch.manual_seed(0)
    model = with_adapter(ScoreModel(backbone.load_model(), 32, 1, pooling="mean", bias=False), LORA)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


@pytest.fixture
def encoder(backbone):
    model = adapted_model(backbone)
    tokenizer = backbone.load_tokenizer()
    facts = encoder_facts(backbone, tokenizer, max_tokens=64, pooling="mean")
    network, _ = merge_adapter(backbone.load_model(), facts, LORA, adapter_of(model), "here")
    return AdaptedEncoder(network, tokenizer, facts, lora=LORA, adapter=adapter_of(model))


def test_an_adapter_merged_equals_an_adapter_applied(backbone, encoder):
    model = adapted_model(backbone)
    ids = torch.tensor([[257, 10, 20, 30, 258]])

    applied = core(model).features(ids, torch.ones_like(ids)).detach()
    plain = backbone.load_model()(input_ids=ids).last_hidden_state.mean(dim=1).detach()
    merged = encoder.model(input_ids=ids).last_hidden_state.mean(dim=1).detach()

    assert (applied - plain).abs().max() > 0.05
    torch.testing.assert_close(merged, applied, atol=1e-5, rtol=1e-4)


def test_it_comes_back_from_its_adapter_alone(encoder, tmp_path):
    encoder.save(tmp_path)

    again = AdaptedEncoder.restore(encoder.settings(), tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [ADAPTER]
    np.testing.assert_allclose(again.encode(TEXTS), encoder.encode(TEXTS), atol=1e-6)
    assert again.settings() == encoder.settings()


def change(path, edit):
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


class TestARestoreRefuses:
    def test_another_backbone(self, encoder, tmp_path):
        encoder.save(tmp_path)

        with pytest.raises(BundleError, match="the adapter was made for 0000"):
            AdaptedEncoder.restore(encoder.settings() | {"backbone_sha256": "0" * 64}, tmp_path)

    def test_no_adapter(self, encoder, tmp_path):
        with pytest.raises(BundleError, match=r"adapter\.safetensors: no such file"):
            AdaptedEncoder.restore(encoder.settings(), tmp_path)

    def test_half_an_adapter(self, encoder, tmp_path):
        encoder.save(tmp_path)
        (tmp_path / ADAPTER).write_bytes((tmp_path / ADAPTER).read_bytes()[:100])

        with pytest.raises(BundleError, match="not a whole safetensors file"):
            AdaptedEncoder.restore(encoder.settings(), tmp_path)

    def test_a_tensor_too_few(self, encoder, tmp_path):
        encoder.save(tmp_path)
        change(tmp_path / ADAPTER, lambda tensors: tensors.pop(next(iter(tensors))))

        with pytest.raises(BundleError, match="1 tensors are missing or unknown"):
            AdaptedEncoder.restore(encoder.settings(), tmp_path)

    def test_a_tensor_of_another_shape(self, encoder, tmp_path):
        encoder.save(tmp_path)
        change(tmp_path / ADAPTER, lambda tensors: tensors.update({next(iter(tensors)): torch.zeros(1, 1)}))

        with pytest.raises(BundleError, match="does not have the shape"):
            AdaptedEncoder.restore(encoder.settings(), tmp_path)


def test_a_backbone_in_bfloat16_keeps_adapter_and_head_in_float32(backbone):
    model = with_adapter(ScoreModel(backbone.load_model().to(torch.bfloat16), 32, 3, pooling="last", bias=True), LORA)
    ids = torch.tensor([[257, 10, 20, 258]])

    with torch.autocast("cpu", torch.bfloat16):
        scores = model(input_ids=ids, attention_mask=torch.ones_like(ids))
    scores.sum().backward()

    assert scores.dtype == torch.float32
    training = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert {parameter.dtype for parameter in training} == {torch.float32}
    assert all(parameter.grad is not None for parameter in training)
