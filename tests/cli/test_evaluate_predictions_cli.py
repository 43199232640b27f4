import json

import pytest
import typer
from typer.testing import CliRunner

from potstill.cli import evaluate


@pytest.fixture(scope="module")
def app():
    found = typer.Typer()
    found.command(name="other")(lambda: None)
    evaluate.register(found)
    return found


def invoke(app, *arguments):
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)


def test_the_published_uplifting_student_in_one_command(app, data_folder):
    file = data_folder / "uplifting-v4-predictions.json"
    found = json.loads(invoke(app, "evaluate-predictions", file, "--filter", "uplifting", "--json").stdout)
    mean, tiers = found["judgement"]["mean"], found["judgement"]["tiers"]
    assert mean["mae"] == pytest.approx(0.968, abs=5e-4)
    assert mean["mae_interval"]["low"] == pytest.approx(0.926, abs=0.004)
    assert mean["mae_interval"]["high"] == pytest.approx(1.010, abs=0.004)
    assert mean["constant_mae"] == pytest.approx(1.652, abs=5e-4)
    assert mean["skill"] == pytest.approx(0.41, abs=0.005)
    assert mean["spearman"] == pytest.approx(0.77, abs=0.005)
    assert (tiers["positives"]["oracle"], round(tiers["positives"]["recall"], 3)) == (285, 0.667)
    assert round(tiers["positives"]["precision"], 3) == 0.852
    assert (round(tiers["accuracy"], 3), round(tiers["majority"], 3)) == (0.793, 0.575)
    said = {finding["rule"]: finding["text"] for finding in found["findings"]}
    assert '"MAE < 1.5" would be a weak target: it is only 9% below the constant' in said["easy-target"]
    assert "rounding them to integers would give an MAE of 0.938" in said["rounding"]


def test_the_table_for_a_person(app, data_folder):
    output = invoke(
        app, "evaluate-predictions", data_folder / "uplifting-v4-predictions.json", "--filter", "uplifting"
    ).stdout
    line = next(line for line in output.splitlines() if line.startswith("mean "))
    assert line.split()[:6] == ["mean", "671", "0.968", *line.split()[3:4], "1.652", "41%"]


def test_a_history_and_its_metadata_are_read_for_what_is_wrong(app, tmp_path):
    (tmp_path / "h.json").write_text(
        json.dumps([{"train_mae": 1.0, "val_mae": 1.1}, {"train_mae": 0.9, "val_mae": 1.0}])
    )
    (tmp_path / "m.json").write_text(json.dumps({"warmup_steps": 9, "total_steps": 8, "colour": "red"}))
    output = invoke(app, "check-history", tmp_path / "h.json", "--metadata", tmp_path / "m.json").stdout
    assert "- warm-up-longer-than-the-run: The warm-up of 9 steps" in output
    assert "fields ignored: colour" in output
    sound = json.loads(invoke(app, "check-history", tmp_path / "h.json", "--json").stdout)
    assert sound["training"]["flags"] == []
