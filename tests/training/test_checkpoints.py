"""Tests of checkpoints: each is complete or skipped, contains no pickle, and is only resumed if it matches."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from potstill.errors import BadInput, TrainingError
from potstill.files import sha256, write_json
from potstill.training import checkpoints
from potstill.training.checkpoints import Snapshot

sys.path.insert(0, str(Path(__file__).parent))
import trainings


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    model, _ = trainings.train(folder)
    return folder, trainings.weights(model)


@pytest.fixture
def work(finished, tmp_path):
    """A training without its last checkpoint, so that resuming has work to do."""
    folder = shutil.copytree(finished[0], tmp_path / "work")
    shutil.rmtree(folder / "checkpoint-000021")
    return folder


def reseal(folder):
    """Make a changed checkpoint look valid, as someone who edits one by hand would."""
    files = {file.name: sha256(file) for file in sorted(folder.iterdir()) if file.name != checkpoints.MANIFEST}
    write_json(folder / checkpoints.MANIFEST, {"schema_version": 1, "files": files})


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    write_json(path, content)
    reseal(path.parent)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_checkpoint_holds_safetensors_and_json_alone(finished):
    folder, _ = finished

    endings = {file.suffix for file in folder.rglob("*") if file.is_file()}

    assert endings == {".safetensors", ".json"}


def test_a_checkpoint_holds_what_trains_and_not_the_base(finished):
    folder, weights = finished

    assert load_file(folder / "checkpoint-000021" / "parameters.safetensors").keys() == weights.keys()
    assert not any("base_layer" in name or "embeddings" in name for name in weights)


def test_two_checkpoints_stay_and_the_best_epochs_that_they_name(finished):
    folder, _ = finished

    assert sorted(path.name for path in folder.iterdir()) == [
        "best-0002", "best-0003", "checkpoint-000018", "checkpoint-000021",
    ]  # fmt: skip


@pytest.mark.parametrize("file", ["parameters.safetensors", "optimizer.safetensors", "rng.json", "progress.json"])
def test_a_checkpoint_with_one_changed_byte_is_skipped_with_a_note(finished, tmp_path, capsys, file):
    folder = shutil.copytree(finished[0], tmp_path / "work")
    path = folder / "checkpoint-000021" / file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))

    assert checkpoints.newest(folder) == folder / "checkpoint-000018"
    assert f"checkpoint-000021 is skipped: {file} is not what was written" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["parameters.safetensors", checkpoints.MANIFEST])
def test_a_checkpoint_without_one_of_its_files_is_skipped(finished, tmp_path, file):
    folder = shutil.copytree(finished[0], tmp_path / "work")
    (folder / "checkpoint-000021" / file).unlink()

    assert checkpoints.newest(folder) == folder / "checkpoint-000018"


def test_a_checkpoint_whose_best_epoch_is_broken_is_skipped(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "work")
    (folder / "best-0003" / "parameters.safetensors").unlink()

    assert checkpoints.newest(folder) == folder / "checkpoint-000018"


def test_with_no_whole_checkpoint_a_resume_starts_anew_and_ends_alike(finished, work):
    for folder in work.glob("checkpoint-*"):
        (folder / "parameters.safetensors").unlink()

    model, outcome = trainings.train(work, resume=True)

    assert outcome.resumed_from == ()
    assert same(trainings.weights(model), finished[1])


def test_a_resume_of_a_finished_training_trains_no_more(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "work")

    model, outcome = trainings.train(folder, resume=True)

    assert len(outcome.history) == 3
    assert same(trainings.weights(model), finished[1])


def test_without_resume_older_checkpoints_go(finished, work):
    model, outcome = trainings.train(work)

    assert outcome.resumed_from == ()
    assert same(trainings.weights(model), finished[1])


def test_what_a_kill_left_half_written_is_swept_up(work):
    (work / ".checkpoint-000021.abc.part").mkdir()

    trainings.train(work, resume=True)

    assert not list(work.glob(".*"))


def test_a_checkpoint_in_which_the_adapter_was_frozen_makes_training_refuse(work):
    def freeze(progress):
        progress["trains"] = [name for name in progress["trains"] if "lora_" not in name]

    edit(work / "checkpoint-000018" / "progress.json", freeze)

    with pytest.raises(TrainingError, match=r"\d+ tensors that should train were frozen when it was written .*lora_"):
        trainings.train(work, resume=True)


def test_a_checkpoint_that_counted_a_frozen_adapter_makes_training_refuse(work):
    edit(work / "checkpoint-000018" / "progress.json", lambda progress: progress["counts"].update(trainable_adapter=0))

    with pytest.raises(TrainingError, match="its counts of what trains are not what the recipe implies"):
        trainings.train(work, resume=True)


@pytest.mark.parametrize("file", ["parameters", "optimizer"])
def test_a_checkpoint_that_lacks_the_adapter_makes_training_refuse(work, file):
    path = work / "checkpoint-000018" / f"{file}.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if "lora_" not in name}, path)
    reseal(path.parent)

    with pytest.raises(TrainingError, match=r"tensors that train are missing|the checkpoint's optimizer knows"):
        trainings.train(work, resume=True)


def test_a_checkpoint_of_another_training_is_refused(work):
    progress = work / "checkpoint-000018" / "progress.json"
    edit(progress, lambda content: content["identity"].update({"data": "other"}))

    with pytest.raises(
        TrainingError, match=r"checkpoint-000018: differs from this training in its data; train without"
    ):
        trainings.train(work, resume=True)


def test_a_schedule_changed_on_resume_is_noted(work):
    _, outcome = trainings.train(work, resume=True, learning_rate=1e-3)

    assert outcome.notes == ("from step 18 on learning_rate is 0.001, before it was 0.003",)


def test_a_full_disk_while_writing_leaves_the_older_checkpoint(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoint-000001"
    checkpoints.write(folder, Snapshot({"progress": {"best_epoch": None}}, {"parameters": {"a": torch.ones(2)}}))

    def full(tensors, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(BadInput, match="No space left on device"):
        checkpoints.write(folder, Snapshot({}, {"parameters": {"a": torch.zeros(2)}}))

    assert checkpoints.newest(tmp_path) == folder
    assert float(checkpoints.read(folder).tensors["parameters"]["a"].sum()) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000001"]
