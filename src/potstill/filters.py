"""Filters: what to judge, as data.

In: a folder with `filter.yaml` and `rubric.md`, or the name of one that ships. Out: a strict, frozen `Filter`
that every other stage reads its weights, scale, window and rules from. Whatever in the YAML would not be read,
or could never have an effect, is an error that names its path and its line.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from potstill.conditions import KEYWORDS, Condition, can_hold, parse
from potstill.errors import ConditionError, FilterError
from potstill.files import digest, write_text
from potstill.prefilter import Prefilter, TermRule, fold, matcher
from potstill.records import DROPPED, UNSCORED, FloatArray
from potstill.text import Window
from potstill.verdict import MOST_LIMITS, OVERALL, Cap, Gate, Tier

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

YAML_NAME = "filter.yaml"
RUBRIC_NAME = "rubric.md"

RESERVED = frozenset(
    {OVERALL, "id", "title", "content", "text", "extra", "tier", "gates", "caps", "reason"}
    | {word.lower() for word in KEYWORDS}
)
"""Names that no dimension may have, in any case: columns of a verdict, and words of conditions."""

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_MOST_DIMENSIONS = 64


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Scale(_Part):
    """The range of every score, both ends included."""

    # A mean of larger numbers could not be rounded to nine decimals.
    min: float = Field(default=0.0, ge=-1e6, le=1e6)
    max: float = Field(default=10.0, ge=-1e6, le=1e6)

    @model_validator(mode="after")
    def _has_width(self) -> Scale:
        if self.min >= self.max:
            raise ValueError(f"min {self.min:g} is not below max {self.max:g}")
        return self


class Dimension(_Part):
    """Something to score, and its weight in `overall`."""

    weight: float = Field(ge=0, le=1)
    description: str = Field(min_length=1)


class Example(_Part):
    """An article with the scores it should get, shown to the oracle."""

    title: str = ""
    content: str = Field(min_length=1)
    scores: dict[str, float]
    evidence: str = ""


class Filter(_Part):
    """A filter package, checked as a whole; see docs/filters.md for each field."""

    name: str = Field(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$", max_length=100)
    version: int = Field(ge=1)
    description: str = ""
    scale: Scale = Scale()
    text: Window = Window()
    dimensions: dict[str, Dimension] = Field(min_length=1, max_length=_MOST_DIMENSIONS)
    gates: tuple[Gate, ...] = Field(default=(), max_length=MOST_LIMITS)
    caps: tuple[Cap, ...] = Field(default=(), max_length=MOST_LIMITS)
    tiers: tuple[Tier, ...] = Field(min_length=1)
    prefilter: Prefilter = Prefilter()
    examples: tuple[Example, ...] = ()
    rubric: str = Field(min_length=1)

    @property
    def dimension_names(self) -> tuple[str, ...]:
        """The dimensions, in the order of the YAML: the order of every array of scores."""
        return tuple(self.dimensions)

    @property
    def weights(self) -> FloatArray:
        """A weight per dimension, shape (dimensions,), in order, summing to 1."""
        weights = np.array([dimension.weight for dimension in self.dimensions.values()], dtype=np.float64)
        return weights / weights.sum()

    @property
    def tier_names(self) -> tuple[str, ...]:
        """All tiers, in order."""
        return tuple(tier.name for tier in self.tiers)

    @property
    def positive_tiers(self) -> tuple[str, ...]:
        """The tiers whose recall is measured, in order."""
        return tuple(tier.name for tier in self.tiers if tier.positive)

    @property
    def oracle_hash(self) -> str:
        """SHA-256 of all that labels depend on; weights, gates, caps, tiers and prefilter are not part of it."""
        return digest(
            {
                "dimensions": [[name, part.description] for name, part in self.dimensions.items()],
                "scale": self.scale.model_dump(mode="json"),
                "window": self.text.model_dump(mode="json"),
                "rubric": self.rubric,
                "examples": [example.model_dump(mode="json") for example in self.examples],
            }
        )

    @property
    def content_hash(self) -> str:
        """SHA-256 of all that has meaning: not of the YAML's comments and layout, or a condition's spelling."""
        content = self.model_dump(mode="json")
        content["dimensions"] = list(content["dimensions"].items())
        for key in ("gates", "caps", "tiers"):
            for part in content[key]:
                if part["when"] is not None:
                    part["when"] = str(parse(part["when"], self._names))
        return digest(content)

    @property
    def _names(self) -> tuple[str, ...]:
        return (*self.dimensions, OVERALL)

    @model_validator(mode="after")
    def _is_whole(self) -> Filter:
        for check in (_check_dimensions, _check_limits, _check_tiers, _check_examples):
            check(self)
        return self


class _FaultError(ValueError):
    """A fault of a filter as a whole, at a path inside it."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


class Finding(_Part):
    """Something about a filter that is legal and probably not meant."""

    path: str
    message: str


# -- in and out ----------------------------------------------------------------------------------------------


def builtin_filters() -> list[str]:
    """The names of the filters that ship."""
    return sorted(folder.name for folder in _builtin().iterdir() if (folder / YAML_NAME).is_file())


def load_filter(name_or_path: str | Path) -> Filter:
    """The filter of that name that ships, or the one in that folder.

    A bare name of a filter that ships means that one; write `./name` for a folder of the same name.

    Raises:
        FilterError: there is no such filter, or it is not legal; the message names the file, the line, the
            path inside it, what came and what was legal.
    """
    if isinstance(name_or_path, str) and name_or_path in builtin_filters():
        folder = _builtin() / name_or_path
        return parse_filter(
            (folder / YAML_NAME).read_text(encoding="utf-8"),
            (folder / RUBRIC_NAME).read_text(encoding="utf-8"),
            f"{name_or_path}/{YAML_NAME}",
        )
    path = Path(name_or_path)
    if path.name == YAML_NAME and path.is_file():
        path = path.parent
    if not path.is_dir():
        known = ", ".join(builtin_filters())
        raise FilterError(f"{name_or_path}: no such filter; filters that ship: {known}, or a folder with {YAML_NAME}")
    return parse_filter(_read(path / YAML_NAME), _read(path / RUBRIC_NAME), str(path / YAML_NAME))


def save_filter(filter_: Filter, folder: str | Path) -> None:
    """Write a filter package that `load_filter` reads back to an equal filter."""
    folder = Path(folder)
    write_text(folder / RUBRIC_NAME, filter_.rubric)
    content = filter_.model_dump(mode="json", exclude={"rubric"}, exclude_defaults=True)
    write_text(folder / YAML_NAME, yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))


def parse_filter(yaml_text: str, rubric: str, where: str) -> Filter:
    """A filter from the text of its two files; `where` names the YAML in errors.

    Raises:
        FilterError: see `load_filter`.
    """
    content, root = _parse_yaml(yaml_text, where)
    if not isinstance(content, dict):
        raise FilterError(f"{where}: holds no keys; expected {', '.join(_keys(Filter))}")
    if "rubric" in content:
        line = _line(root, ("rubric",))
        raise FilterError(f"{where}: line {line}: rubric: belongs in {RUBRIC_NAME} beside this file")
    rubric = "\n".join(rubric.splitlines()).strip()
    if not rubric:
        raise FilterError(f"{where}: {RUBRIC_NAME} is empty; it tells the oracle how to score")
    try:
        # As JSON, because strict models take lists for tuples there and still no "7" for 7.
        return Filter.model_validate_json(json.dumps({**content, "rubric": rubric + "\n"}))
    except ValidationError as error:
        raise FilterError(f"{where}: {_explain_fault(error, root)}") from None


# -- YAML ----------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML of keys, lists, strings, numbers and booleans: no aliases, tags, dates or doubled keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(None, None, "aliases (*name) are not read here", self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        if node is not None and node.tag not in _TAGS:
            raise yaml.MarkedYAMLError(None, None, f"the tag {node.tag} is not read here", node.start_mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key_node.tag != "tag:yaml.org,2002:str":
                raise yaml.MarkedYAMLError(None, None, f"the key {key} is not text; quote it", key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(None, None, f"the key {key} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null"))

# Dates are no part of a filter; as text they get the error of the field they stand in. Numbers such as 1e-3
# are numbers, which YAML 1.1 denies; 1:30 is not one.
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag.rpartition(":")[2] not in {"timestamp", "merge", "value", "int", "float"}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)


class _Dumper(yaml.SafeDumper):
    """Block style, with plain leaves on one line as people write them."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:  # noqa: ANN401, FBT001 - PyYAML's
        node = super().represent_mapping(tag, mapping, flow_style)
        node.flow_style = False
        return node


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FilterError(f"{path}: no such file; a filter is {YAML_NAME} and {RUBRIC_NAME} in one folder") from None
    except UnicodeDecodeError as error:
        raise FilterError(f"{path}: not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise FilterError(f"{path}: cannot be read ({error.strerror})") from None


def _parse_yaml(text: str, where: str) -> tuple[Any, yaml.Node | None]:
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        content = None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 0 if mark is None else mark.line
        shown = text.splitlines()[line] if line < len(text.splitlines()) else ""
        if "\t" in shown[: len(shown) - len(shown.lstrip())] or "'\\t'" in (error.problem or ""):
            raise FilterError(f"{where}: line {line + 1}: a tab; YAML is indented with spaces") from None
        raise FilterError(f"{where}: line {line + 1}: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        character = text[error.position]
        raise FilterError(f"{where}: line {line}: the character {character!r} is not legal in YAML") from None
    except (yaml.YAMLError, ValueError) as error:
        raise FilterError(f"{where}: not YAML ({str(error).splitlines()[0]})") from None
    except RecursionError:
        raise FilterError(f"{where}: nested too deep") from None
    finally:
        if loader is not None:
            loader.dispose()
    return content, root


def _line(root: yaml.Node | None, path: Sequence[str | int]) -> int:
    """The line of the YAML, from 1, on which the thing at `path` stands, or the nearest thing above it."""
    node, line = root, 1 if root is None else root.start_mark.line + 1
    for step in path:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == step]
            if not found:
                return line
            key, node = found[0]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            return line
    return line


# -- faults --------------------------------------------------------------------------------------------------


def _explain_fault(error: ValidationError, root: yaml.Node | None) -> str:
    """One line for the first fault: where it is, what came, what was legal."""
    faults = error.errors()
    # A key spelled wrong is often also a key that is missing: the first of the two says more.
    fault = next((one for one in faults if one["type"] == "extra_forbidden"), faults[0])
    path = tuple(fault["loc"])
    cause = fault.get("ctx", {}).get("error")
    if isinstance(cause, _FaultError):
        path += cause.path
    place = f"line {_line(root, path)}: " + (" -> ".join(map(str, path)) or "filter")
    if fault["type"] == "extra_forbidden":
        legal = _keys_at(path[:-1])
        close = difflib.get_close_matches(str(path[-1]), legal, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{place}: unknown key; {hint}legal: {', '.join(legal)}"
    if fault["type"] == "missing":
        return f"{place}: missing; expected {_expected(_schema_at(path))}"
    if cause is not None:
        return f"{place}: {cause}"
    return f"{place}: got {_shown(fault['input'])}, expected {_expected(_schema_at(path))}"


def _shown(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


_SCHEMA = Filter.model_json_schema()


def _keys(model: type[BaseModel]) -> list[str]:
    return [name for name in model.model_fields if name != "rubric"]


def _keys_at(path: Sequence[str | int]) -> list[str]:
    return [name for name in _schema_at(path).get("properties", {}) if path or name != "rubric"]


def _schema_at(path: Sequence[str | int]) -> dict[str, Any]:
    """The JSON schema of what belongs at `path`; empty where that is unknown."""
    schema = _SCHEMA
    for step in path:
        if isinstance(step, int):
            schema = schema.get("items", {})
        else:
            schema = schema.get("properties", {}).get(step) or schema.get("additionalProperties") or {}
        schema = _resolved(schema if isinstance(schema, dict) else {})
    return schema


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    for one in schema.get("anyOf", ()):
        if one.get("type") != "null":
            schema = one
    reference = schema.get("$ref")
    return _SCHEMA["$defs"][reference.rpartition("/")[2]] if reference else schema


def _expected(schema: dict[str, Any]) -> str:  # noqa: PLR0911 - one for each kind of value
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    match schema.get("type"):
        case "number" | "integer" as kind:
            noun = "a number" if kind == "number" else "a whole number"
            low, high = schema.get("minimum"), schema.get("maximum")
            if low is not None and high is not None:
                return f"{noun} from {low:g} to {high:g}"
            return noun if low is None else f"{noun} of at least {low:g}"
        case "string":
            if "pattern" in schema:
                return "small letters and digits, joined by - . or _"
            return "text" if "minLength" not in schema else "some text"
        case "boolean":
            return "true or false"
        case "array":
            return "a list" if "minItems" not in schema else "a list of at least one"
        case "object" if "properties" in schema:
            return f"keys: {', '.join(schema['properties'])}"
        case "object":
            most = schema.get("maxProperties")
            return "names and what belongs to each" + ("" if most is None else f", 1 to {most} of them")
    return "something else"


def _check_dimensions(filter_: Filter) -> None:
    for name in filter_.dimensions:
        if not _IDENTIFIER.fullmatch(name):
            raise _FaultError(
                ("dimensions", name), "not a name for a dimension; expected letters, digits and _, a letter first"
            )
        if name.lower() in RESERVED:
            raise _FaultError(("dimensions", name), f"a word that dimensions can't use: {', '.join(sorted(RESERVED))}")
        base, _, end = name.rpartition("_")
        if end in {"low", "high"} and base in filter_.dimensions:
            raise _FaultError(("dimensions", name), f"the name of a column for the interval of {base}; choose another")
    total = math.fsum(dimension.weight for dimension in filter_.dimensions.values())
    if abs(total - 1) > 1e-6:
        shown = ", ".join(f"{name} {part.weight:g}" for name, part in filter_.dimensions.items())
        raise _FaultError(("dimensions",), f"weights sum to {total:.6g}, expected 1 ({shown})")


def _check_limits(filter_: Filter) -> None:
    low, high = filter_.scale.min, filter_.scale.max
    limits: list[tuple[str, Sequence[Gate | Cap]]] = [("gates", filter_.gates), ("caps", filter_.caps)]
    for key, parts in limits:
        for index, part in enumerate(parts):
            if part.when is not None:
                _check_condition((key, index, "when"), part.when, filter_)
            if not low <= part.cap < high:
                raise _FaultError(
                    (key, index, "cap"), f"got {part.cap:g}, expected a number from {low:g} to below {high:g}"
                )


def _check_condition(path: tuple[str | int, ...], text: str, filter_: Filter) -> None:
    try:
        parse(text, filter_._names)  # noqa: SLF001 - one module
    except ConditionError as error:
        raise _FaultError(path, str(error)) from None


def _check_tiers(filter_: Filter) -> None:
    seen: set[str] = set()
    for index, tier in enumerate(filter_.tiers):
        if tier.name in seen:
            raise _FaultError(("tiers", index, "name"), f"the tier {tier.name} is given twice")
        if tier.name in {UNSCORED, DROPPED}:
            raise _FaultError(("tiers", index, "name"), f"{tier.name} is what articles without scores get")
        seen.add(tier.name)
        if tier.when is not None:
            _check_condition(("tiers", index, "when"), tier.when, filter_)
        elif index < len(filter_.tiers) - 1:
            raise _FaultError(
                ("tiers", index), f"{tier.name} has no `when`, so the tiers after it can never match; only the last may"
            )
    reach = _Reach(filter_)
    for index, tier in enumerate(filter_.tiers):
        above = [one.when for one in filter_.tiers[:index] if one.when is not None]
        if not reach.possible(tier.when or "0 = 0", above):
            if not reach.possible(tier.when or "0 = 0", []):
                why = "no scores within the scale and the gates meet its condition"
            else:
                why = "the tiers above it take all that would"
            raise _FaultError(("tiers", index), f"{tier.name} can never match: {why}")
    last = filter_.tiers[-1]
    above = [one.when for one in filter_.tiers[:-1] if one.when is not None]
    if last.when is not None and reach.possible(f"NOT ({last.when})", above):
        raise _FaultError(
            ("tiers", len(filter_.tiers) - 1), f"scores are left that match no tier; leave `when` off {last.name}"
        )


def _check_examples(filter_: Filter) -> None:
    low, high = filter_.scale.min, filter_.scale.max
    for index, example in enumerate(filter_.examples):
        if set(example.scores) != set(filter_.dimensions):
            odd = ", ".join(sorted(set(example.scores) ^ set(filter_.dimensions)))
            raise _FaultError(("examples", index, "scores"), f"expected one for each dimension and no other; see {odd}")
        for name, score in example.scores.items():
            if not low <= score <= high:
                raise _FaultError(
                    ("examples", index, "scores", name), f"got {score:g}, expected a number from {low:g} to {high:g}"
                )


class _Reach:
    """What scores a filter can give: its scale, its weighted mean, and how gates and caps limit `overall`."""

    def __init__(self, filter_: Filter) -> None:
        self.scale = filter_.scale
        mean = "mean_of_all"
        while mean in filter_.dimensions:
            mean += "_"
        self.names = (*filter_.dimensions, OVERALL, mean)
        weights = zip(filter_.dimensions, filter_.weights.tolist(), strict=True)
        terms = [f"{weight!r} * {name}" for name, weight in weights]
        relations = [f"{mean} = {' + '.join(terms)}", f"{OVERALL} <= {mean}"]
        ways = [f"{OVERALL} = {mean}"]
        for part in (*filter_.gates, *filter_.caps):
            fires = "0 = 0" if part.when is None else str(self._read(part.when).renamed({OVERALL: mean}))
            ways.append(f"{OVERALL} = {part.cap!r} AND ({fires})")
            if isinstance(part, Gate):
                relations.append(f"NOT ({fires}) OR {OVERALL} <= {part.cap!r}")
        self.given = [self._read(text) for text in (*relations, " OR ".join(ways))]
        self.mean = mean

    def possible(self, wanted: str, without: Iterable[str]) -> bool:
        """Whether a tier's condition can hold where those of others don't; False only where certainly not."""
        others = [self._read(text) for text in without]
        return can_hold(self._read(wanted), others, self.scale.min, self.scale.max, given=self.given)

    def _read(self, text: str) -> Condition:
        return parse(text, self.names)


# -- what a person may want to know --------------------------------------------------------------------------


def lint(filter_: Filter) -> list[Finding]:
    """What is legal in a filter and probably not meant; empty for a good one."""
    return [Finding(path=path, message=message) for path, message in _findings(filter_)]


def _findings(filter_: Filter) -> Iterator[tuple[str, str]]:
    yield from _idle_dimensions(filter_)
    yield from _idle_limits(filter_)
    if not filter_.positive_tiers:
        yield "tiers", "none is positive, so no recall will be reported"
    elif len(filter_.positive_tiers) == len(filter_.tiers):
        yield "tiers", "all are positive, so recall will always be 1"
    rules: list[tuple[str, Sequence[Any]]] = [("caps", filter_.caps), ("prefilter -> drop", filter_.prefilter.drop)]
    for key, parts in rules:
        for index, part in enumerate(parts):
            yield from _idle_terms(f"{key} -> {index}", part)
    for key, parts in [("gates", filter_.gates), *rules]:
        for index, part in enumerate(parts):
            if part.reason in {other.reason for other in parts[:index]}:
                yield (
                    f"{key} -> {index} -> reason",
                    f"{part.reason!r} is another's too, and a verdict shows nothing else",
                )


def _idle_dimensions(filter_: Filter) -> Iterator[tuple[str, str]]:
    read: set[str] = set()
    for part in (*filter_.gates, *filter_.caps, *filter_.tiers):
        if part.when is not None:
            read |= parse(part.when, filter_._names).names  # noqa: SLF001 - one module
    for name, dimension in filter_.dimensions.items():
        if dimension.weight == 0 and name not in read:
            yield f"dimensions -> {name}", "has no weight and is in no condition, so it decides nothing"
        if name not in filter_.rubric:
            yield f"dimensions -> {name}", f"is not mentioned in {RUBRIC_NAME}"


def _idle_limits(filter_: Filter) -> Iterator[tuple[str, str]]:
    reach = _Reach(filter_)
    mean = [reach.given[0]]
    for key, parts in (("gates", filter_.gates), ("caps", filter_.caps)):
        for index, part in enumerate(parts):
            if part.when is None:
                continue
            fires = parse(part.when, reach.names).renamed({OVERALL: reach.mean})
            spares = parse(f"NOT ({fires})", reach.names)
            if not can_hold(fires, [], filter_.scale.min, filter_.scale.max, given=mean):
                yield f"{key} -> {index} -> when", "never holds, so nothing is ever limited"
            elif not can_hold(spares, [], filter_.scale.min, filter_.scale.max, given=mean):
                yield f"{key} -> {index} -> when", "always holds"
    for key, conditions in (("gates", filter_.gates), ("caps", filter_.caps), ("tiers", filter_.tiers)):
        for index, part in enumerate(conditions):
            if part.when is not None and parse(part.when, reach.names).operators & {"=", "!="}:
                yield f"{key} -> {index} -> when", "compares with = or !=, which a student's scores hardly ever meet"


def _idle_terms(path: str, rule: TermRule) -> Iterator[tuple[str, str]]:
    for key, terms in (("any", rule.any), ("unless", rule.unless)):
        for term in terms:
            wider = next((one for one in terms if one is not term and _covers(one, term)), None)
            if wider is not None and (fold(wider) != fold(term) or terms.index(wider) < terms.index(term)):
                yield f"{path} -> {key}", f"{term!r} adds nothing to {wider!r}"
    for term in rule.any:
        blocker = next((one for one in rule.unless if _covers(one, term)), None)
        if blocker is not None:
            yield f"{path} -> any", f"{term!r} can never count, as it holds {blocker!r} of unless"


def _covers(wide: str, narrow: str) -> bool:
    """Whether every text that has the term `narrow` has `wide`."""
    return bool(pl.select(folded=pl.lit(fold(narrow))).select(matcher(TermRule(any=(wide,)))).item())


def explain(filter_: Filter) -> str:
    """A filter in words, several lines."""
    scale = f"{filter_.scale.min:g} to {filter_.scale.max:g}"
    lines = [f"{filter_.name}, version {filter_.version}"]
    if filter_.description:
        lines.append(filter_.description)
    kept = "the first" if filter_.text.keep == "head" else "the head and the tail, together"
    lines += ["", f"Reads {kept} {filter_.text.max_chars} characters and scores from {scale}:"]
    width = max(map(len, filter_.dimensions))
    for name, dimension in filter_.dimensions.items():
        lines.append(f"  {name:<{width}}  {dimension.weight:4.0%}  {dimension.description}")
    lines += ["", "Overall is their weighted mean."]
    lines += [f"  at most {gate.cap:g} where {gate.when} ({gate.reason})" for gate in filter_.gates]
    for cap in filter_.caps:
        condition = "" if cap.when is None else f" and {cap.when}"
        lines.append(f"  at most {cap.cap:g} where the text has {_words(cap)}{condition} ({cap.reason})")
    lines += ["", "The first tier that matches:"]
    for tier in filter_.tiers:
        mark = ", positive" if tier.positive else ""
        lines.append(f"  {tier.name}{mark}: {tier.when or 'all that is left'}")
    if filter_.prefilter.drop:
        lines += ["", "Dropped before scoring:"]
        lines += [f"  {rule.reason}: a text that has {_words(rule)}" for rule in filter_.prefilter.drop]
    lines += ["", f"Labels depend on {filter_.oracle_hash[:12]}, everything is {filter_.content_hash[:12]}."]
    return "\n".join(lines)


def _words(rule: TermRule) -> str:
    wanted = [*rule.any, *(f"/{pattern}/" for pattern in rule.patterns)]
    shown = f"any of: {', '.join(wanted)}" if len(wanted) > 1 else wanted[0]
    return f"{shown}; unless: {', '.join(rule.unless)}" if rule.unless else shown


def scaffold(name: str, folder: str | Path = ".") -> Path:
    """Start a filter package `folder/name` that is legal, lints, and asks to be edited.

    Raises:
        FilterError: the name is not legal, a filter of that name ships, or the place is taken.
    """
    place = Path(folder) / name
    if name in builtin_filters():
        raise FilterError(f"{name}: a filter of this name ships with potstill; choose another")
    filter_yaml = _TEMPLATE.replace("NAME", name)
    # Checked before anything is written.
    parse_filter(filter_yaml, _RUBRIC_TEMPLATE, f"new filter {name}")
    if place.exists():
        raise FilterError(f"{place}: exists already; nothing was written")
    write_text(place / RUBRIC_NAME, _RUBRIC_TEMPLATE.replace("NAME", name))
    write_text(place / YAML_NAME, filter_yaml)
    return place


def _builtin() -> Any:  # noqa: ANN401 - importlib's Traversable has no stable public name across versions
    return resources("potstill") / "builtin" / "filters"


_TEMPLATE = """\
name: NAME
version: 1
description: What this filter looks for, in one sentence.
scale: {min: 0, max: 10}
text: {max_chars: 2500, keep: head}

# What the oracle scores. The weights sum to 1; a dimension with weight 0 can still be read by conditions.
dimensions:
  relevance: {weight: 0.6, description: How much the text is about what you look for}
  evidence:  {weight: 0.4, description: "How well its claims are supported: sources, figures, named people"}

# Conditions on scores under which overall is limited.
gates:
  - {when: relevance < 3, cap: 2.0, reason: off the subject}

# Words in the text under which overall is limited.
caps:
  - {any: [sponsored content, paid partnership], unless: [investigation], cap: 3.0, reason: advertising}

# The first that matches wins; the last takes the rest. Recall is measured for positive tiers.
tiers:
  - {name: high, when: overall >= 7, positive: true}
  - {name: medium, when: overall >= 4}
  - {name: low}

# Texts that no model needs to read.
prefilter:
  drop:
    - {reason: error page, any: [page not found, enable javascript]}
"""

_RUBRIC_TEMPLATE = """\
# Oracle rubric: NAME, version 1

Score how much a text is what you look for. Say here, in two or three sentences, what that is, and what is often
taken for it.

Each dimension is a number from 0 to 10, in steps of 0.5. Score each on its own; do not let one colour the others.

| band | meaning |
|---|---|
| 0-2 | absent, or a passing mention |
| 3-4 | limited |
| 5-6 | moderate: a clear instance |
| 7-8 | strong, and well documented |
| 9-10 | extreme; rare |

Dimensions

1. **relevance**: how much the text is about it. 0-2 if it is only mentioned. 5 one of several subjects; 8 the subject.
2. **evidence**: how well its claims are supported. 0-2 for opinion and rumour; 5 a named source; 8 data that can be checked.

What to return for each item: the two numbers and one short phrase (at most 15 words) of evidence. Return scores only; never a tier.
"""
