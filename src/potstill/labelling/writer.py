"""Commit events to the ledger in groups, outside the event loop.

Input: events as they happen. Output: a notification when each event is saved.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from potstill.labelling.ledger import Event, Ledger


class Writer:
    """A writer that commits events in groups; callers continue when their event is saved and share the disk's delay."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: list[tuple[Event, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def put(self, event: Event) -> None:
        """Return when the event is committed.

        Raises:
            BadInput: it cannot be committed (for example, a full disk).
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._commit())
        await future

    async def finish(self) -> None:
        """Return when all submitted events are committed."""
        if self._task is not None:
            await self._task

    async def _commit(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            record = asyncio.to_thread(self._ledger.record, [event for event, _ in batch])
            # Errors are raised in the caller that submitted the event, so that no caller waits forever.
            [outcome] = await asyncio.gather(record, return_exceptions=True)
            for _, future in batch:
                if future.done():
                    continue
                if isinstance(outcome, BaseException):
                    future.set_exception(outcome)
                else:
                    future.set_result(None)
