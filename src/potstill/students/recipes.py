"""Recipes: declarative descriptions of how a student is made.

Input: the name of a preset or the path of a YAML file. Output: a strictly validated object. The presets are in
`builtin/recipes`.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import (
    AliasChoices,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from potstill.errors import BadInput, FilterError, RecipeError
from potstill.files import digest, read_text
from potstill.filters.reading import read_yaml
from potstill.records import REMOVED, Part, first_fault
from potstill.students.chunks import Chunks  # noqa: TC001 - pydantic reads it when the class is made
from potstill.students.ordinal import Decode, TrainedLink  # noqa: TC001 - as below

if TYPE_CHECKING:
    from collections.abc import Mapping

Learned = Literal["score", "distribution"]
"""Training target: the scores themselves, or the cumulative probability of each level (the score is its median)."""

Candidates = Annotated[tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...], Field(min_length=1)]
"""Hyperparameter candidates; inner cross-validation selects one. A single candidate is used without selection."""


Weighing = Literal["absolute-error", "squared-error", "equal"]
"""Error that the weights of several students minimize, per dimension; `equal` gives all students the same weight."""

Precision = Literal["auto", "fp32", "bf16"]
"""Training precision; `auto` is bfloat16 on devices that multiply it natively, otherwise float32."""

LATER: dict[str, JsonValue] = {"later": True}
"""Marks (as `json_schema_extra`) a field that was added to recipes after students had been trained without it."""


class Removed(NamedTuple):
    """A field of earlier recipes that was removed."""

    reason: str
    unset: JsonValue
    """The value with which the field had no effect; it is accepted and ignored."""
    hashed: bool = False
    """Whether the hash of a recipe without the field still includes `unset`, because it did before the removal."""


_UNMEASURED = "no measurement showed a benefit"


class _Recipe(Part):
    removed: ClassVar[Mapping[str, Removed]] = MappingProxyType({})
    """Fields that recipes of earlier versions may hold."""
    removed_values: ClassVar[Mapping[str, Mapping[str, str]]] = MappingProxyType({})
    """Values of fields that recipes of earlier versions may hold, and why they were removed."""
    hashed_as: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Fields that were renamed, with the names that they keep in hashes."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    description: str = ""

    @model_validator(mode="before")
    @classmethod
    def _without_removed(cls, content: object, info: ValidationInfo) -> object:
        """Leave out removed fields that have no effect; in a record, leave out all removed fields and values."""
        if not isinstance(content, dict):
            return content
        recorded = bool(info.context and info.context.get("recorded"))
        kept = {}
        for name, value in content.items():
            reason = cls._reason_of_removal(name, value)
            if reason is not None and not recorded:
                raise PydanticCustomError(REMOVED, "{fault}", {"fault": f"{name}: {reason}"})
            if reason is None and name not in cls.removed:
                kept[name] = value
        return kept

    @classmethod
    def _reason_of_removal(cls, name: str, value: object) -> str | None:
        """Return why a field or its value was removed; None for what is still legal or has no effect."""
        field = cls.removed.get(name)
        if field is not None and value != field.unset:
            return f"this option was removed, because {field.reason}; leave it out"
        why = cls.removed_values.get(name, {}).get(value) if isinstance(value, str) else None
        return why and f"{value!r} was removed, because {why}; choose another value or leave it out"

    @property
    def hash(self) -> str:
        """SHA-256 of the recipe's effective content, without its name and description."""
        return self.digest_without()

    def digest_without(self, *others: str) -> str:
        """Return the SHA-256 of the recipe's effective content, leaving out some fields.

        A field marked `LATER` is included only if it is set, so that recipes written before it existed keep their hash.
        """
        unused = {
            name
            for name, field in type(self).model_fields.items()
            if field.json_schema_extra == LATER and getattr(self, name) == field.default
        }
        content = self.model_dump(mode="json", exclude={"name", "description", *unused})
        content |= {name: field.unset for name, field in self.removed.items() if field.hashed}
        return digest({self.hashed_as.get(name, name): content[name] for name in content if name not in others})


class ConstantRecipe(_Recipe):
    """Each dimension's median: the baseline that every error is compared with."""

    student: Literal["constant"]


class SourceMedianRecipe(_Recipe):
    """Each source's median: a baseline that does not read the text. It is never shipped."""

    student: Literal["source-median"]


class TfidfRecipe(_Recipe):
    """Ridge regression on TF-IDF of word and character n-grams; alpha is chosen by inner cross-validation."""

    student: Literal["tfidf-ridge"]
    words: tuple[int, int] | None = (1, 2)
    """Shortest and longest word n-gram."""
    characters: tuple[int, int] | None = (3, 5)
    """Shortest and longest character n-gram."""
    min_documents: int = Field(default=2, ge=1)
    max_features: int = Field(default=200_000, ge=10)
    """Maximum number of word n-grams and, separately, of character n-grams."""
    alphas: Candidates = (0.03, 0.1, 0.3, 1.0, 3.0)
    learns: Learned = "score"

    @model_validator(mode="after")
    def _legal_spans(self) -> TfidfRecipe:
        if self.words is None and self.characters is None:
            raise ValueError("neither words nor characters are read; give one of them")
        # A term is packed into 64 bits; longer n-grams would leave too few bits for each symbol.
        for name, span, longest in (("words", self.words, 3), ("characters", self.characters, 5)):
            if span is not None and not 1 <= span[0] <= span[1] <= longest:
                raise ValueError(f"{name}: {list(span)} is no range of n-grams; legal is from 1 up to {longest}")
        return self


class RidgeHead(Part):
    """Ridge regression on features; alpha is chosen by inner cross-validation."""

    kind: Literal["ridge"]
    alphas: Candidates = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class KernelHead(Part):
    """RBF support vector regression on centred unit-norm features; C and gamma are chosen by inner cross-validation."""

    kind: Literal["support-vectors"]
    C: Candidates = (3.0, 10.0)
    gamma: Candidates = (0.5, 1.0)
    epsilon: float = Field(default=0.1, ge=0)


class KernelRidgeHead(Part):
    """RBF kernel ridge regression on centred unit-norm features; inner cross-validation chooses alpha and gamma."""

    kind: Literal["rbf-ridge"]
    alphas: Candidates = (0.1, 0.3, 1.0)
    gamma: Candidates = (0.5, 1.0, 2.0)


HeadRecipe = Annotated[RidgeHead | KernelHead | KernelRidgeHead, Field(discriminator="kind")]


class EncoderHeadRecipe(_Recipe):
    """Frozen encoders with concatenated features, and a head that is fitted in seconds."""

    hashed_as: ClassVar[Mapping[str, str]] = MappingProxyType({"chunks": "pieces"})

    student: Literal["encoder-head"]
    backbones: tuple[str, ...] = Field(default=("all-MiniLM-L6-v2",), min_length=1)
    max_tokens: int = Field(default=512, ge=8)
    pooling: Literal["mean", "cls", "last"] = "mean"
    layers: tuple[int, ...] = ()
    """Hidden layers whose pooled states are concatenated: -1 is the last, 0 the embeddings. Empty: only the last."""
    chunks: Chunks | None = Field(default=None, validation_alias=AliasChoices("chunks", "pieces"))
    """How texts longer than `max_tokens` are split into chunks; they are truncated if not given."""
    learns: Learned = "score"
    head: HeadRecipe

    @model_validator(mode="after")
    def _learnable(self) -> EncoderHeadRecipe:
        if self.learns == "distribution" and self.head.kind == "support-vectors":
            raise ValueError("support-vectors learn scores, not distributions; take rbf-ridge or ridge")
        if len(set(self.layers)) < len(self.layers):
            raise ValueError(f"layers: {list(self.layers)} names a layer twice")
        return self


class Lora(Part):
    """Low-rank adapters (Hu et al. 2021) on the named linear layers."""

    rank: int = Field(ge=1)
    alpha: float = Field(gt=0)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    targets: tuple[str, ...] = Field(min_length=1)


class FineTunedRecipe(_Recipe):
    """A backbone and a linear head that are trained jointly; with `lora` the backbone's own weights are frozen."""

    removed: ClassVar[Mapping[str, Removed]] = MappingProxyType(
        {
            "ranking_weight": Removed(
                "a ranking loss did not lower the error (MAE 0.917 with mse, 0.909 without it)", 0.0, hashed=True
            ),
            "rare_weight": Removed(
                "weighting rare labels raised the error (MAE 0.940 with huber, 0.902 without it)", 0.0, hashed=True
            ),
            "spread_weight": Removed(_UNMEASURED, unset=False, hashed=True),
            "layer_decay": Removed(_UNMEASURED, 1.0, hashed=True),
            "ema": Removed(_UNMEASURED, None),
            "bidirectional": Removed(_UNMEASURED, unset=False),
            "freeze_backbone": Removed(
                f"{_UNMEASURED}; a recipe with `student: encoder-head` has a frozen backbone", unset=False
            ),
            "queries": Removed(_UNMEASURED, 4),
            "layers": Removed(_UNMEASURED, []),
            "window": Removed(_UNMEASURED, "head"),
        }
    )
    removed_values: ClassVar[Mapping[str, Mapping[str, str]]] = MappingProxyType(
        {
            "pooling": {"attention": _UNMEASURED},
            "objective": {
                "l1": "its error is that of huber (MAE 0.896 and 0.902; another random seed moves it by 0.007)",
                "ordinal": "corn learns the same distribution with a lower error (MAE 0.813, ordinal 0.845)",
            },
        }
    )

    student: Literal["fine-tuned"]
    backbone: str = "all-MiniLM-L6-v2"
    lora: Lora | None = None
    freeze_embeddings: bool = False
    keep_layers: Annotated[int, Field(ge=1)] | Annotated[tuple[int, ...], Field(min_length=1)] | None = Field(
        default=None, json_schema_extra=LATER
    )
    """Backbone layers to keep: a number (evenly spaced) or a list of indices from 0. None: all layers."""
    attention_dropout: float | None = Field(default=None, ge=0, lt=1, json_schema_extra=LATER)
    """Attention dropout probability in training; None: the value in the backbone's configuration. At 0, a CPU computes
    attention in one fused step."""
    head_bias: bool = True
    pooling: Literal["mean", "cls", "last"] = "mean"
    max_tokens: int = Field(default=256, ge=8)
    instruction: bool = Field(default=False, json_schema_extra=LATER)
    """Whether the filter's rubric is prepended to every text; it uses up part of `max_tokens`."""
    objective: Literal["mse", "huber", "corn", "distribution"] = "huber"
    decode: Decode = "median"
    """How a predicted distribution becomes a score; used only by `corn` and `distribution`."""
    epochs: int = Field(default=3, ge=1)
    patience: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0)
    head_learning_rate: float | None = Field(default=None, gt=0)
    warmup_steps: int | None = Field(default=None, ge=0)
    warmup_share: float | None = Field(default=None, ge=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    precision: Precision = "auto"
    checkpoint_steps: int | None = Field(default=None, ge=1)
    """Steps between checkpoints; if not given, one checkpoint is written at the end of each epoch."""
    seed_offset: int = Field(default=0, ge=0, json_schema_extra=LATER)
    """Added to the random seed of head, adapter, batches and dropout, so that a run can train a recipe several
    times."""

    @model_validator(mode="after")
    def _one_warmup(self) -> FineTunedRecipe:
        if self.warmup_steps is not None and self.warmup_share is not None:
            raise ValueError("warmup_steps and warmup_share are both given; keep one")
        return self

    @model_validator(mode="after")
    def _one_choice_of_layers(self) -> FineTunedRecipe:
        if self.keep_layers is None:
            return self
        if self.lora is not None:
            raise ValueError("keep_layers needs a backbone whose own weights are trained; leave out lora")
        if isinstance(self.keep_layers, tuple) and sorted(set(self.keep_layers)) != list(self.keep_layers):
            raise ValueError(f"keep_layers: {list(self.keep_layers)} do not rise")
        return self

    @property
    def link(self) -> TrainedLink | None:
        """How outputs are read if the objective is a distribution; None if outputs are scores."""
        match self.objective:
            case "corn" | "distribution":
                return self.objective
            case _:
                return None


Member = Annotated[ConstantRecipe | TfidfRecipe | EncoderHeadRecipe, Field(discriminator="student")]
"""Possible members of a blend: students fitted in seconds, since each is refitted for every cross-validation fold."""


class BlendRecipe(_Recipe):
    """The weighted mean of several students' scores; the weights are chosen on out-of-fold scores."""

    student: Literal["blend"]
    members: tuple[Member, ...] = Field(min_length=2)
    """Presets by name, or recipes written out in full."""
    weights: Weighing = "absolute-error"

    @field_validator("members", mode="before")
    @classmethod
    def _named_presets(cls, members: object) -> object:
        if not isinstance(members, list | tuple):
            return members
        return tuple(_preset(member, *_MEMBERS) if isinstance(member, str) else member for member in members)

    @model_validator(mode="after")
    def _different(self) -> BlendRecipe:
        names = [member.name for member in self.members]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"members: {twice[0]} is named twice")
        return self

    @property
    def hash(self) -> str:
        """SHA-256 of the recipe's effective content: the hashes of its members in order, and the weighting."""
        return digest([self.student, [member.hash for member in self.members], self.weights])


Distillable = Annotated[TfidfRecipe | EncoderHeadRecipe | FineTunedRecipe | BlendRecipe, Field(discriminator="student")]
"""Recipes of students that can learn from a teacher."""


class DistilledRecipe(_Recipe):
    """A student that learns from a stronger student's scores in addition to the labels."""

    student: Literal["distilled"]
    teacher: str = Field(min_length=1)
    """Name of a student in the same run, or the folder of a student or bundle."""
    recipe: Distillable = Field(validation_alias=AliasChoices("recipe", "pupil"))
    """The recipe of the student that learns from the teacher: a preset by name, or written out in full."""
    unlabelled: bool = True
    """Whether the student also learns from the teacher's scores of the run's unlabelled articles."""

    @field_validator("recipe", mode="before")
    @classmethod
    def _named_preset(cls, recipe: object) -> object:
        return _preset(recipe, *_DISTILLABLE) if isinstance(recipe, str) else recipe

    @property
    def hash(self) -> str:
        """SHA-256 of the recipe's effective content; of the teacher only the name is included."""
        return digest([self.student, self.teacher, self.recipe.hash, self.unlabelled])


class EnsembleRecipe(_Recipe):
    """The mean, optionally weighted, of named students of a run, or of one fine-tuned recipe with several seeds."""

    student: Literal["ensemble"]
    members: tuple[str, ...] = ()
    """Names of students in the run."""
    of: FineTunedRecipe | None = None
    """A preset by name, or a recipe written out in full, that is trained once per seed."""
    seeds: int = Field(default=3, ge=2, le=20)
    weights: Weighing = "equal"
    """How members are weighted; weights other than equal are chosen on the validation part, which no member trained
    on."""

    @field_validator("of", mode="before")
    @classmethod
    def _named_preset(cls, of: object) -> object:
        return _preset(of, "fine-tuned") if isinstance(of, str) else of

    @model_validator(mode="after")
    def _different(self) -> EnsembleRecipe:
        if (self.of is None) == (len(self.members) < 2):
            raise ValueError("give members, two or more, or else of, a fine-tuned recipe")
        names = self.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or self.name in names:
            raise ValueError(f"members: {twice[0]} is named twice" if twice else "members: it is its own member")
        return self

    @property
    def made(self) -> tuple[FineTunedRecipe, ...]:
        """The recipe once per seed, the first under its own name; empty if members are named."""
        of = self.of
        if of is None:
            return ()
        others = (
            of.model_copy(update={"name": f"{of.name}-seed-{place}", "seed_offset": of.seed_offset + place})
            for place in range(1, self.seeds)
        )
        return (of, *others)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members."""
        return self.members or tuple(recipe.name for recipe in self.made)

    @property
    def hash(self) -> str:
        """SHA-256 of the recipe's effective content."""
        weighed = () if self.weights == "equal" else (self.weights,)
        return digest([self.student, self.names, [recipe.hash for recipe in self.made], *weighed])


Recipe = (
    ConstantRecipe
    | SourceMedianRecipe
    | TfidfRecipe
    | EncoderHeadRecipe
    | FineTunedRecipe
    | BlendRecipe
    | DistilledRecipe
    | EnsembleRecipe
)
_MEMBERS = ("constant", "tfidf-ridge", "encoder-head")
_DISTILLABLE = ("tfidf-ridge", "encoder-head", "fine-tuned", "blend")
_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(Annotated[Recipe, Field(discriminator="student")])


def presets() -> list[str]:
    """Return the names of the built-in recipes."""
    return sorted(file.name.removesuffix(".yaml") for file in _builtin().iterdir() if file.name.endswith(".yaml"))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Load a preset by name, or a recipe file by path.

    Raises:
        RecipeError: there is no such preset or file, or its content is invalid; the message names the path to the
            error, the value found and the values allowed.
    """
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise RecipeError(f"{path}: no such recipe file")
        try:
            text = read_text(path)
        except BadInput as error:
            raise RecipeError(str(error)) from None
        return parse_recipe(text, str(path))
    preset = _builtin() / f"{name_or_path}.yaml"
    if not preset.is_file():
        raise RecipeError(f"{name_or_path}: no such recipe; presets: {', '.join(presets())}, or a path to a .yaml")
    return parse_recipe(preset.read_text(encoding="utf-8"), f"{name_or_path}.yaml")


def parse_recipe(text: str, where: str) -> Recipe:
    """Parse a recipe from the text of a YAML file; `where` names it in error messages.

    Raises:
        RecipeError: as `load_recipe`. Parsing is as strict as for a filter, so a duplicate key is an error too.
    """
    try:
        content, _ = read_yaml(text, where)
    except FilterError as error:
        raise RecipeError(str(error)) from None
    try:
        return _ADAPTER.validate_json(json.dumps(content))
    except ValidationError as error:
        raise RecipeError(f"{where}: {first_fault(error)}") from None


def recorded_recipe(content: Mapping[str, Any], where: str) -> Recipe:
    """Read the recipe of a student's record; fields and values that were removed since are left out.

    Such a student can still be loaded, but the recipe no longer describes how it was fitted.

    Raises:
        RecipeError: as `parse_recipe`.
    """
    try:
        return _ADAPTER.validate_json(json.dumps(content), context={"recorded": True})
    except ValidationError as error:
        raise RecipeError(f"{where}: {first_fault(error)}") from None


def _preset(name: str, *legal: str) -> Recipe:
    """Load a preset of an allowed type; pydantic turns any ValueError into an error of the field."""
    if name not in presets():
        raise ValueError(f"{name}: no such recipe; presets: {', '.join(presets())}")
    found = load_recipe(name)
    if found.student not in legal:
        raise ValueError(f"{name} is a {found.student} student; legal are {', '.join(legal)}")
    return found


def _builtin() -> Any:  # noqa: ANN401 - importlib's Traversable has no stable public name across versions
    return files("potstill") / "builtin" / "recipes"
