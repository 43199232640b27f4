import json
import os
import subprocess
import sys

import polars as pl
import pytest
from tiny_bundle import YAML, articles, tfidf_bundle
from typer.testing import CliRunner

from potstill.articles import article_id, open_writer
from potstill.cli import build
from potstill.errors import BadInput, BundleError
from potstill.filters import parse_filter


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tfidf_bundle(tmp_path_factory.mktemp("bundle") / "good-news").folder


@pytest.fixture
def source(tmp_path):
    frame, _ = articles(5)
    with open_writer(tmp_path / "in.jsonl") as writer:
        writer.write(frame)
    return tmp_path / "in.jsonl"


def invoke(*arguments):
    return CliRunner().invoke(build(), [str(argument) for argument in arguments])


def command(*arguments, stdin=b""):
    return subprocess.run(
        [sys.executable, "-c", "from potstill.cli import main; main()", *map(str, arguments)],
        input=stdin, capture_output=True, check=False, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip


def test_score_writes_a_row_for_each_article_and_a_summary(bundle, source, tmp_path):
    done = invoke("score", bundle, source, "-o", tmp_path / "out.jsonl", "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert (summary["articles"], summary["scored"]) == (5, 5)
    assert summary["tiers"].keys() == {"lead", "page", "drawer", "dropped", "unscored"}
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 5


def test_odds_and_the_mark_for_the_oracle_are_written_and_the_threshold_is_told(bundle, source, tmp_path):
    out = tmp_path / "out.jsonl"
    done = invoke("score", bundle, source, "-o", out, "--probabilities", "--ask-oracle-above", "0.12")
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(row["tier_probabilities"].keys() == {"lead", "page", "drawer"} for row in rows)
    assert {type(row["ask_oracle"]) for row in rows} == {bool}
    told = " ".join(done.stderr.split())
    assert "ask_oracle is false if the tier's probability is at least" in told
    assert "of 80 calibration articles" in told


def test_an_error_rate_that_the_bundle_cannot_show_is_refused(bundle, source, tmp_path):
    done = command("score", bundle, source, "-o", tmp_path / "out.jsonl", "--ask-oracle-above", "0.01")
    assert done.returncode == 2
    assert b"can't show that any threshold keeps it; the lowest is 0." in done.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_score_works_in_a_pipe_and_prints_nothing_else_on_stdout(bundle, source):
    done = command("score", bundle, "-", "-o", "-", "--json", stdin=source.read_bytes())
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["id"] for row in rows] == ["a0", "a1", "a2", "a3", "a4"]
    assert json.loads(done.stderr)["articles"] == 5


def test_a_reader_that_has_seen_enough_is_no_error(bundle, tmp_path):
    frame, _ = articles(3000)
    with open_writer(tmp_path / "in.jsonl") as writer:
        writer.write(frame)
    program = "from potstill.cli import main; main()"
    scoring = subprocess.Popen(
        [sys.executable, "-c", program, "score", bundle, tmp_path / "in.jsonl", "--batch-size", "10"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert json.loads(scoring.stdout.readline())["id"] == "a0"
    scoring.stdout.close()
    complaint = scoring.stderr.read()
    scoring.stderr.close()
    assert (scoring.wait(), complaint) == (0, b"")


def test_a_person_sees_counts_by_tier_and_why_articles_have_no_score(bundle, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"content": "git clone"}\n{"content": ""}\n')
    done = command("score", bundle, tmp_path / "in.jsonl", "-o", tmp_path / "out.csv")
    said = done.stderr.decode()
    assert "2 articles" in said
    assert "dropped 1, unscored 1" in said
    assert "not scored: code page: 1" in said


def test_quiet_says_nothing(bundle, source, tmp_path):
    done = command("-q", "score", bundle, source, "-o", tmp_path / "out.jsonl")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"content": "a"}\n{"content": \n', "line 2: broken JSON"),
        (b'{"title": "a"}\n', "line 1: field content is missing"),
        (b'{"content": "\xff"}\n', "line 1: not UTF-8"),
    ],
)
def test_bad_input_is_one_line_and_exit_2_and_the_old_result_stays(bundle, tmp_path, content, message):
    (tmp_path / "in.jsonl").write_bytes(content)
    (tmp_path / "out.jsonl").write_text("old")
    done = command("score", bundle, tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl")
    assert done.returncode == 2
    assert message in done.stderr.decode()
    assert len(done.stderr.decode().splitlines()) == 1
    assert (tmp_path / "out.jsonl").read_text() == "old"


def test_an_unknown_ending_is_refused_before_anything_is_scored(bundle, source, tmp_path):
    done = command("score", bundle, source, "-o", tmp_path / "out.xlsx")
    assert done.returncode == 2
    assert "unknown kind of file" in done.stderr.decode()


def test_a_damaged_bundle_is_refused_with_exit_2(bundle, source, tmp_path):
    whole = (bundle / "rubric.md").read_bytes()
    (bundle / "rubric.md").write_bytes(whole + b"x")
    try:
        done = command("score", bundle, source, "-o", tmp_path / "out.jsonl")
    finally:
        (bundle / "rubric.md").write_bytes(whole)
    assert done.returncode == 2
    assert "rubric.md: changed" in done.stderr.decode()
    assert not (tmp_path / "out.jsonl").exists()


class TestPlaces:
    """Files that several options name, and invalid file names."""

    @pytest.mark.parametrize(
        ("ledger", "out", "message"),
        [
            ("{bundle}/bought.sqlite", "out.jsonl", "which must not change; choose another output path"),
            ("in.jsonl", "out.jsonl", "in.jsonl: is also the input in.jsonl"),
            ("answers.jsonl", "out.jsonl", "answers.jsonl: is also the input answers.jsonl"),
            ("new.jsonl", "new.jsonl", "new.jsonl: is also the input new.jsonl"),
            ("bought.sqlite", "answers.jsonl", "answers.jsonl: is also the input answers.jsonl"),
        ],
    )
    def test_a_ledger_and_recorded_answers_are_not_overwritten(
        self, bundle, source, tmp_path, monkeypatch, ledger, out, message
    ):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "answers.jsonl").write_text('{"id": "a0", "scores": {"gain": 1, "near": 1}}\n')
        before = {path: path.read_bytes() for path in (*tmp_path.iterdir(), *bundle.iterdir())}
        asking = ["--oracle", "replay:answers.jsonl", "--max-calls", 1, "--ledger", ledger.format(bundle=bundle)]
        done = invoke("score", bundle, "in.jsonl", "-o", out, *asking)
        assert isinstance(done.exception, BadInput)
        assert message in str(done.exception)
        assert {path: path.read_bytes() for path in (*tmp_path.iterdir(), *bundle.iterdir())} == before

    @pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
    def test_a_name_that_is_too_long_is_one_line(self, bundle, source, tmp_path, ending):
        name = "n" * 300 + ending
        for words in ((tmp_path / name, "-o", tmp_path / "out.jsonl"), (source, "-o", tmp_path / name)):
            done = invoke("score", bundle, *words)
            assert isinstance(done.exception, BadInput)
            assert "(File name too long)" in str(done.exception)


class TestVerify:
    def test_it_says_what_it_proved(self, bundle):
        done = invoke("verify", bundle)
        assert done.exit_code == 0
        assert "golden texts within" in done.stdout

    def test_it_speaks_json(self, bundle):
        found = json.loads(invoke("verify", bundle, "--json").stdout)
        assert found["golden_texts"] > 10
        assert found["largest_difference"] <= found["allowed_difference"]

    def test_a_damaged_bundle_fails_it(self, bundle):
        whole = (bundle / "facts.json").read_bytes()
        (bundle / "facts.json").write_bytes(whole[:-1])
        try:
            done = invoke("verify", bundle)
        finally:
            (bundle / "facts.json").write_bytes(whole)
        assert isinstance(done.exception, BundleError)
        assert "facts.json" in str(done.exception)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    filter_ = parse_filter(YAML.replace("good-news", "far-news"), "Score the farness.", "far-news")
    return tfidf_bundle(tmp_path_factory.mktemp("other") / "far-news", filter_).folder


class TestSeveralFilters:
    def test_a_line_has_the_verdict_of_each_and_the_summary_counts_both(self, bundle, other, source, tmp_path):
        out = tmp_path / "out.jsonl"
        done = invoke("score", bundle, source, "--with", other, "-o", out, "--ask-oracle-above", "0.12", "--json")
        assert done.exit_code == 0, done.output
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert all(row["verdicts"].keys() == {"good-news", "far-news"} for row in rows)
        summary = json.loads(done.stdout)
        assert (summary["articles"], summary["networks"]) == (5, 0)
        assert {name: sum(tally["tiers"].values()) for name, tally in summary["filters"].items()} == {
            "good-news": 5,
            "far-news": 5,
        }
        told = " ".join(done.stderr.split())
        assert "far-news: ask_oracle is false if" in told

    def test_a_person_sees_the_counts_of_each(self, bundle, other, tmp_path):
        (tmp_path / "in.jsonl").write_text('{"content": "git clone"}\n{"content": ""}\n')
        done = command("score", bundle, tmp_path / "in.jsonl", "--with", other, "-o", tmp_path / "out.csv")
        said = " ".join(done.stderr.decode().split())
        assert "2 articles in" in said
        assert "read by no network" in said
        assert "good-news: dropped 1, unscored 1" in said
        assert "far-news: dropped 1, unscored 1" in said

    def test_one_filter_twice_and_a_cascade_beside_others_are_refused(self, bundle, other, source, tmp_path):
        twice = command("score", bundle, source, "--with", bundle, "-o", tmp_path / "out.jsonl")
        assert (twice.returncode, b"one pass takes one bundle a filter" in twice.stderr) == (2, True)
        both = command("score", bundle, source, "--with", other, "--cascade", tmp_path)
        assert (both.returncode, b"leave out --cascade or --with" in both.stderr) == (2, True)


def test_one_quoted_text_is_scored(bundle, tmp_path):
    done = command("score", bundle, "--text", "Rain “fell” on the harbour & the hills.")
    assert done.returncode == 0, done.stderr
    (row,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert row["id"] == article_id("", "Rain “fell” on the harbour & the hills.")
    assert row["tier"] in {"lead", "page", "drawer"}
    done = invoke("score", bundle, "--text", "Rain.", "--keep-text", "-o", tmp_path / "out.csv")
    assert done.exit_code == 0, done.output
    assert "Rain." in (tmp_path / "out.csv").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a file of articles or --text TEXT"),
        (["in.jsonl", "--text", "Rain."], "give either a file of articles or --text TEXT"),
        (["--text", " "], "--text: is empty"),
        (["--text", b"caf\xe9"], "--text: contains bytes that are not valid"),
        (["https://herald.example/a"], "download it first: curl -L -o page.html https://herald.example/a"),
    ],
)
@pytest.mark.by_example(2)
def test_one_text_or_one_file_is_scored_and_no_address(bundle, arguments, message):
    program = "from potstill.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "score", str(bundle), *arguments],
        capture_output=True, check=False, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 2
    assert message in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_folder_of_texts_is_scored(bundle, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("Rain fell.")
    (tmp_path / "texts" / "b.txt").write_text("")
    done = invoke("score", bundle, tmp_path / "texts", "-o", tmp_path / "out.jsonl")
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["id"], row["tier"] == "unscored") for row in rows] == [("a.txt", False), ("b.txt", True)]


def test_an_operating_point_is_printed_and_decides_and_numbers_in_a_pipe_have_4_decimals(bundle, source):
    done = command("score", bundle, source, "--decide", "recall=0.5")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(row["why"].endswith("for recall 0.5") for row in rows)
    for row in rows:
        assert (row["probability"], row["cut"]) == (round(row["probability"], 4), round(row["cut"], 4))
    assert "lead: named from probability " in done.stderr.decode()
    assert "on, for recall 0.5; " in done.stderr.decode()


def test_files_have_the_probability_the_cut_and_why(bundle, source, tmp_path):
    for ending, read in ((".csv", pl.read_csv), (".parquet", pl.read_parquet)):
        assert invoke("score", bundle, source, "-o", tmp_path / f"out{ending}").exit_code == 0
        found = read(tmp_path / f"out{ending}")
        columns = found.columns
        assert columns[columns.index("reason") :] == ["reason", "probability", "cut", "why"]
        assert found["probability"].dtype == found["cut"].dtype == pl.Float64
        assert found["why"].str.contains("overall .*, probability .*cut .* for the oracle's volume").all()


def test_decided_by_score_no_probability_is_written(bundle, source, tmp_path):
    assert invoke("score", bundle, source, "-o", tmp_path / "out.jsonl", "--decide", "by-score").exit_code == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert not any({"probability", "cut", "why"} & row.keys() for row in rows)


def test_a_file_of_other_articles_is_reported_and_counted_in_the_summary(bundle, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"content": "fire theft overseas treaty"}\n' * 200)
    done = invoke("score", bundle, tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl")
    (line,) = [line for line in done.stderr.splitlines() if "expected at" in line]
    assert line.startswith("  lead: 0 of 200 articles named, ")
    assert line.endswith("the oracle's volume: the articles differ from those that the cut was chosen on")
    done = invoke("score", bundle, tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl", "--json")
    (drift,) = json.loads(done.stdout)["drifts"]
    assert (drift["tier"], drift["named"], drift["articles"]) == ("lead", 0, 200)


def test_an_operating_point_that_the_bundle_has_no_tier_for_is_refused(bundle, source, tmp_path):
    done = command("score", bundle, source, "-o", tmp_path / "out.jsonl", "--decide", "brief:f1")
    assert (done.returncode, len(done.stderr.decode().splitlines())) == (2, 1)
    assert "--decide brief:f1: brief is no positive tier; there are lead" in done.stderr.decode()
