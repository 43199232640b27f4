import copy
import json

import numpy as np
import pytest
import torch
from headlines import headlines

from potstill.backends.onnx import OnnxEncoder
from potstill.errors import BundleError, RecipeError
from potstill.export import export_encoder
from potstill.students import Encoder
from potstill.students.heads import LinearHead
from potstill.students.neural import JoinedEncoder, NeuralStudent, fit_encoder_head
from potstill.students.recipes import EncoderHeadRecipe, RidgeHead
from potstill.students.storage import load_student, save_student
from potstill.students.torch.backbones import tiny_backbone
from potstill.students.torch.encoder import TorchEncoder, pick_device

TEXTS = ["Bushfires near Sydney", "", "a", "股价下跌", "x" * 2000, "Bushfires near Sydney", "Ärzte 🌷"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_backbone("all-MiniLM-L6-v2", tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return tiny_backbone("Qwen2.5-1.5B", tmp_path_factory.mktemp("qwen"))


@pytest.fixture(params=["bert", "qwen"])
def backbone(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_a_texts_features_do_not_depend_on_its_neighbours_or_its_place(backbone, pooling):
    encoder = TorchEncoder.open(backbone, max_tokens=64, pooling=pooling)
    assert isinstance(encoder, Encoder)
    together = encoder.encode(TEXTS)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert together.shape == (len(TEXTS), 32)
    assert together.dtype == np.float32
    assert together == pytest.approx(alone, abs=1e-4)
    assert encoder.encode(TEXTS[::-1])[::-1] == pytest.approx(together, abs=1e-4)
    small = TorchEncoder.open(backbone, max_tokens=64, pooling=pooling)
    small._budget = 1
    assert small.encode(TEXTS) == pytest.approx(together, abs=1e-4)


def test_no_texts_give_no_features(bert):
    assert TorchEncoder.open(bert).encode([]).shape == (0, 32)


def test_only_what_fits_is_read_and_the_rest_is_reported(bert):
    encoder = TorchEncoder.open(bert, max_tokens=16)
    assert encoder.truncated(["short", "x" * 14, "x" * 15]).tolist() == [False, False, True]
    features = encoder.encode(["x" * 15, "x" * 400])
    assert features[0] == pytest.approx(features[1], abs=1e-5)


def test_layers_stand_side_by_side_counted_from_either_end(bert):
    joined = TorchEncoder.open(bert, layers=(-1, 0))
    assert (joined.facts.layers, joined.width, joined.widths) == ((2, 0), 64, (32, 32))
    features = joined.encode(TEXTS)
    assert features[:, :32] == pytest.approx(TorchEncoder.open(bert).encode(TEXTS), abs=1e-5)
    assert features[:, 32:] == pytest.approx(TorchEncoder.open(bert, layers=(-3,)).encode(TEXTS), abs=1e-5)
    assert not np.allclose(features[:, :32], features[:, 32:])


@pytest.mark.parametrize("layers", [(0,), (1,), (1, 0)])
@pytest.mark.by_example(3)
def test_layers_that_nobody_reads_are_not_run_or_exported(bert, layers, tmp_path):
    cut = TorchEncoder.open(bert, layers=layers)
    assert len(cut.model.encoder.layer) == max(layers)
    by_layer = np.split(TorchEncoder.open(bert, layers=(0, 1, 2)).encode(TEXTS), 3, axis=1)
    expected = np.concatenate([by_layer[layer] for layer in layers], axis=1)
    assert cut.encode(TEXTS) == pytest.approx(expected, abs=1e-5)
    exported = export_encoder(cut, tmp_path, TEXTS)
    assert OnnxEncoder(exported.model, exported.tokenizer, exported.facts).encode(TEXTS) == pytest.approx(
        expected, abs=1e-4
    )
    whole = export_encoder(TorchEncoder.open(bert), tmp_path / "whole", TEXTS)
    assert exported.model.stat().st_size < whole.model.stat().st_size


def test_a_layer_that_the_backbone_lacks_is_named(bert):
    with pytest.raises(RecipeError, match=r"no layer -4; it has 0 \(embeddings\) to 2"):
        TorchEncoder.open(bert, layers=(-1, -4))


def test_more_tokens_than_the_backbone_has_places_are_not_asked_for(bert):
    assert TorchEncoder.open(bert, max_tokens=4096).facts.max_tokens == 512


def test_the_prefix_of_the_backbone_is_put_before_each_text(tmp_path, bert):
    prefixed = tiny_backbone("multilingual-e5-small", tmp_path)
    encoder = TorchEncoder.open(prefixed)
    assert encoder.facts.prefix == "query: "
    bare = TorchEncoder(encoder.model, encoder.tokenizer, encoder.facts.model_copy(update={"prefix": ""}))
    by_hand = bare.encode(["query: fire"])
    assert encoder.encode(["fire"]) == pytest.approx(by_hand, abs=1e-6)
    assert np.abs(encoder.encode(["fire"]) - bare.encode(["fire"])).max() > 0.01


def test_a_frozen_backbone_reads_each_text_once(bert, tmp_path, monkeypatch):
    first = TorchEncoder.open(bert, cache=tmp_path).encode(TEXTS)
    again = TorchEncoder.open(bert, cache=tmp_path)
    monkeypatch.setattr(again, "_run", lambda _: pytest.fail("a text was read twice"))
    assert again.encode(TEXTS[::-1]).tobytes() == first[::-1].tobytes()


def test_features_are_not_taken_from_another_length_pooling_or_network(bert, qwen, tmp_path):
    keys = {
        TorchEncoder.open(bert, cache=tmp_path).key,
        TorchEncoder.open(bert, cache=tmp_path, max_tokens=32).key,
        TorchEncoder.open(bert, cache=tmp_path, pooling="cls").key,
        TorchEncoder.open(bert, cache=tmp_path, layers=(1,)).key,
        TorchEncoder.open(qwen, cache=tmp_path).key,
    }
    assert len(keys) == 5


def test_a_frozen_student_is_saved_without_its_backbone_and_finds_it_again(bert, tmp_path):
    train = headlines()
    recipe = EncoderHeadRecipe(
        name="tiny", student="encoder-head", backbones=(str(bert.folder),), head=RidgeHead(kind="ridge")
    )
    student = fit_encoder_head(recipe, train)
    save_student(student, tmp_path)
    assert not (tmp_path / "encoder").exists()
    assert load_student(tmp_path).predict(train.frame) == pytest.approx(student.predict(train.frame), abs=1e-5)


def test_a_student_is_not_opened_on_other_weights_than_it_was_made_with(bert, tmp_path):
    recipe = EncoderHeadRecipe(
        name="tiny", student="encoder-head", backbones=(str(bert.folder),), head=RidgeHead(kind="ridge")
    )
    save_student(fit_encoder_head(recipe, headlines()), tmp_path)
    facts = json.loads((tmp_path / "student.json").read_text())
    facts["settings"]["encoder"]["backbone_sha256"] = "0" * 64
    (tmp_path / "student.json").write_text(json.dumps(facts))
    with pytest.raises(BundleError, match=r"model.safetensors: SHA-256 is .*the student was made with 0000"):
        load_student(tmp_path)


def test_a_trained_encoder_is_saved_whole_and_never_cached(bert, tmp_path):
    opened = TorchEncoder.open(bert, pooling="cls")
    model = copy.deepcopy(opened.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    trained = TorchEncoder(model, opened.tokenizer, opened.facts, trained=True, cache=tmp_path / "cache")
    head = LinearHead(np.ones((32, 1), dtype=np.float32), np.zeros(1, dtype=np.float32))
    save_student(NeuralStudent(trained, head, ("urgency",)), tmp_path / "student")
    again = load_student(tmp_path / "student", cache=tmp_path / "cache")
    assert again.encoder.encode(TEXTS) == pytest.approx(trained.encode(TEXTS), abs=1e-5)
    assert not np.allclose(again.encoder.encode(TEXTS), TorchEncoder.open(bert, pooling="cls").encode(TEXTS))
    assert not (tmp_path / "cache").exists()
    names = {file.name for file in (tmp_path / "student" / "encoder").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "encoder.json"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)


def test_a_frozen_network_that_is_open_is_shared_and_one_read_otherwise_is_not(bert):
    opened = TorchEncoder.open(bert)
    assert TorchEncoder.open(bert).model is opened.model
    assert TorchEncoder.restore(opened.settings(), bert.folder).model is opened.model
    assert TorchEncoder.open(bert, layers=[-2]).model is not opened.model


def test_trained_weights_of_another_student_are_refused(bert, tmp_path):
    opened = TorchEncoder.open(bert)
    trained = TorchEncoder(opened.model, opened.tokenizer, opened.facts, trained=True)
    trained.save(tmp_path)
    with pytest.raises(BundleError, match="belong to another student"):
        TorchEncoder.restore(trained.settings() | {"max_tokens": 32}, tmp_path)


def test_joined_encoders_come_back_joined(bert, qwen, tmp_path):
    train = headlines()
    joined = JoinedEncoder((TorchEncoder.open(bert), TorchEncoder.open(qwen, pooling="last")))
    recipe = EncoderHeadRecipe(name="tiny", student="encoder-head", head=RidgeHead(kind="ridge"))
    student = fit_encoder_head(recipe, train, encoder=joined)
    save_student(student, tmp_path)
    assert load_student(tmp_path).predict(train.frame) == pytest.approx(student.predict(train.frame), abs=1e-4)


def test_a_device_that_is_not_there_is_refused_with_those_that_are():
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in {"cpu", "cuda", "mps"}
    with pytest.raises(RecipeError, match=r"device 'tpu' is not to be had here; there are auto.*cpu"):
        pick_device("tpu")
