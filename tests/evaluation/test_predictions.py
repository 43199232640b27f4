import json

import numpy as np
import polars as pl
import pytest
from tiny_run import started

from potstill.cli.evaluate import described_file
from potstill.dataset import Dataset
from potstill.errors import BadInput
from potstill.evaluation.records import Bootstrap
from potstill.filters import parse_filter
from potstill.pipeline.predictions import evaluate_file, read_predictions

FILTER = parse_filter(
    """
name: news
version: 1
dimensions:
  harm: {weight: 0.75, description: How many are hurt}
  reach: {weight: 0.25, description: How many it touches}
caps:
  - {any: [advertisement], cap: 1, reason: paid for}
tiers:
  - {name: lead, when: overall >= 6, positive: true}
  - {name: brief}
""",
    "Score it.",
    "news",
)
QUICK = Bootstrap(resamples=50, level=0.95, seed=0)
PUBLISHED = {
    "predictions": [[1.0, 2.0], [3.0, 4.5]],
    "labels": [[1, 3], [2, 5]],
    "article_ids": ["a", "b"],
    "dimension_names": ["reach", "harm"],
}


def write(path, content):
    path.write_text(
        json.dumps(content) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in content)
    )
    return path


ROWS = [
    {"id": "a", "y": {"harm": 3, "reach": 1}, "p": {"harm": 2.0, "reach": 1.0}},
    {"id": "b", "y_harm": 5, "y_reach": 2, "p_harm": 4.5, "p_reach": 3.0},
]


def test_all_formats_say_the_same(tmp_path):
    flat = pl.DataFrame(
        {"id": ["a", "b"], "y_harm": [3, 5], "y_reach": [1, 2], "p_harm": [2.0, 4.5], "p_reach": [1, 3]}
    )
    flat.write_parquet(tmp_path / "p.parquet")
    files = [write(tmp_path / "p.json", PUBLISHED), write(tmp_path / "p.jsonl", ROWS), tmp_path / "p.parquet"]
    for found in (read_predictions(file, FILTER) for file in files):
        assert found.ids == ("a", "b")
        assert found.scores.tolist() == [[2.0, 1.0], [4.5, 3.0]]
        assert found.labels.tolist() == [[3.0, 1.0], [5.0, 2.0]]


def test_a_label_may_be_missing_and_a_score_may_not(tmp_path):
    masked = [{**ROWS[1], "y_harm": None}]
    assert read_predictions(write(tmp_path / "p.jsonl", masked), FILTER).labels[0, 0] != 3
    with pytest.raises(BadInput, match=r"b: p_harm: not a finite number"):
        read_predictions(write(tmp_path / "p.jsonl", [{**ROWS[1], "p_harm": None}]), FILTER)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": [[1, 3], [2, 15]]}, r"b: y_harm: got 15, expected 0 to 10"),
        ({"labels": [[1, 3]]}, r"labels: 1 rows for 2 article_ids"),
        ({"labels": [[1, 3], [2, "5"]]}, r"labels: row 1: harm: got '5', expected a number"),
        ({"predictions": [[1, 3], [2]]}, r"predictions: row 1: expected 2 numbers"),
        ({"dimension_names": ["reach", "hurt"]}, r"no p_harm; news has harm, reach, the file hurt, reach"),
        ({"article_ids": ["a", "a"]}, r"row 2: id 'a' is already at row 1"),
    ],
)
def test_a_fault_names_its_row_and_field(tmp_path, change, said):
    with pytest.raises(BadInput, match=said):
        read_predictions(write(tmp_path / "p.json", {**PUBLISHED, **change}), FILTER)


@pytest.mark.parametrize("name", ["gone.json", "p.csv"])
def test_a_file_that_is_none_is_refused(tmp_path, name):
    (tmp_path / "p.csv").write_text("id\n")
    with pytest.raises(BadInput, match=r"no such file|unknown ending"):
        read_predictions(tmp_path / name, FILTER)


def test_caps_are_taken_from_columns_or_text_and_else_said_to_be_missing(tmp_path):
    stored = [{**row, "cap_0": hit} for row, hit in zip(ROWS, (True, False), strict=True)]
    texts = [{**row, "text": text} for row, text in zip(ROWS, ("an Advertisement", "rain"), strict=True)]
    for rows in (stored, texts):
        assert read_predictions(write(tmp_path / "p.jsonl", rows), FILTER).cap_hits["cap_0"].to_list() == [True, False]
    blind = evaluate_file(write(tmp_path / "p.jsonl", ROWS), FILTER, QUICK)
    assert not blind.caps_applied
    assert "caps-not-applied" in {finding.rule for finding in blind.findings}


def test_rounding_to_the_labels_steps_is_told(tmp_path):
    found = evaluate_file(
        write(tmp_path / "p.json", {**PUBLISHED, "predictions": [[1.2, 3.2], [2.2, 10.2]]}), FILTER, QUICK
    )
    assert found.judgement.rounding.step == 1
    assert found.judgement.rounding.mae_rounded == pytest.approx(5 / 4)
    assert "integers would give an MAE of 1.250 instead of 1.450" in next(
        f.text for f in found.findings if f.rule == "rounding"
    )


def test_the_constant_is_that_of_the_training_labels(tmp_path):
    judged = write(tmp_path / "p.jsonl", ROWS)
    training = write(tmp_path / "train.jsonl", [{"y": {"harm": harm, "reach": None}} for harm in (0, 0, 9)])

    best = evaluate_file(judged, FILTER, QUICK)
    assert (best.training, best.training_rows) == (None, None)
    assert best.judgement.dimensions["harm"].constant_mae == 1.0
    assert "constant: the medians of the judged labels, the best possible constant" in "\n".join(described_file(best))

    with pytest.raises(BadInput, match=r"train.jsonl: y_reach: no row has a label"):
        evaluate_file(judged, FILTER, QUICK, training=training)
    write(training, [{"y": {"harm": harm, "reach": 1}} for harm in (0, 0, 9)])
    found = evaluate_file(judged, FILTER, QUICK, training=training)
    assert (found.training, found.training_rows) == (str(training), 3)
    assert found.judgement.dimensions["harm"].constant_mae == 4.0
    assert f"constant: the medians of 3 training rows of {training}" in described_file(found)

    write(training, [{"y": {"harm": 11, "reach": 1}}])
    with pytest.raises(BadInput, match=r"train.jsonl: row 1: y_harm: got 11, expected 0 to 10"):
        evaluate_file(judged, FILTER, QUICK, training=training)


def test_the_predictions_of_a_run_are_compared_with_the_constant_of_its_training_part(tmp_path):
    run = started(tmp_path)
    dataset = Dataset.load(run.path("rows"), run.filter.dimension_names)
    test = dataset.part("test")
    columns = {f"{kind}_{name}": test.scores[:, i] for i, name in enumerate(test.dimensions) for kind in "yp"}
    frame = pl.DataFrame({"id": test.ids, **columns}).with_columns(source=pl.lit("test"), tier_student=pl.lit("low"))
    frame.write_parquet(run.path("predictions"))

    found = evaluate_file(run.path("predictions"), run.filter, QUICK)

    medians = np.median(dataset.part("train").scores, axis=0)
    assert (found.training, found.training_rows) == (str(run.folder), 80)
    assert found.judgement.mean.constant_mae == pytest.approx(np.abs(test.scores - medians).mean(), abs=1e-6)
    assert read_predictions(run.folder, run.filter).judged(run.filter, QUICK).mean == found.judgement.mean
    assert evaluate_file(run.path("predictions"), run.filter, QUICK, training=run.folder) == found


def test_labels_on_no_grid_are_not_rounded(tmp_path):
    found = evaluate_file(write(tmp_path / "p.json", {**PUBLISHED, "labels": [[1.1, 3], [2, 5]]}), FILTER, QUICK)
    assert found.judgement.rounding is None


def test_the_round_target_just_below_the_constant_is_called_weak(tmp_path):
    rows = [
        {"id": str(i), "y": {"harm": y, "reach": y}, "p": {"harm": 5, "reach": 5}} for i, y in enumerate([3, 7, 5, 9])
    ]
    said = {f.rule: f.text for f in evaluate_file(write(tmp_path / "p.jsonl", rows), FILTER, QUICK).findings}
    assert '"MAE < 1.5" would be a weak target' not in said.get("easy-target", "")
    rows = [
        {"id": str(i), "y": {"harm": y, "reach": y}, "p": {"harm": 5, "reach": 5}} for i, y in enumerate([3, 7, 5, 8])
    ]
    assert evaluate_file(write(tmp_path / "p.jsonl", rows), FILTER, QUICK).judgement.mean.constant_mae == 1.75
    said = {f.rule: f.text for f in evaluate_file(write(tmp_path / "p.jsonl", rows), FILTER, QUICK).findings}
    assert said["easy-target"].startswith('"MAE < 1.5" would be a weak target: it is only 14% below')
