"""Tests of what a scorer says about articles that are unlike those that its student was trained on."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from tiny_bundle import FILTER, articles, examples, golden, neural_student, tfidf_student
from typer.testing import CliRunner

from potstill.articles import open_writer
from potstill.bundle import load_bundle, write_bundle
from potstill.bundle.exporting import OUT_OF_FOLD, calibrate, with_novelty
from potstill.bundle.reading import Bundle
from potstill.calibration import Familiarity
from potstill.cli import build
from potstill.errors import BundleError
from potstill.scorer import Scorer, score_file
from potstill.students import outputs_of
from potstill.students.neural import NeuralStudent
from potstill.students.novelty import WordNovelty

STRANGE = "Kernel functions commute with every bounded operator whose spectrum vanishes nowhere"


def novel_bundle(folder):
    """A TF-IDF bundle that measures novelty."""
    rows = examples(200, seed=1)
    student, distances = with_novelty(tfidf_student(), rows)
    calibration = calibrate(student.predict(rows.frame), rows, FILTER, OUT_OF_FOLD, distances=distances)
    return write_bundle(
        folder, student=student, recipe="tfidf-ridge", filter_=FILTER, calibration=calibration, golden=golden(rows)
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return novel_bundle(tmp_path_factory.mktemp("novel") / "good-news")


def write(path, count, strange):
    frame = articles(count, seed=5)[0]
    texts = [STRANGE if row < strange else text for row, text in enumerate(frame["content"])]
    with open_writer(path) as writer:
        writer.write(frame.with_columns(content=pl.Series(texts)))
    return path


def test_a_familiar_article_has_a_high_p_value_and_a_strange_one_a_low_one(bundle):
    scorer = Scorer.load(bundle.folder)
    familiar, strange = scorer.score(articles(1, seed=9)[0]["content"][0]), scorer.score(STRANGE)
    assert familiar.novelty > 0.05 > strange.novelty > 0


def test_intervals_of_a_strange_article_are_wider_and_its_scores_are_the_same(bundle):
    plain = Bundle.in_memory(
        bundle.filter, bundle.student, bundle.calibration.model_copy(update={"familiarity": None}), "tfidf-ridge"
    )
    with_, without = (Scorer(one).score(STRANGE) for one in (Scorer.load(bundle.folder).bundle, plain))
    assert with_.scores == without.scores
    assert without.novelty is None
    for name, (low, high) in with_.intervals.items():
        narrow = without.intervals[name]
        assert low < narrow[0] or low == 0
        assert high > narrow[1] or high == 10


def test_an_article_without_a_score_has_no_novelty(bundle):
    frame = pl.DataFrame({"id": ["a", "b", "c"], "title": [""] * 3, "content": ["", "git clone", STRANGE]})
    novelty = Scorer.load(bundle.folder).score_batch(frame)["novelty"]
    assert novelty.is_null().to_list() == [True, True, False]


def test_the_column_stands_after_the_reason_in_both_forms_of_output(bundle):
    scorer, frame = Scorer.load(bundle.folder), articles(3)[0]
    for table in (scorer.score_batch(frame), scorer.nested_batch(frame)):
        assert table.columns[table.columns.index("reason") + 1] == "novelty"
        assert table["novelty"].is_between(0, 1).all()


def test_score_ends_with_the_share_of_strange_articles(bundle, tmp_path):
    source = write(tmp_path / "in.jsonl", 50, 30)
    unlike = score_file(bundle.folder, source, tmp_path / "out.jsonl").only.unlike
    assert (unlike.articles, unlike.count >= 30, unlike.significant) == (50, True, True)
    done = CliRunner().invoke(build(), ["score", str(bundle.folder), str(source), "-o", str(tmp_path / "out.jsonl")])
    last = " ".join(done.stderr.split())
    assert (
        f"{unlike.count / 50:.0%} of these articles are unlike the training articles (p < 0.05), where 5% would be by"
        in last
    )
    assert last.index("expect larger errors") > last.index("50 articles in")


def test_score_is_silent_about_familiar_articles_and_json_has_the_counts_of_both(bundle, tmp_path):
    for strange in (0, 30):
        source = write(tmp_path / "in.jsonl", 50, strange)
        done = CliRunner().invoke(
            build(), ["score", str(bundle.folder), str(source), "-o", str(tmp_path / "out.jsonl"), "--json"]
        )
        unlike = json.loads(done.stdout)["unlike"]
        assert (unlike["articles"], unlike["significant"]) == (50, strange > 0)
        assert unlike["count"] >= strange


def test_a_bundle_that_measures_none_says_nothing(folders, tmp_path):
    source = write(tmp_path / "in.jsonl", 5, 5)
    assert score_file(folders["tfidf"], source, tmp_path / "out.jsonl").only.unlike is None
    assert "novelty" not in Scorer.load(folders["tfidf"]).score_batch(articles(2)[0]).columns


class TestBundles:
    def test_golden_texts_pin_the_distance_and_its_p_value(self, bundle):
        lines = {row.id: row for row in bundle.golden}
        assert lines["chinese"].novelty < 0.05
        assert all(row.distance is not None and 0 < row.novelty <= 1 for row in lines.values())

    def test_another_distance_than_recorded_is_refused(self, bundle):
        known = {"novelty": dataclasses.replace(bundle.student.novelty, hashes=bundle.student.novelty.hashes[::2])}
        changed = dataclasses.replace(bundle, student=dataclasses.replace(bundle.student, **known))
        with pytest.raises(BundleError, match=r"distance from training texts is .* the student's files"):
            changed.prove(short=False)

    def test_another_p_value_than_recorded_is_refused(self, bundle):
        familiarity = Familiarity(n=120, distances=(2.0,) * 120)
        calibration = bundle.calibration.model_copy(update={"familiarity": familiarity})
        with pytest.raises(BundleError, match=r"novelty p-value is .*calibration.json"):
            dataclasses.replace(bundle, calibration=calibration).prove(short=False)

    def test_a_student_that_lost_its_novelty_is_refused(self, bundle):
        changed = dataclasses.replace(bundle, student=dataclasses.replace(bundle.student, novelty=None))
        with pytest.raises(BundleError, match="distance from the training texts is not measured, and recorded"):
            changed.prove(short=True)

    def test_changed_distances_of_the_calibration_are_refused(self, bundle, tmp_path):
        from potstill.bundle.verdicts import Verdicts, identity_of, prove_verdicts

        recorded = Verdicts.from_file(bundle.folder / "verdicts.json")
        changed = bundle.calibration.familiarity.distances
        familiarity = bundle.calibration.familiarity.model_copy(update={"distances": (*changed[:-1], changed[-1] + 1)})
        with pytest.raises(BundleError, match="the distances or the deferral table are not as recorded"):
            prove_verdicts(
                recorded,
                identity_of(bundle.manifest, bundle.filter),
                bundle.filter,
                bundle.calibration.model_copy(update={"familiarity": familiarity}),
                bundle.manifest.tolerance,
                whole=False,
            )

    def test_a_bundle_on_disk_is_read_with_its_novelty(self, bundle):
        again = load_bundle(bundle.folder, check="all")
        texts = examples(5, seed=3).frame
        assert (
            outputs_of(again.student, texts).distances.tolist() == outputs_of(bundle.student, texts).distances.tolist()
        )


class TestFitting:
    def test_the_distances_of_training_rows_are_to_the_rows_of_other_folds(self):
        """A row that is repeated in another cluster has a copy among the others; one that is not has none."""
        student, distances = with_novelty(tfidf_student(), examples(200))
        assert distances.shape == (200,)
        assert outputs_of(student, examples(200).frame).distances.max() == 0

    def test_rows_that_were_chosen_by_a_predicted_score_are_kept_but_not_measured(self):
        rows = examples(200)
        chosen = dataclasses.replace(
            rows, frame=rows.frame.with_columns(sampling=pl.Series(["high"] * 50 + [""] * 150))
        )
        student, distances = with_novelty(tfidf_student(), chosen)
        assert np.isnan(distances).tolist() == [True] * 50 + [False] * 150
        assert outputs_of(student, rows.frame).distances.max() == 0

    def test_few_rows_give_no_novelty(self):
        student = tfidf_student()
        assert with_novelty(student, examples(39)) == (student, None)
        assert with_novelty(student, examples(40))[1] is not None

    def test_near_duplicates_count_once(self):
        rows = dataclasses.replace(examples(60), clusters=np.arange(60) // 2)
        assert with_novelty(tfidf_student(), rows)[1] is None

    def test_an_encoder_that_was_trained_is_measured_on_rows_that_it_was_not_trained_on(self):
        student = neural_student()
        student.encoder.trained = True
        novel, distances = with_novelty(student, examples(200), [examples(50, seed=2), examples(30, seed=3)])
        assert distances.shape == (80,)
        assert len(novel.novelty.vectors) == 80

    def test_without_such_rows_it_is_measured_by_words(self):
        student, rows = neural_student(), examples(200)
        student.encoder.trained = True
        novel, distances = with_novelty(student, rows, [examples(39, seed=2)])
        assert novel.novelty.hashes.tolist() == WordNovelty.fit(rows.texts).hashes.tolist()
        given = outputs_of(novel, rows.frame)
        assert given.distances.max() == 0 < distances.max()
        assert (given.raw == student.predict(rows.frame)).all()
        again = NeuralStudent.restore(novel.dimensions, novel.arrays(), novel.settings(), novel.encoder)
        assert outputs_of(again, rows.frame).distances.tolist() == given.distances.tolist()
