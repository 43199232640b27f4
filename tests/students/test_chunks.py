import numpy as np
import pytest
from headlines import LetterEncoder
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.students import Encoder
from potstill.students.chunks import ChunkedEncoder, Chunks

CHUNKS = Chunks(chars=120, most=3)


def test_a_text_with_room_is_one_piece():
    assert CHUNKS.of("a quiet garden") == ["a quiet garden"]
    assert CHUNKS.of("") == [""]


def test_chunks_end_at_words_and_hold_what_the_text_held():
    text = " ".join(f"word{number}" for number in range(20))
    chunks = CHUNKS.of(text)
    assert len(chunks) == 3
    assert " ".join(chunks) == text


def test_writing_without_spaces_is_cut_where_it_is():
    assert "".join(CHUNKS.of("市" * 150)) == "市" * 150


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=500), st.integers(2, 5))
def test_no_piece_is_longer_than_asked_and_there_are_not_more(text, most):
    chunks = Chunks(chars=120, most=most).of(text)
    assert 1 <= len(chunks) <= most
    assert max(map(len, chunks)) <= 120


def test_the_end_of_a_long_text_is_read():
    encoder = ChunkedEncoder(LetterEncoder("xz"), CHUNKS)
    assert isinstance(encoder, Encoder)
    features = encoder.encode(["x" * 120, "x" * 120 + "z" * 60, ""])
    # Three chunks of 60: two of them contain 60 x, one 60 z.
    assert features == pytest.approx(np.array([[120, 0], [40, 20], [0, 0]]))


def test_what_is_beyond_the_last_piece_is_reported():
    encoder = ChunkedEncoder(LetterEncoder(), CHUNKS)
    # LetterEncoder has room for 100 characters.
    assert encoder.truncated(["x" * 90, "x" * 110, "x" * 180, "x" * 181]).tolist() == [False, True, False, True]
