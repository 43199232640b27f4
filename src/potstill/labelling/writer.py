"""The writer: events are committed in groups, off the event loop.

In: events as they happen. Out: the moment at which each is safe.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from potstill.labelling.ledger import Event, Ledger


class Writer:
    """Commits events in groups: whoever hands one in goes on when it is safe, and shares the wait for the disk."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: list[tuple[Event, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def put(self, event: Event) -> None:
        """Return when the event is committed.

        Raises:
            BadInput: it cannot be (a full disk).
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._commit())
        await future

    async def finish(self) -> None:
        """Return when all is committed that was handed in."""
        if self._task is not None:
            await self._task

    async def _commit(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            record = asyncio.to_thread(self._ledger.record, [event for event, _ in batch])
            # Whatever went wrong is raised where the event was handed in; nobody may wait for ever.
            [outcome] = await asyncio.gather(record, return_exceptions=True)
            for _, future in batch:
                if future.done():
                    continue
                if isinstance(outcome, BaseException):
                    future.set_exception(outcome)
                else:
                    future.set_result(None)
