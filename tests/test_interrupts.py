"""Tests of a first and a second interrupt during different kinds of work."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from potstill import interrupts

interrupts.PATIENCE = {patience}
def ready():
    print("ready", flush=True)

try:
    with interrupts.listening():
        interrupts.on_interrupt({promise!r})
        {work}
except KeyboardInterrupt:
    interrupts.say_farewell()
    os._exit(interrupts.EXIT_CODE)
"""

SLEEPING = "ready(); time.sleep(60)"

STUCK = "import hashlib; ready(); hashlib.pbkdf2_hmac('sha256', b'a', b'b', 2_000_000_000)"
"""One library call that takes half an hour, during which Python handles no signal."""

UNWINDING = """
        try:
            ready(); time.sleep(60)
        finally:
            time.sleep(60)"""

WAITING = """
        try:
            ready(); time.sleep(60)
        except KeyboardInterrupt:
            interrupts.wait_for("Two calls may still be answered"); print("waiting", flush=True); time.sleep(60)"""


def begun(work, promise=None, patience=60.0):
    """Start a process, and return it when its work has begun."""
    program = PROGRAM.format(work=work, promise=promise, patience=patience)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=-1, stderr=-1, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    return process


def ended(process):
    """Return a process's exit code and output."""
    _, error = process.communicate(timeout=50)
    return process.returncode, error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("promise", "line"),
    [(None, "Stopped.\n"), ("the same command goes on", "Stopped; the same command goes on.\n")],
)
def test_an_interrupt_is_one_line(number, promise, line):
    process = begun(SLEEPING, promise)
    process.send_signal(number)
    assert ended(process) == (130, line)


def test_work_that_does_not_notice_is_ended_where_it_stands():
    process = begun(STUCK, patience=0.2)
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "Stopped.\n")


def test_work_that_takes_long_to_stop_is_ended_too():
    process = begun(UNWINDING, patience=0.2)
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (130, "Stopped.\n")


@pytest.mark.parametrize("work", [STUCK, UNWINDING])
def test_a_second_interrupt_ends_at_once(work):
    process = begun(work)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "Stopped.\n")


def test_work_that_says_what_it_waits_for_is_only_ended_by_a_second_interrupt():
    process = begun(WAITING, "the same command goes on", patience=0.1)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (
        130,
        "Two calls may still be answered; a second interrupt ends this at once.\nStopped; the same command goes on.\n",
    )


def test_a_command_that_ignores_interrupts_still_ends_by_a_termination():
    process = begun("signal.signal(signal.SIGINT, signal.SIG_IGN); " + SLEEPING)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (130, "Stopped.\n")


def test_asyncio_cancels_its_task_at_either_signal():
    work = """
        import asyncio
        async def main():
            try:
                ready(); await asyncio.sleep(60)
            except asyncio.CancelledError:
                print("cancelled", flush=True); raise
        asyncio.run(main())"""
    process = begun(work)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "cancelled\n"
    assert ended(process) == (130, "Stopped.\n")


def test_everything_is_as_before_once_the_command_has_ended():
    from potstill import interrupts

    before = signal.getsignal(signal.SIGTERM), len(list(Path("/proc/self/fd").iterdir()))
    with interrupts.listening():
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    assert (signal.getsignal(signal.SIGTERM), len(list(Path("/proc/self/fd").iterdir()))) == before
    assert not interrupts.interrupted()
