import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from potstill.evaluation.judging import Predicted, constant_for, judge, judge_tiers, with_overall
from potstill.evaluation.records import Bootstrap
from potstill.filters import load_filter, parse_filter
from potstill.verdict import cap_hits

FILTER = parse_filter(
    """
name: news
version: 1
dimensions:
  harm: {weight: 0.75, description: How many are hurt}
  reach: {weight: 0.25, description: How many it touches}
  colour: {weight: 0, description: Shown but not counted}
caps:
  - {any: [advertisement], cap: 1, reason: paid for}
tiers:
  - {name: lead, when: overall >= 6, positive: true}
  - {name: page, when: overall >= 3, positive: true}
  - {name: brief}
""",
    "Score it.",
    "news",
)
QUICK = Bootstrap(resamples=200, level=0.95, seed=0)


def predicted(scores, labels, *, clusters=None, constant=None, hits=None):
    scores, labels = np.asarray(scores, float), np.asarray(labels, float)
    n = len(labels)
    return Predicted(
        source="test",
        ids=tuple(map(str, range(n))),
        scores=scores,
        labels=labels,
        constant=constant_for(labels, FILTER, n) if constant is None else constant,
        clusters=np.arange(n) if clusters is None else np.asarray(clusters),
        cap_hits=hits,
    )


def news(n=60, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.uniform(0, 10, (n, 3))
    return np.clip(labels + rng.normal(0, noise, labels.shape), 0, 10), labels


def test_errors_are_means_over_rows_and_the_mean_counts_each_dimension_alike():
    found = judge(predicted([[1, 5, 5], [3, 5, 9]], [[2, 5, 5], [6, 5, 5]]), FILTER, QUICK)
    assert [found.dimensions[name].mae for name in FILTER.dimension_names] == [2.0, 0.0, 2.0]
    assert found.mean.mae == pytest.approx(4 / 3, abs=1e-6)
    assert found.dimensions["harm"].bias == -2.0
    assert found.dimensions["colour"].bias == 2.0


def test_the_overall_is_weighted_by_the_filter_and_blind_to_dimensions_without_weight():
    found = judge(predicted([[4, 8, 0]], [[4, 4, float("nan")]]), FILTER, QUICK)
    assert found.overall.rows == 1
    assert found.overall.mae == 1.0


def test_skill_is_against_the_constant_on_the_same_rows():
    labels = [[0, 0, 0], [10, 10, 10]]
    constant = np.full((2, 4), 5.0)
    found = judge(predicted([[1, 1, 1], [9, 9, 9]], labels, constant=constant), FILTER, QUICK)
    assert found.mean.constant_mae == 5.0
    assert found.mean.skill == pytest.approx(0.8)
    assert found.overall.skill == pytest.approx(0.8)


def test_the_constant_itself_has_no_skill_and_its_interval_holds_zero():
    _, labels = news()
    base = constant_for(labels, FILTER, len(labels))
    found = judge(predicted(base[:, :3], labels), FILTER, QUICK)
    assert found.mean.skill == pytest.approx(0)
    assert found.mean.skill_interval.low <= 0 <= found.mean.skill_interval.high


def test_the_interval_of_the_mean_holds_the_mean():
    found = judge(predicted(*news()), FILTER, QUICK)
    for figures in (found.mean, found.overall, *found.dimensions.values()):
        assert figures.mae_interval.low < figures.mae < figures.mae_interval.high
        assert figures.skill_interval.low < figures.skill < figures.skill_interval.high


def test_copies_of_an_article_are_no_further_evidence():
    scores, labels = news(20)
    once = judge(predicted(scores, labels), FILTER, QUICK)
    copied = judge(
        predicted(np.repeat(scores, 5, 0), np.repeat(labels, 5, 0), clusters=np.repeat(np.arange(20), 5)), FILTER, QUICK
    )
    assert copied.mean.mae == pytest.approx(once.mean.mae)
    assert copied.mean.mae_interval.low == pytest.approx(once.mean.mae_interval.low)
    assert copied.clusters == 20


def test_a_masked_label_counts_for_nothing():
    scores, labels = news(30)
    labels[:10, 0] = np.nan
    found = judge(predicted(scores, labels), FILTER, QUICK)
    assert found.dimensions["harm"].rows == 20
    assert found.dimensions["harm"].mae == pytest.approx(np.abs(scores - labels)[10:, 0].mean(), abs=1e-6)
    assert found.overall.rows == found.tiers.rows == 20


def test_a_dimension_without_labels_has_no_figures_and_the_mean_is_of_the_others():
    scores, labels = news(30)
    labels[:, 2] = np.nan
    found = judge(predicted(scores, labels), FILTER, QUICK)
    assert found.dimensions["colour"].mae is None
    assert found.dimensions["colour"].mae_interval is None
    assert found.mean.mae == pytest.approx((found.dimensions["harm"].mae + found.dimensions["reach"].mae) / 2, abs=1e-6)


def test_bands_are_those_of_the_oracle():
    found = judge(predicted([[1, 0, 0], [7, 0, 0]], [[0, 0, 0], [10, 0, 0]]), FILTER, QUICK)
    bands = found.bands["harm"]
    assert [(band.low, band.high, band.rows) for band in bands[:1] + bands[-1:]] == [(0, 2, 1), (8, 10, 1)]
    assert [band.bias for band in bands] == [1.0, None, None, None, -3.0]


def test_caps_limit_oracle_and_student_alike():
    texts = ["an advertisement", "a storm"]
    hits = cap_hits(texts, FILTER)
    found = judge(predicted([[9, 9, 9]] * 2, [[9, 9, 9]] * 2, hits=hits), FILTER, QUICK)
    assert found.tiers.confusion == ((1, 0, 0), (0, 0, 0), (0, 0, 1))


def tiers(oracle, student):
    return judge_tiers(pl.Series(oracle), pl.Series(student), np.arange(len(oracle)), FILTER, QUICK)


def test_tiers_stand_beside_the_majority():
    found = tiers(["brief"] * 6 + ["lead"] * 4, ["brief"] * 8 + ["lead"] * 2)
    assert (found.accuracy, found.majority, found.majority_tier) == (0.8, 0.6, "brief")
    assert found.confusion == ((2, 0, 2), (0, 0, 0), (0, 0, 6))


def test_nineteen_positives_are_counted_and_twenty_have_a_recall():
    few = tiers(["lead"] * 19 + ["brief"], ["lead"] * 20).positives
    assert (few.oracle, few.student, few.both, few.recall, few.precision) == (19, 20, 19, None, None)
    enough = tiers(["lead"] * 20, ["lead"] * 15 + ["brief"] * 5).positives
    assert enough.recall == 0.75
    assert enough.recall_interval.low < 0.75 < enough.recall_interval.high


def test_unscored_rows_are_in_no_tier():
    found = tiers(["unscored", "lead"], ["lead", "lead"])
    assert found.rows == 1


def test_no_rows_give_no_figures():
    found = tiers(pl.Series([], dtype=pl.String), pl.Series([], dtype=pl.String))
    assert (found.rows, found.accuracy, found.majority, found.kappa) == (0, None, None, None)


@given(arrays(float, (7, 3), elements=st.floats(0, 10)), arrays(float, (7, 3), elements=st.floats(0, 10)))
def test_any_scores_give_finite_figures_or_none(scores, labels):
    found = judge(predicted(scores, labels), FILTER, Bootstrap(resamples=5, level=0.9, seed=1))
    json.dumps(found.model_dump(mode="json"), allow_nan=False)
    assert found.mean.mae == pytest.approx(np.abs(scores - labels).mean(), abs=1e-5)


def test_overall_is_what_the_verdict_weighs():
    assert with_overall(np.array([[4.0, 8.0, 1.0]]), FILTER)[0, -1] == pytest.approx(5.0)


def test_published_predictions_of_the_uplifting_student_give_the_known_figures(data_folder):
    content = json.loads((data_folder / "uplifting-v4-predictions.json").read_text())
    filter_ = load_filter("uplifting")
    order = [content["dimension_names"].index(name) for name in filter_.dimension_names]
    scores, labels = (np.array(content[key], float)[:, order] for key in ("predictions", "labels"))
    n = len(labels)
    rows = Predicted(
        "test", tuple(content["article_ids"]), scores, labels, constant_for(labels, filter_, n), np.arange(n)
    )
    found = judge(rows, filter_)
    assert found.mean.mae == pytest.approx(0.968, abs=5e-4)
    assert found.mean.mae_interval.low == pytest.approx(0.926, abs=0.004)
    assert found.mean.mae_interval.high == pytest.approx(1.010, abs=0.004)
    assert found.mean.constant_mae == pytest.approx(1.652, abs=5e-4)
    assert found.mean.skill == pytest.approx(0.41, abs=0.005)
    assert found.mean.spearman == pytest.approx(0.77, abs=0.005)
    positives = found.tiers.positives
    assert (positives.oracle, positives.recall, positives.precision) == (
        285,
        pytest.approx(0.667, abs=5e-4),
        pytest.approx(0.852, abs=5e-4),
    )
    assert found.tiers.accuracy == pytest.approx(0.793, abs=5e-4)
    assert found.tiers.majority == pytest.approx(0.575, abs=5e-4)
