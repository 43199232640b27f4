"""Broken and hostile Parquet files through the reader that scoring uses: nothing may come but tables and one line.

Seeds are small files of many types, encodings, compressions and row groups. Each round takes one, changes it and reads
it as `potstill score` does: bytes are flipped, copied, cut out or set to extreme numbers, anywhere or in the footer and
the page headers alone, and the length of the footer is mended or not. The reading process may be ended by a file; this
process must not be, must see no other error than BadInput, and must get its answer within a minute.

    python benchmarks/parquet_fuzz.py [--minutes 10] [--seed 0] [--keep FOLDER]

Counts are printed and written to `results/parquet_fuzz.json`; with `--keep` the first file of each kind of ending is
kept, so that it can become a test.
"""

from __future__ import annotations

import argparse
import datetime as dt
import io
import random
import re
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from potstill.articles import read_articles
from potstill.errors import BadInput
from potstill.files import write_json
from potstill.machine import versions

RESULT = Path(__file__).parent / "results" / "parquet_fuzz.json"

EXTREMES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)
"""Bytes that end or continue the variable-length numbers of a footer."""

LARGE = (
    *((2 ** (8 * length - 1) - 1).to_bytes(length, "little") for length in (4, 8)),
    *(number.to_bytes(length, "little") for length in (4, 8) for number in (2**31, 2**30 + 1)),
    *(b"\xff" * 9 + b"\x01", b"\x80" * 8 + b"\x01", b"\xfe\xff\xff\xff\x0f"),
)
"""Numbers that are far too large, plain and of variable length."""

SLOWEST = 60.0


def seeds() -> list[bytes]:
    """Small files of many kinds."""
    rows = 300
    frame = pl.DataFrame(
        {
            "id": [f"a{row}" for row in range(rows)],
            "title": [None if row % 7 == 0 else f"title {row % 5}" for row in range(rows)],
            "content": [f"the library reopened in {row * row % 997} towns" for row in range(rows)],
            "n": [row * 10**9 for row in range(rows)],
            "share": [row / 7 for row in range(rows)],
            "seen": [row % 3 == 0 for row in range(rows)],
            "day": [dt.date(2020, 1, 1) + dt.timedelta(row) for row in range(rows)],
            "tags": [[f"t{row % 4}", None] if row % 2 else [] for row in range(rows)],
            "from": [{"name": f"s{row % 9}", "rank": row} for row in range(rows)],
            "picture": [bytes([row % 256]) * (row % 40) for row in range(rows)],
            "took": [dt.timedelta(seconds=row) for row in range(rows)],
        }
    )
    arrays = frame.select(
        "content",
        pl.concat_arr("n", "n").alias("pair"),
        pl.concat_arr("share", "share", "share").alias("three"),
        pl.lit(None).alias("nothing"),
        pl.col("n").cast(pl.Int128).alias("large"),
        pl.col("title").cast(pl.Enum([f"title {row}" for row in range(5)])).alias("kind"),
        pl.concat_list("tags", "tags").implode().over("id", mapping_strategy="join").alias("lists"),
    )
    frames = [
        frame,
        frame.select("content"),
        frame.select("id", "content", "tags", "from"),
        frame.with_columns(pl.col("title").cast(pl.Categorical), pl.col("n").cast(pl.Decimal(20, 2))),
        arrays,
        frame.clear(),
    ]
    files = []
    for each in frames:
        for compression in ("uncompressed", "zstd", "snappy", "gzip", "lz4"):
            for group in (None, 50):
                stream = io.BytesIO()
                each.write_parquet(stream, compression=compression, row_group_size=group)
                files.append(stream.getvalue())
    return files


def changed(file: bytes, rng: random.Random) -> bytes:
    """The file with a few faults."""
    data = bytearray(file)
    footer = int.from_bytes(data[-8:-4], "little")
    low, high = (len(data) - 8 - footer, len(data) - 8) if rng.random() < 0.5 else (0, len(data) - 8 - footer)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        place = rng.randrange(low, max(low + 1, min(high, len(data))))
        kind = rng.randrange(8)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place] = rng.choice(EXTREMES)
        elif kind == 2:
            data[place] = rng.randrange(256)
        elif kind == 3:
            number = rng.choice(LARGE)
            data[place : place + len(number)] = number
        elif kind == 4:
            number = rng.choice(LARGE)
            data[place:place] = number
        elif kind == 5:
            data[place : place + 1] = rng.choice(LARGE)
        elif kind == 6:
            del data[place : place + rng.choice((1, 4, 100))]
        else:
            other = rng.randrange(len(data))
            size = rng.choice((1, 8, 64))
            data[place : place + size] = data[other : other + size]
    if rng.random() < 0.7 and len(data) > 12:
        # A footer that has grown or shrunk is found again.
        length = max(0, footer + len(data) - len(file))
        data[-8:] = length.to_bytes(4, "little") + b"PAR1"
    return bytes(data[: rng.randrange(len(data))]) if rng.random() < 0.02 else bytes(data)


def ending_of(path: Path) -> str:
    """What came of reading a file, in words without numbers or names."""
    try:
        rows = sum(frame.height for frame in read_articles(path, on_empty="keep", as_text=True))
    except BadInput as error:
        message = str(error).removeprefix(f"{path}: ")
        if "\n" in message or len(message) > 400:
            return f"FAULT: a message of more than one short line: {message!r}"
        return re.sub(r"[\"'`][^\"'`]*[\"'`]|\d[\d,]*", "*", message)[:70]
    except BaseException as error:  # noqa: BLE001 - any other error is what is looked for
        return f"FAULT: {type(error).__name__}: {str(error)[:100]}"
    return "read" if rows else "read, without rows"


def main() -> None:
    """Fuzz for some minutes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    rng, files = random.Random(options.seed), seeds()
    endings: Counter[str] = Counter()
    slowest, started = 0.0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.parquet"
        while time.monotonic() - started < 60 * options.minutes:
            path.write_bytes(changed(rng.choice(files), rng))
            begun = time.monotonic()
            ending = ending_of(path)
            taken = time.monotonic() - begun
            slowest = max(slowest, taken)
            if taken > SLOWEST:
                ending = f"FAULT: took longer than {SLOWEST:g} s"
            if options.keep is not None and not endings[ending]:
                options.keep.mkdir(parents=True, exist_ok=True)
                name = re.sub(r"[^a-zA-Z]+", "-", ending)[:60]
                (options.keep / f"{name}.parquet").write_bytes(path.read_bytes())
            endings[ending] += 1
    found: dict[str, Any] = {
        "minutes": options.minutes,
        "seed": options.seed,
        "files": endings.total(),
        "faults": sum(count for ending, count in endings.items() if ending.startswith("FAULT")),
        "ended_the_reading_process": sum(count for ending, count in endings.items() if "ended the reading" in ending),
        "slowest_seconds": round(slowest, 1),
        "endings": dict(endings.most_common()),
        "versions": versions(),
    }
    write_json(RESULT, found)
    for ending, count in endings.most_common():
        print(f"{count:8,}  {ending}")
    print(f"{found['files']:,} files, {found['faults']} faults, slowest {slowest:.1f} s")


if __name__ == "__main__":
    main()
