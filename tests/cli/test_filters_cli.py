"""Tests of the commands new, check and filters."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from potstill.cli.filters import register
from potstill.errors import FilterError


@pytest.fixture
def both():
    """Run a command and return everything that it prints."""
    app = typer.Typer()
    register(app)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments]).output


@pytest.fixture
def run():
    app = typer.Typer()
    register(app)

    def command(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return command


def test_filters_lists_those_that_ship(run):
    lines = run("filters").splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["front-page", "v1"], ["investment-risk", "v4"], ["sustainability-tech-innovation", "v2"], ["uplifting", "v4"],
    ]  # fmt: skip


def test_filters_as_json(run):
    found = {one["name"]: one for one in json.loads(run("filters", "--json"))}
    assert found["front-page"]["positive_tiers"] == ["lead", "front"]
    assert len(found["uplifting"]["dimensions"]) == 8


def test_check_explains_and_says_that_all_is_well(run):
    said = run("check", "uplifting")
    assert "collective_benefit < 5 AND NOT (wonder >= 7 AND collective_benefit >= 3)" in said
    assert said.endswith("Filter is valid. No warnings.\n")


def test_check_as_json(run):
    found = json.loads(run("check", "investment-risk", "--json"))
    assert (found["name"], found["version"], found["findings"]) == ("investment-risk", 4, [])
    assert found["positive_tiers"] == ["RED"]
    assert len(found["content_hash"]) == len(found["oracle_hash"]) == 64


def test_what_new_starts_check_accepts(run, both, tmp_path):
    printed = both("new", "my-topic", "--in", tmp_path)
    assert printed.splitlines()[-1] == f"next: potstill check {tmp_path / 'my-topic'}"
    assert run("check", tmp_path / "my-topic").splitlines()[-4:] == [
        *(f"warning: {part}: is still the text of the template; edit it to describe what you look for"
          for part in ("description", "dimensions", "rubric.md")),
        "Filter is valid. 3 warnings.",
    ]  # fmt: skip


def test_check_remarks_only_on_what_nobody_has_edited(run, tmp_path):
    run("new", "my-topic", "--in", tmp_path)
    rubric = tmp_path / "my-topic" / "rubric.md"
    rubric.write_text(rubric.read_text().replace("Say here, in two or three sentences, what that is", "Floods"))
    said = run("check", tmp_path / "my-topic")
    assert "warning: description: is still the text of the template" in said
    assert "rubric.md: is still" not in said


def test_check_names_what_is_odd(run, tmp_path):
    run("new", "mine", "--in", tmp_path)
    file = tmp_path / "mine" / "filter.yaml"
    file.write_text(file.read_text().replace(", positive: true", ""))
    said = run("check", tmp_path / "mine")
    assert "warning: tiers: no tier is positive, so recall will not be reported" in said
    assert said.endswith("Filter is valid. 4 warnings.\n")
    findings = json.loads(run("check", tmp_path / "mine", "--json"))["findings"]
    assert findings[3:] == [{"path": "tiers", "message": "no tier is positive, so recall will not be reported"}]


def test_check_refuses_what_is_not_legal_with_exit_code_2(run, tmp_path):
    run("new", "mine", "--in", tmp_path)
    file = tmp_path / "mine" / "filter.yaml"
    file.write_text(file.read_text().replace("weight: 0.6", "weight: 0.5"))
    with pytest.raises(FilterError, match=r"filter.yaml: line 8: dimensions: weights sum to 0.9") as raised:
        run("check", tmp_path / "mine")
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("decide", "message"),
    [
        ("decide:\n  brief: {recall: 0.9}", "decide -> brief: not a positive tier; positive tiers: "),
        ("decide: {recall: 0.9, f1: best}", "decide -> .*: expected exactly one of volume, .*, got recall and f1"),
        ("decide: {recall: 1.5}", "decide -> .* -> recall: got 1.5, expected a number above 0 and below 1"),
        ("decide: {cost: {miss: 0, false_alarm: 1}}", "-> cost -> miss: got 0, expected a number above 0"),
        ("decide: {volume: some}", "-> volume: got 'some', expected match, or a number above 0 and up to 1,000"),
        ("decide: {threshold: 0.5}", "-> threshold: got 0.5, expected by-score"),
        ("decide: recal=0.9", "got 'recal=0.9', expected volume=match, .* or by-score"),
        ("decide: [recall=0.9]", r"decide: got \['recall=0.9'\], expected volume=match, .* or one for each positive"),
        ("decide: {cost: {miss: 5}}", "-> cost -> false_alarm: missing; expected a number above 0"),
    ],
)
def test_check_refuses_an_operating_point_that_is_not_valid_with_its_line(run, tmp_path, decide, message):
    run("new", "mine", "--in", tmp_path)
    file = tmp_path / "mine" / "filter.yaml"
    lines = file.read_text().rstrip("\n").count("\n") + 2 + decide.count("\n")
    file.write_text(file.read_text().rstrip("\n") + f"\n{decide}\n")
    with pytest.raises(FilterError, match=message) as raised:
        run("check", tmp_path / "mine")
    assert f"filter.yaml: line {lines}: " in str(raised.value)


def test_check_says_what_the_cut_of_each_positive_tier_is_chosen_for(run, tmp_path):
    run("new", "mine", "--in", tmp_path)
    (tier,) = json.loads(run("check", tmp_path / "mine", "--json"))["positive_tiers"]
    assert f"  {tier}: the oracle's volume\n" in run("check", tmp_path / "mine")
    file = tmp_path / "mine" / "filter.yaml"
    file.write_text(file.read_text().rstrip("\n") + "\ndecide: {cost: {miss: 5, false_alarm: 1}}\n")
    assert f"  {tier}: cost 5 per miss and 1 per false alarm\n" in run("check", tmp_path / "mine")
    file.write_text(file.read_text().replace("decide: {cost: {miss: 5, false_alarm: 1}}", "decide: by-score"))
    assert f"  {tier}: nothing; its condition is applied to the scores\n" in run("check", tmp_path / "mine")


def test_check_refuses_an_operating_point_where_no_tier_is_positive(run, tmp_path):
    run("new", "mine", "--in", tmp_path)
    file = tmp_path / "mine" / "filter.yaml"
    file.write_text(file.read_text().replace(", positive: true", "").rstrip("\n") + "\ndecide: {recall: 0.9}\n")
    with pytest.raises(FilterError, match="decide: no tier is positive, so there is no cut to choose"):
        run("check", tmp_path / "mine")


def test_new_without_a_folder_starts_in_the_current_one(both, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert both("new", "mine").splitlines()[-1] == "next: potstill check ./mine"
    assert (tmp_path / "mine" / "rubric.md").is_file()


def test_new_refuses_a_name_that_is_taken(run, tmp_path):
    run("new", "mine", "--in", tmp_path)
    with pytest.raises(FilterError, match="already exists"):
        run("new", "mine", "--in", tmp_path)
