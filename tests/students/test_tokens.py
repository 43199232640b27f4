"""Tests of which part of a text is read: its first tokens, or its first and last, between the special tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_network import TEXTS, tiny_tokenizer
from tokenizers import Tokenizer

from potstill.students.encoding import EncoderFacts
from potstill.students.tokens import TextReader

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def own(*, special=True):
    return Tokenizer.from_str(tiny_tokenizer(special=special).backend_tokenizer.to_str())


def facts(most=12, window="head", prefix=""):
    return EncoderFacts(
        backbone="tiny",
        backbone_sha256="0" * 64,
        width=8,
        max_tokens=most,
        pooling="mean",
        window=window,
        prefix=prefix,
    )


def read_back(texts, *, special=True, **settings):
    """Return the part of each text that is read, with special tokens in brackets."""
    tokens, cut = TextReader(own(special=special), facts(**settings)).read(texts)
    words = {number: word for word, number in own().get_vocab().items()}
    return ["".join(words[token] for token in one) for one in tokens], cut


@pytest.mark.parametrize("special", [True, False])
@given(text=st.text(alphabet=LETTERS + " ", max_size=60), most=st.integers(8, 40))
def test_the_head_is_what_the_tokenizer_itself_would_keep(special, text, most):
    truncating = own(special=special)
    truncating.enable_truncation(most)
    whole = truncating.encode("q" + text)

    tokens, cut = TextReader(own(special=special), facts(most, prefix="q")).read([text])

    assert tokens == [whole.ids]
    assert cut == [bool(whole.overflowing)]


def test_head_and_tail_are_read_of_a_text_that_is_too_long():
    (said,), cut = read_back([LETTERS], window="head-tail")
    assert said == "[CLS]abcdevwxyz[SEP]"
    assert cut == [True]


def test_the_odd_token_goes_to_the_head():
    assert read_back([LETTERS], window="head-tail", most=13)[0] == ["[CLS]abcdefvwxyz[SEP]"]


def test_without_special_tokens_all_room_is_the_texts():
    assert read_back([LETTERS], window="head-tail", special=False)[0] == ["abcdefuvwxyz"]


def test_a_prefix_is_read_whole_and_head_and_tail_share_what_it_leaves():
    assert read_back([LETTERS], window="head-tail", prefix="nnnn")[0] == ["[CLS]nnnnabcxyz[SEP]"]


@given(text=st.text(alphabet=LETTERS, max_size=40), most=st.integers(8, 40))
def test_both_windows_read_the_same_of_a_text_that_fits(text, most):
    head, tail = (TextReader(own(), facts(most, window)).read([text]) for window in ("head", "head-tail"))
    assert head[1] == tail[1] == [len(text) + 2 > most]
    assert head[0] == tail[0] or len(text) + 2 > most
    assert len(tail[0][0]) == min(len(text) + 2, most)


def test_texts_in_every_script_are_read_alike_by_both():
    assert len(TextReader(own(), facts(500)).read(TEXTS)[0]) == len(TEXTS)
