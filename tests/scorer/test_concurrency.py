import os
import threading

import pytest

from potstill.errors import Unavailable
from potstill.scorer.concurrency import ahead, in_processes


def doubled(base, item):
    if item == "broken":
        raise ValueError("broken item")
    return base + 2 * item


def hundred():
    return 100


def no_start():
    raise KeyError("nothing to start with")


def ended(base, item):
    os._exit(9)


def whereabouts(base, item):
    return os.getpid()


def test_items_come_out_in_order_and_all_of_them():
    assert list(ahead(range(1000))) == list(range(1000))
    assert list(ahead([])) == []


def test_some_are_fetched_before_they_are_asked_for_and_no_more_than_that():
    fetched = []
    enough = threading.Event()

    def items():
        for item in range(100):
            fetched.append(item)
            if item == 3:
                enough.set()
            yield item

    stream = ahead(items(), depth=2)
    assert next(stream) == 0
    # One item was returned, two are ready, and one waits for a place.
    assert enough.wait(10)
    stream.close()
    assert fetched == [0, 1, 2, 3]


def test_an_error_comes_where_its_item_would_have_stood():
    def items():
        yield 1
        raise KeyError("lost")

    stream = ahead(items())
    assert next(stream) == 1
    with pytest.raises(KeyError, match="lost"):
        next(stream)


def test_who_stops_early_leaves_no_thread():
    before = threading.active_count()
    stream = ahead(iter(int, 1))
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_processes_keep_the_order():
    assert list(in_processes(range(40), doubled, hundred, 2)) == [100 + 2 * item for item in range(40)]


def test_processes_are_other_ones():
    assert os.getpid() not in set(in_processes(range(4), whereabouts, hundred, 2))


def test_an_error_in_a_process_comes_where_its_item_would_have_stood():
    stream = in_processes([1, "broken", 3], doubled, hundred, 2)
    assert next(stream) == 102
    with pytest.raises(ValueError, match="broken item"):
        next(stream)


def test_a_process_that_cannot_start_says_why():
    with pytest.raises(KeyError, match="nothing to start with"):
        list(in_processes([1], doubled, no_start, 1))


def test_a_process_that_is_ended_from_outside_is_told_in_one_line():
    with pytest.raises(Unavailable, match="ended from outside"):
        list(in_processes([1], ended, hundred, 1))
