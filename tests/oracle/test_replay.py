"""Tests of the replay oracle, which passes recorded answers through the code path of a live one."""

import asyncio
import json

import pytest

from potstill.errors import LabelError
from potstill.filters import load_filter
from potstill.oracle import Failure, open_oracle
from potstill.oracle.prompt import Prompt

PROMPT = Prompt.of(load_filter("front-page"))
NAMES = PROMPT.filter.dimension_names


def recording(tmp_path, *rows):
    path = tmp_path / "labels.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def ask(oracle, article, sample=0):
    oracle.prepare(PROMPT)
    return asyncio.run(oracle.ask(PROMPT.request(article, "text", sample)))


def scores(value):
    return dict.fromkeys(NAMES, value)


def test_rows_with_scores_or_samples_are_served(tmp_path):
    first = {"id": "a", "scores": scores(1), "evidence": "e"}
    second = {"id": 7, "samples": [{"scores": scores(2)}, {"scores": scores(3)}]}
    oracle = open_oracle(f"replay:{recording(tmp_path, first, second)}")
    assert (ask(oracle, "a").scores, ask(oracle, "a").evidence) == (scores(1.0), "e")
    assert ask(oracle, "7", 1).scores == scores(3.0)
    assert oracle.free
    assert oracle.model == "labels"


def test_the_recording_that_ships_is_served_by_its_field():
    oracle = open_oracle("replay:lee-oracle#front_page")
    assert ask(oracle, "lee-bg-000").scores["urgency"] == 9.5
    assert ask(oracle, "lee-bg-000", 1).scores["urgency"] == 9.0
    assert ask(oracle, "lee-bg-000", 1).evidence.startswith("Bushfire forces 500")


@pytest.mark.parametrize(("article", "sample"), [("b", 0), ("a", 1)])
def test_what_was_not_recorded_is_a_failure(tmp_path, article, sample):
    with pytest.raises(Failure, match="not_recorded"):
        ask(open_oracle(f"replay:{recording(tmp_path, {'id': 'a', 'scores': scores(1)})}"), article, sample)


def test_a_null_is_masked(tmp_path):
    oracle = open_oracle(f"replay:{recording(tmp_path, {'id': 'a', 'scores': scores(1) | {'reach': None}})}")
    assert ask(oracle, "a").scores["reach"] is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "b", "scores": scores(1) | {"reach": 11}}, 'id "b": reach: got 11, expected 0 to 10'),
        ({"id": "b", "scores": {"reach": 1}}, 'id "b": no score for'),
        ({"id": "b", "scores": scores(1) | {"x": 1}}, "id \"b\": unknown dimension 'x'"),
        ({"id": "b", "scores": scores("1")}, "id \"b\": human_harm is text ('1'), expected a number"),
        ({"id": "b", "scores": scores(float("nan"))}, "broken JSON (NaN is not JSON)"),
        ({"id": "a", "scores": scores(1)}, 'duplicate id "a", already at line 1'),
        ({"id": "b"}, "expected the field scores or samples"),
        ({"scores": scores(1)}, "field id: expected text"),
        ({"id": "b", "samples": [1]}, "field samples: expected objects with scores"),
        ("[1]", "expected a JSON object"),
        ('{"id": ', "broken JSON"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, message):
    path = recording(tmp_path, {"id": "a", "scores": scores(1)}, row)
    with pytest.raises(LabelError) as caught:
        open_oracle(f"replay:{path}").prepare(PROMPT)
    assert str(caught.value).startswith(f"{path}: line 2: {message}")


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(LabelError, match=r"none\.jsonl: no such file of recorded answers"):
        open_oracle("replay:none.jsonl")


def test_a_path_may_hold_the_mark_that_comes_before_a_field(tmp_path):
    (tmp_path / "a#b").mkdir()
    path = recording(tmp_path / "a#b", {"id": "a", "front": scores(2), "scores": scores(1)})
    assert ask(open_oracle(f"replay:{path}"), "a").scores == scores(1.0)
    assert ask(open_oracle(f"replay:{path}#front"), "a").scores == scores(2.0)
