"""Tests of `probes.yaml`: the behaviour tests in a filter's package."""

import pytest

from potstill.errors import FilterError
from potstill.filters import (
    Filter,
    builtin_filters,
    builtin_probes,
    load_filter,
    load_probes,
    parse_probes,
    probes_path,
    save_filter,
)
from potstill.prefilter import fold_all

ESSAYS = Filter("essays", ["cohesion", "syntax"], scale=(1, 5))

GOOD = """
ramps:
  cohesion:
    - - Cats. Trees rain.
      - Cats climb. Then trees.
      - Cats climb trees because they are chased.
negations:
  syntax:
    - text: The sentence is whole.
      negated: Sentence whole not the is.
paraphrases:
  - [A cat sat., There sat a cat.]
"""


def test_ramps_negations_and_paraphrases_are_read():
    probes = parse_probes(GOOD, ESSAYS, "probes.yaml")
    assert len(probes.ramps["cohesion"][0]) == 3
    assert probes.negations["syntax"][0].negated == "Sentence whole not the is."
    assert probes.paraphrases == (("A cat sat.", "There sat a cat."),)
    assert len(probes.texts) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no keys; expected ramps, negations and paraphrases"),
        ("- a", "contains no keys; expected ramps"),
        ("ramps: {}", "line 1: probes: no tests; expected ramps, negations or paraphrases"),
        ("ramp: {}", "line 1: ramp: unknown key; did you mean ramps\\? valid keys: ramps, negations, paraphrases"),
        (
            "ramps:\n  grammar:\n    - [a, b]",
            "line 2: ramps -> grammar: not a dimension of essays; its dimensions: cohesion, syntax",
        ),
        (
            "negations:\n  grammar:\n    - {text: a, negated: b}",
            "line 2: negations -> grammar: not a dimension of essays",
        ),
        (
            "ramps:\n  syntax:\n    - [alone]",
            r"line 3: ramps -> syntax -> 0: got \['alone'\], expected a list of at least 2 and at most 10",
        ),
        (
            "ramps:\n  syntax:\n    - [a, 7]",
            "line 3: ramps -> syntax -> 0 -> 1: got 7, expected text that is not empty",
        ),
        (
            "ramps:\n  syntax:\n    - [a, ' ']",
            "line 3: ramps -> syntax -> 0 -> 1: expected text that is not only white space",
        ),
        (
            "ramps:\n  syntax:\n    - - one\n      - two\n      - one",
            "line 5: ramps -> syntax -> 0 -> 2: the same as text 1 in the first 2,500 characters",
        ),
        (
            "negations:\n  syntax:\n    - text: one\n      negated: one",
            "line 4: negations -> syntax -> 0 -> negated: the same as text 1",
        ),
        ("paraphrases:\n  - [one, two, three]", r"line 2: paraphrases -> 0: got .*, expected a list of 2"),
        ("negations:\n  syntax:\n    - text: one", "line 3: negations -> syntax -> 0 -> negated: missing"),
        ("ramps:\n  syntax: [a, b]\n  syntax: [c]", "line 3: the key syntax occurs twice"),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_field(text, message):
    with pytest.raises(FilterError, match=f"my/probes.yaml: {message}"):
        parse_probes(text, ESSAYS, "my/probes.yaml")


def test_texts_that_differ_beyond_the_window_only_are_refused():
    narrow = Filter("narrow", ["syntax"], text={"max_chars": 20})
    with pytest.raises(FilterError, match=r"the same as text 1 in the first 20 characters, which is all that is read"):
        parse_probes(f"ramps: {{syntax: [[{'a' * 30}, {'a' * 40}]]}}", narrow, "probes.yaml")


def test_tests_are_read_from_a_file_a_folder_and_beside_the_yaml_of_a_filter(tmp_path):
    save_filter(ESSAYS, tmp_path)
    (tmp_path / "probes.yaml").write_text(GOOD)
    found = [load_probes(ESSAYS, place) for place in (tmp_path, tmp_path / "filter.yaml", tmp_path / "probes.yaml")]
    assert found[0] == found[1] == found[2] == parse_probes(GOOD, ESSAYS, "probes.yaml")
    assert probes_path(tmp_path) == tmp_path / "probes.yaml"


def test_a_folder_without_tests_is_named(tmp_path):
    with pytest.raises(FilterError, match=r"probes.yaml: no such file; behaviour tests of a filter stand in"):
        load_probes(ESSAYS, tmp_path)


def test_tests_change_neither_hash_of_a_filter(tmp_path):
    save_filter(ESSAYS, tmp_path)
    before = load_filter(tmp_path)
    (tmp_path / "probes.yaml").write_text(GOOD)
    after = load_filter(tmp_path)
    assert (after.oracle_hash, after.content_hash) == (before.oracle_hash, before.content_hash)


@pytest.mark.parametrize("name", builtin_filters())
def test_each_dimension_of_a_filter_that_ships_has_three_ramps_of_four_texts_and_two_negations(name):
    filter_ = load_filter(name)
    probes = builtin_probes(filter_)
    assert tuple(probes.ramps) == filter_.dimension_names
    assert {tuple(map(len, ramps)) for ramps in probes.ramps.values()} == {(4, 4, 4)}
    assert {dimension: len(pairs) for dimension, pairs in probes.negations.items()} == dict.fromkeys(
        filter_.dimension_names, 2
    )
    assert len(probes.paraphrases) == 8


@pytest.mark.parametrize("name", builtin_filters())
def test_no_test_that_ships_is_dropped_by_its_prefilter(name):
    filter_ = load_filter(name)
    probes = builtin_probes(filter_)
    texts = [
        *probes.texts,
        *(text for pairs in probes.negations.values() for one in pairs for text in (one.text, one.negated)),
        *(text for pair in probes.paraphrases for text in pair),
    ]
    assert filter_.prefilter.reasons(fold_all(texts)).is_null().all()


def test_a_filter_of_the_same_name_with_other_dimensions_has_no_tests():
    assert builtin_probes(Filter("uplifting", ["agency"])) is None
    assert builtin_probes(Filter("uplifting", list(load_filter("uplifting").dimension_names), scale=(1, 5))) is None
    assert builtin_probes(Filter("my-own", ["agency"])) is None
