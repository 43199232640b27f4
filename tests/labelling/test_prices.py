"""Tests of prices: the user's own come first, then the data of genai-prices, else none."""

import socket
import sys

import pytest

from potstill.errors import BadInput
from potstill.labelling import prices
from potstill.labelling.budget import Price
from potstill.labelling.prices import data_source, find_price


def test_a_known_model_has_its_price_with_the_date_of_the_data():
    found = find_price("openai:gpt-5-mini")
    assert (found.price.input, found.price.output, found.price.cached) == (0.25, 2.0, 0.025)
    assert data_source() in found.source
    assert "data of 2026-" in found.source or "data of 202" in found.source


@pytest.mark.parametrize(
    "spec",
    [
        "openai:gpt-5-mini-2025-08-07", "anthropic:claude-haiku-4-5-20251001", "anthropic:claude-haiku-4-5",
        "gemini:gemini-2.5-flash", "gemini:models/gemini-2.5-flash", "openai:GPT-5-mini",
    ],
)  # fmt: skip
def test_a_name_is_known_with_its_date_too(spec):
    assert find_price(spec) is not None


@pytest.mark.parametrize(
    "spec",
    [
        "openai:llama3", "replay:x", "openai:", "gpt-5-mini", "openai:gpt-5-mini-turbo", "openai:gpt-5-nano-turbo",
        "anthropic:claude-sonnet-4-5-foo", "gemini:my-claude-haiku-4-5-finetune", "gemini:gemini-9-flash",
        "anthropic:gpt-5-mini",
    ],
)  # fmt: skip
def test_what_is_not_known_has_no_price(spec):
    assert find_price(spec) is None


@pytest.mark.parametrize(
    ("spec", "input_price"),
    [("decisions:gpt-6-luna", 0.1), ("systemone:jev-latest", 0.042), ("systemone:jev-1.13", 0.042)],
)
def test_decision_apis_have_prices_of_their_own_and_no_price_of_output(spec, input_price):
    price = find_price(spec).price
    assert (price.input, price.output) == (input_price, 0.0)


def test_a_decision_api_has_its_price_only_at_its_own_address():
    assert find_price("decisions:gpt-6-luna", "https://api.openai.com/v1").price.output == 0.0
    assert find_price("openai:gpt-6-luna", "https://api.openai.com/v1").price.output > 0
    assert find_price("systemone:jev-latest", "https://api.openai.com/v1") is None
    assert find_price("decisions:gpt-6-luna", "http://127.0.0.1:8000/v1") is None
    assert find_price("decisions:gpt-5-mini") is None


@pytest.mark.parametrize(
    ("address", "known"),
    [
        ("https://api.openai.com/v1", True),
        ("http://127.0.0.1:8000/v1", False),
        ("http://api.openai.com/v1", False),
        ("https://notopenai.com/v1", False),
        ("https://api.openai.com.evil.example/v1", False),
        ("https://api.openai.com@evil.example/v1", False),
        ("https://evil.example/api.openai.com", False),
        ("https://evil.example/x.googleapis.com", False),
        ("https://[::1/v1", False),
    ],
)
def test_another_server_has_not_the_providers_price(address, known):
    assert (find_price("openai:gpt-5-mini", address) is not None) == known


def test_a_provider_is_known_by_its_address():
    found = find_price("openai:openai/gpt-5-mini", "https://openrouter.ai/api/v1")
    assert found is not None
    assert find_price("openai:openai/gpt-5-mini") is None
    # DeepSeek's price depends on the time of day; the higher one is used.
    assert find_price("openai:deepseek-chat", "https://api.deepseek.com/v1").price.output >= 1.1


def test_jobs_and_cached_tokens_cost_what_the_data_say():
    price = find_price("openai:gpt-5-mini").price
    assert price.in_jobs().input == 0.125
    assert price.of(1000, 10, cached=400) == 600 * 250_000 + 400 * 25_000 + 10 * 2_000_000
    # Cached tokens in a job of this model have no separate discount.
    assert find_price("openai:gpt-4o").price.in_jobs().cached == 1.25


def test_a_long_question_has_its_own_price():
    price = find_price("gemini:gemini-2.5-pro").price
    assert price.of(200_000, 1) == 200_000 * 1_250_000 + 10_000_000
    assert price.of(200_001, 1) == 200_001 * 2_500_000 + 15_000_000
    assert price.in_jobs().of(200_001, 0) == 200_001 * 1_250_000


def test_prices_that_a_person_gives_are_halved_in_jobs():
    assert Price(2.0, 8.0, 1.0).in_jobs() == Price(1.0, 4.0, 0.5)


def test_nothing_is_fetched(monkeypatch):
    def no_network(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "socket", no_network)
    prices._providers.cache_clear()
    assert find_price("openai:gpt-5-mini") is not None


def test_without_the_package_a_model_is_unknown(monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    monkeypatch.setattr(prices, "find_spec", lambda name: None)
    assert find_price("openai:gpt-5-mini") is None


def test_the_users_own_table_wins_wherever_the_server_is(tmp_path):
    table = tmp_path / "prices.yaml"
    table.write_text(
        "openai:gpt-5-mini: {input: 1, output: 4, cached: 0.1, month: 2026-10}\nopenai:mine: {input: 0, output: 0}\n"
    )
    found = find_price("openai:gpt-5-mini-2025-08-07", "http://127.0.0.1/v1", table)
    assert found.price == Price(1.0, 4.0, 0.1)
    assert found.source == f"{table}, of 2026-10"
    assert find_price("openai:mine", None, table).price == Price(0.0, 0.0)
    assert find_price("openai:gpt-5", None, table).price.input == 1.25


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("openai:x: {input: -1, output: 4}", "line 1: openai:x -> input: .* greater than or equal to 0"),
        ("openai:x: {input: 1}", "line 1: openai:x -> output: Field required"),
        ("openai:x: {input: .nan, output: 1}", "line 1: openai:x -> input"),
        ("- 1", "should be an object"),
        ("a: [", "line 1: expected the node content"),
    ],
)
def test_a_broken_table_is_refused_with_its_place(tmp_path, text, message):
    table = tmp_path / "prices.yaml"
    table.write_text(text)
    with pytest.raises(BadInput, match=message):
        find_price("openai:x", None, table)
