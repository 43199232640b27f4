"""Tests of speed in a report, and as a chart: it shows the record next to the bundle, if it matches the bundle."""

import pytest
from evaluated_run import evaluated_run

from potstill.errors import BadInput
from potstill.files import read_json, write_json
from potstill.report.blocks import Panels, Paragraph, Shown, Table
from potstill.report.facts import collect, json_record
from potstill.report.sections.specifications import specifications
from potstill.report.speed import prepare_rates, prepare_stages, write_picture
from potstill.speed.benching import Bench, bench_bundle, write_bench


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = evaluated_run(tmp_path_factory.mktemp("speed"))
    write_bench(run.path("bundle"), bench_bundle(run.path("bundle"), price_per_hour=0.5, limit=5, rounds=1))
    return run


@pytest.fixture(scope="module")
def bench(run):
    folder = run.path("bundle").with_name("bundle.speed")
    return json_record(run.folder, folder / "bench.json", Bench)


def lines_of(section):
    table = next(
        block for block in section.blocks if isinstance(block, Table) and block.caption == "Scoring speed and memory"
    )
    return {row.cells[0][0]: row.cells[1] for row in table.rows}


def test_the_specifications_say_what_was_measured(run, bench):
    section = specifications(collect(run))
    lines = lines_of(section)
    assert lines["One article, median"][0].fact == bench.at("latency", "p50")
    assert lines["Peak memory"][0].fact == bench.at("fresh", "memory_peak_bytes")
    assert lines["Cost of a million articles"][0].fact == bench.at("cost", "per_million")
    assert all(part.fact.recorded for text in lines.values() for part in text if isinstance(part, Shown))
    panels = next(block for block in section.blocks if isinstance(block, Panels))
    assert [len(figure.data) for figure in panels.items] == [4, 4, 6]


def test_what_was_measured_of_another_bundle_is_not_shown(run):
    path = run.path("bundle").with_name("bundle.speed") / "bench.json"
    kept = read_json(path)
    write_json(path, kept | {"bundle": "0" * 64})
    section = specifications(collect(run))
    write_json(path, kept)
    assert not any(isinstance(block, Panels) for block in section.blocks)
    words = "".join(str(part) for block in section.blocks if isinstance(block, Paragraph) for part in block.text)
    assert "run potstill bench to measure them" in words


def test_every_bar_equals_its_record(bench):
    for which in ("by_length", "by_batch"):
        for place, row in enumerate(prepare_rates(bench, which)):
            assert row["rate"] == bench.at(which, place, "articles_per_second").value
            assert row["field"] == bench.at(which, place, "articles_per_second").field
    assert [row["share"] for row in prepare_stages(bench)] == [stage["share"] for stage in bench.content["stages"]]


@pytest.mark.parametrize(("ending", "begins"), [(".png", b"\x89PNG"), (".svg", b"<svg")])
def test_a_picture_is_drawn(bench, tmp_path, ending, begins):
    write_picture(bench, tmp_path / f"speed{ending}")
    assert (tmp_path / f"speed{ending}").read_bytes().startswith(begins)


def test_another_ending_is_refused(bench, tmp_path):
    with pytest.raises(BadInput, match=r"\.png or \.svg"):
        write_picture(bench, tmp_path / "speed.gif")
