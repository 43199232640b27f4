"""Tests of files: atomic writes, and one hash per content."""

# ruff: noqa: PT012 - what fails must fail inside the with statement that is tested
from __future__ import annotations

import errno
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.errors import BadInput, BundleError
from potstill.files import (
    check_output,
    check_output_folder,
    digest,
    foreign,
    parse_json,
    read_json,
    replacing,
    replacing_folder,
    sha256,
    write_json,
    write_text,
)


@contextmanager
def disk_full_after(size):
    """Prevent files of this process from growing past `size` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores the signal that is sent in this case, so writing fails with an error.
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


# -- atomic writes


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
    with pytest.raises(BadInput, match="taken: is a folder, expected a file"):
        write_text(tmp_path / "taken", "new")
    assert names(tmp_path) == ["taken"]


def test_a_new_file_has_the_mode_that_any_new_file_has(tmp_path):
    (tmp_path / "plain").write_text("x")
    write_text(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_line_ends_are_written_as_they_are(tmp_path):
    write_text(tmp_path / "a", "é\r\nb\n")
    assert (tmp_path / "a").read_bytes() == "é\r\nb\n".encode()


# -- links, modes, and things that are not regular files


def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path, old):
    (tmp_path / "deep").mkdir()
    link = tmp_path / "deep" / "link.json"
    link.symlink_to("../result.json")
    write_text(link, "new")
    assert (link.is_symlink(), old.read_text()) == (True, "new")
    assert names(tmp_path / "deep") == ["link.json"]


def test_a_link_that_leads_nowhere_yet_gets_its_target(tmp_path):
    (tmp_path / "link").symlink_to("target")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_links_in_a_circle_are_refused_and_stay(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(BadInput, match=r"a: cannot be written \(Too many levels of symbolic links\)"):
        write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_the_mode_of_the_old_file_is_kept_from_the_first_byte_on(old, mode):
    old.chmod(mode)
    with replacing(old) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == mode
        temporary.unlink()
        temporary.write_text("another file in the place of the temporary one")
    assert stat.S_IMODE(old.stat().st_mode) == mode


@pytest.mark.skipif(not hasattr(os, "chown") or os.getuid() != 0, reason="only root may give files away")
def test_the_owner_of_the_old_file_is_kept(old):
    os.chown(old, 1234, 2345)
    write_text(old, "new")
    assert (old.stat().st_uid, old.stat().st_gid) == (1234, 2345)


def test_a_write_protected_file_is_refused(old, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(BadInput, match="is write-protected"):
        write_text(old, "new")
    assert old.read_text() == "old"


def test_a_folder_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(BadInput, match="is a folder, expected a file"), replacing(tmp_path):
        pytest.fail("the block was entered")


def test_a_file_that_can_be_written_but_not_replaced_is_written_over(old, monkeypatch):
    def busy(self, target):
        raise OSError(errno.EBUSY, "Device or resource busy", str(self), None, str(target))

    monkeypatch.setattr(Path, "replace", busy)
    write_text(old, "new")
    assert old.read_text() == "new"
    assert names(old.parent) == ["result.json"]


def test_a_name_as_long_as_is_legal_is_written(tmp_path):
    path = tmp_path / ("n" * 251 + ".txt")
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_pipe_is_written_to_and_stays(tmp_path):
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "new")
    reader.join()
    assert got == ["new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert names(tmp_path) == ["pipe.json"]


def test_a_device_that_is_full_is_named_and_stays():
    with pytest.raises(BadInput, match=r"^/dev/full: cannot be written \(No space left on device\)$"):
        write_text(Path("/dev/full"), "new")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_standard_output_by_its_name_goes_on_where_it_stands(tmp_path):
    target = tmp_path / "all.txt"
    target.write_text("before\n")
    (tmp_path / "link").symlink_to("/dev/stdout")
    program = (
        "import sys; from pathlib import Path; from potstill.files import write_text\n"
        "write_text(Path(sys.argv[1]), 'new\\n'); write_text(Path('/dev/fd/1'), 'newer\\n')"
    )
    for name in ("/dev/stdout", str(tmp_path / "link")):
        with target.open("ab") as stream:
            subprocess.run([sys.executable, "-c", program, name], stdout=stream, check=True)
    assert target.read_text() == "before\n" + "new\nnewer\n" * 2


def test_a_link_to_a_folder_stays_and_the_folder_is_replaced(tmp_path, old_folder):
    (tmp_path / "link").symlink_to("bundle")
    with replacing_folder(tmp_path / "link") as part:
        (part / "new").write_text("x")
    assert (tmp_path / "link").is_symlink()
    assert names(old_folder) == ["new"]


def test_the_mode_of_the_old_folder_is_kept(old_folder):
    old_folder.chmod(0o700)
    with replacing_folder(old_folder):
        pass
    assert stat.S_IMODE(old_folder.stat().st_mode) == 0o700


def test_a_file_in_the_place_of_a_folder_is_refused(old):
    with pytest.raises(BadInput, match="is a file, expected a folder"), replacing_folder(old):
        pytest.fail("the block was entered")
    assert old.read_text() == "old"


# -- output paths


def test_a_new_file_an_old_file_and_a_pipe_are_places_for_a_result(tmp_path, old):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "new", old, tmp_path / "pipe", "/dev/stdout", "/dev/null", "-"):
        check_output(place, inputs=[tmp_path / "other", None], folders=[tmp_path / "bundle", None])
    assert names(tmp_path) == ["pipe", "result.json"]


@pytest.mark.parametrize("how", ["name", "longer name", "link", "hard link", "through a folder", "link as the input"])
def test_the_input_itself_is_no_place_for_a_result(tmp_path, old, how):
    (tmp_path / "folder").symlink_to(tmp_path)
    place, source = tmp_path / "other.json", old
    if how == "link":
        place.symlink_to(old)
    elif how == "hard link":
        place.hardlink_to(old)
    elif how == "link as the input":
        place.symlink_to(old)
        place, source = source, place
    else:
        place = {
            "name": old,
            "longer name": tmp_path / "folder" / ".." / tmp_path.name / "result.json",
            "through a folder": tmp_path / "folder" / "result.json",
        }[how]
    with pytest.raises(BadInput, match=r"is also the input .*; choose another output file"):
        check_output(place, inputs=[tmp_path / "first", source])


@pytest.mark.parametrize("redirect", ["standard input", "standard output"])
def test_neither_is_it_where_the_shell_has_opened_it(old, redirect):
    program = "from potstill.files import check_output; import sys; check_output(sys.argv[1], inputs=[sys.argv[2]])"
    arguments = [str(old), "-"] if redirect == "standard input" else ["-", str(old)]
    with old.open("ab+") as stream:
        streams = {"stdin": stream} if redirect == "standard input" else {"stdout": stream}
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, check=False, text=True, **streams
        )
    assert "choose another output file" in done.stderr


def test_a_folder_a_missing_folder_and_a_place_where_nothing_can_be_made_are_refused(tmp_path):
    for place, message in (
        (tmp_path, "is a folder, expected a file"),
        (tmp_path / "gone" / "x", "there is no folder .*gone; create it first"),
        (Path("/proc/x"), "/proc/x: cannot be written"),
    ):
        with pytest.raises(BadInput, match=message):
            check_output(place)


@pytest.mark.parametrize("place", ["bundle/x", "bundle/deep/x", "link/x", "link.json"])
def test_a_folder_that_must_not_change_holds_no_result(tmp_path, old_folder, place):
    (old_folder / "deep").mkdir()
    (tmp_path / "link").symlink_to("bundle")
    (tmp_path / "link.json").symlink_to("bundle/old")
    with pytest.raises(BadInput, match=r"is inside .*, which must not change; choose another output path"):
        check_output(tmp_path / place, folders=[tmp_path / "other", old_folder])


def test_a_folder_for_results_may_be_new_and_may_not_be_one_that_must_not_change(tmp_path, old, old_folder):
    check_output_folder(tmp_path / "new" / "newer", folders=[old_folder])
    for place, message in (
        (old_folder, "is inside .*bundle, which must not change"),
        (old_folder / "new", "is inside .*bundle, which must not change"),
        (old, "is a file"),
        (old / "x", "cannot be created: .*result.json is a file"),
        (Path("/proc/x"), "cannot be written"),
    ):
        with pytest.raises(BadInput, match=message):
            check_output_folder(place, folders=[old_folder])
    assert names(tmp_path) == ["bundle", "result.json"]


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


# -- untrusted input


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[" * 100_000, "more than 64 levels deep"),
        ('{"a":' * 65 + "1" + "}" * 65, "more than 64 levels deep"),
        ("1" + "0" * 5000, "an integer of 5,001 digits"),
        ('{"tokens": -123456789012345678901}', "an integer of 22 digits"),
        ("[1e999]", "too large"),
        ("[Infinity]", "Infinity is not a valid JSON number"),
        ("[-Infinity]", "-Infinity is not a valid JSON number"),
        ("[NaN]", "NaN is not a valid JSON number"),
        (r'{"name": "\ud800"}', "unpaired surrogate"),
        ("{", "line 1: broken JSON"),
        ("\n{,", "line 2: broken JSON"),
    ],
)
def test_json_that_is_broken_or_beyond_the_bounds_is_refused_in_one_line_that_names_the_file(tmp_path, text, fault):
    path = tmp_path / "run.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=fault) as refused:
        read_json(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert len(str(refused.value).splitlines()) == 1
    with pytest.raises(BadInput, match=r"^ledger, row 3: "):
        parse_json(text, "ledger, row 3")


def test_json_within_the_bounds_is_read(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("[" * 64 + r'18446744073709551615, 1e300, "[[[{{{\"", "\ud83d\ude42"' + "]" * 64)
    value = read_json(path)
    for _ in range(63):
        value = value[0]
    assert value == [18446744073709551615, 1e300, '[[[{{{"', "🙂"]


def test_brackets_within_strings_are_no_depth():
    assert parse_json('["' + "[" * 1000 + r"\"" + '"]', "here") == ["[" * 1000 + '"']


def test_nan_is_read_where_it_is_allowed_and_infinity_is_not():
    assert str(parse_json("[NaN]", "here", nan=True)) == "[nan]"
    with pytest.raises(BadInput, match="-Infinity is not a valid JSON number"):
        parse_json("[-Infinity]", "here", nan=True)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=12,
    )
)  # fmt: skip
def test_what_json_writes_is_read_back(value):
    assert parse_json(json.dumps(value), "here") == value


@given(st.text('[]{}"\\:,1 e-', max_size=40))
def test_any_text_is_read_or_refused_as_bad_input(text):
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(BadInput):
            parse_json(text, "here")
    else:
        assert parse_json(text, "here") == expected


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "loop", "nothing"])
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path, kind):
    path = tmp_path / "bundle.json"
    makers = {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "loop": lambda: path.symlink_to(path),
        "nothing": lambda: None,
    }
    makers[kind]()
    with pytest.raises(BadInput, match=rf"^{path}: (is a {kind}, expected a file|cannot be read|no such file)"):
        read_json(path)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "facts.json"
    with path.open("wb") as stream:
        stream.truncate(10**12)
    with pytest.raises(BadInput, match=r"facts\.json: has 1,000,000,000,000 bytes; at most 67,108,864 are allowed"):
        read_json(path)


@pytest.mark.parametrize(
    "fault", [KeyError("weights"), MemoryError(), OSError(5, "Input/output error"), ValueError("a\nb")]
)
def test_any_fault_of_a_foreign_file_is_said_of_that_file_in_one_line(fault):
    with (
        pytest.raises(BundleError, match=r"^student\.json: cannot be used \(\w+: .+\)$"),
        foreign("student.json", BundleError),
    ):
        raise fault


def test_what_potstill_itself_says_of_a_foreign_file_stays():
    with pytest.raises(BadInput, match=r"^another: line 3$"), foreign("student.json", BundleError):
        raise BadInput("another: line 3")


def test_a_byte_order_mark_which_windows_puts_before_a_text_is_skipped(tmp_path):
    path = tmp_path / "prices.json"
    path.write_text('\ufeff{"input": 1}', encoding="utf-8")
    assert read_json(path) == {"input": 1}
