"""Parse JSON request bodies with limits on size and depth.

Input: the bytes of a request's body. Output: the value, or a one-line error message. Unlike in files, NaN and
infinities are accepted here; the code that reads a numeric field rejects them and can name the field.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

from potstill.errors import BadInput

LARGEST = 1_000_000
"""Maximum size of a request's body in bytes."""

DEEPEST = 20
"""Maximum nesting depth of lists and objects."""

_TOO_DEEP = f"expected lists and objects at most {DEEPEST} deep"


def parse_body(body: bytes) -> Any:  # noqa: ANN401 - anything JSON can hold
    """Parse a body.

    Raises:
        BadInput: the body is too large or nested too deeply, is not JSON in UTF-8, or contains an unpaired surrogate.
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
        raise BadInput("an integer has thousands of digits, which is not supported") from None
    _check(value, 0)
    return value


def _check(value: object, depth: int) -> None:
    """Reject values that are nested too deeply and text that cannot be stored; `depth` is the current nesting depth."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise BadInput(f"a string contains an unpaired surrogate at character {error.start + 1}") from None
    elif isinstance(value, dict | list):
        if depth == DEEPEST:
            raise BadInput(_TOO_DEEP)
        for inner in chain(value, value.values()) if isinstance(value, dict) else value:
            _check(inner, depth + 1)
