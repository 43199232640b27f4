import json

from tiny_run import started
from typer.testing import CliRunner

from potstill.bundle import load_bundle
from potstill.cli import build
from potstill.training import train_run


def test_bundle_builds_what_validation_prefers_and_says_why(tmp_path):
    run = started(tmp_path / "run")
    train_run(run, ["constant", "tfidf-ridge"])
    done = CliRunner().invoke(build(), ["bundle", str(run.folder)])
    assert done.exit_code == 0, done.output
    assert "tfidf-ridge, which validation prefers" in done.stdout
    assert load_bundle(run.path("bundle")).manifest.recipe == "tfidf-ridge"
    done = CliRunner().invoke(build(), ["bundle", str(run.folder), "--student", "constant", "--json"])
    assert json.loads(done.stdout)["choice"]["rung"] == "constant"
