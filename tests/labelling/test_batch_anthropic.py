"""Tests of labelling with Anthropic's message batches, against a real server on loopback."""

from collections import Counter
from functools import partial

import jobs
import pytest
from jobs import labels, story_in, under_way
from message_batch_server import MessageBatchServer, errored, succeeded, text_of
from scripted_oracle import good

from potstill.labelling import Ledger, Limits, Price


def number_of(question):
    return story_in(text_of(question))


def right(question, times):
    """Return the same score for each dimension: the number of the story, from 0 to 9."""
    return succeeded(good(float(number_of(question) % 10)))


buy = partial(jobs.buy, spec="anthropic:claude")


def test_labels_come_in_batches_at_half_the_price(tmp_path):
    with MessageBatchServer(right) as server:
        summary = buy(server, tmp_path / "l", price=Price(10, 100))
    assert (summary.wanted, summary.bought, summary.stopped) == (7, 7, None)
    assert summary.cost == pytest.approx(7 * (100 * 5 + 20 * 50) / 1e6)
    assert server.sizes == [3, 3, 1]
    assert labels(tmp_path / "l") == {f"a{i}": float(i) for i in range(7)}


def test_a_question_is_the_one_that_would_be_sent_singly(tmp_path):
    seen = []
    with MessageBatchServer(lambda question, times: seen.append(question) or right(question, times)) as server:
        buy(server, tmp_path / "l", 1)
    [question] = seen
    assert question["params"]["model"] == "claude"
    assert question["params"]["output_config"]["format"]["type"] == "json_schema"
    assert question["params"]["system"][0]["cache_control"] == {"type": "ephemeral"}


def test_failed_and_expired_ones_are_sent_again_and_no_failure_becomes_a_score(tmp_path):
    faults = {
        0: {"type": "canceled"},
        1: succeeded("no JSON at all"),
        2: succeeded(good(11)),
        3: errored("overloaded_error"),
        4: {"type": "expired"},
        5: None,
    }

    def script(question, times):
        number = number_of(question)
        return faults[number] if times == 1 and number in faults else right(question, times)

    with MessageBatchServer(script) as server:
        summary = buy(server, tmp_path / "l", price=Price(10, 100))
    assert (summary.bought, summary.failed) == (7, {})
    assert Counter(server.paid.values()) == {1: 1, 2: 6}
    assert labels(tmp_path / "l") == {f"a{i}": float(i) for i in range(7)}
    with Ledger(tmp_path / "l") as ledger:
        reasons = sorted(ledger.failures()["reason"])
    assert reasons == ["malformed", "out_of_range", "server", "server", "server", "server"]
    # Two unusable answers were billed as well, and one that never arrived may have been.
    assert summary.unanswered == 1
    assert summary.cost - summary.unanswered_cost == pytest.approx(9 * (100 * 5 + 20 * 50) / 1e6)
    assert 4000 * 5 / 1e6 < summary.unanswered_cost < 0.2


def test_a_refusal_is_not_asked_again_and_spent_credit_stops_all(tmp_path):
    def script(question, times):
        if number_of(question) == 1:
            return succeeded("I will not.", stop="refusal")
        return errored("billing_error") if number_of(question) == 2 else right(question, times)

    with MessageBatchServer(script) as server:
        refused = buy(server, tmp_path / "l", 2)
        assert (refused.bought, refused.failed) == (1, {"refused": 1})
        stopped = buy(server, tmp_path / "l", 3)
    assert stopped.fatal
    assert max(server.paid.values()) == 1


def test_the_cap_is_never_passed(tmp_path):
    with MessageBatchServer(right) as server:
        summary = buy(server, tmp_path / "l", 40, size=10, price=Price(4, 40), limits=Limits(max_calls=15))
    assert summary.stopped == "the limit is reached: --max-calls 15"
    assert sum(server.sizes) == summary.bought == 15


def start_and_kill(server, ledger, children):
    """Start a process that labels seven stories, and kill it in the server's `before`."""
    children.append(jobs.child(server, ledger, spec="anthropic:claude", size=4))
    children[0].wait(120)
    assert under_way(ledger) == [None]


@pytest.mark.parametrize("outcome", ["done", "undone"])
@pytest.mark.by_example(2)
def test_a_batch_whose_name_was_lost_is_found_again(tmp_path, outcome):
    """The process is killed as it sends the batch, which the server has started or never received."""
    killed, children = [], []

    def before(number, request):
        if request == "POST /v1/messages/batches" and children and not killed:
            killed.append(number)
            children[0].kill()
            return outcome
        return None

    with MessageBatchServer(right, before=before, looks=2) as server:
        # Batches of the same size that others with the same account started before and after.
        others = [{"custom_id": f"{i}", "params": {"messages": [{"content": f"Story {i}."}]}} for i in range(90, 94)]
        server.start(others)
        start_and_kill(server, tmp_path / "l", children)
        server.start(others)
        summary = buy(server, tmp_path / "l")
    ours = {text: times for text, times in server.paid.items() if "Story 9" not in text}
    assert set(ours.values()) == {1}
    assert len(ours) == 7
    assert (summary.already, summary.bought) == ((4, 3) if outcome == "done" else (0, 7))
    assert labels(tmp_path / "l") == {f"a{i}": float(i) for i in range(7)}
