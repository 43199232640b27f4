"""Tests that every candidate model is trained with one function, and that a run keeps what its evaluation needs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from evaluated_run import FILTER, stories
from headlines import DIMENSIONS, FIRES, GARDENS, LetterEncoder, headlines

from potstill.dataset import Examples
from potstill.errors import DatasetError, RecipeError
from potstill.oracle import open_oracle
from potstill.pipeline.label import label_run
from potstill.pipeline.run import Run
from potstill.pipeline.teachers_and_members import needs
from potstill.pipeline.train import train_run
from potstill.students.recipes import (
    ConstantRecipe,
    FineTunedRecipe,
    SourceMedianRecipe,
    load_recipe,
    parse_recipe,
    presets,
)
from potstill.students.storage import load_student, save_student
from potstill.training import EpochRecord, StudentRecord, fit, fitter, predict_out_of_fold
from potstill.training.facts import Measures
from potstill.training.folder import LAYOUT, read_scores

CONSTANT = ConstantRecipe(name="constant", student="constant")


def fifty():
    """Return fifty labelled headlines, each with a unique word."""
    texts = [f"{text}, {number}" for number, text in enumerate((FIRES + GARDENS) * 3)][:50]
    random = np.random.default_rng(0)
    scores = np.array([[8.0, 1.0] if "fires" in text else [1.0, 7.0] for text in texts]) + random.normal(
        0, 0.3, (50, 2)
    )
    frame = pl.DataFrame({"id": [f"h{n}" for n in range(50)], "text": texts, "source": ["wire", "green"] * 25})
    return Examples(tuple(frame["id"]), frame, scores, np.arange(50), DIMENSIONS)


EVERYDAY = {
    "constant", "source-median", "tfidf-ridge", "tfidf-median", "minilm-median", "minilm-e5-tfidf-blend", "minilm-lora",
    "e5-static", "qwen2.5-1.5b-lora-printed",
}  # fmt: skip
"""One preset of each kind; the long tests train the others."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in EVERYDAY else [pytest.mark.long])
        for name in presets()
        if not needs(load_recipe(name))
    ],
)
@pytest.mark.by_example(2)
def test_every_preset_trains_on_fifty_rows(tmp_path, name):
    rows = fifty()
    recipe = load_recipe(name)

    fitted = fit(
        recipe, rows.take(np.arange(40)), rows.take(np.arange(40, 50)), workdir=tmp_path, tiny=True, crossfit=2
    )

    assert fitted.validation.shape == (10, 2)
    assert np.isfinite(fitted.validation).all()
    assert np.isfinite(fitted.student.predict(rows.frame)).all()
    if isinstance(recipe, FineTunedRecipe):
        assert len(fitted.history) == recipe.epochs or recipe.patience is not None
        assert fitted.counts is not None
        assert fitted.counts.trainable == fitted.counts.trainable_base + fitted.counts.adapter + fitted.counts.head
    else:
        assert np.isfinite(fitted.held_out).all()


class TestPredictionsOfUnseenRows:
    def test_come_from_students_that_had_not_seen_the_row_or_its_near_copies(self):
        # A row's score can only be learned from its own cluster, so a student that was trained on it would be right.
        examples = headlines()
        pairs = Examples(examples.ids, examples.frame, examples.scores, np.arange(20) // 2, examples.dimensions)
        seen = []

        class Remembering:
            def __init__(self, rows):
                self.known = set(rows.clusters.tolist())

            def predict(self, frame):
                asked = {pairs.ids.index(one) // 2 for one in frame["id"]}
                seen.append(self.known & asked)
                return np.zeros((frame.height, 2))

        scores = predict_out_of_fold(Remembering, pairs, 5, 0)

        assert seen == [set()] * 5
        assert np.isfinite(scores).all()

    def test_are_missing_where_they_cannot_be(self):
        examples = headlines()
        one = Examples(examples.ids, examples.frame, examples.scores, np.zeros(20, dtype=np.int64), examples.dimensions)

        assert np.isnan(predict_out_of_fold(fitter(CONSTANT), one, 5, 0)).all()
        assert np.isnan(predict_out_of_fold(fitter(CONSTANT), examples, 0, 0)).all()

    def test_are_left_out_where_a_fold_holds_every_label_of_a_dimension(self):
        examples = headlines()
        scores = examples.scores.copy()
        scores[1:, 1] = np.nan
        rare = Examples(examples.ids, examples.frame, scores, examples.clusters, examples.dimensions)

        found = predict_out_of_fold(fitter(CONSTANT), rare, 5, 0)

        assert np.isnan(found[0]).all()
        assert np.isfinite(found).any(axis=1).sum() >= 10


def test_a_frozen_encoder_reads_all_folds_through_one_instance():
    recipe = load_recipe("minilm-ridge")

    student = fitter(recipe, encoder=LetterEncoder())(headlines())

    assert student.predict(headlines().frame).shape == (20, 2)


def test_joined_encoders_and_layers_are_tried_on_tiny_networks(tmp_path):
    rows = headlines()

    fitted = fit(load_recipe("minilm-e5-median"), rows, rows, workdir=tmp_path, tiny=True, crossfit=0)

    # The recipe has layers -1, -3 and -5, of which a network with two layers has two; for both encoders.
    assert [part.facts.layers for part in fitted.student.encoder.parts] == [(2, 0), (2, 0)]
    assert fitted.student.head.base.centring.widths.tolist() == [32] * 4


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_attention_is_dropped_as_the_recipe_says(tmp_path, share):
    recipe = load_recipe("minilm-full").model_copy(update={"attention_dropout": share, "epochs": 1})
    rows = headlines()
    student = fit(recipe, rows, rows, workdir=tmp_path, holdout=0.0, tiny=True).student
    assert student.encoder.model.config.attention_probs_dropout_prob == share


def test_a_fine_tuned_recipe_has_no_quick_fit():
    with pytest.raises(RecipeError, match="not fitted again for each fold"):
        fitter(load_recipe("minilm-lora"))


def test_an_empty_part_is_refused(tmp_path):
    rows = headlines()

    with pytest.raises(DatasetError, match="at least one training and one validation row"):
        fit(CONSTANT, rows, rows.take([]), workdir=tmp_path)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    rows = fifty()
    recipe = load_recipe("qwen2.5-1.5b-lora").model_copy(
        update={"epochs": 2, "learning_rate": 5e-3, "warmup_steps": 1, "precision": "fp32"}
    )
    return fit(recipe, rows.take(np.arange(40)), rows.take(np.arange(40, 50)), workdir=folder, tiny=True), folder


class TestAFineTunedStudent:
    def test_has_predictions_of_rows_set_aside_before_training(self, fitted):
        found = ~np.isnan(fitted[0].held_out).any(axis=1)

        assert 2 <= found.sum() <= 8
        assert fitted[0].history[0].train.rows == 40 - found.sum()

    def test_predicts_what_the_trained_model_predicted(self, fitted):
        # The merged adapter with the numpy head equals the model that was evaluated during training.
        best = next(epoch for epoch in fitted[0].history if epoch.epoch == fitted[0].best_epoch)
        labels = fifty().scores[40:]

        measured = Measures.of(fitted[0].validation, labels, DIMENSIONS, None)

        assert measured.mae == pytest.approx(best.validation.mae, abs=1e-5)
        assert measured.rmse == pytest.approx(best.validation.rmse, abs=1e-5)

    def test_comes_back_from_disk_the_same(self, fitted, tmp_path):
        from potstill.students.storage import save_student

        save_student(fitted[0].student, tmp_path)

        assert {path.name for path in (tmp_path / "encoder").iterdir()} == {"adapter.safetensors"}
        again = load_student(tmp_path).predict(fifty().frame)
        np.testing.assert_allclose(again, fitted[0].student.predict(fifty().frame), atol=1e-5)

    def test_says_that_its_warm_up_was_cut(self, tmp_path):
        rows = fifty()
        recipe = load_recipe("qwen2.5-1.5b-lora-printed").model_copy(update={"epochs": 1})

        fitted = fit(recipe, rows, rows.take(np.arange(5)), workdir=tmp_path, tiny=True)

        assert any("warm-up of 500 steps" in remark for remark in fitted.notes)

    def test_names_a_checkpoint_of_other_rows(self, fitted):
        rows = fifty()
        other = Examples(rows.ids, rows.frame, rows.scores + 1, rows.clusters, rows.dimensions)
        recipe = load_recipe("qwen2.5-1.5b-lora").model_copy(update={"epochs": 2, "precision": "fp32"})

        with pytest.raises(Exception, match="differs from this training in its training rows"):
            fit(
                recipe,
                other.take(np.arange(40)),
                rows.take(np.arange(40, 50)),
                workdir=fitted[1],
                tiny=True,
                resume=True,
            )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from potstill.pipeline.dataset import build_dataset

    folder = tmp_path_factory.mktemp("run")
    articles, answers = stories(60, passes=1)
    for name, lines in (("articles", articles), ("answers", answers)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    label_run(folder / "run", FILTER, folder / "articles.jsonl", open_oracle(f"replay:{folder / 'answers.jsonl'}"))
    build_dataset(Run.open(folder / "run"))
    return Run.open(folder / "run")


class TestARun:
    def test_gets_a_folder_for_each_student_with_all_its_records(self, run):
        records = train_run(run, ["constant", "minilm-lora"], tiny=True)

        assert [record.recipe["name"] for record in records] == ["constant", "minilm-lora"]
        folder = run.path("students") / "minilm-lora"
        assert {path.name for path in folder.iterdir()} == {
            "encoder", "heldout.parquet", "history.json", "record.json", "student.json", "student.safetensors",
            "validation.parquet",
        }  # fmt: skip
        record = StudentRecord.model_validate(json.loads((folder / LAYOUT["record"]).read_text()))
        assert record == records[1]
        assert record.tiny
        assert record.peak_memory_bytes > 0
        history = [EpochRecord.model_validate(one) for one in json.loads((folder / LAYOUT["history"]).read_text())]
        assert len(history) == record.epochs
        ids, scores = read_scores(folder / LAYOUT["held out"], record.dimensions)
        assert len(ids) == record.train_rows == len(scores)
        assert (~np.isnan(scores[:, 0])).sum() == record.held_out_rows > 0

    def test_is_done_with_training_then(self, run):
        train_run(run, ["constant"])

        assert {status.stage: status.state for status in Run.open(run.folder).status()}["train"] == "done"

    def test_keeps_on_resume_what_is_done(self, run, capsys):
        first = train_run(run, ["constant", "tfidf-ridge"])

        again = train_run(run, ["constant", "tfidf-ridge"], resume=True)

        assert again == first
        assert "constant: done already" in capsys.readouterr().err

    def test_fits_anew_on_resume_what_was_made_with_another_seed(self, run):
        train_run(run, ["tfidf-ridge"], seed=0)

        again = train_run(run, ["tfidf-ridge"], seed=1, resume=True)

        assert again[0].seeds == {"train": 1}

    def test_moves_students_of_other_rows_out_of_the_way(self, run):
        train_run(run, ["constant"])
        path = run.path("students") / "constant" / LAYOUT["record"]
        path.write_text(path.read_text().replace(json.loads(path.read_text())["rows_hash"], "0" * 64))

        train_run(run, ["tfidf-ridge"])

        assert not (run.path("students") / "constant").exists()
        assert (run.path("cache") / "students-of-other-rows" / "constant-00000000" / "student.json").exists()

    def test_refuses_one_name_twice(self, run, tmp_path):
        recipe = Path(tmp_path / "mine.yaml")
        recipe.write_text("name: constant\nstudent: constant\n")

        with pytest.raises(RecipeError, match="constant is named twice"):
            train_run(run, ["constant", recipe])

    def test_keeps_students_that_are_done_when_a_later_one_fails(self, run):
        train_run(run, ["tfidf-ridge"])

        with pytest.raises(DatasetError, match="source"):
            train_run(run, ["constant", "source-median"])

        assert load_student(run.path("students") / "constant").predict(fifty().frame).shape == (50, 2)
        assert Run.open(run.folder).manifest.stages["train"].parameters["recipes"].keys() == {"tfidf-ridge"}


def test_a_source_median_fits_out_of_fold():
    recipe = SourceMedianRecipe(name="source-median", student="source-median")

    scores = predict_out_of_fold(fitter(recipe), headlines(), 5, 0)

    assert np.abs(scores - headlines().scores).mean() < 1


@pytest.mark.parametrize("objective", ["corn", "distribution"])
def test_a_student_that_learnt_distributions_comes_back_from_its_folder(tmp_path, objective):
    rows = fifty()
    rows = replace(rows, scores=np.clip(np.rint(rows.scores), 0, 10))
    recipe = parse_recipe(
        f"name: tiny\nstudent: fine-tuned\nobjective: {objective}\nmax_tokens: 16\nepochs: 1\nbatch_size: 10",
        "tiny.yaml",
    )

    fitted = fit(recipe, rows, rows, workdir=tmp_path / "work", holdout=0.0, tiny=True)
    save_student(fitted.student, tmp_path / "student")
    back = load_student(tmp_path / "student")

    assert back.head.kind == f"{objective}-median"
    assert back.predict(rows.frame) == pytest.approx(fitted.validation, abs=1e-4)
    # During training, a processor with bf16 predicts in bf16.
    assert fitted.history[-1].validation.mae == pytest.approx(np.abs(fitted.validation - rows.scores).mean(), abs=5e-3)
