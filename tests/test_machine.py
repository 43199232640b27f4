"""Tests that times measured on a busy machine are detected."""

import pytest

from potstill.machine import MARK, Load, Watch, marked, remark


def watched(before, after, *, own=0.0, cores=2):
    """Return the load of some work that started and ended with these load averages."""
    averages = iter([before, after])
    return Watch(average=lambda: next(averages), own=lambda: own, cores=cores).load()


@pytest.mark.parametrize(
    ("before", "after", "own", "heavy"),
    [
        (0.1, 0.4, 0.0, False),
        (2.0, 2.0, 0.0, False),  # as many processes as cores, so each has its own core
        (2.1, 0.3, 0.0, True),  # other processes were still running when it started
        (0.3, 2.1, 0.0, True),
        (11.4, 9.0, 1.5, True),
        (2.1, 2.2, 2.0, False),  # all of the load is its own
        (2.6, 2.7, 2.0, True),
        (None, None, 0.0, False),
    ],
)
def test_a_load_above_the_cores_that_others_make_is_heavy(before, after, own, heavy):
    found = watched(before, after, own=own)
    assert found.heavy is heavy
    assert found.average == (None if before is None else max(before, after))


def test_the_time_of_the_processor_stands_beside_that_of_the_clock():
    watch = Watch()
    total = sum(number * number for number in range(300_000))
    found = watch.load()
    assert total
    assert found.processor_seconds > 0
    assert found.wall_seconds > 0


def test_this_processs_own_part_rises_while_it_works_and_falls_while_it_waits(monkeypatch):
    from potstill import machine as load

    now = {"wall": 0.0, "used": 0.0}
    monkeypatch.setattr(load.time, "monotonic", lambda: now["wall"])
    monkeypatch.setattr(load.time, "process_time", lambda: now["used"])
    own = load._OwnPart()
    now.update(wall=600.0, used=1200.0)  # ten minutes on two cores
    assert own.now() == pytest.approx(2.0, abs=0.01)
    now.update(wall=660.0)
    assert own.now() == pytest.approx(2.0 / 2.718, abs=0.01)


def test_heavy_times_are_marked_and_explained():
    heavy, light = watched(11.4, 3.0), watched(0.5, 0.5)
    assert [marked("3.5", one) for one in (heavy, light, None)] == [f"{MARK}3.5", "3.5", "3.5"]
    assert remark([light, None]) == []
    assert remark([light, heavy, watched(5.0, 5.0)]) == [
        "~ measured under load (11.4 on 2 cores): other processes affected this time; measure again on an idle machine"
    ]


def test_a_load_is_the_same_when_it_is_read_back():
    found = watched(3.0, 4.0)
    assert Load.model_validate_json(found.model_dump_json()) == found


@pytest.mark.threshold(name="OTHERS_LOAD")
@pytest.mark.parametrize(("own", "heavy"), [(3.51, False), (3.5, False), (3.49, True)])
def test_a_machine_is_busy_if_others_use_more_than_half_a_core(own, heavy):
    assert watched(4.0, 4.0, own=own).heavy is heavy
