"""What an epoch of fine-tuning costs, beside a plain script with transformers' Trainer that does the same work.

All load the same backbone, tokenise the same news, train all weights but the embeddings for one epoch in batches of
16, evaluate the training and the validation part and keep a checkpoint. The plain script is what a reader of the
library's guides would write: shuffled batches, padded to their longest, and attention dropped as the backbone's
configuration says; `trainer, fused` is the same script with the recipe's attention dropout, which is none. Each turn is
a process of its own, the contenders take turns, and each figure is the median over rounds: seconds per 1,000 articles,
from a loaded library to the last evaluation, and the peak memory of the process.

    python benchmarks/training_cost.py [--rungs minilm-full:256 minilm-full:512] [--rows 320] [--rounds 3] [--tiny]

With --tiny a tiny random network and made-up texts stand in, to try the script; nothing is written.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from _sets import NoDataError, labelled_set
from _students import write

from potstill.dataset import Examples
from potstill.machine import peak_memory
from potstill.students.recipes import FineTunedRecipe, load_recipe

if TYPE_CHECKING:
    from potstill.students.torch.backbones import Backbone

HERE = Path(__file__).parent
RESULT = HERE / "results" / "training_cost.json"
NEWS = "sustainability-news"
CONTENDERS = ("potstill", "trainer, fused", "trainer")
RUNGS = ("minilm-full:256", "minilm-full:512", "e5-small-full:256")
"""Recipes, each with the most tokens that it reads."""
VALIDATION = 0.2
"""Share of the rows that is evaluated and not learnt from."""


def main() -> int:
    """Measure in turns, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--one", choices=CONTENDERS, help="a single turn, its figures as JSON")
    parser.add_argument("--rungs", nargs="+", default=list(RUNGS), metavar="RECIPE:TOKENS")
    arguments = parser.parse_args()
    started = time.monotonic()
    if arguments.one:
        print(json.dumps(turn(arguments.one, arguments.rungs[0], arguments.rows, tiny=arguments.tiny)))
        return 0
    if not arguments.tiny:
        try:
            labelled_set(NEWS)
        except NoDataError as missing:
            print(f"skipped: {missing}", file=sys.stderr)
            return 0
    own = [f"--rows={arguments.rows}", *(["--tiny"] if arguments.tiny else [])]
    result = {
        "what": "one epoch of fine-tuning beside transformers' Trainer; medians over rounds that took turns",
        "rows": arguments.rows,
        "rounds": arguments.rounds,
        "rungs": {rung: in_turns(rung, arguments.rounds, own) for rung in arguments.rungs},
    }
    if not arguments.tiny:
        write(RESULT, result, started)
    return 0


def in_turns(rung: str, rounds: int, own: list[str]) -> dict[str, Any]:
    """Each contender once a round, and how many times as long the plain scripts take."""
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for place in range(rounds):
        # Who comes first changes, as a machine may grow slower or faster while it is measured.
        for name in CONTENDERS if place % 2 == 0 else reversed(CONTENDERS):
            done = subprocess.run(
                [sys.executable, __file__, "--one", name, "--rungs", rung, *own],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            turns[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(rung, name, turns[name][-1], flush=True)
    figures = {
        name: {key: statistics.median(turn[key] for turn in each) for key in each[0]} for name, each in turns.items()
    }
    seconds = {name: figures[name]["seconds_per_1000"] for name in CONTENDERS}
    ratios = {name: round(seconds[name] / seconds["potstill"], 3) for name in CONTENDERS[1:]}
    print(rung, ratios, flush=True)
    return {"median": figures, "speed_ratio": ratios, "turns": turns}


def turn(name: str, rung: str, rows: int, *, tiny: bool) -> dict[str, float]:
    """One epoch by one contender, in this process."""
    from potstill.students.torch.backbones import find_backbone, tiny_backbone

    named, _, tokens = rung.partition(":")
    preset = load_recipe(named).model_dump(mode="json")
    changes = {"max_tokens": int(tokens), "epochs": 1, "patience": None, "objective": "mse"}
    recipe = FineTunedRecipe.model_validate({**preset, **changes})
    examples = made_up(rows) if tiny else sample(labelled_set(NEWS).examples, rows)
    chosen = np.arange(len(examples)) < len(examples) * VALIDATION
    train, validation = examples.take(~chosen), examples.take(chosen)
    with tempfile.TemporaryDirectory() as folder:
        small = tiny_backbone(recipe.backbone, Path(folder) / "tiny") if tiny else None
        backbone = small or find_backbone(recipe.backbone)
        work = Path(folder) / "work"
        if name == "potstill":
            seconds = by_potstill(recipe, backbone, train, validation, work)
        else:
            seconds = by_trainer(recipe, backbone, train, validation, work, fused=name == "trainer, fused")
    return {
        "seconds_per_1000": round(1000 * seconds / len(train), 2),
        "peak_memory_mb": round((peak_memory() or 0) / 1e6, 0),
    }


def by_potstill(
    recipe: FineTunedRecipe, backbone: Backbone, train: Examples, validation: Examples, workdir: Path
) -> float:
    """Seconds of potstill's own training."""
    from potstill.training.finetune import fine_tune

    start = time.perf_counter()
    fine_tune(recipe, train, validation, workdir=workdir, holdout=0.0, backbone=backbone)
    return time.perf_counter() - start


def by_trainer(
    recipe: FineTunedRecipe, backbone: Backbone, train: Examples, validation: Examples, workdir: Path, *, fused: bool
) -> float:
    """Seconds of a plain script; labels that are missing count as 0 there, which changes nothing of its cost."""
    import transformers

    start = time.perf_counter()
    tokenizer: Any = backbone.load_tokenizer()
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        backbone.folder,
        num_labels=len(train.dimensions),
        problem_type="regression",
        **({"attention_probs_dropout_prob": recipe.attention_dropout} if fused else {}),
    )
    model.get_input_embeddings().requires_grad_(requires_grad=False)
    parts = []
    for part in (train, validation):
        tokens = tokenizer(part.texts, truncation=True, max_length=recipe.max_tokens)
        labels = np.nan_to_num(part.scores).astype(np.float32)
        names = [name for name in tokens if name != "token_type_ids"]
        parts.append([{**{n: tokens[n][i] for n in names}, "labels": labels[i]} for i in range(len(part))])
    arguments = transformers.TrainingArguments(
        output_dir=str(workdir),
        num_train_epochs=1,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=32,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        bf16=recipe.precision == "bf16",
        use_cpu=True,
        save_strategy="epoch",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=parts[0],
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
    )
    trainer.train()
    for part in parts:
        trainer.predict(part)
    return time.perf_counter() - start


def sample(examples: Examples, rows: int) -> Examples:
    """Some rows by chance, the same ones every time."""
    return examples.take(np.random.default_rng(0).permutation(len(examples))[:rows])


def made_up(rows: int) -> Examples:
    """Texts of 5 to 60 words that mean nothing."""
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(["sun", "rain", "wind"], size=random.integers(5, 60))) for _ in range(rows)]
    frame = pl.DataFrame({"id": [str(row) for row in range(rows)], "text": texts})
    return Examples(tuple(frame["id"]), frame, random.uniform(0, 10, (rows, 2)), np.arange(rows), ("warm", "wet"))


if __name__ == "__main__":
    sys.exit(main())
