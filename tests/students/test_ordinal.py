import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.errors import BundleError
from potstill.students.heads import LinearHead, from_arrays
from potstill.students.levels import Levels
from potstill.students.ordinal import LINKS, OrdinalHead, decoded, kind_of, shares, start_of

LEVELS = Levels.of(np.array([[0.0, 1.0], [5.0, 2.0], [10.0, 1.0]]))
LABELS = np.array([[0.0, 1.0]] * 6 + [[5.0, 2.0]] * 3 + [[10.0, np.nan]])


def head(link, decode="median"):
    random = np.random.default_rng(0)
    return OrdinalHead(LinearHead(random.normal(size=(4, 3)), random.normal(size=3)), LEVELS, link, decode)


def starts(link):
    """Return the outputs for the frequencies of `LABELS`; students with the link `ordinal` are read, not trained."""
    if link == "ordinal":
        likely = np.array([6.5 / 11.5, 10 / 11.5, 6.5 / 10])
        return np.log(likely / (1 - likely))
    return start_of(LABELS, LEVELS, link)


@pytest.mark.parametrize("link", LINKS)
class TestEachLink:
    def test_outputs_that_say_the_frequencies_of_the_labels(self, link):
        start = starts(link)[None]

        # Each level has half an additional answer: 6.5 of 11.5, 10 of 11.5; and 6.5 of 10.
        assert shares(start, LEVELS, link)[0] == pytest.approx([6.5 / 11.5, 10 / 11.5, 6.5 / 10])
        assert decoded(start, LEVELS, link, "median")[0].tolist() == [0.0, 1.0]
        assert decoded(start, LEVELS, link, "mean")[0, 0] == pytest.approx((5 * 3.5 + 10 * 1.5) / 11.5)

    @given(outputs=st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3))
    def test_any_outputs_are_scores_on_the_scale(self, link, outputs):
        for decode in ("median", "mean"):
            first, second = decoded(np.array([outputs]), LEVELS, link, decode)[0]
            assert -1e-9 <= first <= 10 + 1e-9
            assert 1 - 1e-9 <= second <= 2 + 1e-9

    @pytest.mark.parametrize("decode", ["median", "mean"])
    def test_a_head_comes_back_from_its_arrays(self, link, decode):
        made = head(link, decode)
        features = np.random.default_rng(1).normal(size=(5, 4))

        back = from_arrays(made.kind, made.arrays())

        assert (back.link, back.decode, back.width, back.outputs) == (link, decode, 4, 2)
        assert back.predict(features).tolist() == made.predict(features).tolist()


def test_probabilities_of_corn_and_of_a_distribution_rise_whatever_the_outputs():
    outputs = np.random.default_rng(2).normal(scale=5, size=(50, 3))
    for link in ("corn", "distribution"):
        likely = shares(outputs, LEVELS, link)[:, :2]
        assert (np.diff(likely, axis=1) >= 0).all()


def test_a_kind_that_is_no_link_is_none():
    assert kind_of("corn-mean") == ("corn", "mean")
    assert kind_of("corn-mode") is None
    assert kind_of("median-linear") is None


def test_levels_that_do_not_fit_the_outputs_are_refused():
    arrays = head("corn").arrays() | {"levels": np.array([0.0, 5.0]), "level_counts": np.array([2])}

    with pytest.raises(BundleError, match=r"levels: \[2\] of them do not fit 3 outputs"):
        from_arrays("corn-median", arrays)


def test_a_head_without_levels_is_refused():
    made = head("ordinal")

    with pytest.raises(BundleError, match="head: a ordinal-median head has finite levels"):
        from_arrays(made.kind, made.base.arrays())
