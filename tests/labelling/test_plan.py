"""Tests of the plan: calls, tokens, cost and time before anything is spent."""

import polars as pl
import pytest
from scripted_oracle import FRONT_PAGE, ScriptedOracle, stories

from potstill.errors import LabelError
from potstill.labelling import Ledger, Limits, Price, Repeats, label, plan
from potstill.labelling.plan import estimate_tokens


def reckon(articles, **options):
    return plan([articles], FRONT_PAGE, "scripted:m", limits=options.pop("limits", Limits()), **options)


def test_a_plan_counts_calls_tokens_and_money():
    found = reckon(stories(10), samples=2, price=Price(1.0, 4.0))
    assert (found.articles, found.calls, found.already_bought) == (10, 20, 0)
    assert found.tokens_out == 20 * (40 + 12 * 8)
    assert found.cost == pytest.approx((found.tokens_in + 4 * found.tokens_out) / 1e6)
    assert found.cost < found.worst_cost


def test_prices_of_long_questions_hold_for_each_call_and_not_for_their_sum():
    assert reckon(stories(1)).tokens_in < 5_000 < reckon(stories(10)).tokens_in
    long = Price(1.0, 4.0, long=((5_000, Price(9.0, 9.0)),))
    assert reckon(stories(10), price=long).cost == pytest.approx(reckon(stories(10), price=Price(1.0, 4.0)).cost)


def test_without_a_price_there_is_no_cost():
    assert reckon(stories(1)).cost is None


def test_answers_in_the_ledger_are_left_out(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        label(ledger, stories(4), FRONT_PAGE, ScriptedOracle())
        found = reckon(stories(10), ledger=ledger, samples=2)
    assert (found.calls, found.already_bought) == (16, 4)


def test_a_plan_for_a_changed_rubric_says_what_labelling_would(tmp_path):
    stricter = FRONT_PAGE.model_copy(update={"rubric": FRONT_PAGE.rubric + "Be strict.\n"})

    def reckoned(prompts):
        return plan([stories(6)], stricter, "scripted:m", limits=Limits(), ledger=ledger, prompts=prompts)

    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        label(ledger, stories(4), FRONT_PAGE, ScriptedOracle())
        with pytest.raises(LabelError, match=r"another prompt.*rubric: Be strict"):
            reckoned("refuse")
        assert (reckoned("mix").calls, reckoned("mix").already_bought) == (2, 4)
        assert (reckoned("replace").calls, reckoned("replace").already_bought) == (6, 0)


def test_texts_that_are_the_same_are_asked_about_once():
    assert reckon(stories(3).with_columns(content=pl.lit("Story."))).calls == 1


def test_the_slowest_limit_sets_the_time():
    assert reckon(stories(120), limits=Limits(concurrency=16)).seconds == 30.0
    assert reckon(stories(120), limits=Limits(rpm=60)).seconds == 120.0
    found = reckon(stories(120), limits=Limits(tpm=1000))
    assert found.seconds == pytest.approx(0.06 * (found.tokens_in + found.tokens_out))


def test_tokens_are_estimated_by_script():
    assert estimate_tokens("a" * 400) == 100
    assert estimate_tokens("股" * 150) == 100


def test_what_a_server_bills_lies_between_nothing_and_the_worst():
    # A text in which each byte is a token is the worst case that a plan must cover.
    odd = stories(1).with_columns(content=pl.lit("\U0001f9ff" * 100))
    found = reckon(odd, price=Price(1.0, 0.0))
    assert found.worst_cost * 1e6 >= len(("\U0001f9ff" * 100).encode()) + len(FRONT_PAGE.rubric.encode())


def test_a_share_of_the_articles_is_asked_about_more_than_once():
    found = plan([stories(400)], FRONT_PAGE, "openai:m", samples=Repeats(3, 0.1), limits=Limits())
    # 400 calls, and two more for each repeated article, of which there are about a tenth at random.
    assert 440 <= found.calls <= 520
    assert (found.calls - 400) % 2 == 0
