"""Tests that a network runs in bfloat16 where the device supports it natively, and in float32 everywhere else."""

import platform

import pytest
import torch
import trainings
from headlines import headlines

from potstill.students.recipes import FineTunedRecipe, load_recipe, presets
from potstill.training import estimating, finetune, fit, precision
from potstill.training.estimating import estimate
from potstill.training.precision import emulation_cost, multiplies_bf16, used_precision, warn_if_emulated

NATIVE = {"avx512_bf16": True, "amx_bf16": False}
AVX2 = {"avx2": True, "avx512_bf16": False, "amx_bf16": False}


@pytest.mark.parametrize(
    ("capabilities", "native"),
    [
        (NATIVE, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        (AVX2, False),
        ({"avx512_f": True, "avx512_vnni": True}, False),
        ({"bf16": True, "neon": True}, platform.system() == "Linux"),
        ({}, False),
    ],
)
def test_a_processor_multiplies_bfloat16_only_with_an_instruction_for_it(capabilities, native):
    assert multiplies_bf16("cpu", capabilities=capabilities, environment={}) is native


@pytest.mark.parametrize(
    ("environment", "native"),
    [
        ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, False),
        ({"ONEDNN_MAX_CPU_ISA": "avx512_core"}, False),
        ({"DNNL_MAX_CPU_ISA": "AVX512_CORE_VNNI"}, False),
        ({"ATEN_CPU_CAPABILITY": "avx2"}, False),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, True),
        ({"ONEDNN_MAX_CPU_ISA": "ALL", "ATEN_CPU_CAPABILITY": "avx512"}, True),
    ],
)
def test_instructions_that_are_switched_off_do_not_count(environment, native):
    assert multiplies_bf16("cpu", capabilities=NATIVE, environment=environment) is native


def test_a_graphics_processor_is_asked_for_native_bfloat16_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **options: asked.append(options) or True)
    assert used_precision("auto", "cuda:0") == "bf16"
    assert asked == [{"including_emulation": False}]
    assert used_precision("auto", "mps") == "fp32"


def test_what_is_asked_for_by_name_is_used(monkeypatch):
    monkeypatch.setattr(precision, "multiplies_bf16", lambda _: False)
    assert [used_precision(asked, "cpu") for asked in ("auto", "fp32", "bf16")] == ["fp32", "fp32", "bf16"]
    monkeypatch.setattr(precision, "multiplies_bf16", lambda _: True)
    assert [used_precision(asked, "cpu") for asked in ("auto", "fp32", "bf16")] == ["bf16", "fp32", "bf16"]


def test_bfloat16_on_a_processor_that_emulates_it_is_warned_of_with_its_measured_cost(monkeypatch, capsys):
    monkeypatch.setattr(precision, "multiplies_bf16", lambda _: False)
    monkeypatch.setattr(precision, "emulation_cost", lambda: 23.54)
    for asked in ("auto", "fp32"):
        warn_if_emulated("mine", asked, "cpu")
    warn_if_emulated("mine", "bf16", "cuda")
    assert capsys.readouterr().err == ""
    warn_if_emulated("mine", "bf16", "cpu")
    assert "mine: precision bf16 on a CPU that emulates it: a product of matrices takes 23.5 times as long as in" in (
        capsys.readouterr().err
    )


def test_the_cost_of_emulation_is_a_ratio_of_times():
    # Readings of the clock: each product takes as many seconds as its position says; float32 comes first.
    times = iter([0, 9, 0, 3, 0, 2, 0, 4, 0, 9, 0, 12, 0, 10, 0, 11])
    assert emulation_cost(lambda: next(times)) == 5.0


def test_every_shipped_recipe_leaves_the_precision_to_the_machine():
    tuned = [recipe for name in presets() if isinstance(recipe := load_recipe(name), FineTunedRecipe)]
    assert len(tuned) >= 8
    assert {recipe.precision for recipe in tuned} == {"auto"}


@pytest.mark.parametrize(("native", "used"), [(True, "bf16"), (False, "fp32")])
def test_a_fit_records_what_it_used_and_trains_in_it(tmp_path, monkeypatch, native, used):
    monkeypatch.setattr(precision, "multiplies_bf16", lambda _: native)
    trained = []
    train = finetune.train_model
    monkeypatch.setattr(
        finetune, "train_model", lambda model, task, *a, **k: trained.append(task) or train(model, task, *a, **k)
    )
    recipe = load_recipe("minilm-full").model_copy(update={"epochs": 1})
    rows = headlines()
    fitted = fit(recipe, rows, rows, workdir=tmp_path, holdout=0.0, tiny=True, device="cpu")
    assert fitted.precision == used
    assert [task.recipe.precision for task in trained] == [used]


def test_a_frozen_network_is_read_in_float32_on_every_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "multiplies_bf16", lambda _: True)
    rows = headlines()
    assert fit(load_recipe("minilm-ridge"), rows, rows, workdir=tmp_path, tiny=True, crossfit=0).precision == "fp32"
    assert fit(load_recipe("tfidf-ridge"), rows, rows, workdir=tmp_path, crossfit=0).precision is None


@pytest.mark.parametrize("native", [True, False])
def test_an_estimate_reads_in_the_precision_that_training_would_use(monkeypatch, native):
    monkeypatch.setattr(precision, "multiplies_bf16", lambda _: native)
    seen = []

    class Encoder:
        def encode(self, texts):
            seen.append(torch.is_autocast_enabled("cpu"))

    monkeypatch.setattr(estimating, "_encoders", lambda *_: [Encoder()])
    estimate(trainings.recipe_of(), ["a"], ["b"], device="cpu")
    assert set(seen) == {native}
    seen.clear()
    estimate(load_recipe("minilm-ridge"), ["a"], ["b"], device="cpu")
    assert set(seen) == {False}
