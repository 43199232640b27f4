"""Tests of time estimates: the time for a few texts, scaled to all of them and to the number of epochs."""

import pytest
import trainings

from potstill.students.recipes import load_recipe
from potstill.training import estimating
from potstill.training.estimating import PROBED, estimate, probe


class SlowEncoder:
    """Takes a simulated second per hundred characters."""

    def __init__(self):
        self.now = 0.0
        self.read = []

    def encode(self, texts):
        self.now += sum(len(text) for text in texts) / 100
        self.read.append(len(texts))

    def clock(self):
        return self.now


def test_the_texts_that_are_read_stand_for_all_lengths():
    encoder = SlowEncoder()
    texts = ["x" * length for length in range(1, 1201)]

    assert probe(encoder, texts, clock=encoder.clock) == pytest.approx(6.0, rel=0.02)
    assert encoder.read == [2, PROBED]


def test_an_epoch_learns_from_one_part_and_reads_both(monkeypatch):
    encoder = SlowEncoder()
    monkeypatch.setattr(estimating, "_encoders", lambda *_: [encoder])
    train, validation = ["x" * 100] * 80, ["x" * 100] * 20

    frozen = estimate(load_recipe("minilm-ridge"), train, validation, clock=encoder.clock)
    tuned = estimate(trainings.recipe_of(epochs=2), train, validation, clock=encoder.clock)

    assert frozen == pytest.approx(100)
    assert tuned == pytest.approx(2 * (3 * 80 + 100))


def test_a_student_without_a_backbone_is_not_estimated():
    assert estimate(load_recipe("tfidf-ridge"), ["a"], ["b"]) == 0
