"""What asking by levels takes: tokens and money by plan, and a run against the reference server of System One.

In: the 350 stories of the Lee corpus and the filter `front-page`. Out: `results/decision_apis.json`: the plan of the
same labels for two decision APIs and two language models, at the prices of genai-prices; and labelling all stories
through `jevcompat`'s mock on loopback, which answers by a hash of the question: calls, tokens, seconds, and whether
each label is the expected value that the server itself states. The mock does not read the news, so its labels have no
quality to measure.

Run: `python -m benchmarks decision_apis`, in seconds.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl
from _students import machine
from jevcompat.mock import MockConfig, Running

from potstill.demo import lee_articles
from potstill.files import write_json
from potstill.filters import load_filter
from potstill.labelling import Ledger, Limits, label, plan
from potstill.labelling.prices import data_source, find_price
from potstill.oracle import Settings, form_of, open_oracle
from potstill.oracle.prompt import Prompt

RESULTS = Path(__file__).parent / "results" / "decision_apis.json"
FILTER = load_filter("front-page")
SPECS = ("systemone:jev-latest", "decisions:gpt-6-luna", "openai:gpt-6-luna", "openai:gpt-5-mini")
LIMITS = Limits(max_tokens=300)


def planned(spec: str, articles: pl.DataFrame) -> dict[str, Any]:
    """The plan of one label per story."""
    known = find_price(spec)
    price = None if known is None else known.price
    form = form_of(spec, Settings(), Prompt.of(FILTER))
    found = plan([articles], FILTER, spec, price=price, limits=LIMITS, form=form)
    return {"tokens_in": found.tokens_in, "tokens_out": found.tokens_out, "cost": found.cost,
            "worst_cost": found.worst_cost}  # fmt: skip


def run_at_the_mock(articles: pl.DataFrame, folder: Path) -> dict[str, Any]:
    """Label all stories through the reference server."""
    with Running(MockConfig()) as server:
        oracle = open_oracle("systemone:jev-latest", Settings(base_url=server.url))
        started = time.monotonic()
        summary = label(folder / "ledger.sqlite", articles, FILTER, oracle, limits=LIMITS)
        seconds = time.monotonic() - started
    with sqlite3.connect(folder / "ledger.sqlite") as database:
        bodies = {key: json.loads(raw)["answers"] for key, raw in database.execute("SELECT article, raw FROM calls")}
    with Ledger.reading(folder / "ledger.sqlite") as ledger:
        rows = ledger.labels(FILTER).rows(named=True)
    # A level is two points of the scale.
    largest = max(
        abs(row[f"y_{name}"] - 2 * answer["score"])
        for row in rows
        if row["article"] in bodies
        for name, answer in bodies[row["article"]].items()
    )
    return {
        "stories": articles.height, "labels": len(rows), "calls": summary.calls, "failed": sum(summary.failed.values()),
        "tokens_in": summary.tokens_in, "tokens_out": summary.tokens_out, "doubted": summary.doubted,
        "seconds": round(seconds, 1), "largest_difference_from_the_stated_score": round(largest, 6),
        "ledger_bytes": (folder / "ledger.sqlite").stat().st_size,
    }  # fmt: skip


def main() -> None:
    """Write the result."""
    rows = [{"id": story.id, "title": story.title, "content": story.content} for story in lee_articles()]
    articles = pl.DataFrame(rows)
    with tempfile.TemporaryDirectory() as folder:
        result = {
            "schema_version": 1,
            "what": __doc__.splitlines()[0],
            "prices": data_source(),
            "plans": {spec: planned(spec, articles) for spec in SPECS},
            "mock": run_at_the_mock(articles, Path(folder)),
            "machine": machine(),
        }
    write_json(RESULTS, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
