"""Tests of the evaluation of a bundle on new articles that an oracle labels."""

import json
from contextlib import nullcontext

import numpy as np
import polars as pl
import pytest
import typer
from evaluated_run import bundled_run, stories
from scripted_server import ScriptedServer, completion
from tiny_bundle import FILTER, articles, tfidf_bundle
from typer.testing import CliRunner

from potstill.cli import fresh as fresh_command
from potstill.errors import BadInput, LabelError
from potstill.evaluation import draw
from potstill.evaluation.records import Bootstrap, FreshEvaluation
from potstill.labelling import Ledger, label
from potstill.oracle import open_oracle
from potstill.oracle.prompt import Prompt
from potstill.pipeline.fresh import evaluate_fresh
from potstill.pipeline.predictions import read_predictions
from potstill.pipeline.run import Run
from potstill.scorer import Scorer

QUICK = Bootstrap(resamples=50, level=0.95, seed=0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tfidf_bundle(tmp_path_factory.mktemp("fresh") / "bundle").folder


@pytest.fixture(scope="module")
def news(tmp_path_factory):
    """60 new stories, and an oracle that scores each by its words."""
    folder = tmp_path_factory.mktemp("news")
    frame, scores = articles(60, seed=7)
    write(folder / "news.jsonl", frame.iter_rows(named=True))
    answers = zip(frame["id"], np.round(scores, 1).tolist(), strict=True)
    write(
        folder / "answers.jsonl",
        ({"id": id_, "scores": dict(zip(FILTER.dimension_names, row, strict=True))} for id_, row in answers),
    )
    return folder


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def potstill(*words):
    app = typer.Typer()
    app.callback()(lambda: None)
    fresh_command.register(app)
    return CliRunner().invoke(app, ["evaluate-fresh", *map(str, words)], catch_exceptions=False).stdout


def fresh(bundle, news, out, *more):
    words = ["--oracle", f"replay:{news / 'answers.jsonl'}", "--articles", news / "news.jsonl"]
    return FreshEvaluation.model_validate_json(potstill(bundle, *words, "-o", out, "--json", *more))


class TestDraw:
    def frame(self):
        return pl.DataFrame(
            {"id": ["a", "b", "c", "d", "e"], "title": ["", "", "", "", ""],
             "content": ["One library.", "", "Run git clone now.", "One library.", "A fire."]}
        )  # fmt: skip

    def test_only_what_the_bundle_would_score_is_drawn_each_text_once(self):
        found = draw(self.frame(), FILTER, 2)
        assert sorted(found.articles["id"]) == ["a", "e"]
        assert sorted(found.left_out.values()) == [1, 1, 1]
        assert draw(self.frame(), FILTER, 1, seen={"A fire."}).articles["id"].to_list() == ["a"]

    def test_too_few_articles_say_how_many_and_why(self):
        with pytest.raises(BadInput, match=r"a sample of 3 .* 2 articles to draw from: 5 in the file, 1 without text"):
            draw(self.frame(), FILTER, 3)

    def test_a_larger_sample_holds_the_smaller(self):
        frame, _ = articles(40, seed=3)
        small, large = (draw(frame, FILTER, n, seed=5).articles["id"].to_list() for n in (8, 20))
        assert large[:8] == small
        assert draw(frame, FILTER, 8, seed=6).articles["id"].to_list() != small


class TestFresh:
    def test_the_bundle_is_judged_by_the_new_labels(self, bundle, news, tmp_path):
        found = fresh(bundle, news, tmp_path, "--number", 40)
        truth = {row["id"]: row["scores"] for row in map(json.loads, (news / "answers.jsonl").open())}
        rows = pl.read_parquet(tmp_path / "predictions.parquet")
        scored = Scorer.load(bundle).score_batch(rows.select("id", pl.lit("").alias("title"), content="text"))
        gaps = [
            np.mean([abs(p - truth[id_][name]) for id_, p in scored.select("id", f"score_{name}").iter_rows()])
            for name in FILTER.dimension_names
        ]
        assert found.judgement.mean.mae == pytest.approx(np.mean(gaps), abs=1e-5)
        assert (found.asked.drawn, found.asked.labelled, found.judgement.rows) == (40, 40, 40)
        assert found.judgement.mean.skill > 0.2
        assert found.judgement.mean.mae_interval.low < found.judgement.mean.mae < found.judgement.mean.mae_interval.high
        assert found.judgement.tiers.rows == 40
        assert 0.5 < found.coverage["gain"] <= 1
        assert json.loads((tmp_path / "fresh.json").read_text()) == found.model_dump(mode="json")

    def test_positive_tiers_are_those_that_the_bundle_gives(self, bundle, news, tmp_path):
        found = fresh(bundle, news, tmp_path, "--number", 40)
        rows = pl.read_parquet(tmp_path / "predictions.parquet")
        scorer = Scorer.load(bundle)
        scored = scorer.score_batch(rows.select("id", pl.lit("").alias("title"), content="text"))
        cuts = scorer.bundle.calibration.decisions.cuts
        assert tuple(tier.cut for tier in found.judgement.positive_tiers) == cuts
        for tier in found.judgement.positive_tiers:
            assert tier.named == scored["tier"].is_in(tier.tiers).sum()

    def test_its_table_is_a_file_of_predictions(self, bundle, news, tmp_path):
        found = fresh(bundle, news, tmp_path, "--number", 20)
        again = read_predictions(tmp_path / "predictions.parquet", FILTER).judged(
            FILTER, Bootstrap(resamples=1000, level=0.95, seed=0)
        )
        assert again.mean == found.judgement.mean
        assert again.tiers == found.judgement.tiers

    def test_the_oracle_is_asked_with_the_bundles_filter_and_once(self, bundle, news, tmp_path):
        first = fresh(bundle, news, tmp_path, "--number", 20)
        with Ledger(tmp_path / "ledger.sqlite") as ledger:
            assert set(ledger.accepted_prompts()) == {Prompt.of(FILTER).hash}
        again = fresh(bundle, news, tmp_path, "--number", 20)
        assert (first.asked.bought, first.asked.already) == (20, 0)
        assert (again.asked.bought, again.asked.already, again.asked.calls) == (0, 20, 0)
        assert again.judgement == first.judgement
        more = fresh(bundle, news, tmp_path, "--number", 30)
        assert (more.asked.bought, more.asked.already) == (10, 20)

    def test_a_limit_ends_the_asking_and_the_labels_there_are_judge(self, bundle, news, tmp_path):
        answer = json.dumps({"scores": {"gain": 5, "near": 5}, "evidence": "e"})
        with ScriptedServer(lambda request, number: completion(answer)) as server:
            words = ["--oracle", f"openai:tiny@{server.url}", "--prices", "1/1"]
            words += ["--articles", news / "news.jsonl", "--number", 20, "--max-calls", 16, "-o", tmp_path]
            found = FreshEvaluation.model_validate_json(potstill(bundle, *words, "--json"))
        assert 10 <= found.asked.labelled < 20
        assert found.asked.calls == 16
        assert found.judgement.rows == found.asked.labelled
        assert found.findings[0].rule == "fewer-labels-than-drawn"
        assert "--max-calls 16" in found.findings[0].text

    @pytest.mark.parametrize("words", [("-o", "{}"), ("-o", "{}/new")])
    def test_a_bundle_takes_no_results(self, bundle, news, tmp_path, monkeypatch, words):
        monkeypatch.chdir(tmp_path)
        before = sorted(path.name for path in bundle.iterdir())
        asking = ["--oracle", f"replay:{news / 'answers.jsonl'}", "--articles", news / "news.jsonl"]
        with pytest.raises(BadInput, match="which must not change; choose another output path"):
            potstill(bundle, *asking, *(word.format(bundle) for word in words))
        assert sorted(path.name for path in bundle.iterdir()) == before

    def test_labels_of_another_rubric_are_not_mixed_in(self, bundle, news, tmp_path):
        other = FILTER.model_copy(update={"rubric": "Score them otherwise."})
        oracle = open_oracle(f"replay:{news / 'answers.jsonl'}")
        label(tmp_path / "ledger.sqlite", articles(3, seed=7)[0], other, oracle)
        with pytest.raises(LabelError, match=r"another prompt\..* Choose another ledger"):
            fresh(bundle, news, tmp_path, "--number", 20)

    def test_too_few_labels_are_an_error_that_says_why(self, bundle, tmp_path):
        answers = write(tmp_path / "few.jsonl", [{"id": "a1", "scores": {"gain": 1, "near": 1}}])
        sample = draw(articles(20, seed=7)[0], FILTER, 20)
        with pytest.raises(
            LabelError, match=r"^1 articles .* too few .* 10 are needed; .*few.jsonl has only 0 answers"
        ):
            evaluate_fresh(Scorer.load(bundle), sample, open_oracle(f"replay:{answers}"), tmp_path / "ledger.sqlite")

    @pytest.mark.parametrize(("answered", "enough"), [(9, False), (10, True), (11, True)])
    def test_ten_labels_are_needed(self, bundle, news, tmp_path, answered, enough):
        answers = (news / "answers.jsonl").read_text().splitlines(keepends=True)[:answered]
        (tmp_path / "some.jsonl").write_text("".join(answers))
        sample = draw(articles(60, seed=7)[0], FILTER, 60)
        oracle = open_oracle(f"replay:{tmp_path / 'some.jsonl'}")
        with nullcontext() if enough else pytest.raises(LabelError, match=f"^{answered} articles .* too few"):
            found, _ = evaluate_fresh(Scorer.load(bundle), sample, oracle, tmp_path / "l.sqlite", bootstrap=QUICK)
            assert found.judgement.rows == answered

    def test_a_person_reads_what_was_asked_and_what_it_means(self, bundle, news, tmp_path):
        words = ["--oracle", f"replay:{news / 'answers.jsonl'}", "--articles", news / "news.jsonl", "--number", 20]
        lines = potstill(bundle, *words, "-o", tmp_path / "mine").splitlines()
        assert lines[0] == "20 of 60 articles drawn"
        assert lines[1].startswith("20 labels by replay:answers: 20 new, 0 already in the ledger; 20 calls")
        assert any(line.startswith("same tier as the oracle: ") for line in lines)
        assert any(line.startswith("coverage of the 90% intervals: gain ") for line in lines)
        assert (tmp_path / "mine" / "ledger.sqlite").exists()


class TestRepeats:
    @pytest.fixture
    def twice(self, news, tmp_path):
        """An oracle that answers twice, the second time a point higher."""
        rows = [json.loads(line) for line in (news / "answers.jsonl").open()]
        samples = [
            [row["scores"], {name: s - 1 if s >= 5 else s + 1 for name, s in row["scores"].items()}] for row in rows
        ]
        return write(
            tmp_path / "twice.jsonl",
            (
                {"id": row["id"], "samples": [{"scores": one} for one in both]}
                for row, both in zip(rows, samples, strict=True)
            ),
        )

    def ask(self, bundle, news, twice, out, *more):
        words = ["--oracle", f"replay:{twice}", "--articles", news / "news.jsonl", "--number", 20]
        return potstill(bundle, *words, "-o", out, *more)

    def test_two_answers_each_tell_the_floor_of_the_new_labels(self, bundle, news, twice, tmp_path):
        found = FreshEvaluation.model_validate_json(
            self.ask(bundle, news, twice, tmp_path / "o", "--answers", 2, "--json")
        )
        assert (found.asked.samples, found.asked.bought, found.judgement.rows) == (2, 40, 20)
        assert (found.floor.articles, found.floor.mean_difference, found.floor.mean_floor) == (20, 1.0, 0.5)
        assert "distance-to-the-floor" in {finding.rule for finding in found.findings}

    def test_one_answer_each_leaves_it_unknown_and_says_so(self, bundle, news, twice, tmp_path):
        found = FreshEvaluation.model_validate_json(self.ask(bundle, news, twice, tmp_path / "o", "--json"))
        assert found.floor is None
        assert "floor-unknown" in {finding.rule for finding in found.findings}

    def test_a_plan_says_what_it_takes_and_asks_nobody(self, bundle, news, tmp_path):
        words = ["--oracle", "openai:none@http://127.0.0.1:9/v1", "--prices", "1/4"]
        words += ["--articles", news / "news.jsonl", "--number", 20, "--answers", 2, "-o", tmp_path / "o", "--plan"]
        said = potstill(bundle, *words)
        assert said.startswith("20 articles, up to 2 answers each: 40 calls to make")
        assert not (tmp_path / "o").exists()


def test_a_runs_own_articles_do_not_judge_its_bundle(tmp_path):
    run = bundled_run(tmp_path)
    new, answers = stories(120)
    # With the same seed, the first 90 stories are those of the run.
    write(tmp_path / "new.jsonl", new)
    write(tmp_path / "more.jsonl", answers)
    words = [
        "--oracle",
        f"replay:{tmp_path / 'more.jsonl'}",
        "--articles",
        tmp_path / "new.jsonl",
        "-o",
        tmp_path / "o",
    ]
    with pytest.raises(BadInput, match="a sample of 40 was asked for, and there are 30 articles"):
        potstill(run.folder, *words, "--number", 40)
    for place in (run.folder, run.path("bundle")):
        found = FreshEvaluation.model_validate_json(potstill(place, *words, "--number", 30, "--json"))
        assert list(found.asked.left_out.values()) == [90]
        assert found.validation_mae is not None
        assert any(finding.rule.endswith("on-validation") for finding in found.findings)
    # With another folder it is not a stage of the run; by default it is.
    assert "fresh" not in Run.open(run.folder).manifest.stages
    potstill(run.folder, *words[:4], "--number", 30)
    stage = next(status for status in Run.open(run.folder).status() if status.stage == "fresh")
    assert (stage.state, stage.optional) == ("done", True)
    assert Run.open(run.folder).manifest.stages["fresh"].parameters["oracle"] == "replay:more"
    assert run.path("fresh_record").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--oracle", "replay:x", "--articles", "new.jsonl"], "where the labels are kept"),
        (["--oracle", "replay:x", "--articles", "new.jsonl", "-o", "x", "--prices", "1"], "expected two prices"),
    ],
)
def test_what_does_not_go_together_is_refused(words, message):
    with pytest.raises(BadInput, match=message):
        potstill("bundle", *words)
