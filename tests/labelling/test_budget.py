"""Tests of the budget, which calls in flight cannot exceed."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.errors import BadInput
from potstill.filters import load_filter
from potstill.labelling.budget import TRILLION, Budget, Price, most_tokens
from potstill.labelling.ledger import Spent
from potstill.oracle.prompt import Prompt


def test_prices_are_exact():
    assert Price(0.15, 0.6).of(1_000_000, 1_000_000) == 0.75 * TRILLION
    assert Price(0.0375, 0.15).of(3, 1) == 3 * 37_500 + 150_000


@pytest.mark.parametrize("price", [(-1, 0), (0, float("nan")), (0, float("inf"))])
def test_a_price_is_a_number(price):
    with pytest.raises(BadInput, match="a price per million tokens"):
        Price(*price)


def test_no_question_has_more_tokens_than_its_bound():
    prompt = Prompt.of(load_filter("front-page"))
    short = most_tokens(prompt.request("a", "x", max_tokens=300))
    long = most_tokens(prompt.request("a", "x" + "股" * 100, max_tokens=300))
    assert short[1] == 300
    # A character of three bytes can be three tokens.
    assert long[0] == short[0] + 300
    assert short[0] > len(prompt.system)


def test_calls_in_flight_count_at_their_worst():
    async def scene():
        budget = Budget(Spent(0, 0), max_cost=10 / TRILLION)
        assert await budget.reserve(6)
        waiting = asyncio.create_task(budget.reserve(6))
        await asyncio.sleep(0)
        assert not waiting.done()
        budget.settle(6, 2)
        assert await waiting
        budget.settle(6, 6)
        assert budget.cost == 8
        assert not await budget.reserve(3)
        assert await budget.reserve(2)

    asyncio.run(scene())


def test_what_earlier_sessions_spent_counts():
    async def scene():
        assert not await Budget(Spent(5, 0), max_calls=5).reserve(0)
        assert await Budget(Spent(5, 0), max_calls=6).reserve(0)
        assert not await Budget(Spent(0, 8), max_cost=10 / TRILLION).reserve(3)

    asyncio.run(scene())


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), limit=st.integers(0, 2000), most=st.integers(0, 60))
def test_no_limit_is_ever_overrun_by_64_at_once(seed, limit, most):
    chance = random.Random(seed)

    async def one(budget, paid):
        worst = chance.randint(1, 100)
        if not await budget.reserve(worst):
            return
        for _ in range(chance.randint(0, 5)):
            await asyncio.sleep(0)
        cost = chance.randint(0, worst)
        paid.append(cost)
        budget.settle(worst, cost)

    async def scene():
        paid = []
        budget = Budget(Spent(0, 0), max_cost=limit / TRILLION, max_calls=most)
        await asyncio.gather(*(one(budget, paid) for _ in range(64)))
        assert sum(paid) <= limit
        assert len(paid) <= most
        assert (budget.cost, budget.calls) == (sum(paid), len(paid))

    asyncio.run(scene())
