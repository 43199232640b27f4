import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.evaluation.judging import Predicted
from potstill.evaluation.slices import benjamini_hochberg, slices_of


def predicted(errors, clusters=None):
    """Return predictions of one dimension with labels of 5, so that each row's error is known."""
    n = len(errors)
    return Predicted(
        source="test",
        ids=tuple(map(str, range(n))),
        scores=5 + np.asarray(errors, float)[:, None],
        labels=np.full((n, 1), 5.0),
        constant=np.full((n, 2), 7.0),
        clusters=np.arange(n) if clusters is None else clusters,
    )


def noise(n, seed=0):
    return np.abs(np.random.default_rng(seed).normal(1, 0.3, n))


def test_a_bad_source_comes_first_and_is_sure():
    errors = noise(120)
    errors[:30] += 2
    worst, *others = slices_of(predicted(errors), pl.DataFrame({"source": ["herald"] * 30 + ["times", "post"] * 45}))
    assert (worst.by, worst.value, worst.rows) == ("source", "herald", 30)
    assert worst.difference == pytest.approx(errors[:30].mean() - errors[30:].mean(), abs=1e-6)
    assert worst.p_adjusted < 1e-6
    assert worst.skill == pytest.approx(1 - errors[:30].mean() / 2, abs=1e-6)
    assert [one.value for one in others] == sorted(["post", "times"], key=lambda v: -next(
        one.mae for one in others if one.value == v))  # fmt: skip


def test_looking_at_twenty_slices_of_noise_finds_nothing():
    found = slices_of(predicted(noise(800, seed=3)), pl.DataFrame({"source": [f"s{i % 20}" for i in range(800)]}))
    assert len(found) == 20
    assert min(one.p for one in found) < 0.1 < min(one.p_adjusted for one in found)


def test_copies_of_an_article_are_no_further_evidence():
    errors = np.repeat(noise(60), 10)
    errors[:200] += 0.15
    facts = pl.DataFrame({"source": ["a"] * 200 + ["b"] * 400})
    apart = slices_of(predicted(errors), facts)[0]
    together = slices_of(predicted(errors, np.repeat(np.arange(60), 10)), facts)[0]
    assert together.difference == apart.difference
    assert together.p > apart.p
    assert together.clusters == 20


def test_length_truncation_and_date_make_slices():
    facts = pl.DataFrame(
        {"text": ["x" * i for i in range(90)], "cut": [i % 2 == 0 for i in range(90)],
         "published": [f"{2020 + i // 45}-01-02" for i in range(90)]}
    )  # fmt: skip
    found = {(one.by, one.value): one.rows for one in slices_of(predicted(noise(90)), facts)}
    assert found["truncation", "cut"] == found["truncation", "whole"] == 45
    assert found["published", "2020"] == 45
    assert sum(rows for (by, _), rows in found.items() if by == "length") == 90


def test_adjusted_p_values_are_those_of_the_textbook():
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])


@given(st.lists(st.floats(0, 1), max_size=20))
def test_adjusting_never_lowers_a_p_value_nor_changes_their_order(p):
    adjusted = benjamini_hochberg(p)
    assert all(a >= b - 1e-12 for a, b in zip(adjusted, p, strict=True))
    assert sorted(adjusted) == pytest.approx([adjusted[i] for i in np.argsort(p)])


def test_years_are_read_from_any_certain_time_and_no_other():
    published = (
        ["June 1, 2021 9:41 PM"] * 30 + ["1622583660"] * 10 + ["2022-03-01"] * 40 + ["01/02/2021", "16225", None] * 20
    )
    facts = pl.DataFrame({"published": published})
    found = {one.value: one.rows for one in slices_of(predicted(noise(len(published))), facts)}
    assert found == {"2021": 40, "2022": 40}


@pytest.mark.threshold(name="FEWEST_CLUSTERS_IN_SLICE")
@pytest.mark.parametrize(("clusters", "found"), [(19, []), (20, ["a", "b"]), (21, ["a", "b"])])
def test_a_slice_needs_20_clusters_inside_and_outside(clusters, found):
    slices = slices_of(predicted(noise(clusters + 80)), pl.DataFrame({"source": ["a"] * clusters + ["b"] * 80}))
    assert sorted(one.value for one in slices) == found
