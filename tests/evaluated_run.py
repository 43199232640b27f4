"""A run that passes through the whole pipeline in seconds: synthetic news, a replayed oracle, no torch."""

import json

import numpy as np
from kept import kept

from potstill.filters import parse_filter
from potstill.oracle import open_oracle
from potstill.pipeline.bundle import build_bundle
from potstill.pipeline.dataset import build_dataset
from potstill.pipeline.evaluate import evaluate_run
from potstill.pipeline.label import label_run
from potstill.pipeline.run import Run
from potstill.pipeline.train import train_run

FILTER = parse_filter(
    """
name: good-news
version: 3
description: News that is good, and near.
text: {max_chars: 600, keep: head}
dimensions:
  gain: {weight: 0.75, description: How much people gain}
  near: {weight: 0.25, description: How near it is}
gates:
  - {when: gain < 2, cap: 3.0, reason: no gain}
caps:
  - {any: [advertisement], cap: 1.0, reason: paid for}
tiers:
  - {name: lead, when: overall >= 6, positive: true}
  - {name: page, when: overall >= 3}
  - {name: drawer}
""",
    "Score the gain and the nearness.",
    "good-news",
)

_GOOD = ("library", "school", "harvest", "rescued", "clinic", "river", "bridge", "garden")
_BAD = ("fire", "theft", "crash", "strike", "storm", "fraud", "drought", "closed")
_NEAR = ("town", "street", "council", "market", "parish", "station")
_FAR = ("overseas", "minister", "embassy", "ocean", "treaty", "capital")


def stories(count, seed=0, *, noise=0.4, passes=2):
    """Return articles whose good words raise gain and whose near words raise nearness, with an oracle's answers."""
    rng = np.random.default_rng(seed)
    articles, answers = [], []
    for number in range(count):
        gain, near = rng.uniform(0, 1, 2)
        words = [str(rng.choice(_GOOD if rng.uniform() < gain else _BAD)) for _ in range(8)]
        words += [str(rng.choice(_NEAR if rng.uniform() < near else _FAR)) for _ in range(8)]
        rng.shuffle(words)
        # One id would close a script element if it were not escaped.
        id_ = f"a{number}" if number else "a0</script>"
        articles.append({"id": id_, "title": f"Story {number} <b>&", "content": " ".join(words)})
        truth = (10 * np.mean([w in _GOOD for w in words]) * 2, 10 * np.mean([w in _NEAR for w in words]) * 2)
        samples = np.clip(np.round(2 * (np.array(truth) + rng.normal(0, noise, (passes, 2)))) / 2, 0, 10)
        answers.append({"id": id_, "samples": [{"scores": {"gain": a, "near": b}} for a, b in samples.tolist()]})
    return articles, answers


def bundled_run(folder, count=90, **kinds):
    """Create a run up to its bundle, which contains the TF-IDF student."""
    kept(folder, lambda own: _bundled(own, count, **kinds), "bundled", count, tuple(kinds.items()))
    return Run.open(folder / "run")


def evaluated_run(folder, count=90, **kinds):
    """Create a bundled run and evaluate it."""
    kept(folder, lambda own: _evaluated(own, count, **kinds), "evaluated", count, tuple(kinds.items()))
    return Run.open(folder / "run")


def _evaluated(folder, count, **kinds):
    evaluate_run(bundled_run(folder, count, **kinds), k=5, resamples=100)


def _bundled(folder, count, **kinds):
    articles, answers = stories(count, **kinds)
    for name, rows in (("articles", articles), ("answers", answers)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    samples = len(answers[0]["samples"])
    oracle = open_oracle(f"replay:{folder / 'answers.jsonl'}")
    label_run(folder / "run", FILTER, folder / "articles.jsonl", oracle, samples=samples)
    run = Run.open(folder / "run")
    build_dataset(run)
    train_run(run, ["constant", "tfidf-ridge"])
    build_bundle(run, anyway=kinds.get("noise", 0) > 100)
