"""What several tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No test judges time: the first call compiles, and machines are shared.
settings.register_profile("potstill", deadline=None)
settings.load_profile("potstill")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The benchmark data, which belong to others and are never part of the project."""
    folder = Path(os.environ.get("POTSTILL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no benchmark data at {folder}; set POTSTILL_DATA")
    return folder
