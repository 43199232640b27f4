"""Tests of what is found of each positive tier: by a cut on its probability, by score, and at equal volume."""

from dataclasses import replace

import numpy as np
import pytest

from potstill import metrics
from potstill.calibration import TierCut
from potstill.evaluation.judging import Predicted, constant_for, judge
from potstill.evaluation.positive_tiers import DecidedTiers, TierRows, differences, ranking_scores, unseen_counts
from potstill.evaluation.ranking import average_precision, recall_at
from potstill.evaluation.records import Bootstrap
from potstill.filters import parse_filter
from potstill.operating_points import MATCH, OperatingPoint
from potstill.verdict import decide_rows, judge_rows, with_named

FILTER = parse_filter(
    """
name: news
version: 1
dimensions:
  harm: {weight: 1, description: How many are hurt}
tiers:
  - {name: lead, when: overall >= 8, positive: true}
  - {name: page, when: overall >= 5, positive: true}
  - {name: brief}
""",
    "Score it.",
    "news",
)
QUICK = Bootstrap(resamples=200, level=0.95, seed=0)


def rows(scores, labels, *, clusters=None, decided=None):
    scores, labels = (np.asarray(values, dtype=float)[:, None] for values in (scores, labels))
    n = len(labels)
    return Predicted(
        source="test",
        ids=tuple(map(str, range(n))),
        scores=scores,
        labels=labels,
        constant=constant_for(labels, FILTER, n),
        clusters=np.arange(n) if clusters is None else np.asarray(clusters),
        decided=decided,
    )


def cuts(lead=0.5, page=0.5):
    return tuple(
        TierCut(tier=name, point=MATCH, probability=cut, rows=100, positives=10, named=12, found=8)
        for name, cut in (("lead", lead), ("page", page))
    )


def decided(scores, positive, lead=0.5, page=0.5):
    scores, positive = np.asarray(scores, dtype=float)[:, None], np.asarray(positive, dtype=float)
    named = positive >= [lead, page]
    verdict = with_named(judge_rows(scores, FILTER), scores, named).frame
    return DecidedTiers(verdict, positive, cuts(lead, page))


def news(n=200, noise=2.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.uniform(0, 10, n)
    return np.clip(labels + rng.normal(0, noise, n), 0, 10), labels


def test_each_tier_counts_the_better_ones_too():
    lead, page = judge(rows([9, 6, 6, 1], [9, 9, 6, 6]), FILTER, QUICK).positive_tiers
    assert (lead.tiers, lead.oracle, lead.named, lead.both) == (("lead",), 2, 1, 1)
    assert (page.tiers, page.oracle, page.named, page.both) == (("lead", "page"), 4, 3, 3)
    assert page.title == "lead or page"


def test_tiers_decided_by_probability_are_those_that_are_judged():
    # By score, the third article would be the only lead; by probability, the first and the fourth are named.
    scores, labels = [4, 4, 9, 4], [9, 1, 1, 9]
    positive = [[0.9, 0.9], [0.1, 0.2], [0.2, 0.3], [0.6, 0.7]]
    found = judge(rows(scores, labels, decided=decided(scores, positive)), FILTER, QUICK)
    lead = found.positive_tiers[0]
    assert (lead.named, lead.both, lead.how) == (2, 2, "at the oracle's volume (cut 0.50)")
    assert found.tiers.by_tier[0].both == 2
    assert (lead.average_precision, found.ranking.average_precision) == (1.0, 1.0)
    by_score = judge(rows(scores, labels), FILTER, QUICK)
    assert (by_score.positive_tiers[0].both, by_score.positive_tiers[0].cut) == (0, None)
    assert by_score.positive_tiers[0].average_precision < 1
    assert by_score.ranking.average_precision < 1


def test_a_tier_without_a_cut_is_ranked_by_score():
    scores = [4, 4, 9, 4]
    both = decided(scores, [[0.9, 0.9], [0.1, 0.2], [0.2, 0.3], [0.6, 0.7]])
    both = replace(both, positive=np.column_stack([np.full(4, np.nan), both.positive[:, 1]]))
    verdict = decide_rows(np.array(scores, float)[:, None], FILTER)
    assert ranking_scores(verdict, both, FILTER).tolist() == [[4, 0.9], [4, 0.2], [9, 0.3], [4, 0.7]]


def test_the_figures_are_those_of_the_counts():
    scores, labels = news()
    found = judge(rows(scores, labels), FILTER, QUICK).positive_tiers[1]
    assert found.recall == pytest.approx(found.both / found.oracle, abs=1e-6)
    assert found.precision == pytest.approx(found.both / found.named, abs=1e-6)
    assert found.f1 == pytest.approx(2 * found.both / (found.oracle + found.named), abs=1e-6)
    assert found.by_chance == pytest.approx(found.oracle / 200, abs=1e-6)
    for value, interval in (
        (found.recall, found.recall_interval),
        (found.precision, found.precision_interval),
        (found.f1, found.f1_interval),
        (found.average_precision, found.average_precision_interval),
        (found.equal_volume.recall, found.equal_volume.recall_interval),
    ):
        assert interval.low < value < interval.high
    counts = metrics.positive_intervals(
        labels >= 5, scores >= 5, np.arange(200), n=QUICK.resamples, seed=QUICK.seed, level=QUICK.level
    )[0]
    assert found.recall_interval.low == pytest.approx(float(counts.low[0]), abs=1e-6)


@pytest.mark.parametrize("steps", [0.5, 2.0, 100.0])
def test_the_ranking_averages_ties_as_the_ranking_metrics_do(steps):
    scores, labels = news(noise=3.0)
    scores = np.round(scores / steps) * steps
    found = judge(rows(scores, labels), FILTER, QUICK).positive_tiers[0]
    wanted = labels >= 8
    assert found.average_precision == pytest.approx(average_precision(wanted, scores), abs=1e-6)
    for volume, times in ((found.equal_volume, 1), (found.twice_volume, 2)):
        assert volume.named == min(200, times * found.oracle)
        assert volume.recall == pytest.approx(recall_at(wanted, scores, volume.named), abs=1e-6)
        assert volume.found == pytest.approx(volume.recall * found.oracle, abs=1e-3)


@pytest.mark.threshold(name="FEWEST_POSITIVES")
@pytest.mark.parametrize(("count", "given"), [(19, False), (20, True), (21, True)])
def test_fewer_than_20_positives_have_counts_and_no_recall(count, given):
    labels = [9.0] * count + [1.0] * 30
    found = judge(rows(labels, labels), FILTER, QUICK).positive_tiers[0]
    assert (found.oracle, found.named, found.both) == (count, count, count)
    figures = (found.recall, found.precision, found.f1, found.equal_volume.recall, found.twice_volume.recall)
    assert figures == ((1.0,) * 5 if given else (None,) * 5)
    assert (found.average_precision, found.equal_volume.found) == (1.0, count)


def test_copies_of_an_article_are_no_further_evidence():
    scores, labels = news(60)
    once = judge(rows(scores, labels), FILTER, QUICK).positive_tiers[1]
    copies = rows(np.repeat(scores, 5), np.repeat(labels, 5), clusters=np.repeat(np.arange(60), 5))
    copied = judge(copies, FILTER, QUICK).positive_tiers[1]
    assert copied.average_precision_interval.low == pytest.approx(once.average_precision_interval.low, abs=1e-6)


def test_without_a_positive_article_there_are_counts_alone():
    found = judge(rows([9, 1], [1, 1]), FILTER, QUICK).positive_tiers[0]
    assert (found.oracle, found.named, found.both, found.average_precision) == (0, 1, 0, None)


def test_a_filter_without_positive_tiers_has_none():
    content = FILTER.model_dump(mode="json")
    content["tiers"] = [{"name": "all"}]
    calm = type(FILTER).model_validate(content)
    found = judge(rows([9, 1], [1, 1]), calm, QUICK)
    assert (found.positive_tiers, found.ranking) == ((), None)


def sides(noise=3.0):
    scores, labels = news(noise=noise)
    wanted = labels >= 5
    return TierRows(wanted, scores >= 5, scores), TierRows(wanted, labels >= 6, labels)


def test_a_paired_difference_of_a_student_with_itself_is_zero():
    ours, _ = sides()
    for found in differences([ours], [ours], np.arange(200), at_volume=False, bootstrap=QUICK):
        assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("at_volume", [True, False])
def test_a_difference_is_that_of_the_figures_and_its_interval_is_paired(at_volume):
    ours, perfect = sides()
    recall, precision = differences([perfect], [ours], np.arange(200), at_volume=at_volume, bootstrap=QUICK)
    own, other = (side.statistics(np.ones((1, 200))) for side in (perfect, ours))
    name = "equal_volume" if at_volume else "recall"
    assert recall.value == pytest.approx(float(getattr(own, name)[0] - getattr(other, name)[0]))
    assert precision.value == pytest.approx(float(1 - other.average_precision[0]))
    assert 0 < precision.low < precision.value < precision.high
    back = differences([ours], [perfect], np.arange(200), at_volume=at_volume, bootstrap=QUICK)
    assert back[1].low == pytest.approx(-precision.high)


def test_several_seeds_count_by_their_mean():
    ours, perfect = sides()
    one = differences([perfect], [ours], np.arange(200), at_volume=True, bootstrap=QUICK)[1]
    mixed = differences([perfect, ours], [ours], np.arange(200), at_volume=True, bootstrap=QUICK)[1]
    assert mixed.value == pytest.approx(one.value / 2)


def test_counts_of_all_articles_that_trained_nothing_add_up():
    scores, labels = [9, 6, 6, 1], [9, 9, 6, 6]
    positive = [[0.9, 0.9], [0.1, 0.6], [0.1, 0.7], [0.0, 0.1]]
    one = judge(rows(scores, labels, decided=decided(scores, positive)), FILTER, QUICK).positive_tiers
    found = unseen_counts([one, one])
    assert [(each.tier, each.rows, each.oracle, each.named, each.both) for each in found] == [
        ("lead", 108, 14, 14, 10),
        ("page", 108, 18, 18, 14),
    ]
    assert found[0].precision == pytest.approx(10 / 14)


def test_a_tier_that_is_decided_by_score_has_no_counts_of_rows_that_chose_a_cut():
    one = judge(rows([9, 1], [9, 1]), FILTER, QUICK).positive_tiers
    assert unseen_counts([one, one]) == ()
    by_score = TierCut(tier="lead", point=OperatingPoint(threshold="by-score"), probability=None)
    undecided = tuple(tier.model_copy(update={"cut": by_score}) for tier in one)
    assert unseen_counts([undecided, undecided]) == ()
    assert undecided[0].how == "by score"
