"""Bundles that the tests of the scorer share: one without and one with a network; no test changes them."""

import pytest
from tiny_bundle import YAML, neural_bundle, tfidf_bundle

from potstill.filters import parse_filter
from potstill.scorer import Scorer


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    far = parse_filter(YAML.replace("good-news", "far-news"), "Score the farness.", "far-news")
    return {
        "tfidf": tfidf_bundle(folder / "tfidf").folder,
        "neural": neural_bundle(folder / "neural", folder / "scratch").folder,
        "far": tfidf_bundle(folder / "far", far).folder,
    }


@pytest.fixture(scope="session")
def tfidf(folders):
    return Scorer.load(folders["tfidf"])


@pytest.fixture(scope="session")
def neural(folders):
    return Scorer.load(folders["neural"])


@pytest.fixture(scope="session")
def two(folders):
    """A scorer of two filters, both without a network."""
    return Scorer.load([folders["tfidf"], folders["far"]])
