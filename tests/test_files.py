"""Files: whole or absent, and one hash per content."""

# ruff: noqa: PT012 - what fails must fail inside the with statement that is tested
from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.errors import BadInput
from potstill.files import digest, read_json, replacing, replacing_folder, sha256, write_json, write_text


@contextmanager
def disk_full_after(size):
    """Files of this process can't grow past `size` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores the signal that comes with it, so writing fails with an error.
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# -- whole or absent


def test_a_file_is_replaced_when_it_is_complete(old):
    with replacing(old) as temporary:
        temporary.write_text("new")
        assert old.read_text() == "old"
        assert temporary.parent == old.parent
    assert old.read_text() == "new"
    assert names(old.parent) == ["result.json"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(old):
    with (
        pytest.raises(BadInput, match=r"result\.json: cannot be written \(File too large\).*unchanged"),
        disk_full_after(1000),
    ):
        write_text(old, "x" * 5000)
    assert old.read_text() == "old"
    assert names(old.parent) == ["result.json"]


def test_the_device_that_is_always_full_leaves_the_old_file(old):
    with pytest.raises(BadInput, match="No space left on device"), replacing(old) as temporary:
        temporary.write_text("part")
        with Path("/dev/full").open("w") as full:
            full.write("x" * 100_000)
    assert old.read_text() == "old"
    assert names(old.parent) == ["result.json"]


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_whatever_stops_the_writing_leaves_the_old_file(old, stop):
    with pytest.raises(stop), replacing(old) as temporary:
        temporary.write_text("half")
        raise stop
    assert old.read_text() == "old"
    assert names(old.parent) == ["result.json"]


def test_a_kill_leaves_the_old_file(old):
    script = (
        "import os, signal, sys; from pathlib import Path; from potstill.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(old)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert old.read_text() == "old"


def test_folders_on_the_way_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "new")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "new"


def test_a_place_that_is_no_folder_is_named(old):
    with pytest.raises(BadInput, match=r"result\.json/inner: cannot be written"):
        write_text(old / "inner", "new")


def test_a_place_that_is_a_folder_is_named(tmp_path):
    (tmp_path / "taken" / "deep").mkdir(parents=True)
    with pytest.raises(BadInput, match="taken: cannot be written"):
        write_text(tmp_path / "taken", "new")
    assert names(tmp_path) == ["taken"]


def test_a_new_file_has_the_mode_that_any_new_file_has(tmp_path):
    (tmp_path / "plain").write_text("x")
    write_text(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_line_ends_are_written_as_they_are(tmp_path):
    write_text(tmp_path / "a", "é\r\nb\n")
    assert (tmp_path / "a").read_bytes() == "é\r\nb\n".encode()


# -- folders


@pytest.fixture
def old_folder(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "old").write_text("old")
    return folder


def test_a_folder_is_replaced_when_it_is_complete(old_folder):
    with replacing_folder(old_folder) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "new").write_text("new")
        assert names(old_folder) == ["old"]
    assert names(old_folder) == ["deep"]
    assert names(old_folder.parent) == ["bundle"]


def test_a_full_disk_leaves_the_old_folder(old_folder):
    with (
        pytest.raises(BadInput, match="bundle: cannot be written"),
        disk_full_after(1000),
        replacing_folder(old_folder) as part,
    ):
        (part / "small").write_text("x")
        (part / "large").write_text("x" * 5000)
    assert names(old_folder) == ["old"]
    assert names(old_folder.parent) == ["bundle"]


def test_an_error_leaves_the_old_folder(old_folder):
    with pytest.raises(ValueError, match="stop"), replacing_folder(old_folder) as part:
        (part / "half").write_text("x")
        raise ValueError("stop")
    assert names(old_folder) == ["old"]
    assert names(old_folder.parent) == ["bundle"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_stop_between_the_two_moves_brings_the_old_folder_back(old_folder, monkeypatch, stop):
    moves = []
    move = Path.replace

    def stopping(self, target):
        moves.append(self)
        if len(moves) == 2:
            raise stop
        return move(self, target)

    monkeypatch.setattr(Path, "replace", stopping)
    with pytest.raises((KeyboardInterrupt, BadInput)), replacing_folder(old_folder) as part:
        (part / "new").write_text("x")
    assert names(old_folder) == ["old"]
    assert names(old_folder.parent) == ["bundle"]


def test_a_missing_file_that_is_read_meanwhile_keeps_its_name(tmp_path, old_folder):
    with pytest.raises(FileNotFoundError, match="elsewhere"), replacing_folder(old_folder):
        Path("/elsewhere/gone").read_text()
    with pytest.raises(FileNotFoundError, match="elsewhere"), replacing(tmp_path / "x"):
        Path("/elsewhere/gone").read_text()


def test_a_folder_below_a_file_is_named(old):
    with pytest.raises(BadInput, match="cannot be written"), replacing_folder(old / "inner"):
        pass


# -- JSON

words = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_json_survives_writing_and_reading(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_json(path, value)
    assert read_json(path) == value


@given(st.dictionaries(words, st.integers(), max_size=5))
def test_the_order_of_keys_does_not_matter(value):
    assert digest(dict(reversed(value.items()))) == digest(value)


@given(values, values)
def test_hashes_are_equal_exactly_where_the_json_is(one, other):
    assert (digest(one) == digest(other)) is (json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_what_json_cannot_say_is_refused_before_anything_is_written(old, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(old, value)
    assert old.read_text() == "old"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,\n "b": }', "line 2: broken JSON"),
        (b"", "line 1: broken JSON"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
    ],
)
def test_broken_json_is_named_with_its_place(old, content, message):
    old.write_bytes(content)
    with pytest.raises(BadInput, match=rf"result\.json: {message}"):
        read_json(old)


def test_missing_json_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"gone\.json: no such file"):
        read_json(tmp_path / "gone.json")


# -- hashes


def test_the_hash_of_a_file_is_the_hash_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_hash_of_a_folder_is_of_names_and_contents_and_nothing_else(tmp_path):
    def filled(name, files):
        for path, text in files:
            place = tmp_path / name / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        return sha256(tmp_path / name)

    hash_ = filled("one", [("a", "1"), ("b/c", "2")])
    assert filled("same", [("b/c", "2"), ("a", "1")]) == hash_
    assert filled("unfinished", [("a", "1"), ("b/c", "2"), (".d.part", "x")]) == hash_
    assert filled("byte", [("a", "1"), ("b/c", "3")]) != hash_
    assert filled("name", [("a", "1"), ("b/d", "2")]) != hash_
    assert filled("moved", [("a", "1"), ("c", "2")]) != hash_
    assert filled("more", [("a", "1"), ("b/c", "2"), ("e", "")]) != hash_
    os.utime(tmp_path / "one" / "a", (0, 0))
    assert sha256(tmp_path / "one") == hash_
