"""The torch encoder: turns texts into pooled features, and caches the features of frozen backbones on disk.

Input: texts. Output: features, shape (texts, width), in input order, independent of the other texts in a batch. Texts
of similar length are batched together, because padding is the main cost on a CPU.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from potstill.errors import BundleError, RecipeError
from potstill.files import digest, read_json, replacing, write_json
from potstill.students.encoding import GPU_TOKEN_BUDGET, TOKEN_BUDGET, EncoderFacts, token_batches
from potstill.students.tokens import TextReader
from potstill.students.torch.backbones import WEIGHTS, Backbone, find_backbone
from potstill.students.torch.features import FeatureCache
from potstill.students.torch.pooling import Learned, features, states
from potstill.terminal import steps_if_long

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from potstill.students.encoding import Pooling
    from potstill.types import BoolArray

_CHUNK = 1024
"""Number of texts tokenized, encoded and cached at a time: the most that is lost if the process is killed."""

LAYOUT = {"facts": "encoder.json", "pooling": "pooling.safetensors"}
"""Files that a trained encoder writes in addition to transformers' own."""


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class _Network:
    """A frozen network and its tokenizer, which are never modified."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase


_OPEN: WeakValueDictionary[tuple[str, ...], _Network] = WeakValueDictionary()
"""Frozen networks in use by an encoder, by their folder, weights, facts and device."""


class TorchEncoder:
    """A backbone in torch, in float32, with its tokenizer and pooling.

    Args:
        model: a network whose output has `last_hidden_state`; used unchanged, in evaluation mode.
        tokenizer: a fast tokenizer of transformers.
        facts: description of the encoder.
        trained: whether the weights differ from the backbone's; they are then saved with the student, and features are
            not cached.
        learned: learned pooling parameters, if the facts require them; they are saved too.
        device: where it runs: `auto`, `cpu`, `cuda` or `mps`.
        cache: a folder for the features of texts that were encoded before.
        token_budget: tokens per batch, padding included; None: a default for the device.
    """

    name = "torch"

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        facts: EncoderFacts,
        *,
        trained: bool = False,
        learned: Learned | None = None,
        device: str = "cpu",
        cache: Path | None = None,
        token_budget: int | None = None,
    ) -> None:
        self.device = pick_device(device)
        self.model = model.to(self.device).eval()
        self.learned = None if learned is None else learned.to(self.device).requires_grad_(False)
        self.tokenizer = tokenizer
        self.facts = facts
        self.trained = trained
        self._budget = token_budget or (TOKEN_BUDGET if self.device.type == "cpu" else GPU_TOKEN_BUDGET)
        self._reader = text_reader(tokenizer, facts)
        self._network: _Network | None = None
        kept = cache is not None and not trained and learned is None
        self._cache = FeatureCache(cache / self.key, facts.width) if cache is not None and kept else None

    @classmethod
    def open(
        cls,
        backbone: str | Path | Backbone,
        *,
        max_tokens: int = 512,
        pooling: Pooling = "mean",
        layers: Sequence[int] = (),
        device: str = "cpu",
        cache: Path | None = None,
    ) -> TorchEncoder:
        """Open a frozen backbone; `max_tokens` is reduced to what the backbone can read.

        `layers` are the hidden layers whose pooled states are joined, -1 for the last; only the last if empty.

        Raises:
            MissingModel: the backbone was not found.
            RecipeError: its architecture, weights or tokenizer cannot be used, or it has no such layer.
        """
        found = backbone if isinstance(backbone, Backbone) else find_backbone(backbone)
        facts = encoder_facts(found, found.load_tokenizer(), max_tokens=max_tokens, pooling=pooling, layers=layers)
        return cls._frozen(found, facts, device, cache)

    @classmethod
    def _frozen(cls, backbone: Backbone, facts: EncoderFacts, device: str, cache: Path | None) -> TorchEncoder:
        """Create an encoder with untrained weights; it shares the network of one that is already open."""
        key = (str(backbone.folder.resolve()), backbone.sha256, facts.model_dump_json(), str(pick_device(device)))
        network = _OPEN.get(key)
        if network is None:
            network = _Network(as_read(backbone.load_model(), facts), backbone.load_tokenizer())
            _OPEN[key] = network
        encoder = cls(network.model, network.tokenizer, facts, device=device, cache=cache)
        encoder._network = network
        return encoder

    @property
    def width(self) -> int:
        """Number of features per text."""
        return self.facts.width

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the features of each layer, in order."""
        return self.facts.widths

    @property
    def key(self) -> str:
        """Short hash of everything except the text that determines a frozen encoder's features."""
        return digest(self.facts.model_dump(mode="json", exclude={"backbone"}))[:16]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the features, shape (texts, width), float32, in input order; texts are cut to `max_tokens`."""
        found = np.zeros((len(texts), self.width), dtype=np.float32)
        keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        known = {} if self._cache is None else self._cache.get(keys)
        for row, key in enumerate(keys):
            if key in known:
                found[row] = known[key]
        # Duplicate texts are encoded once; the dict keeps the first row of each.
        first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in known}
        wanted = sorted(first.values())
        for start in range(0, len(wanted), _CHUNK):
            rows = wanted[start : start + _CHUNK]
            found[rows] = self._encode([texts[row] for row in rows])
            if self._cache is not None:
                self._cache.add([keys[row] for row in rows], found[rows])
        for row, key in enumerate(keys):
            if key in first:
                found[row] = found[first[key]]
        return found

    def truncated(self, texts: Sequence[str]) -> BoolArray:
        """Return which texts have more than `max_tokens` tokens, shape (texts,)."""
        found = np.zeros(len(texts), dtype=np.bool_)
        for start in range(0, len(texts), _CHUNK):
            _, cut = self._reader.read(texts[start : start + _CHUNK])
            found[start : start + len(cut)] = cut
        return found

    def settings(self) -> dict[str, Any]:
        """Return the facts, and whether the encoder has trained weights."""
        return self.facts.model_dump(mode="json") | {"trained": self.trained}

    def save(self, folder: Path) -> None:
        """Write trained weights and the tokenizer as a transformers folder, and the learned pooling parameters.

        A frozen backbone is not copied.
        """
        if not self.trained and self.learned is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if self.trained:
            saved: Any = self.model
            saved.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        if self.learned is not None:
            kept = {name: tensor.cpu().contiguous() for name, tensor in self.learned.state_dict().items()}
            with replacing(folder / LAYOUT["pooling"]) as temporary:
                save_file(kept, temporary)
        write_json(folder / LAYOUT["facts"], self.settings())

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], folder: Path, *, device: str = "cpu", cache: Path | None = None
    ) -> TorchEncoder:
        """Open what `settings` describes: trained weights from `folder`, or the frozen backbone by its name.

        Raises:
            BundleError: `folder` has other settings or a broken file, or the backbone found has other weights.
            MissingModel: the backbone was not found.
        """
        known = dict(settings)
        trained = bool(known.pop("trained", False))
        facts = EncoderFacts.model_validate_json(json.dumps(known))
        path = folder / LAYOUT["facts"]
        if (trained or facts.learns) and read_json(path) != settings:
            raise BundleError(f"{path}: these weights belong to another student")
        if trained:
            backbone = Backbone(facts.backbone, folder)
        else:
            backbone = find_backbone(facts.backbone)
            if backbone.sha256 != facts.backbone_sha256:
                raise BundleError(
                    f"{backbone.folder / WEIGHTS}: SHA-256 is {backbone.sha256}; the student was made with "
                    f"{facts.backbone_sha256}. Train it again, or provide those weights"
                )
        learned = _learned(facts, folder / LAYOUT["pooling"])
        if not trained and learned is None:
            return cls._frozen(backbone, facts, device, cache)
        # Trained weights were saved without the layers that are not used.
        model = both_ways(backbone.load_model(), facts) if trained else as_read(backbone.load_model(), facts)
        tokenizer = backbone.load_tokenizer()
        return cls(model, tokenizer, facts, trained=trained, learned=learned, device=device, cache=cache)

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        tokens, _ = self._reader.read(texts)
        lengths = np.array([len(ids) for ids in tokens], dtype=np.int64)
        found = np.zeros((len(texts), self.width), dtype=np.float32)
        with torch.inference_mode(), steps_if_long("reading texts", len(texts)) as advance:
            for batch in token_batches(lengths, self._budget):
                found[batch] = self._run([tokens[row] for row in batch])
                advance(len(batch))
        return found

    def _run(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        # A tokenizer without special tokens may return no tokens; one unmasked padding token is used then.
        longest = max(1, *(len(row) for row in tokens))
        ids = torch.full((len(tokens), longest), self.facts.pad_id, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(tokens):
            ids[place, : len(row)] = torch.tensor(row, dtype=torch.int64)
            mask[place, : max(1, len(row))] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        hidden = states(self.model, ids, mask, self.facts.layers)
        found: NDArray[np.float32] = features(hidden, mask, self.facts.pooling, self.learned).cpu().numpy()
        return found


def encoder_facts(
    backbone: Backbone,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_tokens: int,
    pooling: Pooling,
    layers: Sequence[int] = (),
    instruction: str = "",
) -> EncoderFacts:
    """Return the facts of an encoder made from a backbone; `max_tokens` is reduced to what the backbone can read.

    `layers` are concatenated; an `instruction` is prepended to every text.

    Raises:
        RecipeError: the backbone has no such layer.
    """
    positions = backbone.positions
    found = _layers(backbone, layers)
    return EncoderFacts(
        backbone=backbone.name,
        backbone_sha256=backbone.sha256,
        width=backbone.width * max(1, len(found)),
        max_tokens=max_tokens if positions is None else min(max_tokens, positions),
        pooling=pooling,
        layers=found,
        prefix=backbone.prefix + instruction,
        pad_id=int(tokenizer.pad_token_id),
    )


def as_read(model: nn.Module, facts: EncoderFacts) -> nn.Module:
    """Change a backbone in place so that it runs as an encoder with these facts.

    Raises:
        BundleError: the facts say that a network attends to later tokens, and it is not a decoder.
    """
    return without_unread_layers(both_ways(model, facts), facts)


def both_ways(model: nn.Module, facts: EncoderFacts) -> nn.Module:
    """If the facts say so, let a decoder's tokens also attend to later tokens, as in students of earlier versions.

    Raises:
        BundleError: the network is not a decoder.
    """
    if not facts.bidirectional:
        return model
    network: Any = model
    causal: list[Any] = [module for module in model.modules() if getattr(module, "is_causal", False)]
    if not causal:
        raise BundleError(f"bidirectional: true is for decoders, and {facts.backbone} is not one")
    # The mask depends on the configuration; without a mask, each attention layer reads its own attribute.
    network.config.is_causal = False
    for module in causal:
        module.is_causal = False
    return model


def without_unread_layers(model: nn.Module, facts: EncoderFacts) -> nn.Module:
    """Remove the layers above the deepest one that is used; networks not built like BERT are left unchanged.

    If only the embeddings (layer 0) are used, what remains is a table of static word vectors.
    """
    network: Any = model
    stack = getattr(getattr(network, "encoder", None), "layer", None)
    if facts.layers and isinstance(stack, torch.nn.ModuleList):
        network.encoder.layer = stack[: max(facts.layers)]
        network.config.num_hidden_layers = max(facts.layers)
    return model


def shallower(model: nn.Module, keep: int | Sequence[int]) -> nn.Module:
    """Remove layers from a network built like BERT, in place; the remaining ones are stacked, as in DistilBERT.

    A student initialized with some layers of a deeper network learns far better than one with random layers (Sanh et
    al. 2019).

    Args:
        model: a backbone.
        keep: the number of layers to keep, evenly spaced from first to last, or their indices from 0.

    Raises:
        RecipeError: the network has no such layers, or is not built like BERT.
    """
    network: Any = model
    stack = getattr(getattr(network, "encoder", None), "layer", None)
    if not isinstance(stack, torch.nn.ModuleList):
        raise RecipeError(f"keep_layers: a {type(model).__name__} is not of BERT's build; its layers stay whole")
    deepest = len(stack) - 1
    kept = np.linspace(0, deepest, keep).astype(int).tolist() if isinstance(keep, int) else list(keep)
    if len(set(kept)) < len(kept) or not 0 <= min(kept) <= max(kept) <= deepest:
        asked = keep if isinstance(keep, int) else list(keep)
        raise RecipeError(f"keep_layers: {asked}; {type(model).__name__} has {len(stack)} layers, 0 to {deepest}")
    network.encoder.layer = torch.nn.ModuleList(stack[place] for place in kept)
    network.config.num_hidden_layers = len(kept)
    return model


def pick_device(asked: str) -> torch.device:
    """Return the device by name; `auto` selects CUDA, then MPS, then the CPU.

    Raises:
        RecipeError: this machine has no such device.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        return torch.device(next(name for name, usable in there.items() if usable))
    kind = asked.partition(":")[0]
    if not there.get(kind, False):
        usable = ", ".join(["auto", *(name for name, works in there.items() if works)])
        raise RecipeError(f"device {asked!r} is not to be had here; there are {usable}")
    return torch.device(asked)


def put_learned(learned: Learned, tensors: Mapping[str, torch.Tensor], where: str) -> Learned:
    """Load tensors into the learned pooling parameters.

    Raises:
        BundleError: a tensor is missing, unknown or has another shape; `where` names the file.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in learned.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wanted != found:
        raise BundleError(f"{where}: holds {found}, and pooling has {wanted}")
    learned.load_state_dict(dict(tensors))
    return learned


def _learned(facts: EncoderFacts, path: Path) -> Learned | None:
    """Load the learned pooling parameters from their file."""
    fresh = Learned.of(facts)
    if fresh is None:
        return None
    try:
        return put_learned(fresh, load_file(path), str(path))
    except FileNotFoundError:
        raise BundleError(f"{path}: no such file") from None
    except SafetensorError as error:
        raise BundleError(f"{path}: not a whole safetensors file ({error})") from None


def _layers(backbone: Backbone, layers: Sequence[int]) -> tuple[int, ...]:
    """Return the layers as indices from the embeddings, which are 0."""
    deepest = int(backbone.architecture().num_hidden_layers)
    found = tuple(layer + deepest + 1 if layer < 0 else layer for layer in layers)
    for asked, layer in zip(layers, found, strict=True):
        if not 0 <= layer <= deepest:
            raise RecipeError(f"layers: {backbone.name} has no layer {asked}; it has 0 (embeddings) to {deepest}")
    return found


def text_reader(tokenizer: PreTrainedTokenizerBase, facts: EncoderFacts) -> TextReader:
    """Return the text reader for an encoder with these facts; the tokenizer is copied and not changed."""
    return TextReader(Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()), facts)
