import numpy as np
import pytest
from labels import news, rows_of, rows_with

from potstill.audit import labelled
from potstill.audit.redundancy import redundancy_of
from potstill.audit.repeats import repeats_of


class TestRepeats:
    def test_two_answers_that_differ_by_one_leave_a_floor_of_a_half(self):
        rows = rows_with([[[a, 4], [a + 1, 4]] for a in range(9)] * 2)
        found = repeats_of(rows)
        wind, rain = found.dimensions
        assert (wind.difference, rain.difference, found.mean_difference) == (1.0, 0.0, 0.5)
        # The floor is d / sqrt(2K) with K = 2.
        assert (wind.floor, found.mean_floor) == (0.5, 0.25)
        assert found.overall.difference == 0.5
        assert found.samples == 2

    def test_where_a_share_was_asked_twice_the_floor_is_that_of_all_labels(self):
        rows = rows_with([[[3, 3], [5, 3]]] * 5 + [[4, 4]] * 5)
        found = repeats_of(rows)
        assert (found.articles, found.rows, found.samples) == (5, 10, 1.5)
        assert found.dimensions[0].difference == 2.0
        assert found.dimensions[0].floor == pytest.approx(2.0 * (1 / np.sqrt(4) + 1 / np.sqrt(2)) / 2, abs=1e-6)

    def test_labels_that_are_all_noise_have_no_signal_and_sure_ones_have_it_all(self):
        rng = np.random.default_rng(0)
        noise = repeats_of(rows_with(np.clip(rng.normal(5, 1, (400, 2, 2)), 0, 10)))
        assert [each.signal for each in noise.dimensions] == [pytest.approx(0, abs=0.15)] * 2
        # Answers differ more than articles do, so the share of signal is 0 and not negative.
        worse = repeats_of(rows_with([[[0, 0], [9, 9]]] * 12 + [[[1, 1], [10, 10]]] * 12))
        assert [(each.signal, each.signal_interval.low) for each in worse.dimensions] == [(0.0, 0.0)] * 2
        sure = repeats_of(rows_with([[[a % 11, 1], [a % 11, 2]] for a in range(40)]))
        assert sure.dimensions[0].signal == 1.0

    def test_the_noise_that_was_put_in_is_the_noise_that_is_found(self):
        found = repeats_of(rows_of(300, noise=0.6))
        assert [each.noise_sd for each in found.dimensions] == [pytest.approx(0.6, abs=0.12)] * 2

    def test_without_a_second_answer_there_is_nothing_to_say(self):
        assert repeats_of(rows_with([[1, 2]] * 10)) is None

    def test_intervals_hold_the_figures(self):
        found = repeats_of(rows_of())
        for each in (*found.dimensions, found.overall):
            assert each.difference_interval.low <= each.difference <= each.difference_interval.high
            assert each.floor_interval.low <= each.floor <= each.floor_interval.high
            assert each.signal_interval.low <= each.signal <= each.signal_interval.high


@pytest.mark.parametrize(
    ("field", "filter_name", "difference", "effective"),
    [("front_page", "front-page", 0.387, 3.54), ("uplifting", "uplifting", 0.138, 2.93)],
)
def test_the_lee_oracle_repeats_itself_as_published(field, filter_name, difference, effective):
    from importlib.resources import files
    from pathlib import Path

    from potstill.audit import of_files
    from potstill.filters import load_filter

    labels = Path(str(files("potstill") / "builtin" / "lee-oracle.jsonl"))
    filter_, articles, oracles = of_files(labels, None, load_filter(filter_name), field=field)
    rows = labelled(articles, oracles, filter_)
    found = repeats_of(rows, resamples=200)
    assert found.mean_difference == pytest.approx(difference, abs=5e-4)
    assert found.mean_floor == pytest.approx(found.mean_difference / 2, abs=1e-6)
    ends = found.mean_difference_interval
    assert ends.low < found.mean_difference < ends.high
    redundancy = redundancy_of(rows.scores, filter_.dimension_names, rows.clusters, found, resamples=50)
    assert redundancy.effective == pytest.approx(effective, abs=0.005)


def test_rows_of_the_fixture_are_what_the_words_say():
    articles, answers = news(50, noise=0.0)
    hurricane = [answers[row["id"]].scores[0, 0] for row in articles.to_dicts() if "hurricane" in row["content"]]
    assert set(hurricane) == {8.0}
