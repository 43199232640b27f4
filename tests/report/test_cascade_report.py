"""Tests of a cascade in a report: it shows its record, and only if the record belongs to the bundle."""

from types import SimpleNamespace

import pytest

from potstill.pipeline.refit import Refitted
from potstill.report.blocks import Figure, Paragraph, Table
from potstill.report.cascade import plot_frontier, prepare_frontier
from potstill.report.facts import Record
from potstill.report.sections.cascade import cascade
from potstill.report.themes import PRINT
from potstill.scorer.early import Cascade, Held, Point


def at(recall, threshold, early):
    return Point(
        recall=recall, threshold=threshold, lost=0, early=early, early_at_5_percent=early / 2, articles_per_second=90
    )


POINTS = (at(0.95, 1.5, 0.4), at(0.8, 2.5, 0.7))
FOUND = Cascade(
    bundle="ab" * 32,
    student="minilm-svr",
    first="tfidf-ridge",
    wanted=0.8,
    confidence=0.95,
    chosen=POINTS[1],
    highest=0.96,
    positives=90,
    positive_clusters=80,
    articles=1000,
    positive_tiers=("lead",),
    first_milliseconds=0.5,
    second_milliseconds=40,
    frontier=POINTS,
    test=Held(articles=100, early=70, positives=9, passed=8),
    why="tfidf-ridge answers 70% of articles alone",
)


def facts(bundle="ab" * 32, content=FOUND):
    kept = None if content is None else content.model_dump(mode="json")
    return SimpleNamespace(
        cascade=Record("cascade/cascade.json", "00" * 32, kept, Cascade),
        bundle=Record("bundle/bundle.json", "11" * 32, {"sha256": bundle}, {"sha256": ""}),
        refit=Record("refit.json", None, None, Refitted),
    )


def said(section):
    return " ".join("".join(map(str, block.text)) for block in section.blocks if isinstance(block, Paragraph))


def test_the_words_are_those_of_the_record():
    words = said(cascade(facts()))
    assert (
        "Thresholds are chosen on 1,000 articles that tfidf-ridge was not trained on; 90 of them are positive" in words
    )
    assert "8 of 9 positives go on to the second student, and 70 of 100 articles are answered early" in words


def test_the_chosen_threshold_stands_out_among_the_others():
    table = next(block for block in cascade(facts()).blocks if isinstance(block, Table))
    assert [row.strong for row in table.rows] == [False, True]
    assert ["".join(map(str, cell)) for cell in table.rows[1].cells] == ["80%", "70%", "35%", "90", "2.500", "0"]


@pytest.mark.parametrize(
    ("given", "words"),
    [(facts(content=None), "No cascade was made"), (facts(bundle="cd" * 32), "was made for a different bundle")],
)
def test_without_one_for_this_bundle_no_figure_is_shown(given, words):
    section = cascade(given)
    assert words in said(section)
    assert len(section.blocks) == 1


def test_every_plotted_point_equals_its_record():
    record = facts().cascade
    rows = prepare_frontier(record)
    assert [(row["recall"], row["value"], row["chosen"]) for row in rows] == [(0.95, 0.4, False), (0.8, 0.7, True)]
    assert [row["field"] for row in rows] == ["/frontier/0/early", "/frontier/1/early"]
    spec = plot_frontier(rows, PRINT).to_dict()
    assert {layer["mark"]["type"] for layer in spec["layer"]} == {"line", "point"}
    assert next(block for block in cascade(facts()).blocks if isinstance(block, Figure)).png == "cascade.png"
