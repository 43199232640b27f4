"""Parquet from elsewhere: whatever is in it, one line says why it cannot be read, and this process goes on."""

import os
import signal
import subprocess
import sys

import polars as pl
import pytest

from potstill import parquet, processes
from potstill.articles import read_articles
from potstill.errors import BadInput
from potstill.parquet import open_parquet, read_parquet

FRAME = pl.DataFrame({"id": ["1", "2"], "content": ["a library", "a school"], "n": [1, None]})


@pytest.fixture
def path(tmp_path):
    FRAME.write_parquet(tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def refusal(path):
    with pytest.raises(BadInput) as caught:
        read_parquet(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_a_table_is_read_as_it_was_written(path):
    file = open_parquet(path)
    assert (file.rows, file.columns.schema) == (2, FRAME.schema)
    assert [frame.rows() for frame in file.slices(1)] == [[FRAME.row(0)], [FRAME.row(1)]]
    assert read_parquet(path).equals(FRAME)


def test_a_table_without_rows_has_its_columns(tmp_path):
    FRAME.clear().write_parquet(tmp_path / "none.parquet")
    assert read_parquet(tmp_path / "none.parquet").equals(FRAME.clear())


def test_names_that_are_no_utf_8_and_names_with_patterns_are_read(tmp_path, path):
    for name in (b"caf\xe9.parquet", b"a*[b]?.parquet", b"line\nbreak.parquet"):
        other = tmp_path / os.fsdecode(name)
        other.write_bytes(path.read_bytes())
        assert read_parquet(other).equals(FRAME)


def test_a_relative_name_is_read_from_where_this_process_is(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    assert read_parquet("in.parquet").equals(FRAME)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable Parquet file ("),
        (b"PAR1 no PAR1", "not a readable Parquet file ("),
        (b'{"content": "text"}\n', "not a readable Parquet file ("),
        (b"PAR1" + b"\xff" * 100 + (90).to_bytes(4, "little") + b"PAR1", "not a readable Parquet file ("),
    ],
)
def test_what_is_no_parquet_is_refused(tmp_path, content, message):
    (tmp_path / "in.parquet").write_bytes(content)
    assert refusal(tmp_path / "in.parquet").startswith(message)


def test_what_is_not_there_is_refused(tmp_path):
    assert refusal(tmp_path / "gone.parquet") == "cannot be read (No such file or directory)"
    assert refusal(tmp_path) == "cannot be read (Is a directory)"


def test_a_file_that_ends_the_reading_process_is_refused_and_the_next_one_is_read(path, monkeypatch):
    started = processes._started

    def that_ends(_):
        return subprocess.Popen(
            [sys.executable, "-c", "import os; input(); os.abort()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    parquet._PROCESS.end()
    monkeypatch.setattr(processes, "_started", that_ends)
    assert refusal(path) == "not a readable Parquet file (reading it ended the reading process: SIGABRT)"
    monkeypatch.setattr(processes, "_started", started)
    assert read_parquet(path).equals(FRAME)


def test_an_interrupt_while_waiting_is_no_answer_to_the_next_request(path, monkeypatch):
    exchange = processes._exchange

    def interrupted(process, request):
        exchange(process, request)
        raise KeyboardInterrupt

    read_parquet(path)
    monkeypatch.setattr(processes, "_exchange", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read_parquet(path)
    monkeypatch.setattr(processes, "_exchange", exchange)
    assert read_parquet(path).equals(FRAME)


def test_a_reading_process_that_was_ended_from_outside_is_started_again(path):
    read_parquet(path)
    parquet._PROCESS._process.send_signal(signal.SIGKILL)
    parquet._PROCESS._process.wait()
    assert read_parquet(path).equals(FRAME)


def test_a_file_that_is_replaced_while_it_is_read_is_refused(path):
    pl.concat([FRAME] * 2000).write_parquet(path)
    frames = read_articles(path, on_empty="keep", batch_size=2000)
    assert next(frames).height == 2000
    FRAME.write_parquet(path)
    with pytest.raises(BadInput, match=r"in\.parquet: has changed while it was read"):
        next(frames)


def test_the_reading_process_ends_with_this_one(path):
    program = (
        "import os, signal, sys; from potstill import parquet; parquet.read_parquet(sys.argv[1])\n"
        "print(parquet._PROCESS._process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    child = int(done.stdout)
    for _ in range(600):
        status = subprocess.run(["ps", "-o", "stat=", "-p", str(child)], capture_output=True, text=True, check=False)
        if status.stdout.strip() in {"", "Z"}:
            return
        signal.sigtimedwait([], 0.1)
    pytest.fail("the reading process goes on")
