"""Tests of the leaderboard in a report: it shows its record, and only if the record is of the students' rows."""

from types import SimpleNamespace

import pytest

from potstill.evaluation.records import Latency
from potstill.pipeline.leaderboard import Entry, Leaderboard, Next, Pick
from potstill.records import Interval
from potstill.report.blocks import Figure, Paragraph, Table
from potstill.report.facts import Record
from potstill.report.sections.cost import cost
from potstill.training.facts import StudentRecord

FAST = Latency.model_validate(
    dict.fromkeys(Latency.model_fields, 1) | {"milliseconds_p50": 2.5, "machine": "a machine", "load": None}
)


def rung(name, mae):
    return Entry(
        name=name,
        student="tfidf-ridge",
        recipe_hash="",
        state="trained",
        seconds=3.0,
        mae=mae,
        interval=Interval(low=mae - 0.1, high=mae + 0.1),
        skill=0.4,
        latency=FAST,
    )


FOUND = Leaderboard(
    rows="rows",
    seed=0,
    tiny=False,
    train_rows=80,
    validation_rows=20,
    minutes=10,
    milliseconds=20,
    constant_mae=1.5,
    floor=0.25,
    steps=(
        rung("cheap", 0.9),
        rung("dear", 0.8),
        Entry(name="late", student="fine-tuned", recipe_hash="", state="no time", why="it would take 9 min"),
    ),
    pick=Pick(name="dear", mae=0.8, milliseconds=2.5, as_good=("cheap",)),
    next=Next(name="late", seconds=540, points=3, mae=0.7, gain=0.1),
)


def section(rows="rows", **changes):
    content = FOUND.model_copy(update=changes).model_dump(mode="json")
    return cost(
        SimpleNamespace(
            leaderboard=Record("ladder.json", "00" * 32, content, Leaderboard),
            students={"dear": Record("students/dear/record.json", "11" * 32, {"rows_hash": rows}, StudentRecord)},
        )
    )


def said(found):
    return " ".join("".join(map(str, block.text)) for block in found.blocks if isinstance(block, Paragraph))


def test_the_words_are_those_of_the_record():
    words = said(section())
    assert "on the 20 rows of the validation part, where the constant has 1.500" in words
    assert "The noise floor is 0.250: no student can have a lower error." in words
    assert (
        "The recommended model within 20.0 ms per article is dear: its error is 0.800 and it takes 2.5 ms per article."
    ) in words
    assert "Cheaper models that are not significantly worse: cheap." in words
    assert "The next model, late, would take about 9.0 min to train" in words
    assert "over the 3 models so far, it would reduce the error by 0.100, to 0.700." in words


def test_what_is_not_known_is_not_said():
    words = said(section(floor=None, milliseconds=None, next=None, pick=None))
    assert "unknown, because no article was labelled twice" in words
    assert "No model was trained." in words
    assert "next model" not in words
    few = said(section(next=Next(name="late", seconds=540, points=2, mae=None, gain=None)))
    assert "too few models were trained to estimate its error" in few


def test_the_rung_to_take_stands_out_and_one_left_out_says_why():
    table = next(block for block in section().blocks if isinstance(block, Table))
    assert [row.strong for row in table.rows] == [False, True, False]
    cells = [["".join(map(str, cell)) for cell in row.cells] for row in table.rows]
    assert cells[1] == ["dear", "0.800", "0.700 to 0.900", "40%", "2.5", "3.0 s", "\N{EM DASH}"]
    assert cells[2][-1] == "it would take 9 min"


def test_the_chart_has_the_floor_and_a_point_for_each_trained_rung():
    figure = next(block for block in section().blocks if isinstance(block, Figure))
    assert [(row["model"], row["mae"], row["floor"], row["picked"]) for row in figure.data] == [
        ("cheap", 0.9, 0.25, False),
        ("dear", 0.8, 0.25, True),
    ]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            cost(SimpleNamespace(leaderboard=Record("ladder.json", None, None, Leaderboard), students={})),
            "Run potstill train RUN --auto to compare",
        ),
        (section("others"), "made on other rows"),
    ],
)
def test_without_one_of_these_rows_no_figure_is_shown(found, words):
    assert words in said(found)
    assert len(found.blocks) == 1
