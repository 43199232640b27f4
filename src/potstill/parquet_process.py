"""The process that opens foreign Parquet files; `potstill.parquet` starts it and talks to it.

In: requests on standard input, an object of JSON a line. Out: answers on standard output: a kind, two lengths, an
object of JSON and a table as an Arrow stream. A file whose sizes lie makes the reading library end its process or ask
for all memory there is. Here that ends this process and no other, and its memory is bounded.
"""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

HEADER = struct.Struct(">cQQ")
"""Before each answer: `ANSWER` or `REFUSAL`, and the bytes of the JSON and of the table that follow."""

ANSWER, REFUSAL = b"a", b"r"

LEAST_MEMORY = 4 << 30
"""Bytes that reading may take of any file; a larger one may take `TIMES_ITS_SIZE` as much as it has."""

TIMES_ITS_SIZE = 32

_LONGEST_REASON = 200


def main() -> None:
    """Answer requests until there are no more."""
    # An interrupt of the terminal reaches both processes; the other one ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        kind, facts, table = _answer(json.loads(line))
        told = json.dumps(facts).encode()
        answers.write(HEADER.pack(kind, len(told), len(table)))
        answers.write(told)
        answers.write(table)
        answers.flush()


def _answer(request: Mapping[str, Any]) -> tuple[bytes, dict[str, Any], bytes]:
    try:
        facts, frame = _opened(request) if "start" not in request else _rows(request)
        table = io.BytesIO()
        frame.write_ipc_stream(table)
        return ANSWER, facts, table.getvalue()
    except (MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the library's panics derive from BaseException alone
        of_system = isinstance(error, OSError) and error.strerror is not None
        first = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
        return REFUSAL, {"reason": (first or type(error).__name__)[:_LONGEST_REASON], "of_system": of_system}, b""


def _opened(request: Mapping[str, Any]) -> tuple[dict[str, Any], pl.DataFrame]:
    """How many rows a file says it has, what tells whether it has changed since, and its columns."""
    import polars as pl

    with Path(request["path"]).open("rb") as stream:
        facts = _identity(stream)
        _bound_memory(facts["size"])
        scan = _scan(stream)
        rows = int(scan.select(pl.len()).collect().item())
        return {**facts, "rows": rows}, pl.DataFrame(schema=scan.collect_schema())


def _rows(request: Mapping[str, Any]) -> tuple[dict[str, Any], pl.DataFrame]:
    """Some rows of a file; where `text` is true, they have been found to be writable as text."""
    with Path(request["path"]).open("rb") as stream:
        facts = _identity(stream)
        _bound_memory(facts["size"])
        frame = _scan(stream).slice(request["start"], request["rows"]).collect()
    if request["text"]:
        _try_as_text(frame)
    return facts, frame


def _scan(stream: IO[bytes]) -> pl.LazyFrame:
    import polars as pl

    name = str(stream.name)
    try:
        name.encode()
    except UnicodeEncodeError:
        # The library takes names in UTF-8 only; this name leads to the same open file.
        name = f"/dev/fd/{stream.fileno()}"
    return pl.scan_parquet(name, glob=False, hive_partitioning=False)


def _identity(stream: IO[bytes]) -> dict[str, Any]:
    status = os.fstat(stream.fileno())
    return {"size": status.st_size, "changed": status.st_mtime_ns, "file": [status.st_dev, status.st_ino]}


def _try_as_text(frame: pl.DataFrame) -> None:
    """Find dates and times that cannot be written as text: writing them panics, and here that does no harm.

    Raises:
        ValueError: there is such a column.
    """
    for name, dtype in frame.schema.items():
        if not _holds_times(dtype):
            continue
        try:
            frame.select(name).write_ndjson()
        except BaseException:  # noqa: BLE001 - as in `_answer`
            raise ValueError(f"column {name}: a date or time that cannot be written as text") from None


def _holds_times(dtype: pl.DataType) -> bool:
    import polars as pl

    if isinstance(dtype, pl.Struct):
        return any(_holds_times(field.dtype) for field in dtype.fields)  # type: ignore[arg-type]
    if isinstance(dtype, pl.List | pl.Array):
        return _holds_times(dtype.inner)  # type: ignore[arg-type]
    return dtype.is_temporal()


def _bound_memory(size: int) -> None:
    """Let reading a file of so many bytes take so much memory and no more, where the system can be told."""
    try:
        import resource

        with Path("/proc/self/statm").open(encoding="ascii") as stream:
            taken = int(stream.read().split()[0]) * resource.getpagesize()
        there = os.sysconf("SC_PHYS_PAGES") * resource.getpagesize()
        most = taken + size + min(max(LEAST_MEMORY, TIMES_ITS_SIZE * size), there)
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ImportError, OSError, ValueError):
        return


if __name__ == "__main__":
    main()
