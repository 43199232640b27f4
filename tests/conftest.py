"""What several tests share."""

import os

# Tiny networks run fastest on one thread, and the suite runs side by side; torch reads this when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

# No test judges time: the first call compiles, and machines are shared.
settings.register_profile("potstill", deadline=None)
settings.load_profile("potstill")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of each test that is marked `by_example(n)` every n-th case stays; the others are run by `make test-long` alone.

    The cases are taken on a diagonal, so that with two parameters each value of either is tried.
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
def quiet_machine():
    """No test depends on what else the machine is doing; those about load say how busy it is."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)
        yield


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The benchmark data, which belong to others and are never part of the project."""
    folder = Path(os.environ.get("POTSTILL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no benchmark data at {folder}; set POTSTILL_DATA")
    return folder
