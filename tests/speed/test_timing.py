import pytest

from potstill.speed.timing import interleaved, percentile


def test_everything_runs_once_for_warmth_and_then_in_every_round():
    done = []
    ticks = iter(range(1000))
    work = {name: lambda name=name: done.append(name) for name in "abc"}
    seconds = interleaved(work, 4, clock=lambda: float(next(ticks)))
    assert done[:3] == ["a", "b", "c"]
    rounds = [done[start : start + 3] for start in range(3, 15, 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1
    assert seconds == {name: [1.0] * 4 for name in "abc"}


@pytest.mark.parametrize(("share", "value"), [(0.5, 5.0), (0.95, 10.0), (0.9, 9.0), (0.99, 10.0)])
def test_a_percentile_is_a_value_that_was_measured(share, value):
    assert percentile([float(n) for n in range(1, 11)], share) == value
