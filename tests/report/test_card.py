"""Tests that the model card is parsed as the hub parses it, and contains the records' values."""

import re

import pytest
import yaml
from evaluated_run import evaluated_run

from potstill.files import read_json, write_json
from potstill.pipeline.run import Run
from potstill.report import write_report
from potstill.report.card import front_matter, render_card
from potstill.report.facts import collect


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = evaluated_run(tmp_path_factory.mktemp("card"))
    write_report(run)
    return Run.open(run.folder)


def parted(run):
    """Return the front matter as values, and the text."""
    _, front, text = (run.path("report") / "model_card.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def test_its_front_matter_holds_the_figures_of_the_evaluation(run):
    front, _ = parted(run)
    evaluation = read_json(run.path("evaluation"))
    chosen = next(rung for rung in evaluation["ladder"] if rung["name"] == evaluation["shipped"]["rung"])
    judged = chosen["judgements"][chosen["headline"]]
    values = {r["metrics"][0]["name"]: r["metrics"][0]["value"] for r in front["model-index"][0]["results"]}
    assert values["Mean absolute error"] == judged["mean"]["mae"]
    assert values["Mean absolute error of the constant baseline"] == judged["mean"]["constant_mae"]
    assert values["Tier agreement with the oracle"] == judged["tiers"]["accuracy"]
    assert front["tags"][-1] == "good-news"


def test_what_nobody_recorded_is_not_in_its_front_matter(run):
    front, text = parted(run)
    assert not {"license", "base_model", "language"} & set(front)
    assert "Licence: not recorded" in text


def test_a_student_with_a_backbone_names_its_base(run):
    facts = collect(run)
    record = facts.students["tfidf-ridge"]
    record.content["backbones"] = {"all-MiniLM-L6-v2": "ab" * 32}
    assert front_matter(facts)["base_model"] == ["all-MiniLM-L6-v2"]


def test_it_has_the_sections_of_a_card(run):
    _, text = parted(run)
    heads = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert heads[:4] == ["Model description", "How to use it", "Intended uses", "Bias, risks and limitations"]
    assert {"Training data", "Training procedure", "Evaluation", "Technical specifications"} <= set(heads)
    assert "](" not in text


def test_it_changes_with_its_record_and_stands_nowhere_else(run):
    before = render_card(collect(run))
    evaluation = read_json(run.path("evaluation"))
    write_json(run.path("evaluation"), {**evaluation, "filter": "other-news"})
    after = render_card(collect(run))
    write_json(run.path("evaluation"), evaluation)
    assert "other-news" in after
    assert "other-news" not in before
    assert list(run.folder.rglob("model_card.md")) == [run.path("report") / "model_card.md"]
