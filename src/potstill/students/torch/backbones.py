"""Finds pretrained networks (backbones) and verifies them.

Input: a name or a path. Output: a folder with `config.json`, safetensors weights and a fast tokenizer, and what is
known about the network. These places are searched in order: a local path, the Hugging Face Hub's cache on this machine,
a package that ships the weights, and the Hub itself. Weights that would have to be unpickled are refused, and code that
comes with a model is never run.
"""

from __future__ import annotations

import json
import math
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import Field
from safetensors import SafetensorError

from potstill.errors import BadInput, MissingModel, RecipeError, require
from potstill.files import digest, read_object, sha256, write_json
from potstill.records import Part
from potstill.students.torch.packages import Package, packaged_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.pth")
_WANTED = ["config.json", "*.safetensors", INDEX, "tokenizer.json", "tokenizer_config.json",
           "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt"]  # fmt: skip
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json")
# RoBERTa and its relatives number positions from after the padding token's id (None: as configured).
_OFFSET_POSITIONS = {"roberta": None, "xlm-roberta": None, "camembert": None, "mpnet": 1}
_ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")


class Known(Part):
    """Facts about a backbone that potstill knows in advance."""

    hub: str
    licence: str
    reads: str
    prefix: str = ""
    package: Package | None = None
    config: dict[str, Any] = Field(min_length=1)


@dataclass(frozen=True)
class Backbone:
    """A backbone on this machine.

    `name` can be used to find it again; `prefix` is the prefix that its authors prepend to every text; `source` says
    where it was found.
    """

    name: str
    folder: Path
    prefix: str = ""
    licence: str = "unknown"
    source: str = "path"

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the weights: of the file, or of the names and hashes of all parts if there are several."""
        parts = weight_files(self.folder)
        if len(parts) == 1:
            return sha256(parts[0])
        return digest({part.name: sha256(part) for part in parts})

    @cached_property
    def config(self) -> dict[str, Any]:
        """Content of `config.json`."""
        return read_object(self.folder / "config.json")

    @property
    def width(self) -> int:
        """Width of the last hidden state."""
        return int(self.architecture().hidden_size)

    @property
    def positions(self) -> int | None:
        """Maximum number of tokens, including special tokens; None if there is no limit."""
        config = self.architecture()
        most = getattr(config, "max_position_embeddings", None)
        if most is None or most <= 0:
            return None
        if config.model_type not in _OFFSET_POSITIONS:
            return int(most)
        fixed = _OFFSET_POSITIONS[config.model_type]
        return int(most) - 1 - (int(config.pad_token_id) if fixed is None else fixed)

    @cached_property
    def parameters(self) -> int:
        """Return the number of parameters, from the headers of the weight files.

        Raises:
            RecipeError: a file's header cannot be read.
        """
        return sum(_stored(path) for path in weight_files(self.folder))

    def architecture(self) -> PreTrainedConfig:
        """Return the configuration as transformers' object.

        Raises:
            RecipeError: the installed version of transformers does not know the architecture.
        """
        return _as_config(self.config, str(self.folder / "config.json"))

    def load_model(self, *, attention_dropout: float | None = None) -> nn.Module:
        """Load the network in float32 on the CPU, without a head.

        Args:
            attention_dropout: attention dropout probability in training; default: the configuration's value.

        Raises:
            RecipeError: the architecture is unknown, the weights do not match it, or it has no attention dropout.
            NotEnoughMemory: the network is larger than the free memory.
        """
        transformers = require("transformers", "train")
        from potstill.students.torch.memory import check_room

        settings = {}
        if attention_dropout is not None:
            settings = dict.fromkeys(self._attention_dropouts(), attention_dropout)
        self.architecture()
        check_room(self.name, 4 * self.parameters, smaller=lambda: {name: 4 * count for name, count in known_sizes()})
        try:
            with _quiet():
                model, report = transformers.AutoModel.from_pretrained(
                    self.folder,
                    local_files_only=True,
                    use_safetensors=True,
                    trust_remote_code=False,
                    dtype="float32",
                    output_loading_info=True,
                    **settings,
                )
        except (ValueError, RuntimeError, KeyError, OSError, SafetensorError) as error:
            raise RecipeError(f"{self.folder}: the weights do not load ({_first_line(error)})") from error
        # BERT's pooler is never used here, and many checkpoints leave it out.
        absent = sorted(name for name in report["missing_keys"] if "pooler" not in name)
        if absent:
            raise RecipeError(
                f"{self.folder}: its weights lack {len(absent)} tensors that the network has, such as {absent[0]}"
            )
        loaded: nn.Module = model.eval()
        return loaded

    def _attention_dropouts(self) -> list[str]:
        """Return the architecture's configuration fields for attention dropout."""
        config = self.architecture()
        names = [name for name in _ATTENTION_DROPOUTS if hasattr(config, name)]
        if not names:
            raise RecipeError(f"attention_dropout: {self.name} ({config.model_type}) has none to set; leave it out")
        return names

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the fast tokenizer, with a padding token: the end-of-text token if the model has none.

        Raises:
            RecipeError: there is no fast tokenizer, or no token that can be used for padding.
        """
        transformers = require("transformers", "train")
        # If the vocabulary is missing, transformers creates an empty tokenizer without an error.
        if not any((self.folder / name).is_file() for name in _VOCABULARIES):
            raise RecipeError(f"{self.folder}: there is no tokenizer (tokenizer.json)")
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                self.folder, local_files_only=True, use_fast=True, trust_remote_code=False
            )
        except (ValueError, OSError, KeyError, TypeError, ImportError) as error:
            raise RecipeError(f"{self.folder}: no tokenizer can be read ({_first_line(error)})") from error
        if not tokenizer.is_fast:
            raise RecipeError(f"{self.folder}: there is no fast tokenizer (tokenizer.json)")
        if tokenizer.pad_token is None:
            if tokenizer.eos_token is None:
                raise RecipeError(f"{self.folder}: the tokenizer has neither a padding nor an end token")
            tokenizer.pad_token = tokenizer.eos_token
        fast: PreTrainedTokenizerBase = tokenizer
        return fast


@cache
def known_backbones() -> Mapping[str, Known]:
    """Return the backbones that potstill knows by name."""
    text = (files("potstill") / "builtin" / "backbones.yaml").read_text(encoding="utf-8")
    return {name: Known.validated(facts, f"backbones.yaml: {name}") for name, facts in yaml.safe_load(text).items()}


def cache_folder() -> Path:
    """Return potstill's cache folder: POTSTILL_CACHE, or the platform's cache folder."""
    chosen = os.environ.get("POTSTILL_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "potstill"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "potstill"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "potstill"


def find_backbone(name_or_path: str | Path, *, download: bool = True) -> Backbone:
    """Find a backbone: a folder, or by name in the Hub's cache, in a package, and on the Hub.

    Args:
        name_or_path: a folder, a name of `known_backbones`, or a Hub id (`owner/name`).
        download: whether to download from the Hub. HF_HUB_OFFLINE=1 disables downloads too.

    Raises:
        MissingModel: it is in none of these places; the message lists them, and how to get it.
        RecipeError: a folder was found whose weights are pickled or missing.
    """
    text = str(name_or_path)
    path = Path(text).expanduser()
    if path.is_dir():
        weight_files(path)
        return _from_path(text, path)
    name, known = _recognise(text)
    hub = known.hub if known else text
    facts: dict[str, Any] = {"prefix": known.prefix, "licence": known.licence} if known else {}
    tried = [f"path {text} (no such folder)"]
    if known is None and text.count("/") != 1:
        names = ", ".join(known_backbones())
        raise MissingModel(f"backbone {text}: no such folder, and no name that potstill knows ({names})")
    cached = _in_hub_cache(hub)
    if cached is not None:
        return Backbone(name, cached, source="hub cache", **facts)
    tried.append(f"hub cache (no {hub})")
    if known is not None and known.package is not None:
        package = known.package
        found = packaged_weights(package, cache_folder() / "backbones")
        if found is not None:
            return Backbone(name, found, source=package.title, **facts)
        tried.append(f"{package.title} (not installed)")
    if download:
        try:
            return Backbone(name, _download(hub), source="hub", **facts)
        except MissingModel as error:
            tried.append(f"hub ({error})")
    raise MissingModel(f"backbone {text} was not found: {'; '.join(tried)}. {_advice(hub, known)}")


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model's folder, sorted.

    Raises:
        RecipeError: there are none; pickled weights are named and not opened.
        MissingModel: `config.json` or a part of the weights is missing.
    """
    if not (folder / "config.json").is_file():
        raise MissingModel(f"{folder}: not a model's folder (no config.json)")
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        listed = read_object(folder / INDEX).get("weight_map")
        if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
            raise RecipeError(f"{folder / INDEX}: lists no files (weight_map)")
        names = sorted(set(listed.values()))
        absent = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
        if absent:
            raise MissingModel(f"{folder / INDEX}: names {absent[0]}, which is not there")
        return [folder / name for name in names]
    pickled = [name for name in _PICKLED if (folder / name).exists()]
    if pickled:
        raise RecipeError(
            f"{folder}: has only pickled weights ({pickled[0]}), which can run code and are not opened; "
            "save the model as safetensors first"
        )
    raise MissingModel(f"{folder}: no weights ({WEIGHTS})")


def architecture(name_or_path: str | Path) -> PreTrainedConfig:
    """Return a backbone's configuration; for known names from potstill's own facts, without needing the weights.

    Raises:
        MissingModel: the name is not known and the backbone was not found on this machine.
        RecipeError: the installed version of transformers does not know the architecture.
    """
    text = str(name_or_path)
    if not Path(text).expanduser().is_dir():
        name, known = _recognise(text)
        if known is not None:
            return _as_config(known.config, name)
    return find_backbone(text, download=False).architecture()


def empty_model(config: PreTrainedConfig) -> nn.Module:
    """Create a configuration's network on torch's meta device, which has shapes but no data."""
    transformers, torch = require("transformers", "train"), require("torch", "train")
    with torch.device("meta"):
        model: nn.Module = transformers.AutoModel.from_config(config)
    return model


def known_sizes() -> Iterator[tuple[str, int]]:
    """Yield the names of `known_backbones` with their number of parameters, counted on torch's meta device."""
    for name, known in known_backbones().items():
        yield name, sum(parameter.numel() for parameter in empty_model(_as_config(known.config, name)).parameters())


def tiny_backbone(name_or_path: str | Path, folder: Path, *, seed: int = 0) -> Backbone:
    """Write and open a model of the same architecture with two narrow layers and random weights.

    It allows running every code path for a backbone that is not available. Its tokenizer reads bytes, so it accepts
    every language. It is untrained.

    Raises:
        MissingModel: the backbone's architecture is not known either.
    """
    transformers, torch = require("transformers", "train"), require("torch", "train")
    config = architecture(name_or_path)
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
             "head_dim": 8, "intermediate_size": 64, "max_position_embeddings": 512, "vocab_size": 260,
             "pad_token_id": 256, "max_window_layers": 2, "layer_types": None, "bos_token_id": None,
             "eos_token_id": 258}  # fmt: skip
    content = config.to_dict()
    content |= {key: value for key, value in small.items() if key in content}
    kinds = list(dict.fromkeys(content.pop("layer_types", None) or []))
    if len(kinds) == small["num_hidden_layers"]:
        # One layer of each kind, and a sliding window shorter than the tests' texts.
        content |= {"layer_types": kinds, "sliding_window": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModel.from_config(_as_config(content, str(name_or_path)))
    folder.mkdir(parents=True, exist_ok=True)
    with _quiet():
        model.save_pretrained(folder)
    _byte_tokenizer(framed=config.model_type in {"bert", "mpnet"}).save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>",
        "model_max_length": 512,
    })  # fmt: skip
    _, known = _recognise(str(name_or_path))
    return Backbone(str(folder), folder, prefix=known.prefix if known else "", source="tiny random weights")


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress transformers' progress bars and load reports; the relevant problems are checked here."""
    logging = require("transformers.utils.logging", "train")
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _byte_tokenizer(*, framed: bool) -> Any:  # noqa: ANN401 - tokenizers' own class
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*letters, "<pad>", "<s>", "</s>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<pad>", "<s>", "</s>"])
    if framed:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", vocabulary["<s>"]), ("</s>", vocabulary["</s>"])]
        )
    return tokenizer


def _stored(path: Path) -> int:
    """Return the number of values in a safetensors file; its header is JSON after 8 bytes with its length."""
    with path.open("rb") as file:
        try:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            return sum(math.prod(one["shape"]) for name, one in header.items() if name != "__metadata__")
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError):
            raise RecipeError(f"{path}: not a whole safetensors file") from None


def _recognise(text: str) -> tuple[str, Known | None]:
    """Return the known backbone for a name or a Hub id."""
    for name, known in known_backbones().items():
        if text.lower() in {name.lower(), known.hub.lower()}:
            return name, known
    return text, None


def _from_path(text: str, path: Path) -> Backbone:
    # A folder does not record a prefix; a folder with a known name is taken to be that model.
    _, known = _recognise(path.resolve().name)
    if known is None:
        return Backbone(text, path)
    return Backbone(text, path, prefix=known.prefix, licence=known.licence)


def _in_hub_cache(hub: str) -> Path | None:
    hub_library = require("huggingface_hub", "train")
    found = hub_library.try_to_load_from_cache(hub, "config.json")
    if not isinstance(found, str):
        return None
    folder = Path(found).parent
    try:
        weight_files(folder)
    except (MissingModel, BadInput):
        # The download was interrupted, or made by a program that needed other files.
        return None
    return folder if (folder / "tokenizer.json").is_file() else None


def _download(hub: str) -> Path:
    """Download a model from the Hub into the Hub's cache.

    Raises:
        MissingModel: the download failed; the message says why.
    """
    hub_library = require("huggingface_hub", "train")
    errors = require("huggingface_hub.errors", "train")
    try:
        # `errors.HTTPError` belongs to the HTTP library of the Hub's client, which has changed before.
        folder = Path(
            hub_library.snapshot_download(
                hub,
                allow_patterns=_WANTED,
                # Folders of other formats, such as onnx/, also hold weights.
                ignore_patterns=["*/*"],
                endpoint=os.environ.get("HF_ENDPOINT"),
            )
        )
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled,
            errors.HFValidationError, errors.HTTPError, OSError) as error:  # fmt: skip
        raise MissingModel(_first_line(error)) from error
    weight_files(folder)
    return folder


def _as_config(content: Mapping[str, Any], where: str) -> PreTrainedConfig:
    transformers = require("transformers", "train")
    kind = content.get("model_type")
    if kind is None:
        raise RecipeError(f"{where}: model_type is missing")
    try:
        config: PreTrainedConfig = transformers.AutoConfig.for_model(**content)
    except ValueError as error:
        raise RecipeError(f"{where}: unknown architecture {kind!r} ({_first_line(error)})") from None
    if not hasattr(config, "hidden_size"):
        raise RecipeError(f"{where}: architecture {kind!r} has no hidden_size; it is not a text encoder or decoder")
    return config


def _advice(hub: str, known: Known | None) -> str:
    ways = [f"give the path of a folder with config.json, {WEIGHTS} and tokenizer.json",
            f"or, where the hub can be reached, run: hf download {hub}"]  # fmt: skip
    if known is not None and known.package is not None:
        ways.insert(0, f"Run: {known.package.install}, or")
        return " ".join(ways)
    return (ways[0][0].upper() + ways[0][1:]) + ", " + ways[1]


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
