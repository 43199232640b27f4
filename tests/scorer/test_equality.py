"""Tests that a score does not depend on batch, position, other articles, threads or the library that runs the network.

The bounds are the documented ones: 0.001 in fp32 on the scale of 0 to 10, and 0.1 in bfloat16. They hold for raw
scores, before a calibration that may be flat or steep.
"""

from functools import cache

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import neural_bundle, neural_student, tfidf_bundle
from tiny_network import TEXTS

from potstill.backends.plan import Variant
from potstill.bundle.reading import open_encoder
from potstill.students.neural import NeuralStudent
from potstill.types import Article

FP32, BF16 = 1e-3, 0.1
WAYS = {
    "tfidf": FP32,
    "onnx, one thread": FP32,
    "onnx, three threads": FP32,
    "torch": FP32,
    "openvino f32": FP32,
    "openvino bf16": BF16,
}

words = st.lists(st.sampled_from(["library", "fire", "council", "harvest", "市政府", "Brücke", "🙂", "a"]), max_size=40)
texts = words.map(" ".join)


@pytest.fixture(scope="module")
def student_of(tmp_path_factory):
    """Return students by the way they run; all students with a network have the same weights."""
    folder = tmp_path_factory.mktemp("equality")
    neural = neural_bundle(folder / "neural", folder / "scratch")

    @cache
    def opened(way):
        if way == "tfidf":
            return tfidf_bundle(folder / "tfidf").student
        if way == "torch":
            return neural_student()
        library, _, how = way.partition(" ")
        if library == "openvino":
            openvino = pytest.importorskip("potstill.backends.openvino", exc_type=ImportError)
            precision = {"f32": "f32", "bf16": "bf16"}[how]
            if precision not in openvino.precisions():
                pytest.skip(f"this processor has no {precision}")
            variant = Variant(backend="openvino", precision=precision, threads=2)
        else:
            variant = Variant(threads=3 if how == "three threads" else 1)
        head, names = neural.student.head, neural.student.dimensions
        return NeuralStudent(open_encoder(folder / "neural", neural.manifest, variant), head, names)

    return opened


def raw(student, batch):
    return student.predict(pl.DataFrame({"text": batch}, schema={"text": pl.String}))


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=25, deadline=None)
@given(text=texts, others=st.lists(texts, max_size=12), place=st.integers(0, 12))
def test_alone_or_anywhere_among_others_of_any_length(student_of, way, text, others, place):
    student = student_of(way)
    place = min(place, len(others))
    among = raw(student, [*others[:place], text, *others[place:]])[place]
    np.testing.assert_allclose(among, raw(student, [text])[0], atol=WAYS[way])


@pytest.mark.parametrize("way", [way for way in WAYS if way not in {"tfidf", "torch"}])
@settings(max_examples=15, deadline=None)
@given(batch=st.lists(texts, min_size=1, max_size=12))
def test_every_library_says_what_torch_says(student_of, way, batch):
    np.testing.assert_allclose(raw(student_of(way), batch), raw(student_of("torch"), batch), atol=WAYS[way])


@pytest.mark.parametrize("kind", ["tfidf", "neural"])
@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(len(TEXTS))), size=st.integers(1, len(TEXTS)))
def test_verdicts_in_batches_of_any_size_and_order_are_those_of_single_articles(request, kind, order, size):
    scorer = request.getfixturevalue(kind)
    alone = {verdict.id: verdict for verdict in (scorer.score(Article(str(at), "", TEXTS[at])) for at in order)}
    for verdict in scorer.score_many([Article(str(at), "", TEXTS[at]) for at in order], batch_size=size):
        one = alone[verdict.id]
        assert (verdict.tier, verdict.reason) == (one.tier, one.reason)
        assert verdict.scores == pytest.approx(one.scores, abs=FP32)
