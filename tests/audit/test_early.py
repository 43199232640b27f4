"""Tests of the early warning about redundant dimensions."""

import json
from types import SimpleNamespace

import pytest
from scripted_server import ScriptedServer, completion
from typer.testing import CliRunner

from potstill.audit.early import early_warning
from potstill.cli import build
from potstill.filters import load_filter
from potstill.labelling import Ledger, label
from potstill.oracle.replay import ReplayOracle

FRONT_PAGE = load_filter("front-page")
NAMES = FRONT_PAGE.dimension_names


def stories(path, count=40):
    path.write_text("".join(json.dumps({"id": f"a{i}", "content": f"Story {i}."}) + "\n" for i in range(count)))
    return path


def ledger_of(tmp_path, scores, count=40, filter_=FRONT_PAGE):
    """Return a ledger in which a function gives the scores of the i-th story by dimension."""
    recorded = tmp_path / "answers.jsonl"
    recorded.write_text(
        "".join(
            json.dumps({"id": f"a{i}", "scores": {name: scores(i, k) for k, name in enumerate(NAMES)}}) + "\n"
            for i in range(count)
        )
    )
    from potstill.articles import read_all

    label(tmp_path / "l.sqlite", read_all(stories(tmp_path / "n.jsonl", count)), filter_, ReplayOracle(recorded))
    return tmp_path / "l.sqlite"


def same(i, k):
    return i % 11


def different(i, k):
    return (i * (k + 3) * 7919 + k * 104729) % 9973 % 11


def test_eight_names_for_one_thing_are_told(tmp_path):
    assert early_warning(ledger_of(tmp_path, same), FRONT_PAGE).startswith(
        "by the 40 labels so far, 8 dimensions measure about 1.0 different things. Nearly one: "
    )


def test_dimensions_that_differ_are_not(tmp_path):
    assert early_warning(ledger_of(tmp_path, different), FRONT_PAGE) is None


def test_a_few_labels_say_nothing_yet(tmp_path):
    assert early_warning(ledger_of(tmp_path, same, count=20), FRONT_PAGE) is None


def test_no_ledger_and_no_label_say_nothing(tmp_path):
    assert early_warning(tmp_path / "none.sqlite", FRONT_PAGE) is None
    Ledger(tmp_path / "empty.sqlite").close()
    assert early_warning(tmp_path / "empty.sqlite", FRONT_PAGE) is None
    assert not (tmp_path / "none.sqlite").exists()


def test_labels_of_another_rubric_do_not_speak_for_this_one(tmp_path):
    other = FRONT_PAGE.model_copy(update={"rubric": "Judge otherwise."})
    assert early_warning(ledger_of(tmp_path, same, filter_=other), FRONT_PAGE) is None


@pytest.mark.parametrize("more", [["--plan"], []])
def test_labelling_says_it_before_it_goes_on(tmp_path, more):
    scores = iter(i % 11 for i in range(1000))

    def script(request, number):
        return completion(json.dumps({"scores": dict.fromkeys(NAMES, next(scores)), "evidence": "e"}))

    def run(*words):
        command = ["label", str(tmp_path / "run"), f"--oracle=openai:m@{server.url}", *words]
        return CliRunner().invoke(build(), command, catch_exceptions=False)

    with ScriptedServer(script) as server:
        first = run("--filter=front-page", f"--articles={stories(tmp_path / 'n.jsonl')}")
        assert "warning" not in first.output
        again = run(f"--articles={stories(tmp_path / 'more.jsonl', 60)}", *more)
    assert "warning: by the 40 labels so far, 8 dimensions measure about 1.0 different things." in again.output


@pytest.mark.threshold(name="EARLY_CALLS")
@pytest.mark.parametrize(("calls", "warned"), [(4999, True), (5000, True), (5001, False)])
def test_after_more_than_5000_calls_a_warning_comes_too_late(tmp_path, monkeypatch, calls, warned):
    ledger = ledger_of(tmp_path, same)
    monkeypatch.setattr(Ledger, "spent", lambda _: SimpleNamespace(calls=calls))
    assert (early_warning(ledger, FRONT_PAGE) is not None) is warned
