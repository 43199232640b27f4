"""Tests of when a student that is bundled gets a tier head."""

import dataclasses

import numpy as np
import pytest
from tiny_bundle import FILTER, examples, neural_student, tfidf_student

from potstill.bundle.exporting import with_tier_head


def rows(positives):
    """Return 60 rows of which this many are in the positive tier."""
    made = examples(60)
    scores = np.where(np.arange(60)[:, None] < positives, 8.0, 4.0) * np.ones((60, 2))
    return dataclasses.replace(made, scores=scores)


@pytest.mark.threshold(name="FEWEST_TO_DECIDE")
@pytest.mark.parametrize(
    ("positives", "learned"), [(9, False), (10, True), (11, True), (49, True), (50, True), (51, False)]
)
def test_a_tier_head_needs_10_articles_in_the_tier_and_10_outside_of_it(positives, learned):
    student, outputs = with_tier_head(neural_student(), rows(positives), FILTER)
    assert (student.tiers is not None) is learned
    assert (outputs is not None) is learned


def test_a_student_without_an_encoder_gets_none():
    student = tfidf_student()
    assert with_tier_head(student, rows(30), FILTER) == (student, None)
