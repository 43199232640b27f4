"""Prices: the user's own first, then the table that ships, else none."""

import pytest

from potstill.errors import BadInput
from potstill.labelling.budget import Price
from potstill.labelling.prices import find_price


def test_a_known_model_has_its_price_with_the_month():
    found = find_price("openai:gpt-5-mini")
    assert found.price == Price(0.25, 2.0)
    assert "2026-03" in found.source


@pytest.mark.parametrize("spec", ["openai:gpt-5-mini-2025-08-07", "anthropic:claude-haiku-4-5-20251001"])
def test_a_date_behind_the_name_changes_nothing(spec):
    assert find_price(spec) is not None


@pytest.mark.parametrize("spec", ["openai:llama3", "replay:x", "openai:", "gpt-5-mini", "openai:gpt-5-mini-turbo"])
def test_what_is_not_known_has_no_price(spec):
    assert find_price(spec) is None


def test_the_table_that_ships_says_nothing_of_other_servers():
    assert find_price("openai:gpt-5-mini", "http://127.0.0.1:8000/v1") is None
    assert find_price("openai:gpt-5-mini", "https://notopenai.com/v1") is None
    assert find_price("openai:gpt-5-mini", "https://eu.api.openai.com/v1") is not None


def test_the_users_own_table_wins_wherever_the_server_is(tmp_path):
    table = tmp_path / "prices.yaml"
    table.write_text("openai:gpt-5-mini: {input: 1, output: 4}\nopenai:mine: {input: 0, output: 0}\n")
    assert find_price("openai:gpt-5-mini", "http://127.0.0.1/v1", table).price == Price(1.0, 4.0)
    assert find_price("openai:mine", None, table).price == Price(0.0, 0.0)
    assert find_price("openai:gpt-5", None, table).price == Price(1.25, 10.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("openai:x: {input: -1, output: 4}", "openai:x input: .* greater than or equal to 0"),
        ("openai:x: {input: 1}", "openai:x output: Field required"),
        ("openai:x: {input: .nan, output: 1}", "openai:x input"),
        ("- 1", "valid dictionary"),
        ("a: [", "broken YAML"),
    ],
)
def test_a_broken_table_is_refused_with_its_place(tmp_path, text, message):
    table = tmp_path / "prices.yaml"
    table.write_text(text)
    with pytest.raises(BadInput, match=message):
        find_price("openai:x", None, table)
