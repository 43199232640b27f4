"""A labelled run of synthetic weather reports, for review."""

import json

from potstill.filters import parse_filter
from potstill.oracle.replay import ReplayOracle
from potstill.pipeline.label import label_run
from potstill.pipeline.run import Run

FILTER = parse_filter(
    """
name: weather
version: 1
description: How bad the weather is.
text: {max_chars: 400, keep: head}
dimensions:
  wind: {weight: 0.5, description: How strong the wind is}
  rain: {weight: 0.5, description: How wet it is}
tiers:
  - {name: storm, when: overall >= 6, positive: true}
  - {name: calm}
""",
    "Judge the weather.",
    "weather",
)

WORDS = ("harbour", "meadow", "valley", "tower", "bridge", "market", "station", "orchard", "quarry", "lantern")


def opinions(i):
    """Return the oracle's scores of the i-th report."""
    return {"wind": i / 2, "rain": 10 - i / 2}


def recorded(path, samples):
    """Write a file of answers for 20 reports."""
    rows = [
        {"id": f"a{i}", "samples": [{"scores": scores, "evidence": "e"} for scores in samples(i)]} for i in range(20)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def labelled_run(folder, *, samples=lambda i: [opinions(i)], storms=False):
    """Create a run with 20 reports, labelled by the oracle `replay:mild`."""
    news = folder / "news.jsonl"
    with news.open("w") as file:
        for i in range(20):
            kind = ("storm gale thunder" if i % 2 else "calm mild sunshine") if storms else f"report {i} from"
            place = f"{WORDS[i % 10]} {WORDS[(3 * i + 1) % 10]} {i}"
            row = {"id": f"a{i}", "title": f"Report {i}", "content": f"{kind} {place}", "source": "herald"}
            file.write(json.dumps(row) + "\n")
    oracle = ReplayOracle(recorded(folder / "mild.jsonl", samples))
    count = len(samples(0))
    label_run(folder / "run", FILTER, news, oracle, samples=count)
    return Run.open(folder / "run")
