"""Tests of the ledger: answers are kept, labels are means, and a masked score is not zero."""

import hashlib
import json
import sqlite3

import pytest
from scripted_oracle import FRONT_PAGE

from potstill.errors import LabelError
from potstill.labelling import ledger as ledgers
from potstill.labelling.ledger import Answered, Failed, Ledger, Opened, Question, Spent, call_key, window_hash
from potstill.oracle.prompt import Prompt

PROMPT = Prompt.of(FRONT_PAGE)
NAMES = FRONT_PAGE.dimension_names


def question(article="a", sample=0, oracle="o:m", prompt=PROMPT.hash):
    return Question(article, oracle, prompt, window_hash(f"text of {article}"), sample)


def answered(value, cost=7, evidence="e", **which):
    scores = value if isinstance(value, dict) else dict.fromkeys(NAMES, value)
    return Answered(question(**which), scores, evidence, "raw", False, 10, 5, cost, 0.1)


def failed(reason="refused", *, final=True, cost=3, **which):
    return Failed(question(**which), reason, "detail", "raw", final, 10, 5, cost, 0.1)


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.accept(PROMPT, others=False)
        ledger.know({article: window_hash(f"text of {article}") for article in "abc"})
        yield ledger


def test_labels_are_means_over_samples_with_their_spread(ledger):
    ledger.record([answered(4.0, evidence="first"), answered(6.0, sample=1), answered(1.0, article="b")])
    labels = ledger.labels(FRONT_PAGE)
    assert labels.select("article", "oracle", "samples", "evidence", "y_reach", "s_reach").rows() == [
        ("a", "o:m", 2, "first", 5.0, 1.0),
        ("b", "o:m", 1, "e", 1.0, 0.0),
    ]
    assert labels.columns[4:] == [f"y_{name}" for name in NAMES] + [f"s_{name}" for name in NAMES]


def test_a_masked_score_is_left_out_of_the_mean_and_never_a_zero(ledger):
    masked = dict.fromkeys(NAMES, 4.0) | {"reach": None}
    ledger.record([answered(masked), answered(6.0, sample=1), answered(masked, article="b")])
    assert ledger.labels(FRONT_PAGE).select("article", "y_reach", "y_power").rows() == [
        ("a", 6.0, 5.0),
        ("b", None, 4.0),
    ]


def test_oracles_stand_side_by_side(ledger):
    ledger.record([answered(4.0), answered(8.0, oracle="other:m")])
    assert ledger.labels(FRONT_PAGE).select("oracle", "y_reach").rows() == [("o:m", 4.0), ("other:m", 8.0)]


def test_a_text_that_two_articles_share_is_a_label_of_both(ledger):
    ledger.know({"twin": window_hash("text of a")})
    ledger.record([answered(4.0)])
    assert ledger.labels(FRONT_PAGE)["article"].to_list() == ["a", "twin"]


def test_only_answers_to_accepted_prompts_are_labels(ledger):
    other = Prompt.of(FRONT_PAGE.model_copy(update={"rubric": "Be strict."}))
    ledger.record([answered(4.0)])
    ledger.accept(other, others=False)
    assert ledger.labels(FRONT_PAGE).height == 0
    assert ledger.accepted_prompts() == {}
    ledger.record([answered(6.0, prompt=other.hash)])
    assert ledger.labels(FRONT_PAGE)["y_reach"].to_list() == [6.0]
    ledger.accept(PROMPT, others=True)
    assert set(ledger.accepted_prompts()) == {PROMPT.hash, other.hash}
    assert ledger.labels(FRONT_PAGE)["y_reach"].to_list() == [6.0]


def test_a_key_is_all_but_the_article():
    key = call_key("o:m", PROMPT.hash, window_hash("text of a"), 0)
    assert question().key == key
    others = {question("b").key, question(sample=1).key, question(oracle="o:n").key, question(prompt="x").key, key}
    assert len(others) == 5


def test_failures_are_kept_with_their_reasons_and_cost(ledger):
    ledger.record([failed("rate_limited", final=False, cost=0), failed(), answered(4.0, article="b")])
    assert ledger.failures().select("article", "reason", "final").rows() == [
        ("a", "rate_limited", False),
        ("a", "refused", True),
    ]
    assert ledger.spent() == Spent(calls=3, cost=10)
    assert ledger.given_up([question().key, question("b").key]) == {question().key: "refused"}


def test_a_final_failure_that_a_later_one_overtook_is_not_given_up(ledger):
    ledger.record([failed()])
    ledger.record([failed("timeout", final=False)])
    assert ledger.given_up([question().key]) == {}


def test_a_call_that_never_came_back_counts_at_its_worst_price(ledger):
    ledger.record([Opened(question(), 50), Opened(question("b"), 60)])
    ledger.record([answered(4.0)])
    assert ledger.spent() == Spent(calls=1, cost=7)
    assert ledger.settle_killed() == 1
    assert ledger.settle_killed() == 0
    assert ledger.spent() == Spent(calls=2, cost=67)
    assert ledger.failures().select("article", "reason").rows() == [("b", "killed")]
    assert ledger.given_up([question("b").key]) == {}


def test_events_are_committed_together_or_not_at_all(ledger):
    with pytest.raises(sqlite3.IntegrityError):
        ledger.record([answered(4.0), Opened(question("b"), 1), Opened(question("b"), 1)])
    assert ledger.spent().calls == 0
    ledger.record([answered(4.0)])
    assert ledger.spent().calls == 1


def test_another_process_reads_what_was_recorded(ledger):
    ledger.record([answered(4.0)])
    with sqlite3.connect(f"file:{ledger.path}?mode=ro", uri=True) as reader:
        rows = reader.execute("SELECT article, oracle, sample, scores FROM labels").fetchall()
    assert rows == [("a", "o:m", 0, json.dumps(dict.fromkeys(sorted(NAMES), 4.0)))]


def shared_texts(path, copies):
    """A ledger of `copies` articles with one text, each with an answer of its own about it, and two other articles."""
    ledger = Ledger(path)
    ledger.accept(PROMPT, others=False)
    names = [f"copy {number:03}" for number in range(copies)]
    ledger.know(dict.fromkeys(names, window_hash("text of a")) | {"b": window_hash("text of b")})
    ledger.know({"b": window_hash("another text of b"), "c": window_hash("text of c")})
    ledger.record([answered(number % 7 + 1.0, sample=number) for number in range(copies)])
    ledger.record([answered(3.0, article="b"), answered(9.0, article="b", oracle="other:m")])
    ledger.record([answered(2.0, article="b", prompt="not accepted"), answered(5.0, article="c")])
    return ledger


def hashed(ledger):
    with sqlite3.connect(f"file:{ledger.path}?mode=ro", uri=True) as reader:
        return ledgers.hash_labels(reader)


def test_labels_of_articles_that_share_a_text_are_those_of_the_view(tmp_path):
    ledger = shared_texts(tmp_path / "ledger.sqlite", 9)
    view = "SELECT article, oracle, sample, scores FROM labels ORDER BY 1, 2, 3"
    with sqlite3.connect(f"file:{ledger.path}?mode=ro", uri=True) as reader:
        rows = reader.execute(view).fetchall()
    expected = [(*key, json.loads(scores)["reach"]) for *key, scores in rows]
    assert ledger.answers(FRONT_PAGE).select("article", "oracle", "sample", "y_reach").rows() == expected
    means = {}
    for article, oracle, _, reach in expected:
        means.setdefault((article, oracle), []).append(reach)
    labels = ledger.labels(FRONT_PAGE).select("article", "oracle", "samples", "y_reach").rows()
    assert labels == [(*key, len(values), pytest.approx(sum(values) / len(values))) for key, values in means.items()]
    assert len(labels) == 9 + 2 + 1


def test_the_hash_of_a_ledger_is_that_of_the_rows_of_its_view(tmp_path):
    ledger = shared_texts(tmp_path / "ledger.sqlite", 4)
    with sqlite3.connect(f"file:{ledger.path}?mode=ro", uri=True) as reader:
        rows = reader.execute("SELECT article, oracle, sample, scores FROM labels ORDER BY 1, 2, 3").fetchall()
    lines = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
    assert hashed(ledger) == hashlib.sha256(lines).hexdigest()


def test_the_hash_of_many_shared_texts_changes_with_a_label_and_with_a_text(tmp_path, monkeypatch):
    monkeypatch.setattr(ledgers, "_MOST_COPIES", 0)
    monkeypatch.setattr(ledgers, "_MANY_COPIES", 0)
    ledger = shared_texts(tmp_path / "ledger.sqlite", 4)
    before = hashed(ledger)
    ledger.record([answered(8.0, sample=3)])
    changed = hashed(ledger)
    ledger.know({"another copy": window_hash("text of a")})
    assert len({before, changed, hashed(ledger)}) == 3


def test_the_work_for_labels_grows_with_the_number_of_articles_that_share_a_text_and_not_faster(tmp_path):
    work = []
    for copies in (100, 400):
        ledger = shared_texts(tmp_path / f"{copies}.sqlite", copies)
        steps = []
        ledger._database.set_progress_handler(lambda steps=steps: steps.append(1), 100)
        assert ledger.labels(FRONT_PAGE).height == copies + 3
        work.append(len(steps))
    assert work[1] < 6 * work[0]


def test_imported_answers_are_those_that_are_recorded_one_by_one(tmp_path):
    answers = [answered(4.0), answered(6.0, sample=1), answered(1.0, article="b"), answered(5.0)]
    stored = []
    for name in ("record", "record_imported"):
        with Ledger(tmp_path / f"{name}.sqlite") as ledger:
            getattr(ledger, name)(answers, without=[question("b").key])
            columns = "article, oracle, prompt, window, sample, scores, evidence, raw, repaired, tokens_in, cost"
            stored.append(ledger._database.execute(f"SELECT {columns} FROM calls ORDER BY number").fetchall())
    assert stored[0] == stored[1]
    assert len(stored[0]) == 3


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (dict.fromkeys(NAMES, 4.0) | {"reach": 11.0}, "'a': reach: got 11.0, expected 0 to 10"),
        ({"reach": 4.0}, "the label of 'a' has the dimensions reach; front-page has human_harm, "),
    ],
)
def test_labels_that_are_not_the_filters_are_refused(ledger, scores, message):
    ledger.record([answered(scores)])
    with pytest.raises(LabelError, match=f"ledger.sqlite: .*{message}"):
        ledger.labels(FRONT_PAGE)


def test_no_labels_are_an_empty_frame(ledger):
    labels = ledger.labels(FRONT_PAGE)
    assert labels.height == 0
    assert "y_reach" in labels.columns


def test_a_newer_ledger_and_what_is_none_are_refused(tmp_path):
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE meta SET value = '3'")
    with pytest.raises(LabelError, match="schema_version 3 is newer than this version of potstill supports"):
        Ledger(path)
    path.write_text("no database, but long enough to be taken for one" * 100)
    with pytest.raises(LabelError, match="not a ledger"):
        Ledger(path)
