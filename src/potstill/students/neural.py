"""The neural student: an encoder's features, and a head that is applied with numpy.

Input: examples and an encoder, frozen or trained. Output: a student whose encoder may run on torch or ONNX Runtime,
since it only has to turn texts into features. A shared encoder can have many heads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from potstill.errors import BundleError, RecipeError, require
from potstill.files import digest
from potstill.students import Outputs
from potstill.students.chunks import ChunkedEncoder, Chunks
from potstill.students.constant import check_labelled
from potstill.students.heads import AnyHead, from_arrays
from potstill.students.novelty import NOVELTY, FeatureNovelty, Novelty, WordNovelty, novelty_arrays, novelty_from
from potstill.students.tier_head import TierHead, scores_and_tiers, widened
from potstill.terminal import steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

    from potstill.dataset import Examples
    from potstill.students import Encoder
    from potstill.students.heads import KernelRegressionHead, LinearHead
    from potstill.students.recipes import BlendRecipe, EncoderHeadRecipe
    from potstill.types import BoolArray, FloatArray

_HEAD, _TIERS = "head.", "tiers."
_CHUNKS = "pieces"
"""Key of the chunks in `student.json`; its name is older than `Chunks`."""
_BESIDE_THE_ENCODER = {"name", "description", "backbones", "chunks", "learns", "head"}
"""Fields of an encoder-head recipe that do not affect the features of a single text."""


@runtime_checkable
class DescribedEncoder(Protocol):
    """An encoder that can describe itself, so that it can be opened again."""

    def settings(self) -> dict[str, Any]:
        """Return its description as JSON-compatible values: backbone, hash, pooling, tokens."""
        ...

    def save(self, folder: Path) -> None:
        """Write what the settings alone cannot restore: trained weights."""
        ...


@dataclass(frozen=True)
class JoinedEncoder:
    """Several encoders that read the same texts; their features are concatenated."""

    parts: tuple[Encoder, ...]

    @property
    def width(self) -> int:
        """Sum of the parts' widths."""
        return sum(part.width for part in self.parts)

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the parts, and of the layers within them, in order."""
        return tuple(width for part in self.parts for width in part_widths(part))

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the features, shape (texts, width), in input order."""
        return np.concatenate([part.encode(texts) for part in self.parts], axis=1)

    def truncated(self, texts: Sequence[str]) -> BoolArray:
        """Return which texts are too long for at least one part."""
        return np.asarray(np.any([part.truncated(texts) for part in self.parts], axis=0))

    def settings(self) -> dict[str, Any]:
        """Return the parts' settings, in order."""
        return {"parts": [_described(part).settings() for part in self.parts]}

    def save(self, folder: Path) -> None:
        """Save each part in a folder named by its index."""
        for place, part in enumerate(self.parts):
            _described(part).save(folder / str(place))


@dataclass(frozen=True)
class NeuralStudent:
    """An encoder and a head; `chunks` says how texts that are too long for the encoder are split into chunks.

    `tiers` are further outputs of the head, about the positive tiers; None if there are none. `novelty` measures how
    far the features, or the words, are from those of the training texts; None in a student that was not calibrated.
    """

    encoder: Encoder
    head: AnyHead
    dimensions: tuple[str, ...]
    chunks: Chunks | None = None
    tiers: TierHead | None = None
    novelty: Novelty | None = None
    kind: ClassVar[str] = "neural"

    def predict(self, articles: pl.DataFrame) -> FloatArray:
        """Predict scores from the column `text`, shape (articles, dimensions)."""
        return self.head.predict(self.features(articles["text"]))

    def outputs(self, articles: pl.DataFrame) -> Outputs:
        """Return the scores, the tier outputs and the distances from the training texts."""
        found = self.outputs_of_features(self.features(articles["text"]))
        if isinstance(self.novelty, WordNovelty):
            return found._replace(distances=self.novelty.distances(text or "" for text in articles["text"]))
        return found

    def outputs_of_features(self, features: NDArray[Any]) -> Outputs:
        """Return the same as `outputs` from the features, shape (articles, width), but no distances by words."""
        distances = self.novelty.distances(features) if isinstance(self.novelty, FeatureNovelty) else None
        if self._widened is None:
            return Outputs(self.head.predict(features), None, distances)
        return Outputs(*scores_and_tiers(self.head, self._widened.predict(features)), distances)

    @cached_property
    def _widened(self) -> LinearHead | KernelRegressionHead | None:
        return None if self.tiers is None else widened(self.head, self.tiers)

    def features(self, texts: Iterable[str | None]) -> NDArray[np.float32]:
        """Return the features that the head reads, shape (texts, width)."""
        return reading(self.encoder, self.chunks).encode([text or "" for text in texts])

    def on(self, encoder: Encoder) -> NeuralStudent:
        """Return the same head on another encoder with the same features, such as ONNX Runtime's."""
        return replace(self, encoder=encoder)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the head, the tiers and the novelty, with the prefixes `head.`, `tiers.`, `novelty.`."""
        found = {_HEAD + name: array for name, array in self.head.arrays().items()}
        found |= {_TIERS + name: array for name, array in (self.tiers.arrays() if self.tiers else {}).items()}
        return found | novelty_arrays(self.novelty)

    def settings(self) -> dict[str, Any]:
        """Return the head's kind, how long texts are split, and the encoder's settings if it has any."""
        known = self.encoder.settings() if isinstance(self.encoder, DescribedEncoder) else {}
        chunks = self.chunks and self.chunks.model_dump(mode="json")
        return {"head": self.head.kind, _CHUNKS: chunks, "encoder": known}

    @classmethod
    def restore(
        cls,
        dimensions: tuple[str, ...],
        arrays: Mapping[str, NDArray[Any]],
        settings: Mapping[str, Any],
        encoder: Encoder,
    ) -> NeuralStudent:
        """Rebuild the student from `arrays` and `settings`, with an open encoder.

        Raises:
            BundleError: the head does not match the dimensions or the encoder.
        """
        own = {name.removeprefix(_HEAD): array for name, array in arrays.items() if name.startswith(_HEAD)}
        of_tiers = {name.removeprefix(_TIERS): array for name, array in arrays.items() if name.startswith(_TIERS)}
        strangers = sorted(name for name in arrays if not name.startswith((_HEAD, _TIERS, NOVELTY)))
        if strangers:
            raise BundleError(f"student: arrays that no head has: {', '.join(strangers)}")
        head = from_arrays(settings["head"], own)
        if head.outputs != len(dimensions):
            raise BundleError(f"head: gives {head.outputs} scores for {len(dimensions)} dimensions")
        if head.width != encoder.width:
            raise BundleError(f"head: made for features {head.width} wide; the encoder's are {encoder.width} wide")
        chunks = settings.get(_CHUNKS)
        if chunks is not None:
            chunks = Chunks.validated(chunks, f"student: {_CHUNKS}", error=BundleError)
        tiers = TierHead.from_arrays(of_tiers, head) if of_tiers else None
        return cls(encoder, head, dimensions, chunks, tiers, novelty_for(arrays, encoder.width))


def novelty_for(arrays: Mapping[str, NDArray[Any]], width: int) -> Novelty | None:
    """Rebuild the novelty of a student whose encoder gives features of this width; None if it measures none.

    Raises:
        BundleError: it measures features of another width.
    """
    found = novelty_from(arrays)
    if isinstance(found, FeatureNovelty) and found.width != width:
        raise BundleError(f"novelty: not made for features {width} wide")
    return found


def fit_encoder_head(
    recipe: EncoderHeadRecipe,
    train: Examples,
    *,
    seed: int = 0,
    encoder: Encoder | None = None,
    cache: Path | None = None,
) -> NeuralStudent:
    """Encode the training texts once, then fit the recipe's head.

    `encoder` replaces the recipe's backbones, which are otherwise opened with torch; `cache` is a folder in which
    features are cached between calls.

    Raises:
        DatasetError: a dimension has no label.
        MissingExtra, MissingModel: torch or a backbone is not installed.
    """
    from potstill.students.head_fitting import fit_head

    check_labelled(train)
    encoder = encoder or open_encoder(recipe, cache)
    features = reading(encoder, recipe.chunks).encode(train.texts)
    head = fit_head(
        recipe.head,
        features,
        train.scores,
        train.clusters,
        widths=part_widths(encoder),
        learns=recipe.learns,
        seed=seed,
    )
    return NeuralStudent(encoder, head, tuple(train.dimensions), recipe.chunks)


def reading(encoder: Encoder, chunks: Chunks | None) -> Encoder:
    """Return the encoder as a student uses it: reading long texts in chunks, or unchanged."""
    return encoder if chunks is None else ChunkedEncoder(encoder, chunks)


def part_widths(encoder: Encoder) -> tuple[int, ...]:
    """Return the widths of the concatenated parts of an encoder's features; one width for a single encoder."""
    widths: tuple[int, ...] = getattr(encoder, "widths", (encoder.width,))
    return widths


def joined(parts: Sequence[Encoder]) -> Encoder:
    """Join encoders; a single one is returned unchanged."""
    return parts[0] if len(parts) == 1 else JoinedEncoder(tuple(parts))


def parts_of(encoder: Encoder) -> tuple[Encoder, ...]:
    """Return the encoders that a joined encoder consists of, or the single encoder itself."""
    return encoder.parts if isinstance(encoder, JoinedEncoder) else (encoder,)


def part_keys(recipe: EncoderHeadRecipe) -> list[str]:
    """Return a key for each of the recipe's frozen encoders, in order; equal keys mean equal features."""
    how = recipe.model_dump(mode="json", exclude=_BESIDE_THE_ENCODER)
    return [digest([backbone, how]) for backbone in recipe.backbones]


def open_encoder(recipe: EncoderHeadRecipe | BlendRecipe, cache: Path | None = None) -> Encoder:
    """Open the recipe's frozen encoders with torch; several are joined.

    A blend has the encoders of all its members, without duplicates; `member_encoder` returns those of one member.

    Raises:
        MissingExtra, MissingModel: torch or a backbone is not installed.
        RecipeError: no member of a blend uses an encoder.
    """
    # Importing torch takes seconds, too.
    with steps("opening the network", None):
        require("torch", "train")
        from potstill.students.torch.encoder import TorchEncoder

        def opening(member: EncoderHeadRecipe, backbone: str) -> Encoder:
            return TorchEncoder.open(
                backbone, max_tokens=member.max_tokens, pooling=member.pooling, layers=member.layers, cache=cache
            )

        return assembled(recipe, opening)


def assembled(recipe: EncoderHeadRecipe | BlendRecipe, opening: Callable[[EncoderHeadRecipe, str], Encoder]) -> Encoder:
    """Join the recipe's encoders; `opening` is called with a member and a backbone, once per distinct encoder.

    Raises:
        RecipeError: no member of a blend uses an encoder.
    """
    opened: dict[str, Encoder] = {}
    for member in reading_members(recipe):
        for name, key in zip(member.backbones, part_keys(member), strict=True):
            if key not in opened:
                opened[key] = opening(member, name)
    if not opened:
        raise RecipeError(f"{recipe.name}: no member reads with an encoder")
    keys = part_keys(recipe) if recipe.student == "encoder-head" else list(opened)
    return joined([opened[key] for key in keys])


def reading_members(recipe: EncoderHeadRecipe | BlendRecipe) -> list[EncoderHeadRecipe]:
    """Return the recipe itself, or the members of a blend that use an encoder."""
    members = [recipe] if recipe.student == "encoder-head" else recipe.members
    return [member for member in members if member.student == "encoder-head"]


def member_encoder(recipe: BlendRecipe, member: EncoderHeadRecipe, encoder: Encoder) -> Encoder:
    """Return a member's part of a blend's encoder that `open_encoder` made."""
    keys = list(dict.fromkeys(key for one in reading_members(recipe) for key in part_keys(one)))
    parts = dict(zip(keys, parts_of(encoder), strict=True))
    return joined([parts[key] for key in part_keys(member)])


def restore_encoder(settings: Mapping[str, Any], folder: Path, cache: Path | None = None) -> Encoder:
    """Open the encoder described by `settings` with torch, with trained weights from `folder` if there are any.

    Raises:
        MissingExtra, MissingModel: torch or the backbone is not installed.
        BundleError: the installed backbone has other weights than the student was made with.
    """
    if "parts" in settings:
        return JoinedEncoder(
            tuple(restore_encoder(part, folder / str(place), cache) for place, part in enumerate(settings["parts"]))
        )
    require("torch", "train")
    if "adapter" in settings:
        from potstill.students.torch.adapted import AdaptedEncoder

        return AdaptedEncoder.restore(settings, folder)
    from potstill.students.torch.encoder import TorchEncoder

    return TorchEncoder.restore(settings, folder, cache=cache)


def _described(part: Encoder) -> DescribedEncoder:
    if not isinstance(part, DescribedEncoder):
        raise BundleError(f"{type(part).__name__} cannot be saved: it does not say what it is")
    return part
