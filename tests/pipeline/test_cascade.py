"""Tests of a cheap student in front of another: what it decides, with which bound, and the effect on scoring."""

import json
from functools import partial

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import FILTER, articles, tfidf_bundle
from tiny_run import started
from typer.testing import CliRunner

from potstill.bundle import load_bundle
from potstill.cli import build
from potstill.dataset import Dataset
from potstill.errors import BadInput, BundleError, RunError
from potstill.files import sha256
from potstill.filters import parse_filter
from potstill.oracle import open_oracle
from potstill.pipeline.bundle import build_bundle
from potstill.pipeline.cascade import build_cascade, frontier, highest_recall, may_lose, point
from potstill.pipeline.run import Run
from potstill.pipeline.train import train_run
from potstill.pipeline.unseen import Unseen, positives
from potstill.scorer import Scorer, score_file
from potstill.scorer.deferral import open_deferral
from potstill.scorer.early import Cascade
from potstill.types import Article

SECONDS = (0.001, 0.1)


def unseen(positive, negative, clusters=None):
    signals = np.array([*positive, *negative], dtype=float)
    is_positive = np.arange(signals.size) < len(positive)
    return Unseen(signals, is_positive, np.arange(signals.size) if clusters is None else np.array(clusters))


class TestBound:
    # Numbers from Wilks (1941): enough trials, and one fewer, which is not enough.
    @pytest.mark.parametrize(("trials", "recall"), [(299, 0.99), (59, 0.95), (29, 0.9)])
    def test_so_many_positives_show_a_recall_when_none_is_lost(self, trials, recall):
        assert may_lose(trials, recall) == 0
        assert may_lose(trials - 1, recall) is None
        assert highest_recall(trials) >= recall > highest_recall(trials - 1)

    @pytest.mark.parametrize(("trials", "recall", "lost"), [(92, 0.95, 0), (93, 0.95, 1), (473, 0.99, 1), (46, 0.9, 1)])
    def test_and_with_more_of_them_one_may_be_lost(self, trials, recall, lost):
        assert may_lose(trials, recall) == lost

    @pytest.mark.long
    def test_the_promise_holds_in_nineteen_of_twenty_draws(self):
        rng = np.random.default_rng(0)
        kept = 0
        for _ in range(2000):
            # Signals are uniform, so the share of future positives above a threshold is 1 - threshold.
            chosen = point(unseen(rng.uniform(size=100), [0.5]), 0.9, SECONDS)
            kept += 1 - chosen.threshold >= 0.9
        assert 0.95 <= kept / 2000 < 0.99

    @given(
        positive=st.lists(st.floats(0, 10), min_size=1, max_size=80),
        negative=st.lists(st.floats(0, 10), max_size=80),
        recall=st.floats(0.05, 0.999),
    )
    def test_it_never_claims_more_than_what_was_counted(self, positive, negative, recall):
        found = point(unseen(positive, negative), recall, SECONDS)
        below = sum(value < found.threshold for value in positive)
        assert found.lost == below
        assert found.recall <= 1 - below / len(positive)
        assert found.recall >= min(recall, highest_recall(len(positive))) - 1e-9
        assert found.early == np.mean([value < found.threshold for value in [*positive, *negative]])


class TestThreshold:
    def test_near_duplicates_are_one_positive_by_their_smallest_signal(self):
        rows = unseen([5, 3, 8], [1], clusters=[7, 7, 9, 4])
        assert rows.trials.tolist() == [3, 8]

    def test_the_share_on_a_stream_weighs_positives_and_negatives_anew(self):
        rows = unseen([2, 8], [1, 3, 5, 9])
        assert rows.early(4) == pytest.approx(3 / 6)
        assert rows.early(4, 0.05) == pytest.approx(0.05 * 0.5 + 0.95 * 0.5)
        assert rows.early(2, 0.05) == pytest.approx(0.95 * 0.25)

    def test_the_speed_is_the_first_students_and_for_the_rest_the_seconds_too(self):
        found = point(unseen([5], [1, 2, 3]), 0.5, SECONDS)
        assert found.early == 0.75
        assert found.articles_per_second == pytest.approx(1 / (0.001 + 0.25 * 0.1))

    def test_the_frontier_goes_from_the_highest_recall_down(self):
        rng = np.random.default_rng(1)
        points = frontier(unseen(rng.normal(6, 1, 120), rng.normal(3, 1, 400)), 0.95, SECONDS)
        assert [one.recall for one in points] == sorted((one.recall for one in points), reverse=True)
        assert [one.early for one in points] == sorted(one.early for one in points)
        assert points[0].recall == pytest.approx(highest_recall(120))
        assert any(one.recall >= 0.95 and one.lost == may_lose(120, 0.95) for one in points)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = started(tmp_path_factory.mktemp("cascade") / "run")
    train_run(run, ["constant", "tfidf-ridge"])
    build_bundle(run, "constant")
    return run


@pytest.fixture(scope="module")
def cascade(run):
    return build_cascade(run, 0.8)


@pytest.fixture(scope="module")
def scorer(run, cascade):
    return Scorer.load(run.path("bundle"), cascade=run.path("cascade"))


class TestRun:
    def test_the_threshold_comes_from_rows_that_the_first_student_had_not_seen(self, run, cascade):
        dataset = Dataset.load(run.path("rows"), FILTER.dimension_names)
        seen = [dataset.part(name) for name in ("train", "validation")]
        assert cascade.articles == sum(map(len, seen)) == 100
        assert cascade.positives == sum(positives(rows, FILTER).sum() for rows in seen)
        assert cascade.chosen.recall >= 0.8
        assert cascade.chosen in cascade.frontier

    def test_the_test_part_checks_it(self, cascade):
        assert (cascade.test.articles, 0 <= cascade.test.passed <= cascade.test.positives) == (20, True)

    def test_the_record_is_in_the_run_and_the_stage_is_recorded(self, run, cascade):
        assert Cascade.model_validate_json((run.path("cascade") / "cascade.json").read_text()) == cascade
        stage = Run.open(run.folder).manifest.stages["cascade"]
        assert stage.parameters == {"recall": 0.8, "first": "tfidf-ridge"}
        assert stage.outputs["cascade"] == sha256(run.path("cascade"))

    def test_too_few_positives_give_the_highest_recall_they_can_show(self, run, cascade):
        found = build_cascade(run, 0.999)
        assert found.chosen.recall == pytest.approx(highest_recall(found.positive_clusters))
        assert found.chosen.lost == 0
        assert "the highest recall that so few can show, where 99.9% was wanted" in found.why
        build_cascade(run, 0.8)

    @pytest.mark.parametrize("recall", [0.0, 1.0, float("nan")])
    def test_a_recall_is_between_nothing_and_all(self, run, recall):
        with pytest.raises(BadInput, match="recall: got"):
            build_cascade(run, recall)

    def test_a_student_that_is_not_there_is_named(self, run):
        with pytest.raises(RunError, match="no student nothing besides the bundle's constant; there are: tfidf-ridge"):
            build_cascade(run, first="nothing")

    def test_a_filter_without_positive_tiers_has_nothing_to_lose(self, tmp_path):
        plain = FILTER.model_copy(
            update={"tiers": tuple(tier.model_copy(update={"positive": False}) for tier in FILTER.tiers)}
        )
        with pytest.raises(BadInput, match="no tier is marked positive"):
            build_cascade(Run.create(tmp_path / "run", plain))


class TestScoring:
    def test_each_article_has_the_verdict_of_the_student_that_answered(self, run, scorer):
        frame, _ = articles(200, seed=9)
        found = scorer.score_batch(frame)
        first = Scorer.load(run.path("cascade") / "first").score_batch(frame)
        second = Scorer.load(run.path("bundle")).score_batch(frame)
        assert set(found["answered_by"]) == {"tfidf-ridge", "constant"}
        early = found["answered_by"] == "tfidf-ridge"
        assert found.filter(early).drop("answered_by").equals(first.filter(early))
        assert found.filter(~early).select(second.columns).equals(second.filter(~early))
        # The second student is a constant, which measures no distances.
        assert found.filter(~early)["novelty"].is_null().all()

    def test_only_articles_below_the_threshold_are_answered_early_and_none_that_seems_positive(self, run, scorer):
        frame, _ = articles(200, seed=9)
        found = scorer.score_batch(frame)
        texts = [FILTER.text.of(*row) for row in frame.select("title", "content").iter_rows()]
        raw = load_bundle(run.path("cascade") / "first").student.predict(pl.DataFrame({"text": texts}))
        signals = np.clip(raw, 0, 10) @ FILTER.weights
        early = (found["answered_by"] == "tfidf-ridge").to_numpy()
        assert (signals[early] < scorer.only.early.record.chosen.threshold).all()
        first = Scorer.load(run.path("cascade") / "first").score_batch(frame)["tier"].to_numpy()
        left = ~early & (signals < scorer.only.early.record.chosen.threshold)
        assert set(first[left]) <= {"lead"}
        assert "lead" not in set(first[early])

    def test_what_is_not_scored_was_answered_by_nobody(self, scorer):
        frame = pl.DataFrame({"id": ["a", "b"], "content": ["", "git clone the library"]})
        assert scorer.score_batch(frame)["answered_by"].to_list() == [None, None]
        assert scorer.score(Article("a", "", "")).answered_by is None
        assert scorer.score("fire theft crash overseas").answered_by in {"tfidf-ridge", "constant"}

    def test_probabilities_come_along(self, run):
        scorer = Scorer.load(run.path("bundle"), cascade=run.path("cascade"), probabilities=True)
        frame, _ = articles(60, seed=9)
        found = scorer.score_batch(frame)
        sums = found.select(pl.sum_horizontal("^probability_.*$")).to_series().to_numpy()
        np.testing.assert_allclose(sums, 1, atol=1e-9)

    def test_a_wanted_error_rate_has_no_place_beside_it(self, run):
        with pytest.raises(BadInput, match="leave out --cascade or --ask-oracle-above"):
            Scorer.load(run.path("bundle"), cascade=run.path("cascade"), ask_oracle_above=0.3)

    def test_the_oracle_is_only_asked_about_what_the_second_student_answers(self, run, cascade, tmp_path):
        scorer = Scorer.load(run.path("bundle"), cascade=run.path("cascade"), ask_oracle_below=0.95)
        frame, _ = articles(60, seed=9)
        found = scorer.score_batch(frame)
        early = found["answered_by"] == "tfidf-ridge"
        assert not found.filter(early)["ask_oracle"].any()
        assert found.filter(~early)["ask_oracle"].all()  # a constant is never certain
        lines = (json.dumps({"id": id_, "scores": {"gain": 9, "near": 1}}) + "\n" for id_ in frame["id"])
        (tmp_path / "said.jsonl").write_text("".join(lines))
        opened = partial(open_oracle, f"replay:{tmp_path / 'said.jsonl'}")
        with open_deferral(scorer, opened, tmp_path / "asked.sqlite") as deferral:
            third = deferral.answer(frame, found)
        assert set(third["answered_by"]) == {"tfidf-ridge", "oracle"}
        assert third.filter(early).equals(found.filter(early))

    def test_a_cascade_of_another_bundle_is_refused(self, run, tmp_path):
        other = tfidf_bundle(tmp_path / "bundle").folder
        with pytest.raises(BundleError, match="was made for another bundle"):
            Scorer.load(other, cascade=run.path("cascade"))

    def test_a_folder_that_is_none_is_refused(self, run, tmp_path):
        with pytest.raises(BundleError, match=r"cascade\.json"):
            Scorer.load(run.path("bundle"), cascade=tmp_path)

    def test_files_say_who_answered_and_a_resume_keeps_to_the_cascade(self, run, scorer, tmp_path):
        frame, _ = articles(30, seed=9)
        frame.write_ndjson(tmp_path / "in.jsonl")
        score_file(scorer, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert {row["answered_by"] for row in rows} == {"tfidf-ridge", "constant"}


def test_the_commands_make_it_and_score_with_it(run, cascade, tmp_path):
    done = CliRunner().invoke(build(), ["cascade", str(run.folder), "--recall", "0.8"])
    assert done.exit_code == 0, done.output
    assert "<- chosen" in done.stdout
    assert "tfidf-ridge before constant" in done.stdout
    assert f"signal of early answers: {cascade.signal}, because {cascade.signal_reason}\n" in done.stdout
    following = f"potstill score {run.path('bundle')} FILE -o RESULTS --cascade {run.path('cascade')}"
    assert done.output.splitlines()[-1] == f"next: {following}"
    frame, _ = articles(30, seed=9)
    frame.write_ndjson(tmp_path / "in.jsonl")
    arguments = ["score", str(run.path("bundle")), str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.csv")]
    done = CliRunner().invoke(build(), [*arguments, "--cascade", str(run.path("cascade"))])
    assert done.exit_code == 0, done.output
    assert "tfidf-ridge answers first; at least" in done.stderr
    assert pl.read_csv(tmp_path / "out.csv")["answered_by"].n_unique() == 2


def test_a_filter_with_a_cap_keeps_capped_articles_negative():
    filter_ = parse_filter(FILTER_YAML, "Score the gain.", "capped")
    rows = type("Rows", (), {"scores": np.array([[9.0], [9.0]]), "texts": ["good", "good advertisement"]})
    assert positives(rows, filter_).tolist() == [True, False]


FILTER_YAML = """
name: capped
version: 1
description: Gain.
dimensions:
  gain: {weight: 1.0, description: How much people gain}
caps:
  - {any: [advertisement], cap: 1.0, reason: paid for}
tiers:
  - {name: lead, when: overall >= 6, positive: true}
  - {name: drawer}
"""
