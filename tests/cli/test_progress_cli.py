"""Tests that every slow stage reports its progress, and that the log contains no article text."""

import json
import re

import pytest
from evaluated_run import evaluated_run

from potstill import terminal


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("progress")
    evaluated_run(folder, 90)
    (folder / "space.yaml").write_text("name: small\nstart: tfidf-ridge\nsearch: {min_count: [1, 2]}\n")
    return folder


@pytest.fixture
def begun(monkeypatch):
    """Names of the steps that were started."""
    names, begin = [], terminal._speaker.begin

    def note_it(description, total):
        names.append(description)
        return begin(description, total)

    monkeypatch.setattr(terminal._speaker, "begin", note_it)
    return names


@pytest.mark.parametrize(
    ("command", "steps"),
    [
        (["evaluate", "--folds", "2", "--no-time"], ["evaluate", "predicting", "judging"]),
        (["bundle"], ["bundle", "calibrating the student", "exporting and proving the bundle"]),
        (["cascade", "--first", "constant"], ["cascade", "finding what the first student may answer alone"]),
        (["audit", "--no-learn"], ["audit", "auditing"]),
        (["compare", "BUNDLE"], ["compare", "comparing"]),
        (["train", "--auto", "--recipe", "constant"], ["train"]),
        (["report"], ["report"]),
    ],
)
@pytest.mark.by_example(2)
def test_a_long_stage_says_what_it_is_at(made, ending, begun, command, steps):
    name, *options = command
    words = [str(made / "run" / "bundle") if word == "BUNDLE" else word for word in options]
    code, error = ending(name, made / "run", *words)
    assert code in {0, 2}, error
    assert "internal error" not in error
    assert set(steps) <= set(begun), (begun, error)


def test_the_log_tells_what_was_done_and_quotes_no_article(made, ending, tmp_path):
    log = tmp_path / "run.log"
    code, error = ending("--log-file", log, "evaluate", made / "run", "--folds", "2")
    assert code == 0, error
    code, _ = ending("--log-file", log, "status", tmp_path)
    assert code == 2
    lines = log.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|ERROR) ", line) for line in lines)
    said = "\n".join(lines)
    for words in ("evaluate", "judging: begun", "judging: ended after", "evaluate: ended after", "not a run folder"):
        assert words in said
    texts = [json.loads(line)["content"] for line in (made / "articles.jsonl").read_text().splitlines()]
    assert not any(text in said or text[:40] in said for text in texts)


def test_a_fault_that_nobody_foresaw_is_one_line_and_the_log_names_its_place(made, ending, tmp_path, monkeypatch):
    text = "the text of an article"

    def broken(*_, **__):
        raise KeyError(text)

    monkeypatch.setattr("potstill.pipeline.evaluate.evaluate_run", broken)
    log = tmp_path / "run.log"
    code, error = ending("--log-file", log, "evaluate", made / "run")
    assert code == 2
    assert re.fullmatch(r"error: internal error: KeyError at \S+:\d+; .*\n", error)
    assert text not in error + log.read_text()
    assert "ERROR KeyError" in log.read_text()
    code, error = ending("-v", "evaluate", made / "run")
    assert code == 2
    assert "Traceback" in error


def test_a_log_that_cannot_be_written_and_options_that_exclude_each_other_are_one_line(ending, tmp_path):
    assert ending("--log-file", tmp_path, "filters") == (
        2, f"error: --log-file {tmp_path}: cannot be written (Is a directory)\n"
    )  # fmt: skip
    assert ending("-q", "-v", "filters") == (2, "error: --quiet and --verbose exclude each other\n")
