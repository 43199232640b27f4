import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_network import TEXTS, TinyNetwork, tiny_bert, tiny_tokenizer

from potstill.backends import Backend
from potstill.backends.graph import INPUTS
from potstill.backends.onnx import OnnxEncoder
from potstill.errors import BundleError
from potstill.export import export_encoder
from potstill.students import tokens
from potstill.students.encoding import EncoderFacts, token_batches


@pytest.fixture(scope="module")
def network():
    return TinyNetwork(tiny_bert(), tiny_tokenizer(), prefix="query: ")


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    return export_encoder(network, tmp_path_factory.mktemp("exported"), TEXTS)


def opened(exported, **options):
    return OnnxEncoder(exported.model, exported.tokenizer, exported.facts, **options)


def test_it_is_a_backend(exported):
    assert isinstance(opened(exported), Backend)


def test_the_prefix_is_read_with_every_text(exported, network):
    bare = TinyNetwork(network.model, network.tokenizer)
    features = opened(exported).encode(["a library"])
    np.testing.assert_allclose(features, bare.encode(["query: a library"]), atol=1e-5)
    assert np.abs(features - bare.encode(["a library"])).max() > 0.01


def test_no_texts_give_no_features(exported):
    assert opened(exported).encode([]).shape == (0, 32)


def test_what_it_cannot_read_whole_is_what_torch_cannot(exported, network):
    assert opened(exported).truncated(TEXTS).tolist() == network.truncated(TEXTS).tolist()
    assert opened(exported).truncated(TEXTS).sum() > 0


@settings(max_examples=40, deadline=None)
@given(order=st.permutations(range(len(TEXTS))), budget=st.sampled_from([1, 60, 4096]), threads=st.integers(1, 3))
def test_a_text_has_the_same_features_beside_any_neighbours(exported, order, budget, threads):
    alone = opened(exported).encode(TEXTS)
    shuffled = opened(exported, token_budget=budget, threads=threads).encode([TEXTS[index] for index in order])
    np.testing.assert_allclose(shuffled, alone[order], atol=1e-4)


def test_texts_beyond_one_chunk_stay_in_order(exported):
    encoder = opened(exported)
    many = encoder.encode(TEXTS * 110)
    np.testing.assert_allclose(many, np.tile(encoder.encode(TEXTS), (110, 1)), atol=1e-4)


@given(lengths=st.lists(st.integers(0, 600), max_size=60), budget=st.integers(1, 5000))
def test_batches_hold_each_text_once_and_keep_to_the_budget(lengths, budget):
    sizes = np.array(lengths, dtype=np.int64)
    batches = list(token_batches(sizes, budget))
    assert sorted(int(index) for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(1, sizes[batch].max()) <= budget for batch in batches)


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x07"])
def test_a_broken_graph_is_named(exported, tmp_path, content):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.onnx"):
        OnnxEncoder(broken, exported.tokenizer, exported.facts)


@pytest.mark.parametrize("content", [b"", b"{}", b"not a tokenizer", b"\xff"])
def test_a_broken_tokenizer_is_named(exported, tmp_path, content):
    broken = tmp_path / "tokenizer.json"
    broken.write_bytes(content)
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        OnnxEncoder(exported.model, broken, exported.facts)


def graph(folder, *nodes, weights=()):
    """Return a graph with an encoder's inputs and the outputs of the given nodes."""
    onnx = pytest.importorskip("onnx")
    from onnx import helper

    inputs = [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["texts", "tokens"]) for name in INPUTS]
    outputs = [helper.make_empty_tensor_value_info("features")]
    made = helper.make_graph(
        [helper.make_node(kind, read, given, **rest) for kind, read, given, rest in nodes],
        "graph",
        inputs,
        outputs,
        initializer=[onnx.numpy_helper.from_array(values, name) for name, values in weights],
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx")
    return folder / "model.onnx"


EMBEDDINGS = [("embeddings", np.ones((300, 32), dtype=np.float32))]
LOOK_UP = ("Gather", ["embeddings", "input_ids"], ["words"], {})
HOSTILE = {
    "a vector for each token": ([LOOK_UP, ("Identity", ["words"], ["features"], {})], EMBEDDINGS),
    "whole numbers of another shape": ([("Identity", ["input_ids"], ["features"], {})], []),
    "text": ([("Cast", ["input_ids"], ["features"], {"to": 8})], []),
    "tokens that it has no vector for": (
        [LOOK_UP, ("ReduceMean", ["words"], ["features"], {"axes": [1], "keepdims": 0})],
        [("embeddings", np.ones((2, 32), dtype=np.float32))],
    ),
    "another shape than it says": (
        [LOOK_UP, ("Reshape", ["words", "shape"], ["features"], {})],
        [*EMBEDDINGS, ("shape", np.array([7, 11]))],
    ),
    "terabytes": ([("ConstantOfShape", ["shape"], ["features"], {})], [("shape", np.array([2**40]))]),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_graph_that_fails_when_it_runs_is_named_in_one_line(exported, tmp_path, what, capfd):
    nodes, weights = HOSTILE[what]
    encoder = OnnxEncoder(graph(tmp_path, *nodes, weights=weights), exported.tokenizer, exported.facts)
    with pytest.raises(BundleError, match=r"model\.onnx: (cannot be used|returns features)") as refused:
        encoder.encode(TEXTS)
    assert len(str(refused.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


def test_a_tokenizer_that_leaves_no_room_for_a_text_is_named(exported):
    with pytest.raises(BundleError, match=r"tokenizer\.json: its special tokens leave no room for a text in 2 tokens"):
        OnnxEncoder(exported.model, exported.tokenizer, exported.facts.model_copy(update={"max_tokens": 2}))


@pytest.mark.parametrize(("field", "value"), [("pad_id", 2**31), ("max_tokens", 10**7), ("width", 10**7)])
def test_facts_beyond_any_encoder_are_refused(exported, field, value):
    with pytest.raises(ValidationError, match=field):
        EncoderFacts.model_validate(exported.facts.model_dump() | {field: value})


def test_long_texts_are_read_a_few_at_a_time_and_stay_in_order(exported, monkeypatch):
    encoder = opened(exported)
    whole = encoder.tokens(TEXTS * 3)
    monkeypatch.setattr(tokens, "_MOST_CHARACTERS", 50)
    assert encoder.tokens(TEXTS * 3) == whole
