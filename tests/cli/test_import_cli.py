"""Tests of `potstill import` and `potstill new --from`."""

import json
import re
import shlex

import pytest
from typer.testing import CliRunner

from potstill.cli import build
from potstill.dataset import Dataset
from potstill.errors import ArticleError, BadInput, RunError
from potstill.filters import load_filter

WORDS = ("harbour", "meadow", "engine", "lantern", "orchard", "valley", "copper", "winter")


@pytest.fixture
def run():
    """Run a command and return what it prints."""

    def command(*arguments):
        result = CliRunner().invoke(build(), [str(part) for part in arguments])
        if result.exception is not None:
            raise result.exception
        return result.output

    return command


@pytest.fixture
def essays(tmp_path, monkeypatch):
    """A CSV file of 60 texts with two scores, in the current folder."""
    monkeypatch.chdir(tmp_path)
    lines = ["number,essay,wit,tone"]
    for row in range(60):
        words = " ".join(WORDS[(row * step + step) % 8] for step in range(1, 12))
        lines.append(f"{row},Essay {row} about {words},{1 + row % 5},{1 + (row // 2) % 9 / 2}")
    (tmp_path / "essays.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "essays.csv"


def test_three_commands_lead_from_a_file_to_a_dataset_and_each_names_the_next(essays, run):
    out = run("new", "essays", "--from", "essays.csv", "--text", "essay", "--dimensions", "wit,tone")
    assert "essays.csv: 60 rows, texts in the column essay\nscale 1 to 5, steps of 0.5" in out
    following = out.splitlines()[-1].removeprefix("next: ")
    assert following == "potstill import RUN essays.csv --text essay --filter ./essays"
    out = run(*shlex.split(following.replace("RUN", "'my run'"))[1:])
    assert "60 articles and 60 labels added" in out
    following = out.splitlines()[-1].removeprefix("next: ")
    assert following == "potstill distill 'my run'"
    assert "60 rows of imported" in run("dataset", "my run")
    assert re.search(r"label +done", run("status", "my run"))
    again = run("import", "my run", "essays.csv", "--text", "essay")
    assert again.splitlines()[-2:] == [
        "the run already has all of them; nothing was changed", "next: potstill distill 'my run'"
    ]  # fmt: skip


def test_a_column_with_a_split_is_that_of_the_dataset(essays, run):
    run("new", "essays", "--from", "essays.csv", "--text", "essay", "--dimensions", "wit,tone")
    head, *rows = essays.read_text().splitlines()
    parts = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10
    lines = [f"{head},part", *(f"{row},{part}" for row, part in zip(rows, parts, strict=True))]
    essays.write_text("\n".join(lines) + "\n")
    given = ("import", "run", "essays.csv", "--text", "essay", "--id", "number", "--filter", "./essays")

    with pytest.raises(ArticleError, match=r"essays.csv: no column 'portion'; the columns are number, essay"):
        run(*given, "--split-column", "portion")
    run(*given, "--split-column", "part")

    assert "60 rows of imported (seed 0): train 40, validation 10, test 10" in run("dataset", "run", "--seed", "0")
    frame = Dataset.load("run/dataset/rows.parquet", ("wit", "tone")).frame
    assert dict(frame.select("id", "split").iter_rows()) == {str(row): part for row, part in enumerate(parts)}
    assert "nothing was changed" in run(*given, "--split-column", "part")

    essays.write_text(essays.read_text().replace(",train", ",dev", 1))
    with pytest.raises(ArticleError, match=r"essays.csv: line 2: part: got 'dev', expected train, validation, calib"):
        run(*given, "--split-column", "part")
    essays.write_text(essays.read_text().replace(",dev", ",test", 1))
    with pytest.raises(BadInput, match=r"article 0: the split is test, and the run already has the article with train"):
        run(*given, "--split-column", "part")


def test_the_results_are_json_if_wanted(essays, run):
    found = json.loads(run("new", "essays", "--from", essays, "--text", "essay", "--dimensions", "wit,tone", "--json"))
    assert found["scale"] == [1, 5]
    assert found["next"].startswith("potstill import RUN ")
    done = json.loads(run("import", "run", essays, "--text", "essay", "--filter", "./essays", "--json"))
    assert (done["new_articles"], done["labels"], done["next"]) == (60, {"imported": 60}, "potstill distill run")


def test_scores_can_be_named_and_several_oracles_need_a_choice(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "key": n,
            "words": f"Essay {n}.",
            "head": "T",
            "a": 1 + n % 5,
            "b": 1 + n % 3,
            "who": "ann" if n % 3 else "bob",
        }
        for n in range(30)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run("new", "essays", "--from", "rows.jsonl", "--text", "words", "--dimensions", "a,b", "--scale", "1/7")
    assert load_filter("./essays").scale.max == 7
    columns = ["--text", "words", "--title", "head", "--id", "key", "--scores", "a=b", "--scores", "b=a"]
    out = run("import", "run", "rows.jsonl", "--filter", "./essays", *columns, "--labels-of", "who")
    assert "labels: 20 of ann, 10 of bob" in out
    assert out.splitlines()[-1] == "next: potstill dataset run --labels-of ann"
    out = run("status", "run", "--json")
    assert shlex.split(json.loads(out)["stages"][0]["command"])[:4] == ["potstill", "import", "run", "rows.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "run", "essays.csv"], "run: not a run folder"),
        (["import", "run", "none.csv", "--filter", "front-page"], "none.csv: no such file"),
        (["import", "run", "essays.csv", "--filter", "front-page"], "essays.csv: no column of text: tried content"),
        (["import", "run", "essays.csv", "--filter", "front-page", "--scores", "a=b", "--scores", "c"],
         "--scores: got 'c', expected DIMENSION=COLUMN"),
        (["new", "essays", "--from", "essays.csv"], "essays.csv: no column of text: .* name it with --text"),
        (["new", "essays", "--from", "essays.csv", "--text", "essay", "--scale", "5"],
         "--scale: got '5', expected the lowest and the highest score, such as 1/5"),
        (["new", "essays", "--from", "essays.csv", "--text", "essay", "--dimensions", "wit,zest"],
         "essays.csv: no column 'zest'; the columns are number, essay, wit, tone"),
        (["new", "essays", "--scale", "1/5"], "--text, --dimensions and --scale need --from"),
        (["new", "front-page", "--from", "essays.csv"], "front-page: this is the name of a built-in filter"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_writes_nothing(essays, ending, arguments, message):
    code, error = ending(*arguments)
    assert code == 2
    assert len(error.splitlines()) == 1
    assert re.search(message, error)
    assert [path.name for path in essays.parent.iterdir()] == ["essays.csv"]


def test_columns_of_very_different_ranges_are_remarked_on(essays, run):
    out = run("new", "essays", "--from", "essays.csv", "--text", "essay", "--dimensions", "number,wit")
    assert "number  0 to 59" in out
    assert "note: some of these columns have a much smaller range than others; --dimensions chooses columns" in out


def survey(tmp_path, separator=",", missing="", encoding="utf-8"):
    """A CSV of 40 texts as a spreadsheet writes it: numbered rows, half points, quotation marks, missing scores."""
    lines = [separator.join(("number", "text", "Word choice", "wit"))]
    for row in range(40):
        text = f'"Essay {row} said ""yes, and; no""\nand {WORDS[row % 8]} {WORDS[row * 3 % 8]}"'
        wit = missing if row % 7 == 0 else str(1 + row % 9 / 2)
        lines.append(separator.join((str(row + 1), text, str(1 + row % 5), wit)))
    path = tmp_path / "survey.csv"
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("missing", ["", "NA", "n/a", "NaN", " null "])
def test_a_csv_of_a_spreadsheet_is_read_whatever_separates_its_fields(tmp_path, monkeypatch, run, separator, missing):
    monkeypatch.chdir(tmp_path)
    path = survey(tmp_path, separator, missing)
    out = run("new", "survey", "--from", path)
    assert "scale 1 to 5, steps of 0.5" in out
    assert "2 dimensions of equal weight:\n  Word_choice  1 to 5, 40 scores\n  wit          1 to 5, 34 scores\n" in out
    assert "left out: number, because it numbers the rows" in out
    out = run("import", "run", path, "--filter", "./survey", "--id", "number")
    assert (
        "40 rows, 40 articles, labels: 40 of imported\n6 scores are missing in the other rows; they are masked" in out
    )


def test_a_column_in_which_most_values_are_numbers_is_left_out_with_its_reason(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    path = survey(tmp_path, ";")
    path.write_text(path.read_text().replace(";2.5", ";2,5"))
    out = run("new", "survey", "--from", path)
    assert "1 dimension:\n  Word_choice" in out
    assert "left out: wit, because line 9: wit: got '2,5', expected a number with a decimal point" in out


def test_a_column_of_numbers_with_a_gap_is_no_numbering_of_the_rows(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    lines = [f"text {row},{row if row < 30 else row + 1}" for row in range(40)]
    (tmp_path / "ages.csv").write_text("\n".join(["text,age", *lines]) + "\n")
    assert "age  0 to 40, 40 scores" in run("new", "ages", "--from", "ages.csv")


def test_utf_16_is_named(tmp_path, run):
    with pytest.raises(ArticleError, match=r"survey.csv: line 1: is in UTF-16, expected UTF-8; save it as UTF-8"):
        run("new", "survey", "--in", tmp_path, "--from", survey(tmp_path, encoding="utf-16"))


def test_a_new_run_without_a_filter_is_told_to_name_one(essays, run):
    with pytest.raises(RunError, match="nowhere: not a run folder; a new run needs a filter: add --filter FILTER"):
        run("import", "nowhere", essays, "--text", "essay")
