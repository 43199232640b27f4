"""Tests of thresholds in a report: recorded ones, and sliders that decide stored overall scores as what-if does."""

import shutil

import pytest
import yaml
from browser import browser
from evaluated_run import evaluated_run

from potstill.evaluation import Evaluation
from potstill.evaluation.whatif import RECALLS, edited, threshold, what_if
from potstill.pipeline.predictions import read_predictions
from potstill.pipeline.run import Run
from potstill.report import write_report
from potstill.report.blocks import Table, WhatIf
from potstill.report.facts import collect
from potstill.report.sections.whatif import what_if as section


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return evaluated_run(tmp_path_factory.mktemp("whatif"), 150).folder


@pytest.fixture
def run(original, tmp_path):
    return Run.open(shutil.copytree(original, tmp_path / "run"))


def block(run, kind):
    return next((found for found in section(collect(run)).blocks if isinstance(found, kind)), None)


def test_thresholds_for_wanted_recalls_are_recorded_and_are_those_of_potstill_tiers(run):
    cuts = Evaluation.from_file(run.path("evaluation")).cuts
    rows = read_predictions(run.folder, run.filter)
    assert (cuts.source, cuts.rows) == ("out-of-fold", 150)
    assert list(cuts.by_recall) == ["50%", "70%", "80%", "90%", "95%"]
    for recall, found in zip(RECALLS, cuts.by_recall.values(), strict=True):
        expected = threshold(rows, run.filter, recall=recall)
        assert found.overall_at_least == pytest.approx(expected.overall_at_least)
        assert found.rows == expected.rows
    assert len(block(run, Table).rows) == len(RECALLS)


def test_sliders_hold_every_judged_row_and_the_filters_tiers(run):
    sliders = block(run, WhatIf)
    assert [(cut.tier, cut.least, cut.above, cut.positive) for cut in sliders.cuts] == [
        ("lead", 6.0, False, True),
        ("page", 3.0, False, False),
        ("drawer", None, False, False),
    ]
    assert len(sliders.oracle) == len(sliders.student) == 150
    assert (sliders.file, sliders.low, sliders.high) == ("predictions.parquet", 0.0, 10.0)


@pytest.mark.parametrize("when", ["overall >= 6 AND gain > 2", "gain >= 6"])
def test_tiers_that_are_more_than_cuts_of_overall_have_no_sliders(run, when):
    path = run.path("filter") / "filter.yaml"
    content = yaml.safe_load(path.read_text())
    content["tiers"][0]["when"] = when
    path.write_text(yaml.safe_dump(content))
    assert block(run, WhatIf) is None


def test_a_deleted_record_is_not_recorded_and_shows_no_sliders(run):
    run.path("predictions").unlink()
    run.path("evaluation").unlink()
    assert block(run, WhatIf) is None
    assert "not recorded" in section(collect(run)).blocks[0].text[0]


@pytest.fixture(scope="module")
def page(original, tmp_path_factory):
    run = Run.open(shutil.copytree(original, tmp_path_factory.mktemp("page") / "run"))
    path = write_report(run)
    with browser() as started:
        found = started.open(path.as_uri())
        found.until("!document.querySelector('form.whatif').hidden")
        yield run, found


def counts(page):
    rows = "[...document.querySelectorAll('.whatif tbody tr')]"
    return page.ask(f"{rows}.map((row) => [...row.querySelectorAll('td')].map((cell) => Number(cell.textContent)))")


def volumes(side):
    return [[one.oracle, one.student, one.both] for one in side.volumes]


def slide(page, place, value):
    page.ask(
        f"(() => {{ const s = document.querySelectorAll('.whatif input[type=range]')[{place}]; s.value = {value};"
        "s.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def test_at_first_the_counts_are_those_of_the_filter(page):
    run, shown = page
    rows = read_predictions(run.folder, run.filter)
    before = what_if(rows, run.filter, run.filter).before
    assert counts(shown) == volumes(before)
    told = shown.ask("document.querySelector('.whatif [role=status]').textContent")
    assert f"Agreement: {100 * before.accuracy:.1f}%" in told
    assert "0 articles change their tier" in told


def test_a_moved_slider_decides_as_what_if_does_and_reset_takes_it_back(page):
    run, shown = page
    rows = read_predictions(run.folder, run.filter)
    expected = what_if(rows, run.filter, edited(run.filter, ["tiers.lead.when=overall >= 4.5"]))
    slide(shown, 0, 4.5)
    assert counts(shown) == volumes(expected.after)
    told = shown.ask("document.querySelector('.whatif [role=status]').textContent")
    assert f"Agreement: {100 * expected.after.accuracy:.1f}%" in told
    assert f"{expected.moved} articles change their tier" in told
    shown.ask("document.querySelector('.whatif input[type=checkbox]').click()")
    alone = counts(shown)
    assert [row[0] for row in alone] == [one.oracle for one in expected.before.volumes]
    assert [row[1] for row in alone] == [one.student for one in expected.after.volumes]
    shown.ask("document.querySelector('.whatif button').click()")
    shown.until("document.querySelector('.whatif [role=status]').textContent.includes(' 0 articles change')")
    assert counts(shown) == volumes(expected.before)


def test_sliders_work_by_keyboard_and_have_labels(page):
    _, shown = page
    shown.ask("document.querySelector('.whatif input[type=range]').focus()")
    before = shown.ask("document.querySelector('.whatif output').textContent")
    shown.press("ArrowRight")
    shown.until(f"document.querySelector('.whatif output').textContent !== {before!r}")
    assert shown.ask("document.querySelector('.whatif input[type=range]').labels[0].textContent").startswith(
        "lead from"
    )
    assert shown.complaints() == []
