import json
import shutil

import numpy as np
import polars as pl
import pytest
from evaluated_run import bundled_run

from potstill.bundle import BUNDLE_LAYOUT
from potstill.calibration import Calibration
from potstill.cli.demo import found_lines
from potstill.cli.evaluate import described
from potstill.dataset import Dataset
from potstill.errors import RunError
from potstill.evaluation import Evaluation
from potstill.evaluation.whatif import edited
from potstill.files import read_json, write_json
from potstill.operating_points import OperatingPoint
from potstill.pipeline.accept import against_incumbent
from potstill.pipeline.bundle import build_bundle
from potstill.pipeline.evaluate import candidates, evaluate_run, saved
from potstill.pipeline.predictions import read_predictions
from potstill.pipeline.run import Run
from potstill.scorer import Scorer


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return bundled_run(tmp_path_factory.mktemp("evaluation")).folder


@pytest.fixture(scope="module")
def evaluated(original, tmp_path_factory):
    folder = shutil.copytree(original, tmp_path_factory.mktemp("evaluated") / "run")
    run = Run.open(folder)
    return run, evaluate_run(run, k=5, resamples=100)


@pytest.fixture
def run(original, tmp_path):
    return Run.open(shutil.copytree(original, tmp_path / "run"))


def test_the_record_on_disk_is_what_the_call_gave(evaluated):
    run, evaluation = evaluated
    assert Evaluation.from_file(run.path("evaluation")) == evaluation


def test_the_stage_is_done_and_its_report_missing(evaluated):
    run, _ = evaluated
    states = {stage.stage: stage.state for stage in Run.open(run.folder).status()}
    assert (states["evaluate"], states["report"]) == ("done", "missing")


def test_cheap_rungs_are_judged_out_of_fold_over_every_labelled_row(evaluated):
    _, evaluation = evaluated
    assert [rung.name for rung in evaluation.ladder] == ["constant", "tfidf-ridge"]
    for rung in evaluation.ladder:
        assert rung.headline == "out-of-fold"
        judged = rung.judgements["out-of-fold"]
        assert (judged.rows, judged.folds) == (90, 5)
        assert rung.judgements["test"].rows == evaluation.data.parts["test"]


def test_the_ridge_reads_and_the_constant_does_not(evaluated):
    _, evaluation = evaluated
    constant, ridge = evaluation.ladder
    assert constant.judgements["out-of-fold"].mean.skill == pytest.approx(0, abs=1e-6)
    assert ridge.judgements["out-of-fold"].mean.skill > 0.3
    assert "shipped-beats-the-constant" in {finding.rule for finding in evaluation.findings}


def test_the_bundles_probabilities_are_judged_on_the_test_part(evaluated):
    _, evaluation = evaluated
    odds = evaluation.shipped.odds
    assert odds.rows == evaluation.data.parts["test"]
    assert odds.brier < odds.brier_of_shares
    assert [asked.error for asked in odds.asked] == [0.05, 0.1, 0.2]


def test_positive_tiers_of_the_bundle_are_judged_at_its_cuts(evaluated):
    run, evaluation = evaluated
    cut = Calibration.from_file(run.path("bundle") / BUNDLE_LAYOUT["calibration"]).decisions.cuts[0]
    (found,) = evaluation.shipped.judgement.positive_tiers
    assert (found.tier, found.cut) == ("lead", cut)
    assert cut.probability is not None
    test = Dataset.load(run.path("rows"), ("gain", "near")).part("test")
    scored = Scorer.load(run.path("bundle")).score_batch(
        pl.read_parquet(run.path("articles")).join(pl.DataFrame({"id": test.ids}), on="id", maintain_order="right")
    )
    assert found.named == (scored["tier"] == "lead").sum()
    table = pl.read_parquet(run.path("predictions")).filter(pl.col("source") == "test")
    assert table.select("id", tier="tier_student").sort("id").equals(scored.select("id", "tier").sort("id"))
    named = table.filter(pl.col("tier_student") == "lead")["at_least_lead"]
    others = table.filter(pl.col("tier_student") != "lead")["at_least_lead"]
    assert named.min() >= cut.probability > others.max()


def test_recorded_predictions_keep_the_tiers_that_the_cuts_decided(evaluated):
    run, evaluation = evaluated
    (expected,) = evaluation.shipped.judgement.positive_tiers
    found = read_predictions(run.folder, run.filter, source="test")
    (tier,) = found.judged(run.filter).positive_tiers
    assert (tier.named, tier.both) == (expected.named, expected.both)
    assert tier.average_precision == pytest.approx(expected.average_precision)
    assert found.decided.positive[:, 0].max() <= 1
    assert read_predictions(run.folder, run.filter).decided is None
    other = edited(run.filter, ["tiers.lead.when=overall >= 5"])
    assert read_predictions(run.folder, other, source="test").decided is None


def test_tiers_of_predictions_are_those_of_the_cuts_where_scores_give_others(run):
    build_bundle(run, decide={"lead": OperatingPoint(volume=900)})
    (found,) = evaluate_run(run, k=0, resamples=20, timed=False).shipped.judgement.positive_tiers
    table = pl.read_parquet(run.path("predictions")).filter(pl.col("source") == "test")
    assert (table["tier_student"] == "lead").sum() == found.named > (table["overall_student"] >= 6).sum()


def test_the_incumbents_own_cuts_decide_its_tiers(evaluated):
    run, evaluation = evaluated
    (found,) = against_incumbent(run, run.path("bundle")).judgement.positive_tiers
    (expected,) = evaluation.shipped.judgement.positive_tiers
    assert found.cut == expected.cut
    assert (found.named, found.both) == (expected.named, expected.both)


def test_candidates_without_a_cut_are_ranked_by_their_scores(evaluated):
    run, evaluation = evaluated
    (found,) = evaluation.ladder[1].judgements["out-of-fold"].positive_tiers
    assert found.cut is None
    assert found.equal_volume.named == found.oracle > 20
    assert found.average_precision == evaluation.ladder[1].judgements["out-of-fold"].ranking.average_precision
    table = pl.read_parquet(run.path("predictions")).filter(pl.col("source") == "out-of-fold")
    assert table["at_least_lead"].null_count() == table.height


def test_articles_that_trained_nothing_are_counted_together(evaluated):
    run, evaluation = evaluated
    (found,), (test,) = evaluation.shipped.unseen, evaluation.shipped.judgement.positive_tiers
    rows = Dataset.load(run.path("rows"), ("gain", "near"))
    assert found.rows == found.cut.rows + test.rows + len(rows.part("validation")) == 90
    assert found.cut.positives + test.oracle <= found.oracle
    assert found.cut.found + test.both <= found.both <= found.named


def test_an_evaluation_from_before_positive_tiers_were_recorded_is_read(run):
    evaluate_run(run, k=0, resamples=20, timed=False)
    path = run.path("evaluation")
    content = read_json(path)
    del content["shipped"]["unseen"], content["shipped"]["judgement"]["positive_tiers"]
    for rung in content["ladder"]:
        for judged in rung["judgements"].values():
            del judged["positive_tiers"]
    write_json(path, content)
    found = Evaluation.from_file(path)
    assert (found.shipped.unseen, found.shipped.judgement.positive_tiers) == ((), ())
    assert described(found)[0].startswith("model")


def test_the_command_prints_positive_tiers_before_errors(evaluated):
    lines = described(evaluated[1])
    assert lines[0].split()[:2] == ["positive", "tiers"]
    (found,) = evaluated[1].shipped.judgement.positive_tiers
    bundle = next(line for line in lines if line.startswith("bundle *: lead"))
    assert f"{found.both} of {found.oracle} " in bundle
    assert bundle.endswith(f"at the oracle's volume (cut {found.cut.probability:.2f})")
    ridge = next(line for line in lines if line.startswith("tfidf-ridge: lead"))
    assert ridge.endswith("by score")
    assert next(place for place, line in enumerate(lines) if "MAE" in line) > lines.index(ridge)


def test_the_demo_ends_with_what_is_found(evaluated):
    (one,) = evaluated[1].shipped.unseen
    (line,) = found_lines(evaluated[1])
    assert line == (
        f"good-news: at the oracle's volume (cut {one.cut.probability:.2f}), tfidf-ridge finds {one.both} of "
        f"{one.oracle} articles in lead and names {one.named}: precision {one.both / one.named:.0%} "
        "(90 articles, each decided by a model that had not seen it)"
    )
    shipped = evaluated[1].shipped.model_copy(update={"unseen": ()})
    assert found_lines(evaluated[1].model_copy(update={"shipped": shipped})) == []


def test_the_constant_of_the_test_part_learned_from_the_training_part(evaluated):
    run, evaluation = evaluated
    dataset = Dataset.load(run.path("rows"), ("gain", "near"))
    train, test = dataset.part("train").scores, dataset.part("test").scores
    expected = np.abs(test - np.median(train, axis=0)).mean()
    assert evaluation.shipped.judgement.mean.constant_mae == pytest.approx(expected, abs=1e-5)
    assert evaluation.ladder[0].judgements["test"].mean.mae == pytest.approx(expected, abs=1e-5)


def test_the_choice_tells_what_validation_said(evaluated):
    run, evaluation = evaluated
    recorded = read_json(run.path("students") / "tfidf-ridge" / "record.json")["validation"]["mae"]
    assert (evaluation.choice.rung, evaluation.choice.runner_up) == ("tfidf-ridge", "constant")
    assert evaluation.choice.validation_mae["tfidf-ridge"] == pytest.approx(recorded, abs=0.02)
    assert evaluation.choice.margin > 0


def test_the_bundle_is_judged_as_the_scorer_scores(evaluated):
    run, evaluation = evaluated
    test = Dataset.load(run.path("rows"), ("gain", "near")).part("test")
    scorer = Scorer.load(run.path("bundle"))
    scores = np.array(
        [[verdict.scores[name] for name in ("gain", "near")] for verdict in scorer.score_many(test.texts)]
    )
    assert evaluation.shipped.judgement.mean.mae == pytest.approx(np.abs(scores - test.scores).mean(), abs=1e-5)
    assert 0 <= evaluation.shipped.coverage["gain"] <= 1


def test_the_floor_comes_from_the_ledgers_two_passes(evaluated):
    _, evaluation = evaluated
    assert evaluation.floor.samples == 2
    assert evaluation.floor.articles == 90
    assert evaluation.floor.mean_floor == pytest.approx(evaluation.floor.mean_difference / 2, abs=1e-5)


def test_each_rung_was_timed(evaluated):
    _, evaluation = evaluated
    assert all(rung.latency is not None and rung.latency.milliseconds_p50 > 0 for rung in evaluation.ladder)
    assert evaluation.shipped.latency.articles_per_second > 0


def test_predictions_hold_each_row_with_both_verdicts(evaluated):
    run, evaluation = evaluated
    frame = pl.read_parquet(run.path("predictions"))
    of_bundle = frame.filter(pl.col("source") == "test")
    assert of_bundle.height == evaluation.data.parts["test"]
    assert frame.filter(pl.col("source") == "out-of-fold").height == 90
    assert set(of_bundle["split"]) == {"test"}
    assert of_bundle["low_gain"].is_not_null().all()
    agree = (of_bundle["tier_oracle"] == of_bundle["tier_student"]).mean()
    assert agree == pytest.approx(evaluation.shipped.judgement.tiers.accuracy, abs=1e-6)
    assert {"cap_0", "overall_oracle", "overall_student"} <= set(frame.columns)


def test_a_test_label_changes_no_figure_of_validation(run):
    before = evaluate_run(run, k=0, resamples=20, timed=False)
    frame = pl.read_parquet(run.path("rows"))
    frame = frame.with_columns(
        pl.when(pl.col("split") == "test").then(10 - pl.col("y_gain")).otherwise("y_gain").alias("y_gain")
    )
    frame.write_parquet(run.path("rows"))
    after = evaluate_run(run, k=0, resamples=20, timed=False)
    assert after.choice == before.choice
    assert after.shipped.judgement.mean.mae > before.shipped.judgement.mean.mae


def test_without_folds_the_test_part_is_the_headline(run):
    evaluation = evaluate_run(run, k=0, resamples=20, timed=False)
    assert {rung.headline for rung in evaluation.ladder} == {"test"}
    assert evaluation.ladder[0].latency_missing == "not asked for"


def test_the_same_seed_gives_the_same_figures(run):
    first, second = (evaluate_run(run, k=3, resamples=20, timed=False) for _ in range(2))
    assert first == second


def test_one_pass_leaves_the_floor_unknown(tmp_path):
    evaluation = evaluate_run(bundled_run(tmp_path, 60, passes=1), k=3, resamples=20, timed=False)
    assert evaluation.floor is None
    assert "floor-unknown" in {finding.rule for finding in evaluation.findings}
    assert evaluation.labels["gain"].repeat_deviation is None


def test_labels_that_are_noise_are_said_to_teach_nothing(tmp_path):
    run = bundled_run(tmp_path, 60, noise=1000.0)
    evaluation = evaluate_run(run, k=5, resamples=100, timed=False)
    finding = next(f for f in evaluation.findings if f.rule == "cheap-students-do-not-beat-the-constant")
    assert finding.text.startswith("No cheap student clearly beats the constant: the best one, tfidf-ridge,")


def test_a_shipped_constant_is_called_nothing_to_ship(run):
    build_bundle(run, "constant")
    evaluation = evaluate_run(run, k=0, resamples=20, timed=False)
    rules = {finding.rule for finding in evaluation.findings}
    assert {"shipped-is-a-baseline", "choice-is-not-validations"} <= rules


def test_a_run_without_a_bundle_names_the_command(run):
    shutil.rmtree(run.path("bundle"))
    with pytest.raises(RunError, match="run: potstill bundle"):
        evaluate_run(run)


def test_a_run_without_students_names_the_command(tmp_path):
    (tmp_path / "students").mkdir()
    with pytest.raises(RunError, match="no student; run: potstill train"):
        candidates(tmp_path / "students")


def test_validation_scores_of_other_rows_are_refused(run):
    rows = Dataset.load(run.path("rows"), ("gain", "near")).part("train")
    with pytest.raises(RunError, match="holds other rows than the validation part"):
        saved(run.path("students") / "constant", rows)


def test_a_newer_record_is_refused(evaluated, tmp_path):
    content = json.loads(evaluated[0].path("evaluation").read_text())
    write_json(tmp_path / "evaluation.json", content | {"schema_version": 2})
    with pytest.raises(RunError, match="schema_version 2 is newer"):
        Evaluation.from_file(tmp_path / "evaluation.json")


def test_a_broken_record_names_its_field(evaluated, tmp_path):
    content = json.loads(evaluated[0].path("evaluation").read_text())
    content["data"]["rows"] = "many"
    write_json(tmp_path / "evaluation.json", content)
    with pytest.raises(RunError, match="data -> rows"):
        Evaluation.from_file(tmp_path / "evaluation.json")
