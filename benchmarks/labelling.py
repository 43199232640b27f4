"""What labelling costs beside the server's time: labels a second into the ledger, and memory over 100,000 labels.

In: a server in a process of its own that answers in 0 ms. Out: `results/labelling.json`. Three measures: through the
openai package; with an oracle inside the process that answers at once, which leaves potstill's own share; and the
memory while 100,000 labels land. On a shared machine seconds on the clock say little, so labels per second of the
process's own CPU time stand beside them; the server's share runs on another core.

Run: `python benchmarks/labelling.py` (nothing else should run; about three minutes).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from potstill.filters import load_filter
from potstill.labelling import Ledger, Limits, Price, label
from potstill.oracle import Reply, Request, Settings, open_oracle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.oracle import Oracle
    from potstill.oracle.prompt import Prompt

FILTER = load_filter("front-page")
ANSWER = json.dumps({"scores": dict.fromkeys(FILTER.dimension_names, 5.0), "evidence": "as it is"})
WORDS = " ".join(["word"] * 400)
PRICE = Price(1.0, 4.0)

SERVER = """
import asyncio, json, sys
body = json.dumps({"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [{"index": 0,
    "finish_reason": "stop", "message": {"role": "assistant", "content": sys.argv[1]}}],
    "usage": {"prompt_tokens": 900, "completion_tokens": 90, "total_tokens": 990}}).encode()
answer = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(body) + body

class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.buffer = transport, bytearray()
    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\\r\\n\\r\\n")) >= 0:
            head = bytes(self.buffer[:end]).lower()
            length = int(head.split(b"content-length:")[1].split(b"\\r\\n")[0])
            if len(self.buffer) < end + 4 + length:
                return
            del self.buffer[:end + 4 + length]
            self.transport.write(answer)

async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=500)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


class AtOnce:
    """An oracle in the process itself that answers at once; its answers are read as any other's."""

    name, model, free, revision = "at-once", "m", False, ""

    def prepare(self, prompt: Prompt) -> None:
        """Nothing to prepare."""

    async def ask(self, request: Request) -> Reply:
        """The same answer each time."""
        answer = request.parse(ANSWER)
        return Reply(answer.scores, answer.evidence, 900, 90, ANSWER)

    async def close(self) -> None:
        """Nothing to close."""


def frames(count: int, seen: list[float] | None = None) -> Iterator[pl.DataFrame]:
    """So many articles of 400 words; notes the memory in MB before each frame."""
    for start in range(0, count, 500):
        if seen is not None:
            seen.append(_memory())
        numbers = range(start, min(start + 500, count))
        yield pl.DataFrame(
            {
                "id": [f"a{i}" for i in numbers],
                "title": ["News"] * len(numbers),
                "content": [f"Story {i}. {WORDS}" for i in numbers],
            }
        )


def measured(oracle: Oracle, count: int, seen: list[float] | None = None) -> dict[str, Any]:
    """Labels a second, on the clock and of CPU time."""
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.sqlite") as ledger:
        cpu, clock = _cpu(), time.monotonic()
        summary = label(ledger, frames(count, seen), FILTER, oracle, limits=Limits(concurrency=16), price=PRICE)
        cpu, clock = _cpu() - cpu, time.monotonic() - clock
        assert summary.bought == count == ledger.labels(FILTER).height
    return {
        "labels": count,
        "per_second": round(count / clock, 1),
        "per_cpu_second": round(count / cpu, 1),
        "cpu_ms_per_label": round(1000 * cpu / count, 3),
    }


def through_openai(count: int) -> dict[str, Any]:
    """As `measured`, through the openai package and a server on loopback."""
    server = subprocess.Popen([sys.executable, "-c", SERVER, ANSWER], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        return measured(open_oracle("openai:m", Settings(base_url=url)), count)
    finally:
        server.kill()


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=5000)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "labelling.json")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    runs = sorted((through_openai(options.labels) for _ in range(3)), key=lambda run: run["per_second"])
    own = sorted((measured(AtOnce(), options.labels) for _ in range(3)), key=lambda run: run["per_second"])
    seen: list[float] = []
    long = measured(AtOnce(), options.many, seen)
    tenth = len(seen) // 10
    found = {
        "cores": os.cpu_count(),
        "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
        "filter": FILTER.name,
        "dimensions": len(FILTER.dimension_names),
        "through_openai_median_of_3": runs[1],
        "through_openai_best_of_3": runs[2],
        "in_process_median_of_3": own[1],
        "many": long,
        "memory_mb": {
            "after_a_tenth": round(seen[tenth], 1),
            "at_the_end": round(seen[-1], 1),
            "grown": round(seen[-1] - seen[tenth], 1),
        },
    }
    options.out.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _memory() -> float:
    """Resident memory now, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
