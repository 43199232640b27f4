"""From labels to a cascade, rows that were chosen by a predicted score train students and are measured nowhere."""

import json
from dataclasses import replace

import numpy as np
import pytest
from evaluated_run import FILTER, stories

from potstill.bundle import BUNDLE_LAYOUT
from potstill.bundle.exporting import OUT_OF_FOLD, calibrate
from potstill.bundle.facts import BundleFacts
from potstill.dataset import Dataset
from potstill.evaluation.judging import out_of_fold_constant
from potstill.oracle import open_oracle
from potstill.pipeline.accept import against_incumbent
from potstill.pipeline.bundle import build_bundle, constant_mae
from potstill.pipeline.cascade import build_cascade
from potstill.pipeline.dataset import build_dataset
from potstill.pipeline.evaluate import evaluate_run
from potstill.pipeline.label import label_run
from potstill.pipeline.run import Run
from potstill.pipeline.train import train_run
from potstill.training.folder import LAYOUT, read_scores

RANDOM, TARGETED = 120, 40


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("targeted")
    articles, answers = stories(RANDOM + TARGETED)
    for article, answer in zip(articles[RANDOM:], answers[RANDOM:], strict=True):
        article["sampling"] = "high"
        # The oracle gives them scores by which they would be noticed in every figure.
        answer["samples"] = [{"scores": {"gain": 10, "near": 10}}] * 2
    for name, rows in (("articles", articles), ("answers", answers)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    oracle = open_oracle(f"replay:{folder / 'answers.jsonl'}")
    label_run(folder / "run", FILTER, folder / "articles.jsonl", oracle, samples=2)
    run = Run.open(folder / "run")
    build_dataset(run)
    train_run(run, ["constant", "tfidf-ridge"])
    build_bundle(run, "constant")
    return run


@pytest.fixture(scope="module")
def dataset(run):
    return Dataset.load(run.path("rows"), FILTER.dimension_names)


def test_they_are_training_rows_of_the_dataset(dataset):
    train = dataset.part("train")
    assert int(train.targeted.sum()) == TARGETED
    assert not any(dataset.part(part).targeted.any() for part in ("validation", "calibration", "test"))


def test_students_learn_from_them(run, dataset):
    record = json.loads((run.path("students") / "tfidf-ridge" / LAYOUT["record"]).read_text())
    assert record["train_rows"] == len(dataset.part("train")) > TARGETED


def test_calibration_does_not_depend_on_their_labels(run, dataset):
    train = dataset.part("train")
    _, predicted = read_scores(run.path("students") / "tfidf-ridge" / LAYOUT["held out"], dataset.dimensions)
    changed = replace(train, scores=np.where(train.targeted[:, None], 0.0, train.scores))
    found, other = (calibrate(predicted, rows, FILTER, OUT_OF_FOLD) for rows in (train, changed))
    assert found.model_dump() == other.model_dump()
    assert len(found.residuals.rows) == len(train.untargeted())


def test_out_of_fold_figures_are_of_the_other_rows(run, dataset):
    evaluation = evaluate_run(run, k=5, resamples=50, timed=False)
    for rung in evaluation.ladder:
        judged = rung.judgements["out-of-fold"]
        assert judged.rows == RANDOM
    test, random = dataset.part("test").scores, dataset.part("train").untargeted().scores
    expected = np.abs(test - np.median(random, axis=0)).mean()
    assert evaluation.shipped.judgement.mean.constant_mae == pytest.approx(expected, abs=1e-5)
    against = against_incumbent(run, run.path("bundle"))
    assert against.judgement.mean.constant_mae == pytest.approx(expected, abs=1e-5)


def test_the_constant_beside_a_bundles_choice_is_that_of_the_other_rows(run, dataset):
    random, validation = dataset.part("train").untargeted().scores, dataset.part("validation").scores
    expected = np.abs(validation - np.median(random, axis=0)).mean()
    assert constant_mae(dataset) == pytest.approx(expected, abs=1e-9)
    facts = BundleFacts.from_file(run.path("bundle") / BUNDLE_LAYOUT["facts"])
    assert facts.choice.constant_mae == pytest.approx(expected, abs=1e-6)


def test_the_constant_of_each_fold_is_that_of_the_other_rows(dataset):
    rows = dataset.all()
    fold = np.arange(len(rows)) % 4
    found = out_of_fold_constant(rows, fold, FILTER)
    learned = rows.scores[(fold != 0) & ~rows.targeted]
    assert found[fold == 0][0, :2] == pytest.approx(np.median(learned, axis=0))


def test_the_threshold_of_a_cascade_is_chosen_on_the_other_rows(run, dataset):
    cascade = build_cascade(run, 0.5)
    expected = len(dataset.part("train").untargeted()) + len(dataset.part("validation"))
    assert cascade.articles == expected
