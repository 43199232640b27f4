import sqlite3
from contextlib import closing

import pytest
from reviewed import FILTER, labelled_run, opinions, recorded

from potstill.articles import read_all
from potstill.audit.labelled import labelled
from potstill.dataset import Dataset
from potstill.errors import BadInput, DatasetError, LabelError
from potstill.labelling import Ledger, label
from potstill.oracle.replay import ReplayOracle
from potstill.pipeline.audit import labels_of
from potstill.pipeline.dataset import build_dataset
from potstill.pipeline.review import Review, checked_name
from potstill.pipeline.run import Run

RIGHT = {"wind": 3.0, "rain": 4.0}


def test_a_correction_stands_beside_the_oracles_label_with_the_reviewers_name(tmp_path):
    run = labelled_run(tmp_path)
    with Review.of(run, "Ann Lee") as review:
        review.judge("a3", RIGHT, "a storm, plainly")
        assert review.corrections() == 1
    with Ledger(run.path("ledger")) as ledger:
        rows = ledger.labels(FILTER).filter(article="a3").sort("oracle")
    assert rows["oracle"].to_list() == ["human:Ann Lee", "replay:mild"]
    assert rows["y_wind"].to_list() == [3.0, 1.5]
    assert rows["evidence"].to_list() == ["a storm, plainly", "e"]


def test_a_correction_is_there_when_the_review_goes_on(tmp_path):
    run = labelled_run(tmp_path)
    with Review.of(run, "Ann") as review:
        review.judge("a3", RIGHT, "so")
    with Review.of(run, "Ann") as review:
        assert [(item.id, item.given, item.note) for item in review.judged()] == [("a3", RIGHT, "so")]
    with Review.of(run, "Bob") as review:
        assert review.judged() == []
        assert all("human:Ann" not in item.others for item in review.items)


def test_the_latest_judgement_of_a_reviewer_counts_and_can_be_taken_back(tmp_path):
    run = labelled_run(tmp_path)
    with Review.of(run, "Ann") as review:
        review.judge("a3", {"wind": 9.0, "rain": 9.0})
        review.judge("a3", RIGHT)
        review.judge("a4", RIGHT)
        review.retract("a4")
    with closing(sqlite3.connect(run.path("ledger"))) as database:
        found = database.execute("SELECT article, scores FROM labels WHERE oracle = 'human:Ann'").fetchall()
    assert found == [("a3", '{"rain": 4.0, "wind": 3.0}')]


def test_the_dataset_takes_a_reviewers_label_before_the_oracles(tmp_path):
    run = labelled_run(tmp_path)
    with Review.of(run, "Ann") as review:
        review.judge("a3", {"wind": 9.0, "rain": None})
    with Review.of(run, "Bob") as review:
        review.judge("a3", {"wind": 7.0, "rain": None})
    record = build_dataset(run)
    frame = run_rows(run)
    assert record.oracle == "replay:mild"
    assert frame.filter(id="a3").select("y_wind", "y_rain", "samples").rows() == [(8.0, 8.5, 1)]
    assert frame.filter(id="a4").select("y_wind", "y_rain", "samples").rows() == [(2.0, 8.0, 1)]
    assert "1 labels of the oracle are replaced by a reviewer's" in record.notes


def test_a_reviewer_can_be_chosen_as_the_oracle(tmp_path):
    run = labelled_run(tmp_path)
    with Review.of(run, "Ann") as review:
        for item in review.items:
            review.judge(item.id, {"wind": item.scores["rain"], "rain": item.scores["wind"]})
    record = build_dataset(run, oracle="human:Ann")
    assert (record.oracle, record.rows) == ("human:Ann", 20)
    assert run_rows(run).filter(id="a3")["y_wind"].to_list() == [8.5]


def test_a_correction_makes_the_dataset_stale(tmp_path):
    run = labelled_run(tmp_path)
    build_dataset(run)
    with Review.of(run, "Ann") as review:
        review.judge("a3", RIGHT)
    stages = {status.stage: status for status in Run.open(run.folder).status()}
    assert (stages["label"].state, stages["dataset"].state) == ("done", "stale")


def test_a_judgement_is_no_call_and_costs_nothing(tmp_path):
    run = labelled_run(tmp_path)
    with Review.of(run, "Ann") as review:
        review.judge("a3", RIGHT)
    with Ledger(run.path("ledger")) as ledger:
        assert ledger.spent().calls == 20


def test_agreement_says_who_is_more_generous(tmp_path):
    with Review.of(labelled_run(tmp_path), "Ann") as review:
        assert review.agreement() == []
        for item in review.items[:10]:
            review.judge(item.id, {name: value + 0.5 for name, value in item.scores.items()})
        [pair] = review.agreement(resamples=20)
    assert (pair.first, pair.second, pair.rows) == ("human:Ann", "replay:mild", 10)
    assert pair.mean_difference == pytest.approx(0.5)
    assert pair.mean_bias == pytest.approx(0.5)


def test_agreement_is_told_for_each_oracle(tmp_path):
    run = labelled_run(tmp_path)
    add_oracle(run, tmp_path, "harsh", lambda i: {"wind": i / 2, "rain": 0.0 if i == 7 else 10 - i / 2})
    with Review.of(run, "Ann", oracle="replay:mild") as review:
        review.judge("a7", review.items[0].scores)
        assert [pair.second for pair in review.agreement(resamples=20)] == ["replay:mild", "replay:harsh"]


def test_the_audit_is_of_the_oracle_even_where_a_reviewer_judged_all(tmp_path):
    run = labelled_run(tmp_path)
    with Review.of(run, "Ann") as review:
        for item in review.items:
            review.judge(item.id, item.scores)
    articles, oracles = labels_of(run)
    assert labelled(articles, oracles, FILTER).oracle == "replay:mild"


class TestOrder:
    def test_random_is_a_shuffle_that_the_seed_decides(self, tmp_path):
        run = labelled_run(tmp_path)
        orders = [[item.id for item in Review.of(run, "Ann", seed=seed).items] for seed in (1, 1, 2)]
        assert orders[0] == orders[1] != orders[2]
        assert sorted(orders[0]) == sorted(f"a{i}" for i in range(20))

    def test_where_oracles_disagree_most_comes_first(self, tmp_path):
        run = labelled_run(tmp_path)
        add_oracle(run, tmp_path, "harsh", lambda i: {"wind": i / 2, "rain": 0.0 if i == 7 else 10 - i / 2})
        with Review.of(run, "Ann", order="disagreement", oracle="replay:mild") as review:
            assert review.items[0].id == "a7"
            assert review.items[0].why == "answers differ by 3.2 on average, rain by 6.5"
            assert review.items[1].why == "all agree"

    def test_of_one_oracle_its_own_repeats_are_compared(self, tmp_path):
        run = labelled_run(tmp_path, samples=lambda i: [opinions(i), opinions(i) | ({"wind": 9.5} if i == 2 else {})])
        with Review.of(run, "Ann", order="disagreement") as review:
            assert review.items[0].id == "a2"

    def test_nobody_can_disagree_with_himself(self, tmp_path):
        with pytest.raises(LabelError, match="one oracle, and one answer for each article"):
            Review.of(labelled_run(tmp_path), "Ann", order="disagreement")

    def test_a_label_unlike_those_of_like_articles_is_suspect(self, tmp_path):
        run = labelled_run(
            tmp_path, samples=lambda i: [{"wind": 0.0, "rain": 0.0} if i == 11 else storms(i)], storms=True
        )
        with Review.of(run, "Ann", order="suspect") as review:
            assert review.items[0].id == "a11"
            assert "articles like this one have" in review.items[0].why
            assert "higher" in review.items[0].why


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"wind": 11, "rain": 1}, "wind: got 11, legal 0 to 10"),
        ({"wind": "4", "rain": 1}, "wind: got '4', legal 0 to 10"),
        ({"wind": True, "rain": 1}, "wind: got True"),
        ({"wind": float("nan"), "rain": 1}, "wind: got nan"),
        ({"wind": 10**5000, "rain": 1}, "wind: got an integer of more than 30 digits, legal 0 to 10"),
        ({"wind": "x" * 999, "rain": 1}, "wind: got 'x{59}\N{HORIZONTAL ELLIPSIS}, legal 0 to 10"),
        ({"wind": 1}, "got scores of wind; expected wind, rain"),
        ({"wind": None, "rain": None}, "no score at all"),
    ],
)
def test_scores_that_no_oracle_could_give_are_refused(tmp_path, scores, message):
    with Review.of(labelled_run(tmp_path), "Ann") as review:
        with pytest.raises(BadInput, match=message):
            review.judge("a1", scores)
        assert review.judged() == []


def test_a_note_that_no_database_can_hold_is_refused_and_the_earlier_one_stays(tmp_path):
    with Review.of(labelled_run(tmp_path), "Ann") as review:
        review.judge("a1", RIGHT, "first")
        with pytest.raises(BadInput, match="note: half of a surrogate pair at character 3"):
            review.judge("a1", RIGHT, "a \ud800")
        assert [(item.id, item.note) for item in review.judged()] == [("a1", "first")]


def test_articles_nobody_labelled_are_not_reviewed(tmp_path):
    with Review.of(labelled_run(tmp_path), "Ann") as review, pytest.raises(BadInput, match="no labelled article 'a99'"):
        review.judge("a99", RIGHT)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 61])
def test_names_that_cannot_stand_in_a_ledger_are_refused(name):
    with pytest.raises(BadInput, match="--reviewer"):
        checked_name(name)


def test_several_oracles_need_a_choice(tmp_path):
    run = labelled_run(tmp_path)
    add_oracle(run, tmp_path, "harsh", opinions)
    with pytest.raises(DatasetError, match="labels of 2 oracles"):
        Review.of(run, "Ann")


def storms(i):
    return {"wind": 9.0, "rain": 8.0} if i % 2 else {"wind": 1.0, "rain": 0.5}


def run_rows(run):
    return Dataset.load(run.path("rows"), FILTER.dimension_names).frame


def add_oracle(run, folder, name, scores):
    file = recorded(folder / f"{name}.jsonl", lambda i: [scores(i)])
    label(run.path("ledger"), read_all(run.path("articles")), FILTER, ReplayOracle(file))
