"""The last line of a command that leads somewhere: the command that comes next.

In: a run, or a command. Out: one line, `next: COMMAND`, on stderr, after everything else that a command prints.
"""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from potstill.terminal import note

if TYPE_CHECKING:
    from pathlib import Path

    from potstill.pipeline.run import Run


def next_command(run: Run) -> str:
    """Return the command that a run needs next; if all its stages are done, the command that scores articles."""
    command = next((stage.command for stage in run.status() if stage.state != "done" and not stage.optional), None)
    return command or scoring(run.shipped())


def scoring(bundle: Path) -> str:
    """Return the command that scores a file of articles with a bundle."""
    return f"potstill score {shlex.quote(str(bundle))} FILE -o RESULTS"


def print_next(following: Run | str) -> None:
    """Print the next command, given as text or as the run that knows it."""
    command = following if isinstance(following, str) else next_command(following)
    sys.stdout.flush()
    note(f"next: {command}")
