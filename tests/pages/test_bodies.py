"""Tests of request bodies: any bytes are either parsed or refused with one line."""

import json

from hypothesis import given
from hypothesis import strategies as st

from potstill.errors import BadInput, one_line
from potstill.pages.bodies import DEEPEST, parse_body

TEXTS = st.text() | st.sampled_from(["\ud800", "a\udfff", "\U0001f600"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=30,
)


def read(body):
    """Return the value, or the error's message."""
    try:
        return parse_body(body), None
    except BadInput as error:
        return None, str(error)


@given(st.binary(max_size=200) | st.text(alphabet='[]{}":,\\\\ud8001eE+-.NaInfity tru', max_size=80).map(str.encode))
def test_any_bytes_are_read_or_refused_with_one_line(body):
    value, message = read(body)
    if message is None:
        json.dumps(value, ensure_ascii=False).encode()
    else:
        assert message == one_line(message)


@given(VALUES)
def test_json_of_legal_text_is_read_as_it_was_written(value):
    written = json.dumps(value)
    found, message = read(written.encode())
    if message is None:
        assert json.dumps(found) == written
    else:
        assert "\\ud" in written


@given(st.integers(1, 3 * DEEPEST), st.sampled_from(["[]", "{}"]))
def test_depth_is_bounded(depth, kind):
    opened = '{"a":' if kind == "{}" else "["
    _, message = read((opened * depth + "1" + kind[1] * depth).encode())
    assert (message is None) == (depth <= DEEPEST)
