"""Tests of distributions from an oracle that is asked by levels, from the server to the dataset."""

import json
import sqlite3

import polars as pl
import pytest
from decision_servers import SHARES, SPECS, said
from scripted_oracle import FRONT_PAGE, stories
from scripted_server import Answer, ScriptedServer, error

from potstill.dataset.assembling import assemble
from potstill.errors import LabelError
from potstill.labelling import Ledger, Limits, Price, label, plan
from potstill.labelling.budget import most_tokens
from potstill.labelling.ledger import Answered, Question, hash_labels
from potstill.oracle import Settings, form_of, open_oracle
from potstill.oracle.prompt import Prompt

PROMPT = Prompt.of(FRONT_PAGE)
NAMES = FRONT_PAGE.dimension_names
PRICE = Price(1.0, 0.0)

both = pytest.mark.parametrize("spec", SPECS)


def buy(spec, ledger, server, count=3, *, price=PRICE, **how):
    url = server.url if spec.startswith("decisions:") else server.url.removesuffix("/v1")
    limits = Limits(**{name: how.pop(name) for name in ("max_cost", "max_calls") if name in how})
    oracle = open_oracle(spec, Settings(base_url=url, timeout=10.0))
    return label(ledger, stories(count), FRONT_PAGE, oracle, price=price, limits=limits, **how)


def shares_of(row, name="reach"):
    return [(one["level"], one["probability"]) for one in row[f"d_{name}"]]


@both
def test_distributions_are_bought_once_and_kept(spec, tmp_path):
    with ScriptedServer(lambda request, number: said(spec, request)) as server, Ledger(tmp_path / "l") as ledger:
        first = buy(spec, ledger, server)
        again = buy(spec, ledger, server, 4)
        assert (first.bought, again.bought, again.already) == (3, 1, 3)
        assert len(server.requests) == 4
        labels = ledger.labels(FRONT_PAGE)
    assert labels["y_reach"].to_list() == [4.6] * 4
    assert labels["oracle"][0] == spec
    assert shares_of(labels.row(0, named=True)) == list(zip((0, 2, 4, 6, 8, 10), SHARES, strict=True))


@both
def test_a_call_costs_what_the_server_reports(spec, tmp_path):
    """8 output tokens for an answer of two thousand bytes are plausible, because nothing is written word by word."""
    with ScriptedServer(lambda request, number: said(spec, request)) as server, Ledger(tmp_path / "l") as ledger:
        found = buy(spec, ledger, server)
    assert (found.tokens_in, found.tokens_out, found.doubted, found.unanswered) == (2700, 24, 0, 0)
    assert found.cost == pytest.approx(2700 / 1e6)


@both
def test_a_cap_holds_even_if_the_server_reads_the_article_once_per_question(spec, tmp_path):
    """Each call is charged its largest bound: as many tokens as the question has bytes, once for each dimension."""
    request = form_of(spec, Settings(), PROMPT).request("a", FRONT_PAGE.text.of("News", "Story 0."))
    one = most_tokens(request)[0]
    assert one > 8 * len(request.messages[0]["content"])
    dear = {"input_tokens": one, "output_tokens": 8}

    def script(asked, number):
        answer = json.loads(said(spec, asked, usage=False).body)
        return Answer(body=json.dumps(answer | {"usage": dear}).encode())

    with ScriptedServer(script) as server, Ledger(tmp_path / "l") as ledger:
        found = buy(spec, ledger, server, 20, max_cost=5.5 * one / 1e6)
    assert found.bought == 5
    assert found.cost <= 5.5 * one / 1e6
    assert "--max-cost" in found.stopped


@both
def test_a_server_that_is_busy_is_asked_again_and_a_broken_answer_is_not(spec, tmp_path):
    def script(request, number):
        if number == 0:
            return error(429, retry_after="0")
        if "Story 1." in json.dumps(request):
            return Answer(body=b'{"answers": 7, "usage": {"input_tokens": 900, "output_tokens": 8}}')
        return said(spec, request)

    with ScriptedServer(script) as server, Ledger(tmp_path / "l") as ledger:
        found = buy(spec, ledger, server)
        assert (found.bought, found.failed) == (2, {"malformed": 1})
        assert len(server.requests) == 4
        assert ledger.labels(FRONT_PAGE).height == 2


@both
def test_a_model_that_is_not_served_stops_the_session_at_once(spec, tmp_path):
    with ScriptedServer(lambda request, number: error(404, "the model 'm' does not exist")) as server:
        found = buy(spec, tmp_path / "l", server, 20)
        assert len(server.requests) == 1
    assert found.fatal
    assert "the model 'm' does not exist" in found.stopped


def test_a_plan_counts_the_questions_and_a_price_without_output():
    found, usual = (
        plan([stories(10)], FRONT_PAGE, spec, price=PRICE, limits=Limits(), form=form_of(spec, Settings(), PROMPT))
        for spec in ("decisions:m", "openai:m")
    )
    assert (found.calls, found.tokens_out) == (10, 10 * 2 * 8)
    assert found.tokens_in > usual.tokens_in
    assert found.cost == pytest.approx(found.tokens_in / 1e6)


def answer(article, scores, distributions=None, *, sample=0, oracle="decisions:m"):
    question = Question(article, oracle, PROMPT.hash, article, sample)
    return Answered(question, scores, "", "", False, 1, 1, 0, 0.0, distributions)


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as found:
        found.accept(PROMPT, others=False)
        yield found


def record(ledger, *answers):
    ledger.know({one.question.article: one.question.window for one in answers})
    ledger.record(answers)


EVEN = dict.fromkeys(NAMES, ((0.0, 0.5), (10.0, 0.5)))


def test_labels_without_a_distribution_have_no_column_of_them(ledger):
    record(ledger, answer("a", dict.fromkeys(NAMES, 5.0)))
    assert not [name for name in ledger.labels(FRONT_PAGE).columns if name.startswith("d_")]


def test_samples_are_mixed_and_one_without_a_distribution_counts_as_certain(ledger):
    record(
        ledger,
        answer("a", dict.fromkeys(NAMES, 5.0), EVEN),
        answer("a", dict.fromkeys(NAMES, 10.0), sample=1),
        answer("b", dict.fromkeys(NAMES, 3.0)),
    )
    mixed, alone = ledger.labels(FRONT_PAGE).rows(named=True)
    assert shares_of(mixed) == [(0.0, 0.25), (10.0, 0.75)]
    assert mixed["y_reach"] == 7.5
    assert alone["d_reach"] is None


def test_a_masked_dimension_has_no_distribution(ledger):
    record(
        ledger,
        answer("a", dict.fromkeys(NAMES, 5.0) | {"reach": None}, {"power": EVEN["power"]}),
        answer("a", dict.fromkeys(NAMES, 5.0), EVEN, sample=1),
    )
    [row] = ledger.labels(FRONT_PAGE).rows(named=True)
    assert shares_of(row) == [(0.0, 0.5), (10.0, 0.5)]


def older(path, answers):
    """Write a ledger of version 1, whose answers have no column for distributions."""
    with Ledger(path) as ledger:
        ledger.accept(PROMPT, others=False)
        record(ledger, *answers)
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE calls DROP COLUMN distributions")
        database.execute("UPDATE meta SET value = '1' WHERE name = 'schema_version'")


def hash_of(path):
    with sqlite3.connect(path) as database:
        return hash_labels(database)


def test_an_older_ledger_is_read_as_it_is_and_upgraded_on_writing(tmp_path):
    path = tmp_path / "old.sqlite"
    older(path, [answer("a", dict.fromkeys(NAMES, 5.0))])
    before = hash_of(path)
    with Ledger.reading(path) as ledger:
        assert ledger.labels(FRONT_PAGE)["y_reach"].to_list() == [5.0]
    with Ledger(path) as ledger:
        assert hash_of(path) == before
        record(ledger, answer("b", dict.fromkeys(NAMES, 5.0), EVEN))
        assert ledger.labels(FRONT_PAGE)["d_reach"].is_null().to_list() == [True, False]
    assert hash_of(path) != before
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone() == ("2",)


def test_the_hash_of_labels_covers_their_distributions(tmp_path):
    hashes = []
    for number, shares in enumerate((None, EVEN, EVEN | {"reach": ((5.0, 1.0),)})):
        with Ledger(tmp_path / str(number)) as ledger:
            ledger.accept(PROMPT, others=False)
            record(ledger, answer("a", dict.fromkeys(NAMES, 5.0), shares))
        hashes.append(hash_of(tmp_path / str(number)))
    assert len(set(hashes)) == 3


def labelled(ledger, count=40):
    """Record distributions for distinct texts, and return the articles."""
    words = [f"word{number}" for number in range(count)]
    for number in range(count):
        low = number / (count - 1)
        shares = dict.fromkeys(NAMES, ((0.0, 1 - low), (10.0, low)))
        record(ledger, answer(f"a{number}", dict.fromkeys(NAMES, 10.0 * low), shares))
    content = [" ".join(f"{word}{number}" for word in words) for number in range(count)]
    return pl.DataFrame({"id": [f"a{number}" for number in range(count)], "title": "News", "content": content})


def test_a_dataset_has_the_distributions(ledger):
    articles = labelled(ledger)
    dataset, _, _ = assemble(articles, ledger.labels(FRONT_PAGE), FRONT_PAGE)
    row = dataset.frame.filter(id="a0").row(0, named=True)
    assert shares_of(row) == [(0.0, 1.0), (10.0, 0.0)]


def test_a_reviewers_label_replaces_the_distribution_too(ledger):
    articles = labelled(ledger)
    record(ledger, answer("a0", dict.fromkeys(NAMES, 8.0), oracle="human:ann"))
    dataset, _, _ = assemble(articles, ledger.labels(FRONT_PAGE), FRONT_PAGE, oracle="decisions:m")
    row = dataset.frame.filter(id="a0").row(0, named=True)
    assert (row["y_reach"], row["d_reach"]) == (8.0, None)
    assert dataset.frame["d_reach"].null_count() == 1


def test_a_ledger_of_a_newer_version_is_refused(tmp_path):
    Ledger(tmp_path / "l").close()
    with sqlite3.connect(tmp_path / "l") as database:
        database.execute("UPDATE meta SET value = '3' WHERE name = 'schema_version'")
    with pytest.raises(LabelError, match="schema_version 3 is newer"):
        Ledger.reading(tmp_path / "l")
