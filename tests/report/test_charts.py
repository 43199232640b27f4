from typing import Any

import polars as pl

from potstill.report import charts
from potstill.report.facts import Record
from potstill.report.themes import PAGE, PRINT

FIGURES = {"mae": 1.0, "mae_interval": {"low": 0.9, "high": 1.1}, "constant_mae": 2.0}
EVALUATION = {
    "scale": [0, 10],
    "shipped": {"rung": "ridge"},
    "floor": {"mean_floor": 0.2, "floor": {"human_harm": 0.3}},
    "ladder": [
        {
            "name": "constant",
            "headline": "out-of-fold",
            "judgements": {"out-of-fold": {"rows": 350, "mean": FIGURES | {"mae": 2.0}}},
        },
        {
            "name": "ridge",
            "headline": "out-of-fold",
            "judgements": {
                "out-of-fold": {
                    "rows": 350,
                    "mean": FIGURES,
                    "overall": FIGURES | {"mae": 0.7},
                    "dimensions": {"human_harm": FIGURES},
                    "bands": {
                        "human_harm": [
                            {"low": 0.0, "high": 5.0, "rows": 9, "bias": 0.5},
                            {"low": 5.0, "high": 10.0, "rows": 0, "bias": None},
                        ]
                    },
                },
                "test": {"rows": 35, "mean": FIGURES | {"mae": 1.2}},
            },
        },
        {"name": "broken", "headline": None, "judgements": {}},
    ],
}
RECORD = Record("evaluation.json", "0" * 64, EVALUATION, Any)
RIDGE = ("ladder", 1, "judgements", "out-of-fold")


def test_the_ladder_has_a_row_per_judged_rung_and_marks_the_shipped_one():
    rows = charts.prepare_ladder(RECORD)
    assert [(row["model"], row["mae"], row["shipped"]) for row in rows] == [
        ("constant", 2.0, False),
        ("ridge", 1.0, True),
    ]
    assert rows[1]["field"] == "/ladder/1/judgements/out-of-fold/mean/mae"
    assert rows[0]["floor"] == 0.2


def test_the_ladder_on_one_set_of_rows_leaves_out_rungs_that_were_not_judged_there():
    assert [(row["model"], row["mae"]) for row in charts.prepare_ladder(RECORD, "test")] == [("ridge", 1.2)]


def test_dimensions_end_with_the_overall_which_has_no_floor():
    rows = charts.prepare_dimensions(RECORD, RIDGE)
    assert [(row["dimension"], row["mae"], row["floor"]) for row in rows] == [
        ("human harm", 1.0, 0.3),
        ("overall", 0.7, None),
    ]


def test_bands_without_rows_are_left_out():
    (row,) = charts.prepare_bands(RECORD, RIDGE)
    assert (row["band"], row["bias"], row["share"], row["rows"]) == ("0\N{EN DASH}5", 0.5, 0.05, 9)
    assert row["field"] == "/ladder/1/judgements/out-of-fold/bands/human_harm/0/bias"


def test_epochs_give_a_row_per_part():
    history = Record("history.json", "0" * 64, [{"epoch": 1, "train": {"mae": 1.5}, "validation": {"mae": 1.7}}], Any)
    rows = charts.prepare_epochs(history, "mae")
    assert [(row["part"], row["value"], row["field"]) for row in rows] == [
        ("train", 1.5, "/0/train/mae"),
        ("validation", 1.7, "/0/validation/mae"),
    ]
    assert charts.prepare_epochs(history, "loss") == []


def test_few_articles_are_points_and_masked_ones_are_left_out():
    frame = pl.DataFrame({"id": ["a", "b"], "y_harm": [1.0, None], "p_harm": [2.0, 3.0]})
    assert charts.prepare_scatter(frame, "harm") == [{"id": "a", "oracle": 1.0, "student": 2.0, "rows": 1}]


def test_many_articles_are_counted_in_cells_and_none_is_lost():
    n = 3 * charts.MOST_POINTS
    frame = pl.DataFrame(
        {
            "id": [str(i) for i in range(n)],
            "y_harm": [float(i % 11) for i in range(n)],
            "p_harm": [i / n * 10 for i in range(n)],
        }
    )
    rows = charts.prepare_scatter(frame, "harm")
    assert sum(row["rows"] for row in rows) == n
    assert len(rows) <= 11 * charts.CELLS


def test_articles_that_all_score_alike_are_one_cell():
    n = charts.MOST_POINTS + 1
    frame = pl.DataFrame({"id": [str(i) for i in range(n)], "y_harm": [0.0] * n, "p_harm": [0.0] * n})
    (row,) = charts.prepare_scatter(frame, "harm")
    assert row["rows"] == n


def test_a_page_and_a_png_differ_in_colours_and_width_alone():
    rows = charts.prepare_ladder(RECORD)
    page, png = (charts.plot_ladder(rows, theme).to_dict() for theme in (PAGE, PRINT))
    assert (page["width"], png["width"]) == ("container", 760)
    assert "var(--accent)" in str(page)
    assert "var(" not in str(png)
    assert page["layer"][0]["encoding"] == png["layer"][0]["encoding"]
