"""Articles in and out: JSONL (also .gz and .zst), CSV and Parquet, a batch at a time.

In: a file, or `-` for JSON lines on stdin. Out: Polars frames with the columns `id`, `title`, `content` and
whatever else the rows held, passed through unread: as columns of their own from CSV (text) and Parquet (typed),
and from JSONL, whose lines may differ in their fields, as one String column `extra` that holds a JSON object.
A bad row stops the reading with one line that names the file, the row and the field, because a row that is
silently skipped is a hole in somebody's data. Memory does not grow with the file.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import math
import os
import re
import sys
import tempfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NoReturn, Protocol

import polars as pl
import zstandard

from potstill.errors import ArticleError
from potstill.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FORMATS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".csv", ".parquet")
"""The endings that are read and written; `-` is JSON lines on stdin or stdout."""

MAX_TEXT_BYTES = 1_000_000
"""A longer title or content, in UTF-8 bytes, is a mistake upstream (a page dump, a joined file), not an article."""

_MAX_LINE_BYTES = 16_000_000
_MAX_ID_CHARS = 1000
_ROW_GROUP = 8192
_PART_ROWS = 32_768

OnEmpty = Literal["error", "keep"]


def article_id(title: str, content: str) -> str:
    """The id of an article that came without one: `sha-` and 16 hex digits of its content's SHA-256."""
    return "sha-" + hashlib.sha256(f"{title}\0{content}".encode()).hexdigest()[:16]


def read_articles(path: str | Path, *, batch_size: int = 1000, on_empty: OnEmpty = "error") -> Iterator[pl.DataFrame]:
    """Read articles a batch at a time.

    Args:
        path: a file with one of the endings in `FORMATS`, or `-` for JSON lines on stdin.
        batch_size: rows in each frame but the last.
        on_empty: whether an article with neither title nor content is an error, or kept with empty strings.

    Yields:
        Frames with the columns `id`, `title`, `content` (String, never null) and the passed-through ones.

    Raises:
        ArticleError: the file is missing or broken, or a row of it is; the message names row and field.
    """
    for frame, _ in _batches(path, batch_size, on_empty):
        yield frame


def read_all(path: str | Path, *, on_empty: OnEmpty = "error") -> pl.DataFrame:
    """Read a whole file of articles at once.

    Raises:
        ArticleError: as `read_articles`, or two rows have the same id; the message names both.
    """
    seen: dict[str, int] = {}
    frames: list[pl.DataFrame] = []
    for frame, rows in _batches(path, 1000, on_empty):
        refuse_duplicates(path, frame, rows, seen)
        frames.append(frame)
    if not frames:
        return pl.DataFrame(schema={"id": pl.String, "title": pl.String, "content": pl.String})
    return pl.concat(frames, how="diagonal_relaxed")


def read_numbered(
    path: str | Path, *, batch_size: int = 1000, on_empty: OnEmpty = "error"
) -> Iterator[tuple[pl.DataFrame, list[int]]]:
    """As `read_articles`, with the number of the line (or row, from 1) each article stands at."""
    yield from _batches(path, batch_size, on_empty)


def refuse_duplicates(path: str | Path, frame: pl.DataFrame, rows: list[int], seen: dict[str, int]) -> None:
    """Add a batch's ids to `seen` (id -> row).

    Raises:
        ArticleError: an id was there before; the message names both rows.
    """
    for id_, row in zip(frame["id"], rows, strict=True):
        first = seen.setdefault(id_, row)
        if first != row:
            _fail(path, row, f"duplicate id {_shown(id_)}, already at line {first}")


def count_articles(path: str | Path) -> int | None:
    """How many articles a file holds, or None for stdin, which can only be read once.

    Raises:
        ArticleError: the file is missing or broken; the rows themselves are not checked.
    """
    if str(path) == "-":
        return None
    path, ending = _existing(path)
    if ending == ".parquet":
        with _parquet_errors(path):
            return int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
    if ending == ".csv":
        return sum(1 for _ in _csv_rows(path))
    return sum(1 for _, line in _lines(path, ending) if line.strip())


class Writer(Protocol):
    """What `open_writer` gives: frames go in, in order, and a file comes out when the `with` block ends."""

    def write(self, frame: pl.DataFrame) -> None:
        """Append the rows of a frame; all frames have the same columns."""
        ...


@contextmanager
def open_writer(path: str | Path) -> Iterator[Writer]:
    """Open a file of articles or results for writing, by its ending (see `FORMATS`), or `-` for stdout.

    The file takes its place when the block ends well; after an error, a kill or a full disk the old one is
    as it was. In JSONL the object in `extra` is unfolded into fields of the row again, and a column of the frame
    wins over a field of the same name; lists and structs become JSON in CSV.

    Raises:
        ArticleError: the ending is unknown.
        BadInput: the disk is full or the folder cannot be written.
    """
    if str(path) == "-":
        yield _JsonLines(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    path = Path(path)
    ending = _ending(path)
    with replacing(path) as temporary:
        if ending == ".parquet":
            with _parquet_writer(temporary) as writer:
                yield writer
        else:
            with temporary.open("wb") as raw, _compressed(raw, ending) as stream:
                yield _Csv(path, stream) if ending == ".csv" else _JsonLines(stream)


# Reading: every format gives (row number, fields), and one function makes frames of them.


@dataclass(slots=True)
class _Columns:
    """A batch as it fills; `extra`, the JSON text of what else a row held, is for JSONL alone."""

    rows: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)

    def frame(self) -> pl.DataFrame:
        columns = {"id": self.ids, "title": self.titles, "content": self.contents}
        if self.extra:
            columns["extra"] = self.extra
        return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def _batches(path: str | Path, batch_size: int, on_empty: OnEmpty) -> Iterator[tuple[pl.DataFrame, list[int]]]:
    if str(path) == "-":
        yield from _jsonl("stdin", _numbered("stdin", sys.stdin.buffer), batch_size, on_empty)
        return
    path, ending = _existing(path)
    if ending == ".parquet":
        yield from _parquet(path, batch_size, on_empty)
    elif ending == ".csv":
        yield from _csv(path, batch_size, on_empty)
    else:
        yield from _jsonl(path, _lines(path, ending), batch_size, on_empty)


def _jsonl(
    path: str | Path, lines: Iterable[tuple[int, bytes]], batch_size: int, on_empty: OnEmpty
) -> Iterator[tuple[pl.DataFrame, list[int]]]:
    rows = ((number, _json_object(path, number, line)) for number, line in lines if line.strip())
    for batch in _chunks(rows, batch_size):
        columns = _Columns()
        for number, row in batch:
            _take(path, number, row, on_empty, columns)
            try:
                columns.extra.append(_dumps(row))
            except ValueError:
                _fail(path, number, "a number is too large for a 64-bit float")
        yield columns.frame(), columns.rows


def _json_object(path: str | Path, number: int, line: bytes) -> dict[str, Any]:
    if b"\0" in line:
        _fail(path, number, "holds a NUL byte")
    try:
        text = line.rstrip(b"\r\n").decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        _fail(path, number, f"not UTF-8 at byte {error.start + 1}")
    try:
        row = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        _fail(path, number, f"broken JSON at column {error.colno} ({error.msg})")
    except RecursionError:
        _fail(path, number, "JSON nested too deeply")
    except ValueError as error:
        _fail(path, number, f"broken JSON ({error})")
    if not isinstance(row, dict):
        _fail(path, number, f"expected a JSON object, got {_kind(row)}")
    return row


def _take(path: str | Path, number: int, row: dict[str, Any], on_empty: OnEmpty, columns: _Columns) -> None:
    """Move id, title and content out of a row and into the columns, checked."""
    if "content" not in row:
        _fail(path, number, "field content is missing" + _near_content(row))
    title = _text(path, number, "title", row.pop("title", None))
    content = _text(path, number, "content", row.pop("content"))
    if on_empty == "error" and not title.strip() and not content.strip():
        _fail(path, number, "field content: the text is empty, and so is the title")
    columns.rows.append(number)
    columns.ids.append(_id(path, number, row.pop("id", None)) or article_id(title, content))
    columns.titles.append(title)
    columns.contents.append(content)


def _text(path: str | Path, number: int, name: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        _fail(path, number, f"field {name}: expected text, got {_kind(value)}")
    if "\0" in value:
        _fail(path, number, f"field {name}: holds a NUL character")
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError as error:
        _fail(path, number, f"field {name}: half a surrogate pair at character {error.start + 1}")
    if size > MAX_TEXT_BYTES:
        _fail(path, number, f"field {name}: {size:,} bytes of text, at most {MAX_TEXT_BYTES:,} are legal")
    return value


def _id(path: str | Path, number: int, value: object) -> str:
    """The id as text; empty where there is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = _text(path, number, "id", value)
    if len(text) > _MAX_ID_CHARS:
        _fail(path, number, f"field id: {len(text):,} characters, at most {_MAX_ID_CHARS:,} are legal")
    return text


def _lines(path: Path, ending: str) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with path.open("rb") as raw, _decompressed(raw, ending) as stream:
            for number, line in _numbered(path, stream):
                yield number, line
    except (gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise ArticleError(f"{path}: line {number + 1}: broken compression ({error})") from None


def _numbered(path: str | Path, stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := stream.readline(_MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > _MAX_LINE_BYTES:
            _fail(path, number, f"the line is longer than {_MAX_LINE_BYTES:,} bytes")
        yield number, line


@contextmanager
def _decompressed(raw: IO[bytes], ending: str) -> Iterator[IO[bytes]]:
    if ending.endswith(".gz"):
        with gzip.GzipFile(fileobj=raw) as stream:
            yield stream  # type: ignore[misc]  # it reads bytes, though it is no IO[bytes]
    elif ending.endswith(".zst"):
        yield io.BufferedReader(_Zstandard(raw), buffer_size=1 << 17)
    else:
        yield raw


class _Zstandard(io.RawIOBase):
    """Frames of zstd one after the other; the library's own reader is silent when the last one is cut short."""

    def __init__(self, raw: IO[bytes]) -> None:
        super().__init__()
        self._raw = raw
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._open = False
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        while not self._ready and self._more():
            pass
        taken = self._ready[: len(buffer)]
        buffer[: len(taken)] = taken
        self._ready = self._ready[len(taken) :]
        return len(taken)

    def _more(self) -> bool:
        """Decompress the next piece; False at the end. Pieces are small: 4 bytes may stand for 128 kB."""
        piece = (self._frame.unused_data if self._frame.eof else b"") or self._raw.read(2048)
        if not piece:
            if self._open:
                raise zstandard.ZstdError("the last frame is cut short")
            return False
        if self._frame.eof:
            self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._ready = self._frame.decompress(piece)
        self._open = not self._frame.eof
        return True


def _csv(path: Path, batch_size: int, on_empty: OnEmpty) -> Iterator[tuple[pl.DataFrame, list[int]]]:
    for batch in _chunks(_csv_rows(path), batch_size):
        columns = _Columns()
        others: list[dict[str, Any]] = []
        for number, row in batch:
            _take(path, number, row, on_empty, columns)
            others.append(row)
        frame = columns.frame()
        names = others[0].keys()
        passed = {name: [row[name] or None for row in others] for name in names}
        frame = pl.concat([frame, pl.DataFrame(passed, schema=dict.fromkeys(names, pl.String))], how="horizontal")
        yield _own_extra(frame), columns.rows


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    # The library's limit for one field, 131,072 characters, is less than some real articles have.
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_LINE_BYTES))
    reader = csv.reader(_csv_lines(path), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        if len(set(header)) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            _fail(path, 1, f"the column {_shown(twice)} is there twice")
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                _fail(path, reader.line_num, f"{len(fields)} fields, but the header has {len(header)}")
            yield reader.line_num, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        _fail(path, reader.line_num, f"broken CSV ({error})")


def _csv_lines(path: Path) -> Iterator[str]:
    for number, line in _lines(path, ".csv"):
        if b"\0" in line:
            _fail(path, number, "holds a NUL byte")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            _fail(path, number, f"not UTF-8 at byte {error.start + 1}")


def _parquet(path: Path, batch_size: int, on_empty: OnEmpty) -> Iterator[tuple[pl.DataFrame, list[int]]]:
    total = count_articles(path) or 0
    start = 0
    while start < total:
        # A slice at a time, because the streaming engine reads several row groups ahead.
        with _parquet_errors(path):
            big = pl.scan_parquet(path, glob=False).slice(start, max(batch_size, 2000)).collect()
        for frame in big.iter_slices(batch_size):
            yield _checked(path, frame, start, on_empty)
            start += frame.height


def _checked(path: Path, frame: pl.DataFrame, start: int, on_empty: OnEmpty) -> tuple[pl.DataFrame, list[int]]:
    known = [name for name in ("id", "title", "content") if name in frame.columns]
    columns = _Columns()
    for number, row in enumerate(frame.select(known).iter_rows(named=True), start=start + 1):
        _take(path, number, row, on_empty, columns)
    rest = frame.drop(known)
    return _own_extra(pl.concat([columns.frame(), rest], how="horizontal")), columns.rows


def _own_extra(frame: pl.DataFrame) -> pl.DataFrame:
    """Tell `extra`, which is ours, from a user's column of that name: ours holds JSON objects alone."""
    if "extra" not in frame.columns:
        return frame
    values = [
        value if isinstance(value, str) and _is_object(value) else _dumps({"extra": value}) for value in frame["extra"]
    ]
    return frame.with_columns(pl.Series("extra", values, dtype=pl.String))


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


@contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArticleError(f"{path}: not a readable Parquet file ({first})") from None


def _existing(path: str | Path) -> tuple[Path, str]:
    path = Path(path)
    ending = _ending(path)
    if path.is_dir():
        raise ArticleError(f"{path}: is a folder, expected a file")
    if not path.exists():
        raise ArticleError(f"{path}: no such file")
    return path, ending


def _ending(path: Path) -> str:
    name = path.name.lower()
    for ending in FORMATS:
        if name.endswith(ending):
            return ending
    raise ArticleError(f"{path}: unknown kind of file, expected one of {', '.join(FORMATS)}")


def _chunks(rows: Iterable[tuple[int, dict[str, Any]]], size: int) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    rows = iter(rows)
    while batch := list(islice(rows, size)):
        yield batch


def _fail(path: str | Path, number: int, what: str) -> NoReturn:
    place = "row" if str(path).lower().endswith(".parquet") else "line"
    raise ArticleError(f"{path}: {place} {number}: {what}") from None


def _near_content(row: Mapping[str, Any]) -> str:
    return "; there is " + ", ".join(map(_shown, list(row)[:8])) if row else ""


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _shown(text: str) -> str:
    """A short, printable form of something from the file, for a message of one line."""
    short = text if len(text) <= 60 else text[:57] + "..."
    return json.dumps(short, ensure_ascii=not short.isprintable())


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _dumps(value: object) -> str:
    """JSON on one line; only text that UTF-8 cannot hold is escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    return text


# Writing.


@contextmanager
def _compressed(raw: IO[bytes], ending: str) -> Iterator[IO[bytes]]:
    if ending.endswith(".gz"):
        # No name and no time inside: the same articles make the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as stream:
            yield stream  # type: ignore[misc]  # as above
    elif ending.endswith(".zst"):
        with zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False) as stream:
            yield stream
    else:
        yield raw


class _JsonLines:
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, frame: pl.DataFrame) -> None:
        if not frame.height:
            return
        if "extra" not in frame.columns:
            self._stream.write(frame.write_ndjson().encode())
            return
        names = [name for name in frame.columns if name != "extra"]
        lines = frame.select(names).write_ndjson().removesuffix("\n").split("\n") if names else ["{}"] * frame.height
        out = io.StringIO()
        for line, extra in zip(lines, frame["extra"], strict=True):
            rest = {key: value for key, value in _unfolded(extra).items() if key not in names}
            joint = ", " if names and rest else ""
            out.write(f"{line[:-1]}{joint}{_dumps(rest)[1:]}\n")
        self._stream.write(out.getvalue().encode())


def _unfolded(extra: str | None) -> dict[str, Any]:
    value = json.loads(extra) if extra else {}
    return value if isinstance(value, dict) else {"extra": value}


class _Csv:
    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path = path
        self._stream = stream
        self._columns: list[str] | None = None

    def write(self, frame: pl.DataFrame) -> None:
        first = self._columns is None
        self._columns = frame.columns if self._columns is None else self._columns
        if frame.columns != self._columns:
            raise ArticleError(f"{self._path}: the columns changed from {self._columns} to {frame.columns}")
        nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
        flat = frame.with_columns(
            pl.Series(
                name,
                [None if value is None else _dumps(_plain(value)) for value in frame[name].to_list()],
                dtype=pl.String,
            )
            for name in nested
        )
        self._stream.write(flat.write_csv(include_header=first).encode())


def _plain(value: object) -> object:
    """What JSON can hold of a nested value."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


class _Parquet:
    """Parts are written as they come and joined at the end, a row group at a time: memory stays constant."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[pl.DataFrame] = []
        self._rows = 0
        self.parts: list[Path] = []

    def write(self, frame: pl.DataFrame) -> None:
        self._waiting.append(frame)
        self._rows += frame.height
        if self._rows >= _PART_ROWS:
            self.flush()

    def flush(self) -> None:
        if not self._waiting:
            return
        part = self._folder / f"{len(self.parts):06d}.parquet"
        frame = pl.concat(self._waiting, how="diagonal_relaxed")
        with _numbered_os_errors():
            frame.write_parquet(part, row_group_size=_ROW_GROUP)
        self.parts.append(part)
        self._waiting, self._rows = [], 0

    def join(self, target: Path) -> None:
        self.flush()
        if len(self.parts) == 1:
            self.parts[0].replace(target)
            return
        frames = [pl.scan_parquet(part, glob=False) for part in self.parts]
        joined = pl.concat(frames, how="diagonal_relaxed") if frames else pl.LazyFrame()
        with _numbered_os_errors():
            joined.sink_parquet(target, row_group_size=_ROW_GROUP)


@contextmanager
def _parquet_writer(target: Path) -> Iterator[_Parquet]:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".parts.", suffix=".part") as folder:
        writer = _Parquet(Path(folder))
        yield writer
        writer.join(target)


@contextmanager
def _numbered_os_errors() -> Iterator[None]:
    """Polars reports a full disk as a text that ends in `(os error 28)`; here it becomes an OSError again."""
    try:
        yield
    except (pl.exceptions.ComputeError, OSError) as error:
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        number = int(found.group(1))
        raise OSError(number, os.strerror(number)) from error
