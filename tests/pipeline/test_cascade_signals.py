"""Tests of the signal of early answers: which is chosen, with which bound, and that no row is judged by its label."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
from tiny_bundle import FILTER, articles
from tiny_run import started

from potstill.bundle import load_bundle
from potstill.bundle.deciding import decide_articles, decide_raw
from potstill.bundle.exporting import OUT_OF_FOLD
from potstill.dataset import Dataset, Examples
from potstill.evaluation.ranking import average_precision
from potstill.pipeline import unseen as unseen_module
from potstill.pipeline.bundle import build_bundle, calibrate_candidate, read_candidates
from potstill.pipeline.cascade import CONFIDENCE, OF_TWO, build_cascade, choose_signal, highest_recall, may_lose
from potstill.pipeline.held_out import held_out_scores
from potstill.pipeline.train import train_run
from potstill.pipeline.unseen import HeldOutRows, Unseen, positives, unseen_rows
from potstill.prefilter import fold_all
from potstill.scorer import Scorer
from potstill.scorer.early import Cascade
from potstill.students import Outputs

SECONDS = (0.001, 0.1)


def signals(separation, positive=100, negative=400, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(separation, 1, positive), rng.normal(0, 1, negative)])


def rows_with(values, positive=100):
    return Unseen(values, np.arange(values.size) < positive, np.arange(values.size))


class TestChoice:
    @pytest.mark.parametrize(("by_score", "by_probability", "kind"), [(1, 3, "probability"), (3, 1, "score")])
    def test_the_signal_that_answers_more_articles_early_is_used(self, by_score, by_probability, kind):
        found = choose_signal(rows_with(signals(by_score)), rows_with(signals(by_probability)), 0.9, SECONDS)
        assert found.kind == kind
        assert found.compared[kind].early == max(one.early for one in found.compared.values())
        assert found.reason.startswith(f"by {kind} ")

    def test_the_bound_of_each_of_two_signals_has_half_the_risk(self):
        by_score, by_probability = (rows_with(signals(one, 200), 200) for one in (1, 3))
        found = choose_signal(by_score, by_probability, 0.9, SECONDS)
        fewer = may_lose(200, 0.9, OF_TWO)
        assert [one.lost for one in found.compared.values()] == [fewer, fewer]
        assert fewer < may_lose(200, 0.9, CONFIDENCE)
        assert found.confidence == OF_TWO

    def test_equal_signals_leave_it_at_the_score(self):
        one = rows_with(signals(2))
        assert choose_signal(one, one, 0.9, SECONDS).kind == "score"

    def test_without_a_probability_the_score_has_the_whole_risk(self):
        found = choose_signal(rows_with(signals(2)), None, 0.9, SECONDS)
        assert (found.kind, found.confidence, list(found.compared)) == ("score", CONFIDENCE, ["score"])
        assert found.compared["score"].lost == may_lose(100, 0.9, CONFIDENCE)
        assert found.reason == "the first student decides no tier by its probability"

    def test_with_positives_that_are_enough_for_one_bound_only_it_is_the_score(self):
        count = 30
        assert highest_recall(count, OF_TWO) < 0.9 <= highest_recall(count, CONFIDENCE)
        by_score, by_probability = (rows_with(signals(one, count), count) for one in (1, 3))
        found = choose_signal(by_score, by_probability, 0.9, SECONDS)
        assert (found.kind, found.compared["score"].recall >= 0.9) == ("score", True)
        assert found.reason == "the positives are too few to choose between the score and the probability"

    @pytest.mark.long
    def test_the_promise_of_the_chosen_signal_holds_in_nineteen_of_twenty_draws(self):
        rng = np.random.default_rng(0)
        kept = 0
        for _ in range(2000):
            # Signals of positives are uniform, so the share of future positives above a threshold is 1 - threshold.
            one, other = (rows_with(np.concatenate([rng.uniform(size=100), rng.uniform(size=50)])) for _ in range(2))
            found = choose_signal(one, other, 0.9, SECONDS)
            kept += 1 - found.compared[found.kind].threshold >= 0.9
        assert kept / 2000 >= 0.95


def labelled(count=200):
    rng = np.random.default_rng(3)
    frame, scores = articles(count, seed=3)
    texts = [FILTER.text.of(*row) for row in frame.select("title", "content").iter_rows()]
    rows = Examples(
        tuple(frame["id"]), frame.with_columns(text=pl.Series(texts)), scores, np.arange(count), FILTER.dimension_names
    )
    return rows, np.clip(scores + rng.normal(0, 2, scores.shape), 0, 10)


class TestProbabilitiesOfUnseenRows:
    def test_the_labels_of_a_fold_do_not_change_its_own_probabilities(self, monkeypatch):
        rows, raw = labelled()
        fold = np.arange(len(rows)) % 5
        monkeypatch.setattr(unseen_module, "folds", lambda *_: fold)
        other = rows.scores.copy()
        other[fold == 0] = 10 - other[fold == 0]
        changed = Examples(rows.ids, rows.frame, other, rows.clusters, rows.dimensions)
        before, after = (HeldOutRows(one, raw, None).cross_fitted(FILTER, OUT_OF_FOLD, 0) for one in (rows, changed))
        np.testing.assert_array_equal(before[fold == 0], after[fold == 0])
        assert (before[fold != 0] != after[fold != 0]).any()

    def test_tier_outputs_are_used(self):
        rows, _ = labelled()
        raw = np.full(rows.scores.shape, 5.0)
        good = positives(rows, FILTER)
        outputs = good[:, None] + np.random.default_rng(0).normal(0, 0.3, (len(rows), 1))
        without, found = (HeldOutRows(rows, raw, own).cross_fitted(FILTER, OUT_OF_FOLD, 0) for own in (None, outputs))
        assert average_precision(good, found) > 0.9 > average_precision(good, without)

    @pytest.mark.parametrize("calibration", [False, True])
    def test_only_the_rows_of_the_calibration_are_cross_fitted(self, tmp_path, calibration):
        run = started(tmp_path / "run")
        own = "calibration" if calibration else "train"
        whole = Dataset.load(run.path("rows"), FILTER.dimension_names).frame
        split = ["train"] * 20 + [own] * 60 + ["validation"] * 20 + ["test"] * 20
        Dataset(whole.with_columns(split=pl.Series(split)), FILTER.dimension_names).save(run.path("rows"))
        train_run(run, ["tfidf-ridge"])
        dataset = Dataset.load(run.path("rows"), FILTER.dimension_names)
        fitted = calibrate_candidate(run, dataset, read_candidates(run, dataset)[0])
        by_score, found = unseen_rows(fitted, dataset, fitted.student, FILTER)
        parts = [dataset.part(name) for name in ("train", "validation", *(["calibration"] if calibration else []))]
        raw = np.concatenate(
            [held_out_scores(fitted.candidate.folder, dataset.part("train")), fitted.student.predict(whole[80:100])]
        )
        if calibration:
            raw = np.concatenate([raw, fitted.student.predict(parts[-1].frame)])
        texts = [text for part in parts for text in part.texts]
        by_the_calibration = decide_raw(Outputs(raw), fold_all(texts), FILTER, fitted.calibration).positive[:, -1]
        assert len(texts) == found.signals.size == by_score.signals.size == 100
        cross = np.repeat([part is (parts[-1] if calibration else parts[0]) for part in parts], list(map(len, parts)))
        same = np.abs(found.signals - by_the_calibration) < 1e-6
        assert same[~cross].all()
        assert same[cross].mean() < 0.5


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = started(tmp_path_factory.mktemp("signals") / "run")
    train_run(run, ["constant", "tfidf-ridge"])
    build_bundle(run, "constant")
    build_cascade(run, 0.8)
    return run


def test_an_article_without_a_probability_is_never_answered_early(run, monkeypatch):
    """Such as one for which a condition of the filter is undefined."""
    monkeypatch.setattr(HeldOutRows, "probabilities", lambda self, *_: np.full(len(self.rows), np.nan))
    dataset = Dataset.load(run.path("rows"), FILTER.dimension_names)
    fitted = calibrate_candidate(run, dataset, read_candidates(run, dataset)[1])
    _, by_probability = unseen_rows(fitted, dataset, fitted.student, FILTER)
    assert np.isposinf(by_probability.signals).all()
    assert by_probability.early(1.0) == 0


def rewritten(run, folder, **changed):
    shutil.copytree(run.path("cascade"), folder)
    path = folder / "cascade.json"
    kept = json.loads(path.read_text()) | changed
    path.write_text(json.dumps({name: value for name, value in kept.items() if value is not None}))
    return Scorer.load(run.path("bundle"), cascade=folder)


class TestScoring:
    def test_the_record_holds_both_signals_and_the_one_that_answers_more(self, run):
        record = Cascade.from_file(run.path("cascade") / "cascade.json")
        assert set(record.compared) == {"score", "probability"}
        assert record.compared[record.signal] == record.chosen
        assert record.chosen.early == max(one.early for one in record.compared.values())
        assert record.signal_reason
        assert record.confidence == CONFIDENCE

    def test_by_probability_articles_below_the_threshold_are_answered_early_unless_they_are_named(self, run, tmp_path):
        kept = json.loads((run.path("cascade") / "cascade.json").read_text())
        # So high a threshold is above the cut, so that some articles below it are named.
        scorer = rewritten(run, tmp_path / "other", signal="probability", chosen=kept["chosen"] | {"threshold": 0.9})
        frame, _ = articles(200, seed=9)
        early = (scorer.score_batch(frame)["answered_by"] == "tfidf-ridge").to_numpy()
        first = load_bundle(run.path("cascade") / "first")
        texts = [FILTER.text.of(*row) for row in frame.select("title", "content").iter_rows()]
        decided = decide_articles(first.student, pl.DataFrame({"text": texts}), FILTER, first.calibration)
        named = np.array(decided.judged.tier_names) == "lead"
        below = decided.positive[:, -1] < 0.9
        assert (below & named).any()
        np.testing.assert_array_equal(early, below & ~named)

    def test_a_cascade_of_version_1_decides_by_score(self, run, tmp_path):
        scorer = rewritten(
            run, tmp_path / "old", schema_version=1, signal=None, compared=None, signal_reason=None,
            chosen=json.loads((run.path("cascade") / "cascade.json").read_text())["compared"]["score"],
        )  # fmt: skip
        record = scorer.only.early.record
        assert record.signal == "score"
        frame, _ = articles(200, seed=9)
        found = scorer.score_batch(frame)
        texts = [FILTER.text.of(*row) for row in frame.select("title", "content").iter_rows()]
        raw = load_bundle(run.path("cascade") / "first").student.predict(pl.DataFrame({"text": texts}))
        means = np.clip(raw, 0, 10) @ FILTER.weights
        early = (found["answered_by"] == "tfidf-ridge").to_numpy()
        assert early.any()
        assert (means[early] < record.chosen.threshold).all()
        named = Scorer.load(run.path("cascade") / "first").score_batch(frame)["tier"].to_numpy() == "lead"
        np.testing.assert_array_equal(early, (means < record.chosen.threshold) & ~named)
