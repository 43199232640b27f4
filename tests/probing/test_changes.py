"""Tests of the changes that should not move a score."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.probing.changes import CHANGES, INSTRUCTION, PADDING, PRAISE, SOURCES, other_source

TEXT = "The ferry sank on Sunday, Reuters reported. Forty people were rescued, according to the BBC."


def test_padding_follows_the_text_and_praise_and_instructions_precede_it():
    assert CHANGES["padding"](TEXT) == (TEXT, f"{TEXT}\n\n{PADDING}")
    assert CHANGES["praise"](TEXT) == (TEXT, f"{PRAISE}\n\n{TEXT}")
    assert CHANGES["instruction"](TEXT) == (TEXT, f"{INSTRUCTION}\n\n{TEXT}")


def test_every_named_source_is_replaced_by_another():
    before, after = CHANGES["sources"](TEXT)
    assert before == TEXT
    assert after == TEXT.replace("Reuters", "Washington Post").replace("BBC", "Xinhua")


def test_a_text_that_names_no_source_is_credited_to_two_of_them():
    before, after = CHANGES["sources"]("The ferry sank.")
    assert before == "(Reuters) - The ferry sank."
    assert after == "(Washington Post) - The ferry sank."


def test_a_name_within_a_word_is_no_source():
    before, after = CHANGES["sources"]("The BBCs and ABCD.")
    assert before == "(Reuters) - The BBCs and ABCD."
    assert after.endswith("The BBCs and ABCD.")


def test_each_source_has_another_and_no_two_have_the_same():
    others = {other_source(name) for name in SOURCES}
    assert others == set(SOURCES)
    assert all(other_source(name) != name for name in SOURCES)


def test_lines_are_wrapped_after_eight_words_with_two_spaces_between_words():
    assert CHANGES["whitespace"]("one two three four five six seven eight nine ten")[1] == (
        "one  two  three  four  five  six  seven  eight\nnine  ten"
    )


@given(st.text(min_size=1))
def test_whitespace_and_letter_case_leave_the_words_as_they_are(text):
    assert CHANGES["whitespace"](text)[1].split() == text.split()
    assert CHANGES["case"](text)[1] == text.lower()


@pytest.mark.parametrize("name", CHANGES)
@given(text=st.text(min_size=1))
def test_a_change_always_gives_the_same_pair(name, text):
    assert CHANGES[name](text) == CHANGES[name](text)
