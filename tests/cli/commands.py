"""Run `potstill` as a separate process, as a shell would."""

import os
import signal
import subprocess
import sys

LISTENING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
"""Shells start background jobs with interrupts ignored, and a test run may be a background job."""

PROGRAM = f"{LISTENING}from potstill.cli import main; main()"


def potstill(*arguments, program=PROGRAM, **how):
    """Run a command to its end; the result has its exit code, stdout and stderr."""
    return subprocess.run(
        [sys.executable, "-c", program, *map(os.fsencode, map(str, arguments))],
        check=False,
        **{"capture_output": True, "text": True, "timeout": 300} | how,
    )


def started(*arguments, program=PROGRAM, **how):
    """Start a process in its own process group, and return it while it is running."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True} | how,
    )


def one_line(done, code=2):
    """Return the one line that a command ended with, and check that nothing else was printed."""
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert "internal error" not in lines[0]
    return lines[0].removeprefix("error: ")


__all__ = ["PROGRAM", "one_line", "potstill", "signal", "started"]
