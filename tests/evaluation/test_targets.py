import pytest

from potstill.errors import BadInput
from potstill.evaluation.targets import Target, judge_targets, read_targets


def figures(mae, constant, **more):
    skill = 1 - mae / constant
    return {"mae": mae, "constant_mae": constant, "skill": skill, "rmse": mae * 1.2, "spearman": 0.7, **more}


def judgement(mae, *, accuracy=0.8):
    return {
        "source": "test",
        "mean": figures(mae, 1.5),
        "tiers": {"accuracy": accuracy, "positives": {"recall": None}},
        "positive_tiers": [
            {"tier": "lead", "recall": accuracy, "equal_volume": {"recall": 0.5}},
            {"tier": "page", "recall": None},
        ],
    }


RECORD = {
    "ladder": [
        {"name": "constant", "judgements": {"test": judgement(1.5, accuracy=0.6)}},
        {
            "name": "ridge",
            "judgements": {"test": judgement(1.1)},
            "training": {"gap": 0.2, "plateau": {"slope": -0.01}},
        },
    ],
    "shipped": {
        "judgement": judgement(0.9),
        "slices": [
            {"by": "source", "value": "bbc.co.uk", "mae": 0.8, "constant_mae": 1.6, "skill": 0.5},
            {"by": "source", "value": "herald", "mae": 1.5, "constant_mae": 1.6, "skill": 0.0625},
        ],
    },
    "incumbent": judgement(1.0),
}
MAE = "shipped/judgement/mean/mae"

LEAD = {"tier": "lead", "by_chance": 0.2, "named": 9, "recall": 0.8, "precision": 0.7, "f1": 0.75,
        "average_precision": 0.6, "equal_volume": {"recall": 0.7}, "twice_volume": {"recall": 0.9}}  # fmt: skip
WITH_CHANCE = {"shipped": {"judgement": {**judgement(0.9), "positive_tiers": [LEAD]}}}
"""An evaluation whose leads are a fifth of the articles, and that has no constant among its candidates."""


def judged(figure, record=RECORD, **bound):
    return judge_targets([Target(figure=figure, **bound)], record)


@pytest.mark.parametrize(
    ("figure", "bound", "met"),
    [
        (MAE, {"below": 1.0}, True),
        (MAE, {"below": 0.9}, False),
        (MAE, {"at_most": 0.9}, True),
        ("shipped/judgement/mean/skill", {"at_least": 0.4}, True),
        ("shipped/judgement/mean/skill", {"above": 0.4}, False),
        (MAE, {"below": 0.7, "of": "constant"}, True),
        (MAE, {"below": 0.5, "of": "constant"}, False),
        (MAE, {"below": 1, "of": "ridge"}, True),
        (MAE, {"below": 1, "of": "incumbent"}, True),
        (MAE, {"below": 0.8, "of": "incumbent"}, False),
        ("shipped/judgement/tiers/accuracy", {"above": 1.2, "of": "constant"}, True),
        ("shipped/slices/source/bbc.co.uk/mae", {"below": 1.0}, True),
        ("ladder/ridge/training/gap", {"below": -0.1}, False),
        ("shipped/judgement/positive_tiers/lead/recall", {"at_least": 0.8}, True),
        ("shipped/judgement/positive_tiers/lead/recall", {"at_least": 0.81}, False),
        ("shipped/judgement/positive_tiers/lead/recall", {"at_least": 1, "of": "incumbent"}, True),
        ("shipped/judgement/positive_tiers/lead/equal_volume/recall", {"above": 0.5}, False),
        ("shipped/judgement/positive_tiers/page/recall", {"at_least": 0.1}, False),
    ],
)
def test_a_figure_meets_its_bound_or_misses_it(figure, bound, met):
    assert [outcome.met for outcome in judged(figure, **bound)] == [met]


def test_a_star_holds_every_slice_to_the_bound():
    found = judged("shipped/slices/source/*/skill", at_least=0.3)
    assert [(one.figure, one.met) for one in found] == [
        ("shipped/slices/source/bbc.co.uk/skill", True),
        ("shipped/slices/source/herald/skill", False),
    ]


@pytest.mark.parametrize(
    ("figure", "bound", "said"),
    [
        (
            "shipped/judgement/mean/accuracy",
            {"above": 0},
            "no such figure; shipped/judgement/mean contains mae, constant_mae",
        ),
        ("shipped/slices/country/x/mae", {"below": 1}, "no such figure; shipped/slices contains source"),
        ("shipped/judgement/mean", {"below": 1}, "is not a number; it contains mae"),
        (MAE, {"below": 1, "of": "tree"}, "tree has no such figure; .* constant, ridge"),
    ],
)
def test_a_figure_that_does_not_exist_is_an_error_that_says_what_does(figure, bound, said):
    with pytest.raises(BadInput, match=said):
        judged(figure, **bound)


def test_without_an_incumbent_nothing_is_relative_to_it():
    with pytest.raises(BadInput, match="incumbent has no such figure"):
        judged(MAE, {**RECORD, "incumbent": None}, below=1, of="incumbent")


@pytest.mark.parametrize(
    ("figure", "bound"),
    [
        (MAE, {"below": 1.6}),
        (MAE, {"at_most": 1, "of": "constant"}),
        ("shipped/judgement/mean/skill", {"at_least": 0}),
        ("shipped/judgement/tiers/accuracy", {"at_least": 0.5}),
        ("shipped/slices/source/herald/mae", {"below": 1.7}),
        ("ladder/ridge/training/gap", {"below": 0.3}),
        ("ladder/ridge/training/plateau/slope", {"at_least": -0.02}),
    ],
)
def test_what_a_constant_meets_is_refused(figure, bound):
    with pytest.raises(BadInput, match="is vacuous: a constant, which does not read the text, has"):
        judged(figure, **bound)


@pytest.mark.parametrize(
    ("figure", "bound", "without_reading"),
    [
        ("average_precision", {"at_least": 0.2}, "0.2"),
        ("precision", {"at_least": 0.15}, "0.2"),
        ("recall", {"at_least": 0}, "0"),
        ("f1", {"at_least": 0}, "0"),
        ("equal_volume/recall", {"above": 0.1}, "0.2"),
        ("twice_volume/recall", {"at_least": 0.4}, "0.4"),
        ("average_precision", {"at_least": 1, "of": "constant"}, "0.2"),
    ],
)
def test_what_a_random_order_has_of_a_positive_tier_is_refused(figure, bound, without_reading):
    with pytest.raises(BadInput, match=f"is vacuous: a constant, which does not read the text, has {without_reading};"):
        judged(f"shipped/judgement/positive_tiers/lead/{figure}", WITH_CHANCE, **bound)


def test_a_positive_tier_may_be_held_to_more_than_a_random_order():
    found = judged("shipped/judgement/positive_tiers/lead/average_precision", WITH_CHANCE, at_least=0.21)
    assert [(one.met, one.constant) for one in found] == [(True, 0.2)]
    found = judged("shipped/judgement/positive_tiers/lead/named", WITH_CHANCE, at_least=1)
    assert [(one.met, one.constant) for one in found] == [(True, None)]


def test_most_articles_in_a_tier_are_found_in_twice_as_many_by_chance():
    record = {"shipped": {"judgement": {**judgement(0.9), "positive_tiers": [{**LEAD, "by_chance": 0.7}]}}}
    with pytest.raises(BadInput, match="does not read the text, has 1;"):
        judged("shipped/judgement/positive_tiers/lead/twice_volume/recall", record, at_least=1)


@pytest.mark.threshold(name="WEAK_SKILL")
@pytest.mark.parametrize(
    ("figure", "bound", "weak"),
    [
        (MAE, {"below": 1.4}, True),
        (MAE, {"below": 1.2}, False),
        # A skill of 20% is an MAE of 1.2.
        (MAE, {"below": 1.201}, True),
        (MAE, {"below": 1.199}, False),
        ("shipped/judgement/mean/skill", {"at_least": 0.199}, True),
        ("shipped/judgement/mean/skill", {"at_least": 0.2}, False),
        ("shipped/judgement/mean/skill", {"at_least": 0.201}, False),
        ("shipped/judgement/mean/spearman", {"at_least": 0.71}, False),
    ],
)
def test_what_little_skill_meets_is_called_weak(figure, bound, weak):
    assert judged(figure, **bound)[0].weak is weak


def test_a_figure_recorded_as_unknown_is_missed():
    found = judged("shipped/judgement/tiers/positives/recall", at_least=0.5)[0]
    assert (found.met, found.judged) == (False, "not recorded")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("targets: []", "line 1: targets: "),
        ("targets:\n  - {figure: a/b}", "line 2: .*exactly one of below, at_most, above, at_least"),
        ("targets:\n  - {figure: a/b, below: 1, above: 0}", "line 2: .*exactly one"),
        (
            "targets:\n  - {figure: a/b, under: 1}",
            "line 2: targets -> 0 -> under: unknown key; valid keys: figure, below",
        ),
        ("targets:\n  - {figure: a/b, below: low}", "line 2: targets -> 0 -> below"),
        ("", "line 1: targets: Input should be an object"),
    ],
)
def test_a_file_of_targets_is_read_strictly(tmp_path, text, said):
    (tmp_path / "targets.yaml").write_text(text)
    with pytest.raises(BadInput, match=said):
        read_targets(tmp_path / "targets.yaml")


def test_targets_are_read(tmp_path):
    (tmp_path / "targets.yaml").write_text(f"targets:\n  - {{figure: {MAE}, below: 0.9, of: constant}}\n")
    assert read_targets(tmp_path / "targets.yaml") == (Target(figure=MAE, below=0.9, of="constant"),)
