"""Tests of unusable backbones and of NaN or infinity: one clear line, finished work is kept, and the run continues."""

import json
from contextlib import contextmanager

import pytest
from tiny_run import started

from potstill.errors import MissingModel, NotEnoughMemory, PotstillError, RecipeError, TrainingError
from potstill.pipeline.train import train_run
from potstill.students.torch import memory
from potstill.students.torch.backbones import Backbone, tiny_backbone
from potstill.training.objectives import Target


@contextmanager
def missing(folder, patch):
    away = folder.rename(folder.with_name("away"))
    yield
    away.rename(folder)


@contextmanager
def too_large(folder, patch):
    with patch.context() as small:
        small.setattr(memory, "free_memory", lambda device="cpu": 100_000)
        yield


@contextmanager
def rewritten(path, **changes):
    before = path.read_text()
    path.write_text(json.dumps({**json.loads(before), **changes}))
    yield
    path.write_text(before)


def without_padding(folder, patch):
    return rewritten(folder / "tokenizer_config.json", pad_token=None, eos_token=None)


def unknown(folder, patch):
    return rewritten(folder / "config.json", model_type="quagga")


@contextmanager
def not_finite(folder, patch):
    honest, calls = Target.loss, []
    with patch.context() as broken:
        broken.setattr(
            Target, "loss", lambda *given: honest(*given) * (float("nan") if calls.append(0) or len(calls) == 3 else 1)
        )
        yield


FAULTS = {
    missing: (MissingModel, r"backbone \S+/small: no such folder, and no name that potstill knows \(all-MiniLM"),
    too_large: (NotEnoughMemory, r"mine: \S+/small: needs at least 0\.\d MB of memory, 0\.1 MB are free"),
    without_padding: (RecipeError, r"small: the tokenizer has neither a padding nor an end token"),
    unknown: (RecipeError, r"config\.json: unknown architecture 'quagga'"),
    not_finite: (TrainingError, r"step 3: the loss is nan; older checkpoints are unchanged: lower learning_rate"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.by_example(2)
def test_is_told_in_a_line_and_the_run_goes_on(tmp_path, monkeypatch, capsys, fault):
    run = started(tmp_path / "run")
    folder = tmp_path / "small"
    tiny_backbone("all-MiniLM-L6-v2", folder)
    recipe = {"name": "mine", "student": "fine-tuned", "backbone": str(folder), "max_tokens": 32, "epochs": 1}
    (tmp_path / "mine.yaml").write_text(json.dumps(recipe | {"checkpoint_steps": 1}))
    wanted = ["constant", tmp_path / "mine.yaml"]
    error, said = FAULTS[fault]

    with fault(folder, monkeypatch), pytest.raises(error, match=said) as told:
        train_run(run, wanted)

    assert "\n" not in str(told.value)
    assert [path.name for path in run.path("students").iterdir() if path.name[0] != "."] == ["constant"]
    capsys.readouterr()
    records = train_run(run, wanted, resume=True)
    assert "constant: done already" in capsys.readouterr().err
    assert [record.recipe["name"] for record in records] == ["constant", "mine"]
    assert records[1].resumed_from == ((2,) if fault is not_finite else ())


def test_what_would_fit_is_said(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": 3_000_000_000)

    with pytest.raises(NotEnoughMemory, match=r"^huge: needs at least 6\.0 GB of memory, 3\.0 GB are free; two would"):
        memory.check_room("huge", 6 * 10**9, smaller=lambda: {"one": 10**9, "two": 2 * 10**9, "four": 4 * 10**9})


def test_full_training_needs_more_than_an_adapter_and_says_so(tmp_path, monkeypatch):
    run = started(tmp_path / "run")
    small = tiny_backbone("all-MiniLM-L6-v2", tmp_path / "small")
    recipe = {"name": "mine", "student": "fine-tuned", "backbone": str(small.folder), "epochs": 1}
    (tmp_path / "mine.yaml").write_text(json.dumps(recipe))
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": 6 * small.parameters)

    with pytest.raises(NotEnoughMemory, match=r"small with lora would fit, with 0\.\d MB"):
        train_run(run, [tmp_path / "mine.yaml"])


def test_a_frozen_backbone_that_is_too_large_is_refused_too(tmp_path, monkeypatch):
    small = tiny_backbone("all-MiniLM-L6-v2", tmp_path / "small")
    assert small.parameters == sum(one.numel() for one in small.load_model().parameters())
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": 3 * small.parameters)

    with pytest.raises(NotEnoughMemory, match="small: needs at least"):
        small.load_model()


def test_a_file_of_weights_that_is_cut_short_is_named(tmp_path):
    small = tiny_backbone("all-MiniLM-L6-v2", tmp_path / "small")
    weights = tmp_path / "small" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])

    with pytest.raises(PotstillError, match=r"model\.safetensors: not a whole safetensors file"):
        Backbone(small.name, small.folder).load_model()


def test_memory_that_is_free_is_a_number_of_bytes_within_a_containers_limit(tmp_path):
    (tmp_path / "max").write_text("5000\n")
    (tmp_path / "current").write_text("4000\n")
    assert memory._within_limit((tmp_path / "max", tmp_path / "current")) == [1000]
    (tmp_path / "max").write_text("max\n")
    assert memory._within_limit((tmp_path / "max", tmp_path / "current")) == []
    assert memory.free_memory() > 0
