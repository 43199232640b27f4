from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from labels import WEATHER, news, rows_with

from potstill.audit import Answer, labelled, of_files
from potstill.audit.suspects import baselines_of, held_out, suspects_of, suspicion
from potstill.students.recipes import load_recipe
from potstill.training import fitter


@pytest.fixture(scope="module")
def heard():
    """Rows of which one has wrong labels, and the predictions of cheap students for them."""
    articles, answers = news(120, noise=0.2)
    still = next(row["id"] for row in articles.to_dicts() if "still air and dry" in row["content"])
    answers[still] = Answer(np.array([[10.0, 10.0]]), "the oracle read another article")
    rows = labelled(articles, {"x": answers}, WEATHER)
    return SimpleNamespace(rows=rows, found=held_out(rows), wrong=still)


class TestSuspects:
    def test_the_label_that_was_planted_comes_first_with_its_text_and_evidence(self, heard):
        first = suspects_of(heard.rows, heard.found).items[0]
        assert first.id == heard.wrong
        assert "still air" in first.text
        assert first.evidence == "the oracle read another article"
        assert first.labels[first.worst] == 10.0
        assert first.expected[first.worst] < 6
        assert first.suspicion > 3

    def test_the_list_is_as_long_as_asked_and_falls(self, heard):
        items = suspects_of(heard.rows, heard.found, most=7).items
        assert len(items) == 7
        assert [each.suspicion for each in items] == sorted((each.suspicion for each in items), reverse=True)

    def test_an_ordinary_row_has_a_suspicion_of_one(self):
        residuals = np.array([[1.0, -3.0], [-1.0, 3.0]])
        assert suspicion(residuals).tolist() == [1.0, 1.0]

    def test_a_masked_dimension_makes_nobody_suspect(self):
        residuals = np.array([[1.0, np.nan], [-1.0, 3.0], [np.nan, np.nan]])
        assert suspicion(residuals)[:2].tolist() == [1.0, 1.0]
        assert np.isnan(suspicion(residuals)[2])


class TestBaselines:
    def test_sources_that_tell_the_wind_remove_some_of_the_constants_error(self, heard):
        found = baselines_of(heard.rows, heard.found, resamples=100)
        error = {rung.name: rung.mae for rung in found.rungs}
        assert error["source-median"] < error["constant"]
        assert error[heard.found.student] < error["source-median"]
        assert found.source_gain == pytest.approx(1 - error["source-median"] / error["constant"], abs=1e-6)
        assert found.source_gain_interval.low > 0

    def test_without_sources_there_is_no_such_rung(self):
        rng = np.random.default_rng(0)
        rows = rows_with(rng.uniform(0, 10, (20, 2)), [f"story {i} of rain and wind number {i}" for i in range(20)])
        found = baselines_of(rows, held_out(rows), resamples=50)
        assert [rung.name for rung in found.rungs] == ["constant", "tfidf-words-characters"]
        assert found.source_gain is None


def test_sources_of_published_news_labels_tell_a_fifth_of_a_constants_error(data_folder):
    filter_, articles, oracles = of_files(data_folder / "sustainability-gemini.jsonl.gz")
    # No student reads the text here, so the slow search for near-duplicates is avoided.
    news_only = articles.filter(~pl.col("id").str.starts_with("science_")).with_columns(content=pl.lit(""))
    rows = labelled(news_only.with_columns(title=pl.lit("")), oracles, filter_)
    fold = np.arange(len(rows)) % 5
    errors = {}
    for name in ("constant", "source-median"):
        fit, examples = fitter(load_recipe(name)), rows.examples()
        scores = np.full(rows.scores.shape, np.nan)
        for number in range(5):
            scores[fold == number] = fit(examples.take(fold != number)).predict(examples.take(fold == number).frame)
        errors[name] = float(np.abs(scores - rows.scores).mean())
    assert errors["constant"] == pytest.approx(1.518, abs=0.01)
    assert errors["source-median"] == pytest.approx(1.20, abs=0.02)
