"""Work done beside other work: items fetched ahead in a thread, or turned into results by processes.

In: an iterator. Out: another, in the same order, with only a few items held at a time. An error comes out where its
item would have stood.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import active_children, get_context
from queue import Full, Queue
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from potstill.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")

_PATIENCE = 0.1
"""Seconds after which a thread that waits looks whether it is still wanted."""


class _Fetcher(threading.Thread):
    """Puts items into a queue until nobody wants them; each stands there as a call that gives it, or raises."""

    def __init__(self, items: Iterable[T], queue: Queue[Callable[[], T]]) -> None:
        super().__init__(daemon=True)
        self._items = items
        self._queue: Queue[Any] = queue
        self.unwanted = threading.Event()

    def run(self) -> None:
        items = iter(self._items)
        while not self.unwanted.is_set():
            entry, last = _next(items)
            self._put(entry)
            if last:
                return

    def _put(self, entry: Callable[[], Any]) -> None:
        while not self.unwanted.is_set():
            try:
                self._queue.put(entry, timeout=_PATIENCE)
            except Full:
                continue
            return


def _next(items: Iterator[T]) -> tuple[Callable[[], T], bool]:
    """A call that gives the next item or raises what fetching it raised, and whether nothing comes after it."""
    try:
        item = next(items)
    except BaseException as error:  # noqa: BLE001 - it is raised in the thread that asks
        return partial(_raise, error), True
    return partial(_give, item), False


def _give(item: T) -> T:
    return item


def _raise(error: BaseException) -> NoReturn:
    raise error


def ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Pass items through, of which up to `depth` are fetched by a thread before they are asked for."""
    queue: Queue[Callable[[], T]] = Queue(depth)
    fetcher = _Fetcher(items, queue)
    fetcher.start()
    try:
        while True:
            entry = queue.get()
            try:
                item = entry()
            except StopIteration:
                return
            yield item
    finally:
        fetcher.unwanted.set()
        fetcher.join()


def in_processes(
    items: Iterable[T],
    work: Callable[[Any, T], R],
    start: Callable[[], Any],
    processes: int,
    *,
    pause: Callable[[T], bool] = lambda _: False,
) -> Iterator[R]:
    """Turn each item into a result in one of several processes.

    Args:
        items: what to work on; each must be picklable, as must its result.
        work: a function of what `start` gave and an item.
        start: called once in each process.
        processes: how many.
        pause: whether there may be no further item for a while after this one, so that all results are given before
            the next is asked for.

    Raises:
        Unavailable: a process was ended from outside. What `work` and `start` raise comes out as it is.
    """
    pool = ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_begin, initargs=(os.getpid(), start, work)
    )
    before = set(active_children())
    asked: deque[Any] = deque()
    done = False
    try:
        for item in items:
            with _interrupts_held():
                asked.append(pool.submit(_one, item))
            while len(asked) > (0 if pause(item) else processes + 1):
                yield asked.popleft().result()
        while asked:
            yield asked.popleft().result()
        done = True
    except BrokenProcessPool:
        raise Unavailable(
            "a scoring process was ended from outside, perhaps for want of memory; try --processes 1"
        ) from None
    finally:
        # What they are at is not wanted any more where something went wrong or an interrupt came.
        for child in () if done else set(active_children()) - before:
            child.terminate()
        pool.shutdown(cancel_futures=True)


_here: dict[str, Any] = {}
"""What a process of `in_processes` keeps between items."""


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keep the terminal's interrupt from processes that are started in the block; it reaches this one after it.

    A process inherits what is held, so that one which is still being imported says nothing of its own.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(parent: int, start: Callable[[], Any], work: Callable[[Any, Any], Any]) -> None:
    # An interrupt of the terminal reaches all processes; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _here["start"], _here["work"] = start, work


def _one(item: Any) -> Any:  # noqa: ANN401 - whatever the caller's types are
    # Here and not in `_begin`, so that what goes wrong is raised where the first result would have stood.
    if "made" not in _here:
        _here["made"] = _here["start"]()
    return _here["work"](_here["made"], item)


def _end_with(parent: int) -> None:
    """End this process once its parent is gone, which a kill would otherwise leave it to wait for."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
