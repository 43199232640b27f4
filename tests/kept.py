"""Cache folders that take seconds to build: each is built once per process and then copied."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path


@functools.cache
def _place():
    place = Path(tempfile.mkdtemp(prefix="potstill-kept-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


_made = {}


def kept(folder, make, *key):
    """Fill a folder with what `make` writes into one, calling it only once for this key."""
    if key not in _made:
        own = Path(tempfile.mkdtemp(dir=_place()))
        make(own)
        _made[key] = own
    shutil.copytree(_made[key], folder, dirs_exist_ok=True)
