"""Tests that invalid limits are refused with one line and exit code 2, before the oracle is queried."""

import json

import pytest
from typer.testing import CliRunner

from potstill.cli import build
from potstill.errors import BadInput

runner = CliRunner()


@pytest.fixture
def news(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "any key will do")
    path = tmp_path / "news.jsonl"
    path.write_text(json.dumps({"id": "a", "content": "A bridge fell."}) + "\n")
    return path


def refused(*words):
    """Return the one-line error message for these arguments."""
    found = runner.invoke(build(), [str(word) for word in words])
    assert isinstance(found.exception, BadInput)
    assert "\n" not in str(found.exception)
    return str(found.exception)


@pytest.mark.parametrize(
    ("option", "value", "legal"),
    [
        ("--max-cost", "inf", "a number from 0 to 1,000,000,000"),
        ("--max-cost", "nan", "a number from 0 to 1,000,000,000"),
        ("--max-cost", "1e300", "a number from 0 to 1,000,000,000"),
        ("--max-calls", "1" + "0" * 400, "a number from 0 to 1,000,000,000"),
        ("--samples", "1000000000", "1 to 1,000"),
        ("--concurrency", "1000000", "a number above 0 and up to 1,000"),
        ("--max-tokens", "1000000000", "a number above 0 and up to 1,000,000"),
        ("--rpm", "inf", "a number above 0 and up to 1,000,000,000"),
        ("--tpm", "-1", "a number above 0 and up to 1,000,000,000"),
        ("--timeout", "inf", "above 0 and up to 86,400 seconds"),
        ("--temperature", "nan", "0 to 2"),
        ("--poll", "nan", "above 0 and up to 86,400 seconds"),
    ],
)
@pytest.mark.parametrize("plan", [True, False])
def test_a_limit_that_is_none_is_refused_with_what_is_legal(news, tmp_path, option, value, legal, plan):
    words = ["label", tmp_path / "run", "--filter", "front-page", "--articles", news, "--oracle", "openai:m", option]
    words += [value, "--batch"] + (["--plan"] if plan else [])
    message = refused(*words)
    assert message.startswith(f"{option}: got ")
    assert message.endswith(f" {legal}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("option", "value"), [("--max-cost", "inf"), ("--samples", "1000000000")])
def test_a_bake_off_and_its_plan_refuse_them_too(news, tmp_path, option, value):
    words = ["bakeoff", tmp_path / "run", "--filter", "front-page", "--articles", news, option, value]
    words += ["--oracle", "openai:a", "--oracle", "openai:b"]
    assert f"{option}: got {value}, " in refused(*words, "--plan")
    assert f"{option}: got {value}, " in refused(*words)


@pytest.mark.parametrize("price", ["inf", "nan", "1e300"])
def test_a_price_that_is_none_is_refused(news, tmp_path, price):
    words = ["label", tmp_path / "run", "--filter", "front-page", "--articles", news, "--oracle", "openai:m"]
    assert "a price per million tokens must be from 0 to 1,000,000" in refused(
        *words, "--price-in", price, "--price-out", 1, "--plan"
    )
