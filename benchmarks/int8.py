"""Can a graph in int8 stand in for bf16? NNCF's calibrated quantisation of the student of `benchmarks/speed.py`.

Each way to quantise is calibrated on articles of its own and proven on articles that chose nothing: how far scores
move from ONNX Runtime's in fp32, what that does to the error against the labels, and how many articles change tier
where tiers begin at the median and at the upper tenth of the overall score. All are then timed in turn beside bf16, on
articles of realistic length, in seconds of the processor, which other work on the machine changes least.

    pip install nncf && POTSTILL_DATA=... python benchmarks/int8.py [--tokens 256] [--rounds 3] [--scratch FOLDER]
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _minilm import reference
from _students import write
from speed import labelled, network, realistic, spread

from potstill.backends.machine import this_machine, usable_cores
from potstill.backends.openvino import OpenVinoEncoder
from potstill.metrics import exact_interval
from potstill.speed.proving import LARGEST_CHANGED, LARGEST_MAE
from potstill.speed.timing import interleaved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from potstill.bundle import Bundle
    from potstill.types import FloatArray

RESULT = Path(__file__).parent / "results" / "int8.json"

LEARNED, CALIBRATION, LOOKED_AT = 200, 64, 600
"""Rows that the head has seen, rows after them that ranges are read from, and where the rows begin that nobody looked
at while ways were picked by hand: the proof's."""

SPAN = 10.0


def main() -> int:
    """Quantise, prove, time, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=256, help="of the window")
    parser.add_argument("--articles", type=int, default=400, help="articles of the proof")
    parser.add_argument("--timed", type=int, default=48, help="articles timed in bulk")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--scratch", type=Path, help="folder that keeps graphs for a later call")
    arguments = parser.parse_args()
    started = time.monotonic()
    data = Path(os.environ.get("POTSTILL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    path = data / "sustainability-gemini.jsonl.gz"
    if not path.is_file():
        print(f"skipped: no benchmark data at {path}; set POTSTILL_DATA", file=sys.stderr)
        return 0
    if importlib.util.find_spec("nncf") is None:
        print("skipped: nncf is not installed; pip install nncf", file=sys.stderr)
        return 0
    rows, filter_ = labelled(path)
    proof = rows.take(np.arange(LOOKED_AT, LOOKED_AT + arguments.articles))
    with tempfile.TemporaryDirectory() as name:
        scratch = arguments.scratch or Path(name)
        bundle = network(scratch, rows, filter_, arguments.tokens)
        graphs = dict(quantised(scratch, bundle, rows.texts[LEARNED : LEARNED + CALIBRATION]))
        graphs = {"bf16": bundle.folder / "model.onnx", **graphs}
        scorers = {name: scoring(bundle, graph) for name, graph in graphs.items()}
        portable = reference(bundle)
        exact = np.clip(portable.head.predict(portable.encoder.encode(proof.texts)), 0, SPAN)
        found = {name: change(exact, score(proof.texts), proof.scores) for name, score in scorers.items()}
        texts = realistic(rows.texts, arguments.timed, seed=arguments.tokens)
        work: dict[str, Callable[[], object]] = {
            name: (lambda score=score: score(texts)) for name, score in scorers.items()
        }
        timed = interleaved(work, arguments.rounds, clock=time.process_time)
        seconds = {name: np.array(values) for name, values in timed.items()}
    for name in scorers:
        found[name]["articles_per_processor_second"] = spread(len(texts) / seconds[name])
        found[name]["times_bf16"] = spread(seconds["bf16"] / seconds[name])
    facts = {"tokens": arguments.tokens, "threads": usable_cores(), "cpu": this_machine().model_dump()}
    result = {**facts, "calibrated_on": CALIBRATION, "proven_on": len(proof), "ways": found}
    write(arguments.out, result, started)
    return 0


def quantised(scratch: Path, bundle: Bundle, texts: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Graphs in int8 by what was left out, each written once.

    Products of attention weigh little and the words' vectors cost nothing, so that both may stay as they are; what
    comes out of GELU is the hardest to hold in eight bits, and goes into the second product of each feed-forward.
    """
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    model = openvino.Core().read_model(bundle.folder / "model.onnx")
    products = {one.get_friendly_name(): one for one in model.get_ops() if one.get_type_name() == "MatMul"}
    weights = {name: one.input(1).get_partial_shape() for name, one in products.items()}
    attention = [name for name, shape in weights.items() if shape.is_dynamic]
    narrowing = [
        name for name, shape in weights.items() if shape.is_static and shape[0].get_length() > shape[1].get_length()
    ]
    kept: dict[str, tuple[list[str], list[str], float]] = {
        "int8, as documented": ([], [], 0.95),
        "int8, products of weights": (attention, ["Gather"], 0.9),
        "int8, products of weights but for what follows GELU": ([*attention, *narrowing], ["Gather"], 0.85),
    }
    inputs = [
        {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), dtype=np.int64)}
        for ids in reference(bundle).encoder.tokens(texts)  # type: ignore[attr-defined]  # it runs a graph
    ]
    for name, (names, types, alpha) in kept.items():
        path = scratch / f"{name.replace(',', '').replace(' ', '-')}-{bundle.manifest.encoders[0].max_tokens}.xml"
        if not path.exists():
            smooth = nncf.AdvancedSmoothQuantParameters(matmul=alpha)
            made = nncf.quantize(
                model.clone(),
                nncf.Dataset(inputs),
                subset_size=len(inputs),
                model_type=nncf.ModelType.TRANSFORMER,
                ignored_scope=nncf.IgnoredScope(names=names, types=types, validate=False),
                advanced_parameters=nncf.AdvancedQuantizationParameters(smooth_quant_alphas=smooth),
            )
            openvino.save_model(made, path, compress_to_fp16=False)
        yield name, path


def scoring(bundle: Bundle, graph: Path) -> Callable[[Sequence[str]], FloatArray]:
    """Scores, clipped, by a graph; what is not in int8 runs in bf16."""
    cores = usable_cores()
    facts = bundle.manifest.encoders[0]
    encoder = OpenVinoEncoder(
        graph,
        bundle.folder / "tokenizer.json",
        facts,
        precision="bf16",
        threads=cores,
        streams=cores,
        token_budget=512,
    )
    head = reference(bundle).head
    return lambda texts: np.clip(head.predict(encoder.encode(texts)), 0, SPAN)


def change(exact: FloatArray, found: FloatArray, labels: FloatArray) -> dict[str, Any]:
    """What a way changes of the exact scores, and whether `optimize` would let it pass."""
    distance = np.abs(found - exact)
    moved = float(np.nanmean(np.abs(found - labels)) - np.nanmean(np.abs(exact - labels)))
    edges = np.quantile(exact.mean(axis=1), [0.5, 0.9])
    changed = int((tiers(exact, edges) != tiers(found, edges)).sum())
    bound = exact_interval(changed, len(exact), 0.9)[1]
    return {
        "largest_difference": round(float(distance.max()), 4),
        "mean_difference": round(float(distance.mean()), 4),
        "mae_change": round(moved, 5),
        "changed_tiers": changed,
        "changed_tiers_bound": round(bound, 4),
        "passes": bool(abs(moved) <= LARGEST_MAE * SPAN and bound <= LARGEST_CHANGED),
    }


def tiers(scores: FloatArray, edges: NDArray[np.float64]) -> NDArray[np.intp]:
    """The tier of each article by its overall score."""
    return np.searchsorted(edges, scores.mean(axis=1), side="right")


if __name__ == "__main__":
    sys.exit(main())
