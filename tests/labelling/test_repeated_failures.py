"""Tests that labelling stops early for an oracle that can never answer, and leaves its questions open."""

import json

import pytest
from scripted_oracle import FRONT_PAGE, stories
from scripted_server import Answer, ScriptedServer, completion, error

from potstill.articles import open_writer
from potstill.errors import OracleError
from potstill.labelling import Ledger, Price, label
from potstill.labelling.repeated_failures import Alike
from potstill.oracle import Failure, Settings, open_oracle
from potstill.pipeline.label import label_run
from potstill.pipeline.run import Run

GOOD = json.dumps({"scores": dict.fromkeys(FRONT_PAGE.dimension_names, 5.0), "evidence": "e"})
NEVER = {
    "a page": Answer(body=b"<html>Sign in</html>", headers={"content-type": "text/html"}),
    "a wrong shape": Answer(body=b'{"result": "ok"}'),
    "a wrong path": error(404, "Not Found"),
    "no JSON from the model": completion("Hello!"),
}


def buy(ledger, script, count=60):
    with ScriptedServer(script) as server:
        oracle = open_oracle("openai:tiny", Settings(base_url=server.url, timeout=20.0))
        return label(ledger, stories(count), FRONT_PAGE, oracle, price=Price(1.0, 1.0)), server


@pytest.mark.parametrize("kind", NEVER)
def test_an_oracle_that_can_never_answer_is_left_early_and_its_questions_stay_open(kind, tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        summary, server = buy(ledger, lambda request, number: NEVER[kind])
        assert summary.fatal
        assert len(server.requests) <= 12
        assert server.url in summary.stopped
        assert ledger.failures().height == len(server.requests)
        again, _ = buy(ledger, lambda request, number: completion(GOOD))
    assert (again.bought, again.given_up) == (60, {})


def test_a_few_articles_at_a_wrong_address_stay_open_too(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        buy(ledger, lambda request, number: NEVER["a page"], 3)
        assert buy(ledger, lambda request, number: completion(GOOD), 3)[0].bought == 3


def test_articles_that_an_oracle_refuses_are_no_reason_to_leave_it_once_it_has_answered(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        buy(ledger, lambda request, number: completion(GOOD), 1)
        summary, _ = buy(ledger, lambda request, number: completion("Hello!"), 30)
    assert (summary.stopped, summary.failed) == (None, {"malformed": 29})


def test_status_says_what_became_of_a_run_that_has_no_label(tmp_path):
    with open_writer(tmp_path / "news.jsonl") as writer:
        writer.write(stories(30))
    with ScriptedServer(lambda request, number: NEVER["a page"]) as server:
        oracle = open_oracle("openai:tiny", Settings(base_url=server.url))
        with pytest.raises(OracleError, match="Sign in"):
            label_run(tmp_path / "run", FRONT_PAGE, tmp_path / "news.jsonl", oracle, price=Price(100.0, 100.0))
    why = Run.open(tmp_path / "run").status()[0].why
    assert why.startswith("not finished: ")
    assert " failed, $" in why


def left_after(details):
    """Return the number of failures with these details after which the oracle is left; None if it is not."""
    alike = Alike(answered_before=False)
    stops = (alike.failed(f"q{i}", Failure("malformed", detail)) for i, detail in enumerate(details))
    return next((count for count, stop in enumerate(stops, start=1) if stop), None)


@pytest.mark.parametrize(("failures", "left"), [(4, None), (5, 5), (6, 5)])
def test_five_failures_that_are_equal_to_the_letter_are_enough(failures, left):
    assert left_after(["no JSON"] * failures) == left


@pytest.mark.parametrize(("failures", "left"), [(19, None), (20, 20), (21, 20)])
def test_twenty_failures_for_one_reason_are_enough(failures, left):
    assert left_after([f"no JSON in {i}" for i in range(failures)]) == left
