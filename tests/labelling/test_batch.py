"""Tests of labelling with batch jobs, against a real server on loopback."""

import json
import random
from collections import Counter

import pytest
from batch_server import BatchServer, line
from jobs import buy, child, labels, story_in, under_way
from scripted_oracle import FRONT_PAGE, ScriptedOracle, good, stories

from potstill.errors import BadInput, LabelError
from potstill.labelling import Batching, Ledger, Limits, Price, label
from potstill.labelling.ledger import Opened, Question


def right(question, times):
    """Return the same score for each dimension: the number of the story, from 0 to 9."""
    return line(question["custom_id"], good(float(number_of(question) % 10)))


def number_of(question):
    return story_in(question["body"]["messages"][-1]["content"])


def test_labels_come_in_jobs_at_half_the_price(tmp_path):
    with BatchServer(right) as server:
        summary = buy(server, tmp_path / "l", price=Price(10, 100))
    assert (summary.wanted, summary.bought, summary.stopped) == (7, 7, None)
    assert summary.cost == pytest.approx(7 * (100 * 5 + 20 * 50) / 1e6)
    assert server.sizes == [3, 3, 1]
    assert labels(tmp_path / "l") == {f"a{i}": float(i) for i in range(7)}


def test_nothing_is_bought_twice_by_a_second_command(tmp_path):
    with BatchServer(right) as server:
        buy(server, tmp_path / "l", 4)
        summary = buy(server, tmp_path / "l", 6)
    assert (summary.already, summary.bought) == (4, 2)
    assert set(server.paid.values()) == {1}


def test_the_answers_are_held_to_the_schema(tmp_path):
    seen = []
    with BatchServer(lambda question, times: seen.append(question) or right(question, times)) as server:
        buy(server, tmp_path / "l", 1)
    assert seen[0]["url"] == "/v1/chat/completions"
    assert seen[0]["body"]["model"] == "tiny"
    told = seen[0]["body"]["response_format"]
    assert told["type"] == "json_schema"
    # A job does not probe the server, and an unsupported bound would fail every question.
    assert "maxLength" not in json.dumps(told)


def test_failed_ones_are_sent_again_and_no_failure_becomes_a_score(tmp_path):
    faults = {
        1: lambda key: line(key, "no JSON at all"),
        2: lambda key: line(key, good(11)),
        3: lambda key: line(key, status=500, body={"error": {"message": "oops"}}),
        4: lambda key: line(key, error="internal"),
        5: lambda key: None,
    }

    def script(question, times):
        number = number_of(question)
        return faults[number](question["custom_id"]) if times == 1 and number in faults else right(question, times)

    with BatchServer(script) as server:
        summary = buy(server, tmp_path / "l")
    assert (summary.bought, summary.failed) == (7, {})
    assert Counter(server.paid.values()) == {1: 2, 2: 5}
    assert labels(tmp_path / "l") == {f"a{i}": float(i) for i in range(7)}
    with Ledger(tmp_path / "l") as ledger:
        assert sorted(ledger.failures()["reason"]) == ["malformed", "out_of_range", "server", "server", "server"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"error": {"code": 429, "message": "slow down"}}, "rate_limited"),
        ({"error": {"code": 502, "message": "bad gateway"}}, "server"),
        ({"error": "upstream failed"}, "server"),
        ({"choices": None}, "server"),
        ({"choices": [{"finish_reason": "error", "message": {"content": ""}}]}, "server"),
    ],
)
def test_an_error_in_a_result_with_status_200_is_taken_as_the_error_that_it_names(tmp_path, body, reason):
    def script(question, times):
        fault = number_of(question) == 2 and times == 1
        return line(question["custom_id"], body=body) if fault else right(question, times)

    with BatchServer(script) as server:
        summary = buy(server, tmp_path / "l", 4, price=Price(10, 100))
    assert (summary.bought, summary.failed) == (4, {})
    # Four answers are billed, and the error is not.
    assert summary.cost == pytest.approx(4 * (100 * 5 + 20 * 50) / 1e6)
    with Ledger(tmp_path / "l") as ledger:
        assert list(ledger.failures()["reason"]) == [reason]


def test_what_never_works_is_given_up_after_three_jobs(tmp_path):
    def script(question, times):
        return line(question["custom_id"], "nonsense") if number_of(question) == 2 else right(question, times)

    with BatchServer(script) as server:
        summary = buy(server, tmp_path / "l")
        assert (summary.bought, summary.failed) == (6, {"malformed": 1})
        assert max(server.paid.values()) == 3
        assert buy(server, tmp_path / "l").given_up == {"malformed": 1}
        assert buy(server, tmp_path / "l", retry_failed=True).failed == {"malformed": 1}


def test_a_job_that_is_refused_whole_says_why(tmp_path):
    with BatchServer(lambda question, times: None, status="failed") as server:
        summary = buy(server, tmp_path / "l", 2)
    assert summary.failed == {"bad_request": 2}
    assert "the job is failed" in summary.first_failure
    assert summary.cost is None


def test_the_spending_cap_holds_the_worst_price_of_all_that_is_under_way(tmp_path):
    # The maximum price of a question is about 0.03; the actual price is 0.0006.
    limits = Limits(max_cost=0.1, max_tokens=500)
    with BatchServer(right) as server:
        summary = buy(server, tmp_path / "l", 40, size=10, price=Price(4, 40), limits=limits)
    assert max(server.sizes) < 10
    assert summary.bought == 40
    assert summary.cost == pytest.approx(40 * (100 * 2 + 20 * 20) / 1e6)


def test_the_cap_is_never_passed(tmp_path):
    with BatchServer(right) as server:
        summary = buy(server, tmp_path / "l", 40, size=10, price=Price(4, 40), limits=Limits(max_calls=15))
        assert summary.stopped == "the limit is reached: --max-calls 15"
        assert buy(server, tmp_path / "l", 40, price=Price(4, 40), limits=Limits(max_calls=15)).bought == 0
    assert sum(server.sizes) == summary.bought == 15


def test_single_calls_do_not_buy_what_a_job_is_about_to_bring(tmp_path):
    with Ledger(tmp_path / "l") as ledger:
        ledger.open_job("t", [Opened(Question("a0", "openai:tiny", "p", "w", 0), 1)])
        with pytest.raises(LabelError, match="1 batch jobs are in progress"):
            label(ledger, stories(1), FRONT_PAGE, ScriptedOracle())


def test_an_oracle_without_jobs_says_so(tmp_path):
    with pytest.raises(BadInput, match="--batch: scripted is not supported"):
        label(tmp_path / "l", stories(1), FRONT_PAGE, ScriptedOracle(), batch=Batching())


KILLS = 5
"""How often a process is killed while it labels; `benchmarks/batch_kills.py` does it more often."""


@pytest.mark.parametrize("keeps_tags", [True, False])
@pytest.mark.by_example(2)
def test_a_job_whose_name_was_lost_is_found_again(tmp_path, keeps_tags):
    """The server has started the job, and the process is killed before it gets the response."""
    lost = []

    def before(number, request):
        if request == "POST /v1/batches" and not lost:
            lost.append(number)
            children[0].kill()
            return "done"
        return None

    with BatchServer(right, keeps_tags=keeps_tags, before=before) as server:
        children = [child(server, tmp_path / "l", size=4)]
        children[0].wait(120)
        assert under_way(tmp_path / "l") == [None]
        summary = buy(server, tmp_path / "l")
    assert (summary.already, summary.bought) == (4, 3)
    assert set(server.paid.values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("keeps_tags", [pytest.param(True, marks=pytest.mark.long), False])
@pytest.mark.long
def test_kills_at_any_moment_cost_nothing(tmp_path, keeps_tags):
    chance = random.Random(keeps_tags)
    count = 8 * KILLS
    children = []
    due = [3]

    def before(number, request):
        """Kill the client, with or without carrying out the request, and never answer it."""
        if len(children) > KILLS or number < due[0]:
            return None
        children[-1].kill()
        due[0] = number + chance.randint(2, 14)
        return chance.choice(["done", "undone"])

    with BatchServer(right, keeps_tags=keeps_tags, before=before) as server:
        while not children or children[-1].returncode != 0:
            children.append(child(server, tmp_path / "l", count, size=4))
            children[-1].wait(120)
            assert len(children) <= KILLS + 1
    assert len(children) == KILLS + 1
    assert labels(tmp_path / "l") == {f"a{i}": float(i % 10) for i in range(count)}
    assert set(server.paid.values()) == {1}
    assert len(server.paid) == count
