"""Tests of commands whose standard streams a shell has closed or redirected."""

import json
import os
from pathlib import Path

import pytest
from commands import PROGRAM, one_line, potstill
from tiny_bundle import tfidf_bundle

ASCII = os.environ | {"PYTHONIOENCODING": "ascii"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tfidf_bundle(tmp_path_factory.mktemp("bundle") / "good-news").folder


def closing(*numbers):
    """Return a program in which these streams are closed before Python opens any file."""
    return {"preexec_fn": lambda: [os.close(number) for number in numbers]}


@pytest.mark.parametrize("command", [["filters"], ["--help"]])
def test_a_full_disk_under_stdout_is_one_line(command):
    with Path("/dev/full").open("w") as full:
        done = potstill(*command, capture_output=False, stdout=full, stderr=-1)
    assert one_line(done) == "standard output: cannot be written (No space left on device)"


def test_a_closed_stdout_is_one_line():
    done = potstill("filters", **closing(1))
    assert one_line(done) == "standard output is closed; the results cannot be printed"


def test_a_closed_stdin_is_one_line_where_it_is_read(bundle):
    done = potstill("score", bundle, "-", **closing(0))
    assert one_line(done) == "standard input is closed; nothing can be read from it"


def test_a_closed_stdin_is_nothing_where_it_is_not_read():
    assert potstill("filters", **closing(0)).returncode == 0


def test_a_closed_or_full_stderr_stops_nothing():
    done = potstill("check", "nosuch", **closing(2))
    assert (done.returncode, done.stdout) == (2, "")
    with Path("/dev/full").open("w") as full:
        done = potstill("-v", "filters", capture_output=False, stdout=-1, stderr=full)
    assert done.returncode == 0
    assert "front-page" in done.stdout


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path):
    # With all three closed, the first file that is opened would be stdin, and the next one stdout.
    program = (
        "import os; from potstill.cli.streams import prepare_streams; prepare_streams(); "
        f"file = open({str(tmp_path / 'file')!r}, 'w'); "
        "file.write(str(file.fileno() > 2)); file.close(); os._exit(0)"
    )
    potstill(program=program, capture_output=False, **closing(0, 1, 2))
    assert (tmp_path / "file").read_text() == "True"


def test_a_reader_that_stops_reading_is_no_error():
    broken = "import os; reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1); "
    done = potstill("filters", program=broken + PROGRAM)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.by_example(2)
def test_what_an_encoding_lacks_is_escaped(tmp_path, encoding):
    filter_ = tmp_path / "cafe"
    assert potstill("new", "cafe", "--in", tmp_path).returncode == 0
    path = filter_ / "filter.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("description: ", "description: 新闻 → é𝄞 ", 1), encoding="utf-8")
    how = {"env": os.environ | {"PYTHONIOENCODING": encoding}, "encoding": encoding}
    done = potstill("-q", "check", filter_, **how)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\u65b0\u95fb" in done.stdout
    found = json.loads(potstill("check", filter_, "--json", **how).stdout)
    assert found["name"] == "cafe"


def test_json_with_escapes_is_still_the_same_json(tmp_path):
    program = (
        "import sys; from potstill.cli.streams import prepare_streams; prepare_streams(); import json; "
        "print(json.dumps(['新 é 𝄞 ' + chr(0xdcff)], ensure_ascii=False))"
    )
    assert json.loads(potstill(program=program, env=ASCII).stdout) == ["新 é 𝄞 \udcff"]


def test_an_error_about_a_name_that_the_terminal_lacks_is_printed(tmp_path):
    done = potstill("status", tmp_path / "naïve-新", env=ASCII | {"PYTHONUTF8": "1"})
    assert r"na\u00efve-\u65b0: not a run folder" in one_line(done)


@pytest.mark.parametrize(
    "command",
    [["status", "NAME"], ["score", "NAME", "x.jsonl"], ["label", "NAME", "--oracle", "replay:x"],
     ["check", "NAME"], ["evaluate", "NAME"], ["verify", "NAME"], ["new", "x", "--in", "NAME"],
     ["audit", "--labels", "NAME", "--out", "x"], ["--log-file", "NAME", "filters"]],
)  # fmt: skip
def test_a_name_that_is_no_text_is_refused(tmp_path, command, ending):
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    code, error = ending(*(folder if part == "NAME" else part for part in command))
    assert code == 2
    assert r"caf\udce9: this name is not valid UTF-8" in error
    assert list(folder.iterdir()) == []


def test_a_name_that_is_no_text_is_one_line(tmp_path):
    assert r"caf\udce9: this name is not valid UTF-8" in one_line(potstill("status", tmp_path / "caf\udce9"))
