"""Files that are whole or absent, and what they hash to.

A file is written beside its place and moved there when it is complete, so that a kill or a full disk leaves
the old one intact.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def read_json(path: Path) -> Any:  # noqa: ANN401 - anything JSON can hold
    """Read one JSON file.

    Raises:
        BadInput: it is missing or broken; the message names the file and the place in it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}: line {error.lineno}: broken JSON ({error.msg})") from None


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


def _flush(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
