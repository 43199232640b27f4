"""The documents and the help texts use current terms: no retired word is left in them."""

import re
from pathlib import Path

import pytest

from potstill.cli.reference import reference

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

RETIRED = (
    "rungs?",
    "trunks?",
    "pupils?",
    "odds",
    "of everything random",
    "of the draw",
    "whoever",
    "nobody",
    "river",
    "empty purse",
    "never paid for",
    "beside what",
    "is to be had",
)
"""Patterns of words that readers did not understand. Names in code spans and code blocks may still contain them."""

FOUND = re.compile(r"\b(?:" + "|".join(RETIRED).replace(" ", r"\s+") + r")\b", re.IGNORECASE)

BLOCK = re.compile(r"^ *(?P<fence>```+|~~~+).*?^ *(?P=fence)", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)(?P<ticks>`+)(?!`)(?:(?!\n\s*\n).)*?(?<!`)(?P=ticks)(?!`)", re.DOTALL)
"""A span ends within its paragraph, as in Markdown: a single backtick hides nothing."""


def retired(text):
    """The line number and the word of each retired word outside code."""
    prose = text
    for code in (BLOCK, SPAN):
        prose = code.sub(lambda found: "`" + "\n" * found[0].count("\n"), prose)
    return [(prose.count("\n", 0, found.start()) + 1, found[0]) for found in FOUND.finditer(prose)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_document_uses_a_retired_word(document):
    assert retired(document.read_text(encoding="utf-8")) == []


def test_no_help_text_uses_a_retired_word():
    assert retired(reference()) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The cheapest rung.\n", [(1, "rung")]),
        ("One\nof the\ndraw, against all Odds.", [(2, "of the\ndraw"), (3, "Odds")]),
        ("A wrung trunkful of `odds` and ``a `rung` ``.", []),
        ("```\nrung\n```\npupils\n", [(4, "pupils")]),
        ("- item\n  ```sh\n  whoever\n  ```\n", []),
        ("`a` nobody `b`", [(1, "nobody")]),
        ("A lone ` and\n\na river, then a lone `.", [(3, "river")]),
        ("of `x` the draw", []),
    ],
)
def test_words_are_found_outside_code_only(text, found):
    assert retired(text) == found
