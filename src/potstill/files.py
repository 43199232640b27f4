"""Files that are whole or absent, and what they hash to.

A file is written beside its place and moved there when it is complete, so that a kill or a full disk leaves
the old one intact. A link stays a link and its target is replaced; the new file has the mode and the owner of the
old one. What is no file, such as a pipe or a terminal, is written to.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import math
import os
import re
import shutil
import stat
import sys
import tempfile
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from potstill.errors import BadInput, PotstillError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Iterator

STANDARD = "-"
"""The name of standard input, and of standard output."""

_DESCRIPTOR = re.compile(r"/dev/(stdin|stdout|stderr)|(?:/dev|/proc/self)/fd/(\d+)")
"""Names of what this process has open already."""

_NAME_BYTES = 200
"""How much of a file's name is in that of its temporary file: names of more than 255 bytes are not legal."""

MOST_BYTES = 64 * 2**20
"""Bytes of a file that is read whole, unless its reader says otherwise."""

DEEPEST = 64
"""Lists and objects inside each other in a JSON file."""

MOST_DIGITS = 20
"""Digits of an integer in a JSON file: as many as 64 bits can hold."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes its place, on any failure it goes.

    What lies at the end of a link is replaced, and the link stays. The mode stays what it was, and the owner where
    that is allowed. What a pipe or a device is to get is gathered first and written when it is complete.

    Raises:
        BadInput: the place is a folder or is write-protected, the disk is full or the folder cannot be written;
            `path` is as it was.
    """
    if is_stream(path):
        with tempfile.TemporaryDirectory(prefix="potstill-") as folder:
            whole = Path(folder) / (path.name or "result")
            yield whole
            with whole.open("rb") as source, open_stream(path) as sink:
                shutil.copyfileobj(source, sink)
        return
    target = _end_of_link(path)
    temporary: Path | None = None
    with _write_errors(path, target.parent):
        try:
            before = _replaceable(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=temporary_prefix(target), suffix=".part")
            os.close(handle)
            temporary = Path(name)
            # mkstemp's files are private; a new file has the mode any new file would.
            _set_mode(temporary, before, 0o666)
            yield temporary
            # Whoever wrote may have put another file into its place.
            _set_mode(temporary, before, 0o666)
            _flush(temporary)
            _move(temporary, target)
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As `replacing`, for a whole folder: what was there is only removed once the new one is complete."""
    target = _end_of_link(path)
    temporary: Path | None = None
    old: Path | None = None
    with _write_errors(path, target.parent, below=True):
        try:
            before = _status(path)
            if before is not None and not stat.S_ISDIR(before.st_mode):
                raise BadInput(f"{path}: is a file, expected a folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=temporary_prefix(target), suffix=".part"))
            old = temporary.with_suffix(".old")
            _set_mode(temporary, before, 0o777)
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _flush(file)
            if target.exists():
                target.replace(old)
            temporary.replace(target)
        finally:
            if old is not None and old.exists() and not target.exists():
                old.replace(target)
            for left in (temporary, old):
                if left is not None:
                    shutil.rmtree(left, ignore_errors=True)


def check_output(
    path: str | Path, *, inputs: Iterable[str | Path | None] = (), folders: Iterable[str | Path | None] = ()
) -> None:
    """Refuse a place for a result while nothing has been done for it yet.

    Args:
        path: where the result is to go; `-` is standard output.
        inputs: files that are read, `-` for standard input. The place may be none of them, by whatever name or link.
        folders: what must not change, such as a bundle. The place may not be in one of them.

    Raises:
        BadInput: the place is one of `inputs` or in one of `folders`, is a folder or is write-protected, or its
            folder is not there or cannot be written.
    """
    named = "standard output" if str(path) == STANDARD else str(path)
    for source in inputs:
        if source is not None and _same_file(path, source):
            shown = "standard input" if str(source) == STANDARD else str(source)
            raise BadInput(f"{named}: is the input {shown} itself; name another file for the result")
    if str(path) == STANDARD or is_stream(Path(path)):
        return
    path = Path(path)
    target = _end_of_link(path)
    with _write_errors(path, target.parent):
        _replaceable(path)
        if not target.parent.is_dir():
            raise BadInput(f"{path}: there is no folder {target.parent}; make it first")
        _try_to_write(target.parent)
    _refuse_inside(path, target.parent, folders)


def check_output_folder(path: Path, *, folders: Iterable[str | Path | None] = ()) -> None:
    """As `check_output`, for results that go into a folder, which may not be there yet.

    Raises:
        BadInput: it is a file, is one of `folders` or in one, or cannot be made or written in.
    """
    there = next((place for place in (path, *path.parents) if place.exists()), path)
    if not there.is_dir():
        raise BadInput(f"{path}: cannot be made: {there} is a file")
    with _write_errors(path, there):
        _try_to_write(there)
    _refuse_inside(path, path, folders)


def check_ledger(
    path: Path, *, inputs: Iterable[str | Path | None] = (), folders: Iterable[str | Path | None] = ()
) -> None:
    """As `check_output`, for a file that is written in place, whose folder may not be there yet.

    Raises:
        BadInput: as `check_output` and `check_output_folder`.
    """
    check_output_folder(path.parent, folders=folders)
    if path.parent.is_dir():
        check_output(path, inputs=inputs, folders=folders)


def is_stream(path: Path) -> bool:
    """Whether a path is no file and no folder but a pipe, a device, or what this process has open already."""
    if _descriptor(path) is not None:
        return True
    status = _status(path)
    return status is not None and not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode)


def refuse_stream(path: Path) -> None:
    """Refuse what can be read only once where it is read more than once, so that nobody waits for it for ever.

    Raises:
        BadInput: it is a pipe or a device.
    """
    if is_stream(path):
        raise BadInput(f"{path}: is a pipe or a device, and this is read more than once; make it a file first")


class Sink:
    """Takes bytes for a pipe or a device; what it has taken is on its way when `write` returns."""

    def __init__(self, name: str, stream: IO[bytes]) -> None:
        self._name = name
        self._stream = stream

    def write(self, data: bytes) -> int:
        """Pass bytes on; how many there were.

        Raises:
            BadInput: it takes no more, as a full disk behind standard output does.
            BrokenPipeError: whoever read it has stopped.
        """
        with self._errors():
            self._stream.write(data)
            self._stream.flush()
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Close it; nothing can be written after that."""
        with self._errors():
            self._stream.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise BadInput(f"{self._name}: cannot be written ({error.strerror})") from error


@contextmanager
def open_stream(path: Path) -> Iterator[Sink]:
    """Open for writing what `is_stream` is true of.

    Raises:
        BadInput: it cannot be opened or takes no more.
        BrokenPipeError: whoever read it has stopped.
    """
    number = _descriptor(path)
    try:
        stream: IO[bytes] = path.open("wb") if number is None else os.fdopen(os.dup(number), "wb")
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror})") from error
    sink = Sink(str(path), stream)
    try:
        yield sink
        sink.close()
    finally:
        # Where writing failed, closing tries again what is still held, and fails again.
        with suppress(OSError):
            stream.close()


@contextmanager
def standard_output() -> Iterator[Sink]:
    """Standard output, as bytes.

    Raises:
        BadInput: it is closed, or takes no more.
        BrokenPipeError: whoever read it has stopped.
    """
    if sys.stdout is None:
        raise BadInput("standard output: is closed")
    try:
        yield Sink("standard output", sys.stdout.buffer)
    except BadInput:
        forget_standard_output()
        raise


def forget_standard_output() -> None:
    """Let what Python still holds for standard output go nowhere, so that it is not tried again at the end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def temporary_prefix(path: Path) -> str:
    """How the names of the temporary files of `path` begin; they lie beside it and end in `.part`."""
    return "." + os.fsdecode(os.fsencode(path.name)[:_NAME_BYTES]) + "."


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file or leave the old one."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - anything JSON can hold
    """Write `value` as canonical JSON, whole or not at all."""
    write_text(path, canonical(value))


def check_file(path: Path, *, most: int | None = None) -> None:
    """See that a path is a file: a pipe or a device may never end.

    Raises:
        BadInput: it is missing, is no file, or has more than `most` bytes.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(found.st_mode):
        raise BadInput(f"{path}: is {_kind(found.st_mode)}, expected a file")
    if most is not None and found.st_size > most:
        raise BadInput(f"{path}: has {found.st_size:,} bytes; at most {most:,} are read")


def read_bytes(path: Path, *, most: int = MOST_BYTES) -> bytes:
    """Read a whole file.

    Raises:
        BadInput: as `check_file`, or it cannot be read.
    """
    check_file(path, most=most)
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None


def read_text(path: Path, *, most: int = MOST_BYTES) -> str:
    """Read a whole UTF-8 file; a byte order mark at its start is skipped.

    Raises:
        BadInput: as `read_bytes`, or it is not UTF-8.
    """
    try:
        return read_bytes(path, most=most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 at byte {error.start}") from None


def read_json(path: Path, *, most: int = MOST_BYTES, nan: bool = False) -> Any:  # noqa: ANN401 - anything JSON can hold
    """Read one JSON file.

    Args:
        path: the file.
        most: bytes that it may have.
        nan: whether it may hold NaN, which other programs write for what is missing.

    Raises:
        BadInput: it is missing, broken or beyond the bounds of `parse_json`; the message names the file and the place
            in it.
    """
    text = read_text(path, most=most)
    try:
        return _parsed(text, nan=nan)
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}: line {error.lineno}: broken JSON ({error.msg})") from None
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from None


def read_object(path: Path, *, most: int = MOST_BYTES) -> dict[str, Any]:
    """Read one JSON file that holds an object.

    Raises:
        BadInput: as `read_json`, or it holds something else; the message names the file.
    """
    content = read_json(path, most=most)
    if not isinstance(content, dict):
        raise BadInput(f"{path}: holds {_JSON_KINDS[type(content)]}, expected an object")
    return content


_JSON_KINDS = {
    list: "a list", str: "a text", int: "a number", float: "a number", bool: "true or false", type(None): "null"
}  # fmt: skip


def parse_json(text: str, where: str, *, nan: bool = False) -> Any:  # noqa: ANN401 - anything JSON can hold
    """The value of a JSON text that may come from anywhere; at most `DEEPEST` levels, integers of `MOST_DIGITS`.

    Args:
        text: the JSON.
        where: names it in errors, such as a file and a line.
        nan: whether it may hold NaN.

    Raises:
        BadInput: it is broken or beyond these bounds, or holds an infinite number or half of a surrogate pair.
    """
    try:
        return _parsed(text, nan=nan)
    except json.JSONDecodeError as error:
        raise BadInput(f"{where}: broken JSON ({error.msg})") from None
    except ValueError as error:
        raise BadInput(f"{where}: {error}") from None


@contextmanager
def foreign(path: Path | str, error: type[PotstillError] = BadInput) -> Iterator[None]:
    """Do inside this what reads or uses a file that somebody else may have made: any fault is said of that file.

    Libraries raise errors of many kinds for a broken file, and a file from elsewhere can be broken in every way. Those
    written in Rust also panic, which Python does not count among its exceptions.

    Args:
        path: names the file.
        error: what is raised.

    Raises:
        PotstillError: an `error` with the file and what was wrong, in one line. One that was raised inside stays as
            it is.
    """
    try:
        yield
    except PotstillError:
        raise
    except BaseException as fault:
        if not isinstance(fault, Exception) and type(fault).__name__ != "PanicException":
            raise
        reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
        said = (reason.strip() or "no reason given").splitlines()[0]
        raise error(f"{path}: cannot be used ({type(fault).__name__}: {said})") from fault


def writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or in the nearest one above it that is there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)


def read_database(path: Path) -> sqlite3.Connection:
    """Open an SQLite file that is only read; in a folder that cannot be written too.

    Reading a database with a write-ahead log makes files beside it. Where none can be made, it is read as it lies
    there, or, where the log holds something, from a copy in memory.

    Raises:
        BadInput: the file cannot be read.
        sqlite3.DatabaseError: it is no database.
    """
    import sqlite3

    try:
        check_file(path)
        with path.open("rb"):
            pass
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    # As a URI with its special characters escaped, because a folder's name may hold any of them.
    uri = path.absolute().as_uri()
    connect = functools.partial(sqlite3.connect, isolation_level=None, check_same_thread=False, timeout=30)
    if writable(path.parent):
        return connect(f"{uri}?mode=ro", uri=True)
    log = path.with_name(f"{path.name}-wal")
    if not log.exists() or not log.stat().st_size:
        return connect(f"{uri}?mode=ro&immutable=1", uri=True)
    with tempfile.TemporaryDirectory(prefix="potstill-ledger-") as name:
        copy = Path(name) / path.name
        for one in (path, log):
            shutil.copyfile(one, copy.with_name(one.name))
        memory = connect(":memory:")
        with closing(sqlite3.connect(copy)) as source:
            source.backup(memory)
        return memory


def canonical(value: Any) -> str:  # noqa: ANN401 - anything JSON can hold
    """JSON with one spelling per value: sorted keys, two-space indent, no NaN, a newline at the end."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def digest(value: Any) -> str:  # noqa: ANN401 - anything JSON can hold
    """SHA-256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def sha256(path: Path, *, leave_out: Collection[str] = ()) -> str:
    """SHA-256 of a file, or of a folder's sorted relative paths and their hashes, in hex.

    Files of a folder that have one of the names in `leave_out` are left out.

    Raises:
        BadInput: as `check_file`, where it is no folder.
    """
    if path.is_dir():
        files = sorted(
            p for p in path.rglob("*") if p.is_file() and not p.name.endswith(".part") and p.name not in leave_out
        )
        return digest({p.relative_to(path).as_posix(): sha256(p) for p in files})
    check_file(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


_MARKS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
"""Strings, in which brackets mean nothing, and brackets."""

_HALF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


def _parsed(text: str, *, nan: bool) -> Any:  # noqa: ANN401 - anything JSON can hold
    """The value of a JSON text.

    Raises:
        ValueError: it is broken or beyond the bounds; a JSONDecodeError names the place.
    """
    _check_depth(text)
    value = json.loads(
        text, parse_int=_integer, parse_float=_finite, parse_constant=_not_a_number if nan else _no_number
    )
    if _HALF_A_PAIR.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("holds half of a surrogate pair, which is no text") from None
    return value


def _check_depth(text: str) -> None:
    # Most files have fewer brackets in all, and counting them is quick.
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    depth = 0
    for mark in _MARKS.finditer(text):
        sign = mark.group()
        if sign in "[{":
            depth += 1
            if depth > DEEPEST:
                raise ValueError(f"lists and objects inside each other, more than {DEEPEST} deep")
        elif sign in "]}":
            depth -= 1


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MOST_DIGITS:
        raise ValueError(f"an integer of {len(digits):,} digits; at most {MOST_DIGITS} are read")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number that is too large")
    return number


def _not_a_number(name: str) -> float:
    return math.nan if name == "NaN" else float(_no_number(name))


def _no_number(name: str) -> str:
    raise ValueError(f"{name} is not a number that JSON has")


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")


def _try_to_write(folder: Path) -> None:
    """Make a file in a folder and remove it; asking for permission says little of a read-only disk, or to root."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=".potstill-", suffix=".part")
    os.close(handle)
    Path(name).unlink()


def _refuse_inside(path: Path, place: Path, folders: Iterable[str | Path | None]) -> None:
    real = Path(os.path.realpath(place))
    for folder in folders:
        if folder is not None and real.is_relative_to(os.path.realpath(folder)):
            raise BadInput(f"{path}: is in {folder}, which must not change; name another place for the result")


@contextmanager
def _write_errors(path: Path, parent: Path, *, below: bool = False) -> Iterator[None]:
    """Turn what goes wrong with writing in `parent` into a line about `path`; `below` says whether in its folders too.

    An error of something else that was read or written meanwhile keeps its own name.
    """
    try:
        yield
    except OSError as error:
        name = None if error.filename is None else Path(os.fsdecode(error.filename))
        own = name is None or name.parent in {parent, path.parent} or (below and name.is_relative_to(parent))
        if error.errno is None or (not own and parent.is_dir()):
            raise
        raise BadInput(f"{path}: cannot be written ({error.strerror}); what was there is unchanged") from error


def _status(path: Path) -> os.stat_result | None:
    """What a path is, at the end of its links; None where nothing is there or it cannot be asked."""
    try:
        return path.stat()
    except (OSError, ValueError):
        return None


def _replaceable(path: Path) -> os.stat_result | None:
    """The status of the file that is to be replaced; None where there is none.

    Raises:
        BadInput: it is a folder, or write-protected.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise BadInput(f"{path}: is a folder, expected a file")
    if not os.access(path, os.W_OK):
        raise BadInput(f"{path}: is write-protected")
    return status


def _end_of_link(path: Path) -> Path:
    """Where a link leads, or will lead once something is there; any other path as it is."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else path  # noqa: PTH114 - raises nothing


def _same_file(path: str | Path, other: str | Path) -> bool:
    """Whether two names are of one file, or will be once it is there; pipes and devices are no files."""
    first, second = _opened_status(path, sys.stdout), _opened_status(other, sys.stdin)
    if first is None and second is None:
        return STANDARD not in {str(path), str(other)} and os.path.realpath(path) == os.path.realpath(other)
    if first is None or second is None or not stat.S_ISREG(first.st_mode):
        return False
    return os.path.samestat(first, second)


def _opened_status(path: str | Path, standard: IO[str] | None) -> os.stat_result | None:
    """The status of a path, or of `standard` where the path is `-`."""
    if str(path) != STANDARD:
        return _status(Path(path))
    try:
        return None if standard is None else os.fstat(standard.fileno())
    except (OSError, ValueError):
        return None


def _descriptor(path: Path) -> int | None:
    """The number of what this process has open already, by a name such as /dev/stdout or /dev/fd/3."""
    for _ in range(8):
        found = _DESCRIPTOR.fullmatch(str(path))
        if found is not None:
            return int(found[2]) if found[2] else ("stdin", "stdout", "stderr").index(found[1])
        if not os.path.islink(path):  # noqa: PTH114 - as above
            return None
        path = path.parent / path.readlink()
    return None


def _set_mode(path: Path, before: os.stat_result | None, new: int) -> None:
    """Give the mode and the owner of what was there, else `new` as far as this process gives such rights."""
    if before is None:
        path.chmod(new & ~_umask())
        return
    if hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(path, before.st_uid, before.st_gid)
    path.chmod(stat.S_IMODE(before.st_mode))


def _move(temporary: Path, target: Path) -> None:
    """Let a complete file take its place.

    Some places hold a file that can be written but not replaced: a file that is mounted alone, as containers have
    them, or another user's in a folder like /tmp. It is written over then.
    """
    try:
        temporary.replace(target)
    except OSError as error:
        if error.errno not in {errno.EBUSY, errno.EPERM, errno.EACCES} or not target.is_file():
            raise
        shutil.copyfile(temporary, target)


def _flush(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
