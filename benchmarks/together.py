"""Three filters on one network: `python benchmarks/together.py` on the Lee stories, with the scores that ship.

What it costs: the stories are scored in short turns by one pass for three filters and by each filter alone, on the same
frozen network, in an order that changes; ratios are of neighbouring turns, so that what else the machine does falls on
all of them. What it does to errors: three filters fine-tuned together against each fine-tuned alone, on the same split
of the stories, several seeds. `--parts cost` or `--parts error` does one of the two; the other's figures stay.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from potstill import metrics
from potstill.backends.machine import this_machine
from potstill.bundle import EncoderFiles, write_bundle
from potstill.bundle.golden import TEXTS, word_lists
from potstill.calibration import fit_calibration
from potstill.dataset import Fractions, assemble
from potstill.demo import FILTERS, lee_articles, recorded_samples
from potstill.export import export_encoder
from potstill.filters import load_filter
from potstill.machine import versions
from potstill.scorer import Scorer
from potstill.students.neural import fit_encoder_head
from potstill.students.recipes import load_recipe
from potstill.students.torch.encoder import TorchEncoder
from potstill.training import fit
from potstill.training.joint import Member, fit_together

if TYPE_CHECKING:
    from collections.abc import Callable

    from potstill.dataset import Dataset, Examples
    from potstill.types import FloatArray

RESULT = Path(__file__).parent / "results" / "together.json"
TURN = 50
"""Stories of a turn."""
SPLIT = Fractions(train=0.6, validation=0.1, test=0.3)
"""A larger test part than usual: the question is the error, not the student."""


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", choices=("cost", "error", "both"), default="both")
    parser.add_argument("--recipe", default="minilm-lora")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    if arguments.parts != "error":
        keep(arguments.out, "cost", cost(arguments.rounds))
    if arguments.parts != "cost":
        seeds = []
        for seed in arguments.seeds:
            seeds.append(errors(arguments.recipe, seed))
            keep(arguments.out, "error", summed(arguments.recipe, seeds))


def keep(path: Path, part: str, found: dict[str, Any]) -> None:
    """Put one part's figures into the file of results, and print them."""
    known = json.loads(path.read_text()) if path.exists() else {}
    facts = {"machine": this_machine().model_dump(mode="json"), "system": platform.platform(), "versions": versions()}
    known[part] = found | facts
    path.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2), flush=True)


def stories() -> pl.DataFrame:
    """The 350 stories."""
    return pl.DataFrame(
        [(article.id, article.title, article.content) for article in lee_articles()],
        schema=["id", "title", "content"],
        orient="row",
    )


def labels(name: str) -> pl.DataFrame:
    """The recorded scores of a filter, as a ledger gives them."""
    rows = []
    for row in recorded_samples(name):
        each = pl.DataFrame([sample["scores"] for sample in row["samples"]])
        means = {f"y_{dimension}": float(each[dimension].mean()) for dimension in each.columns}  # type: ignore[arg-type]
        spreads = {f"s_{dimension}": float(np.std(each[dimension].to_numpy())) for dimension in each.columns}
        rows.append({"article": row["id"], "oracle": "recorded", "samples": each.height, **means, **spreads})
    return pl.DataFrame(rows)


def datasets(seed: int) -> dict[str, Dataset]:
    """A dataset of each filter, all with the same split."""
    made: dict[str, Dataset] = {}
    for name in FILTERS:
        like = next(iter(made.values()), None)
        made[name], _, _ = assemble(stories(), labels(name), load_filter(name), seed=seed, fractions=SPLIT, like=like)
    return made


def cost(rounds: int) -> dict[str, Any]:
    """One pass for all filters against each filter alone."""
    with tempfile.TemporaryDirectory() as folder:
        together = Scorer.load(bundles(Path(folder)))
        frame = stories()
        turns = [frame[start : start + TURN] for start in range(0, frame.height, TURN)]
        ways: dict[str, Callable[[pl.DataFrame], Any]] = {"together": together.score_batch}
        # A network of its own would be the same one; opened once, memory is alike for all ways.
        ways |= {
            one.name: Scorer([one.bundle], encoders=together.encoders).score_batch for one in together.filter_scorers
        }
        for way in ways.values():
            way(turns[0])
        wall: dict[str, list[float]] = {name: [] for name in ways}
        busy: dict[str, list[float]] = {name: [] for name in ways}
        for number, turn in enumerate(turns * rounds):
            names = list(ways)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                clocks = time.perf_counter(), time.process_time()
                ways[name](turn)
                wall[name].append(time.perf_counter() - clocks[0])
                busy[name].append(time.process_time() - clocks[1])
    counted = sum(turn.height for turn in turns) * rounds
    return {
        "stories": frame.height,
        "stories_a_turn": TURN,
        "turns": len(turns) * rounds,
        "networks": together.networks,
        "articles_per_second": {name: round(counted / sum(each), 1) for name, each in wall.items()},
        "one_pass_beside_one_filter": {"wall": ratio(wall, np.mean), "processor": ratio(busy, np.mean)},
        "one_pass_beside_three_scorings": {"wall": ratio(wall, np.sum), "processor": ratio(busy, np.sum)},
    }


def ratio(seconds: dict[str, list[float]], of: Callable[..., Any]) -> dict[str, float]:
    """What a turn together takes as a multiple of the mean, or the sum, of the filters alone."""
    alone = of([each for name, each in seconds.items() if name != "together"], axis=0)
    found = np.array(seconds["together"]) / alone
    low, middle, high = np.quantile(found, [0.25, 0.5, 0.75])
    whole = float(np.sum(seconds["together"]) / np.sum(alone))
    return {name: round(float(value), 3) for name, value in
            (("median", middle), ("quarter", low), ("three_quarters", high), ("of_all_turns", whole))}  # fmt: skip


def bundles(folder: Path) -> list[Path]:
    """A bundle of each filter on one frozen network, with ridge heads; 256 tokens."""
    recipe = load_recipe("minilm-ridge").model_copy(update={"max_tokens": 256})
    encoder = TorchEncoder.open("all-MiniLM-L6-v2", max_tokens=256, cache=folder / "features")
    found = []
    exported = None
    for name, dataset in datasets(0).items():
        rows, filter_ = dataset.all(), load_filter(name)
        student = fit_encoder_head(recipe, rows, encoder=encoder)
        golden = [*TEXTS, *word_lists(rows.texts, seed=0)]
        exported = exported or export_encoder(encoder, folder / "graph", [text.content for text in TEXTS])
        made = write_bundle(
            folder / name,
            student=student,
            recipe="minilm-ridge",
            filter_=filter_,
            calibration=fit_calibration(
                student.predict(rows.frame), rows.scores, rows.clusters, dimensions=rows.dimensions
            ),
            golden=golden,
            encoders=[EncoderFiles(exported.facts, {"model": exported.model, "tokenizer": exported.tokenizer})],
        )
        found.append(made.folder)
    return found


def errors(recipe_name: str, seed: int) -> dict[str, Any]:
    """Test errors of the filters trained together, and of each trained alone, on one split."""
    recipe = load_recipe(recipe_name)
    made = datasets(seed)
    members = [Member.of(name, dataset) for name, dataset in sorted(made.items())]
    with tempfile.TemporaryDirectory() as folder:
        joint = fit_together(recipe, members, workdir=Path(folder) / "joint", seed=seed)
        result: dict[str, Any] = {"seed": seed, "seconds_together": joint[0].seconds, "filters": {}}
        for member, together in zip(members, joint, strict=True):
            train, validation, test = (member.part(part) for part in ("train", "validation", "test"))
            alone = fit(recipe, train, validation, workdir=Path(folder) / member.name, seed=seed)
            constant = np.broadcast_to(metrics.constant(train.scores), test.scores.shape)
            result["filters"][member.name] = {
                "test_rows": len(test),
                "constant": error(constant, test),
                "together": error(together.student.predict(test.frame), test),
                "alone": error(alone.student.predict(test.frame), test),
                "difference_interval": difference(together.student, alone.student, test),
                "epoch_together": together.best_epoch,
                "epoch_alone": alone.best_epoch,
                "seconds_alone": alone.seconds,
            }
    print(json.dumps(result), flush=True)
    return result


def error(predicted: FloatArray, test: Examples) -> float:
    """Mean absolute error over dimensions, predictions held to the scale."""
    return round(metrics.average(metrics.mae(np.clip(predicted, 0, 10), test.scores)), 4)


def difference(together: Any, alone: Any, test: Examples) -> list[float]:  # noqa: ANN401 - students
    """By how much the error together is larger, a 95% interval over clusters."""
    both = [np.abs(np.clip(one.predict(test.frame), 0, 10) - test.scores) for one in (together, alone)]
    found = metrics.compare(*both, test.clusters, seed=0)
    return [round(float(found.low), 4), round(float(found.high), 4)]


def summed(recipe: str, seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Means and spreads over the seeds."""
    table = {}
    for name in seeds[0]["filters"]:
        each = [one["filters"][name] for one in seeds]
        row = {what: [one[what] for one in each] for what in ("constant", "together", "alone")}
        gain = [one["together"] - one["alone"] for one in each]
        table[name] = {
            **{what: round(float(np.mean(values)), 4) for what, values in row.items()},
            "together_minus_alone": {
                "mean": round(float(np.mean(gain)), 4),
                "least": round(min(gain), 4),
                "most": round(max(gain), 4),
            },
        }
    return {
        "recipe": recipe,
        "recipe_hash": load_recipe(recipe).hash,
        "mae_on_test": table,
        "seconds": {
            "together": round(float(np.mean([one["seconds_together"] for one in seeds])), 1),
            "alone_all_filters": round(
                float(np.mean([sum(f["seconds_alone"] for f in one["filters"].values()) for one in seeds])), 1
            ),
        },
        "seeds": seeds,
    }


if __name__ == "__main__":
    main()
