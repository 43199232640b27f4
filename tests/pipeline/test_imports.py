"""Tests of importing labels that people already have into a run."""

import csv
import gzip
import json
import math
import shutil

import polars as pl
import pytest

from potstill.dataset.tables import Columns
from potstill.errors import ArticleError, LabelError, RunError
from potstill.filters import Filter, save_filter
from potstill.labelling import Ledger
from potstill.pipeline.dataset import build_dataset
from potstill.pipeline.imports import import_labels
from potstill.pipeline.run import Run

ESSAYS = Filter("essays", ["cohesion", "syntax"], scale=(1, 5))

ROWS = [
    {"id": "a", "text": "The first essay.", "cohesion": 2.5, "syntax": 3.0},
    {"id": "b", "text": "The second essay.", "cohesion": 4.0, "syntax": None},
    {"id": "c", "text": "The third essay.", "cohesion": 1.0, "syntax": 5.0},
]


def write(path, rows):
    """Write rows to a file of the kind that its name says."""
    if path.suffix == ".csv":
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path)
    else:
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def labels(run_folder):
    """Return the labels of a run: article, oracle, number of answers, and the mean scores."""
    run = Run.open(run_folder)
    with Ledger.reading(run.path("ledger")) as ledger:
        found = ledger.labels(run.filter)
    return found.select("article", "oracle", "samples", *(f"y_{name}" for name in run.filter.dimension_names)).rows()


def content(folder):
    """Return the articles, the answers with their places, and the manifest of a run."""
    run = Run.open(folder)
    with Ledger.reading(run.path("ledger")) as ledger:
        answers = ledger.answers(run.filter).rows()
    return run.path("articles").read_bytes(), answers, sorted(path.name for path in folder.iterdir())


@pytest.fixture
def imported(tmp_path):
    """A run into which `ROWS` were imported, and the file."""
    file = write(tmp_path / "essays.csv", ROWS)
    import_labels(tmp_path / "run", file, ESSAYS)
    return tmp_path / "run", file


@pytest.mark.parametrize("name", ["essays.csv", "essays.parquet", "essays.jsonl", "essays.jsonl.gz"])
@pytest.mark.parametrize("nested", [False, True])
def test_every_kind_of_file_gives_the_same_run(tmp_path, name, nested):
    rows = ROWS
    if nested:
        rows = [
            {"id": row["id"], "body": row["text"], "scores": {k: row[k] for k in ("cohesion", "syntax")}}
            for row in ROWS
        ]
    if nested and name.endswith(".csv"):
        rows = [row | {"scores": json.dumps(row["scores"])} for row in rows]
    done = import_labels(tmp_path / "run", write(tmp_path / name, rows), ESSAYS)
    assert (done.rows, done.articles, done.labels, done.masked) == (3, 3, {"imported": 3}, 1)
    assert (done.new_articles, done.new_labels, done.replaced) == (3, 3, 0)
    assert labels(tmp_path / "run") == [
        ("a", "imported", 1, 2.5, 3.0),
        ("b", "imported", 1, 4.0, None),
        ("c", "imported", 1, 1.0, 5.0),
    ]
    articles = pl.read_parquet(tmp_path / "run" / "articles.parquet")
    assert articles.select("id", "title", "content").rows() == [(row["id"], "", row["text"]) for row in ROWS]


def test_the_stage_label_is_done_and_the_dataset_follows(tmp_path):
    rows = [
        {"id": n, "text": f"Essay {n}: {'word ' * n}", "cohesion": 1 + n % 5, "syntax": 1 + n % 3} for n in range(60)
    ]
    file = write(tmp_path / "my essays.csv", rows)
    import_labels(tmp_path / "run", file, ESSAYS, Columns(text="text"))
    run = Run.open(tmp_path / "run")
    states = {stage.stage: stage for stage in run.status()}
    assert states["label"].state == "done"
    assert states["label"].command == f"potstill import {run.folder} '{file}' --text text"
    record = build_dataset(run)
    assert (record.rows, record.oracle) == (60, "imported")


def test_the_answers_cost_nothing_and_name_their_place(imported):
    run, _ = imported
    with Ledger.reading(run / "ledger.sqlite") as ledger:
        assert (ledger.spent().calls, ledger.spent().cost) == (0, 0)
        raws = ledger._database.execute("SELECT raw, tokens_in, tokens_out FROM calls ORDER BY article").fetchall()
    assert raws == [(f"imported: essays.csv, line {line}", None, None) for line in (2, 3, 4)]


def test_importing_the_same_file_again_changes_nothing(imported):
    run, file = imported
    before = content(run)
    record = Run.open(run).manifest.stages["label"]
    done = import_labels(run, file)
    assert not done.changed
    assert content(run) == before
    after = Run.open(run).manifest.stages["label"]
    assert (after.started, after.seconds, after.load) == (record.started, record.seconds, record.load)


def test_new_rows_are_added_and_the_dataset_becomes_stale(imported):
    run, file = imported
    write(file, [*ROWS, {"id": "d", "text": "The fourth essay.", "cohesion": 3.5, "syntax": 3.5}])
    done = import_labels(run, file)
    assert (done.new_articles, done.new_labels, done.changed) == (1, 1, True)
    assert labels(run)[3] == ("d", "imported", 1, 3.5, 3.5)


def test_repeated_rows_are_samples_in_any_order(tmp_path):
    again = [ROWS[0], ROWS[0] | {"cohesion": 3.5}, ROWS[0] | {"cohesion": 3.5}]
    file = write(tmp_path / "essays.jsonl", again)
    import_labels(tmp_path / "run", file, ESSAYS)
    assert labels(tmp_path / "run") == [("a", "imported", 3, pytest.approx(9.5 / 3), 3.0)]
    write(file, again[::-1])
    assert not import_labels(tmp_path / "run", file).changed
    write(file, [*again, ROWS[0]])
    assert import_labels(tmp_path / "run", file).new_labels == 1
    assert labels(tmp_path / "run") == [("a", "imported", 4, 3.0, 3.0)]


def test_several_oracles_are_kept_apart_and_one_may_be_named_for_all_rows(tmp_path):
    rows = [ROWS[0] | {"rater": "ann"}, ROWS[0] | {"rater": "bob", "cohesion": 1.5}]
    file = write(tmp_path / "essays.csv", rows)
    done = import_labels(tmp_path / "run", file, ESSAYS, Columns(oracle="rater"))
    assert (done.labels, done.articles) == ({"ann": 1, "bob": 1}, 1)
    import_labels(tmp_path / "run", write(tmp_path / "more.csv", ROWS[:1]), columns=Columns(oracle="cid"))
    assert labels(tmp_path / "run") == [
        ("a", "ann", 1, 2.5, 3.0), ("a", "bob", 1, 1.5, 3.0), ("a", "cid", 1, 2.5, 3.0)
    ]  # fmt: skip


def test_articles_with_the_same_text_share_their_label(tmp_path):
    rows = [ROWS[0], ROWS[0] | {"id": "twin", "cohesion": 4.5}]
    file = write(tmp_path / "essays.jsonl", rows)
    done = import_labels(tmp_path / "run", file, ESSAYS)
    assert (done.shared, done.new_labels) == (2, 2)
    assert labels(tmp_path / "run") == [("a", "imported", 2, 3.5, 3.0), ("twin", "imported", 2, 3.5, 3.0)]
    assert not import_labels(tmp_path / "run", file).changed


def test_without_ids_a_text_has_the_same_id_in_every_file(tmp_path):
    rows = [{"text": row["text"], "cohesion": row["cohesion"], "syntax": row["syntax"]} for row in ROWS]
    import_labels(tmp_path / "run", write(tmp_path / "one.jsonl", rows), ESSAYS)
    done = import_labels(tmp_path / "run", write(tmp_path / "two.jsonl", rows[::-1]))
    assert not done.changed
    assert all(row[0].startswith("sha-") for row in labels(tmp_path / "run"))


def test_rows_without_any_score_become_articles_without_a_label(tmp_path):
    rows = [ROWS[0], {"id": "d", "text": "Unread.", "cohesion": None, "syntax": math.nan}]
    done = import_labels(tmp_path / "run", write(tmp_path / "essays.parquet", rows), ESSAYS)
    assert (done.unscored, done.new_articles, done.new_labels) == (1, 2, 1)


CHANGED = ROWS[0] | {"cohesion": 3.0}


def test_a_changed_score_is_refused_and_named(imported):
    run, file = imported
    before = content(run)
    write(file, [ROWS[1], CHANGED, ROWS[2] | {"syntax": 1.0}, {"id": "d", "text": "New.", "cohesion": 1, "syntax": 1}])
    with pytest.raises(LabelError) as raised:
        import_labels(run, file)
    assert str(raised.value) == (
        f"{file}: line 3: cohesion: got 3, but the run has 2.5 for id 'a' of oracle imported (1 more rows differ); "
        "use --replace to replace the labels in the run"
    )
    assert content(run) == before


def test_a_changed_score_replaces_the_old_one_if_that_is_wanted(imported):
    run, file = imported
    write(file, [CHANGED, *ROWS[1:]])
    done = import_labels(run, file, overwrite=True)
    assert (done.replaced, done.new_labels, done.new_articles) == (1, 1, 0)
    assert labels(run)[0] == ("a", "imported", 1, 3.0, 3.0)
    assert not import_labels(run, file).changed


def test_replaced_samples_do_not_leave_old_ones_behind(tmp_path):
    file = write(tmp_path / "essays.jsonl", [ROWS[0], ROWS[0] | {"cohesion": 1.0}])
    import_labels(tmp_path / "run", file, ESSAYS)
    write(file, [CHANGED])
    assert import_labels(tmp_path / "run", file, overwrite=True).replaced == 1
    assert labels(tmp_path / "run") == [("a", "imported", 1, 3.0, 3.0)]


def test_a_known_id_with_another_text_is_refused_even_when_scores_are_replaced(imported):
    run, file = imported
    before = content(run)
    write(file, [ROWS[1], ROWS[0] | {"text": "Another essay."}])
    for overwrite in (False, True):
        with pytest.raises(ArticleError, match=r"essays.csv: line 3: id 'a' is already in the run, with a different"):
            import_labels(run, file, overwrite=overwrite)
    assert content(run) == before


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ({"id": "d", "text": "New.", "cohesion": 6, "syntax": 1}, LabelError, "line 5: cohesion: got 6, expected"),
        ({"id": "d", "text": "", "cohesion": 1, "syntax": 1}, ArticleError, "line 5: text: is empty"),
        ({"id": "d", "text": "New.", "cohesion": "good", "syntax": 1}, LabelError, "line 5: cohesion: got 'good'"),
        ({"id": "a", "text": "Other.", "cohesion": 1, "syntax": 1}, ArticleError, "line 5: id 'a' has another text"),
        ({"id": "x" * 1001, "text": "New.", "cohesion": 1, "syntax": 1}, ArticleError, "line 5: id: 1,001 characters"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_written(imported, tmp_path, row, error, message):
    run, file = imported
    before = content(run)
    write(file, [*ROWS, row])
    with pytest.raises(error, match=message):
        import_labels(run, file)
    assert content(run) == before
    with pytest.raises(error, match=message):
        import_labels(tmp_path / "new", file, ESSAYS)
    assert not (tmp_path / "new").exists()


def test_a_run_needs_a_filter_and_another_one_is_refused(imported, tmp_path):
    run, file = imported
    with pytest.raises(RunError, match="not a run folder"):
        import_labels(tmp_path / "none", file)
    other = Filter("essays", ["cohesion", "syntax"], scale=(0, 5))
    with pytest.raises(LabelError, match=r"labels made with another prompt.*Use --replace to import the labels again"):
        import_labels(run, file, other)


def test_a_changed_rubric_needs_the_labels_again(imported):
    run, file = imported
    edited = Filter("essays", ["cohesion", "syntax"], scale=(1, 5), rubric="Score cohesion and syntax with care.\n")
    save_filter(edited, Run.open(run).path("filter"))
    [label] = [stage for stage in Run.open(run).status() if stage.stage == "label"]
    assert label.state == "stale"
    with pytest.raises(LabelError, match="Use --replace"):
        import_labels(run, file)
    done = import_labels(run, file, overwrite=True)
    assert (done.new_labels, done.replaced) == (3, 0)
    assert len(labels(run)) == 3
    assert Run.open(run).status()[0].state == "done"


def test_facts_of_articles_survive_in_a_run_with_files_of_different_kinds(tmp_path):
    from potstill.dataset.assembling import with_facts
    from potstill.labelling.intake import add_articles

    (tmp_path / "news.jsonl").write_text('{"id": "n", "content": "News.", "source": "herald", "stars": 4}\n')
    import_labels(tmp_path / "run", write(tmp_path / "essays.csv", [ROWS[0] | {"source": "school"}]), ESSAYS)
    path = tmp_path / "run" / "articles.parquet"
    add_articles(path, tmp_path / "news.jsonl")
    assert with_facts(pl.read_parquet(path)).select("id", "source").rows() == [("a", "school"), ("n", "herald")]


def test_an_import_that_was_interrupted_between_its_files_goes_on(imported, tmp_path):
    run, file = imported
    expected = labels(run)
    shutil.copytree(run, tmp_path / "half")
    for path in (tmp_path / "half").glob("ledger.sqlite*"):
        path.unlink()
    assert import_labels(tmp_path / "half", file).new_labels == 3
    assert labels(tmp_path / "half") == expected
