"""Tests of hostile files on the command line: each ends with one line and exit code 2 (or 3), never with a traceback.

To add an input, add a row to `FILES` (a file and the command that reads it) or to `CONTENTS` (its contents).
"""

import os
import shutil
import signal

import pytest
from commands import one_line, potstill
from evaluated_run import evaluated_run
from forging import rehash
from tiny_bundle import articles, neural_bundle, tfidf_bundle

from potstill.files import write_json
from potstill.filters import save_filter
from potstill.pipeline.run import Run

DEEP = b"[" * 100_000
CONTENTS = {
    "an integer of 5,000 digits": b'{"schema_version": ' + b"7" * 5000 + b"}",
    "100,000 brackets": DEEP,
    "100,000 objects": b'{"a":' * 100_000,
    "infinity": b'{"weight_decay": Infinity}',
    "a number beyond all": b'{"weight_decay": 1e999}',
    "not a number": b'{"schema_version": NaN}',
    "no UTF-8": b'{"name": "\xff\xfe"}',
    "half of a surrogate pair": rb'{"name": "\ud800"}',
    "nothing": b"",
    "a list": b"[1, 2]",
    "null": b"null",
    "an object cut short": b'{"schema_version": 1, "',
    "bytes": bytes(range(256)),
}

COMMON = {"an integer of 5,000 digits", "100,000 brackets", "no UTF-8", "nothing", "a list"}
"""Contents that are tried with every file; the long tests try all contents."""

KINDS = {
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a loop": lambda path: path.symlink_to(path),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}

# A file, and the command that reads it; placeholders are filled in below.
FILES = {
    "bundle.json": ("tfidf", ("verify", "{bundle}")),
    "student.json": ("tfidf", ("verify", "{bundle}")),
    "student.safetensors": ("tfidf", ("score", "{bundle}", "{articles}")),
    "calibration.json": ("tfidf", ("verify", "{bundle}")),
    "golden.jsonl": ("tfidf", ("score", "{bundle}", "{articles}")),
    "verdicts.json": ("tfidf", ("verify", "{bundle}")),
    "filter.yaml": ("tfidf", ("verify", "{bundle}")),
    "signature.json": ("tfidf", ("verify", "{bundle}")),
    "tokenizer.json": ("neural", ("verify", "{bundle}")),
    "model.onnx": ("neural", ("score", "{bundle}", "{articles}")),
    "run.json": ("run", ("status", "{bundle}")),
    "predictions.json": (None, ("evaluate-predictions", "{file}", "--filter", "front-page")),
    "predictions.jsonl": (None, ("evaluate-predictions", "{file}", "--filter", "front-page")),
    "history.json": (None, ("check-history", "{file}")),
    "recipe.yaml": ("judged", ("train", "{bundle}", "--recipe", "{file}")),
    "space.yaml": ("judged", ("tune", "{bundle}", "{file}")),
    "prices.yaml": ("judged", ("label", "{bundle}", "--oracle", "openai:m", "--plan", "--prices", "{file}")),
    "answers.jsonl": ("judged", ("label", "{bundle}", "--oracle", "replay:{file}")),
    "filter/targets.yaml": ("judged", ("accept", "{bundle}")),
    "evaluation.json": ("judged", ("report", "{bundle}")),
    "predictions.parquet": ("judged", ("report", "{bundle}")),
    "articles.parquet": ("judged", ("dataset", "{bundle}")),
    "dataset/rows.parquet": ("judged", ("evaluate", "{bundle}")),
    "ledger.sqlite": ("judged", ("status", "{bundle}")),
    "students/tfidf-ridge/record.json": ("judged", ("evaluate", "{bundle}", "--folds", "0", "--no-time")),
    "students/tfidf-ridge/student.json": ("judged", ("evaluate", "{bundle}", "--folds", "0", "--no-time")),
    "students/tfidf-ridge/validation.parquet": ("judged", ("bundle", "{bundle}")),
    "news.jsonl": ("tfidf", ("score", "{bundle}", "{file}", "-o", "{file}.scored.csv")),
    "news.csv": ("tfidf", ("score", "{bundle}", "{file}", "-o", "{file}.scored.csv")),
    "news.parquet": ("tfidf", ("score", "{bundle}", "{file}", "-o", "{file}.scored.csv")),
    "news.jsonl.gz": ("tfidf", ("score", "{bundle}", "{file}", "-o", "{file}.scored.csv")),
    "labels.jsonl": ("judged", ("import", "{bundle}", "{file}")),
    "labels.csv": ("judged", ("import", "{bundle}", "{file}")),
    "labels.parquet": ("judged", ("import", "{bundle}", "{file}")),
    "marks.jsonl": (None, ("new", "marks", "--from", "{file}", "--in", "{bundle}")),
    "marks.csv": (None, ("new", "marks", "--from", "{file}", "--in", "{bundle}")),
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    (folder / "scratch").mkdir()
    tfidf = tfidf_bundle(folder / "tfidf")
    neural_bundle(folder / "neural", folder / "scratch")
    Run.create(folder / "run", tfidf.filter)
    (folder / "judging").mkdir()
    evaluated_run(folder / "judging", 60)
    (folder / "judging" / "run").rename(folder / "judged")
    articles(3)[0].write_ndjson(folder / "news.jsonl")
    return folder


@pytest.fixture(autouse=True)
def _impatience():
    """A command that waits forever fails its own test and does not block the others."""

    def give_up(*_):
        raise AssertionError("it waited")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def made(originals, tmp_path):
    """Return the path of a hostile file among valid ones, and the command that reads it."""

    def make(name):
        kind, command = FILES[name]
        folder = tmp_path if kind is None else shutil.copytree(originals / kind, tmp_path / "it")
        path = folder / name
        if path.exists():
            path.unlink()
        filled = {"bundle": folder, "file": path, "articles": originals / "news.jsonl"}
        return path, [part.format(**filled) for part in command]

    return make


def well_ended(ending, arguments):
    """Check that a command ends with one line and exit code 2 or 3, and return the line."""
    code, said = ending(*arguments)
    lines = said.splitlines()
    assert code in {2, 3}, said
    assert len(lines) == 1, said
    assert lines[0].startswith("error: ")
    assert "internal error" not in lines[0]
    assert len(lines[0]) <= 300
    assert lines[0].isprintable()
    return lines[0]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        pytest.param(content, name, marks=[] if content in COMMON else [pytest.mark.long])
        for name in FILES
        for content in CONTENTS
        # A table of prices may be empty.
        if (content, name) not in {("nothing", "prices.yaml"), ("null", "prices.yaml")}
    ],
)
@pytest.mark.by_example(2)
def test_a_hostile_file_is_named_in_one_line(made, ending, name, content):
    path, arguments = made(name)
    path.write_bytes(CONTENTS[content])
    if (path.parent / "bundle.json").exists() and name not in {"bundle.json", "signature.json"}:
        rehash(path.parent)
    assert path.stem in well_ended(ending, arguments)


MAY_BE_MISSING = {
    ("a loop", "ledger.sqlite"),
    ("a loop", "students/tfidf-ridge/record.json"),
    ("a folder", "evaluation.json"),
    ("a folder", "predictions.parquet"),
    ("a loop", "predictions.parquet"),
}
"""Inputs that are treated as a missing file, which these commands do not need."""


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for name in FILES
        for kind in KINDS
        if name != "signature.json" and (kind, name) not in MAY_BE_MISSING
    ],
)
@pytest.mark.by_example(3)
def test_what_stands_in_the_place_of_a_file_is_named_and_not_waited_for(made, ending, name, kind):
    path, arguments = made(name)
    KINDS[kind](path)
    assert path.stem in well_ended(ending, arguments)


@pytest.mark.parametrize(
    "change",
    [
        {"encoders": [{"pad_id": 2**70}]},
        {"tolerance": {"raw": 1e308, "exact": 1e308}},
        {"dimensions": ["\x1b[31m" * 1000]},
        {"filter": "x" * 100_000},
        {"files": {}},
        {"encoders": [{}] * 2000},
    ],
)
def test_a_manifest_whose_own_hash_fits_is_still_read_with_care(originals, tmp_path, ending, change):
    from potstill.files import digest, read_json

    bundle = shutil.copytree(originals / "tfidf", tmp_path / "it")
    content = read_json(bundle / "bundle.json") | change
    content.pop("sha256")
    write_json(bundle / "bundle.json", content | {"sha256": digest(content)})
    well_ended(ending, ["verify", bundle])


@pytest.mark.parametrize("name", ["bundle.json", "predictions.json", "run.json"])
def test_so_it_is_in_a_process_of_its_own(made, name):
    path, arguments = made(name)
    path.write_bytes(DEEP)
    assert name in one_line(potstill(*arguments))


def test_a_filter_that_is_sound_still_passes(ending, originals, tmp_path):
    from potstill.filters import load_filter

    save_filter(load_filter(originals / "run" / "filter"), tmp_path / "filter")
    assert ending("check", tmp_path / "filter")[0] == 0
    assert ending("verify", originals / "tfidf")[0] == 0
    assert ending("verify", originals / "neural")[0] == 0
