import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from potstill.cli import tiers
from potstill.errors import BadInput
from potstill.evaluation.judging import Predicted
from potstill.evaluation.predictions import Predictions
from potstill.evaluation.whatif import cuts_of, edited, threshold, under, what_if
from potstill.filters import parse_filter, save_filter

FILTER = parse_filter(
    """
name: news
version: 1
dimensions:
  harm: {weight: 0.5, description: How many are hurt}
  reach: {weight: 0.5, description: How many it touches}
gates:
  - {when: harm < 2, cap: 3, reason: harmless}
caps:
  - {any: [advertisement], cap: 1, reason: paid for}
  - {any: [gossip], cap: 2, reason: gossip}
tiers:
  - {name: lead, when: overall >= 6, positive: true}
  - {name: brief}
""",
    "Score it.",
    "news",
)


def stored(rows, hits=None):
    """Return predictions with the same (label, score) in both dimensions; `hits` says which caps apply to a row."""
    labels, scores = (np.array([[row[i]] * 2 for row in rows], float) for i in (0, 1))
    n = len(rows)
    caps = pl.DataFrame({"cap_0": [False] * n, "cap_1": [False] * n} if hits is None else hits)
    ids = tuple(f"a{i}" for i in range(n))
    return Predictions("p", ids, scores, labels, np.arange(n), pl.DataFrame({"id": ids}), cap_hits=caps)


def after(*settings):
    return edited(FILTER, settings)


def test_a_lower_tier_moves_the_articles_between_and_names_them():
    found = what_if(stored([(7, 7), (7, 5.5), (5, 5), (1, 1)]), FILTER, after("tiers.lead.when=overall >= 5.2"))
    assert found.moved == 1
    assert [(one.id, one.before, one.after, one.oracle) for one in found.articles] == [("a1", "brief", "lead", "lead")]
    assert [(move.before, move.after, move.rows) for move in found.moves] == [("brief", "lead", 1)]
    assert (found.before.accuracy, found.after.accuracy) == (0.75, 1.0)
    assert [(volume.tier, volume.oracle, volume.student) for volume in found.after.volumes] == [
        ("lead", 2, 2),
        ("brief", 2, 2),
    ]


def test_the_same_filter_moves_nothing():
    found = what_if(stored([(7, 5), (2, 9), (0, 0)]), FILTER, FILTER)
    assert (found.moved, found.articles, found.before) == (0, (), found.after)


def test_a_gate_can_be_lifted():
    rows = stored([(8, 8), (8, 8)])
    rows.scores[0, 0], rows.scores[0, 1] = 1.5, 10.5
    assert what_if(rows, FILTER, after("gates.0=off", "tiers.lead.when=overall >= 5.9")).articles[0].id == "a0"


def test_caps_are_applied_again_from_their_stored_columns():
    rows = stored([(8, 8), (8, 8)], {"cap_0": [False, False], "cap_1": [True, False]})
    assert [one.id for one in what_if(rows, FILTER, after("caps.1=off")).articles] == ["a0"]
    # Without the first cap the second becomes the first; its column must move with it.
    assert what_if(rows, FILTER, after("caps.0=off")).moved == 0
    assert what_if(rows, FILTER, after("caps.1.cap=6.5")).moved == 1
    assert what_if(rows, FILTER, after("caps.1.when=reach < 5")).moved == 1


def test_a_cap_on_other_words_needs_the_texts():
    content = FILTER.model_dump(mode="json")
    content["caps"][0]["any"] = ["sponsored"]
    other = type(FILTER).model_validate_json(__import__("json").dumps(content))
    with pytest.raises(BadInput, match=r"cap_0 \(paid for\): looks for other words"):
        what_if(stored([(1, 1)]), FILTER, other)


def test_weights_keep_the_proportions_of_the_others():
    assert after("weights.harm=0.8").weights.tolist() == pytest.approx([0.8, 0.2])
    rows = stored([(8, 8)])
    rows.scores[0] = [9, 4]
    found = what_if(rows, FILTER, after("weights.harm=0.2"))
    assert found.articles[0].overall_after == pytest.approx(5)


def test_dimensions_in_another_order_are_the_same_filter():
    content = FILTER.model_dump(mode="json")
    content["dimensions"] = dict(reversed(content["dimensions"].items()))
    other = type(FILTER).model_validate_json(__import__("json").dumps(content))
    rows = stored([(8, 8)])
    rows.scores[0] = [9, 4]
    assert under(rows, FILTER, other).scores[0].tolist() == [4, 9]
    assert what_if(rows, FILTER, other).moved == 0


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("weights.harm", "expected PATH=VALUE"),
        ("weights.joy=1", "no dimension joy; the filter has harm, reach"),
        ("weights.harm=2", "got 2, expected 0 to 1"),
        ("weights.harm=much", "got 'much', expected a number"),
        ("gates.1.cap=3", "no number 1; there are 1"),
        ("gates.\N{SUPERSCRIPT TWO}=off", "no number \N{SUPERSCRIPT TWO}; there are 1"),
        ("gates." + "9" * 5000 + "=off", "no number 9{80}\N{HORIZONTAL ELLIPSIS}; there are 1"),
        ("tiers.front.when=overall > 1", "no tier front; the filter has lead, brief"),
        ("tiers.lead.when=joy > 1", "joy"),
        ("scale.max=5", "legal are weights.NAME"),
    ],
)
def test_a_setting_that_is_not_legal_is_named(setting, said):
    with pytest.raises(BadInput, match=said):
        after(setting)


def many():
    """Thirty positives at 8 with scores that decrease from 9 in steps of 0.1, and thirty others just below."""
    return stored([(8, 9 - i / 10) for i in range(30)] + [(2, 5.95 - i / 10) for i in range(30)])


def test_the_threshold_for_a_recall_is_the_highest_that_reaches_it():
    found = threshold(many(), FILTER, recall=0.9)
    assert found.overall_at_least == pytest.approx(9 - 2.6)
    assert (found.rows, found.recall, found.precision) == (27, 0.9, 1.0)
    assert found.recall_low < 0.8 < found.recall


def test_the_threshold_for_a_volume_names_no_more():
    assert threshold(many(), FILTER, volume=10).rows == 10
    tied = stored([(8, 7)] * 4 + [(2, 3)])
    with pytest.raises(BadInput, match="4 rows share the highest overall"):
        threshold(tied, FILTER, volume=3)


@pytest.mark.parametrize("asked", [{}, {"recall": 0.5, "volume": 3}, {"recall": 0}, {"volume": 0}])
def test_a_threshold_needs_one_wish_that_can_be_had(asked):
    with pytest.raises(BadInput):
        threshold(many(), FILTER, **asked)


def test_the_command_on_a_file(tmp_path):
    save_filter(FILTER, tmp_path / "news")
    rows = [(7, 7), (7, 5.5)]
    pl.DataFrame(
        {"id": ["a", "b"], **{f"{kind}_{name}": [float(row[i]) for row in rows] for i, kind in enumerate("yp")
                              for name in ("harm", "reach")}}
    ).write_parquet(tmp_path / "p.parquet")  # fmt: skip
    app = typer.Typer()
    app.command(name="other")(lambda: None)
    tiers.register(app)
    call = ["tiers", str(tmp_path / "p.parquet"), "--filter", str(tmp_path / "news")]
    output = CliRunner().invoke(app, [*call, "--set", "tiers.lead.when=overall >= 5"], catch_exceptions=False).stdout
    assert "1 of 2 articles change tier" in output
    assert "b  brief -> lead (oracle: lead; overall 5.500 -> 5.500)" in output
    output = CliRunner().invoke(app, [*call, "--volume", "1"], catch_exceptions=False).stdout
    assert output.startswith("overall >= 7.0000 selects 1 rows")


@pytest.mark.threshold(name="FEWEST_POSITIVES")
@pytest.mark.parametrize(("positives", "known"), [(19, False), (20, True), (21, True)])
def test_thresholds_for_recalls_need_20_positives(positives, known):
    rows = stored([(8, 7)] * positives + [(2, 3)] * 30)
    found = cuts_of(Predicted("file", rows.ids, rows.scores, rows.labels, rows.labels, rows.clusters), FILTER)
    assert (found is not None) is known
