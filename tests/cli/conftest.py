"""Fixtures shared by the tests of commands."""

import sys

import pytest

from potstill.cli import build
from potstill.cli.process import _run


@pytest.fixture
def ending(monkeypatch, capfd):
    """Run a command in this process as `potstill` would, and return its exit code and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["potstill", *map(str, arguments)])
        capfd.readouterr()
        code = _run(build)
        return code, capfd.readouterr().err

    return run
