"""Tests of the pace: the number of concurrent calls that a server allows, and the pauses that it asks for."""

import asyncio

import pytest
from scripted_oracle import Clock

from potstill.labelling.pace import Pace


def run(scene):
    return asyncio.run(scene())


def test_calls_at_once_grow_with_answers_and_are_halved_once_for_a_storm():
    pace = Clock().pace(64)
    assert pace.limit == 4
    for _ in range(100):
        pace.answered()
    assert pace.limit == 64
    called_at = pace.now()
    for _ in range(64):
        pace.slowed(called_at, 1.0)
    assert pace.limit == 32
    pace.slowed(called_at + 1.0, 1.0)
    assert pace.limit == 16


def test_after_a_storm_the_full_number_comes_back():
    pace = Clock().pace(64)
    for _ in range(60):
        pace.answered()
    pace.slowed(pace.now(), 1.0)
    for _ in range(161):
        pace.answered()
    assert pace.limit == 64


def test_nobody_calls_before_the_time_the_server_asks_for():
    clock = Clock()
    pace = clock.pace(4)

    async def scene():
        pace.slowed(clock(), 7.0)
        async with pace.slot(1):
            return clock()

    assert run(scene) >= 1007.0


@pytest.mark.parametrize("told", [None, 0.0, 0.01])
def test_a_time_to_wait_of_nothing_is_no_leave_to_call_at_once(told):
    clock = Clock()
    pace = clock.pace(4)

    async def scene():
        waits = []
        for _ in range(4):
            before = clock()
            pace.slowed(before, told)
            async with pace.slot(1):
                waits.append(clock() - before)
        return waits

    waits = run(scene)
    assert all(wait >= least for wait, least in zip(waits, (0.75, 1.5, 3.0, 6.0), strict=True))


def test_the_larger_of_the_servers_time_and_the_doubling_wait_holds():
    clock = Clock()
    pace = clock.pace(4)

    async def scene():
        pace.slowed(clock(), 7.0)
        pace.slowed(clock() + 1.0, 0.0)
        async with pace.slot(1):
            return clock()

    assert run(scene) >= 1007.0


def test_whoever_waits_is_woken_when_no_more_calls_are_made():
    pace = Pace(16)
    woken = []

    async def one(number):
        async with pace.slot(1):
            woken.append(number)
        await pace.rest(1000.0)

    async def scene():
        pace.slowed(pace.now(), 1000.0)
        waiting = [asyncio.create_task(one(number)) for number in range(16)]
        await asyncio.sleep(0)
        pace.stop()
        await asyncio.wait_for(asyncio.gather(*waiting), 30.0)

    run(scene)
    assert sorted(woken) == list(range(16))


def test_without_a_time_the_silence_doubles():
    clock = Clock()
    pace = clock.pace(4)
    waits = [pace.backoff(tries) for tries in (1, 2, 3, 20)]
    assert waits == [0.75, 1.5, 3.0, 45.0]


def test_calls_a_minute_are_spaced():
    clock = Clock()
    pace = clock.pace(16, rpm=60)

    async def one():
        async with pace.slot(1):
            return clock()

    async def scene():
        return await asyncio.gather(*(one() for _ in range(4)))

    assert sorted(run(scene)) == [1000.0, 1001.0, 1002.0, 1003.0]


def test_tokens_a_minute_are_spaced():
    clock = Clock()
    pace = clock.pace(16, tpm=6000)

    async def scene():
        times = []
        for tokens in (1000, 500, 1):
            async with pace.slot(tokens):
                times.append(clock())
        return times

    assert run(scene) == [1000.0, 1010.0, 1015.0]


def test_no_more_slots_are_held_than_the_limit():
    pace = Clock().pace(64)
    held = []

    async def one(running):
        async with pace.slot(1):
            running.append(1)
            held.append(len(running))
            await asyncio.sleep(0)
            running.pop()

    async def scene():
        running = []
        await asyncio.gather(*(one(running) for _ in range(30)))

    run(scene)
    assert max(held) == 4
    assert len(held) == 30
