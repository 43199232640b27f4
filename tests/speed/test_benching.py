import json

import pytest
from tiny_bundle import articles, neural_bundle, tfidf_bundle
from tiny_run import started

from potstill.backends.machine import this_machine
from potstill.backends.plan import PORTABLE, bench_path
from potstill.errors import BadInput, BundleError
from potstill.files import read_json
from potstill.pipeline.material import labelled_rows
from potstill.scorer import Scorer
from potstill.speed.benching import Bench, bench_bundle, write_bench
from potstill.speed.new_process import measure_fresh
from potstill.speed.stages import STAGES, stage_seconds


@pytest.fixture(scope="module")
def tfidf(tmp_path_factory):
    return tfidf_bundle(tmp_path_factory.mktemp("tfidf") / "bundle").folder


@pytest.fixture(scope="module")
def neural(tmp_path_factory):
    folder = tmp_path_factory.mktemp("neural")
    return neural_bundle(folder / "bundle", folder / "scratch").folder


@pytest.fixture(scope="module")
def news(tmp_path_factory):
    frame, _ = articles(30, seed=5)
    path = tmp_path_factory.mktemp("news") / "news.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dicts()))
    return path


@pytest.fixture(scope="module")
def measured(tfidf, news):
    return bench_bundle(tfidf, news, price_per_hour=0.36, limit=25, rounds=2)


def test_the_record_says_what_was_measured_on_what(measured, news):
    assert measured.measured_on == f"25 articles of {news}"
    assert measured.machine == this_machine()
    assert (measured.student, measured.variant) == ("tfidf-ridge", None)
    assert measured.mean_words == 18
    assert measured.latency.articles == 25
    assert 0 < measured.latency.p50 <= measured.latency.p95 <= measured.latency.p99


def test_throughput_is_given_by_length_and_by_number_at_a_time(measured):
    assert [(rate.words, rate.batch) for rate in measured.by_length] == [(50, 16), (100, 16), (200, 16), (400, 16)]
    assert [(rate.words, rate.batch) for rate in measured.by_batch] == [(200, 1), (200, 4), (200, 16), (200, 64)]
    assert all(0 < rate.low <= rate.articles_per_second <= rate.high for rate in measured.by_length)


def test_the_cost_of_a_million_is_hours_times_the_price(measured):
    hours = 1e6 / measured.articles_per_second / 3600
    assert measured.cost.per_million == pytest.approx(0.36 * hours, rel=1e-2)


def test_a_process_of_its_own_tells_memory_and_the_time_to_the_first_score(measured):
    assert measured.fresh.first_score_seconds > 0
    if this_machine().system.startswith("Linux"):
        assert 10e6 < measured.fresh.memory_loaded_bytes <= measured.fresh.memory_peak_bytes


def test_the_record_is_kept_beside_the_bundle(tfidf, measured):
    path = write_bench(tfidf, measured)
    assert path == bench_path(tfidf)
    assert Bench.model_validate(read_json(path)) == measured


def test_the_stages_of_a_student_without_a_network(measured):
    assert [one.stage for one in measured.stages] == ["read", "window", "prefilter", "student", "decide", "write"]
    assert sum(one.share for one in measured.stages) == pytest.approx(1, abs=1e-3)


def test_the_stages_of_a_network_by_a_clock_that_ticks_once_a_look(neural, news, tmp_path):
    ticks = iter(range(1000))
    seconds = stage_seconds(Scorer.load(neural), news, tmp_path / "out.jsonl", clock=lambda: float(next(ticks)))
    assert list(seconds) == [stage for stage in STAGES if stage != "student"]
    assert set(seconds.values()) == {1.0}
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 30


def test_a_network_says_how_it_ran(neural, news):
    assert bench_bundle(neural, news, limit=3, rounds=1).variant == PORTABLE


def test_single_articles_are_timed_until_patience_ends(tfidf, news):
    ticks = iter(range(100_000))
    found = bench_bundle(tfidf, news, rounds=1, patience=22.0, clock=lambda: float(next(ticks)))
    assert found.latency.articles == 23


def test_a_runs_own_rows_are_taken_and_without_any_golden_texts(tfidf, tmp_path):
    run = started(tmp_path / "run")
    tfidf_bundle(run.path("bundle"))
    rows = labelled_rows(run.path("bundle"), 5)
    assert "of the test part" in bench_bundle(run.path("bundle"), rows, limit=5, rounds=1).measured_on
    assert len(labelled_rows(tfidf, 5)) == 0
    assert "golden texts" in bench_bundle(tfidf, limit=5, rounds=1).measured_on


def test_articles_without_a_text_are_no_material(tfidf, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"content": " "}\n')
    with pytest.raises(BadInput, match="no article with a text"):
        bench_bundle(tfidf, empty)


@pytest.mark.parametrize("price", [-1.0, float("nan")])
def test_a_price_is_nothing_or_more(tfidf, price):
    with pytest.raises(BadInput, match="price per hour"):
        bench_bundle(tfidf, price_per_hour=price)


def test_a_process_that_fails_says_why(tmp_path, news):
    with pytest.raises(BundleError, match=r"exits with 1: .*not a bundle"):
        measure_fresh(tmp_path / "nothing", news)
