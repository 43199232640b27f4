"""Tests that a report's path that names no field is detected at once, whether the record exists or not."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, JsonValue, computed_field

from potstill.evaluation import Evaluation
from potstill.pipeline.leaderboard import Leaderboard
from potstill.report.facts import Record
from potstill.report.rules import RULES, threshold
from potstill.report.shapes import NoSuchFieldError, leads


class Town(BaseModel):
    name: Annotated[str, "as on the map"]
    people: int | None
    streets: tuple[str, ...]
    twin: "Town | None" = None
    by_year: dict[str, float]
    notes: JsonValue = None
    where: tuple[float, float] = (0.0, 0.0)

    @computed_field
    @property
    def size(self) -> int:
        return len(self.streets)


@pytest.mark.parametrize(
    "path",
    [
        (),
        ("name",),
        ("people",),
        ("streets", 7),
        ("twin", "twin", "streets", 0),
        ("by_year", "1999"),
        ("notes", "anything", 3, "else"),
        ("where", 1),
        ("size",),
    ],
)
def test_a_path_of_fields_leads_somewhere(path):
    assert leads(Town, path)


@pytest.mark.parametrize(
    "path",
    [
        ("nam",),
        ("name", "first"),
        ("people", 0),
        ("streets", "first"),
        ("twin", "street"),
        ("by_year", 1999),
        ("by_year", "1999", "mean"),
        (0,),
    ],
)
def test_a_path_with_a_wrong_step_leads_nowhere(path):
    assert not leads(Town, path)


def test_a_dict_stands_for_itself():
    shape = {"rows": {"many": 3}, "free": Any}
    assert leads(shape, ("rows", "many"))
    assert leads(shape, ("free", "of", "rules"))
    assert not leads(shape, ("rows", "few"))


@pytest.mark.parametrize("content", [None, {"shipped": {}}])
def test_a_wrong_path_is_refused_whether_the_record_is_there_or_not(content):
    record = Record("evaluation.json", None, content, Evaluation)
    assert not record.at("shipped", "latency", "milliseconds_p50").recorded
    with pytest.raises(NoSuchFieldError, match=r"evaluation\.json: records of this kind have no /shipped/latency/p50"):
        record.at("shipped", "latency", "p50")


@pytest.mark.parametrize(
    ("shape", "path"),
    [
        (Evaluation, ("ladder", 0, "judgements", "test", "mean", "r_2")),
        (Evaluation, ("bootstrap", "samples")),
        (Leaderboard, ("steps", 0, "memory")),
    ],
)
def test_misspelt_figures_of_real_records_are_found(shape, path):
    with pytest.raises(NoSuchFieldError):
        Record("record.json", None, None, shape).at(*path)


def test_a_threshold_that_is_not_declared_is_refused():
    assert threshold("gap", "wide") == RULES.content["gap"]["wide"]
    with pytest.raises(NoSuchFieldError):
        threshold("gap", "narrow")
