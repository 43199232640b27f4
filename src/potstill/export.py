"""Exports a fitted encoder as an ONNX graph that does not need torch, and verifies it against the original.

Input: a transformers network (a LoRA adapter is merged), its tokenizer and its pooling. Output: `model.onnx`,
`tokenizer.json` and the facts that a backend needs. The graph ends at the pooled features. Heads are not part of it, so
that a shared encoder can have many heads.
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
"""The first version with LayerNormalization as a single operator."""

TOLERANCE = 1e-4
"""Largest allowed difference of a feature from torch's, as a share of the largest feature."""

_FUSED = {"bert": "bert", "roberta": "bert", "xlm-roberta": "bert", "distilbert": "bert", "mpnet": "bert"}
"""Architectures whose attention ONNX Runtime's offline optimizer can fuse, and its name for their family."""


class Network(Protocol):
    """The attributes of a torch encoder that export uses."""

    model: Any
    tokenizer: Any
    facts: EncoderFacts
    learned: Learned | None
    """Learned pooling parameters, if there are any."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the features in float32, shape (texts, width)."""
        ...


@dataclass(frozen=True, slots=True)
class Exported:
    """An encoder on disk. `difference` is the largest difference from torch's features on the verification texts."""

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
    """A graph that was exported earlier from an encoder with the same facts."""

    model: Path
    fused: bool


def export_encoder(encoder: Network, folder: Path, texts: Sequence[str], *, made: Sequence[Made] = ()) -> Exported:
    """Write an encoder's graph and tokenizer into `folder`; the graph is fused if the fused graph is equal too.

    For verification, each of `texts` (short, long, empty, in several scripts) is run through the written files and
    compared with `encoder.encode`, so that tokenizer, truncation, padding and pooling are verified together with the
    weights.

    Args:
        encoder: the torch encoder.
        folder: folder for `model.onnx` and `tokenizer.json`; it is created.
        texts: verification texts, at least one of them longer than the encoder reads.
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
                f"{encoder.facts.backbone}: the exported graph does not reproduce torch's features "
                f"(largest difference {found:.2g} of the largest feature, allowed {TOLERANCE:g})"
            )
        plain.replace(model_path)
    return Exported(model_path, tokenizer_path, encoder.facts, fused=False, difference=found)


def weight_bytes(encoder: Network) -> int:
    """Return the size of an encoder's weights in float32, in bytes."""
    return sum(4 * parameter.numel() for parameter in encoder.model.parameters())


def _write_tokenizer(tokenizer: Any, path: Path) -> None:  # noqa: ANN401 - transformers' classes are untyped
    if not tokenizer.is_fast:
        raise BundleError(f"{type(tokenizer).__name__}: a tokenizer without a fast version cannot be exported")
    from tokenizers import Tokenizer

    # Copied, because the truncation and padding set on the torch side must not be part of the file.
    copied = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copied.no_truncation()
    copied.no_padding()
    path.write_text(copied.to_str(pretty=False), encoding="utf-8", newline="\n")


def _write_graph(encoder: Network, path: Path) -> Any:  # noqa: ANN401 - as _write_tokenizer
    """Trace the network into `path` and return its configuration."""
    require("onnx", "train")
    model = copy.deepcopy(encoder.model)
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model = model.to(device="cpu", dtype=torch.float32).eval()
    # ONNX Runtime can fuse attention made of separate operators, but not attention that torch has already fused.
    model.set_attn_implementation("eager")
    pooled = _Pooled(model, encoder.facts, copy.deepcopy(encoder.learned)).to("cpu").eval()
    ids = torch.full((2, 8), encoder.facts.pad_id, dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The tracing exporter is used: the optimizer does not recognize attention in the graph of the newer one
        # (dynamo), which also takes three times as long. The verification below shows that nothing was traced as a
        # constant.
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
    """Return the graph with attention, GELU and layer norms as single operators; None if attention cannot be fused."""
    family = _FUSED.get(config.model_type)
    if family is None:
        return None
    from onnxruntime.transformers.optimizer import optimize_model

    optimised = optimize_model(
        str(plain),
        family,
        num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size,
        # Level 1 is valid for every CPU; higher levels optimize for this machine.
        opt_level=1,
    )
    if not optimised.get_fused_operator_statistics()["Attention"]:
        return None
    optimised.save_model_to_file(str(fused))
    return fused


def _difference(
    model: Path, tokenizer: Path, facts: EncoderFacts, texts: Sequence[str], expected: NDArray[np.float32]
) -> float:
    """Compute the largest difference of the files' features from `expected`, as a share of the largest feature.

    Each text is encoded alone and together with the others; NaN counts as infinitely different.
    """
    encoder = OnnxEncoder(model, tokenizer, facts)
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    largest = max(float(np.abs(expected).max()), 1e-6)
    difference = float(np.maximum(np.abs(together - expected), np.abs(alone - expected)).max()) / largest
    return difference if np.isfinite(difference) else float("inf")
