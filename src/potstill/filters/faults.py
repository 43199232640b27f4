"""Describe what is wrong with a filter in one line: the place, the value found and the valid values."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from potstill.filters.model import FaultError, Filter
from potstill.filters.reading import line_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import yaml
    from pydantic import ValidationError

    from potstill.records import Part


def explain_fault(error: ValidationError, root: yaml.Node | None, kind: type[Part] = Filter) -> str:
    """Describe the first fault in one line: the place, the value found and the valid values.

    Args:
        error: what the validation of a `kind` raised.
        root: the YAML that was validated.
        kind: a filter, or what another file of its package holds.
    """
    schema = kind.model_json_schema()
    faults = error.errors()
    # A misspelled key often also appears as a missing key; the misspelled key is the more helpful of the two.
    fault = next((one for one in faults if one["type"] == "extra_forbidden"), faults[0])
    path = tuple(fault["loc"])
    cause = fault.get("ctx", {}).get("error")
    if isinstance(cause, FaultError):
        path += cause.path
    place = f"line {line_of(root, path)}: " + (" -> ".join(map(str, path)) or kind.__name__.lower())
    if fault["type"] == "extra_forbidden":
        legal = keys_at(path[:-1], schema)
        close = difflib.get_close_matches(str(path[-1]), legal, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{place}: unknown key; {hint}valid keys: {', '.join(legal)}"
    if fault["type"] == "missing":
        return f"{place}: missing; expected {_expected(_schema_at(path, schema))}"
    if cause is not None:
        return f"{place}: {cause}"
    if fault["type"] == "json_invalid":
        return "contains an unpaired surrogate, which is not a valid character"
    return f"{place}: got {_shown(fault['input'])}, expected {_expected(_schema_at(path, schema))}"


def _shown(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


def keys_at(path: Sequence[str | int], whole: dict[str, Any] | None = None) -> list[str]:
    """Return the keys that are valid at a path, `()` for the top level, in a schema; by default that of a filter."""
    found = _schema_at(path, Filter.model_json_schema() if whole is None else whole)
    return [name for name in found.get("properties", {}) if path or name != "rubric"]


def _schema_at(path: Sequence[str | int], whole: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of the value at `path`; empty if it is unknown."""
    schema = whole
    for step in path:
        if isinstance(step, int):
            places = schema.get("prefixItems", ())
            schema = places[step] if step < len(places) else schema.get("items", {})
        else:
            schema = schema.get("properties", {}).get(step) or schema.get("additionalProperties") or {}
        schema = _resolved(schema if isinstance(schema, dict) else {}, whole)
    return schema


def _resolved(schema: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    for one in schema.get("anyOf", ()):
        if one.get("type") != "null":
            schema = one
    reference = schema.get("$ref")
    return whole["$defs"][reference.rpartition("/")[2]] if reference else schema


def _expected(schema: dict[str, Any]) -> str:  # noqa: PLR0911 - one for each kind of value
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    match schema.get("type"):
        case "number" | "integer" as kind:
            noun = "a number" if kind == "number" else "a whole number"
            return noun + _range(schema)
        case "string":
            return _expected_text(schema)
        case "boolean":
            return "true or false"
        case "array":
            return _expected_list(schema.get("minItems"), schema.get("maxItems"))
        case "object" if "properties" in schema:
            return f"keys: {', '.join(schema['properties'])}"
        case "object":
            most = schema.get("maxProperties")
            return "names and their values" + ("" if most is None else f", 1 to {most} of them")
    return "another value"


def _expected_list(least: int | None, most: int | None) -> str:
    if least is not None and least == most:
        return f"a list of {least}"
    limits = [f"at least {'one' if least == 1 else least}"] if least else []
    limits += [f"at most {most:,}"] if most is not None else []
    return " ".join(["a list", *(["of"] if limits else []), " and ".join(limits)]).rstrip()


def _range(schema: dict[str, Any]) -> str:
    """Return which numbers are valid, in words that follow `a number`."""
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    if low is not None:
        return f" of at least {low:g}"
    if above is None:
        return ""
    end = f" and below {below:g}" if below is not None else f" and up to {high:g}" if high is not None else ""
    return f" above {above:g}{end}"


def _expected_text(schema: dict[str, Any]) -> str:
    if "pattern" in schema:
        return "lower-case letters and digits, joined by - . or _"
    if "maxLength" in schema:
        return f"text of at most {schema['maxLength']:,} characters"
    return "text" if "minLength" not in schema else "text that is not empty"
