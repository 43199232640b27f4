"""Tests that a plan next to a bundle is used if it is valid, and that scoring otherwise explains its default."""

import json

import numpy as np
import pytest
from tiny_bundle import articles, neural_bundle
from typer.testing import CliRunner

from potstill.backends.machine import this_machine
from potstill.backends.plan import Plan, Variant, library_versions, write_plan
from potstill.cli import build
from potstill.errors import BundleError, MissingExtra
from potstill.scorer import Scorer

pytest.importorskip("openvino")

from potstill.backends.openvino import OpenVinoEncoder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planned")
    return neural_bundle(folder / "bundle", folder / "scratch")


def planned(built, /, **changes):
    facts = {
        "bundle": built.hash,
        "machine": this_machine(),
        "versions": library_versions(),
        "variant": Variant(backend="openvino", threads=1),
        "drift": 0.0,
        "why": "",
        "proven_on": "",
        "tried": (),
    }
    write_plan(built.folder, Plan(**(facts | changes)))


def runs_on(scorer):
    return scorer.bundle.student.encoder.name


def test_a_plan_that_fits_is_followed_and_changes_no_score(bundle, capsys):
    planned(bundle)
    scorer = Scorer.load(bundle.folder)
    assert runs_on(scorer) == "openvino"
    frame, _ = articles(20)
    usual = Scorer(bundle).score_batch(frame)["score_gain"].to_numpy()
    np.testing.assert_allclose(scorer.score_batch(frame)["score_gain"].to_numpy(), usual, atol=1e-3)
    assert capsys.readouterr().err == ""


def test_it_can_be_left_aside(bundle):
    planned(bundle)
    assert runs_on(Scorer.load(bundle.folder, follow_plan=False)) == "onnx"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"bundle": "0" * 64}, "it was made for another bundle"),
        ({"machine": this_machine().model_copy(update={"processor": "Another"})}, "it was made on another machine"),
        ({"versions": {}}, "it was made with another version of"),
    ],
)
def test_one_that_does_not_fit_is_not_followed_and_it_says_so(bundle, capsys, changes, why):
    planned(bundle, **changes)
    assert runs_on(Scorer.load(bundle.folder)) == "onnx"
    said = capsys.readouterr().err
    assert f"plan.json: not followed: {why}" in said
    assert f"potstill optimize {bundle.folder}" in said


def test_a_backend_that_fails_the_golden_texts_is_not_used(bundle, capsys, monkeypatch):
    planned(bundle)
    run = OpenVinoEncoder.run
    monkeypatch.setattr(OpenVinoEncoder, "run", lambda self, ids, mask: run(self, ids, mask) + 0.1)
    assert runs_on(Scorer.load(bundle.folder)) == "onnx"
    assert "not followed: " in capsys.readouterr().err


def test_a_processor_without_the_instruction_goes_the_portable_way(bundle, capsys, monkeypatch):
    planned(bundle, variant=Variant(backend="openvino", precision="bf16"), drift=0.01)
    monkeypatch.setattr("potstill.backends.openvino.precisions", lambda: ("f32",))
    assert runs_on(Scorer.load(bundle.folder)) == "onnx"
    assert "no instructions for bf16" in capsys.readouterr().err


def test_without_the_library_it_goes_the_portable_way(bundle, capsys, monkeypatch):
    def missing(module, extra):
        raise MissingExtra(module, extra)

    planned(bundle)
    monkeypatch.setattr("potstill.backends.openvino.require", missing)
    assert runs_on(Scorer.load(bundle.folder)) == "onnx"
    assert "openvino is not installed" in capsys.readouterr().err


def test_a_broken_bundle_is_refused_as_ever(tmp_path):
    broken = neural_bundle(tmp_path / "bundle", tmp_path / "scratch")
    planned(broken)
    (broken.folder / "rubric.md").write_text("Score something else.")
    with pytest.raises(BundleError, match=r"rubric\.md: changed after it was written"):
        Scorer.load(broken.folder)


def test_the_command_follows_it_too_unless_told_otherwise(bundle, tmp_path):
    planned(bundle, machine=this_machine().model_copy(update={"processor": "Another"}))
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"content": "A library."}) + "\n")
    arguments = ["score", str(bundle.folder), str(source), "-o", str(tmp_path / "out.jsonl")]
    assert "not followed" in CliRunner().invoke(build(), arguments).stderr
    assert "not followed" not in CliRunner().invoke(build(), [*arguments, "--portable"]).stderr
