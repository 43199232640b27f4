"""Tests of the command that runs behaviour tests."""

import json

import pytest
from evaluated_run import bundled_run
from tiny_bundle import FILTER, tfidf_bundle
from typer.testing import CliRunner

from potstill.cli import build
from potstill.errors import BadInput, FilterError, OracleError, TargetMissed
from potstill.filters import save_filter
from potstill.pipeline.probe import prepare
from potstill.probing import ProbeRecord

PROBES = """
ramps:
  gain:
    - [Fire theft crash strike town., Fire theft bridge strike town., School garden bridge clinic town.]
negations:
  gain:
    - {text: Library school harvest clinic., negated: Fire theft strike crash.}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    tfidf_bundle(folder / "bundle")
    (folder / "probes.yaml").write_text(PROBES)
    return folder


def potstill(*words):
    return CliRunner().invoke(build(), ["probe", *map(str, words)])


def test_a_table_of_dimensions_and_the_next_command_are_printed(folder):
    done = potstill(folder / "bundle", "--probes", folder / "probes.yaml")
    assert done.exit_code == 0, done.exception
    lines = done.stdout.splitlines()
    assert lines[0].startswith("1 ramp, 1 negation, 0 paraphrases (")
    assert lines[0].endswith("; 3 articles to change (ramps)")
    assert lines[1] == "in order: the score rises by at least 0.1; steady: it moves by at most 0.5"
    assert "student tfidf-ridge" in lines
    gain = next(line.split() for line in lines if line.startswith("gain"))
    near = next(line.split() for line in lines if line.startswith("near"))
    assert gain[1:3] == ["2/2", "1/1"]
    assert near[1:3] == ["-", "-"]
    assert any(line.startswith("ramps") and "100% of 2 (16% to 100%), mean change +" in line for line in lines)
    assert "failing examples of the student" in done.stdout
    assert done.stderr.splitlines()[-1] == f"next: potstill score {folder / 'bundle'} FILE -o RESULTS"


def test_json_is_the_record(folder):
    done = potstill(folder / "bundle", "--probes", folder / "probes.yaml", "--json", "--least", "ramps=0.5")
    found = ProbeRecord.from_json(json.loads(done.stdout), "stdout")
    assert found.met is True
    assert found.subjects["student"].checks["ramps"].overall.passed == 2


def test_a_missed_target_is_told_after_the_results_and_exits_with_1(folder):
    done = potstill(folder / "bundle", "--probes", folder / "probes.yaml", "--least", "padding=1", "--least", "ramps=1")
    assert isinstance(done.exception, TargetMissed)
    assert done.exception.exit_code == 1
    assert str(done.exception).startswith("fewer tests pass than --least asks for: padding ")
    assert "ramps: 100%, at least 100% asked for: met" in done.stdout
    assert "asked for: missed" in done.stdout


def test_a_target_of_no_test_is_refused_before_anything_is_opened(folder):
    done = potstill(folder / "nothing", "--least", "slopes=0.9")
    assert isinstance(done.exception, BadInput)
    assert "--least: got 'slopes=0.9'" in str(done.exception)


def test_without_tests_the_error_names_the_option(folder):
    done = potstill(folder / "bundle")
    assert isinstance(done.exception, FilterError)
    assert "--probes" in str(done.exception)


def test_a_filter_needs_an_oracle():
    done = potstill("front-page")
    assert isinstance(done.exception, BadInput)
    assert "an oracle with --oracle" in str(done.exception)


def test_an_oracle_without_a_key_is_refused(folder, monkeypatch, tmp_path):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    words = ["--probes", folder / "probes.yaml", "-o", tmp_path / "out", "--oracle", "openai:small"]
    done = potstill(folder / "bundle", *words)
    assert isinstance(done.exception, OracleError)
    assert "OPENAI_API_KEY" in str(done.exception)


def test_a_plan_counts_the_calls_and_writes_nothing(folder, tmp_path):
    out = tmp_path / "out"
    words = ["--probes", folder / "probes.yaml", "--oracle", "openai:small", "--prices", "1/2", "--plan", "-o", out]
    done = potstill(folder / "bundle", *words, "--json")
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    assert found["calls"] == prepare(folder / "bundle", probes=folder / "probes.yaml").questions.height
    assert found["cost"] > 0
    assert not out.exists()


def test_a_plan_without_an_oracle_is_refused(folder):
    done = potstill(folder / "bundle", "--probes", folder / "probes.yaml", "--plan")
    assert isinstance(done.exception, BadInput)
    assert "name one with --oracle" in str(done.exception)


def test_student_and_oracle_stand_one_below_the_other(folder, tmp_path):
    check = prepare(folder / "bundle", probes=folder / "probes.yaml")
    rows = [
        {"id": id_, "scores": {"gain": float(len(content) % 10), "near": 5.0}}
        for id_, content in check.questions.select("id", "content").iter_rows()
    ]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--probes", folder / "probes.yaml", "-o", tmp_path / "out"]
    done = potstill(folder / "bundle", *words, "--oracle", f"replay:{tmp_path / 'answers.jsonl'}")
    assert done.exit_code == 0, done.exception
    assert done.stdout.index("student tfidf-ridge") < done.stdout.index("oracle replay:answers")
    assert f"{check.questions.height} texts, {check.questions.height} new answers, 0 already" in done.stdout
    assert "ramps, student / oracle: " in done.stdout


def test_a_run_of_the_users_own_filter_has_its_tests(folder, tmp_path):
    run = bundled_run(tmp_path / "work")
    (tmp_path / "own").mkdir()
    save_filter(run.filter, tmp_path / "own")
    (tmp_path / "own" / "probes.yaml").write_text(PROBES)
    done = potstill(run.folder, "--probes", tmp_path / "own", "-n", 4)
    assert done.exit_code == 0, done.exception
    assert "4 articles to change (test part)" in done.stdout
    assert done.stderr.splitlines()[-1] == f"next: potstill score {run.path('bundle')} FILE -o RESULTS"
    assert potstill(run.folder, "-n", 4).exit_code == 0


def test_labelling_copies_the_tests_of_a_filter_into_the_run(tmp_path):
    save_filter(FILTER, tmp_path / "own")
    (tmp_path / "own" / "probes.yaml").write_text(PROBES)
    (tmp_path / "news.jsonl").write_text('{"id": "a", "content": "A school opened in town."}\n')
    (tmp_path / "answers.jsonl").write_text('{"id": "a", "scores": {"gain": 5, "near": 5}}\n')
    words = ["--filter", tmp_path / "own", "--articles", tmp_path / "news.jsonl"]
    words += ["--oracle", f"replay:{tmp_path / 'answers.jsonl'}"]
    done = CliRunner().invoke(build(), ["label", str(tmp_path / "run"), *map(str, words)])
    assert done.exit_code == 0, done.exception
    assert (tmp_path / "run" / "filter" / "probes.yaml").read_text() == PROBES


def test_check_counts_the_tests_of_a_filter_and_refuses_those_that_are_not_valid(tmp_path):
    save_filter(FILTER, tmp_path)
    (tmp_path / "probes.yaml").write_text(PROBES)
    done = CliRunner().invoke(build(), ["check", str(tmp_path)])
    assert "Behaviour tests: 1 ramp, 1 negation, 0 paraphrases; without a ramp: near." in done.stdout
    found = json.loads(CliRunner().invoke(build(), ["check", str(tmp_path), "--json"]).stdout)
    assert found["probes"] == {"ramps": {"gain": 1}, "negations": {"gain": 1}, "paraphrases": 0}
    (tmp_path / "probes.yaml").write_text("ramps: {joy: [[a, b]]}")
    assert "joy: not a dimension" in str(CliRunner().invoke(build(), ["check", str(tmp_path)]).exception)
