import subprocess
import sys

import numpy as np
import pytest
from tiny_network import TEXTS, TinyNetwork, tiny_bert, tiny_tokenizer

from potstill.backends import Backend
from potstill.backends.onnx import OnnxEncoder
from potstill.errors import BundleError
from potstill.export import export_encoder

pytest.importorskip("openvino")

from potstill.backends import openvino
from potstill.backends.openvino import OpenVinoEncoder, precisions

needs_bf16 = pytest.mark.skipif("bf16" not in precisions(), reason="this processor has no bf16")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    network = TinyNetwork(tiny_bert(), tiny_tokenizer(), prefix="query: ")
    return export_encoder(network, tmp_path_factory.mktemp("exported"), TEXTS)


@pytest.fixture(scope="module")
def portable(exported):
    return OnnxEncoder(exported.model, exported.tokenizer, exported.facts).encode(TEXTS)


def opened(exported, **options):
    return OpenVinoEncoder(exported.model, exported.tokenizer, exported.facts, **{"threads": 1, **options})


def test_it_is_a_backend(exported):
    assert isinstance(opened(exported), Backend)


def test_in_fp32_it_gives_the_portable_features(exported, portable):
    np.testing.assert_allclose(opened(exported).encode(TEXTS), portable, atol=1e-4)


def test_its_telemetry_is_never_imported():
    pytest.importorskip("openvino_telemetry")
    script = (
        "import sys; from potstill.backends.openvino import precisions; precisions(); "
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')], 'openvino' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[] True"


@needs_bf16
def test_in_bf16_it_gives_nearly_the_portable_features(exported, portable):
    found = opened(exported, precision="bf16").encode(TEXTS)
    size = np.abs(portable).max()
    assert 0 < np.abs(found - portable).max() < 0.05 * size


@pytest.mark.parametrize("precision", ["f32", pytest.param("bf16", marks=needs_bf16)])
@pytest.mark.parametrize("budget", [1, 60])
def test_a_text_has_nearly_the_same_features_beside_any_neighbours(exported, portable, precision, budget):
    allowed = {"f32": 1e-4, "bf16": 0.05}[precision] * np.abs(portable).max()
    backwards = opened(exported, precision=precision, token_budget=budget).encode(TEXTS[::-1])
    np.testing.assert_allclose(backwards[::-1], portable, atol=allowed)


def test_texts_that_come_alone_have_few_lengths_and_the_same_features(exported, portable, monkeypatch):
    lengths = []

    def noted(request, ids, mask):
        lengths.append(ids.shape[1])
        assert ids.shape == mask.shape
        return inferred(request, ids, mask)

    inferred = openvino._inferred
    monkeypatch.setattr(openvino, "_inferred", noted)
    encoder = opened(exported)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, portable, atol=1e-4)
    assert len({len(one) for one in encoder.tokens(TEXTS)}) > len(set(lengths))
    assert all(length % 16 == 0 or length == exported.facts.max_tokens for length in lengths)


def test_what_the_last_batch_gave_stays_after_the_next(exported):
    encoder = opened(exported)
    first = encoder.encode(TEXTS[:1])
    kept = first.copy()
    encoder.encode(TEXTS[3:4])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("precision", ["f32", pytest.param("bf16", marks=needs_bf16)])
@pytest.mark.parametrize("seed", range(3))
def test_batches_that_run_at_once_give_each_text_what_is_its_own(exported, portable, precision, seed):
    allowed = {"f32": 1e-4, "bf16": 0.05}[precision] * np.abs(portable).max()
    encoder = opened(exported, precision=precision, token_budget=1, streams=2, threads=2)
    order = np.random.default_rng(seed).permutation(3 * len(TEXTS)) % len(TEXTS)
    np.testing.assert_allclose(encoder.encode([TEXTS[row] for row in order]), portable[order], atol=allowed)


def test_few_batches_have_all_threads_and_need_no_second_graph(exported, monkeypatch):
    encoder = opened(exported, token_budget=1, streams=2, threads=2)
    compiled, calls = openvino._compiled, []
    monkeypatch.setattr(openvino, "_compiled", lambda *given: calls.append(given) or compiled(*given))
    encoder.encode(TEXTS[:3])
    assert calls == []
    for _ in range(2):
        encoder.encode(TEXTS[:3] * 3)
    assert [given[-1] for given in calls] == [2]


def test_what_goes_wrong_in_one_of_them_is_raised_and_the_next_call_works(exported, portable, monkeypatch):
    encoder = opened(exported, token_budget=1, streams=2, threads=2)
    encoder.encode(TEXTS * 2)
    inferred = openvino._inferred
    monkeypatch.setattr(openvino, "_inferred", lambda *given: broken(*given, then=inferred))
    with pytest.raises(BundleError, match=r"model\.onnx: cannot be used \(RuntimeError: no memory\)"):
        encoder.encode(TEXTS * 2)
    monkeypatch.undo()
    np.testing.assert_allclose(encoder.encode(TEXTS * 2)[: len(TEXTS)], portable, atol=1e-4)


def broken(request, ids, mask, *, then):
    if ids.shape[1] > 10:
        raise RuntimeError("no memory")
    return then(request, ids, mask)


def test_a_processor_without_the_instruction_is_refused(exported, monkeypatch):
    monkeypatch.setattr(openvino, "precisions", lambda: ("f32",))
    with pytest.raises(BundleError, match="no instructions for bf16"):
        opened(exported, precision="bf16")


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x07"])
def test_a_broken_graph_is_named(exported, tmp_path, content):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.onnx"):
        OpenVinoEncoder(broken, exported.tokenizer, exported.facts)


def test_it_opens_no_socket(exported, tmp_path):
    (tmp_path / "facts.json").write_text(exported.facts.model_dump_json())
    code = """
import sys
from pathlib import Path
sys.addaudithook(lambda event, arguments: event.startswith("socket.") and sys.exit(f"a socket: {event} {arguments}"))
from potstill.backends.openvino import OpenVinoEncoder
from potstill.students.encoding import EncoderFacts
model, tokenizer, facts = map(Path, sys.argv[1:])
encoder = OpenVinoEncoder(model, tokenizer, EncoderFacts.model_validate_json(facts.read_text()), threads=1)
print(encoder.encode(["a library"]).shape)
"""
    arguments = [str(exported.model), str(exported.tokenizer), str(tmp_path / "facts.json")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("(1, 32)", 0), done.stderr
