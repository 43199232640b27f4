"""Recipes: how a student is made, as data.

In: a preset's name or the path of a YAML file. Out: a strict object. The presets ship in `builtin/recipes`.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from potstill.errors import BadInput, FilterError, RecipeError
from potstill.files import digest, read_text
from potstill.filters.reading import read_yaml
from potstill.records import Part, first_fault
from potstill.students.encoding import Window  # noqa: TC001 - pydantic reads it when the class is made
from potstill.students.graded import LINKS, Decode, Link
from potstill.students.pieces import Pieces  # noqa: TC001 - pydantic reads it when the class is made

Learned = Literal["score", "distribution"]
"""What is learned: scores themselves, or how likely each level is not exceeded; the score is then the median."""

Candidates = Annotated[tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...], Field(min_length=1)]
"""Candidates of which inner cross-validation takes one; a single one is taken as it is."""


Weighing = Literal["absolute-error", "squared-error", "equal"]
"""Which error the weights of several students' scores make least, in each dimension; `equal` looks at none."""

Precision = Literal["auto", "fp32", "bf16"]
"""What a network is trained in; `auto` is bfloat16 where the device multiplies it natively, else float32."""

LATER: dict[str, JsonValue] = {"later": True}
"""Marks, as `json_schema_extra`, a field that recipes gained after students had been made without it."""


class _Recipe(Part):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    description: str = ""

    @property
    def hash(self) -> str:
        """SHA-256 of what the recipe does; its name and description are not part of it."""
        return self.digest_without()

    def digest_without(self, *others: str) -> str:
        """SHA-256 of what the recipe does but for some fields.

        A field marked `LATER` counts only where it is set, so that recipes from before it keep their hash.
        """
        unused = {
            name
            for name, field in type(self).model_fields.items()
            if field.json_schema_extra == LATER and getattr(self, name) == field.default
        }
        return digest(self.model_dump(mode="json", exclude={"name", "description", *others, *unused}))


class ConstantRecipe(_Recipe):
    """Each dimension's median: the baseline of every error."""

    student: Literal["constant"]


class SourceMedianRecipe(_Recipe):
    """Each source's median, to show what could be had without reading; it is never shipped."""

    student: Literal["source-median"]


class TfidfRecipe(_Recipe):
    """TF-IDF of words and characters, and ridge regression; alpha chosen by inner cross-validation."""

    student: Literal["tfidf-ridge"]
    words: tuple[int, int] | None = (1, 2)
    """Shortest and longest n-gram of words."""
    characters: tuple[int, int] | None = (3, 5)
    """Shortest and longest n-gram of characters."""
    min_documents: int = Field(default=2, ge=1)
    max_features: int = Field(default=200_000, ge=10)
    """The most n-grams of words, and of characters."""
    alphas: Candidates = (0.03, 0.1, 0.3, 1.0, 3.0)
    learns: Learned = "score"

    @model_validator(mode="after")
    def _legal_spans(self) -> TfidfRecipe:
        if self.words is None and self.characters is None:
            raise ValueError("neither words nor characters are read; give one of them")
        # A term is packed into 64 bits; more symbols would leave too few for each.
        for name, span, longest in (("words", self.words, 3), ("characters", self.characters, 5)):
            if span is not None and not 1 <= span[0] <= span[1] <= longest:
                raise ValueError(f"{name}: {list(span)} is no range of n-grams; legal is from 1 up to {longest}")
        return self


class RidgeHead(Part):
    """Ridge regression on features; alpha chosen by inner cross-validation."""

    kind: Literal["ridge"]
    alphas: Candidates = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class KernelHead(Part):
    """RBF support vector regression on centred unit features; C and gamma chosen by inner cross-validation."""

    kind: Literal["support-vectors"]
    C: Candidates = (3.0, 10.0)
    gamma: Candidates = (0.5, 1.0)
    epsilon: float = Field(default=0.1, ge=0)


class KernelRidgeHead(Part):
    """RBF ridge regression on centred unit features; alpha and gamma chosen by inner cross-validation."""

    kind: Literal["rbf-ridge"]
    alphas: Candidates = (0.1, 0.3, 1.0)
    gamma: Candidates = (0.5, 1.0, 2.0)


HeadRecipe = Annotated[RidgeHead | KernelHead | KernelRidgeHead, Field(discriminator="kind")]


class EncoderHeadRecipe(_Recipe):
    """Frozen encoders, whose features are joined, and a head fitted in seconds."""

    student: Literal["encoder-head"]
    backbones: tuple[str, ...] = Field(default=("all-MiniLM-L6-v2",), min_length=1)
    max_tokens: int = Field(default=512, ge=8)
    pooling: Literal["mean", "cls", "last"] = "mean"
    layers: tuple[int, ...] = ()
    """Hidden layers whose pooled states stand side by side: -1 is the last, 0 the embeddings. None: the last alone."""
    pieces: Pieces | None = None
    """How texts beyond `max_tokens` are read; cut where it is not given."""
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
    """A backbone and a linear head trained together; with `lora` the backbone itself stays as it is."""

    student: Literal["fine-tuned"]
    backbone: str = "all-MiniLM-L6-v2"
    lora: Lora | None = None
    bidirectional: bool = Field(default=False, json_schema_extra=LATER)
    """Whether a decoder's tokens attend to those behind them too; it must learn that, so it wants `lora` or more."""
    freeze_embeddings: bool = False
    freeze_backbone: bool = Field(default=False, json_schema_extra=LATER)
    """Whether the backbone stays as it is, so that pooling and head alone train: each text is then read once."""
    keep_layers: Annotated[int, Field(ge=1)] | Annotated[tuple[int, ...], Field(min_length=1)] | None = Field(
        default=None, json_schema_extra=LATER
    )
    """Layers of the backbone that are kept from the start: how many, evenly spread, or which, from 0. None: all."""
    attention_dropout: float | None = Field(default=None, ge=0, lt=1, json_schema_extra=LATER)
    """Share of the attention that is dropped in training; None: what the backbone's configuration says. Without any a
    CPU attends in one fused step."""
    head_bias: bool = True
    pooling: Literal["mean", "cls", "last", "attention"] = "mean"
    queries: int = Field(default=4, ge=1, le=64, json_schema_extra=LATER)
    """Learned queries of attention pooling; each gives the head a vector as wide as the network."""
    layers: tuple[int, ...] = Field(default=(), json_schema_extra=LATER)
    """Hidden layers that are mixed by learned weights: -1 is the last, 0 the embeddings. None: the last alone."""
    max_tokens: int = Field(default=256, ge=8)
    window: Window = Field(default="head", json_schema_extra=LATER)
    """What is read of a text beyond `max_tokens`: its first tokens, or as many of its first as of its last."""
    instruction: bool = Field(default=False, json_schema_extra=LATER)
    """Whether the filter's rubric is read before every text; it takes its tokens from `max_tokens`."""
    objective: Literal["mse", "huber", "l1", "ordinal", "corn", "distribution"] = "huber"
    decode: Decode = "median"
    """What is said of a distribution; read by `ordinal`, `corn` and `distribution` alone."""
    ranking_weight: float = Field(default=0.0, ge=0, le=100)
    """How much the order of a batch's scores counts beside their errors (ListNet)."""
    rare_weight: float = Field(default=0.0, ge=0, le=1)
    """0: all labels count alike; 1: as one over how frequent they are."""
    spread_weight: bool = False
    """Whether labels on which the oracle's answers lay far apart count less."""
    epochs: int = Field(default=3, ge=1)
    patience: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0)
    head_learning_rate: float | None = Field(default=None, gt=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """What a layer's learning rate is times that of the layer above; the last has `learning_rate`."""
    warmup_steps: int | None = Field(default=None, ge=0)
    warmup_share: float | None = Field(default=None, ge=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1, json_schema_extra=LATER)
    """How much of a running mean of the weights stays at each step; the mean is what is evaluated and kept."""
    precision: Precision = "auto"
    checkpoint_steps: int | None = Field(default=None, ge=1)
    """Steps between checkpoints; one at each epoch's end where it is not given."""
    seed_offset: int = Field(default=0, ge=0, json_schema_extra=LATER)
    """Added to the seed of head, adapter, batches and dropout, so that a run can hold a recipe several times."""

    @model_validator(mode="after")
    def _one_warmup(self) -> FineTunedRecipe:
        if self.warmup_steps is not None and self.warmup_share is not None:
            raise ValueError("warmup_steps and warmup_share are both given; keep one")
        return self

    @model_validator(mode="after")
    def _one_way_to_train(self) -> FineTunedRecipe:
        if self.freeze_backbone and self.lora is not None:
            raise ValueError("freeze_backbone and lora are both given; an adapter changes the backbone, keep one")
        if len(set(self.layers)) < len(self.layers):
            raise ValueError(f"layers: {list(self.layers)} names a layer twice")
        return self

    @model_validator(mode="after")
    def _one_choice_of_layers(self) -> FineTunedRecipe:
        if self.keep_layers is None:
            return self
        if self.lora is not None or self.freeze_backbone:
            raise ValueError("keep_layers makes a backbone that must learn anew; leave out lora and freeze_backbone")
        if self.layers:
            raise ValueError("keep_layers and layers are both given; keep one")
        if isinstance(self.keep_layers, tuple) and sorted(set(self.keep_layers)) != list(self.keep_layers):
            raise ValueError(f"keep_layers: {list(self.keep_layers)} do not rise")
        return self

    @model_validator(mode="after")
    def _ranked_scores(self) -> FineTunedRecipe:
        if self.link is not None and self.ranking_weight:
            raise ValueError(f"ranking_weight orders scores; {self.objective} learns none, take mse, huber or l1")
        return self

    @property
    def learned_queries(self) -> int:
        """Queries of attention pooling; none for another pooling."""
        return self.queries if self.pooling == "attention" else 0

    @property
    def link(self) -> Link | None:
        """How outputs are read where the objective is a distribution; None where they are scores."""
        return next((link for link in LINKS if link == self.objective), None)


Member = Annotated[ConstantRecipe | TfidfRecipe | EncoderHeadRecipe, Field(discriminator="student")]
"""What a blend may be made of: students that are fitted in seconds, since each is fitted again without each fold."""


class BlendRecipe(_Recipe):
    """The weighted mean of several students' scores, the weights chosen on scores of rows that they had not seen."""

    student: Literal["blend"]
    members: tuple[Member, ...] = Field(min_length=2)
    """Presets by name, or recipes written out."""
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
        """SHA-256 of what the recipe does: its members' hashes in order, and how they are weighed."""
        return digest([self.student, [member.hash for member in self.members], self.weights])


class DistilledRecipe(_Recipe):
    """A student that learns from a stronger one's scores besides the labels; the stronger one is in the same run."""

    student: Literal["distilled"]
    teacher: str = Field(min_length=1)
    """A student of the run by its name, or the folder of a student or of a bundle."""
    pupil: Annotated[TfidfRecipe | EncoderHeadRecipe | FineTunedRecipe | BlendRecipe, Field(discriminator="student")]
    """What learns: a preset by name, or a recipe written out."""
    unlabelled: bool = True
    """Whether it also learns the teacher's scores of the run's articles that have no label."""

    @field_validator("pupil", mode="before")
    @classmethod
    def _named_preset(cls, pupil: object) -> object:
        return _preset(pupil, *_PUPILS) if isinstance(pupil, str) else pupil

    @property
    def hash(self) -> str:
        """SHA-256 of what the recipe does; who the teacher is, beyond its name, is not part of it."""
        return digest([self.student, self.teacher, self.pupil.hash, self.unlabelled])


class EnsembleRecipe(_Recipe):
    """The mean of students of a run, weighted or not: of those named, or of a fine-tuned recipe with several seeds."""

    student: Literal["ensemble"]
    members: tuple[str, ...] = ()
    """Names of the run's students."""
    of: FineTunedRecipe | None = None
    """A preset by name, or a recipe written out, that is trained once a seed."""
    seeds: int = Field(default=3, ge=2, le=20)
    weights: Weighing = "equal"
    """Other weights than equal ones are chosen on the validation part, which no member learned from."""

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
        """The recipe once a seed, the first under its own name; none where members are named."""
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
        """The members' names."""
        return self.members or tuple(recipe.name for recipe in self.made)

    @property
    def hash(self) -> str:
        """SHA-256 of what the recipe does."""
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
_PUPILS = ("tfidf-ridge", "encoder-head", "fine-tuned", "blend")
_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(Annotated[Recipe, Field(discriminator="student")])


def presets() -> list[str]:
    """The names of the recipes that ship."""
    return sorted(file.name.removesuffix(".yaml") for file in _builtin().iterdir() if file.name.endswith(".yaml"))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A preset by name, or a recipe file by path.

    Raises:
        RecipeError: there is no such preset or file, or its content is not legal; the message names the path
            to the fault, what came and what was legal.
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
    """A recipe from the text of a YAML file; `where` names it in errors.

    Raises:
        RecipeError: as `load_recipe`; it is read as strictly as a filter, so a key given twice is an error too.
    """
    try:
        content, _ = read_yaml(text, where)
    except FilterError as error:
        raise RecipeError(str(error)) from None
    try:
        return _ADAPTER.validate_json(json.dumps(content))
    except ValidationError as error:
        raise RecipeError(f"{where}: {first_fault(error)}") from None


def _preset(name: str, *legal: str) -> Recipe:
    """A preset of a legal kind; pydantic makes an error of a field of any ValueError."""
    if name not in presets():
        raise ValueError(f"{name}: no such recipe; presets: {', '.join(presets())}")
    found = load_recipe(name)
    if found.student not in legal:
        raise ValueError(f"{name} is a {found.student} student; legal are {', '.join(legal)}")
    return found


def _builtin() -> Any:  # noqa: ANN401 - importlib's Traversable has no stable public name across versions
    return files("potstill") / "builtin" / "recipes"
