"""Tests that scores of unseen training rows are made by training only where every student needs them."""

import sys

import numpy as np
import pytest
from tiny_bundle import FILTER
from tiny_run import started

from potstill.dataset import Dataset
from potstill.errors import RunError
from potstill.pipeline.bundle import build_bundle
from potstill.pipeline.cascade import build_cascade
from potstill.pipeline.held_out import folds_of_training, held_out_scores
from potstill.pipeline.train import train_run
from potstill.training import StudentRecord, fitter, predict_out_of_fold
from potstill.training.folder import LAYOUT, read_scores


def rows_of(run):
    return Dataset.load(run.path("rows"), FILTER.dimension_names)


def written(run, name):
    return read_scores(run.path("students") / name / LAYOUT["held out"], FILTER.dimension_names)[1]


@pytest.fixture
def fits(monkeypatch):
    """Count how many times a TF-IDF student is fitted."""
    module = sys.modules["potstill.training.fit"]
    found, fitting = [], module.fit_tfidf
    monkeypatch.setattr(
        module, "fit_tfidf", lambda *given, **how: found.append(len(given[1])) or fitting(*given, **how)
    )
    return found


def test_with_a_calibration_part_a_student_is_fitted_once_and_bundled_without_another_fit(tmp_path, fits):
    run = started(tmp_path / "run", calibration=True)
    train_run(run, ["constant", "tfidf-ridge"])
    build_bundle(run, "tfidf-ridge")
    assert fits == [60]
    assert np.isnan(written(run, "tfidf-ridge")).all()
    record = StudentRecord.from_file(run.path("students") / "tfidf-ridge" / LAYOUT["record"])
    assert record.held_out_rows == 0


def test_without_one_it_is_fitted_five_times_more_for_its_calibration(tmp_path, fits):
    run = started(tmp_path / "run")
    train_run(run, ["tfidf-ridge"])
    build_bundle(run)
    assert len(fits) == 6
    assert np.isfinite(written(run, "tfidf-ridge")).all()


def test_folds_that_are_asked_for_are_made_in_any_case(tmp_path, fits):
    run = started(tmp_path / "run", calibration=True)
    train_run(run, ["tfidf-ridge"], crossfit=2)
    assert len(fits) == 3
    assert folds_of_training(rows_of(run), None) == 0
    assert folds_of_training(rows_of(run), 2) == 2


@pytest.mark.parametrize("name", ["tfidf-ridge", "minilm-median"])
def test_they_are_predicted_when_they_are_asked_for_and_are_those_that_training_would_have_written(tmp_path, name):
    run = started(tmp_path / "run", calibration=True)
    train = rows_of(run).part("train")
    train_run(run, [name], tiny=True)
    later = held_out_scores(run.path("students") / name, train)
    train_run(run, [name], tiny=True, crossfit=5)
    assert np.isfinite(later).all()
    np.testing.assert_allclose(later, written(run, name), atol=1e-5)


def test_a_cascade_still_has_the_training_rows_behind_its_bound(tmp_path):
    run = started(tmp_path / "run", calibration=True)
    train_run(run, ["tfidf-median", "tfidf-ridge"])
    build_bundle(run, "tfidf-median")
    assert build_cascade(run, 0.5).articles == 60 + 20 + 20


def test_a_distilled_student_still_learns_from_its_teachers_scores_of_unseen_rows(tmp_path):
    from potstill.students.recipes import load_recipe

    run = started(tmp_path / "run", calibration=True)
    rows_of(run).frame.select("id", "title", content="text").write_parquet(run.path("articles"))
    path = tmp_path / "small.yaml"
    path.write_text("name: small\nstudent: distilled\nteacher: tfidf-ridge\nrecipe: tfidf-ridge\n")
    train_run(run, ["tfidf-ridge", path])
    record = StudentRecord.from_file(run.path("students") / "small" / LAYOUT["record"])
    assert record.notes[0].startswith("distilled from tfidf-ridge: 60 labelled rows with its held-out scores")
    # Its own predictions cannot be made later, because its rows are its own.
    assert record.held_out_rows == 60
    train = rows_of(run).part("train")
    teacher = predict_out_of_fold(fitter(load_recipe("tfidf-ridge")), train, 5, 0)
    np.testing.assert_allclose(held_out_scores(run.path("students") / "tfidf-ridge", train), teacher, atol=1e-9)


def test_scores_of_other_rows_are_refused(tmp_path):
    run = started(tmp_path / "run")
    train_run(run, ["constant"])
    train, folder = rows_of(run).part("train"), run.path("students") / "constant"
    with pytest.raises(RunError, match="was trained on other rows; train it again"):
        held_out_scores(folder, train.take(np.arange(10)))
    (folder / LAYOUT["held out"]).unlink()
    with pytest.raises(RunError, match="holds no predictions of rows it had not seen"):
        held_out_scores(folder, train)
