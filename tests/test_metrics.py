import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from potstill import metrics

NAN = float("nan")

halves = st.integers(0, 20).map(lambda n: n / 2)


@st.composite
def two_columns(draw, least=3, most=30):
    """Predicted and labelled scores on a grid of halves, so that ties are common."""
    n = draw(st.integers(least, most))
    return draw(arrays(np.float64, (2, n, 2), elements=halves))


def column(*values):
    return np.array(values, dtype=float)[:, None]


class TestErrors:
    def test_errors_of_three_articles_judged_by_hand(self):
        predicted, y = column(1, 5, 9), column(2, 5, 6)
        assert metrics.mae(predicted, y).tolist() == [4 / 3]
        assert metrics.rmse(predicted, y).tolist() == [np.sqrt(10 / 3)]
        assert metrics.bias(predicted, y).tolist() == [2 / 3]

    def test_a_masked_label_counts_for_nothing_whatever_was_predicted_there(self):
        predicted, y = column(1, 5, 9, NAN), column(2, 5, NAN, NAN)
        assert metrics.mae(predicted, y).tolist() == [0.5]
        assert metrics.bias(predicted, y).tolist() == [-0.5]
        assert metrics.constant(y).tolist() == [3.5]

    def test_a_dimension_without_labels_is_nan_and_not_0(self):
        predicted, y = np.ones((3, 1)), np.full((3, 1), NAN)
        for metric in (metrics.mae, metrics.rmse, metrics.bias, metrics.r2, metrics.spearman, metrics.kendall):
            assert np.isnan(metric(predicted, y)).all()
        assert np.isnan(metrics.constant(y)).all()

    def test_a_missing_prediction_for_a_known_label_is_never_passed_over(self):
        predicted, y = column(1, NAN, 3), column(1, 2, 3)
        for metric in (metrics.mae, metrics.rmse, metrics.bias, metrics.r2, metrics.spearman, metrics.kendall):
            assert np.isnan(metric(predicted, y)).all()

    def test_the_constant_is_the_median_and_no_other_constant_errs_less(self):
        y = column(0, 0, 1, 9, 10)
        best = metrics.mae(np.broadcast_to(metrics.constant(y), y.shape), y)[0]
        assert metrics.constant(y).tolist() == [1]
        assert all(best <= metrics.mae(np.full_like(y, c), y)[0] for c in np.arange(0, 10.5, 0.5))

    def test_skill_is_0_for_the_constant_1_for_perfect_and_below_0_for_worse(self):
        assert metrics.skill([1.6, 0.0, 3.2, 0.97], [1.6, 1.6, 1.6, 1.65]).round(2).tolist() == [0, 1, -1, 0.41]

    def test_where_the_constant_is_perfect_skill_is_undefined(self):
        assert np.isnan(metrics.skill([0.0, 1.0], [0.0, 0.0])).all()

    def test_labels_that_do_not_vary_have_no_r2_and_no_rank_correlation(self):
        predicted, y = column(1, 2, 3), column(4, 4, 4)
        for metric in (metrics.r2, metrics.spearman, metrics.kendall):
            assert np.isnan(metric(predicted, y)).all()
        assert np.isnan(metrics.spearman(y, predicted)).all()

    @given(two_columns())
    def test_errors_equal_those_of_scikit_learn(self, pair):
        sk = pytest.importorskip("sklearn.metrics")
        predicted, y = pair
        assert metrics.mae(predicted, y) == pytest.approx(
            sk.mean_absolute_error(y, predicted, multioutput="raw_values")
        )
        assert metrics.rmse(predicted, y) == pytest.approx(
            sk.root_mean_squared_error(y, predicted, multioutput="raw_values")
        )
        assume((y.std(axis=0) > 0).all())
        assert metrics.r2(predicted, y) == pytest.approx(sk.r2_score(y, predicted, multioutput="raw_values"))

    @given(two_columns())
    def test_rank_correlations_equal_those_of_scipy_ties_and_all(self, pair):
        stats = pytest.importorskip("scipy.stats")
        predicted, y = pair
        assume((y.std(axis=0) > 0).all() and (predicted.std(axis=0) > 0).all())
        for d in range(2):
            assert metrics.spearman(predicted, y)[d] == pytest.approx(stats.spearmanr(predicted[:, d], y[:, d])[0])
            assert metrics.kendall(predicted, y)[d] == pytest.approx(stats.kendalltau(predicted[:, d], y[:, d])[0])

    def test_kendall_of_many_rows_equals_scipys(self):
        stats = pytest.importorskip("scipy.stats")
        rng = np.random.default_rng(0)
        y = rng.normal(size=(5000, 1))
        predicted = y + rng.normal(size=(5000, 1))
        assert metrics.kendall(predicted, y)[0] == pytest.approx(stats.kendalltau(predicted[:, 0], y[:, 0])[0])

    @given(two_columns(), st.integers(0, 2**31))
    def test_the_order_of_rows_changes_nothing(self, pair, seed):
        predicted, y = pair
        order = np.random.default_rng(seed).permutation(len(y))
        for metric in (metrics.mae, metrics.rmse, metrics.bias, metrics.r2, metrics.spearman, metrics.kendall):
            assert metric(predicted[order], y[order]) == pytest.approx(metric(predicted, y), nan_ok=True)

    @given(two_columns())
    def test_masking_rows_equals_leaving_them_out(self, pair):
        predicted, y = pair
        masked = np.vstack([y, np.full_like(y, NAN)])
        doubled = np.vstack([predicted, predicted + 1])
        for metric in (metrics.mae, metrics.rmse, metrics.bias, metrics.r2, metrics.spearman, metrics.kendall):
            assert metric(doubled, masked) == pytest.approx(metric(predicted, y), nan_ok=True)

    def test_averages_leave_undefined_dimensions_out(self):
        assert metrics.average([1.0, NAN, 3.0]) == 2
        assert np.isnan(metrics.average([NAN]))


class TestWeighted:
    def test_the_weighted_mean_of_a_row(self):
        assert metrics.weighted(np.array([[10.0, 0.0], [4.0, 8.0]]), [0.75, 0.25]).tolist() == [7.5, 5]

    @pytest.mark.parametrize("missing", [NAN, float("inf")])
    def test_a_missing_score_leaves_the_row_without_an_overall_even_at_weight_0(self, missing):
        assert np.isnan(metrics.weighted(np.array([[10.0, missing]]), [1.0, 0.0])).all()


class TestFloor:
    def test_the_repeat_difference_of_two_passes(self):
        a, b = column(3, 5, NAN, 7), column(4, 5, 2, NAN)
        assert metrics.repeat_difference(a, b).tolist() == [0.5]

    def test_a_difference_of_0_387_leaves_a_floor_of_0_193_to_means_of_two(self):
        assert float(metrics.floor(0.387, 2)) == pytest.approx(0.1935)

    def test_it_is_the_error_of_a_perfect_student_against_noisy_means(self):
        rng = np.random.default_rng(0)
        truth = rng.uniform(2, 8, (200_000, 1))
        passes = truth[None] + rng.normal(0, 0.7, (3, *truth.shape))
        expected = metrics.floor(metrics.repeat_difference(passes[0], passes[1]), 3)
        assert metrics.mae(truth, passes.mean(axis=0))[0] == pytest.approx(expected[0], rel=0.01)


class TestTiers:
    names = ("impact", "connection", "none")
    y = ("impact", "impact", "none", "none", "connection")
    predicted = ("impact", "none", "none", "none", "none")

    def table(self):
        return metrics.confusion(self.y, self.predicted, self.names)

    def test_rows_are_the_oracles_tiers_and_columns_the_students(self):
        assert self.table().tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 2]]

    def test_agreement_recall_and_precision_by_hand(self):
        assert metrics.accuracy(self.table()) == 0.6
        assert metrics.recall(self.table()).tolist() == [0.5, 0, 1]
        assert metrics.precision(self.table())[[0, 2]].tolist() == [1, 0.5]
        assert np.isnan(metrics.precision(self.table())[1])

    def test_a_tier_that_nobody_knows_is_refused(self):
        with pytest.raises(ValueError, match="unknown tier 'unscored'; known: impact"):
            metrics.confusion(["unscored"], ["impact"], ["impact"])

    def test_without_rows_nothing_is_said(self):
        empty = metrics.confusion([], [], self.names)
        assert np.isnan(metrics.accuracy(empty))
        assert np.isnan(metrics.kappa(empty))

    def test_kappa_is_undefined_where_chance_agrees_always(self):
        assert np.isnan(metrics.kappa(metrics.confusion(["none"] * 3, ["none"] * 3, self.names)))

    @given(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), min_size=1, max_size=40))
    def test_tables_and_kappa_equal_those_of_scikit_learn(self, rows):
        sk = pytest.importorskip("sklearn.metrics")
        y, predicted = zip(*rows, strict=True)
        table = metrics.confusion(y, predicted, self.names)
        assert table.tolist() == sk.confusion_matrix(y, predicted, labels=self.names).tolist()
        assume(len({*y, *predicted}) > 1)
        assert metrics.kappa(table) == pytest.approx(sk.cohen_kappa_score(y, predicted))


class TestPositives:
    def some(self, actual, predicted, found):
        y = np.r_[np.ones(actual), np.zeros(100)].astype(bool)
        guess = np.r_[np.ones(found), np.zeros(actual - found), np.ones(predicted - found)].astype(bool)
        return metrics.positives(y, np.r_[guess, np.zeros(len(y) - len(guess), dtype=bool)])

    @pytest.mark.threshold(name="FEWEST_POSITIVES")
    @pytest.mark.parametrize(("actual", "recall", "precision"), [(19, None, None), (20, 0.75, 0.6), (21, 15 / 21, 0.6)])
    def test_a_recall_needs_20_positives_and_fewer_are_only_counted(self, actual, recall, precision):
        found = self.some(actual, 25, 15)
        assert (found.actual, found.predicted, found.found) == (actual, 25, 15)
        assert (found.recall, found.precision) == (recall, precision)

    @pytest.mark.threshold(name="FEWEST_POSITIVES")
    @pytest.mark.parametrize(("predicted", "precision"), [(19, None), (20, 0.75), (21, 15 / 21)])
    def test_a_precision_needs_20_predicted_positives_too(self, predicted, precision):
        found = self.some(40, predicted, 15)
        assert (found.recall, found.precision) == (0.375, precision)

    def test_the_interval_of_recall_lies_around_it(self):
        rng = np.random.default_rng(0)
        y = rng.random(1000) < 0.3
        predicted = y & (rng.random(1000) < 0.7)
        recall, precision = metrics.positive_intervals(y, predicted, np.arange(1000))
        assert recall.low[0] < 0.7 < recall.high[0]
        assert recall.high[0] - recall.low[0] == pytest.approx(2 * 1.96 * np.sqrt(0.21 / 300), rel=0.15)
        assert precision.low[0] == precision.high[0] == 1


class TestBandBias:
    def test_each_band_of_labels_has_its_own_bias(self):
        y, predicted = column(0, 1, 5, 9, 10), column(2, 2, 5, 6, 7)
        bands = metrics.band_bias(predicted, y, [0, 3, 7, 10])
        assert bands.counts.tolist() == [[2], [1], [2]]
        assert bands.bias.tolist() == [[1.5], [0], [-3]]

    def test_bands_can_be_of_predictions_instead(self):
        y, predicted = column(0, 1, 5, 9, 10), column(2, 2, 5, 6, 7)
        bands = metrics.band_bias(predicted, y, [0, 3, 7, 10], by=predicted)
        assert bands.counts.tolist() == [[2], [2], [1]]

    def test_masked_labels_and_empty_bands_say_nothing(self):
        bands = metrics.band_bias(column(1, 2), column(1, NAN), [0, 5, 10])
        assert bands.counts.tolist() == [[1], [0]]
        assert np.isnan(bands.bias[1, 0])

    def test_a_band_holds_its_lower_edge(self):
        assert metrics.band_bias(column(5), column(5), [0, 5, 10]).counts.tolist() == [[0], [1]]

    @given(two_columns())
    def test_bands_add_up_to_the_bias_of_all(self, pair):
        predicted, y = pair
        bands = metrics.band_bias(predicted, y, [0, 2.5, 5, 7.5, 10])
        total = np.nansum(bands.bias * bands.counts, axis=0) / len(y)
        assert total == pytest.approx(metrics.bias(predicted, y))


class TestBootstrap:
    def test_the_interval_of_a_mean_has_the_textbook_width(self):
        values = np.random.default_rng(0).normal(5, 2, (400, 1))
        interval = metrics.bootstrap_mean(values, np.arange(400), n=4000)
        half = 1.96 * values.std() / 20
        assert interval.low[0] == pytest.approx(values.mean() - half, abs=0.03)
        assert interval.high[0] == pytest.approx(values.mean() + half, abs=0.03)

    def test_a_hundred_copies_of_ten_articles_are_no_more_evidence_than_ten(self):
        ten = np.random.default_rng(0).normal(5, 2, (10, 1))
        copied, clusters = np.repeat(ten, 100, axis=0), np.repeat(np.arange(10), 100)
        few = metrics.bootstrap_mean(ten, np.arange(10), seed=1)
        many = metrics.bootstrap_mean(copied, clusters, seed=1)
        assert many.low == pytest.approx(few.low)
        assert many.high == pytest.approx(few.high)

    def test_both_ways_of_drawing_agree_on_a_mean(self):
        values = np.random.default_rng(0).normal(5, 2, (200, 2))
        clusters = np.random.default_rng(1).integers(0, 60, 200)
        fast = metrics.bootstrap_mean(values, clusters, n=3000)
        slow = metrics.bootstrap(clusters, lambda rows: values[rows].mean(axis=0), n=3000)
        assert fast.low == pytest.approx(slow.low, abs=0.05)
        assert fast.high == pytest.approx(slow.high, abs=0.05)

    def test_the_same_seed_gives_the_same_interval_and_another_another(self):
        values, clusters = np.random.default_rng(0).normal(size=(50, 1)), np.arange(50)
        assert metrics.bootstrap_mean(values, clusters, seed=3) == metrics.bootstrap_mean(values, clusters, seed=3)
        assert metrics.bootstrap_mean(values, clusters, seed=3) != metrics.bootstrap_mean(values, clusters, seed=4)

    def test_masked_values_count_for_nothing(self):
        values = np.array([[1.0, NAN], [3.0, NAN]] * 20)
        interval = metrics.bootstrap_mean(values, np.arange(40))
        assert 1 < interval.low[0] < 2 < interval.high[0] < 3
        assert np.isnan(interval.low[1])

    def test_draws_without_a_denominator_are_left_out(self):
        positive = np.r_[1.0, np.zeros(9)][:, None]
        interval = metrics.bootstrap_ratio(positive, positive, np.arange(10))
        assert interval.low[0] == interval.high[0] == 1

    def test_many_small_blocks_of_draws_are_the_draws_of_one_large_block(self, monkeypatch):
        values = np.random.default_rng(0).normal(5, 2, (100, 1))
        whole = metrics.bootstrap_mean(values, np.arange(100))
        monkeypatch.setattr(metrics, "BLOCK", 250)
        blocks = metrics.bootstrap_mean(values, np.arange(100))
        assert blocks.low == pytest.approx(whole.low)
        assert blocks.high == pytest.approx(whole.high)

    def test_a_statistic_may_be_a_single_number(self):
        values = np.arange(30.0)
        interval = metrics.bootstrap(np.arange(30), lambda rows: np.median(values[rows]), n=200)
        assert interval.low < 14.5 < interval.high

    @settings(deadline=None, max_examples=20)
    @given(seed=st.integers(0, 1000))
    def test_95_of_100_intervals_hold_the_true_mean(self, seed):
        rng = np.random.default_rng(seed)
        held = 0
        for trial in range(100):
            shared = rng.normal(0, 1, 60)[np.repeat(np.arange(60), 2)]
            values = (shared + rng.normal(0, 0.5, 120))[:, None]
            low, high = metrics.bootstrap_mean(values, np.repeat(np.arange(60), 2), n=200, seed=trial)
            held += bool(low[0] <= 0 <= high[0])
        # The expected share is 93.5% for 60 clusters and 200 draws; fewer than 84 has a probability of 1 in 10,000.
        assert held >= 84


class TestCompare:
    def some(self, gain, seed=0):
        rng = np.random.default_rng(seed)
        others = np.abs(rng.normal(0, 1, (300, 4)))
        return others - gain + rng.normal(0, 0.3, (300, 4)), others

    def test_a_clear_gain_has_an_interval_below_0_and_a_small_p(self):
        found = metrics.compare(*self.some(0.2), np.arange(300))
        assert found.difference == pytest.approx(-0.2, abs=0.03)
        assert found.low < found.difference < found.high < 0
        assert found.p == pytest.approx(2 / 10_001)

    def test_no_gain_has_an_interval_around_0(self):
        found = metrics.compare(*self.some(0.0), np.arange(300))
        assert found.low < 0 < found.high
        assert found.p > 0.05

    def test_turned_round_it_says_the_opposite(self):
        a, b = self.some(0.01)
        one, other = metrics.compare(a, b, np.arange(300)), metrics.compare(b, a, np.arange(300))
        assert (one.difference, one.low, one.high) == pytest.approx((-other.difference, -other.high, -other.low))
        assert one.p == other.p

    def test_the_same_errors_differ_by_nothing(self):
        _, errors = self.some(0.0)
        found = metrics.compare(errors, errors, np.arange(300))
        assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)

    def test_masked_dimensions_and_rows_are_left_out(self):
        errors = np.array([[1.0, NAN], [NAN, NAN], [2.0, 3.0]])
        found = metrics.compare(errors, errors + 1, np.arange(3))
        assert found.difference == -1

    def test_copies_are_not_taken_for_evidence(self):
        rng = np.random.default_rng(0)
        gap = rng.normal(0.3, 1, 12)
        alone = metrics.compare(gap, np.zeros(12), np.arange(12))
        copied = metrics.compare(np.repeat(gap, 50), np.zeros(600), np.repeat(np.arange(12), 50))
        assert copied.p == pytest.approx(alone.p)

    def test_rows_that_do_not_match_are_refused(self):
        with pytest.raises(ValueError, match=r"shapes \(3, 1\) and \(2, 1\)"):
            metrics.compare(np.ones((3, 1)), np.ones((2, 1)), np.arange(3))
        with pytest.raises(ValueError, match="no row has an error on both sides"):
            metrics.compare(np.full(3, NAN), np.ones(3), np.arange(3))


class TestProportions:
    def test_the_published_example_of_ten_in_ten(self):
        # If all n are found, the lower end is (tail)^(1/n).
        low, high = metrics.exact_interval(10, 10)
        assert (low, high) == (pytest.approx(0.025 ** (1 / 10)), 1.0)

    def test_none_in_sixty_leaves_room_for_six_per_cent(self):
        low, high = metrics.exact_interval(0, 60)
        assert (low, high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 60)))

    def test_three_in_fifty_as_the_beta_distribution_gives_it(self):
        assert metrics.exact_interval(3, 50) == (pytest.approx(0.0125486, abs=1e-6), pytest.approx(0.1654819, abs=1e-6))

    def test_without_trials_anything_may_be(self):
        assert metrics.exact_interval(0, 0) == (0.0, 1.0)

    def test_more_found_than_looked_at_is_refused(self):
        with pytest.raises(ValueError, match="5 of 3"):
            metrics.exact_interval(5, 3)


def test_three_answers_make_three_pairs_and_a_missing_one_makes_fewer():
    answers = np.array([[1.0, 2.0], [2.0, np.nan], [4.0, 5.0]])
    assert metrics.pairwise_difference(answers).tolist() == [2.0, 3.0]
    assert np.isnan(metrics.pairwise_difference(answers[:1])).all()
