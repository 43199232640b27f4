"""Tests that students with distributions, joined layers or chunks score the same in a bundle as in training."""

import numpy as np
import polars as pl
import pytest
from tiny_bundle import FILTER, articles, calibration_of, examples, golden
from tiny_network import TEXTS, TinyNetwork, tiny_bert, tiny_tokenizer

from potstill.bundle import EncoderFiles, write_bundle
from potstill.export import export_encoder
from potstill.scorer import Scorer
from potstill.students.chunks import Chunks
from potstill.students.neural import fit_encoder_head
from potstill.students.recipes import load_recipe
from potstill.students.tfidf import fit_tfidf

FRAME = articles(12, seed=5)[0]


def scored(bundle, student):
    """Return the scores of new articles by the scorer and by the student itself."""
    texts = [FILTER.text.of(title, content) for title, content in zip(FRAME["title"], FRAME["content"], strict=True)]
    return Scorer.load(bundle.folder).score_batch(FRAME), student.predict(pl.DataFrame({"text": texts}))


def written(folder, student, encoders=()):
    return write_bundle(
        folder,
        student=student,
        recipe="median",
        filter_=FILTER,
        calibration=calibration_of(student),
        golden=golden(examples()),
        encoders=encoders,
    )


def test_a_tfidf_median(tmp_path):
    student = fit_tfidf(load_recipe("tfidf-median"), examples())
    verdicts, own = scored(written(tmp_path / "bundle", student), student)
    assert verdicts.height == 12
    assert np.unique(own[:, 0]).size > 1
    assert Scorer.load(tmp_path / "bundle").bundle.student.predict(examples().frame) == pytest.approx(
        student.predict(examples().frame)
    )


@pytest.mark.parametrize("chunks", [None, Chunks(chars=120, most=3)])
@pytest.mark.by_example(2)
def test_layers_of_a_network_and_their_median(tmp_path, chunks):
    network = TinyNetwork(tiny_bert(), tiny_tokenizer(), layers=(2, 1))
    recipe = load_recipe("minilm-median").model_copy(update={"chunks": chunks})
    student = fit_encoder_head(recipe, examples(), encoder=network)
    exported = export_encoder(network, tmp_path / "encoder", TEXTS)
    files = EncoderFiles(exported.facts, {"model": exported.model, "tokenizer": exported.tokenizer})
    bundle = written(tmp_path / "bundle", student, [files])
    verdicts, own = scored(bundle, student)
    assert verdicts.height == 12
    loaded = bundle.student
    assert loaded.chunks == chunks
    assert loaded.encoder.facts.layers == (2, 1)
    assert loaded.predict(examples().frame) == pytest.approx(student.predict(examples().frame), abs=1e-3)
    assert own.shape == (12, 2)
