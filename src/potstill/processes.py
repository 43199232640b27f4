"""Foreign files are read by processes of their own.

In: a module whose process reads files of one kind. Out: its answers. A file that is broken, or made to do harm, can
make a reading library end its process, ask for more memory than there is or take hours; here that ends a process that
does nothing else. It is started for the first file, serves all that follow, and ends with this process.

Both sides stand here: `Worker` asks, and the process's own module calls `serve`.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HEADER = struct.Struct(">cQQ")
"""Before each answer: `ANSWER` or `REFUSAL`, and the bytes of the JSON and of the table that follow."""

ANSWER, REFUSAL = b"a", b"r"

LEAST_MEMORY = 4 << 30
"""Bytes that reading may take of any file; a larger one may take `TIMES_ITS_SIZE` as much as it has."""

TIMES_ITS_SIZE = 32

_LONGEST_REASON = 200


class Worker:
    """A process that reads; it is started when it is asked, and again after it has ended."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        atexit.register(self.end)

    def ask(self, request: dict[str, object]) -> tuple[bytes, dict[str, Any], bytes]:
        """The answer to a request: `ANSWER` or `REFUSAL`, facts, and a table's bytes.

        Raises:
            EOFError: the process has ended over it; says how.
        """
        with self._lock:
            process = self._running()
            answered = False
            try:
                answer = _exchange(process, request)
                answered = True
            finally:
                # What an interrupt cuts short must not be taken for the answer to the next request.
                if not answered:
                    self.end()
            return answer

    def end(self) -> None:
        """End the process, if this one has started it."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.communicate()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self._process, self._owner = _started(self._module), os.getpid()
        return self._process


def _started(module: str) -> subprocess.Popen[bytes]:
    # It imports what this process imports, from the same places, and nothing from the folder it happens to be in.
    places = os.pathsep.join(place or os.getcwd() for place in sys.path)  # noqa: PTH109 - as text
    return subprocess.Popen(  # noqa: S603 - a module of ours
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": places},
    )


def _exchange(process: subprocess.Popen[bytes], request: dict[str, object]) -> tuple[bytes, dict[str, Any], bytes]:
    question, answer = process.stdin, process.stdout
    if question is None or answer is None:
        raise AssertionError
    try:
        question.write(json.dumps(request).encode() + b"\n")
        question.flush()
    except OSError:
        raise EOFError(_ending(process)) from None
    header = answer.read(HEADER.size)
    if len(header) < HEADER.size:
        raise EOFError(_ending(process))
    kind, told, table = HEADER.unpack(header)
    facts, rows = answer.read(told), answer.read(table)
    if len(facts) + len(rows) < told + table:
        raise EOFError(_ending(process))
    return kind, json.loads(facts), rows


def _ending(process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    if code == -getattr(signal, "SIGXCPU", 0):
        return "reading it took too long"
    if code < 0:
        return f"reading it ended the reading process: {signal.Signals(-code).name}"
    return f"reading it ended the reading process with exit code {code}"


def serve(answer: Callable[[Mapping[str, Any]], tuple[dict[str, Any], bytes]]) -> None:
    """Answer requests on standard input until there are no more; `answer` gives facts and a table's bytes."""
    # An interrupt of the terminal reaches both processes; the other one ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        kind, facts, table = _answered(answer, json.loads(line))
        told = json.dumps(facts).encode()
        answers.write(HEADER.pack(kind, len(told), len(table)))
        answers.write(told)
        answers.write(table)
        answers.flush()


def _answered(
    answer: Callable[[Mapping[str, Any]], tuple[dict[str, Any], bytes]], request: Mapping[str, Any]
) -> tuple[bytes, dict[str, Any], bytes]:
    try:
        facts, table = answer(request)
    except (MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the panics of some libraries derive from BaseException alone
        of_system = isinstance(error, OSError) and error.strerror is not None
        first = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
        return REFUSAL, {"reason": (first or type(error).__name__)[:_LONGEST_REASON], "of_system": of_system}, b""
    return ANSWER, facts, table


def bound_memory(size: int) -> None:
    """Let reading a file of so many bytes take so much memory and no more, where the system can be told."""
    try:
        import resource

        with Path("/proc/self/statm").open(encoding="ascii") as stream:
            taken = int(stream.read().split()[0]) * resource.getpagesize()
        there = os.sysconf("SC_PHYS_PAGES") * resource.getpagesize()
        most = taken + size + min(max(LEAST_MEMORY, TIMES_ITS_SIZE * size), there)
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ImportError, OSError, ValueError):
        return


def bound_time(seconds: int) -> None:
    """Let what follows take so many seconds of processor time, where the system can be told; then the process ends."""
    try:
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        most = int(used.ru_utime + used.ru_stime) + 1 + seconds
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    except (ImportError, OSError, ValueError):
        return
