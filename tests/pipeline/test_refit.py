"""Tests of the refit: the shipped student learns from every row, and is judged on none of them."""

import base64
import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from evaluated_run import FILTER, evaluated_run, stories
from tiny_bundle import FILTER as TINY
from tiny_bundle import articles, tfidf_bundle
from tiny_run import started
from typer.testing import CliRunner

import potstill as ps
from potstill.bundle import BUNDLE_LAYOUT, load_bundle, verify_bundle
from potstill.bundle.facts import BundleFacts
from potstill.bundle.refitting import ALL_OUT_OF_FOLD
from potstill.bundle.seen import SeenRows, refuse_seen
from potstill.calibration import Calibration
from potstill.cli import build
from potstill.cli.places import ledger_of
from potstill.dataset import Dataset, Examples
from potstill.errors import BadInput, BundleError, RunError
from potstill.evaluation import draw
from potstill.operating_points import as_points
from potstill.pipeline.accept import against_incumbent
from potstill.pipeline.bundle import build_bundle, read_candidates
from potstill.pipeline.cascade import build_cascade
from potstill.pipeline.compare import compare_paths
from potstill.pipeline.evaluate import evaluate_run
from potstill.pipeline.fresh import prepare
from potstill.pipeline.material import labelled_rows
from potstill.pipeline.predictions import evaluate_file
from potstill.pipeline.refit import Refitted, refit_run
from potstill.pipeline.run import Run
from potstill.pipeline.train import train_run
from potstill.scorer import Scorer
from potstill.students.recipes import load_recipe
from potstill.students.storage import load_student
from potstill.training.facts import Companion, StudentRecord
from potstill.training.fit import fitter


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    run = evaluated_run(tmp_path_factory.mktemp("refit"), 120)
    refit_run(run)
    return run.folder


@pytest.fixture
def run(original, tmp_path):
    return Run.open(shutil.copytree(original, tmp_path / "run"))


@pytest.fixture
def before(original, tmp_path):
    """The same run as if it had never been refitted."""
    run = Run.open(shutil.copytree(original, tmp_path / "run"))
    run.path("refit").unlink()
    shutil.rmtree(run.path("shipped"))
    del run.manifest.stages["refit"]
    run._save()
    return run


@pytest.fixture
def before_again(original, tmp_path):
    """A run whose refitted bundle is gone."""
    folder = shutil.copytree(original, tmp_path / "again")
    shutil.rmtree(folder / "shipped")
    return folder


def dataset_of(run):
    return Dataset.load(run.path("rows"), FILTER.dimension_names)


def state(run, stage):
    return next(one for one in run.status() if one.stage == stage)


def potstill(*words):
    return CliRunner().invoke(build(), list(map(str, words)))


class TestTheShippedStudent:
    def test_it_is_the_recipe_fitted_on_every_row(self, run):
        rows = dataset_of(run).all()
        shipped, measured = load_bundle(run.path("shipped")), load_bundle(run.path("bundle"))
        frame = articles(40, seed=9)[0].select("id", pl.col("content").alias("text"))
        whole = train_run_on(rows)
        assert np.allclose(shipped.student.predict(frame), whole.predict(frame), atol=1e-5)
        assert not np.allclose(shipped.student.predict(frame), measured.student.predict(frame), atol=1e-3)
        verify_bundle(run.path("shipped"))

    def test_its_calibration_comes_from_out_of_fold_predictions_of_every_row(self, run):
        found = Calibration.from_file(run.path("shipped") / BUNDLE_LAYOUT["calibration"])
        measured = Calibration.from_file(run.path("bundle") / BUNDLE_LAYOUT["calibration"])
        assert found.origin == ALL_OUT_OF_FOLD
        assert [curve.n for curve in found.curves] == [120, 120]
        assert [curve.n for curve in measured.curves] == [96, 96]

    def test_its_intervals_hold_on_new_stories(self, run):
        rows, answers = stories(300, seed=5)
        scored = Scorer.load(run.path("shipped"), level=0.8).score_batch(pl.DataFrame(rows))
        labels = np.array([np.mean([[s["scores"]["gain"]] for s in one["samples"]]) for one in answers])
        inside = (labels >= scored["low_gain"].to_numpy()) & (labels <= scored["high_gain"].to_numpy())
        # 80% are promised; five standard errors of 300 stories and 120 calibration rows are about twenty points.
        assert 0.6 < inside.mean() < 0.97

    def test_the_facts_keep_the_figures_of_the_student_before_and_record_every_row(self, run):
        measured = BundleFacts.from_file(run.path("bundle") / BUNDLE_LAYOUT["facts"])
        shipped = BundleFacts.from_file(run.path("shipped") / BUNDLE_LAYOUT["facts"])
        rows = dataset_of(run).all()
        assert measured.refit is None
        assert shipped.choice == measured.choice
        assert shipped.student == measured.student
        assert shipped.refit.measured == load_bundle(run.path("bundle")).hash
        assert shipped.refit.seen == SeenRows.of(rows)
        assert shipped.refit.parts == {"train": 96, "validation": 12, "test": 12}
        assert (shipped.refit.calibration, shipped.refit.folds) == ("out-of-fold", 5)
        assert Refitted.from_file(run.path("refit")).train_rows == 96

    def test_the_operating_points_that_were_asked_for_are_kept(self, before):
        build_bundle(before, decide=as_points({"lead": "recall=0.7"}, FILTER.positive_tiers))
        refit_run(before)
        cut = load_bundle(before.path("shipped")).calibration.decisions.cuts[0]
        assert cut.goal == "recall 0.7"


def train_run_on(rows):
    return fitter(load_recipe("tfidf-ridge"))(rows)


class TestTheStage:
    def test_a_run_without_it_ships_the_measured_bundle_and_is_told_to_refit(self, before):
        assert state(before, "refit").state == "missing"
        assert before.shipped() == before.path("bundle")
        assert f"next: potstill refit {before.folder}" in potstill("status", before.folder).stdout

    def test_the_run_ships_the_refitted_bundle(self, run):
        assert state(run, "refit").state == "done"
        assert run.shipped() == run.path("shipped")
        printed = json.loads(potstill("status", run.folder, "--json").stdout)
        assert (printed["bundle"], printed["refitted"]) == (str(run.path("shipped")), True)
        assert f"bundle to ship: {run.path('shipped')}, refitted" in potstill("status", run.folder).stdout

    def test_it_says_what_it_did(self, before):
        done = potstill("refit", before.folder)
        assert done.exit_code == 0, done.output
        assert "tfidf-ridge was fitted again on all 120 labelled rows, of which it had learned from 96" in done.stdout
        assert done.stderr.splitlines()[-1] == f"next: potstill report {before.folder}"
        found = json.loads(potstill("-q", "refit", before.folder, "--json").stdout)
        assert (found["bundle"], found["rows"]) == (str(before.path("shipped")), 120)

    def test_a_changed_label_makes_it_stale(self, run):
        path = run.path("rows")
        pl.read_parquet(path).with_columns(y_gain=10 - pl.col("y_gain")).write_parquet(path)
        assert state(run, "refit").state == "stale"

    def test_another_measured_bundle_makes_it_stale_and_is_shipped_until_it_is_refitted(self, run):
        build_bundle(run, "constant")
        assert state(run, "refit").state == "stale"
        assert run.shipped() == run.path("bundle")
        said = potstill("score", run.folder, "--text", "A library and a school.").stderr
        assert f"{run.path('shipped')} was refitted from an earlier one, to renew it: potstill refit" in said
        refit_run(run)
        assert load_bundle(run.shipped()).manifest.recipe == "constant"

    def test_a_shipped_bundle_that_is_gone_or_replaced_makes_it_missing(self, run):
        shutil.rmtree(run.path("shipped"))
        assert state(run, "refit").state == "missing"
        assert run.shipped() == run.path("bundle")
        shutil.copytree(run.path("bundle"), run.path("shipped"))
        assert state(run, "refit").state == "missing"

    def test_a_bundle_of_other_rows_is_not_refitted(self, before):
        path = before.path("rows")
        pl.read_parquet(path).with_columns(y_gain=10 - pl.col("y_gain")).write_parquet(path)
        with pytest.raises(RunError, match=r"rows.parquet has changed since the bundle was made; run: potstill bundle"):
            refit_run(before)

    def test_a_student_that_was_trained_together_with_others_ships_as_it_was_measured(self, before, monkeypatch):
        other = Companion(run="b", filter="other", rows_hash="0")

        def with_companion(*arguments):
            found = read_candidates(*arguments)
            return [replace(one, record=one.record.model_copy(update={"together": (other,)})) for one in found]

        monkeypatch.setattr("potstill.pipeline.refit.read_candidates", with_companion)
        found = refit_run(before)
        assert not found.refitted
        assert "its network was trained together with other" in found.why
        assert found.shipped == found.measured
        assert not before.path("shipped").exists()
        assert before.shipped() == before.path("bundle")
        assert state(before, "refit").state == "done"


class TestEveryCommandThatTakesARun:
    def test_score_verify_and_tiers_use_the_bundle_to_ship(self, run):
        scored = json.loads(
            potstill("score", run.folder, "--text", "A library, a school, a fire, a storm.", "-o", "-").stdout
        )
        shipped, measured = (
            Scorer.load(run.path(name)).score("A library, a school, a fire, a storm.").scores["gain"]
            for name in ("shipped", "bundle")
        )
        assert scored["scores"]["gain"] == pytest.approx(shipped, abs=1e-4)
        assert scored["scores"]["gain"] != pytest.approx(measured, abs=1e-3)
        said = potstill("verify", run.folder)
        assert "refitted on all 120 labelled rows; its figures are those of the student before" in said.stdout
        assert json.loads(potstill("-q", "verify", run.folder, "--json").stdout)["refitted_rows"] == 120
        assert json.loads(potstill("-q", "verify", run.path("bundle"), "--json").stdout)["refitted_rows"] is None

    def test_a_cascade_made_for_the_measured_bundle_goes_before_the_refitted_one(self, before, tmp_path):
        run = before
        train_run(run, ["constant", "tfidf-ridge", "tfidf-median"], resume=True)
        build_bundle(run, "tfidf-median")
        build_cascade(run, 0.5)
        refit_run(run)
        texts = pl.DataFrame(stories(60, seed=4)[0])
        alone = Scorer.load(run.path("shipped")).score_batch(texts)["score_gain"].to_numpy()
        first = Scorer.load(run.path("cascade") / "first").score_batch(texts)["score_gain"].to_numpy()
        both = Scorer.load(run.path("shipped"), cascade=run.path("cascade")).score_batch(texts)["score_gain"].to_numpy()
        early = np.isclose(both, first, atol=1e-6)
        assert 0 < early.sum() < 60
        assert np.allclose(both[~early], alone[~early], atol=1e-6)
        with pytest.raises(BundleError, match="was made for another bundle"):
            Scorer.load(tfidf_bundle(tmp_path / "other").folder, cascade=run.path("cascade"))

    def test_answers_of_an_oracle_are_kept_where_they_were_before_the_refit(self, run, tmp_path):
        assert ledger_of(run.path("shipped")) == run.path("bundle").with_name("bundle.oracle.sqlite")
        assert ledger_of(run.path("bundle")) == ledger_of(run.path("shipped"))
        assert ledger_of(tmp_path / "shipped") == tmp_path / "shipped.oracle.sqlite"

    def test_a_run_can_be_loaded_from_python_and_so_can_its_measured_bundle(self, run, before_again):
        assert ps.Scorer.load(run.folder).bundle.folder == run.path("shipped")
        assert ps.Scorer.load(str(run.path("bundle"))).bundle.folder == run.path("bundle")
        assert [one.bundle.folder for one in ps.Scorer.load([run.folder]).filter_scorers] == [run.path("shipped")]
        assert ps.Scorer.load(before_again).bundle.folder == before_again / "bundle"

    def test_optimize_gets_its_rows_without_labels(self, run):
        assert np.isfinite(labelled_rows(run.path("bundle"), 10).labels).all()
        seen = labelled_rows(run.path("shipped"), 10)
        assert len(seen) == 10
        assert np.isnan(seen.labels).all()


class TestItIsNeverJudgedOnWhatItHasSeen:
    def test_evaluate_refuses_a_refitted_bundle_in_the_place_of_the_measured_one(self, run):
        shutil.rmtree(run.path("bundle"))
        shutil.copytree(run.path("shipped"), run.path("bundle"))
        why = (
            r"bundle: cannot be judged on the validation part of .*run: its student was refitted on all 120 labelled "
            r"rows, and 12 of these 12 rows are among them, such as '.+'; judge the student before the "
            r"refit \(of a run: RUN/bundle\), or on new labels: potstill evaluate-fresh"
        )
        with pytest.raises(BadInput, match=why):
            evaluate_run(run, k=0, resamples=10, timed=False)

    def test_evaluate_judges_the_measured_bundle(self, run):
        earlier = json.loads(run.path("evaluation").read_text())["shipped"]
        again = evaluate_run(run, k=5, resamples=100, timed=False).shipped
        assert again.bundle_sha256 == load_bundle(run.path("bundle")).hash
        assert again.judgement.mean.mae == earlier["judgement"]["mean"]["mae"]

    def test_accept_refuses_an_incumbent_that_has_seen_the_test_part(self, run):
        with pytest.raises(BadInput, match=r"shipped: cannot be judged on the test part of .*: .* 12 of these 12 rows"):
            against_incumbent(run, run.path("shipped"))
        assert against_incumbent(run, run.path("bundle")).difference == 0

    def test_accept_takes_the_measured_bundle_of_a_run_that_is_named_as_the_incumbent(self, run):
        targets = run.path("filter") / "targets.yaml"
        targets.write_text("targets: [{figure: shipped/judgement/mean/skill, at_least: 0.1}]")
        done = potstill("accept", run.folder, "--incumbent", run.folder, "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["incumbent"]["bundle"] == str(run.path("bundle"))

    def test_predictions_of_rows_that_it_has_seen_are_refused_by_text_and_without_texts_by_id(self, run, tmp_path):
        rows = dataset_of(run).part("test")
        columns = {f"{kind}_{name}": rows.scores[:, place] for kind in "yp"
                   for place, name in enumerate(FILTER.dimension_names)}  # fmt: skip
        renamed = pl.DataFrame({"id": [f"other-{n}" for n in range(len(rows))], "text": rows.texts, **columns})
        path = tmp_path / "predictions.parquet"
        renamed.write_parquet(path)
        with pytest.raises(BadInput, match=r"cannot be judged on .*predictions.parquet: .* such as 'other-0'"):
            evaluate_file(path, FILTER, bundle=run.path("shipped"))
        assert evaluate_file(path, FILTER, bundle=run.path("bundle")).judgement.rows == len(rows)
        renamed.drop("text").write_parquet(path)
        assert evaluate_file(path, FILTER, bundle=run.path("shipped")).judgement.rows == len(rows)
        renamed.drop("text").with_columns(id=pl.Series(rows.ids)).write_parquet(path)
        refused = potstill("evaluate-predictions", path, "--filter", run.path("filter"), "--bundle", run.folder)
        assert isinstance(refused.exception, BadInput)
        assert "12 of these 12 rows are among them" in str(refused.exception)

    def test_compare_shows_the_figures_of_the_student_before(self, run):
        found = compare_paths([str(run.path(name)) for name in ("shipped", "bundle")]).entries
        sources = {one.name.rpartition("/")[2]: one.source for one in found}
        assert sources == {"shipped": "validation, before the refit", "bundle": "validation"}
        assert found[0].mae == found[1].mae

    def test_articles_that_it_has_seen_are_left_out_of_a_fresh_sample_wherever_the_bundle_is(self, run, tmp_path):
        bundle = shutil.copytree(run.path("shipped"), tmp_path / "elsewhere")
        known, new = stories(120)[0], stories(15, seed=8)[0]
        path = tmp_path / "news.jsonl"
        for one in new:
            one["id"] = f"new-{one['id']}"
        path.write_text("".join(json.dumps(row) + "\n" for row in [*known, *new]))
        drawn = prepare(bundle, path, 15, folder=tmp_path / "out").sample
        assert sorted(drawn.articles["id"]) == sorted(one["id"] for one in new)
        assert drawn.left_out == {"with a text that is there twice or that the bundle or its run has": 120}
        with pytest.raises(BadInput, match="a sample of 16 was asked for, and there are 15"):
            prepare(bundle, path, 16, folder=tmp_path / "out")

    def test_a_run_is_judged_on_new_articles_with_the_bundle_that_it_ships(self, run, tmp_path):
        path = tmp_path / "news.jsonl"
        path.write_text("".join(json.dumps(row | {"id": f"new-{row['id']}"}) + "\n" for row in stories(15, seed=8)[0]))
        check = prepare(run.folder, path, 12)
        assert check.scorer.bundle.folder == run.path("shipped")
        assert check.folder == run.path("fresh")

    def test_an_old_bundle_without_the_record_is_judged_as_before(self, run, tmp_path):
        facts = json.loads((run.path("bundle") / BUNDLE_LAYOUT["facts"]).read_text())
        del facts["refit"]
        read = BundleFacts.from_json(facts | {"schema_version": 1}, "facts.json")
        assert read.refit is None
        refuse_seen(None, "old", "any file", ["a"], ["text"])


def rough(run, *recipes, ship):
    """Train recipes with tiny networks, and build the bundle of one."""
    train_run(run, list(recipes), tiny=True)
    build_bundle(run, ship)
    return refit_run(run)


def recipe_file(folder, name, **changes):
    """Write a preset with other settings, which trains for two epochs."""
    recipe = load_recipe(name).model_copy(update=changes)
    path = folder / f"{recipe.name}.yaml"
    path.write_text(json.dumps(recipe.model_dump(mode="json", exclude_none=True)))
    return path


class TestEveryKindOfStudent:
    @pytest.mark.parametrize("name", ["constant", "tfidf-median", "minilm-median", "minilm-e5-tfidf-blend"])
    def test_one_that_is_fitted_in_seconds_gets_a_calibration_of_all_rows(self, tmp_path, name):
        run = started(tmp_path / "run")
        found = rough(run, name, ship=name)
        assert (found.refitted, found.train_rows, found.rows, found.calibration) == (True, 80, 120, "out-of-fold")
        bundle = load_bundle(run.shipped(), check="all")
        assert [curve.n for curve in bundle.calibration.curves] == [120, 120]
        assert (bundle.calibration.familiarity is None) == (name == "constant")

    def test_one_with_a_calibration_part_is_calibrated_on_all_rows_too(self, tmp_path):
        run = started(tmp_path / "run", calibration=True)
        found = rough(run, "tfidf-ridge", ship="tfidf-ridge")
        assert (found.train_rows, found.rows) == (60, 120)
        assert [curve.n for curve in load_bundle(run.shipped()).calibration.curves] == [120, 120]

    @pytest.mark.slow
    def test_a_network_is_trained_for_as_many_epochs_as_before_and_keeps_its_calibration(self, tmp_path, capsys):
        run = started(tmp_path / "run")
        path = recipe_file(tmp_path, "minilm-lora", epochs=3)
        train_run(run, [path], tiny=True)
        record = StudentRecord.from_file(run.path("students") / "minilm-lora" / "record.json")
        build_bundle(run, "minilm-lora")
        found = refit_run(run)
        assert (found.train_rows, found.rows, found.calibration) == (72, 120, "kept")
        assert f"epoch {record.best_epoch}/{record.best_epoch}: MAE" in capsys.readouterr().err
        shipped, measured = load_bundle(run.path("shipped"), check="all"), load_bundle(run.path("bundle"))
        assert shipped.facts.refit.epochs == record.best_epoch
        assert shipped.calibration.curves == measured.calibration.curves
        assert shipped.calibration.decisions == measured.calibration.decisions
        new = pl.DataFrame({"id": ["a"], "text": ["library school garden town market"]})
        assert not np.allclose(shipped.student.predict(new), measured.student.predict(new), atol=1e-5)

    def test_a_distilled_student_learns_from_the_labels_and_the_teacher_on_every_row(self, tmp_path, monkeypatch):
        run = started(tmp_path / "run")
        articles(120)[0].write_parquet(run.path("articles"))
        path = tmp_path / "small.yaml"
        path.write_text(
            "name: small\nstudent: distilled\nteacher: tfidf-ridge\nrecipe: {name: own, student: tfidf-ridge}\n"
        )
        learned = []
        fitting = sys.modules["potstill.pipeline.refit"].fit
        monkeypatch.setattr(
            "potstill.pipeline.refit.fit", lambda *given, **how: learned.append(given[1]) or fitting(*given, **how)
        )
        found = rough(run, "tfidf-ridge", path, ship="small")
        assert (found.train_rows, found.rows) == (80, 120)
        rows = Dataset.load(run.path("rows"), TINY.dimension_names).all()
        assert learned[0].ids == rows.ids
        # Every target is the mean of the label and of a score by a teacher that had not seen the row.
        teacher = 2 * learned[0].scores - rows.scores
        assert (np.abs(teacher - rows.scores).max(axis=1) > 0.01).all()
        raw = load_student(run.path("students") / "tfidf-ridge").predict(rows.frame)
        assert np.allclose(teacher[80:], np.clip(raw[80:], 0, 10))
        assert not np.allclose(teacher[:80], np.clip(raw[:80], 0, 10), atol=0.01)

    def test_an_ensemble_has_refitted_members_and_the_weights_that_were_chosen_before(self, tmp_path):
        run = started(tmp_path / "run")
        path = tmp_path / "both.yaml"
        path.write_text(
            "name: both\nstudent: ensemble\nmembers: [tfidf-ridge, tfidf-median]\nweights: absolute-error\n"
        )
        found = rough(run, "tfidf-ridge", "tfidf-median", path, ship="both")
        assert found.calibration == "out-of-fold"
        shipped, before = load_bundle(run.shipped()).student, load_student(run.path("students") / "both")
        assert np.allclose(shipped.weights, before.weights)
        rows = Dataset.load(run.path("rows"), TINY.dimension_names).all()
        new = pl.DataFrame({"id": ["a"], "text": ["library school garden town market"]})
        alone = [fitter(load_recipe(name))(rows).predict(new) for name in ("tfidf-ridge", "tfidf-median")]
        assert np.allclose([member.predict(new) for member in shipped.members], alone, atol=1e-5)

    def test_rows_that_were_chosen_by_a_predicted_score_teach_and_measure_nothing(self, tmp_path):
        run = started(tmp_path / "run")
        frame = pl.read_parquet(run.path("rows"))
        chosen = pl.Series("sampling", ["high"] * 20 + [""] * 100)
        frame.with_columns(chosen).write_parquet(run.path("rows"))
        rough(run, "tfidf-ridge", ship="tfidf-ridge")
        bundle = load_bundle(run.shipped())
        assert bundle.seen.rows == 120
        assert [curve.n for curve in bundle.calibration.curves] == [100, 100]


class TestSeenRows:
    def test_rows_are_known_by_their_texts_and_without_them_by_their_ids(self, original):
        rows = dataset_of(Run.open(original)).all()
        seen = SeenRows.of(rows.take(np.arange(50)))
        assert seen.among(rows.ids, rows.texts).tolist() == [True] * 50 + [False] * 70
        assert seen.among(rows.ids).tolist() == [True] * 50 + [False] * 70
        assert not seen.among(rows.ids, ["other"] * 120).any()
        assert seen.rows == 50
        assert len(base64.b64decode(seen.texts)) == 50 * 8

    def test_no_text_can_be_read_from_the_record(self, original):
        rows = dataset_of(Run.open(original)).all()
        whole = SeenRows.of(rows).model_dump_json()
        assert not any(word in whole for word in ("library", "harvest", "council"))

    def test_a_broken_record_is_refused(self):
        with pytest.raises(BundleError, match="the record of the rows that were learned from is broken"):
            SeenRows(rows=1, sha256="", ids="", texts="%").among(["a"], ["b"])


def test_a_seen_text_is_left_out_whatever_its_id():
    frame = pl.DataFrame({"id": ["a", "b"], "title": ["", ""], "content": ["A library.", "A fire."]})
    text = FILTER.text.of("", "A fire.")
    seen = SeenRows(rows=1, sha256="", ids="", texts=SeenRows.of(one_row(text)).texts)
    assert draw(frame, FILTER, 1, learned=seen).articles["id"].to_list() == ["a"]


def one_row(text):
    frame = pl.DataFrame({"id": ["x"], "text": [text]})
    return Examples(("x",), frame, np.zeros((1, 2)), np.zeros(1, dtype=np.int64), FILTER.dimension_names)
