"""Tests that the documentation matches the code."""

import re
from pathlib import Path

import pytest

from potstill.cli.reference import reference, summary

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_reference_of_commands_is_up_to_date():
    written = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert written == reference(), "run: make docs"


def test_the_readme_lists_every_command_with_its_own_words():
    rows = dict(re.findall(r"^\| `potstill ([\w-]+)[^`]*` \| (.+?) \|$", README, re.MULTILINE))
    assert rows == summary()


def test_the_readme_maps_every_module():
    named = set(re.findall(r"^  (\w+)(?:\.py|/) ", README, re.MULTILINE))
    modules = {
        path.stem
        for path in (ROOT / "src" / "potstill").iterdir()
        if path.stem != "__init__" and (path.suffix == ".py" or (path / "__init__.py").exists())
    }
    assert modules <= named


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_the_readmes_links_lead_somewhere(link):
    assert (ROOT / link).exists()
