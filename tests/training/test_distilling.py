"""Tests of distillation: a student learns from a teacher's scores, and from no near-duplicate of an evaluation row."""

import numpy as np
import polars as pl
import pytest
from tiny_bundle import FILTER, articles
from tiny_run import started

from potstill.dataset import Dataset
from potstill.errors import RecipeError, TrainingError
from potstill.pipeline.bundle import build_bundle
from potstill.pipeline.evaluate import candidates
from potstill.pipeline.run import Run
from potstill.pipeline.teachers_and_members import in_order
from potstill.pipeline.train import train_run
from potstill.students.blend import BlendStudent
from potstill.students.recipes import load_recipe, parse_recipe
from potstill.students.storage import load_student, student_hash
from potstill.training import fitter, refitter
from potstill.training.blending import weighted_mean
from potstill.training.distilling import distillation_rows, unlabelled_rows
from potstill.training.precision import used_precision

DISTILLED = """name: small
student: distilled
teacher: tfidf-ridge
recipe: {name: own, student: tfidf-ridge, characters: null}
"""
BOTH = "name: both\nstudent: ensemble\nmembers: [tfidf-ridge, constant]\n"


def dataset_of(run):
    return Dataset.load(run.path("rows"), FILTER.dimension_names)


def others(count=30):
    """Return articles that are similar to no row of the dataset."""
    frame, _ = articles(count, seed=9)
    return frame.with_columns(id=pl.Series([f"new-{number}" for number in range(count)]))


@pytest.fixture
def run(tmp_path):
    run = started(tmp_path / "run")
    labelled, _ = articles(120)
    pl.concat([labelled, others()]).write_parquet(run.path("articles"))
    return run


def recipe_file(folder, text):
    path = folder / f"{text.split()[1]}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


class TestArticlesWithoutLabels:
    def test_are_those_that_nobody_judges_by(self, run):
        dataset = dataset_of(run)
        frame, clusters = unlabelled_rows(pl.read_parquet(run.path("articles")), dataset, FILTER)
        assert frame["id"].to_list() == [f"new-{number}" for number in range(30)]
        assert frame["text"][0] == FILTER.text.of("Story 0", others()["content"][0])
        assert clusters.size == 80 + 30

    def test_leave_out_copies_of_judging_rows_even_through_a_third(self, run):
        # Five words change from one article to the next: neighbours are similar, the first and last are not.
        words = [f"word{number}" for number in range(60)]
        chain = [" ".join(words[start : start + 30]) for start in (0, 8, 16)]
        rows = dataset_of(run).frame
        judged = rows.with_columns(
            text=pl.when(pl.col("split") == "test").then(pl.lit(chain[0])).otherwise(pl.col("text"))
        )
        given = pl.DataFrame(
            {"id": ["near", "far", "free"], "title": [""] * 3, "content": [*chain[1:], "quite new words here"]}
        )
        frame, _ = unlabelled_rows(given, Dataset(judged, FILTER.dimension_names), FILTER)
        assert frame["id"].to_list() == ["free"]

    def test_stand_in_one_cluster_with_their_copies_among_training_rows(self, run):
        dataset = dataset_of(run)
        text = dataset.part("train").texts[0]
        given = pl.DataFrame({"id": ["copy"], "title": [""], "content": [text]})
        frame, clusters = unlabelled_rows(given, dataset, FILTER)
        assert frame.height == 1
        assert clusters[-1] == clusters[0]
        assert len(set(clusters.tolist())) == 80

    def test_are_none_of_those_that_no_student_would_read(self, run):
        given = pl.DataFrame(
            {"id": ["code", "empty"], "title": ["", None], "content": ["git clone this and that", " "]}
        )
        frame, _ = unlabelled_rows(given, dataset_of(run), FILTER)
        assert frame.height == 0


class TestLessons:
    def test_are_the_mean_of_label_and_unseen_score_else_the_label(self, run):
        train = dataset_of(run).part("train").take(np.arange(3))
        teacher_scores = np.array([[0.0, 10.0], [np.nan, np.nan], [4.0, np.nan]])
        learned = distillation_rows(train, teacher_scores)
        assert learned.scores[0].tolist() == ((train.scores[0] + [0, 10]) / 2).tolist()
        assert learned.scores[1].tolist() == train.scores[1].tolist()
        assert learned.scores[2].tolist() == [(train.scores[2, 0] + 4) / 2, train.scores[2, 1]]

    def test_keep_a_masked_label_masked(self, run):
        train = dataset_of(run).part("train").take(np.arange(1))
        train.scores[0, 0] = np.nan
        assert np.isnan(distillation_rows(train, np.full((1, 2), 5.0)).scores[0, 0])


class TestADistilledStudent:
    def test_is_taught_by_a_student_of_the_run(self, run, tmp_path):
        records = train_run(run, [recipe_file(tmp_path, DISTILLED), "tfidf-ridge"])
        teacher, student = records
        assert [record.recipe["name"] for record in records] == ["tfidf-ridge", "small"]
        assert student.sources == {
            "tfidf-ridge": student_hash(run.path("students") / "tfidf-ridge"),
            "articles.parquet": run.fingerprint("articles"),
        }
        assert student.notes[0] == (
            "distilled from tfidf-ridge: 80 labelled rows with its held-out scores, 30 articles without labels"
        )
        assert student.train_rows == student.held_out_rows == teacher.held_out_rows == 80
        assert build_bundle(run, "small").manifest.recipe == "small"

    def test_is_made_again_when_its_teacher_is_another(self, run, tmp_path, capsys):
        path = recipe_file(tmp_path, DISTILLED)
        before = train_run(run, ["tfidf-ridge", path])[1]
        assert train_run(run, [path], resume=True)[0] == before
        assert "done already" in capsys.readouterr().err
        other = tmp_path / "tfidf-ridge.yaml"
        other.write_text("{name: tfidf-ridge, student: tfidf-ridge, words: null}")
        train_run(run, [other])
        assert "small was made from another tfidf-ridge than is there now" in capsys.readouterr().err
        after = train_run(run, [path], resume=True)[0]
        assert after.sources["tfidf-ridge"] != before.sources["tfidf-ridge"]

    def test_is_made_again_when_there_are_more_articles(self, run, tmp_path):
        path = recipe_file(tmp_path, DISTILLED)
        train_run(run, ["tfidf-ridge", path])
        pl.concat([pl.read_parquet(run.path("articles")), others(31)[30:]]).write_parquet(run.path("articles"))
        assert "31 articles without labels" in train_run(run, [path], resume=True)[0].notes[0]

    def test_learns_from_labelled_rows_alone_where_it_is_told_to(self, run, tmp_path):
        run.path("articles").unlink()
        student = train_run(run, ["tfidf-ridge", recipe_file(tmp_path, DISTILLED + "unlabelled: false\n")])[1]
        assert list(student.sources) == ["tfidf-ridge"]

    def test_can_be_taught_by_a_bundle_which_has_no_scores_of_unseen_rows(self, run, tmp_path):
        train_run(run, ["tfidf-ridge"])
        bundle = build_bundle(run)
        path = recipe_file(tmp_path, DISTILLED.replace("teacher: tfidf-ridge", f"teacher: {bundle.folder}"))
        student = train_run(run, [path])[0]
        assert "0 labelled rows with its held-out scores, 30 articles" in student.notes[0]

    def test_is_refused_without_its_teacher(self, run, tmp_path):
        with pytest.raises(TrainingError, match=r"small: needs the student tfidf-ridge, and .* holds none"):
            train_run(run, [recipe_file(tmp_path, DISTILLED)])

    def test_may_be_a_network_of_fewer_layers(self, run, tmp_path):
        # Tiny stand-ins are sufficient, because only the code path is tested.
        small = "name: small\nstudent: distilled\nteacher: minilm-full\nrecipe: minilm-3-layers\n"
        record = train_run(run, [recipe_file(tmp_path, small), "minilm-full"], tiny=True)[1]
        assert record.precision == used_precision("auto", "cpu")
        assert "8 labelled rows with its held-out scores" in record.notes[0]
        student = load_student(run.path("students") / "small")
        assert student.encoder.model.config.num_hidden_layers == 1
        assert 0 < record.held_out_rows < 80

    def test_is_not_fitted_fold_by_fold(self, run, tmp_path):
        recipe = parse_recipe(DISTILLED, "small.yaml")
        with pytest.raises(RecipeError, match="is made from other students"):
            fitter(recipe)
        train_run(run, ["tfidf-ridge", recipe_file(tmp_path, DISTILLED)])
        found = {one.recipe.name: one for one in candidates(run.path("students"))}
        assert refitter(found["small"].recipe, cache=tmp_path) is None
        assert refitter(found["tfidf-ridge"].recipe, cache=tmp_path) is not None


class TestAnEnsemble:
    def test_is_the_mean_of_students_that_are_there(self, run, tmp_path):
        both = train_run(run, [recipe_file(tmp_path, BOTH), "tfidf-ridge", "constant"])[-1]
        student = load_student(run.path("students") / "both")
        frame = dataset_of(run).part("test").frame
        own = [load_student(run.path("students") / name).predict(frame) for name in ("tfidf-ridge", "constant")]
        assert isinstance(student, BlendStudent)
        assert student.predict(frame) == pytest.approx(np.mean(own, axis=0))
        assert both.held_out_rows == 80
        assert set(both.sources) == {"tfidf-ridge", "constant"}
        assert build_bundle(Run.open(run.folder), "both").manifest.student == "blend"

    def test_of_blends_holds_their_members(self, run, tmp_path):
        mine = recipe_file(tmp_path, "name: mine\nstudent: blend\nmembers: [tfidf-ridge, constant]\n")
        three = recipe_file(tmp_path, "name: three\nstudent: ensemble\nmembers: [mine, constant]\n")
        train_run(run, [mine, "constant", three])
        student = load_student(run.path("students") / "three")
        assert student.weights.sum(axis=0) == pytest.approx(1)
        assert student.weights[-1] == pytest.approx(0.5)

    def test_reads_with_a_frozen_network_once_and_with_each_that_was_trained(self, run, tmp_path):
        kinds = ["minilm-ridge", "minilm-full"]
        train_run(run, kinds, tiny=True)
        # Each is opened twice, as the folders of two students would be.
        frozen, trained = ([load_student(run.path("students") / kind) for _ in range(2)] for kind in kinds)
        equal = np.full((2, len(frozen[0].dimensions)), 0.5)
        assert len(weighted_mean(frozen, equal).parts) == 1
        assert len(weighted_mean(trained, equal).parts) == 2
        frame = dataset_of(run).part("test").frame
        assert weighted_mean(frozen, equal).predict(frame) == pytest.approx(frozen[0].predict(frame))

    def test_of_seeds_trains_one_recipe_several_times_and_judges_all_on_the_same_rows(self, run, tmp_path):
        three = recipe_file(tmp_path, "name: three\nstudent: ensemble\nof: minilm-3-layers\nseeds: 2\n")
        records = train_run(run, [three], tiny=True)
        first, second = records[:2]
        assert [record.recipe["name"] for record in records] == ["minilm-3-layers", "minilm-3-layers-seed-1", "three"]
        assert first.validation.mae != second.validation.mae
        assert first.held_out_rows == second.held_out_rows == records[2].held_out_rows > 0
        assert len(load_student(run.path("students") / "three").parts) == 2
        assert [record.seconds for record in train_run(run, [three], resume=True, tiny=True)] == [
            record.seconds for record in records
        ]

    def test_weighs_its_members_by_the_validation_part(self, run, tmp_path):
        best = recipe_file(tmp_path, BOTH.replace("both", "best") + "weights: absolute-error\n")
        records = train_run(run, ["tfidf-ridge", "constant", recipe_file(tmp_path, BOTH), best])
        alone, equal, weighed = (records[place].validation.mae for place in (0, 2, 3))
        assert alone < weighed < equal
        student, validation = load_student(run.path("students") / "best"), dataset_of(run).part("validation")
        assert (student.weights[0] > 0.5).all()
        assert records[3].notes[-1].startswith("weights of tfidf-ridge, constant, in this order: ")
        # The recorded error is of weights that were fitted without the row, not of the final weights.
        assert np.abs(student.predict(validation.frame) - validation.scores).mean() < weighed
        assert records[2].recipe_hash != records[3].recipe_hash

    def test_has_no_member_that_is_never_shipped(self, run, tmp_path):
        bad = recipe_file(tmp_path, "name: bad\nstudent: ensemble\nmembers: [source-median, constant]\n")
        with pytest.raises(TrainingError, match="source-median reads nothing"):
            train_run(run, ["source-median", "constant", bad])


class TestRecipes:
    def test_come_after_what_they_are_made_from(self):
        top = parse_recipe("name: top\nstudent: ensemble\nmembers: [small, constant]\n", "top")
        wanted = [top, parse_recipe(DISTILLED, "small"), load_recipe("constant"), load_recipe("tfidf-ridge")]
        assert [recipe.name for recipe in in_order(wanted)] == ["constant", "tfidf-ridge", "small", "top"]

    def test_that_need_each_other_are_refused(self):
        first = parse_recipe("name: first\nstudent: ensemble\nmembers: [second, constant]\n", "first")
        second = parse_recipe("name: second\nstudent: ensemble\nmembers: [first, constant]\n", "second")
        with pytest.raises(RecipeError, match="first, second: each needs another"):
            in_order([first, second])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "student: distilled\nteacher: a\nrecipe: source-median",
                "source-median is a source-median student; legal are",
            ),
            ("student: distilled\nrecipe: tfidf-ridge", "teacher: Field required"),
            ("student: ensemble\nmembers: [a, a]", "a is named twice"),
            ("student: ensemble\nmembers: [a, mine]", "its own member"),
            ("student: ensemble\nmembers: [a]", "give members, two or more, or else of"),
            ("student: ensemble\nmembers: [a, b]\nof: minilm-full", "give members, two or more, or else of"),
            ("student: ensemble\nof: tfidf-ridge", "tfidf-ridge is a tfidf-ridge student; legal are fine-tuned"),
        ],
    )
    def test_that_cannot_be_are_refused(self, text, message):
        with pytest.raises(RecipeError, match=message):
            parse_recipe(f"name: mine\n{text}\n", "mine.yaml")

    def test_have_the_hash_of_what_they_do(self):
        recipe = parse_recipe(DISTILLED, "small.yaml")
        assert recipe.model_copy(update={"name": "other"}).hash == recipe.hash
        assert recipe.model_copy(update={"unlabelled": False}).hash != recipe.hash
        assert recipe.model_copy(update={"teacher": "other"}).hash != recipe.hash
