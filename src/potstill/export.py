"""A fitted encoder, made into a graph that needs no torch, and proven equal to what it was made from.

In: a transformers network (a LoRA adapter is merged), its tokenizer and how its output is pooled. Out:
`model.onnx`, `tokenizer.json` and the facts a backend needs. The graph ends at the pooled features; heads stay
outside it, so that one trunk can carry many.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from potstill.backends.graph import INPUTS, OUTPUT
from potstill.backends.onnx import OnnxEncoder
from potstill.errors import BundleError, require
from potstill.students.torch.pooling import features, states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from potstill.students.encoding import EncoderFacts
    from potstill.students.torch.pooling import Learned

OPSET = 17
"""The first with LayerNormalization as one operator."""

TOLERANCE = 1e-4
"""Largest difference of a feature from torch's, as a share of the largest feature."""

_FUSED = {"bert": "bert", "roberta": "bert", "xlm-roberta": "bert", "distilbert": "bert", "mpnet": "bert"}
"""Architectures whose attention ONNX Runtime's offline optimiser fuses, and its name for their family."""


class Network(Protocol):
    """What export reads of a torch encoder."""

    model: Any
    tokenizer: Any
    facts: EncoderFacts
    learned: Learned | None
    """What pooling learned, if it did."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Features in fp32, shape (texts, width)."""
        ...


@dataclass(frozen=True, slots=True)
class Exported:
    """An encoder on disk. `difference` is the largest from torch's features on the texts of the proof."""

    model: Path
    tokenizer: Path
    facts: EncoderFacts
    fused: bool
    difference: float


class _Pooled(torch.nn.Module):
    """A network and its pooling, as one module with two inputs and one output."""

    def __init__(self, model: torch.nn.Module, facts: EncoderFacts, learned: Learned | None) -> None:
        super().__init__()
        self.model = model
        self.facts = facts
        self.learned = learned

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = states(self.model, input_ids, attention_mask, self.facts.layers)
        return features(hidden, attention_mask, self.facts.pooling, self.learned)


@dataclass(frozen=True, slots=True)
class Made:
    """A graph that was exported before from an encoder of the same facts."""

    model: Path
    fused: bool


def export_encoder(encoder: Network, folder: Path, texts: Sequence[str], *, made: Sequence[Made] = ()) -> Exported:
    """Write an encoder's graph and tokenizer into `folder`, fused where the fused graph is equal too.

    The proof runs each text of `texts` (short, long, empty, in several scripts) through the written files and
    compares with `encoder.encode`, so that the tokenizer, the cut, the padding and the pooling are proven with
    the weights.

    Args:
        encoder: the torch encoder.
        folder: where `model.onnx` and `tokenizer.json` are written; it is made.
        texts: texts of the proof, at least one of them longer than the encoder reads.
        made: earlier exports; the first that gives torch's features on these texts is copied.

    Raises:
        BundleError: the network cannot be exported, or the files do not give torch's features.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model_path, tokenizer_path = folder / "model.onnx", folder / "tokenizer.json"
    _write_tokenizer(encoder.tokenizer, tokenizer_path)
    expected = encoder.encode(texts)

    def difference(graph: Path) -> float:
        return _difference(graph, tokenizer_path, encoder.facts, texts, expected)

    for earlier in made:
        if (found := difference(earlier.model)) <= TOLERANCE:
            shutil.copyfile(earlier.model, model_path)
            return Exported(model_path, tokenizer_path, encoder.facts, fused=earlier.fused, difference=found)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export.", suffix=".part") as scratch:
        plain = Path(scratch) / "plain.onnx"
        config = _write_graph(encoder, plain)
        fused = _fuse(plain, Path(scratch) / "fused.onnx", config)
        if fused is not None and (found := difference(fused)) <= TOLERANCE:
            fused.replace(model_path)
            return Exported(model_path, tokenizer_path, encoder.facts, fused=True, difference=found)
        found = difference(plain)
        if not found <= TOLERANCE:
            raise BundleError(
                f"{encoder.facts.backbone}: the exported graph does not give torch's features "
                f"(largest difference {found:.2g} of the largest feature, allowed {TOLERANCE:g})"
            )
        plain.replace(model_path)
    return Exported(model_path, tokenizer_path, encoder.facts, fused=False, difference=found)


def weight_bytes(encoder: Network) -> int:
    """Bytes of an encoder's weights in fp32."""
    return sum(4 * parameter.numel() for parameter in encoder.model.parameters())


def _write_tokenizer(tokenizer: Any, path: Path) -> None:  # noqa: ANN401 - transformers' classes are untyped
    if not tokenizer.is_fast:
        raise BundleError(f"{type(tokenizer).__name__}: a tokenizer without a fast form cannot be exported")
    from tokenizers import Tokenizer

    # A copy: what torch's side truncates and pads to is not part of the file.
    copied = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copied.no_truncation()
    copied.no_padding()
    path.write_text(copied.to_str(pretty=False), encoding="utf-8", newline="\n")


def _write_graph(encoder: Network, path: Path) -> Any:  # noqa: ANN401 - as _write_tokenizer
    """Trace the network into `path`; its config."""
    require("onnx", "train")
    model = copy.deepcopy(encoder.model)
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model = model.to(device="cpu", dtype=torch.float32).eval()
    # ONNX Runtime fuses attention that is spelled out, not attention that torch has fused already.
    model.set_attn_implementation("eager")
    pooled = _Pooled(model, encoder.facts, copy.deepcopy(encoder.learned)).to("cpu").eval()
    ids = torch.full((2, 8), encoder.facts.pad_id, dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The tracing exporter: the graph of the newer one (dynamo) has attention that the optimiser does not
        # recognise, and takes three times as long. That nothing was traced in as a constant is proven below.
        torch.onnx.export(
            pooled,
            (ids, mask),
            str(path),
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes={**{name: {0: "texts", 1: "tokens"} for name in INPUTS}, OUTPUT: {0: "texts"}},
            opset_version=OPSET,
            dynamo=False,
        )
    return model.config


def _fuse(plain: Path, fused: Path, config: Any) -> Path | None:  # noqa: ANN401 - as _write_tokenizer
    """The graph with attention, GELU and layer norms as single operators, or None where attention resists."""
    family = _FUSED.get(config.model_type)
    if family is None:
        return None
    from onnxruntime.transformers.optimizer import optimize_model

    optimised = optimize_model(
        str(plain),
        family,
        num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size,
        # Level 1 holds for every CPU; higher ones fit this machine's.
        opt_level=1,
    )
    if not optimised.get_fused_operator_statistics()["Attention"]:
        return None
    optimised.save_model_to_file(str(fused))
    return fused


def _difference(
    model: Path, tokenizer: Path, facts: EncoderFacts, texts: Sequence[str], expected: NDArray[np.float32]
) -> float:
    """Largest difference of the files' features from `expected`, as a share of the largest feature.

    Each text is encoded alone and among the others; NaN counts as infinitely far.
    """
    encoder = OnnxEncoder(model, tokenizer, facts)
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    largest = max(float(np.abs(expected).max()), 1e-6)
    difference = float(np.maximum(np.abs(together - expected), np.abs(alone - expected)).max()) / largest
    return difference if np.isfinite(difference) else float("inf")
