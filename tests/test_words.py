"""The documents, the help texts and the messages use current terms: no retired word is left in them."""

import ast
import re
from pathlib import Path

import pytest

from potstill.cli.reference import reference

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = sorted((ROOT / "src" / "potstill").rglob("*.py"))

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
    "anew",
    "likewise",
)
"""Patterns of words that readers did not understand. Names in code spans and code blocks may still contain them."""

FOUND = re.compile(r"\b(?:" + "|".join(RETIRED).replace(" ", r"\s+") + r")\b", re.IGNORECASE)

BLOCK = re.compile(r"^ *(?P<fence>```+|~~~+).*?^ *(?P=fence)", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)(?P<ticks>`+)(?!`)(?:(?!\n\s*\n).)*?(?<!`)(?P=ticks)(?!`)", re.DOTALL)
"""A span ends within its paragraph, as in Markdown: a single backtick hides nothing."""


MESSAGES = frozenset({"Failure", "Finding", "fail", "note", "warning"})
"""Functions and classes whose text arguments a user reads, apart from errors that are raised."""


def messages(code):
    """The line number and the text of each literal in an error that is raised or in a call of `MESSAGES`.

    A literal without a space is a name in code, such as a key of the evidence for a finding.
    """
    for node in ast.walk(ast.parse(code)):
        call = node.exc if isinstance(node, ast.Raise) else node
        if isinstance(call, ast.Call) and (isinstance(node, ast.Raise) or called(call) in MESSAGES):
            for part in ast.walk(call):
                if isinstance(part, ast.Constant) and isinstance(part.value, str) and " " in part.value:
                    yield part.lineno, part.value


def called(call):
    """The last part of the name of the function that is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)


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


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT / "src" / "potstill")))
def test_no_message_uses_a_retired_word(module):
    found = [(line, word) for line, text in messages(module.read_text(encoding="utf-8")) for _, word in retired(text)]
    assert found == []


def test_messages_are_found_in_errors_and_in_notes():
    code = """
def of(rung):
    '''A docstring about a river.'''
    note(f"skipped {rung!r}: no odds", "one rung", {"rung": rung})
    terminal.note("three rungs")
    draw("a trunk")
    if rung:
        raise ValueError(f"pupil {rung}" + ("; nobody" if rung else ""))
    raise
"""
    assert sorted((line, word) for line, text in messages(code) for _, word in retired(text)) == [
        (4, "odds"), (4, "rung"), (5, "rungs"), (8, "nobody"), (8, "pupil"),
    ]  # fmt: skip


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
