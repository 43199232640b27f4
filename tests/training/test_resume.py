"""Tests that a resumed training ends with the same weights as an uninterrupted one, whatever killed it."""

import multiprocessing
import os
import random
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent))
import trainings

STEPS = 21
WRITES = 3 * 3 + 6 * 3
"""Number of tensor files of a training: three per checkpoint (at steps 3, 6, 7, 9, ...), and one per best epoch."""

KILLS = [{"step": step} for step in random.Random(4).sample(range(1, STEPS), 6)] + [
    {"write": write} for write in random.Random(5).sample(range(1, WRITES), 4)
]


@pytest.fixture(scope="module")
def processes():
    # Forked from a server that has imported torch but never run it, which is fast and inherits no threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainings"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        yield context


def run(processes, work, *args, **kwargs):
    process = processes.Process(target=work, args=args, kwargs=kwargs)
    process.start()
    process.join(timeout=120)
    return process.exitcode


@pytest.fixture(scope="module")
def unbroken(processes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    assert run(processes, trainings.train_and_keep, folder / "work", False, folder / "weights.safetensors") == 0
    return load_file(folder / "weights.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(
    "kill",
    [pytest.param(kill, marks=[] if kill in (KILLS[0], KILLS[-1]) else [pytest.mark.long]) for kill in KILLS],
    ids=lambda kill: "-".join(f"{k}-{v}" for k, v in kill.items()),
)
def test_a_killed_training_resumes_to_the_weights_of_the_unbroken_one(processes, unbroken, tmp_path, kill):
    assert run(processes, trainings.train_until_killed, tmp_path / "work", **kill) == -9

    target = tmp_path / "weights.safetensors"
    assert run(processes, trainings.train_and_keep, tmp_path / "work", True, target) == 0

    resumed = load_file(target)
    assert resumed.keys() == unbroken.keys()
    assert max(float((resumed[name] - unbroken[name]).abs().max()) for name in unbroken) <= 1e-6
