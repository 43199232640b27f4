"""Fuzz one target until libFuzzer's own limits end it: `python -m fuzz.one TARGET CORPUS [libFuzzer options]`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import atheris


def main() -> None:
    """Instrument potstill, and give libFuzzer the target."""
    name, corpus, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["potstill"], enable_loader_override=False):
        from fuzz.targets import TARGETS, check, made_targets

        target = TARGETS[name] if name in TARGETS else made_targets()[name]
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        # The first call imports what the parser imports late, so that this is instrumented too.
        for seed in target.seeds:
            check(target, seed, folder)
    places = Path(corpus)
    places.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (places / f"seed-{number}").write_bytes(seed)

    def one(data: bytes) -> None:
        check(target, data, folder)

    atheris.Setup([sys.argv[0], corpus, *options], one)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
