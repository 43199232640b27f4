import json

import pytest
from tiny_bundle import neural_bundle, tfidf_bundle
from typer.testing import CliRunner

from potstill.cli import build


@pytest.fixture(scope="module")
def news(tmp_path_factory):
    path = tmp_path_factory.mktemp("news") / "news.jsonl"
    path.write_text('{"content": "A library and a school by the river."}\n' * 4)
    return path


def test_bench_prints_its_figures_and_draws_them(tmp_path, news):
    folder = tfidf_bundle(tmp_path / "bundle").folder
    arguments = ["bench", str(folder), "--articles", str(news), "--number", "3", "--rounds", "1"]
    done = CliRunner().invoke(build(), [*arguments, "--price-per-hour", "1", "--plot", str(tmp_path / "p.svg")])
    assert done.exit_code == 0, done.output
    for words in ("one article", "in bulk", "by stage", "memory", "per million", "bench.json"):
        assert words in done.stdout
    assert done.output.splitlines()[-1] == f"next: potstill score {folder} FILE -o RESULTS"
    assert (tmp_path / "p.svg").exists()
    done = CliRunner().invoke(build(), [*arguments, "--json"])
    assert json.loads(done.stdout)["latency"]["articles"] == 3


def test_optimize_prints_what_it_tried_and_why_it_chose(tmp_path, news):
    pytest.importorskip("openvino")
    folder = neural_bundle(tmp_path / "bundle", tmp_path / "scratch").folder
    arguments = ["optimize", str(folder), "--articles", str(news), "--rounds", "1"]
    done = CliRunner().invoke(build(), arguments)
    assert done.exit_code == 0, done.output
    assert "tested on 4 articles" in done.stdout
    assert "ONNX Runtime fp32" in done.stdout
    assert "plan.json" in done.stdout
    assert done.output.splitlines()[-1] == f"next: potstill bench {folder}"
    done = CliRunner().invoke(build(), [*arguments, "--json"])
    assert json.loads(done.stdout)["variant"]["precision"] == "f32"
