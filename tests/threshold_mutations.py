"""Changes each threshold of potstill.findings slightly, and runs its boundary tests, which must fail.

As a script, it prints the changes that no test has noticed. All are made in one process: a threshold is replaced in
every module that has imported it.
"""

import contextlib
import importlib
import io
import re
import sys
from pathlib import Path

import pytest

from potstill import findings

TESTS = Path(__file__).parent
MARK = re.compile(r'mark\.threshold\(name="(\w+)"\)')


def thresholds():
    """Return the value of each threshold by name."""
    return {name: value for name, value in vars(findings).items() if name.isupper() and name != "TYPE_CHECKING"}


def marked():
    """Return the test files and the names of thresholds whose boundaries they test."""
    return [
        (path, name)
        for path in sorted(TESTS.rglob("test_*.py"))
        for name in sorted(set(MARK.findall(path.read_text(encoding="utf-8"))))
    ]


def changes(value):
    """Return a slightly smaller and a slightly larger threshold."""
    return (value - 1, value + 1) if isinstance(value, int) else (0.98 * value, 1.02 * value)


def replace(name, old, new):
    """Replace a threshold in all modules that have it."""
    for module in [module for key, module in sys.modules.items() if key.split(".")[0] == "potstill"]:
        if getattr(module, name, None) is old:
            setattr(module, name, new)
    if "potstill.report.rules" in sys.modules:
        # Its record of all thresholds is made on import.
        importlib.reload(sys.modules["potstill.report.rules"])


def noticed(path, name):
    """Whether the tests of a file for a threshold fail."""
    arguments = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", f"threshold(name='{name}')", str(path)]
    with contextlib.redirect_stdout(io.StringIO()) as output:
        code = pytest.main(arguments)
    if code not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        raise RuntimeError(f"{path}, {name}: {output.getvalue()}")
    return code == pytest.ExitCode.TESTS_FAILED


def survivors():
    """Return each file, threshold and changed value with which the file's tests still pass."""
    known, found = thresholds(), []
    for path, name in marked():
        old = known[name]
        for new in changes(old):
            replace(name, old, new)
            if not noticed(path, name):
                found.append(f"{path.relative_to(TESTS)}: {name} = {new:g}")
            replace(name, new, old)
    return found


if __name__ == "__main__":
    sys.stdout.write("".join(f"{line}\n" for line in survivors()))
