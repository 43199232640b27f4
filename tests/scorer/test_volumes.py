"""Tests of drift: a file in which a tier names another number of articles than its cut was chosen for."""

import numpy as np
import polars as pl
import pytest
from tiny_bundle import articles

from potstill.articles import open_writer
from potstill.calibration import TierCut
from potstill.operating_points import MATCH, OperatingPoint
from potstill.scorer import Scorer, score_file
from potstill.scorer.volumes import drifts, unlike


def cut(tier="lead", *, named=40, rows=1000, point=MATCH, probability=0.3):
    return TierCut(
        tier=tier, point=point, probability=probability, rows=rows, positives=40, named=named, found=min(named, 20)
    )


def test_a_file_with_half_the_positives_is_noticed_and_the_sentence_says_by_how_much():
    (drift,) = drifts([cut(named=400, rows=10_000)], {"lead": 21, "page": 979}, 1000)
    assert str(drift) == (
        "lead: 21 of 1,000 articles named, 40 expected at the oracle's volume: the articles differ from those that the "
        "cut was chosen on"
    )
    assert drift.p_value == pytest.approx(0.0023, abs=0.0001)


def test_too_many_are_noticed_as_too_few_are():
    assert drifts([cut()], {"lead": 80}, 1000)[0].named == 80


def test_a_volume_of_its_own_is_named_in_the_sentence():
    (drift,) = drifts([cut(point=OperatingPoint(volume=40))], {"lead": 5}, 1000)
    assert "5 of 1,000 articles named, 40 expected at 40 per 1,000 articles" in str(drift)


def test_few_held_out_articles_leave_the_expected_number_uncertain():
    assert drifts([cut(named=4, rows=100)], {"lead": 21}, 1000) == ()
    assert drifts([cut(named=400, rows=10_000)], {"lead": 21}, 1000)


@pytest.mark.parametrize("goal", [{"recall": 0.9}, {"precision": 0.8}, {"f1": "best"}])
def test_only_a_volume_expects_a_number_of_articles(goal):
    assert drifts([cut(point=OperatingPoint(**goal))], {"lead": 1}, 1000) == ()


def test_a_tier_that_is_decided_by_score_expects_none():
    assert drifts([cut(probability=None)], {"lead": 1}, 1000) == ()


def test_a_file_without_a_scored_article_is_no_drift():
    assert drifts([cut()], {"lead": 0}, 0) == ()


def test_articles_of_a_better_tier_count_for_the_tiers_below_it():
    cuts = [cut("lead", named=40), cut("front", named=100)]
    assert drifts(cuts, {"lead": 40, "front": 60}, 1000) == ()
    (drift,) = drifts(cuts, {"lead": 40, "front": 160}, 1000)
    assert str(drift).startswith("front or better: 200 of 1,000 articles named, 100 expected")


@pytest.mark.threshold(name="VOLUME_DRIFT")
@pytest.mark.parametrize(
    ("held", "named", "reported"),
    [(130, 176, True), (45, 74, True), (74, 45, True), (112, 155, False), (143, 191, False), (155, 112, False)],
)
def test_a_difference_with_a_p_value_below_1_percent_is_reported(held, named, reported):
    # The p-values are 0.00998, 0.00997 and 0.00997, then 0.01003, 0.01001 and 0.01003.
    assert bool(drifts([cut(named=held)], {"lead": named}, 1000)) is reported


def test_alike_articles_are_reported_at_most_once_in_a_hundred_files():
    rng = np.random.default_rng(0)
    counts = rng.binomial(1000, 0.05, (2000, 2)).tolist()
    assert sum(bool(drifts([cut(named=held)], {"lead": named}, 1000)) for held, named in counts) <= 20


def test_a_scored_file_counts_it_and_an_oracles_answers_do_not(folders, tmp_path):
    frame = articles(200, seed=3)[0]
    with open_writer(tmp_path / "in.jsonl") as writer:
        writer.write(frame.with_columns(content=frame["content"].str.replace_all("[a-z]", "") + "fire theft overseas"))
    scorer = Scorer.load(folders["tfidf"])
    (drift,) = score_file(scorer, tmp_path / "in.jsonl", tmp_path / "out.jsonl").only.drifts
    assert (drift.tier, drift.named, drift.articles) == ("lead", 0, 200)


@pytest.mark.threshold(name="NOVEL_FILE")
@pytest.mark.parametrize(
    ("count", "scored", "said"), [(16, 167, True), (16, 168, False), (9, 72, True), (9, 73, False)]
)
def test_more_unlike_articles_than_by_chance_in_1_percent_of_files_are_said(count, scored, said):
    assert unlike(count, scored).significant is said


@pytest.mark.threshold(name="NOVEL")
@pytest.mark.parametrize(("novelty", "counted"), [(0.0499, 1), (0.05, 0), (0.0501, 0)])
def test_an_article_counts_as_unlike_below_5_percent(folders, tmp_path, monkeypatch, novelty, counted):
    scorer = Scorer.load(folders["tfidf"])
    monkeypatch.setattr("potstill.scorer.one_filter.FilterScorer.measures_novelty", True)
    plain = scorer.flat

    def with_novelty(prepared):
        return plain(prepared).with_columns(novelty=pl.lit(novelty))

    monkeypatch.setattr(scorer, "flat", with_novelty)
    with open_writer(tmp_path / "in.csv") as writer:
        writer.write(articles(1)[0])
    assert score_file(scorer, tmp_path / "in.csv", tmp_path / "out.csv").only.unlike.count == counted


def test_the_sentence_says_the_share_and_what_would_be_by_chance():
    assert str(unlike(61, 100)) == (
        "61% of these articles are unlike the training articles (p < 0.05), where 5% would be by chance: expect larger "
        "errors"
    )


def test_a_file_without_a_scored_article_says_nothing():
    assert unlike(0, 0) is None
    assert not unlike(0, 1000).significant
