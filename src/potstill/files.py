"""Files that are whole or absent, and what they hash to.

A file is written beside its place and moved there when it is complete, so that a kill or a full disk leaves
the old one intact.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.errors import BadInput, PotstillError

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 64 * 2**20
"""Bytes of a file that is read whole, unless its reader says otherwise."""

DEEPEST = 64
"""Lists and objects inside each other in a JSON file."""

MOST_DIGITS = 20
"""Digits of an integer in a JSON file: as many as 64 bits can hold."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes its place, on any failure it goes.

    Raises:
        BadInput: the disk is full or the folder cannot be written; `path` is as it was.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        # mkstemp's files are private; a result has the mode any new file would.
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except OSError as error:
        # An error of something else that was read or written meanwhile keeps its own name.
        foreign = error.filename is not None and Path(os.fsdecode(error.filename)).parent != path.parent
        if error.errno is None or (foreign and path.parent.is_dir()):
            raise
        raise BadInput(f"{path}: cannot be written ({error.strerror}); what was there is unchanged") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As `replacing`, for a whole folder: what was there is only removed once the new one is complete."""
    temporary: Path | None = None
    old: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
        old = temporary.with_suffix(".old")
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
        if path.exists():
            path.replace(old)
        temporary.replace(path)
    except OSError as error:
        # An error of something else that was read or written meanwhile keeps its own name.
        name = None if error.filename is None else Path(os.fsdecode(error.filename))
        foreign = name is not None and not name.is_relative_to(path.parent)
        if error.errno is None or (foreign and path.parent.is_dir()):
            raise
        raise BadInput(f"{path}: cannot be written ({error.strerror}); what was there is unchanged") from error
    finally:
        if old is not None and old.exists() and not path.exists():
            old.replace(path)
        for left in (temporary, old):
            if left is not None:
                shutil.rmtree(left, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file or leave the old one."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - anything JSON can hold
    """Write `value` as canonical JSON, whole or not at all."""
    write_text(path, canonical(value))


def read_bytes(path: Path, *, most: int = MOST_BYTES) -> bytes:
    """Read a whole file; what is no file, such as a pipe that would never end, is not opened.

    Raises:
        BadInput: it is missing, is no file, has more than `most` bytes or cannot be read.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise BadInput(f"{path}: is {_kind(found.st_mode)}, expected a file")
        if found.st_size > most:
            raise BadInput(f"{path}: has {found.st_size:,} bytes; at most {most:,} are read")
        return path.read_bytes()
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None


def read_text(path: Path, *, most: int = MOST_BYTES) -> str:
    """Read a whole UTF-8 file.

    Raises:
        BadInput: as `read_bytes`, or it is not UTF-8.
    """
    try:
        return read_bytes(path, most=most).decode("utf-8")
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

    Libraries raise errors of many kinds for a broken file, and a file from elsewhere can be broken in every way.

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
    except Exception as fault:
        reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
        said = (reason.strip() or "no reason given").splitlines()[0]
        raise error(f"{path}: cannot be used ({type(fault).__name__}: {said})") from fault


def canonical(value: Any) -> str:  # noqa: ANN401 - anything JSON can hold
    """JSON with one spelling per value: sorted keys, two-space indent, no NaN, a newline at the end."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def digest(value: Any) -> str:  # noqa: ANN401 - anything JSON can hold
    """SHA-256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file, or of a folder's sorted relative paths and their hashes, in hex."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.endswith(".part"))
        return digest({p.relative_to(path).as_posix(): sha256(p) for p in files})
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


def _flush(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
