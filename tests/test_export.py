import copy

import numpy as np
import onnx
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_network import TEXTS, TinyNetwork, tiny_bert, tiny_qwen, tiny_tokenizer

from potstill.backends.onnx import OnnxEncoder
from potstill.errors import BundleError
from potstill.export import Made, export_encoder
from potstill.students.torch.backbones import tiny_backbone
from potstill.students.torch.encoder import TorchEncoder


def reopened(exported):
    return OnnxEncoder(exported.model, exported.tokenizer, exported.facts)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_an_exported_encoder_gives_the_features_of_torch(tmp_path, pooling):
    network = TinyNetwork(tiny_bert(), tiny_tokenizer(), pooling=pooling)
    exported = export_encoder(network, tmp_path, TEXTS)
    np.testing.assert_allclose(reopened(exported).encode(TEXTS), network.encode(TEXTS), atol=1e-5)
    assert exported.difference < 1e-5


def test_joined_layers_export_side_by_side(tmp_path):
    network = TinyNetwork(tiny_bert(), tiny_tokenizer(), layers=(2, 0, 1))
    exported = export_encoder(network, tmp_path, TEXTS)
    features = reopened(exported).encode(TEXTS)
    assert features.shape == (len(TEXTS), 3 * 32)
    np.testing.assert_allclose(features, network.encode(TEXTS), atol=1e-5)
    last = export_encoder(TinyNetwork(tiny_bert(), tiny_tokenizer()), tmp_path / "last", TEXTS)
    np.testing.assert_allclose(features[:, :32], reopened(last).encode(TEXTS), atol=1e-5)


@pytest.mark.parametrize("layers", [(), (2, 1)])
def test_attention_is_fused(tmp_path, layers):
    exported = export_encoder(TinyNetwork(tiny_bert(), tiny_tokenizer(), layers=layers), tmp_path, TEXTS)
    operators = [node.op_type for node in onnx.load(exported.model).graph.node]
    assert exported.fused
    assert operators.count("Attention") == 2
    assert "Softmax" not in operators


def test_an_earlier_graph_is_taken_once_it_gives_the_same_features(tmp_path, monkeypatch):
    network = TinyNetwork(tiny_bert(), tiny_tokenizer())
    first = export_encoder(network, tmp_path / "first", TEXTS)
    made = [Made(first.model, fused=True)]
    with monkeypatch.context() as patch:
        patch.setattr(torch.onnx, "export", None)
        second = export_encoder(network, tmp_path / "second", TEXTS, made=made)
    assert second.model.read_bytes() == first.model.read_bytes()
    assert second.fused
    other = TinyNetwork(tiny_bert(seed=1), tiny_tokenizer())
    own = export_encoder(other, tmp_path / "other", TEXTS, made=made)
    assert own.model.read_bytes() != first.model.read_bytes()
    np.testing.assert_allclose(reopened(own).encode(TEXTS), other.encode(TEXTS), atol=1e-5)


def test_a_decoder_exports_too(tmp_path):
    network = TinyNetwork(tiny_qwen(), tiny_tokenizer(special=False), pooling="last")
    exported = export_encoder(network, tmp_path, TEXTS)
    np.testing.assert_allclose(reopened(exported).encode(TEXTS), network.encode(TEXTS), atol=1e-4)


def test_relative_positions_are_exported_for_every_length(tmp_path):
    encoder = TorchEncoder.open(tiny_backbone("all-mpnet-base-v2", tmp_path / "tiny"), max_tokens=400, layers=(-1, -2))
    with torch.no_grad():
        # Wide enough that a distance in the wrong bucket is seen; the buckets begin at 8, 9, ..., 16, 23, 32, ...
        encoder.model.encoder.relative_attention_bias.weight.normal_(std=2.0)
    exported = export_encoder(encoder, tmp_path / "exported", TEXTS)
    letters = "fire and water " * 30
    texts = [letters[: length - 2] for length in (7, 9, 17, 24, 33, 65, 100, 129, 300, 400)]
    assert encoder.truncated(texts).sum() == 0
    np.testing.assert_allclose(reopened(exported).encode(texts), encoder.encode(texts), atol=1e-4)
    assert exported.difference < 1e-5


def test_an_adapter_is_merged_and_the_network_itself_stays_as_it_was(tmp_path):
    adapted = get_peft_model(tiny_bert(), LoraConfig(r=2, lora_alpha=8, target_modules=["query", "value"]))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    before = copy.deepcopy(adapted.state_dict())
    network = TinyNetwork(adapted.eval(), tiny_tokenizer())
    exported = export_encoder(network, tmp_path, TEXTS)
    np.testing.assert_allclose(reopened(exported).encode(TEXTS), network.encode(TEXTS), atol=1e-4)
    base = TinyNetwork(tiny_bert(), tiny_tokenizer())
    assert np.abs(reopened(exported).encode(TEXTS) - base.encode(TEXTS)).max() > 0.01
    assert all(torch.equal(value, before[name]) for name, value in adapted.state_dict().items())


class Lying(TinyNetwork):
    def encode(self, texts):
        return super().encode(texts) * np.float32(1.01)


def test_a_graph_that_differs_from_torch_is_refused_and_leaves_no_file(tmp_path):
    with pytest.raises(BundleError, match="does not reproduce torch's features"):
        export_encoder(Lying(tiny_bert(), tiny_tokenizer()), tmp_path, TEXTS)
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def test_a_network_that_gives_nan_is_refused(tmp_path):
    model = tiny_bert()
    with torch.no_grad():
        model.encoder.layer[0].output.dense.weight.fill_(float("nan"))
    with pytest.raises(BundleError, match="does not reproduce torch's features"):
        export_encoder(TinyNetwork(model, tiny_tokenizer()), tmp_path, TEXTS)
