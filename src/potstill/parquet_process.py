"""Run the process that opens untrusted Parquet files; `potstill.parquet` starts it and communicates with it.

Input: requests on standard input, one JSON object per line. Output: answers on standard output: a kind, two lengths, a
JSON object and a table as an Arrow stream. A file with false sizes can crash the reading library or make it request all
memory. Here this ends only this process, whose memory is limited.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from potstill.processes import bound_memory, serve

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl


def main() -> None:
    """Answer requests until the input ends."""
    serve(_answer)


def _answer(request: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    facts, frame = _opened(request) if "start" not in request else _rows(request)
    table = io.BytesIO()
    frame.write_ipc_stream(table)
    return facts, table.getvalue()


def _opened(request: Mapping[str, Any]) -> tuple[dict[str, Any], pl.DataFrame]:
    """Return the file's number of rows, the data that reveals later changes of the file, and its columns."""
    import polars as pl

    with Path(request["path"]).open("rb") as stream:
        facts = _identity(stream)
        bound_memory(facts["size"])
        scan = _scan(stream)
        rows = int(scan.select(pl.len()).collect().item())
        return {**facts, "rows": rows}, pl.DataFrame(schema=scan.collect_schema())


def _rows(request: Mapping[str, Any]) -> tuple[dict[str, Any], pl.DataFrame]:
    """Return some rows of a file; if `text` is true, check that they can be written as text."""
    with Path(request["path"]).open("rb") as stream:
        facts = _identity(stream)
        bound_memory(facts["size"])
        frame = _scan(stream).slice(request["start"], request["rows"]).collect()
    if any(len(column) != frame.height for column in frame.get_columns()):
        raise ValueError("its columns are of different lengths")
    if request["text"]:
        _try_as_text(frame)
    return facts, frame


def _scan(stream: IO[bytes]) -> pl.LazyFrame:
    import polars as pl

    name = str(stream.name)
    try:
        name.encode()
    except UnicodeEncodeError:
        # The library accepts only UTF-8 names; this name leads to the same open file.
        name = f"/dev/fd/{stream.fileno()}"
    return pl.scan_parquet(name, glob=False, hive_partitioning=False)


def _identity(stream: IO[bytes]) -> dict[str, Any]:
    status = os.fstat(stream.fileno())
    return {"size": status.st_size, "changed": status.st_mtime_ns, "file": [status.st_dev, status.st_ino]}


def _try_as_text(frame: pl.DataFrame) -> None:
    """Try to write dates and times as text; an impossible value panics, which is harmless in this process.

    Raises:
        ValueError: a column has such a value.
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


if __name__ == "__main__":
    main()
