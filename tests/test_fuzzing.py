"""Tests that replay the saved fuzzing inputs: every parser returns a result or raises a potstill error."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))

from fuzz.targets import TARGETS, Target, check, made_targets  # noqa: E402 - found through the path above

MOST = 40
"""Number of corpus inputs that the suite tries; `make fuzz` starts from all of them."""


def inputs(name, target):
    kept = sorted((ROOT / "fuzz" / "corpus" / name).glob("*"))
    step = max(1, len(kept) // MOST)
    return [*target.seeds, *(path.read_bytes() for path in kept[::step])]


@pytest.mark.parametrize("name", list(TARGETS))
def test_inputs_that_reach_deep_into_a_parser_end_well(name, tmp_path):
    for data in inputs(name, TARGETS[name]):
        check(TARGETS[name], data, tmp_path)


def test_files_of_runs_and_bundles_that_were_changed_end_well(tmp_path):
    targets = made_targets()
    assert {"bundle-golden.jsonl", "bundle-student.safetensors", "run-run.json", "run-evaluation.json"} <= set(targets)
    for name, target in targets.items():
        folder = tmp_path / name
        folder.mkdir()
        for data in (*inputs(name, target), b"", b"\xff", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"):
            check(target, data, folder)


def test_any_other_exception_is_a_finding(tmp_path):
    def broken(data, folder):
        raise KeyError(data)

    with pytest.raises(KeyError):
        check(Target(broken, ()), b"x", tmp_path)
