"""Fixtures and settings shared by several tests."""

import os

# Tiny networks run fastest on one thread, and tests run in parallel. Torch reads this variable when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

from potstill import terminal

# Tests do not have deadlines, because the first call compiles code and machines are shared.
settings.register_profile("potstill", deadline=None)
settings.load_profile("potstill")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Keep every n-th case of each test marked `by_example(n)`; only `make test-long` runs the others.

    The cases are taken on a diagonal, so that with two parameters each value of either is tested.
    """
    seen = Counter()
    for item in items:
        mark = item.get_closest_marker("by_example")
        if mark is not None:
            name, every = item.nodeid.partition("[")[0], mark.args[0]
            place = seen[name]
            seen[name] += 1
            if (place + place // every) % every:
                item.add_marker(pytest.mark.long)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Keep features of tests out of the user's cache; converted backbones are still shared with it."""
    users = os.environ.get("POTSTILL_CACHE")
    usual = Path(users) if users else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "potstill"
    (usual / "backbones").mkdir(parents=True, exist_ok=True)
    folder = tmp_path_factory.mktemp("cache")
    (folder / "backbones").symlink_to(usual / "backbones")
    os.environ["POTSTILL_CACHE"] = str(folder)
    yield
    if users is None:
        del os.environ["POTSTILL_CACHE"]
    else:
        os.environ["POTSTILL_CACHE"] = users


@pytest.fixture(autouse=True, scope="session")
def quiet_machine():
    """Make tests independent of the machine's load; tests about load set it themselves."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)
        yield


@pytest.fixture(autouse=True)
def notes_are_shown():
    """Show progress and notes again after a test that ran a command with `-q`."""
    yield
    terminal.console.quiet = False


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder of the benchmark data, which belongs to others and is never part of the project."""
    folder = Path(os.environ.get("POTSTILL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no benchmark data at {folder}; set POTSTILL_DATA")
    return folder
