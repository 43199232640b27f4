"""Concurrent work: items are prefetched in a thread, or turned into results by processes.

Input: an iterator. Output: another one, in the same order, with only a few items held at a time. An exception is raised
at the position of its item.
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
"""Seconds after which a waiting thread checks whether it is still needed."""


class _Fetcher(threading.Thread):
    """Puts items into a queue until it is stopped; each is queued as a call that returns the item or raises."""

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
    """Return a call that returns the next item or raises its exception, and whether the iteration has ended."""
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
    """Yield the items unchanged; up to `depth` of them are prefetched by a thread."""
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
        items: the items to process; each must be picklable, as must its result.
        work: a function of the return value of `start` and an item.
        start: called once in each process.
        processes: number of processes.
        pause: whether there may be no further item for a while after this one, so that all results are yielded before
            the next item is requested.

    Raises:
        Unavailable: a process was ended from outside. Exceptions of `work` and `start` are raised unchanged.
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
        # After an error or an interrupt, running work is no longer needed.
        for child in () if done else set(active_children()) - before:
            child.terminate()
        pool.shutdown(cancel_futures=True)


_here: dict[str, Any] = {}
"""State that a process of `in_processes` keeps between items."""


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Block the terminal's interrupt for processes started in the block; this process receives it afterwards.

    A process inherits the blocked signals, so that one which is still importing modules prints no traceback.
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
    # An interrupt in the terminal reaches all processes; the main process ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _here["start"], _here["work"] = start, work


def _one(item: Any) -> Any:  # noqa: ANN401 - whatever the caller's types are
    # Done here and not in `_begin`, so that an error is raised at the position of the first result.
    if "made" not in _here:
        _here["made"] = _here["start"]()
    return _here["work"](_here["made"], item)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone; after a kill of the parent it would otherwise wait forever."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
