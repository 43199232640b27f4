import gzip
import json

import numpy as np
import polars as pl
import pytest

from potstill.audit.agreement import compare, side_by_side
from potstill.filters import load_filter, parse_filter
from potstill.verdict import cap_hits

WEATHER = parse_filter(
    """
name: weather
version: 1
dimensions:
  wind: {weight: 0.5, description: How strong}
  rain: {weight: 0.5, description: How wet}
caps:
  - {any: [forecast], cap: 1.0, reason: has not happened}
tiers:
  - {name: storm, when: overall >= 6, positive: true}
  - {name: calm}
""",
    "Judge the weather.",
    "weather",
)


def rows(*scores):
    return np.array(scores, dtype=np.float64)


class TestTwoOracles:
    def test_the_more_generous_one_has_a_bias_above_nothing(self):
        kind, strict = rows([4, 6], [8, 6], [7, 9]), rows([3, 6], [6, 6], [4, 9])
        pair = compare(("kind", kind), ("strict", strict), WEATHER, np.arange(3))
        wind, rain = pair.dimensions
        assert (wind.difference, wind.bias) == (2.0, 2.0)
        assert (rain.difference, rain.bias) == (0.0, 0.0)
        assert (pair.mean_difference, pair.mean_bias) == (1.0, 1.0)
        assert pair.overall.bias == 1.0

    def test_differences_that_cancel_are_no_bias(self):
        pair = compare(("a", rows([5, 5], [3, 3])), ("b", rows([3, 3], [5, 5])), WEATHER, np.arange(2))
        assert (pair.mean_difference, pair.mean_bias) == (2.0, 0.0)

    def test_tiers_are_those_that_the_filter_would_give_each(self):
        pair = compare(("a", rows([7, 7], [6, 6], [1, 1])), ("b", rows([7, 7], [5, 6], [1, 1])), WEATHER, np.arange(3))
        assert pair.tiers.confusion == ((1, 1), (0, 1))
        assert (pair.tiers.positive_first, pair.tiers.positive_second, pair.tiers.positive_both) == (2, 1, 1)
        assert pair.tiers.same == pytest.approx(2 / 3, abs=1e-6)

    def test_caps_count_where_texts_are_known(self):
        hits = cap_hits(["a forecast of rain", "rain", "rain"], WEATHER)
        same = rows([7, 7], [7, 7], [1, 1])
        pair = side_by_side({"a": same, "b": same}, WEATHER, cap_hits=hits)[0]
        assert pair.tiers.positive_both == 1

    def test_a_masked_dimension_counts_for_nothing_and_gives_no_tier(self):
        pair = compare(("a", rows([7, np.nan], [6, 6])), ("b", rows([5, 2], [6, 6])), WEATHER, np.arange(2))
        assert [each.rows for each in pair.dimensions] == [2, 1]
        assert pair.mean_difference == pytest.approx((1.0 + 0.0) / 2)
        assert pair.tiers.rows == 1

    def test_copies_of_an_article_are_no_further_evidence(self):
        rng = np.random.default_rng(0)
        a, b = rng.uniform(0, 10, (20, 2)), rng.uniform(0, 10, (20, 2))
        once = compare(("a", a), ("b", b), WEATHER, np.arange(20))
        five = compare(("a", np.tile(a, (5, 1))), ("b", np.tile(b, (5, 1))), WEATHER, np.tile(np.arange(20), 5))
        width = once.mean_difference_interval.high - once.mean_difference_interval.low
        assert five.mean_difference == once.mean_difference
        assert five.mean_difference_interval.high - five.mean_difference_interval.low == pytest.approx(width, rel=0.05)


class TestSeveralOracles:
    def test_oracles_are_compared_on_what_both_have_scored(self):
        a, b, c = np.full((4, 2), np.nan), np.full((4, 2), np.nan), np.full((4, 2), np.nan)
        a[:3], b[1:], c[0] = 5, 7, 1
        pairs = side_by_side({"a": a, "b": b, "c": c}, WEATHER)
        assert [(p.first, p.second, p.rows, p.mean_difference) for p in pairs] == [
            ("a", "b", 2, 2.0),
            ("a", "c", 1, 4.0),
        ]

    def test_the_published_oracles_of_uplifting_pair_up_and_claude_is_1_32_from_gemini_flash(self, data_folder):
        uplifting = load_filter("uplifting")
        with gzip.open(data_folder / "uplifting-multi-oracle.jsonl.gz") as stream:
            found = [json.loads(line)["oracles"] for line in stream]
        scores = {
            name: np.array(
                [[row.get(name, {}).get(d, np.nan) for d in uplifting.dimension_names] for row in found], dtype=float
            )
            for name in ("claude", "gemini-flash", "gemini", "gemini-pro", "gemini-v1", "gemini-pro-v1")
        }
        pairs = {(p.first, p.second): p for p in side_by_side(scores, uplifting)}
        assert {names: pair.rows for names, pair in pairs.items()} == {
            ("claude", "gemini-flash"): 93,
            ("gemini", "gemini-pro"): 92,
            ("gemini-v1", "gemini-pro-v1"): 184,
        }
        assert pairs["claude", "gemini-flash"].mean_difference == pytest.approx(1.32, abs=0.005)


def test_a_filter_of_one_tier_has_no_tiers_to_compare():
    single = WEATHER.model_copy(update={"tiers": (WEATHER.tiers[-1],)})
    assert compare(("a", rows([1, 2])), ("b", rows([1, 2])), single, np.arange(1)).tiers is None


def test_cap_hits_follow_the_rows_that_are_shared():
    hits = pl.DataFrame({"cap_0": [True, False]})
    a, b = rows([np.nan, np.nan], [7, 7]), rows([7, 7], [7, 7])
    assert side_by_side({"a": a, "b": b}, WEATHER, cap_hits=hits)[0].tiers.positive_both == 1
