"""Tests of conditions: what is parsed, what is refused, what is false, and what is satisfiable."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from potstill.conditions import Condition, can_hold, parse
from potstill.errors import ConditionError

NAMES = ("reach", "power", "overall")


def held(text: str, **columns: list[float | None]) -> list[bool]:
    arrays = {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
    rows = max(len(values) for values in columns.values())
    return np.broadcast_to(parse(text, NAMES).holds(arrays), rows).tolist()


def possible(wanted: str, *without: str) -> bool:
    return can_hold(parse(wanted, NAMES), [parse(text, NAMES) for text in without], 0, 10)


# -- parsing


@pytest.mark.parametrize(
    ("text", "below", "at", "above"),
    [
        ("reach < 5", True, False, False),
        ("reach <= 5", True, True, False),
        ("reach > 5", False, False, True),
        ("reach >= 5", False, True, True),
        ("reach = 5", False, True, False),
        ("reach == 5", False, True, False),
        ("reach != 5", True, False, True),
        ("reach <> 5", True, False, True),
        ("5 > reach", True, False, False),
        ("NOT reach < 5", False, True, True),
        ("not not reach < 5", True, False, False),
        ("reach BETWEEN 5 AND 6", False, True, True),
        ("reach NOT BETWEEN 5 AND 6", True, False, False),
        ("reach - 5 >= 0", False, True, True),
        ("-reach <= -5", False, True, True),
        ("2 * reach / 2 >= 10 - 5", False, True, True),
        ("reach >= 5e0", False, True, True),
    ],
)
def test_a_comparison_turns_at_its_threshold(text, below, at, above):
    assert held(text, reach=[4.99, 5.0, 5.01]) == [below, at, above]


def test_and_binds_tighter_than_or_and_not_tighter_than_and():
    rows = {"reach": [1.0, 1.0, 9.0, 9.0], "power": [1.0, 9.0, 1.0, 9.0]}
    assert held("reach > 5 OR power > 5 AND reach > 5", **rows) == [False, False, True, True]
    assert held("(reach > 5 OR power > 5) AND power > 5", **rows) == [False, True, False, True]
    assert held("NOT reach > 5 AND power > 5", **rows) == [False, True, False, False]


def test_between_keeps_its_own_and():
    assert held("reach BETWEEN 1 AND 3 AND power > 5", reach=[2.0, 2.0], power=[6.0, 4.0]) == [True, False]


def test_tenths_add_up_to_what_a_person_expects():
    assert held("reach + power >= 0.3", reach=[0.1], power=[0.2]) == [True]
    assert held("(reach + power) / 2 >= 6.7", reach=[6.6], power=[6.8]) == [True]


def test_a_condition_without_names_is_a_constant():
    assert parse("1 < 2", NAMES).holds({"reach": np.array([1.0, 2.0])}).tolist() is True


def test_the_names_of_a_condition_are_those_it_reads():
    assert parse("reach > 1 AND NOT (power + 1 < 2)", NAMES).names == {"reach", "power"}


def test_one_spelling_for_one_meaning():
    spelled = "reach < 5 AND NOT (power >= 7 AND overall >= 3)"
    assert str(parse("reach<5 and not(power>=7.0 AND overall >=3)", NAMES)) == spelled


# -- refused conditions


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("speed > 1", "unknown name 'speed'; known: reach, power, overall (at character 1)"),
        ("Reach > 1", "unknown name 'Reach'"),
        ("abs(reach) > 1", "conditions do not support functions"),
        ("reach = 'high'", "a string or a quoted name"),
        ('"reach" > 1', "a string or a quoted name"),
        ("reach", "the number reach where a comparison was expected"),
        ("reach AND power > 1", "the number reach where a comparison"),
        ("NOT reach", "the number reach where a comparison"),
        ("(reach > 1) + 1 > 2", "the comparison reach > 1 where a number"),
        ("(reach > 1) > 0", "the comparison reach > 1 where a number"),
        ("1 < reach < 5", "compares twice in a row"),
        ("reach > 1 power > 2", "'power' where AND, OR or the end"),
        ("reach > 1 AND", "ends where"),
        ("reach >", "ends where"),
        ("(reach > 1", "ends where ) was expected"),
        ("reach > 1)", "')' where AND, OR or the end"),
        ("reach BETWEEN 1 OR 2", "the AND of BETWEEN"),
        ("reach / 0 > 1", "divides by zero"),
        ("reach / (2 - 2) > 1", "divides by zero"),
        ("reach > 1e999", "not a number up to 1e+12"),
        ("reach > 1e13", "not a number up to 1e+12"),
        ("reach > nan", "unknown name 'nan'"),
        ("reach > inf", "unknown name 'inf'"),
        ("reach > 1; DROP TABLE labels", "';', which conditions do not support"),
        ("reach IS NULL", "'IS' where AND, OR"),
        ("reach > 1.2.3", "which conditions do not support"),
        ("reach > 3a", "which conditions do not support"),
        ("reach > [1]", "'[', which conditions do not support"),
        ("SELECT 1", "unknown name 'SELECT'"),
        ("reach >= \u0665", "which conditions do not support"),
    ],
)
def test_what_is_not_in_the_language_is_refused_with_its_place(text, message):
    with pytest.raises(ConditionError) as raised:
        parse(text, NAMES)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 3000 + "reach > 1" + ")" * 900,
        "(" * 200 + "reach > 1" + ")" * 200,
        "NOT " * 900 + "reach > 1",
        " + ".join(["reach"] * 600) + " > 1",
        "-" * 3000 + "reach > 1",
        "reach > 1 " + "x" * 5000,
    ],
)
def test_monsters_are_refused_and_break_nothing(text):
    with pytest.raises(ConditionError):
        parse(text, NAMES)


@given(st.text(alphabet="reachpower overall<>=!+-*/().0123456789ANDORNOTBETWEEN'\"\n", max_size=60))
def test_any_text_is_either_a_condition_or_a_condition_error(text):
    try:
        condition = parse(text, NAMES)
    except ConditionError:
        return
    assert isinstance(condition, Condition)


# -- fails closed


@pytest.mark.parametrize("missing", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "text", ["reach >= 7", "reach < 7", "NOT reach >= 7", "NOT reach < 7", "reach != 7", "reach = reach"]
)
def test_no_condition_holds_on_what_is_missing_or_not_finite(text, missing):
    assert held(text, reach=[missing]) == [False]


def test_one_missing_input_is_enough():
    assert held("reach > 1 OR power > 1", reach=[5.0], power=[None]) == [False]


@pytest.mark.parametrize("text", ["reach / power > 0", "NOT reach / power > 0", "1 / (1 / power) < 1"])
def test_a_division_by_zero_is_never_true(text):
    assert held(text, reach=[1.0], power=[0.0]) == [False]


def test_integer_columns_count_as_numbers():
    assert parse("reach / 2 >= 3.5", NAMES).holds({"reach": np.array([6, 7])}).tolist() == [False, True]


# -- invariants on random conditions

numbers = st.integers(-20, 20).map(lambda number: number / 2)
values = st.recursive(
    st.one_of(st.sampled_from(NAMES), numbers.map(lambda number: f"({number})")),
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda parts: f"({' '.join(parts)})"),
    max_leaves=4,
)
comparisons = st.tuples(values, st.sampled_from(["<", "<=", ">", ">=", "=", "!="]), values).map(" ".join)
conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        inner.map(lambda part: f"NOT ({part})"),
        st.tuples(inner, inner).map(lambda parts: f"({parts[0]}) AND ({parts[1]})"),
        st.tuples(inner, inner).map(lambda parts: f"({parts[0]}) OR ({parts[1]})"),
    ),
    max_leaves=5,
)
scores = st.integers(0, 20).map(lambda number: number / 2)
rows = st.fixed_dictionaries(dict.fromkeys(NAMES, scores))


def evaluated(text: str, row: dict[str, float]) -> bool:
    """Evaluate the same condition with Python."""
    python = text.replace("NOT", "not").replace("AND", "and").replace("OR", "or").replace(" = ", " == ")
    return bool(eval(python, {"__builtins__": {}}, row))


@given(conditions, rows)
def test_a_condition_means_what_python_says_it_means(text, row):
    assert held(text, **{name: [value] for name, value in row.items()}) == [evaluated(text, row)]


@given(conditions, st.lists(rows, min_size=2, max_size=20))
def test_a_row_means_the_same_alone_and_among_others(text, many):
    condition = parse(text, NAMES)
    together = condition.holds({name: np.array([row[name] for row in many]) for name in NAMES})
    alone = [condition.holds({name: np.array([row[name]]) for name in NAMES}) for row in many]
    assert np.broadcast_to(together, len(many)).tolist() == [bool(np.ravel(one)[0]) for one in alone]


@given(conditions)
def test_the_one_spelling_reads_back_to_the_same_tree(text):
    condition = parse(text, NAMES)
    assert parse(str(condition), NAMES) == condition


@given(conditions, st.lists(conditions, max_size=2), rows)
def test_what_holds_somewhere_is_never_called_impossible(wanted, without, row):
    assume(evaluated(wanted, row) and not any(evaluated(text, row) for text in without))
    assert possible(wanted, *without)


# -- satisfiability


@pytest.mark.parametrize(
    ("wanted", "without", "answer"),
    [
        ("overall >= 7", [], True),
        ("overall > 10", [], False),
        ("overall >= 10", [], True),
        ("overall < 0", [], False),
        ("overall >= 4", ["overall >= 7"], True),
        ("overall >= 7", ["overall >= 4"], False),
        ("overall > 4", ["overall >= 4"], False),
        ("overall >= 4", ["overall > 4"], True),
        ("reach >= 7 AND power >= 7", ["reach >= 7 OR power >= 9"], False),
        ("reach >= 7 OR power >= 7", ["reach >= 7"], True),
        ("reach < 3 AND reach > 2", [], True),
        ("reach < 3 AND reach > 3", [], False),
        ("reach = 3 AND reach != 3", [], False),
        ("reach BETWEEN 8 AND 7", [], False),
        ("reach + power > 20", [], False),
        ("reach + power >= 20", [], True),
        ("reach * 2 > 21", [], False),
        ("NOT (reach <= 10)", [], False),
        ("reach < 5", ["reach < 3", "reach BETWEEN 3 AND 4.99"], True),
        ("reach < 5", ["reach < 3", "reach BETWEEN 3 AND 5"], False),
    ],
)
def test_whether_a_tier_can_still_match(wanted, without, answer):
    assert possible(wanted, *without) is answer


def test_what_is_given_relates_the_names():
    mean = parse("overall = 0.5 * reach + 0.5 * power", NAMES)
    both_low = parse("reach < 2 AND power < 2 AND overall > 5", NAMES)
    assert can_hold(both_low, [], 0, 10)
    assert not can_hold(both_low, [], 0, 10, given=[mean])


def test_a_name_can_stand_for_what_it_is_computed_from():
    overall = parse("reach > 1 AND NOT (-overall < power)", NAMES).computing("overall", "0.5 * reach + 1", NAMES)
    assert str(overall) == "reach > 1 AND NOT (-(0.5 * reach + 1) < power)"
    with pytest.raises(ConditionError):
        overall.computing("reach", "power > 1", NAMES)


def test_conditions_combine():
    one, other = parse("reach > 1", NAMES), parse("power > 1", NAMES)
    assert str(~one & (one | other)) == "NOT (reach > 1) AND (reach > 1 OR power > 1)"
