"""Run `potstill` as a process of its own, as a shell would."""

import os
import signal
import subprocess
import sys

LISTENING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
"""A shell has its background jobs ignore interrupts, and a test run may be one."""

PROGRAM = f"{LISTENING}from potstill.cli import main; main()"


def potstill(*arguments, program=PROGRAM, **how):
    """The finished process: exit code, stdout and stderr."""
    return subprocess.run(
        [sys.executable, "-c", program, *map(os.fsencode, map(str, arguments))],
        check=False,
        **{"capture_output": True, "text": True, "timeout": 300} | how,
    )


def started(*arguments, program=PROGRAM, **how):
    """A process that is still running, in a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True} | how,
    )


def one_line(done, code=2):
    """The one line that a command ended with; nothing else may have been printed."""
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert "internal error" not in lines[0]
    return lines[0].removeprefix("error: ")


__all__ = ["PROGRAM", "one_line", "potstill", "signal", "started"]
