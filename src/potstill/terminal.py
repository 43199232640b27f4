"""What a person sees while work goes on: progress bars on stderr, silent when it is not a terminal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

console = Console(stderr=True)
"""Where progress and logs go; results go to stdout."""


def set_quiet(quiet: bool) -> None:  # noqa: FBT001 - one flag, passed on from `-q`
    """Silence progress and notes, as `-q` asks."""
    console.quiet = quiet


def note(message: str) -> None:
    """One line for a person, on stderr."""
    console.print(message, highlight=False, markup=False, soft_wrap=True)


class Advance(Protocol):
    """Moves a bar on, and says in a few words how things stand."""

    def __call__(self, amount: float, detail: object = "") -> None:
        """So many steps more are done; `detail` is made into words when the bar is next drawn."""
        ...


@contextmanager
def steps(description: str, total: float | None) -> Iterator[Advance]:
    """A progress bar; call what it yields with the number of steps just done, and how things stand."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", style="dim", markup=False),
        console=console,
        transient=True,
        disable=console.quiet or not console.is_terminal,
    )
    with bar:
        task = bar.add_task(description, total=total, detail="")

        def advance(amount: float, detail: object = "") -> None:
            bar.update(task, advance=amount, detail=detail)
            # A total that was an estimate grows with what it underrated.
            if total is not None and bar.tasks[task].completed > total:
                bar.update(task, total=bar.tasks[task].completed)

        yield advance


def track(items: Iterable[T], description: str, total: float | None = None) -> Iterator[T]:
    """Pass items through, one step of a progress bar each."""
    with steps(description, total) as advance:
        for item in items:
            yield item
            advance(1)
