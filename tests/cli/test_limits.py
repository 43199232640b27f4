"""Tests that invalid limits are refused with one line and exit code 2, before the oracle is queried."""

import json
import re

import pytest
from typer.testing import CliRunner

from potstill.cli import build
from potstill.cli.asking import parse_oracle
from potstill.errors import BadInput, PotstillError
from potstill.oracle import Settings

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
        ("--answers", "1000000000", "1 to 1,000"),
        ("--concurrency", "1000000", "a number above 0 and up to 1,000"),
        ("--max-tokens", "1000000000", "a number above 0 and up to 1,000,000"),
        ("--rpm", "inf", "a number above 0 and up to 1,000,000,000"),
        ("--tpm", "-1", "a number above 0 and up to 1,000,000,000"),
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


@pytest.mark.parametrize(("option", "value"), [("--max-cost", "inf"), ("--answers", "1000000000")])
def test_a_bake_off_and_its_plan_refuse_them_too(news, tmp_path, option, value):
    words = ["bakeoff", tmp_path / "run", "--filter", "front-page", "--articles", news, option, value]
    words += ["--oracle", "openai:a", "--oracle", "openai:b"]
    assert f"{option}: got {value}, " in refused(*words, "--plan")
    assert f"{option}: got {value}, " in refused(*words)


@pytest.mark.parametrize("price", ["inf", "nan", "1e300"])
def test_a_price_that_is_none_is_refused(news, tmp_path, price):
    words = ["label", tmp_path / "run", "--filter", "front-page", "--articles", news, "--oracle", "openai:m"]
    assert "a price per million tokens must be from 0 to 1,000,000" in refused(
        *words, "--prices", f"{price}/1", "--plan"
    )


@pytest.mark.parametrize(
    ("oracle", "message"),
    [
        ("openai:m?timeout=inf", "timeout: got inf, expected a number above 0 and up to 86,400 seconds"),
        ("openai:m?temperature=nan", "temperature: got nan, expected 0 to 2"),
        ("openai:m?temperature=warm", "--oracle openai:m: temperature: got 'warm', expected a number"),
        ("openai:m?heat=1", "--oracle openai:m: got the setting 'heat', expected one of temperature, "),
        ("openai:m@ftp://x", "--oracle openai:m@: "),
    ],
)
def test_a_setting_of_an_oracle_that_is_none_is_refused(oracle, message):
    with pytest.raises(PotstillError, match=f"^{re.escape(message)}"):
        parse_oracle(oracle)


@pytest.mark.parametrize(
    ("oracle", "spec", "settings"),
    [
        ("openai:gpt-5-mini", "openai:gpt-5-mini", Settings()),
        ("anthropic:claude@20250219", "anthropic:claude@20250219", Settings()),
        ("openai:m@http://x/v1?api=2#KEY", "openai:m", Settings("http://x/v1?api=2", "KEY")),
        ("openai:m#KEY", "openai:m", Settings(api_key_env="KEY")),
        (
            "openai:m?temperature=0.5&reasoning_effort=low&timeout=9@http://x",
            "openai:m",
            Settings("http://x", None, 0.5, "low", 9.0),
        ),
        ("replay:a?b@c:d#e", "replay:a?b@c:d#e", Settings()),
    ],
)
def test_the_name_of_an_oracle_holds_its_address_its_key_and_its_settings(oracle, spec, settings):
    assert parse_oracle(oracle) == (spec, settings)


def test_the_recorded_name_of_an_oracle_can_be_given_again():
    settings = Settings(temperature=0.25, reasoning_effort="low")
    assert parse_oracle(f"openai:{settings.identity('m')}") == ("openai:m", settings)
