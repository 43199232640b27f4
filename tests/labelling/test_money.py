"""Tests of cost limits: whatever a server reports or omits, the limit holds for what the server really bills.

Each test drives the three providers' clients against a real server on loopback.
"""

import json
import math
import sqlite3

import pytest
from dialects import DIALECTS, sent
from scripted_oracle import FRONT_PAGE, Clock, good, stories
from scripted_server import Answer, ScriptedServer

from potstill.labelling import Ledger, Limits, Price, label
from potstill.labelling.budget import TRILLION, most_tokens
from potstill.oracle import Settings, open_oracle
from potstill.oracle.prompt import Prompt

GOOD = good(5.0)
PRICE = Price(1.0, 4.0)

every_provider = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


def buy(dialect, path, script, count=3, *, price=PRICE, timeout=5.0, **limits):
    """Label a number of stories with a scripted server; return the server and the summary."""
    told = {"max_tokens": 200, "concurrency": 8} | limits
    with ScriptedServer(script) as server, Ledger(path) as ledger:
        oracle = open_oracle(dialect.spec, Settings(base_url=dialect.address(server), timeout=timeout))
        summary = label(
            ledger, stories(count), FRONT_PAGE, oracle, limits=Limits(**told), price=price, pace=Clock().pace(8)
        )
    return server, summary


def rows(path, query):
    with sqlite3.connect(path) as database:
        return database.execute(query).fetchall()


def worst(count):
    """Return the maximum cost of a number of calls about these stories."""
    prompt = Prompt.of(FRONT_PAGE)
    texts = [f"News\n\nStory {number}." for number in range(count)]
    return sum(PRICE.of(*most_tokens(prompt.request("", text, max_tokens=200))) for text in texts)


def with_usage(dialect, counts):
    """Return a good answer whose usage contains these texts instead of numbers."""
    tokens_in, tokens_out = counts
    text = json.dumps(dialect.body(GOOD, usage=(111111, 222222)))
    return Answer(body=text.replace("111111", tokens_in).replace("222222", tokens_out).encode())


def test_calls_without_a_price_are_counted_once_one_is_known(tmp_path, capsys):
    dialect, path = next(iter(DIALECTS.values())), tmp_path / "l.sqlite"
    script = lambda request, number: Answer(body=json.dumps(dialect.body(GOOD, usage=(1000, 500))).encode())  # noqa: E731
    _, first = buy(dialect, path, script, 3, price=None)
    assert first.cost is None
    spent = 3 * PRICE.of(1000, 500)
    server, again = buy(dialect, path, script, 6, max_cost=(spent + worst(1) // 2) / TRILLION)
    assert (again.bought, len(server.requests)) == (0, 0)
    assert "--max-cost" in again.stopped
    assert (
        "3 earlier calls were made without a price and are counted at the current price: $" in capsys.readouterr().err
    )
    with Ledger(path) as ledger:
        assert ledger.spent().cost == spent


# Impossible counts.


@every_provider
@pytest.mark.parametrize(
    "counts",
    [
        ("0", "0"),
        ("1", "1"),
        ("100", "0"),
        ("-5", "20"),
        ("100", "-1"),
        ("100.5", "20"),
        ("NaN", "20"),
        ('"100"', "20"),
        ("null", "20"),
        ("9000000000000", "20"),
        ("100", "9000000000000"),
        ("1" + "0" * 25, "20"),
        ("1" + "0" * 400, "20"),
        ("100", "1" + "0" * 5000),
        ("-1" + "0" * 5000, "20"),
        ("true", "20"),
    ],
)
@pytest.mark.by_example(3)
def test_counts_that_cannot_be_true_keep_the_answer_and_cost_the_most_that_it_can(dialect, tmp_path, capsys, counts):
    path = tmp_path / "l.sqlite"
    _, summary = buy(dialect, path, lambda request, number: with_usage(dialect, counts))
    assert (summary.bought, summary.failed, summary.doubted, summary.unanswered) == (3, {}, 3, 3)
    assert summary.cost == summary.unanswered_cost == worst(3) / TRILLION
    assert rows(path, "SELECT tokens_in, tokens_out, cost FROM calls") == [(None, None, worst(1))] * 3
    assert capsys.readouterr().err.count("the server's token counts are implausible") == 1
    # The same command resumes, and buys nothing twice.
    server, again = buy(dialect, path, lambda request, number: with_usage(dialect, ("100", "20")), 4)
    assert (again.already, again.bought, len(server.requests)) == (3, 1, 1)


@every_provider
def test_counts_that_can_be_true_are_believed(dialect, tmp_path, capsys):
    asked = []

    def script(request, number):
        asked.append(len(dialect.everything(request).encode()))
        # A byte-level tokenizer, and a model that thinks beyond its limit.
        return sent(dialect.body(GOOD, usage=(asked[-1], 4000)))

    _, summary = buy(dialect, tmp_path / "l.sqlite", script)
    assert (summary.doubted, summary.unanswered) == (0, 0)
    assert summary.cost == PRICE.of(sum(asked), 3 * 4000) / TRILLION
    assert "implausible" not in capsys.readouterr().err


@every_provider
def test_usage_that_is_left_out_counts_at_the_most_without_a_word_of_doubt(dialect, tmp_path):
    _, summary = buy(dialect, tmp_path / "l.sqlite", lambda request, number: sent(dialect.body(GOOD, usage=None)))
    assert (summary.bought, summary.doubted, summary.unanswered) == (3, 0, 3)
    assert summary.cost == worst(3) / TRILLION


@every_provider
def test_more_than_was_set_aside_is_set_aside_from_then_on(dialect, tmp_path):
    """A server that ignores the answer limit can bill more than one call's maximum, but not for every call."""
    path, charged = tmp_path / "l.sqlite", []

    def script(request, number):
        charged.append(PRICE.of(5000, 4000))
        return sent(dialect.body(GOOD, usage=(5000, 4000)))

    cap = 20 * worst(1) / TRILLION
    buy(dialect, path, script, 200, concurrency=1, max_cost=cap)
    # Only the first call was billed more than its reserved amount.
    assert cap * TRILLION < sum(charged) + 2 * charged[0]
    assert sum(charged) <= cap * TRILLION


# Calls that were sent and not answered.


def unanswered(name, dialect):
    return {
        "500": sent(dialect.error(500, "oops"), 500),
        "502": Answer(502, b"<html>Bad gateway</html>", {"content-type": "text/html"}),
        "503": sent(dialect.error(503, "busy"), 503),
        "504": Answer(504, b"upstream timed out", {"content-type": "text/plain"}),
        "529": sent(dialect.error(529, "overloaded"), 529),
        "408": sent(dialect.error(408, "timed out"), 408),
        "499": sent(dialect.error(499, "closed"), 499),
        "524": Answer(524, b""),
        "reset": Answer(reset=True),
        "stalled": Answer(body=b'{"a": 1}', stall=True),
        "no JSON": Answer(body=b"<html>", headers={"content-type": "text/html"}),
        "empty": Answer(body=b"{}"),
    }[name]


@every_provider
@pytest.mark.parametrize(
    "fault", ["500", "502", "503", "504", "529", "408", "499", "524", "reset", "stalled", "no JSON", "empty"]
)
@pytest.mark.by_example(3)
def test_what_was_sent_and_not_answered_never_passes_the_limit_however_much_of_it_is_billed(dialect, tmp_path, fault):
    path, billed = tmp_path / "l.sqlite", []

    def script(request, number):
        # The model has answered at full length and is billed, whatever happens to the answer.
        billed.append(PRICE.of(len(dialect.everything(request).encode()), dialect.limit(request)))
        return unanswered(fault, dialect) if number % 2 else sent(dialect.body(GOOD, usage=None))

    cap = 6.5 * worst(1) / TRILLION
    server, summary = buy(dialect, path, script, 40, max_cost=cap, tries=3, timeout=1.0)
    assert sum(billed) <= cap * TRILLION
    with Ledger(path) as ledger:
        assert ledger.spent().calls == len(server.requests) == summary.calls
        assert sum(billed) <= ledger.spent().cost <= cap * TRILLION
    # Every call is included, because no answer states its usage.
    assert summary.unanswered == summary.calls
    assert summary.unanswered_cost == summary.cost


@every_provider
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422, 429, 501])
def test_refusals_that_are_documented_to_be_free_count_nothing(dialect, tmp_path, status):
    path = tmp_path / "l.sqlite"

    def script(request, number):
        return sent(dialect.error(status, "no"), status) if number < 6 else sent(dialect.body(GOOD))

    _, summary = buy(dialect, path, script, 1, price=PRICE)
    assert summary.faults
    assert summary.unanswered == 0
    assert rows(path, "SELECT DISTINCT cost FROM failures") == [(0,)]


# Each request over the network counts as a call.


@every_provider
@pytest.mark.parametrize("most", [1, 2, 3, 5])
@pytest.mark.parametrize("status", [400, 501, 500])
@pytest.mark.by_example(3)
def test_no_more_requests_are_sent_than_the_limit_says_while_the_server_understands_none(
    dialect, tmp_path, status, most
):
    path = tmp_path / "l.sqlite"
    server, summary = buy(dialect, path, lambda *_: sent(dialect.error(status, "no"), status), 30, max_calls=most)
    assert len(server.requests) == summary.calls <= most
    with Ledger(path) as ledger:
        assert ledger.spent().calls == len(server.requests)


@every_provider
def test_finding_out_what_a_server_understands_is_set_aside_before_each_request(dialect, tmp_path):
    """A server that only supports plain text, and bills every other form first."""
    path, billed = tmp_path / "l.sqlite", []

    def script(request, number):
        billed.append(PRICE.of(len(dialect.everything(request).encode()), dialect.limit(request)))
        return sent(dialect.error(500, "cannot"), 500)

    cap = 3.2 * worst(1) / TRILLION
    server, _ = buy(dialect, path, script, 30, max_cost=cap)
    assert len(server.requests) == 3
    assert sum(billed) <= cap * TRILLION


@every_provider
def test_each_form_that_was_refused_is_in_the_ledger_and_not_held_against_the_article(dialect, tmp_path):
    path = tmp_path / "l.sqlite"

    def script(request, number):
        refused = dialect.holds(request)
        return sent(dialect.error(400, "no schemas"), 400) if refused else sent(dialect.body(GOOD))

    server, summary = buy(dialect, path, script, 5)
    assert (summary.bought, summary.failed) == (5, {})
    [(reasons, final)] = rows(path, "SELECT group_concat(DISTINCT reason), max(final) FROM failures")
    assert (reasons, final) == ("unsupported", 0)
    assert summary.calls == len(server.requests) == 5 + summary.faults["unsupported"]


@every_provider
def test_a_parameter_that_is_refused_is_a_call_of_its_own(dialect, tmp_path):
    def script(request, number):
        return sent(dialect.error(400, "temperature, max_tokens: not supported"), 400)

    for most in range(1, 7):
        path = tmp_path / f"{most}.sqlite"
        with ScriptedServer(script) as server, Ledger(path) as ledger:
            oracle = open_oracle(dialect.spec, Settings(base_url=dialect.address(server), temperature=0.0))
            label(ledger, stories(9), FRONT_PAGE, oracle, limits=Limits(max_calls=most), pace=Clock().pace(8))
            assert len(server.requests) == ledger.spent().calls <= most


@every_provider
@pytest.mark.parametrize("status", [302, 307])
def test_a_redirection_is_not_followed(dialect, tmp_path, status):
    """Following it would be a request that no limit has approved, and would send the key to another address."""
    with ScriptedServer(lambda *_: sent(dialect.body(GOOD))) as other:
        moved = Answer(status, b"", {"location": f"{other.url}/chat/completions"})
        server, summary = buy(dialect, tmp_path / "l.sqlite", lambda *_: moved)
        assert other.requests == []
    assert summary.fatal
    assert f"HTTP {status}: the server redirects to {other.url}" in summary.stopped
    assert len(server.requests) == summary.calls <= 3
    assert summary.cost == 0


# A ledger with impossible counts from an earlier version.


@pytest.fixture
def bricked(tmp_path):
    """A ledger of an earlier potstill version, with costs whose sum overflows SQLite's integers."""
    path = tmp_path / "l.sqlite"
    buy(DIALECTS["openai"], path, lambda *_: sent(DIALECTS["openai"].body(GOOD)), 5)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE calls SET tokens_in = 9000000000000, cost = 9000000000000000000")
    return path


def test_a_ledger_with_absurd_counts_opens_adds_up_and_goes_on(bricked):
    with Ledger(bricked) as ledger:
        assert ledger.spent().cost == 5 * 9 * 10**18
        [row] = ledger.by_oracle().iter_rows(named=True)
        assert (row["cost"], row["tokens_in"]) == (5 * 9 * 10**18, 5 * 9 * 10**12)
    _, summary = buy(DIALECTS["openai"], bricked, lambda *_: sent(DIALECTS["openai"].body(GOOD)), 7)
    assert (summary.already, summary.bought) == (5, 2)
    _, summary = buy(DIALECTS["openai"], bricked, lambda *_: sent(DIALECTS["openai"].body(GOOD)), 9, max_cost=5.0)
    assert (summary.bought, summary.stopped) == (0, "the limit is reached: --max-cost 5")


def test_sums_in_halves_are_exact(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        costs = [0, 1, 2**32 - 1, 2**32, 2**62 + 12345, 2**63 - 1]
        for number, cost in enumerate(costs):
            ledger._database.execute(
                "INSERT INTO failures VALUES (?, 'k', 'a', 'o', 'p', 'w', 0, 'r', '', '', 0, ?, NULL, ?, 0.0, '')",
                (number, cost, cost),
            )
        assert ledger.spent().cost == sum(costs)
        [row] = ledger.by_oracle().iter_rows(named=True)
        assert (row["tokens_in"], row["tokens_out"], row["cost"]) == (sum(costs), 0, sum(costs))


def test_no_price_makes_a_cost_that_a_ledger_cannot_hold(tmp_path):
    dialect = DIALECTS["openai"]
    dear = Price(999_999.0, 999_999.0)
    _, summary = buy(
        dialect, tmp_path / "l.sqlite", lambda *_: sent(dialect.body(GOOD, usage=None)), 2, price=dear,
        max_tokens=1_000_000,
    )  # fmt: skip
    assert summary.bought == 2
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert math.isfinite(ledger.spent().cost)
