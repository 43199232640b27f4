"""Write files atomically, read them within bounds, and hash them.

A file is first written to a temporary file in the same folder and moved to its path when it is complete, so a crash or
a full disk leaves the old file intact. A link stays a link and its target is replaced; the new file has the mode and
the owner of the old one. Paths that are not files, such as a pipe or a terminal, are written to directly.
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
"""The name of standard input and standard output."""

_DESCRIPTOR = re.compile(r"/dev/(stdin|stdout|stderr)|(?:/dev|/proc/self)/fd/(\d+)")
"""Paths of file descriptors that this process already has open."""

_NAME_BYTES = 200
"""How many bytes of a file's name its temporary file's name contains; the limit for a name is 255 bytes."""

MOST_BYTES = 64 * 2**20
"""Maximum size, in bytes, of a file that is read whole, unless the reader sets another limit."""

DEEPEST = 64
"""Maximum nesting depth of lists and objects in a JSON file."""

MOST_DIGITS = 20
"""Maximum number of digits of an integer in a JSON file; 64-bit integers have at most this many."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on success it replaces `path`, on failure it is deleted.

    If `path` is a link, its target is replaced and the link is kept. The mode is preserved, and so is the owner where
    permitted. Output for a pipe or a device is collected first and written when it is complete.

    Raises:
        BadInput: the path is a folder or is write-protected, the disk is full or the folder is not writable; `path` is
            unchanged.
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
            # Files of mkstemp are private, but a new file should have the default mode.
            _set_mode(temporary, before, 0o666)
            yield temporary
            # The caller may have replaced the temporary file by another file.
            _set_mode(temporary, before, 0o666)
            _flush(temporary)
            _move(temporary, target)
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Do the same as `replacing` for a whole folder; the old content is removed only once the new one is complete."""
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
    """Reject an invalid output path before any work is done.

    Args:
        path: the path of the result; `-` is standard output.
        inputs: files that are read, `-` for standard input; the path may not refer to any of them, under any name or
            link.
        folders: folders that must not change, such as a bundle; the path may not be inside any of them.

    Raises:
        BadInput: the path is one of `inputs` or inside one of `folders`, is a folder or is write-protected, or its
            folder does not exist or is not writable.
    """
    named = "standard output" if str(path) == STANDARD else str(path)
    for source in inputs:
        if source is not None and _same_file(path, source):
            shown = "standard input" if str(source) == STANDARD else str(source)
            raise BadInput(f"{named}: is also the input {shown}; choose another output file")
    if str(path) == STANDARD or is_stream(Path(path)):
        return
    path = Path(path)
    target = _end_of_link(path)
    with _write_errors(path, target.parent):
        _replaceable(path)
        if not target.parent.is_dir():
            raise BadInput(f"{path}: there is no folder {target.parent}; create it first")
        _try_to_write(target.parent)
    _refuse_inside(path, target.parent, folders)


def check_output_folder(path: Path, *, folders: Iterable[str | Path | None] = ()) -> None:
    """Reject an invalid output folder, as `check_output` does for a file; the folder need not exist yet.

    Raises:
        BadInput: the path is a file, is one of `folders` or inside one, or cannot be created or written to.
    """
    there = next((place for place in (path, *path.parents) if place.exists()), path)
    if not there.is_dir():
        raise BadInput(f"{path}: cannot be created: {there} is a file")
    with _write_errors(path, there):
        _try_to_write(there)
    _refuse_inside(path, path, folders)


def check_ledger(
    path: Path, *, inputs: Iterable[str | Path | None] = (), folders: Iterable[str | Path | None] = ()
) -> None:
    """Reject an invalid path of a file that is written in place; its folder need not exist yet.

    Raises:
        BadInput: as in `check_output` and `check_output_folder`.
    """
    check_output_folder(path.parent, folders=folders)
    if path.parent.is_dir():
        check_output(path, inputs=inputs, folders=folders)


def is_stream(path: Path) -> bool:
    """Return whether a path is neither a file nor a folder but a pipe, a device or an open file descriptor."""
    if _descriptor(path) is not None:
        return True
    status = _status(path)
    return status is not None and not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode)


def refuse_stream(path: Path) -> None:
    """Reject an input that can be read only once if it must be read several times, instead of blocking forever.

    Raises:
        BadInput: the path is a pipe or a device.
    """
    if is_stream(path):
        raise BadInput(f"{path}: is a pipe or a device, but this input is read more than once; save it to a file first")


class Sink:
    """A binary writer for a pipe or a device, without a buffer: `write` returns after the data is passed on."""

    def __init__(self, name: str, stream: IO[bytes]) -> None:
        self._name = name
        self._stream = stream

    def write(self, data: bytes) -> int:
        """Write bytes and return their number.

        Raises:
            BadInput: the target accepts no more data, for example because the disk behind standard output is full.
            BrokenPipeError: the reader has stopped.
        """
        with self._errors():
            self._stream.write(data)
            self._stream.flush()
        return len(data)

    def flush(self) -> None:
        """Do nothing, because nothing is buffered."""

    def close(self) -> None:
        """Close the stream; later writes fail."""
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
    """Open a path for writing for which `is_stream` is True.

    Raises:
        BadInput: the path cannot be opened or accepts no more data.
        BrokenPipeError: the reader has stopped.
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
        # After a failed write, closing tries to write the buffered data again and fails again.
        with suppress(OSError):
            stream.close()


@contextmanager
def standard_output() -> Iterator[Sink]:
    """Open standard output as a binary stream.

    Raises:
        BadInput: it is closed or accepts no more data.
        BrokenPipeError: the reader has stopped.
    """
    if sys.stdout is None:
        raise BadInput("standard output: is closed")
    try:
        yield Sink("standard output", sys.stdout.buffer)
    except BadInput:
        forget_standard_output()
        raise


def forget_standard_output() -> None:
    """Discard what Python still buffers for standard output, so that it is not written again at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def temporary_prefix(path: Path) -> str:
    """Return the prefix of the temporary files of `path`; they are in the same folder and end in `.part`."""
    return "." + os.fsdecode(os.fsencode(path.name)[:_NAME_BYTES]) + "."


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write `value` as canonical JSON, atomically."""
    write_text(path, canonical(value))


def check_file(path: Path, *, most: int | None = None) -> None:
    """Check that a path is a regular file; a pipe or a device may never end.

    Raises:
        BadInput: the file is missing, is not a regular file, or is larger than `most` bytes.
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
        raise BadInput(f"{path}: has {found.st_size:,} bytes; at most {most:,} are allowed")


def read_bytes(path: Path, *, most: int = MOST_BYTES) -> bytes:
    """Read a whole file of at most `most` bytes.

    Raises:
        BadInput: as in `check_file`, or the file cannot be read.
    """
    check_file(path, most=most)
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None


def read_text(path: Path, *, most: int = MOST_BYTES) -> str:
    """Read a whole UTF-8 file of at most `most` bytes; a byte order mark at its start is skipped.

    Raises:
        BadInput: as in `read_bytes`, or the file is not UTF-8.
    """
    try:
        return read_bytes(path, most=most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 at byte {error.start}") from None


def read_json(path: Path, *, most: int = MOST_BYTES, nan: bool = False) -> Any:  # noqa: ANN401 - any JSON value
    """Read a JSON file.

    Args:
        path: the file.
        most: maximum size in bytes.
        nan: whether NaN is accepted, which other programs write for missing values.

    Raises:
        BadInput: the file is missing, invalid or exceeds the limits of `parse_json`; the message names the file and the
            position in it.
    """
    text = read_text(path, most=most)
    try:
        return _parsed(text, nan=nan)
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}: line {error.lineno}: broken JSON ({error.msg})") from None
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from None


def read_object(path: Path, *, most: int = MOST_BYTES) -> dict[str, Any]:
    """Read a JSON file that contains an object.

    Raises:
        BadInput: as in `read_json`, or the file contains another type; the message names the file.
    """
    content = read_json(path, most=most)
    if not isinstance(content, dict):
        raise BadInput(f"{path}: contains {_JSON_KINDS[type(content)]}, expected an object")
    return content


_JSON_KINDS = {
    list: "a list", str: "a string", int: "a number", float: "a number", bool: "true or false", type(None): "null"
}  # fmt: skip


def parse_json(text: str, where: str, *, nan: bool = False) -> Any:  # noqa: ANN401 - any JSON value
    """Parse untrusted JSON with at most `DEEPEST` levels of nesting and integers of at most `MOST_DIGITS` digits.

    Args:
        text: the JSON.
        where: the source for messages, such as a file and a line.
        nan: whether NaN is accepted.

    Raises:
        BadInput: the text is invalid or exceeds these limits, or contains an infinite number or an unpaired surrogate.
    """
    try:
        return _parsed(text, nan=nan)
    except json.JSONDecodeError as error:
        raise BadInput(f"{where}: broken JSON ({error.msg})") from None
    except ValueError as error:
        raise BadInput(f"{where}: {error}") from None


@contextmanager
def foreign(path: Path | str, error: type[PotstillError] = BadInput) -> Iterator[None]:
    """Attribute any error inside the block to a file that another program may have written.

    Libraries raise many kinds of errors for an invalid file, and files from elsewhere can be invalid in any way.
    Libraries written in Rust also panic, and Python does not derive panics from `Exception`.

    Args:
        path: the file, for the message.
        error: the class of the error to raise.

    Raises:
        PotstillError: an `error` that names the file and the fault in one line. A PotstillError raised inside the block
            is passed on unchanged.
    """
    try:
        yield
    except PotstillError:
        raise
    except BaseException as fault:
        if not isinstance(fault, Exception) and type(fault).__name__ != "PanicException":
            raise
        reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
        message = (reason.strip() or "no reason given").splitlines()[0]
        raise error(f"{path}: cannot be used ({type(fault).__name__}: {message})") from fault


def writable(folder: Path) -> bool:
    """Return whether files can be created in a folder, or in its nearest existing parent."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)


def read_database(path: Path) -> sqlite3.Connection:
    """Open an SQLite file for reading only, even in a folder that is not writable.

    Reading a database with a write-ahead log creates files next to it. If none can be created, the database file is
    read as it is, or, if the log is not empty, from a copy in memory.

    Raises:
        BadInput: the file cannot be read.
        sqlite3.DatabaseError: the file is not a database.
    """
    import sqlite3

    try:
        check_file(path)
        with path.open("rb"):
            pass
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    # The path is passed as a URI with its special characters escaped, because a folder's name may contain any of them.
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


def canonical(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return JSON in a unique form per value: sorted keys, two-space indent, no NaN, a newline at the end."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def digest(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return the SHA-256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def sha256(path: Path, *, leave_out: Collection[str] = ()) -> str:
    """Return the SHA-256, in hex, of a file, or of a folder's sorted relative paths with their hashes.

    Files of a folder whose name is in `leave_out` are ignored.

    Raises:
        BadInput: as in `check_file`, if the path is not a folder.
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
"""Matches brackets, and whole strings, in which brackets have no meaning."""

_HALF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


def _parsed(text: str, *, nan: bool) -> Any:  # noqa: ANN401 - any JSON value
    """Parse a JSON text.

    Raises:
        ValueError: the text is invalid or exceeds the limits; a JSONDecodeError contains the position.
    """
    _check_depth(text)
    value = json.loads(
        text, parse_int=_integer, parse_float=_finite, parse_constant=_not_a_number if nan else _no_number
    )
    if _HALF_A_PAIR.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("contains an unpaired surrogate") from None
    return value


def _check_depth(text: str) -> None:
    # Most files have fewer brackets in total, and counting them is fast.
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    depth = 0
    for mark in _MARKS.finditer(text):
        sign = mark.group()
        if sign in "[{":
            depth += 1
            if depth > DEEPEST:
                raise ValueError(f"lists and objects nested more than {DEEPEST} levels deep")
        elif sign in "]}":
            depth -= 1


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MOST_DIGITS:
        raise ValueError(f"an integer of {len(digits):,} digits; at most {MOST_DIGITS} are allowed")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number that is too large")
    return number


def _not_a_number(name: str) -> float:
    return math.nan if name == "NaN" else float(_no_number(name))


def _no_number(name: str) -> str:
    raise ValueError(f"{name} is not a valid JSON number")


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")


def _try_to_write(folder: Path) -> None:
    """Create a file in a folder and delete it; permission bits ignore read-only disks and do not limit root."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=".potstill-", suffix=".part")
    os.close(handle)
    Path(name).unlink()


def _refuse_inside(path: Path, place: Path, folders: Iterable[str | Path | None]) -> None:
    real = Path(os.path.realpath(place))
    for folder in folders:
        if folder is not None and real.is_relative_to(os.path.realpath(folder)):
            raise BadInput(f"{path}: is inside {folder}, which must not change; choose another output path")


@contextmanager
def _write_errors(path: Path, parent: Path, *, below: bool = False) -> Iterator[None]:
    """Convert errors of writing in `parent` (with `below`, also in its folders) to a message about `path`.

    Errors of other files that are read or written meanwhile keep their own name.
    """
    try:
        yield
    except OSError as error:
        name = None if error.filename is None else Path(os.fsdecode(error.filename))
        own = name is None or name.parent in {parent, path.parent} or (below and name.is_relative_to(parent))
        if error.errno is None or (not own and parent.is_dir()):
            raise
        raise BadInput(f"{path}: cannot be written ({error.strerror}); existing content is unchanged") from error


def _status(path: Path) -> os.stat_result | None:
    """Return the status of a path, following links; None if it does not exist or cannot be queried."""
    try:
        return path.stat()
    except (OSError, ValueError):
        return None


def _replaceable(path: Path) -> os.stat_result | None:
    """Return the status of the file to be replaced; None if it does not exist.

    Raises:
        BadInput: the path is a folder or is write-protected.
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
    """Return the target of a link, even if it does not exist yet; any other path is returned unchanged."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else path  # noqa: PTH114 - raises no errors


def _same_file(path: str | Path, other: str | Path) -> bool:
    """Return whether two names refer to the same file, existing or not; pipes and devices do not count as files."""
    first, second = _opened_status(path, sys.stdout), _opened_status(other, sys.stdin)
    if first is None and second is None:
        return STANDARD not in {str(path), str(other)} and os.path.realpath(path) == os.path.realpath(other)
    if first is None or second is None or not stat.S_ISREG(first.st_mode):
        return False
    return os.path.samestat(first, second)


def _opened_status(path: str | Path, standard: IO[str] | None) -> os.stat_result | None:
    """Return the status of a path, or of `standard` if the path is `-`."""
    if str(path) != STANDARD:
        return _status(Path(path))
    try:
        return None if standard is None else os.fstat(standard.fileno())
    except (OSError, ValueError):
        return None


def _descriptor(path: Path) -> int | None:
    """Return the file descriptor behind a name such as /dev/stdout or /dev/fd/3; None for other paths."""
    for _ in range(8):
        found = _DESCRIPTOR.fullmatch(str(path))
        if found is not None:
            return int(found[2]) if found[2] else ("stdin", "stdout", "stderr").index(found[1])
        if not os.path.islink(path):  # noqa: PTH114 - as above
            return None
        path = path.parent / path.readlink()
    return None


def _set_mode(path: Path, before: os.stat_result | None, new: int) -> None:
    """Set the mode and owner of the previous file, or `new`, restricted by the umask, if there was none."""
    if before is None:
        path.chmod(new & ~_umask())
        return
    if hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(path, before.st_uid, before.st_gid)
    path.chmod(stat.S_IMODE(before.st_mode))


def _move(temporary: Path, target: Path) -> None:
    """Move a complete file to its target.

    Some files can be written but not replaced: a file that is mounted individually, as in containers, or another user's
    file in a folder like /tmp. Such a file is overwritten in place.
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
