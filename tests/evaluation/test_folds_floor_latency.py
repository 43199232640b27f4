import math

import numpy as np
import polars as pl
import pytest

from potstill.dataset import Examples
from potstill.evaluation.floor import floor_of
from potstill.evaluation.judging import out_of_fold_constant
from potstill.evaluation.latency import BATCH, FEWEST, SINGLES, WARM, measure
from potstill.filters import parse_filter

FILTER = parse_filter(
    """
name: one
version: 1
dimensions:
  harm: {weight: 1, description: How many are hurt}
tiers: [{name: any}]
""",
    "Score it.",
    "one",
)


def examples(n):
    frame = pl.DataFrame({"id": [f"a{i}" for i in range(n)], "text": [f"text {i}" for i in range(n)]})
    scores = np.linspace(0, 10, n)[:, None]
    return Examples(tuple(frame["id"]), frame, scores, np.arange(n), ("harm",))


def test_the_constant_of_a_fold_is_the_median_of_the_others():
    rows = examples(4)
    found = out_of_fold_constant(rows, np.array([0, 1, 1, 1]), FILTER)
    assert found[0].tolist() == pytest.approx([np.median(rows.scores[1:])] * 2)
    assert found[1:].tolist() == [[0.0, 0.0]] * 3


def test_two_answers_give_the_floor_of_their_mean():
    found = floor_of([np.array([[2.0], [3.0]]), np.array([[5.0], [5.0]])], ["harm"])
    assert found.difference == {"harm": 0.5}
    assert found.floor == {"harm": pytest.approx(0.5 / math.sqrt(4))}
    assert (found.articles, found.samples) == (2, 2.0)


def test_one_pass_says_nothing_of_the_floor():
    assert floor_of([np.array([[2.0]]), np.array([[7.0]])], ["harm"]) is None


def test_articles_asked_once_do_not_count():
    found = floor_of([np.array([[2.0], [4.0]]), np.array([[7.0]])], ["harm"])
    assert (found.articles, found.mean_difference) == (1, 2.0)


def test_three_answers_are_compared_pair_by_pair():
    found = floor_of([np.array([[0.0], [3.0], [3.0]])], ["harm"])
    assert found.mean_difference == 2.0
    assert found.mean_floor == pytest.approx(2 / math.sqrt(6), abs=1e-6)


def test_a_masked_answer_is_no_disagreement():
    found = floor_of([np.array([[1.0, 2.0], [2.0, np.nan], [1.0, 2.0]])], ["a", "b"])
    assert found.difference == {"a": pytest.approx(2 / 3, abs=1e-6), "b": 0.0}


def test_the_floor_of_simulated_noise_is_the_error_of_a_perfect_student():
    rng = np.random.default_rng(0)
    truth = rng.uniform(2, 8, 4000)
    answers = truth[:, None] + rng.normal(0, 0.5, (4000, 2))
    found = floor_of([row[:, None] for row in answers], ["harm"])
    assert found.mean_floor == pytest.approx(np.abs(answers.mean(axis=1) - truth).mean(), rel=0.05)


def test_latency_is_the_median_of_single_articles_and_the_pace_of_a_batch():
    now = 0.0
    calls = []

    def clock():
        return now

    def score(articles):
        nonlocal now
        calls.append(list(articles))
        now += 0.005 if len(articles) == 1 else 0.001 * len(articles)

    found = measure(score, range(500), clock=clock)
    assert found.milliseconds_p50 == pytest.approx(5)
    assert found.articles_per_second == pytest.approx(1000)
    assert found.articles == SINGLES + BATCH
    timed = [article for call in calls for article in call]
    assert len(set(timed)) == len(timed) == WARM + SINGLES + BATCH


def test_a_slow_model_is_timed_on_few_articles():
    now = 0.0

    def score(articles):
        nonlocal now
        now += 5.0 * len(articles)

    found = measure(score, range(500), clock=lambda: now)
    assert found.articles == 2 * FEWEST
    assert (found.milliseconds_p50, found.articles_per_second) == (5000.0, 0.2)


def test_nothing_to_score_has_no_latency():
    assert measure(len, []) is None
