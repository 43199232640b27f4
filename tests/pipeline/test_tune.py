"""Tests of the hyperparameter search: it resumes, starts with the given recipe, and its best result is trainable."""

import sys

import numpy as np
import pytest
import typer
from tiny_run import started
from typer.testing import CliRunner

from potstill.cli import tune as command
from potstill.errors import RecipeError, RunError, TrainingError
from potstill.pipeline import tune as tuning
from potstill.pipeline.train import train_run
from potstill.pipeline.tune import load_space, recipe_of, tune
from potstill.students.recipes import load_recipe

SPACE = """
name: my-tfidf
start: tfidf-ridge
search:
  min_documents: {low: 1, high: 4}
  words: [[1, 1], [1, 2]]
  learns: [score, distribution]
"""


def space_of(folder, text=SPACE):
    (folder / "space.yaml").write_text(text)
    return load_space(folder / "space.yaml")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    run = started(folder / "run")
    return run, space_of(folder), tune(run, space_of(folder), trials=5, minutes=10)


class TestSearch:
    def test_it_ends_when_all_recipes_are_tried(self, tmp_path):
        run, space = (
            started(tmp_path / "run"),
            space_of(tmp_path, SPACE.split("  words", maxsplit=1)[0].replace("high: 4", "high: 2")),
        )
        assert space.size == 2
        study = tune(run, space, trials=20, minutes=5)
        assert {trial.values["min_documents"] for trial in study.trials} == {1, 2}
        assert len(study.trials) < 20

    @pytest.mark.parametrize(
        ("field", "size"), [("alpha: {low: 0.1, high: 2.0}", None), ("learns: [score, distribution]", 8)]
    )
    def test_a_space_knows_how_many_recipes_it_holds(self, tmp_path, field, size):
        text = f"name: a\nstart: tfidf-ridge\nsearch:\n  min_documents: {{low: 1, high: 4}}\n  {field}\n"
        assert space_of(tmp_path, text).size == size

    def test_it_begins_with_the_recipe_as_it_is(self, tuned):
        _, _, study = tuned
        assert study.begun.number == 0
        assert study.begun.values == {"min_documents": 2, "words": [1, 2], "learns": "score"}

    def test_the_start_has_the_error_that_training_it_has(self, tuned):
        run, _, study = tuned
        record = train_run(run, ["tfidf-ridge"])[0]
        # The search clips predictions to the scale, as the scorer does.
        assert study.begun.mae == pytest.approx(record.validation.mae, abs=0.05)

    def test_the_best_is_a_recipe_file_that_trains_to_what_was_found(self, tuned):
        run, space, study = tuned
        path = run.path("tuning") / "my-tfidf" / "best.yaml"

        best = load_recipe(path)

        assert best.hash == recipe_of(space, load_recipe("tfidf-ridge"), study.found.values).hash
        assert best.name == "my-tfidf"
        assert study.found.mae == min(trial.mae for trial in study.trials) <= study.begun.mae
        assert f"# MAE {study.found.mae:.4f} on validation; the start recipe tfidf-ridge has" in path.read_text()

    def test_the_record_on_disk_is_what_the_call_gave(self, tuned):
        run, _, study = tuned
        assert tuning.Study.from_file(run.path("tuning") / "my-tfidf" / "study.json") == study

    def test_it_goes_on_with_what_was_tried(self, tuned):
        run, space, before = tuned
        after = tune(run, space, trials=6, minutes=10)
        assert after.trials[:5] == before.trials
        assert len(after.trials) == 6

    def test_no_time_is_no_trial(self, tuned):
        run, space, _ = tuned
        before = tune(run, space, minutes=0)
        assert tune(run, space, minutes=0).trials == before.trials

    def test_the_test_part_is_not_read(self, tmp_path, monkeypatch):
        run = started(tmp_path / "run")
        asked = []
        part = tuning.Dataset.part
        monkeypatch.setattr(tuning.Dataset, "part", lambda rows, name: asked.append(name) or part(rows, name))
        tune(run, space_of(tmp_path), trials=1)
        assert set(asked) == {"train", "validation"}

    def test_inner_folds_leave_validation_unread(self, tmp_path, monkeypatch):
        run = started(tmp_path / "run")
        judged = []
        mae = tuning.metrics.mae
        monkeypatch.setattr(tuning.metrics, "mae", lambda *given: judged.append(len(given[0])) or mae(*given))
        study = tune(run, space_of(tmp_path), trials=1, folds=3)
        # 80 of 120 rows are for training, and a search with folds is evaluated on these.
        assert (study.judged_on, judged[-1]) == ("inner folds", 80)


class TestInterruption:
    def test_a_trial_that_was_killed_is_done_again_with_its_values(self, tmp_path, monkeypatch):
        run, space = started(tmp_path / "run"), space_of(tmp_path)

        def killed(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as broken:
            broken.setattr(tuning, "fit", killed)
            with pytest.raises(KeyboardInterrupt):
                tune(run, space, trials=1)

        study = tune(run, space, trials=1)

        assert study.trials[0].values == {"min_documents": 2, "words": [1, 2], "learns": "score"}
        assert study.begun is not None

    def test_a_recipe_that_cannot_be_fitted_is_said_and_passed_over(self, tmp_path, monkeypatch):
        run, space = started(tmp_path / "run"), space_of(tmp_path)
        honest, calls = tuning.fit, []

        def first_fails(*given, **how):
            calls.append(given)
            if len(calls) == 1:
                raise TrainingError("step 3: the loss is nan")
            return honest(*given, **how)

        monkeypatch.setattr(tuning, "fit", first_fails)

        study = tune(run, space, trials=2)

        assert [trial.mae is None for trial in study.trials] == [True, False]
        assert study.trials[0].why == "step 3: the loss is nan"
        assert study.best == 1

    def test_a_trial_is_begun_only_when_the_median_fits_what_is_left(self, tmp_path, monkeypatch):
        now = [0.0]
        fitted = tuning.fit

        def slow(*given, **how):
            now[0] += 25.0
            return fitted(*given, **how)

        monkeypatch.setattr(tuning, "fit", slow)
        study = tune(started(tmp_path / "run"), space_of(tmp_path), minutes=1, clock=lambda: now[0])
        # 25 and 50 of 60 seconds are used; a third trial would need 25 more.
        assert len(study.trials) == 2

    @pytest.mark.parametrize(
        ("change", "what"), [("words: [[1, 1], [1, 3]]", "space"), ("start: tfidf-median", "start")]
    )
    def test_another_space_or_start_is_another_search(self, tuned, tmp_path, change, what):
        run, _, _ = tuned
        key = change.partition(":")[0]
        line = next(line for line in SPACE.splitlines() if line.strip().startswith(key + ":"))
        with pytest.raises(RunError, match=f"started with a different value of {what}"):
            tune(run, space_of(tmp_path, SPACE.replace(line.strip(), change)))


class TestSpace:
    @pytest.mark.parametrize(
        ("search", "message"),
        [
            ("{nothing: [1, 2]}", "search -> nothing: not a field of tfidf-ridge that can be searched; fields: alphas"),
            ("{name: [a, b]}", "search -> name: not a field"),
            ("{words.first: [1, 2]}", "search -> words.first: not a field"),
        ],
    )
    def test_a_field_that_is_none_of_the_recipe_is_refused(self, tmp_path, search, message):
        text = f"name: mine\nstart: tfidf-ridge\nsearch: {search}"
        with pytest.raises(RecipeError, match=message):
            tune(started(tmp_path / "run"), space_of(tmp_path, text))

    @pytest.mark.parametrize(
        ("search", "message"),
        [
            ("{min_documents: {low: 4, high: 4}}", "from 4 to 4: low must be below high"),
            ("{min_documents: {low: 0, high: 4, log: true}}", "above 0 if log is true"),
            ("{min_documents: [3]}", "at least 2 items"),
            ("{}", "at least 1 item"),
        ],
    )
    def test_a_range_that_is_none_is_refused(self, tmp_path, search, message):
        with pytest.raises(RecipeError, match=message):
            space_of(tmp_path, f"name: mine\nstart: tfidf-ridge\nsearch: {search}")

    def test_fields_within_others_are_reached_with_a_dot(self, tmp_path):
        space = space_of(tmp_path, "name: mine\nstart: minilm-lora\nsearch: {lora.rank: [4, 8]}")
        begin = load_recipe(space.start)

        found = recipe_of(space, begin, {"lora.rank": 4})

        assert (found.lora.rank, begin.lora.rank) == (4, load_recipe("minilm-lora").lora.rank)
        assert found.lora.alpha == begin.lora.alpha

    def test_a_start_that_is_a_path_stands_beside_the_space(self, tmp_path):
        assert space_of(tmp_path, "name: a\nstart: own.yaml\nsearch: {x: [1, 2]}").start == str(tmp_path / "own.yaml")

    def test_folds_are_not_for_what_is_fine_tuned(self, tmp_path):
        space = space_of(tmp_path, "name: mine\nstart: minilm-full\nsearch: {epochs: [1, 2]}")
        with pytest.raises(RecipeError, match="folds: 5: expected at least 2; folds are not available for fine-tuned"):
            tune(started(tmp_path / "run"), space, folds=5)


def test_a_fine_tuned_recipe_is_searched_on_a_tiny_backbone(tmp_path):
    text = """
name: mine
start: minilm-full
search:
  objective: [huber, corn]
  learning_rate: {low: 1.0e-5, high: 1.0e-3, log: true}
  epochs: [1, 2]
  max_tokens: [16, 32]
"""
    study = tune(started(tmp_path / "run"), space_of(tmp_path, text), trials=2, tiny=True, minutes=10)

    assert all(np.isfinite(trial.mae) for trial in study.trials)
    # minilm-full has four epochs, which are outside this search space, so no trial equals the given recipe.
    assert study.begun is None


def test_the_command_names_the_recipe_that_was_found(tuned, tmp_path):
    run, _, _ = tuned
    (tmp_path / "space.yaml").write_text(SPACE)
    app = typer.Typer(pretty_exceptions_enable=False)
    command.register(app)

    said = CliRunner().invoke(app, [str(run.folder), str(tmp_path / "space.yaml"), "--minutes", "0"]).output

    assert "trials on validation" in said
    assert said.splitlines()[-1].startswith(f"next: potstill train {run.folder} --recipe ")
    assert "tfidf-ridge, unchanged" in said


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(Exception, match="tune") as raised:
        tune(started(tmp_path / "run"), space_of(tmp_path))
    assert type(raised.value).__name__ == "MissingExtra"
