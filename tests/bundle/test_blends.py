"""Tests of bundles with a blend: every encoder is stored once, and the scores stay the same."""

import json

import numpy as np
import pytest
from tiny_bundle import FILTER, articles, calibration_of, examples, golden
from tiny_network import TinyNetwork, tiny_bert, tiny_tokenizer
from tiny_run import started

from potstill.bundle import load_bundle, write_bundle
from potstill.bundle.exporting import export_student
from potstill.bundle.golden import TEXTS
from potstill.errors import BundleError
from potstill.pipeline.bundle import build_bundle
from potstill.pipeline.evaluate import evaluate_run
from potstill.pipeline.leaderboard import train_candidates
from potstill.pipeline.run import Run
from potstill.pipeline.train import train_run
from potstill.scorer import Scorer
from potstill.students.blend import BlendStudent
from potstill.students.neural import JoinedEncoder, fit_encoder_head
from potstill.students.recipes import EncoderHeadRecipe, RidgeHead, load_recipe
from potstill.students.tfidf import fit_tfidf

RECIPE = EncoderHeadRecipe(name="letters", student="encoder-head", head=RidgeHead(kind="ridge"))


class Network(TinyNetwork):
    """A network with a description and without anything to save."""

    def settings(self):
        return self.facts.model_dump(mode="json")

    def save(self, folder):
        pass


@pytest.fixture(scope="module")
def blend():
    first = Network(tiny_bert(seed=0), tiny_tokenizer(0))
    second = Network(tiny_bert(width=16, seed=1), tiny_tokenizer(1))
    train = examples()
    members = (
        fit_tfidf(load_recipe("tfidf-median"), train),
        fit_encoder_head(RECIPE, train, encoder=first),
        fit_encoder_head(RECIPE, train, encoder=JoinedEncoder((second, first))),
    )
    return BlendStudent(FILTER.dimension_names, members, np.array([[0.5, 0.2], [0.25, 0.3], [0.25, 0.5]]))


@pytest.fixture(scope="module")
def bundle(blend, tmp_path_factory):
    folder = tmp_path_factory.mktemp("blend")
    kind, encoders, _ = export_student(blend, folder / "scratch", [article.content for article in TEXTS])
    return write_bundle(
        folder / "bundle",
        student=blend,
        recipe="mine",
        filter_=FILTER,
        calibration=calibration_of(blend),
        golden=golden(examples()),
        encoders=encoders,
        kind=kind,
    )


def test_each_encoder_is_shipped_once(bundle):
    assert {path.name for path in bundle.folder.glob("*.onnx")} == {"model.onnx", "model-1.onnx"}
    assert [facts.width for facts in bundle.manifest.encoders] == [32, 16]
    assert bundle.manifest.student == "blend"


def test_scores_are_those_of_the_trainer(bundle, blend):
    rows = examples(seed=3)
    assert bundle.student.predict(rows.frame) == pytest.approx(blend.predict(rows.frame), abs=1e-3)
    assert Scorer.load(bundle.folder).score_batch(articles(5)[0]).height == 5


def test_changed_weights_do_not_pass_the_proof(bundle, blend, tmp_path):
    from dataclasses import replace

    broken = replace(blend, weights=blend.weights[::-1].copy())
    _, encoders, _ = export_student(blend, tmp_path / "scratch", ["one"])

    class Lying(BlendStudent):
        """Stores other weights than those that it scores with."""

        def arrays(self):
            return super().arrays() | {"weights": broken.weights}

    lying = Lying(blend.dimensions, blend.members, blend.weights)
    with pytest.raises(BundleError, match="golden text"):
        write_bundle(
            tmp_path / "bundle",
            student=lying,
            recipe="mine",
            filter_=FILTER,
            calibration=calibration_of(blend),
            golden=golden(examples()),
            encoders=encoders,
        )


def test_no_blend_is_an_adapter(blend, tmp_path):
    with pytest.raises(BundleError, match="only a student with a LoRA adapter"):
        export_student(blend, tmp_path, ["one"], "adapter")


def test_a_run_trains_ships_and_judges_one(tmp_path):
    run = started(tmp_path / "run")
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nstudent: blend\nmembers: [tfidf-ridge, minilm-ridge]\n", encoding="utf-8")
    (record,) = train_run(run, [path], tiny=True)
    assert record.held_out_rows == 80
    assert record.notes[0].startswith("weights of tfidf-ridge, minilm-ridge, in this order: gain ")
    bundle = build_bundle(run)
    assert bundle.manifest.recipe == "mine"
    assert load_bundle(bundle.folder, check="all").student.members[0].kind == "tfidf-ridge"
    evaluation = evaluate_run(Run.open(run.folder), k=0, resamples=20, timed=False)
    assert evaluation.ladder[0].name == "mine"
    assert json.loads((run.folder / "students/mine/record.json").read_text())["recipe"]["members"][0]["name"]
    leaderboard = train_candidates(run, [path, "constant"], minutes=5, tiny=True)
    assert {step.name: step.state for step in leaderboard.steps} == {"mine": "trained", "constant": "trained"}
