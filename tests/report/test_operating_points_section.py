"""Tests of the report's section on positive tiers: its figures are those of the records."""

import shutil

import pytest
from browser import browser
from evaluated_run import evaluated_run

from potstill.bundle import BUNDLE_LAYOUT
from potstill.evaluation import Evaluation
from potstill.files import read_json, write_json
from potstill.pipeline.run import Run
from potstill.report import write_report
from potstill.report.blocks import Figure, Paragraph, Shown, Table
from potstill.report.facts import collect
from potstill.report.sections import SECTIONS
from potstill.report.sections.operating_points import operating_points
from potstill.report.sections.summary import summary


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return evaluated_run(tmp_path_factory.mktemp("positive"), 150).folder


@pytest.fixture
def run(original, tmp_path):
    return Run.open(shutil.copytree(original, tmp_path / "run"))


def tables(run):
    return {block.caption: block for block in operating_points(collect(run)).blocks if isinstance(block, Table)}


def cells(table, row=0):
    heads = [column.label for column in table.columns]
    return dict(zip(heads, ["".join(map(str, cell)) for cell in table.rows[row].cells], strict=True))


def label(curve, step):
    """Return what the chart says about one of the recorded cuts."""
    named, found = curve["named"][step], curve["found"][step]
    return (
        f"cut {curve['cuts'][step]:.2f}: names {named} ({1000 * named / curve['rows']:,.0f} per 1,000)\n"
        f"finds {found} of {curve['positives']}, recall {found / curve['positives']:.0%}, precision {found / named:.0%}"
    )


def test_it_follows_the_summary():
    assert SECTIONS[:2] == (summary, operating_points)


def test_counts_are_those_of_the_evaluation(run):
    content = read_json(run.path("evaluation"))
    # As many are named as the oracle would name, so misses and false alarms would be equal.
    for found in (*content["shipped"]["judgement"]["positive_tiers"], *content["shipped"]["unseen"]):
        found["named"] += 3
    write_json(run.path("evaluation"), content)
    evaluation = Evaluation.from_file(run.path("evaluation"))
    shown = tables(run)
    for caption, found in (
        ("Positive tiers on the test part", evaluation.shipped.judgement.positive_tiers[0]),
        ("Positive tiers on all articles that did not train the bundle", evaluation.shipped.unseen[0]),
    ):
        assert cells(shown[caption]) == {
            "Tier": "lead",
            "Operating point": "volume match",
            "Cut": f"{found.cut.probability:.3f}",
            "Rows": str(found.rows),
            "Oracle": str(found.oracle),
            "Named": str(found.named),
            "Found": str(found.both),
            "Missed": str(found.oracle - found.both),
            "False alarms": str(found.named - found.both),
        }


def test_every_number_is_a_recorded_fact(run):
    files = {"evaluation.json", "bundle/calibration.json"}
    for table in tables(run).values():
        for row in table.rows:
            for cell in row.cells:
                assert all(part.fact.file in files for part in cell if isinstance(part, Shown))
                assert not any(character.isdigit() for part in cell if isinstance(part, str) for character in part)


def test_the_curve_is_that_of_the_bundle_and_its_chosen_cut_is_marked(run):
    decisions = read_json(run.path("bundle") / BUNDLE_LAYOUT["calibration"])["decisions"]
    curve, cut = decisions["curves"][0], decisions["cuts"][0]
    (figure,) = (block for block in operating_points(collect(run)).blocks if isinstance(block, Figure))
    assert figure.sources == ("bundle/calibration.json",)
    assert figure.title == "Precision and recall: lead"
    assert [row["cut"] for row in figure.data] == curve["cuts"]
    assert [row["recall"] for row in figure.data] == [found / curve["positives"] for found in curve["found"]]
    assert [row["volume"] for row in figure.data] == [1000 * named / curve["rows"] for named in curve["named"]]
    (chosen,) = (row for row in figure.data if row["chosen"])
    assert chosen["cut"] == cut["probability"]
    assert chosen["label"] == label(curve, curve["cuts"].index(cut["probability"]))
    assert chosen["precision"] == cut["found"] / cut["named"]


@pytest.mark.parametrize("width", [420, 1280])
def test_the_slider_shows_what_each_recorded_cut_names_and_finds(run, width):
    decisions = read_json(run.path("bundle") / BUNDLE_LAYOUT["calibration"])["decisions"]
    curve = decisions["curves"][0]
    start, last = curve["cuts"].index(decisions["cuts"][0]["probability"]), len(curve["cuts"]) - 1
    with browser() as started:
        page = started.open(write_report(run).as_uri(), width=width)
        page.until("document.querySelector('input[type=range][name=step]')")
        line = "[...document.querySelectorAll('svg text')].find((one) => /^cut /.test(one.textContent))"
        text = f"[...{line}.querySelectorAll('tspan')].map((one) => one.textContent).join('\\n')"
        ends = f"[{line}.getBoundingClientRect().right, {line}.closest('svg').getBoundingClientRect().right]"
        page.until(f"{text} === {label(curve, start)!r}")
        for step in (0, last // 2, last):
            page.ask(
                f"(() => {{ const s = document.querySelector('input[type=range][name=step]'); s.value = {step};"
                "s.dispatchEvent(new Event('input', {bubbles: true})); })()"
            )
            page.until(f"{text} === {label(curve, step)!r}")
            right, edge = page.ask(ends)
            assert right <= edge <= width
        number = "document.querySelector('input[type=range][name=step] + span')"
        assert page.ask(f"getComputedStyle({number}).display") == "none"
        assert page.complaints() == []
    assert len({label(curve, step) for step in (0, start, last // 2, last)}) >= 3


def test_a_promise_that_was_lowered_is_explained(run):
    path = run.path("bundle") / BUNDLE_LAYOUT["calibration"]
    content = read_json(path)
    cut = content["decisions"]["cuts"][0]
    cut |= {"point": {"recall": 0.95}, "promise": "recall 0.8", "note": "recall 0.95 is not supported by 40 articles"}
    write_json(path, content)
    shown = tables(run)["Cuts on the articles that chose them, with lower bounds of recall and precision"]
    assert cells(shown)["Operating point"] == "recall 0.95"
    assert cells(shown)["Promise"] == "recall 0.8"
    said = [
        "".join(map(str, block.text))
        for block in operating_points(collect(run)).blocks
        if isinstance(block, Paragraph) and block.tone == "caution"
    ]
    assert said == ["recall 0.95 is not supported by 40 articles"]


def test_a_cost_is_spelled_out_and_a_tier_by_score_says_so(run):
    path = run.path("bundle") / BUNDLE_LAYOUT["calibration"]
    content = read_json(path)
    cut = content["decisions"]["cuts"][0]
    cut["point"] = {"cost": {"miss": 5, "false_alarm": 1}}
    write_json(path, content)
    caption = "Cuts on the articles that chose them, with lower bounds of recall and precision"
    assert cells(tables(run)[caption])["Operating point"] == "cost 5 per miss, 1 per false alarm"
    cut |= {"point": {"threshold": "by-score"}, "probability": None}
    write_json(path, content)
    assert cells(tables(run)[caption])["Cut"] == "by score"


def test_a_run_that_was_not_evaluated_says_so(run):
    run.path("evaluation").unlink()
    (block,) = operating_points(collect(run)).blocks
    assert block.text == ("Positive tiers: not recorded.",)
