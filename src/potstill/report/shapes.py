"""Checks whether a path leads to a field of the model that a record is written from.

In: a type (a pydantic model, a container of models, or an example of the content) and a path of keys and positions.
Out: whether the path can have a value. A report shows "not recorded" for a missing value, so without this check a typo
in a path would look like a value that was not recorded.
"""

from __future__ import annotations

import types
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel


class NoSuchFieldError(LookupError):
    """A path of a report that names no field: a bug in the report, not in the run."""


def leads(shape: Any, path: tuple[str | int, ...]) -> bool:  # noqa: ANN401 - any type
    """Whether a path can lead to a value in records of this shape.

    Args:
        shape: a type; `Any` has every path. A dict is an example: it has only its own keys.
        path: keys of objects and positions in lists. All positions of a list are treated alike.
    """
    if not isinstance(shape, dict):
        return _leads(shape, tuple(0 if isinstance(step, int) else step for step in path))
    return not path or (path[0] in shape and leads(shape[path[0]], path[1:]))


@lru_cache(maxsize=10_000)
def _leads(shape: Hashable, path: tuple[str | int, ...]) -> bool:
    return not path or any(_leads(part, path[1:]) for part in _inside(shape, path[0]))


def _inside(shape: Any, step: str | int) -> tuple[Any, ...]:  # noqa: ANN401 - any type
    """The types that one step into a type can lead to; empty if there is no such step."""
    origin, parts = get_origin(shape), get_args(shape)
    # The type of any JSON refers to itself through an alias.
    if shape in {Any, dict, list} or hasattr(shape, "__value__"):
        return (Any,)
    if origin is Annotated:
        return _inside(parts[0], step)
    if origin in {Union, types.UnionType}:
        return tuple(found for part in parts for found in _inside(part, step))
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        return _field(shape, str(step))
    if isinstance(origin, type) and issubclass(origin, Mapping if isinstance(step, str) else Sequence):
        return tuple(part for part in parts[1 if isinstance(step, str) else 0 :] if part is not Ellipsis)
    return ()


def _field(model: type[BaseModel], name: str) -> tuple[Any, ...]:
    if name in model.model_fields:
        return (model.model_fields[name].annotation,)
    computed = model.model_computed_fields.get(name)
    return () if computed is None else (computed.return_type,)
