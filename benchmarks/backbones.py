"""What each known encoder costs per article, and whether its exported graph gives torch's features at every length.

The three encoders that the presets use, with the layers of the `...-median` presets, in ONNX Runtime in float32, as a
bundle runs them. Articles are stories of the Lee corpus; the time includes tokenizing. Rounds alternate between the
encoders, and the fastest one counts, since other programs may use the machine. Encoders that are not installed are
left out.

    python benchmarks/backbones.py [--stories 24] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _sets import HERE, lee
from _students import write

from potstill.backends.onnx import OnnxEncoder
from potstill.bundle.golden import TEXTS
from potstill.errors import MissingModel
from potstill.export import export_encoder
from potstill.students.recipes import load_recipe
from potstill.students.torch.encoder import TorchEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULT = HERE / "results" / "backbones.json"
PRESETS = ("minilm-median", "e5-median", "mpnet-median")
LENGTHS = (7, 8, 9, 16, 17, 18, 32, 33, 64, 65, 100, 128, 129, 200, 256, 300, 384, 400)
"""Tokens of the texts that graph and torch are compared on; MPNet's buckets of distances begin near many of them."""


def main() -> None:
    """Export, compare, time, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stories", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    started = time.monotonic()
    stories = lee()[1][:: max(1, 350 // arguments.stories)][: arguments.stories]
    with tempfile.TemporaryDirectory() as scratch:
        found = {}
        encoders = {}
        for preset in PRESETS:
            try:
                found[preset], encoders[preset] = _exported(preset, Path(scratch) / preset)
            except MissingModel as missing:
                print(f"{preset} is left out: {missing}")
        for name, milliseconds in _times(encoders, stories, arguments.rounds).items():
            found[name] |= milliseconds
    words = [len(story.split()) for story in stories]
    result = {
        "what": "milliseconds per article, ONNX Runtime, float32, one thread: the fastest round; and the largest "
        "difference of a feature from torch's, as a share of the largest feature, at each number of tokens",
        "stories": len(stories),
        "words_median": int(np.median(words)),
        "rounds": arguments.rounds,
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "encoders": found,
    }
    write(RESULT, result, started)


def _exported(preset: str, folder: Path) -> tuple[dict[str, Any], OnnxEncoder]:
    recipe = load_recipe(preset)
    encoder = TorchEncoder.open(recipe.backbones[0], max_tokens=recipe.max_tokens, layers=recipe.layers)
    exported = export_encoder(encoder, folder, [text.content for text in TEXTS])
    graph = OnnxEncoder(exported.model, exported.tokenizer, exported.facts, threads=1)
    texts = [_text_of(length, encoder) for length in LENGTHS]
    ours, theirs = graph.encode(texts), encoder.encode(texts)
    differences = np.abs(ours - theirs).max(axis=1) / np.abs(theirs).max()
    facts = {
        "backbone": encoder.facts.backbone,
        "sha256": encoder.facts.backbone_sha256,
        "parameters": sum(parameter.numel() for parameter in encoder.model.parameters()),
        "attention_fused": exported.fused,
        "graph_mb": round(exported.model.stat().st_size / 1e6),
        "differences": {length: float(f"{one:.2g}") for length, one in zip(LENGTHS, differences, strict=True)},
    }
    print(f"{preset}: largest difference {differences.max():.2g}", flush=True)
    return facts, graph


def _text_of(length: int, encoder: TorchEncoder) -> str:
    """Return a text with that many tokens, special ones and the prefix included."""
    story = lee()[1][0]
    text = ""
    for letter in (story + " ") * 20:
        longer = text + letter
        if _tokens(longer, encoder) > length:
            return text
        text = longer
    raise ValueError(f"no text has {length} tokens")


def _tokens(text: str, encoder: TorchEncoder) -> int:
    return len(encoder.tokenizer(encoder.facts.prefix + text)["input_ids"])


def _times(encoders: dict[str, OnnxEncoder], stories: Sequence[str], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds per article, one by one and all at once."""
    best: dict[str, dict[str, float]] = {name: {} for name in encoders}
    for _ in range(rounds):
        for name, encoder in encoders.items():
            clock = time.perf_counter()
            for story in stories:
                encoder.encode([story])
            alone = time.perf_counter() - clock
            clock = time.perf_counter()
            encoder.encode(stories)
            together = time.perf_counter() - clock
            for key, seconds in (("alone_ms", alone), ("together_ms", together)):
                own = round(1000 * seconds / len(stories), 1)
                best[name][key] = min(own, best[name].get(key, own))
    return best


if __name__ == "__main__":
    main()
