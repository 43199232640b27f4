"""Bundles that are built within a second: a TF-IDF one, and one with a tiny encoder and random heads."""

import dataclasses

import numpy as np
import polars as pl
from kept import kept
from tiny_network import TEXTS as NETWORK_TEXTS
from tiny_network import TinyNetwork, tiny_bert, tiny_tokenizer

from potstill.bundle import EncoderFiles, load_bundle, write_bundle
from potstill.bundle.golden import TEXTS, word_lists
from potstill.calibration import fit_calibration
from potstill.dataset import Examples
from potstill.export import export_encoder
from potstill.filters import parse_filter
from potstill.students.heads import LinearHead
from potstill.students.neural import NeuralStudent
from potstill.students.recipes import load_recipe
from potstill.students.tfidf import fit_tfidf
from potstill.verdict import cap_hits

YAML = """
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
  - {any: [advertisement], unless: [ban], cap: 1.0, reason: paid for}
tiers:
  - {name: lead, when: overall >= 6, positive: true}
  - {name: page, when: overall >= 3}
  - {name: drawer}
prefilter:
  drop:
    - {reason: code page, any: [git clone]}
"""

FILTER = parse_filter(YAML, "Score the gain and the nearness.", "good-news")

_GOOD = ("library", "school", "harvest", "rescued", "clinic", "river", "bridge", "garden")
_BAD = ("fire", "theft", "crash", "strike", "storm", "fraud", "drought", "closed")
_NEAR = ("town", "street", "council", "market", "parish", "station")
_FAR = ("overseas", "minister", "embassy", "ocean", "treaty", "capital")


def articles(count, seed=0):
    """Return titles and contents of short synthetic news; good words raise gain, near words raise nearness."""
    rng = np.random.default_rng(seed)
    rows, scores = [], []
    for number in range(count):
        gain, near = rng.uniform(0, 1, 2)
        words = [rng.choice(_GOOD if rng.uniform() < gain else _BAD) for _ in range(8)]
        words += [rng.choice(_NEAR if rng.uniform() < near else _FAR) for _ in range(8)]
        rng.shuffle(words)
        rows.append((f"a{number}", f"Story {number}", " ".join(words)))
        good, close = (np.mean([word in kind for word in words]) * 2 for kind in (_GOOD, _NEAR))
        scores.append((10 * good, 10 * close))
    frame = pl.DataFrame(rows, schema=["id", "title", "content"], orient="row")
    return frame, np.array(scores)


def examples(count=120, seed=0):
    frame, scores = articles(count, seed)
    texts = [FILTER.text.of(title, content) for title, content in zip(frame["title"], frame["content"], strict=True)]
    frame = frame.select("id").with_columns(pl.Series("text", texts))
    return Examples(tuple(frame["id"]), frame, scores, np.arange(count), FILTER.dimension_names)


def golden(train):
    return [*TEXTS, *word_lists(train.frame["text"].to_list(), seed=0)]


def calibration_of(student, seed=1, filter_=FILTER):
    rows = examples(80, seed=seed)
    predicted = student.predict(rows.frame)
    return fit_calibration(
        predicted,
        rows.scores,
        rows.clusters,
        dimensions=filter_.dimension_names,
        rules=filter_,
        cap_hits=cap_hits(rows.frame["text"], filter_),
    )


def tfidf_student(seed=0):
    return fit_tfidf(load_recipe("tfidf-ridge"), examples(seed=seed), seed=seed)


def tfidf_bundle(folder, filter_=FILTER):
    kept(folder, lambda own: _tfidf_bundle(own, filter_), "tfidf bundle", filter_.content_hash)
    return load_bundle(folder, check="hashes")


def _tfidf_bundle(folder, filter_):
    student = tfidf_student()
    return write_bundle(
        folder,
        student=student,
        recipe="tfidf-ridge",
        filter_=filter_,
        calibration=calibration_of(student, filter_=filter_),
        golden=golden(examples()),
    )


def neural_student(seed=0, tokenizer_seed=0):
    network = TinyNetwork(tiny_bert(seed=seed), tiny_tokenizer(tokenizer_seed))
    rng = np.random.default_rng(seed)
    head = LinearHead(rng.normal(0, 0.6, (32, 2)), np.array([5.0, 4.0]))
    return NeuralStudent(network, head, FILTER.dimension_names)


def neural_bundle(folder, scratch, seed=0, tokenizer_seed=0):
    student = neural_student(seed, tokenizer_seed)
    exported = export_encoder(student.encoder, scratch, NETWORK_TEXTS)
    files = EncoderFiles(exported.facts, {"model": exported.model, "tokenizer": exported.tokenizer})
    return write_bundle(
        folder,
        student=student,
        recipe="tiny",
        filter_=FILTER,
        calibration=calibration_of(student),
        golden=golden(examples()),
        encoders=[files],
    )


def with_head(student, **changes):
    return dataclasses.replace(student, head=dataclasses.replace(student.head, **changes))
