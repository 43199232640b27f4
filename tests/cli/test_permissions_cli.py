"""Tests of read-only run folders and unreadable files: one error line, and everything that is possible is done.

Tests may run as root, for which file modes have no effect, so commands run in a process without that privilege. Many
commands share one process, because importing takes most of the time.
"""

import json
import shutil
import subprocess
import sys

import pytest
from evaluated_run import evaluated_run, stories

from potstill.pipeline.accept import EXAMPLE
from potstill.pipeline.run import Run

PROGRAM = """
import contextlib, ctypes, io, json, os, sys
tries = json.load(sys.stdin)
if os.geteuid() == 0:
    # No capabilities are left, here and in the processes that are started from here (PR_SET_NO_NEW_PRIVS): root is then
    # an owner of files like any other.
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    system = ctypes.CDLL(None, use_errno=True)
    assert system.prctl(38, 1, 0, 0, 0) == 0, os.strerror(ctypes.get_errno())
    assert system.capset(header, none) == 0, os.strerror(ctypes.get_errno())
from potstill.cli import build
from potstill.cli.process import _run

def ending(hidden, arguments):
    out, error = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    sys.argv = ["potstill", *arguments]
    before = hidden and os.stat(hidden).st_mode
    if hidden:
        os.chmod(hidden, 0)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = _run(build)
    if hidden:
        os.chmod(hidden, before)
    out.flush()
    return code, out.buffer.getvalue().decode(), error.getvalue()

print(json.dumps([ending(*one) for one in tries]))
"""


def run_all(commands, hidden=None):
    """Return exit code, stdout and stderr of each command; `hidden` holds a file for each that it cannot read."""
    hidden = [str(path) for path in hidden] if hidden is not None else [None] * len(commands)
    given = json.dumps([[path, [str(word) for word in one]] for path, one in zip(hidden, commands, strict=True)])
    done = subprocess.run([sys.executable, "-c", PROGRAM], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def frozen(folder):
    """Remove the write permission of a folder."""
    for place in (folder, *folder.rglob("*")):
        place.chmod(0o555 if place.is_dir() else 0o444)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with all its stages, its articles, and a file of new ones."""
    folder = tmp_path_factory.mktemp("made")
    evaluated_run(folder, 60)
    articles, answers = stories(80, seed=1)
    for name, rows in (("new", articles), ("new-answers", answers)):
        lines = (json.dumps(row | {"id": f"new-{row['id']}"}) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture
def place(made, tmp_path):
    """A copy of the run that a test may change."""
    copy = tmp_path / "made"
    shutil.copytree(made, copy)
    yield copy
    for folder in (copy, *copy.rglob("*")):
        if folder.is_dir():
            folder.chmod(0o755)


def test_what_only_reads_a_run_needs_no_right_to_write_there(place, tmp_path):
    run, articles, new = place / "run", place / "articles.jsonl", place / "new.jsonl"
    before = sorted(place.rglob("*"))
    frozen(place)
    commands = [
        ["status", run],
        ["label", run, "--oracle", "openai:gpt-4o-mini", "--plan"],
        ["label", run, "--oracle", f"replay:{place / 'answers.jsonl'}", "--articles", articles, "--plan"],
        ["evaluate", run, "--folds", "2", "--no-time"],
        [
            "evaluate-fresh",
            run,
            "--oracle",
            f"replay:{place / 'new-answers.jsonl'}",
            "--articles",
            new,
            "--number",
            "20",
            "--plan",
        ],
        ["bakeoff", run, "--oracle", "openai:gpt-4o-mini", "--plan"],
        ["audit", run, "--drop-sample", "5", "--drop-from", articles, "--oracle", "openai:gpt-4o-mini", "--plan"],
        ["tiers", run, "--recall", "0.5"],
        ["compare", run, run / "bundle"],
        ["verify", run / "bundle"],
        ["score", run / "bundle", articles],
        ["review", run, "--reviewer", "Ann", "--summary"],
    ]
    for command, (code, out, error) in zip(commands, run_all(commands), strict=True):
        assert (code, bool(out)) == (0, True), (command, error)
        assert "rror" not in error, (command, error)
    assert sorted(place.rglob("*")) == before


def test_an_evaluation_that_cannot_be_recorded_says_so(place):
    frozen(place)
    [(code, out, error)] = run_all([["evaluate", place / "run", "--folds", "0", "--no-time", "--json"]])
    assert code == 0
    assert json.loads(out)["ladder"]
    assert f"{place / 'run'}: cannot be written, so this evaluation is not recorded there" in error


def test_labels_in_a_log_that_is_not_merged_yet_are_read_too(place):
    # A killed labelling leaves its newest answers only in the write-ahead log.
    path = place / "run" / "ledger.sqlite"
    program = (
        "import os, sqlite3, sys; base = sqlite3.connect(sys.argv[1]); base.execute('PRAGMA journal_mode=WAL'); "
        "base.execute('PRAGMA wal_autocheckpoint=0'); base.execute('DELETE FROM calls WHERE sample = 1'); "
        "base.commit(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, path], check=True)
    assert path.with_name("ledger.sqlite-wal").stat().st_size
    frozen(place)
    [(code, out, _)] = run_all([["label", place / "run", "--oracle", f"replay:{place / 'answers.jsonl'}",
                                 "--answers", "2", "--plan", "--json"]])  # fmt: skip
    plan = json.loads(out)
    assert (code, plan["already_bought"], plan["calls"]) == (0, 60, 60)


def test_what_has_to_write_says_in_one_line_that_it_cannot(place):
    run = place / "run"
    (run / "filter" / "targets.yaml").write_text(f"{EXAMPLE}\n")
    names = Run.open(run).filter.dimension_names
    (place / "marks.jsonl").write_text(json.dumps({"text": "A new story.", "scores": dict.fromkeys(names, 3)}) + "\n")
    frozen(place)
    commands = [
        ["label", run, "--oracle", f"replay:{place / 'answers.jsonl'}"],
        ["import", run, place / "marks.jsonl"],
        ["dataset", run],
        ["train", run, "--recipe", "constant"],
        ["bundle", run],
        ["cascade", run],
        ["train", run, "--auto", "--recipe", "constant"],
        ["audit", run],
        ["accept", run],
        ["decide", run, "--why", "good", "--accept"],
        ["report", run],
        ["compare", run, run / "bundle", "--keep"],
        ["score", run / "bundle", place / "articles.jsonl", "-o", run / "scored.jsonl"],
        ["bench", run / "bundle"],
        ["new", "harbour-news", "--in", place],
        ["review", run, "--reviewer", "Ann"],
        ["sample", run, "--articles", place / "new.jsonl", "-n", "5", "-o", place / "chosen.jsonl"],
    ]
    for command, (code, out, error) in zip(commands, run_all(commands), strict=True):
        assert (code, out) == (2, ""), (command, out, error)
        last = error.splitlines()[-1]
        assert last.startswith(f"error: {place}"), (command, error)
        assert "cannot be written (Permission denied)" in last, (command, error)
        assert "internal error" not in error


def every_file(place):
    """Return each file in and next to a run, with the commands that read it."""
    run, articles, answers = place / "run", place / "articles.jsonl", place / "answers.jsonl"
    bundle = run / "bundle"
    found = {
        articles: [["score", bundle, articles], ["label", run, "--oracle", "openai:gpt-4o-mini", "--plan",
                                                 "--articles", articles]],
        answers: [["label", run, "--oracle", f"replay:{answers}"], ["import", run, answers],
                  ["new", "marks", "--from", answers, "--in", place]],
        run / "run.json": [["status", run], ["evaluate", run], ["label", run, "--oracle", f"replay:{answers}"]],
        run / "ledger.sqlite": [["status", run], ["dataset", run], ["label", run, "--oracle", f"replay:{answers}"],
                                ["review", run, "--reviewer", "Ann", "--summary"], ["audit", run]],
        run / "articles.parquet": [["dataset", run], ["audit", run], ["review", run, "--reviewer", "A", "--summary"]],
        run / "dataset" / "rows.parquet": [["train", run], ["evaluate", run], ["bundle", run]],
        run / "filter" / "filter.yaml": [["check", run / "filter"], ["status", run], ["evaluate", run]],
        run / "filter" / "rubric.md": [["check", run / "filter"], ["status", run]],
        run / "evaluation.json": [["report", run], ["tiers", run, "--recall", "0.5"], ["compare", run, run / "bundle"]],
        run / "predictions.parquet": [["report", run], ["tiers", run, "--recall", "0.5"]],
    }  # fmt: skip
    for part in sorted(bundle.iterdir()):
        if part.is_file():
            found[part] = [["verify", bundle], ["score", bundle, articles]]
    for part in sorted((run / "students" / "tfidf-ridge").iterdir()):
        if part.is_file():
            found[part] = [["evaluate", run, "--no-time", "--folds", "0"], ["bundle", run]]
    return found


MAY_BE_MISSING = {"record.json", "history.json", "heldout.parquet", "predictions.parquet", "evaluation.json"}
"""Files that some of the commands above do not need."""


def test_a_file_that_cannot_be_read_is_one_line_that_names_it(place):
    tried = [(path, command) for path, commands in every_file(place).items() for command in commands]
    results = run_all([command for _, command in tried], [path for path, _ in tried])
    faults = []
    for (path, command), (code, _, error) in zip(tried, results, strict=True):
        if path.name in MAY_BE_MISSING and code == 0:
            continue
        last = (error.splitlines() or [""])[-1]
        good = code == 2 and last.startswith("error: ") and path.name in last and "internal error" not in error
        if not good or error.count("error: ") != 1:
            faults.append((path.name, command[0], code, error))
    assert faults == []
