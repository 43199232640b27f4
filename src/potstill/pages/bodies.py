"""What a browser sends as JSON, read with bounds.

In: the bytes of a request's body. Out: the value, or one clear line that says what is wrong with it. Other than in
a file, NaN and the infinities pass here: whoever reads a field of numbers refuses them, and can name the field.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

from potstill.errors import BadInput

LARGEST = 1_000_000
"""Bytes of a request's body."""

DEEPEST = 20
"""Lists and objects inside one another."""

_TOO_DEEP = f"expected lists and objects at most {DEEPEST} deep"


def parse_body(body: bytes) -> Any:  # noqa: ANN401 - anything JSON can hold
    """The value of a body.

    Raises:
        BadInput: it is too large or too deep, is not JSON in UTF-8, or holds half of a surrogate pair.
    """
    if len(body) > LARGEST:
        raise BadInput(f"expected a body of at most {LARGEST} bytes")
    try:
        value = json.loads(body.decode())
    except UnicodeDecodeError as error:
        raise BadInput(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise BadInput(_TOO_DEEP) from None
    except json.JSONDecodeError as error:
        raise BadInput(f"not JSON: {error.msg} at character {error.pos + 1}") from None
    except ValueError:
        raise BadInput("not JSON that can be read: an integer of thousands of digits") from None
    _check(value, 0)
    return value


def _check(value: object, depth: int) -> None:
    """Refuse what is too deep, and text that cannot be stored; `depth` lists and objects lie around the value."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise BadInput(f"a text holds half of a surrogate pair at its character {error.start + 1}") from None
    elif isinstance(value, dict | list):
        if depth == DEEPEST:
            raise BadInput(_TOO_DEEP)
        for inner in chain(value, value.values()) if isinstance(value, dict) else value:
            _check(inner, depth + 1)
