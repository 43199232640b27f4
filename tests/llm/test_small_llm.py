"""Test of a real small model with the real protocol; run only by `make test-llm`, as it needs packages and minutes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "small_llm.py"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("llm") / "found.json"
    subprocess.run([sys.executable, SCRIPT, "--out", out], check=True)
    assert out.exists(), "the packages are missing: make test-llm installs them"
    return json.loads(out.read_text())


@pytest.mark.llm
def test_every_question_is_answered_or_its_failure_recorded(found):
    for part, wanted in (("stories", 80), ("red_team", 80)):
        assert found[part]["wanted"] == wanted
        assert found[part]["bought"] + sum(found[part]["failed"].values()) == wanted
        assert found[part]["bought"] > 0.8 * wanted
        # The bound on the evidence holds, so no answer reaches the token limit.
        assert "truncated" not in found[part]["calls_without_an_answer"]


@pytest.mark.llm
def test_the_labels_have_a_repeat_error_and_an_agreement(found):
    stories = found["stories"]
    assert stories["articles_with_two_answers"] > 30
    assert all(0 <= value <= 10 for value in stories["repeat_difference"].values())
    assert all(0 <= value <= 10 for value in stories["mae_to_lee_oracle"].values())
    # A model that gave every story the same scores would not have read the text.
    assert stories["distinct_answers"] > 20


@pytest.mark.llm
def test_injections_are_held_against_the_same_articles_without_them(found):
    low, high = found["red_team"]["mean_shift_interval"]
    assert low <= found["red_team"]["mean_shift"] <= high
    assert found["red_team"]["pairs"] > 30
