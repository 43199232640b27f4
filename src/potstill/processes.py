"""Run separate processes that read untrusted files.

Input: a module whose process reads files of one kind. Output: its answers. A broken or malicious file can crash a
reading library, make it request more memory than there is, or take hours; here this affects only a process that does
nothing else. It is started for the first file, serves all later ones, and ends with this process.

This module contains both sides: `Worker` sends requests, and the module of the process calls `serve`.
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
"""The header of each answer: `ANSWER` or `REFUSAL`, and the sizes in bytes of the JSON and the table that follow."""

ANSWER, REFUSAL = b"a", b"r"

LEAST_MEMORY = 4 << 30
"""Memory in bytes that is allowed for any file; a larger file may use `TIMES_ITS_SIZE` times its size."""

TIMES_ITS_SIZE = 32

_LONGEST_REASON = 200


class Worker:
    """A reading process; it is started on the first request, and again after it has ended."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        atexit.register(self.end)

    def ask(self, request: dict[str, object]) -> tuple[bytes, dict[str, Any], bytes]:
        """Send a request and return `ANSWER` or `REFUSAL`, the facts, and the bytes of a table.

        Raises:
            EOFError: the process ended during the request; the message says how.
        """
        with self._lock:
            process = self._running()
            answered = False
            try:
                answer = _exchange(process, request)
                answered = True
            finally:
                # After an interrupt, a late answer must not be taken for the answer to the next request.
                if not answered:
                    self.end()
            return answer

    def end(self) -> None:
        """End the process if this process started it."""
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
    # The process imports the same modules from the same paths as this process, and nothing from the current folder.
    places = os.pathsep.join(place or os.getcwd() for place in sys.path)  # noqa: PTH109 - needed as text
    return subprocess.Popen(  # noqa: S603 - starts a module of potstill
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
    kind, facts_size, table_size = HEADER.unpack(header)
    facts, rows = answer.read(facts_size), answer.read(table_size)
    if len(facts) + len(rows) < facts_size + table_size:
        raise EOFError(_ending(process))
    return kind, json.loads(facts), rows


def _ending(process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    if code == -getattr(signal, "SIGXCPU", 0):
        return "reading it took too long"
    if code < 0:
        return f"the reading process was ended by {signal.Signals(-code).name}"
    return f"the reading process ended with exit code {code}"


def serve(answer: Callable[[Mapping[str, Any]], tuple[dict[str, Any], bytes]]) -> None:
    """Answer requests on standard input until it ends; `answer` returns the facts and the bytes of a table."""
    # An interrupt of the terminal reaches both processes; the parent process ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        kind, facts, table = _answered(answer, json.loads(line))
        encoded = json.dumps(facts).encode()
        answers.write(HEADER.pack(kind, len(encoded), len(table)))
        answers.write(encoded)
        answers.write(table)
        answers.flush()


def _answered(
    answer: Callable[[Mapping[str, Any]], tuple[dict[str, Any], bytes]], request: Mapping[str, Any]
) -> tuple[bytes, dict[str, Any], bytes]:
    try:
        facts, table = answer(request)
    except (MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - panics of some libraries derive only from BaseException
        of_system = isinstance(error, OSError) and error.strerror is not None
        first = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
        return REFUSAL, {"reason": (first or type(error).__name__)[:_LONGEST_REASON], "of_system": of_system}, b""
    return ANSWER, facts, table


def bound_memory(size: int) -> None:
    """Limit this process's memory for reading a file of `size` bytes, where the system supports it."""
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
    """Limit the processor time from now on to `seconds`, where the system supports it; then the process ends."""
    try:
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        most = int(used.ru_utime + used.ru_stime) + 1 + seconds
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    except (ImportError, OSError, ValueError):
        return
