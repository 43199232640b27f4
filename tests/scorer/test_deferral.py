"""Tests of deferral: an oracle answers what no student is sure of, within a budget, and nothing is paid for twice."""

import json
import sqlite3

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_server import ScriptedServer, completion, error
from tiny_bundle import FILTER, articles
from typer.testing import CliRunner

from potstill.articles import open_writer, read_all
from potstill.cli import build
from potstill.errors import BadInput, LabelError, OracleError
from potstill.labelling import Limits, Price
from potstill.labelling.budget import most_tokens
from potstill.oracle import Settings, open_oracle
from potstill.oracle.prompt import Prompt
from potstill.scorer import Scorer, score_file
from potstill.scorer.deferral import open_deferral, to_ask
from potstill.verdict import cap_hits, decide_rows

BELOW = 0.9


@pytest.fixture(scope="module")
def bundle(folders):
    return folders["tfidf"]


@pytest.fixture(scope="module")
def scorer(bundle):
    return Scorer.load(bundle, ask_oracle_below=BELOW)


@pytest.fixture(scope="module")
def news():
    return articles(40, seed=8)[0]


@pytest.fixture
def source(tmp_path, news):
    return written(tmp_path / "in.jsonl", news)


@pytest.fixture
def recording(tmp_path, news):
    """Recorded answers of the oracle for every article: gain 9, near 1."""
    path = tmp_path / "said.jsonl"
    rows = [{"id": id_, "scores": {"gain": 9, "near": 1}} for id_ in news["id"]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def written(path, frame):
    with open_writer(path) as writer:
        writer.write(frame)
    return path


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def replay(path):
    return lambda: open_oracle(f"replay:{path}")


def asked(scorer, source, out, opened, ledger, *, limits=None, price=None, **how):
    with open_deferral(scorer, opened, ledger, limits=limits, price=price) as deferral:
        return score_file(scorer, source, out, deferral=deferral, **how)


def marked(scorer, news):
    return [row["id"] for row in scorer.score_batch(news).to_dicts() if row["ask_oracle"]]


class TestAnswers:
    def test_what_is_unsure_has_the_oracles_scores_and_the_filters_verdict_on_them(
        self, scorer, news, source, recording, tmp_path
    ):
        unsure = set(marked(scorer, news))
        assert 0 < len(unsure) < 40
        summary = asked(scorer, source, tmp_path / "out.jsonl", replay(recording), tmp_path / "asked.sqlite")
        students = {row["id"]: row for row in scorer.nested_batch(news).to_dicts()}
        for row in rows_of(tmp_path / "out.jsonl"):
            assert row["ask_oracle"] is False
            if row["id"] in unsure:
                assert (row["answered_by"], row["scores"]) == ("oracle", {"gain": 9, "near": 1})
                assert (row["overall"], row["tier"]) == (7.0, "lead")
                assert row["intervals"] is None
                assert (row["probability"], row["cut"], row["why"]) == (None, None, None)
            else:
                assert row["why"] == students[row["id"]]["why"]
                assert row["answered_by"] == "tfidf-ridge"
                assert row["scores"] == pytest.approx(students[row["id"]]["scores"])
        assert (summary.asked.articles, summary.asked.answered) == (len(unsure), len(unsure))
        assert (summary.asked.failed, summary.asked.not_asked) == (0, 0)
        assert summary.only.tiers["lead"] >= len(unsure)

    def test_gates_and_caps_hold_for_the_oracle_too(self, scorer, tmp_path):
        paid = pl.DataFrame({"id": ["x"], "title": [""], "content": ["advertisement library fire harvest town ocean"]})
        (tmp_path / "said.jsonl").write_text('{"id": "x", "scores": {"gain": 1, "near": 10}}\n')
        with open_deferral(scorer, replay(tmp_path / "said.jsonl"), tmp_path / "l.sqlite") as deferral:
            unsure = scorer.nested_batch(paid).with_columns(ask_oracle=pl.lit(value=True))
            (row,) = deferral.answer(paid, unsure).to_dicts()
        assert (row["answered_by"], row["gates"], row["caps"]) == ("oracle", ["no gain"], ["paid for"])
        assert (row["overall"], row["tier"]) == (1.0, "drawer")

    @settings(max_examples=15, deadline=None)
    @given(gain=st.integers(0, 10), near=st.integers(0, 10))
    def test_the_verdict_is_the_one_that_the_filter_gives_to_these_scores(
        self, scorer, news, tmp_path_factory, gain, near
    ):
        folder = tmp_path_factory.mktemp("each")
        few = news.head(6)
        lines = (json.dumps({"id": id_, "scores": {"gain": gain, "near": near}}) + "\n" for id_ in few["id"])
        (folder / "said.jsonl").write_text("".join(lines))
        unsure = scorer.score_batch(few).with_columns(ask_oracle=pl.lit(value=True))
        with open_deferral(scorer, replay(folder / "said.jsonl"), folder / "l.sqlite") as deferral:
            found = deferral.answer(few, unsure)
        texts = [FILTER.text.of(*row) for row in few.select("title", "content").iter_rows()]
        scores = np.tile([float(gain), float(near)], (found.height, 1))
        expected = decide_rows(scores, FILTER, cap_hits(texts, FILTER))
        assert found.select("overall", "tier", "gates", "caps").equals(expected)

    @pytest.mark.parametrize("ending", [".parquet", ".csv"])
    def test_tables_say_the_same(self, scorer, news, source, recording, tmp_path, ending):
        asked(scorer, source, tmp_path / f"out{ending}", replay(recording), tmp_path / "asked.sqlite")
        found = (pl.read_parquet if ending == ".parquet" else pl.read_csv)(tmp_path / f"out{ending}")
        by_oracle = found.filter(pl.col("answered_by") == "oracle")
        assert set(by_oracle["id"]) == set(marked(scorer, news))
        assert set(by_oracle["score_gain"]) == {9.0}
        assert by_oracle["low_gain"].null_count() == by_oracle.height
        assert found["id"].to_list() == news["id"].to_list()

    def test_a_field_of_the_input_is_kept_if_tiers_are_decided_by_score(self, bundle, news, recording, tmp_path):
        source = written(tmp_path / "in.parquet", news.with_columns(why=pl.lit("a clerk")))
        by_score = Scorer.load(bundle, ask_oracle_below=BELOW, decide="by-score")
        asked(by_score, source, tmp_path / "out.jsonl", replay(recording), tmp_path / "asked.sqlite")
        rows = rows_of(tmp_path / "out.jsonl")
        assert {row["answered_by"] for row in rows} == {"oracle", "tfidf-ridge"}
        assert {row["why"] for row in rows} == {"a clerk"}

    def test_an_oracles_answers_are_no_drift(self, scorer, source, recording, tmp_path, monkeypatch):
        monkeypatch.setattr("potstill.scorer.volumes.VOLUME_DRIFT", 1.1)
        assert score_file(scorer, source, tmp_path / "own.jsonl").only.drifts
        summary = asked(scorer, source, tmp_path / "out.jsonl", replay(recording), tmp_path / "asked.sqlite")
        assert summary.only.drifts == ()

    def test_a_field_of_the_input_with_the_name_is_moved(self, scorer, news, recording, tmp_path):
        source = written(tmp_path / "in.parquet", news.with_columns(answered_by=pl.lit("a clerk")))
        asked(scorer, source, tmp_path / "out.jsonl", replay(recording), tmp_path / "asked.sqlite")
        assert {row["input_answered_by"] for row in rows_of(tmp_path / "out.jsonl")} == {"a clerk"}
        assert {row["answered_by"] for row in rows_of(tmp_path / "out.jsonl")} == {"oracle", "tfidf-ridge"}

    def test_articles_of_one_id_are_each_asked_about(self, scorer, news, tmp_path):
        twins = news.with_columns(id=pl.lit("same"))
        everything = Scorer(scorer.bundle, ask_oracle_below=0.9999)
        written(tmp_path / "in.jsonl", twins)
        frames = list(to_ask(everything, tmp_path / "in.jsonl", 10))
        assert all(frame["id"].is_unique().all() for frame in frames)
        assert {id_.split("#")[0] for frame in frames for id_ in frame["id"]} == {"same"}

    def test_an_article_that_the_oracle_cannot_answer_keeps_the_students_answer_and_its_mark(
        self, scorer, news, source, recording, tmp_path
    ):
        lost, masked = marked(scorer, news)[:2]
        lines = [line for line in recording.read_text().splitlines() if f'"{lost}"' not in line]
        lines = [line.replace("9", "null") if f'"{masked}"' in line else line for line in lines]
        recording.write_text("\n".join(lines) + "\n")
        summary = asked(scorer, source, tmp_path / "out.jsonl", replay(recording), tmp_path / "asked.sqlite")
        assert (summary.asked.failed, summary.asked.not_asked) == (2, 0)
        left = {row["id"] for row in rows_of(tmp_path / "out.jsonl") if row["ask_oracle"]}
        assert left == {lost, masked}
        assert {row["answered_by"] for row in rows_of(tmp_path / "out.jsonl") if row["id"] in left} == {"tfidf-ridge"}


class TestBudget:
    @pytest.fixture
    def server(self):
        reply = json.dumps({"scores": {"gain": 9, "near": 1}, "evidence": "e"})
        with ScriptedServer(lambda request, number: completion(reply)) as server:
            yield server

    def live(self, server):
        return lambda: open_oracle("openai:tiny", Settings(base_url=server.url))

    def test_when_the_calls_end_the_rest_keep_the_students_answer(self, scorer, news, source, server, tmp_path):
        out, ledger, limits = tmp_path / "out.jsonl", tmp_path / "l.sqlite", Limits(max_calls=3)
        summary = asked(scorer, source, out, self.live(server), ledger, limits=limits, batch_size=7)
        unsure = len(marked(scorer, news))
        assert unsure > 3
        assert (summary.asked.answered, summary.asked.not_asked, summary.asked.calls) == (3, unsure - 3, 3)
        rows = rows_of(out)
        assert sum(row["answered_by"] == "oracle" for row in rows) == 3
        assert sum(row["ask_oracle"] for row in rows) == unsure - 3
        assert len(server.requests) == 3

    def test_nothing_is_paid_for_twice_and_a_larger_budget_goes_on(self, scorer, news, source, server, tmp_path):
        out, ledger, opened = tmp_path / "out.jsonl", tmp_path / "l.sqlite", self.live(server)
        asked(scorer, source, out, opened, ledger, limits=Limits(max_calls=3))
        asked(scorer, source, out, opened, ledger, limits=Limits(max_calls=3))
        assert len(server.requests) == 3
        summary = asked(scorer, source, out, opened, ledger, limits=Limits(max_calls=100))
        unsure = len(marked(scorer, news))
        assert (summary.asked.answered, summary.asked.calls) == (unsure, unsure - 3)
        assert len(server.requests) == unsure

    def test_no_more_money_is_spent_than_was_said(self, scorer, source, server, tmp_path):
        price, out, ledger = Price(100.0, 100.0), tmp_path / "out.jsonl", tmp_path / "l.sqlite"
        question = Prompt.of(FILTER).request("x", "\n".join(read_all(source).row(0)))
        most = price.of(*most_tokens(question)) / 10**12 + 0.03
        summary = asked(scorer, source, out, self.live(server), ledger, limits=Limits(max_cost=most), price=price)
        with sqlite3.connect(ledger) as database:
            (spent,) = database.execute("SELECT sum(cost) FROM calls").fetchone()
        assert 0 < summary.asked.cost == pytest.approx(spent / 10**12)
        assert summary.asked.cost <= most
        assert summary.asked.not_asked > 0

    def test_a_stop_and_a_resume_pay_once_and_end_as_if_nothing_had_happened(
        self, scorer, news, source, server, tmp_path
    ):
        class Stops(Scorer):
            batches = 0

            def finish(self, prepared):
                self.batches += 1
                if self.batches > 3:
                    raise KeyboardInterrupt
                return super().finish(prepared)

        out, ledger, limits = tmp_path / "out.jsonl", tmp_path / "l.sqlite", Limits(max_calls=100)
        with pytest.raises(KeyboardInterrupt):
            asked(
                Stops(scorer.bundle, ask_oracle_below=BELOW), source, out, self.live(server), ledger,
                limits=limits, batch_size=7,
            )  # fmt: skip
        assert not out.exists()
        before = len(server.requests)
        summary = asked(scorer, source, out, self.live(server), ledger, limits=limits, batch_size=7, resume=True)
        assert 0 < before < len(server.requests) == len(marked(scorer, news))
        assert summary.resumed == 21
        asked(scorer, source, tmp_path / "whole.jsonl", self.live(server), ledger, limits=limits, batch_size=7)
        assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
        assert len(server.requests) == len(marked(scorer, news))

    def test_a_key_that_is_refused_ends_it_before_anything_is_scored_twice(self, scorer, source, tmp_path):
        with ScriptedServer(lambda request, number: error(401, "bad key")) as server:
            out, ledger, limits = tmp_path / "out.jsonl", tmp_path / "l.sqlite", Limits(max_calls=9)
            with pytest.raises(OracleError, match=r"asking the oracle stopped: .*go on with --resume"):
                asked(scorer, source, out, self.live(server), ledger, limits=limits)
        assert not out.exists()
        assert scorer_parts(out)

    @pytest.mark.parametrize(
        ("options", "message"),
        [({}, "needs a limit: give --max-cost or --max-calls"), ({"max_cost": 1.0}, "needs the prices")],
    )
    def test_without_a_limit_or_a_price_nobody_is_asked(self, scorer, source, server, tmp_path, options, message):
        with pytest.raises(BadInput, match=message):
            asked(
                scorer, source, tmp_path / "o.jsonl", self.live(server), tmp_path / "l.sqlite",
                limits=Limits(**options),
            )  # fmt: skip
        assert not server.requests
        assert not (tmp_path / "o.jsonl").exists()


def scorer_parts(out):
    return list((out.parent / f".{out.name}.parts").glob("*.arrow"))


def test_a_scorer_that_marks_nothing_is_refused(bundle, recording, tmp_path):
    with (
        pytest.raises(BadInput, match="nothing says which"),
        open_deferral(Scorer.load(bundle), replay(recording), tmp_path / "l.sqlite"),
    ):
        pass


def test_a_ledger_of_another_prompt_is_refused(scorer, source, recording, tmp_path):
    asked(scorer, source, tmp_path / "out.jsonl", replay(recording), tmp_path / "l.sqlite")
    with sqlite3.connect(tmp_path / "l.sqlite") as database:
        database.execute("UPDATE calls SET prompt = 'other'")
        database.execute("UPDATE prompts SET hash = 'other'")
    with pytest.raises(LabelError, match=r"another prompt\..* Name another file with --ledger"):
        asked(scorer, source, tmp_path / "out.jsonl", replay(recording), tmp_path / "l.sqlite")


def test_with_a_threshold_on_the_error_rate_the_same_articles_are_asked_about(bundle, source, recording, tmp_path):
    careful = Scorer.load(bundle, ask_oracle_above=0.12)
    asked(careful, source, tmp_path / "out.jsonl", replay(recording), tmp_path / "l.sqlite")
    found = {row["id"] for row in rows_of(tmp_path / "out.jsonl") if row["answered_by"] == "oracle"}
    assert found == set(marked(careful, read_all(source)))


class TestCommand:
    def invoke(self, *arguments):
        return CliRunner().invoke(build(), [str(argument) for argument in arguments])

    def test_it_asks_and_says_what_became_of_it(self, bundle, scorer, news, source, recording, tmp_path):
        out, ledger = tmp_path / "out.jsonl", tmp_path / "asked.sqlite"
        said = ("score", bundle, source, "-o", out, "--oracle", f"replay:{recording}", "--ledger", ledger)
        done = self.invoke(*said, "--json")
        assert done.exit_code == 0, done.output
        unsure = len(marked(scorer, news))
        assert json.loads(done.stdout)["asked"]["answered"] == unsure
        assert sum(row["answered_by"] == "oracle" for row in rows_of(out)) == unsure
        told = " ".join(self.invoke(*said, "--max-calls", 2).stderr.split())
        assert f"{unsure} articles to ask the oracle about: {unsure} answered" in told

    def test_a_plan_prints_the_bill_and_asks_nobody(self, bundle, scorer, news, source, tmp_path):
        with ScriptedServer(lambda request, number: error(500)) as server:
            done = self.invoke(
                "score", bundle, source, "-o", tmp_path / "out.jsonl", "--oracle", f"openai:tiny@{server.url}",
                "--plan", "--prices", "1/4", "--ledger", tmp_path / "l.sqlite",
            )  # fmt: skip
            assert done.exit_code == 0, done.output
            assert not server.requests
        unsure = len(marked(scorer, news))
        assert f"{unsure} articles, 1 answer each: {unsure} calls to make" in done.stdout
        assert not (tmp_path / "out.jsonl").exists()
        assert not (tmp_path / "l.sqlite").exists()

    @pytest.mark.parametrize("option", [["--plan"], ["--max-cost", "1"], ["--ledger", "x"]])
    def test_what_belongs_to_an_oracle_needs_one(self, bundle, source, option):
        done = self.invoke("score", bundle, source, *option)
        assert isinstance(done.exception, BadInput)
        assert "--oracle" in str(done.exception)
