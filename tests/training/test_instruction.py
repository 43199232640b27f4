"""Tests of the rubric as a prefix: used in training and in the bundle alike, and refused if it leaves no room."""

import json

import numpy as np
import pytest
from tiny_bundle import FILTER, examples
from tiny_run import started

from potstill.errors import RecipeError, TrainingError
from potstill.pipeline.bundle import build_bundle
from potstill.pipeline.train import train_run
from potstill.students.recipes import parse_recipe
from potstill.students.storage import load_student
from potstill.training import fit

TOLD = {"name": "told", "student": "fine-tuned", "max_tokens": 80, "epochs": 1, "instruction": True}


def recipe(**changes):
    return parse_recipe(json.dumps(TOLD | changes), "told")


def test_the_rubric_is_read_before_every_text_and_comes_along_in_the_bundle(tmp_path):
    run = started(tmp_path)
    (tmp_path / "told.yaml").write_text(json.dumps(TOLD))

    (record,) = train_run(run, [tmp_path / "told.yaml"], tiny=True)
    bundle = build_bundle(run)

    # The tiny tokenizer reads bytes: 32 of the rubric, two line ends, and two special tokens.
    assert "instruction: the rubric takes 36 of 80 tokens; 44 are left for a text" in record.notes
    trainers = load_student(run.path("students") / "told")
    assert trainers.encoder.facts.prefix == f"{FILTER.rubric.strip()}\n\n" == bundle.manifest.encoders[0].prefix
    frame = examples(20, seed=4).frame
    np.testing.assert_allclose(bundle.student.predict(frame), trainers.predict(frame), atol=2e-4)


@pytest.mark.parametrize(
    ("rubric", "said"),
    [
        ("Score what people gain. " * 2, r"takes 51 of 80 tokens and leaves 29 for a text, which needs at least 32"),
        ("Score what people gain. " * 9, r"takes 219 of 80 tokens and leaves 0 for a text"),
        (" \n", r"told: instruction: there is no rubric to put before the texts"),
    ],
)
def test_a_rubric_that_leaves_no_room_is_refused_before_anything_is_trained(tmp_path, rubric, said):
    with pytest.raises(RecipeError, match=said):
        fit(recipe(), examples(30), examples(20, seed=1), workdir=tmp_path, tiny=True, rubric=rubric)


def test_another_rubric_is_another_training(tmp_path):
    rows = (examples(30), examples(20, seed=1))
    fit(recipe(), *rows, workdir=tmp_path, tiny=True, rubric="Score the gain.")
    with pytest.raises(TrainingError, match="differs from this training in its rubric; train without --resume"):
        fit(recipe(), *rows, workdir=tmp_path, tiny=True, resume=True, rubric="Score the nearness.")
