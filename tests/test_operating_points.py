import pytest
from pydantic import ValidationError

from potstill.errors import BadInput
from potstill.operating_points import (
    MATCH,
    Cost,
    OperatingPoint,
    as_points,
    by_filter,
    for_each_tier,
    parse_decide,
    points_of,
)

TIERS = ("lead", "front")


@pytest.mark.parametrize(
    ("text", "point", "words"),
    [
        ("volume=match", OperatingPoint(volume="match"), "the oracle's volume"),
        ("volume=40", OperatingPoint(volume=40), "40 per 1,000 articles"),
        ("volume=1000", OperatingPoint(volume=1000), "1,000 per 1,000 articles"),
        ("recall=0.9", OperatingPoint(recall=0.9), "recall 0.9"),
        ("precision=0.75", OperatingPoint(precision=0.75), "precision 0.75"),
        ("f1", OperatingPoint(f1="best"), "the best F1"),
        ("cost=5/1", OperatingPoint(cost=Cost(miss=5, false_alarm=1)), "cost 5 per miss and 1 per false alarm"),
        ("by-score", OperatingPoint(threshold="by-score"), "by score"),
    ],
)
def test_each_goal_has_a_spelling_in_one_text_and_one_in_words(text, point, words):
    assert OperatingPoint.model_validate(text) == point
    assert str(point) == words


@pytest.mark.parametrize("text", ["", "recall", "recall=", "recall=0", "recall=1", "recall=90", "precision=x",
                                  "volume=0", "volume=1001", "volume=all", "cost=5", "cost=0/1", "cost=1/2/3",
                                  "f1=", "f1=0.5", "by-score=", "by-score=1", "threshold=1", "accuracy=1"])  # fmt: skip
def test_any_other_text_is_refused(text):
    with pytest.raises(ValidationError):
        OperatingPoint.model_validate(text)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("f1=best", "f1"),
        ("threshold=by-score", "by-score"),
        (" recall = 0.8 ", "recall=0.8"),
        ("cost= 5 / 1", "cost=5/1"),
    ],
)
def test_a_goal_may_be_spelled_as_in_the_filter_and_with_spaces(text, same):
    assert OperatingPoint.model_validate(text) == OperatingPoint.model_validate(same)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recall=1", "recall: got 1.0, expected a number above 0 and below 1"),
        ("precision=nan", "precision: got nan, expected a number above 0 and below 1"),
        ("cost=0/1", "cost -> miss: got 0.0, expected a number above 0"),
        ("cost=1/inf", "cost -> false_alarm: got inf, expected a number above 0"),
        (":f1", "'' is no positive tier; there are lead, front"),
    ],
)
def test_a_number_out_of_range_is_told_the_range(text, message):
    with pytest.raises(BadInput) as caught:
        parse_decide([text], TIERS)
    assert str(caught.value) == f"--decide {text}: {message}"


def test_a_text_that_is_no_goal_is_told_all_goals():
    with pytest.raises(BadInput, match=r"--decide accuracy=1: got 'accuracy=1', expected volume=match, .* or by-score"):
        parse_decide(["accuracy=1"], TIERS)


@pytest.mark.parametrize(
    ("fields", "given"), [({}, "none"), ({"recall": 0.9, "precision": 0.8}, "recall and precision")]
)
def test_exactly_one_goal_is_given(fields, given):
    with pytest.raises(ValidationError, match=f"expected exactly one of volume, .*, got {given}"):
        OperatingPoint(**fields)


def test_a_point_survives_being_written_and_read():
    point = OperatingPoint.model_validate("cost=5/1")
    assert OperatingPoint.validated(point.model_dump(mode="json"), "here") == point


def test_one_goal_counts_for_every_tier_and_a_mapping_is_left_as_it_is():
    assert for_each_tier({"recall": 0.9}, TIERS) == {"lead": {"recall": 0.9}, "front": {"recall": 0.9}}
    assert for_each_tier("f1", TIERS) == {"lead": "f1", "front": "f1"}
    assert for_each_tier({"lead": "f1"}, TIERS) == {"lead": "f1"}
    assert for_each_tier({}, TIERS) == {}


def test_on_the_command_line_a_tier_overrides_what_counts_for_all():
    found = parse_decide(["lead:recall=0.9", "f1"], TIERS)
    assert {tier: str(point) for tier, point in found.items()} == {"lead": "recall 0.9", "front": "the best F1"}
    with pytest.raises(BadInput, match=r"--decide brief:f1: brief is no positive tier; there are lead, front"):
        parse_decide(["brief:f1"], TIERS)


def test_in_python_a_point_may_be_a_text_an_object_or_a_dictionary():
    assert as_points("recall=0.9", ("lead",)) == {"lead": OperatingPoint(recall=0.9)}
    assert as_points({"recall": 0.9}, ("lead",)) == {"lead": OperatingPoint(recall=0.9)}
    assert as_points({"lead": MATCH}, TIERS) == {"lead": MATCH}
    for wrong, message in ((5, "decide: got 5, expected"), ({"brief": "f1"}, "'brief' is no positive tier"),
                           ({"lead": "f2"}, "decide: lead: .*got 'f2'"),
                           ({"lead": None}, "decide: lead: got None, expected volume=match, .*")):  # fmt: skip
        with pytest.raises(BadInput, match=message):
            as_points(wrong, TIERS)


def test_a_tier_without_a_point_names_as_many_articles_as_the_oracle():
    assert points_of({"lead": OperatingPoint(recall=0.9)}, TIERS)["front"] == MATCH


@pytest.mark.parametrize(
    "text", ["volume=match", "volume=40.0", "recall=0.9", "precision=0.75", "f1", "cost=5.0/1.25", "by-score"]
)
def test_the_spelling_of_a_point_is_read_as_the_same_point(text):
    point = OperatingPoint.model_validate(text)
    assert point.spelling == text
    assert OperatingPoint.model_validate(point.spelling) == point


def test_a_filter_without_a_positive_tier_has_no_cut_to_choose():
    with pytest.raises(BadInput, match="--decide f1: the filter marks no tier as positive"):
        parse_decide(["f1"], ())
    with pytest.raises(BadInput, match="no tier is positive, so there is no cut to choose"):
        by_filter("f1", [(), ()])


def test_each_of_several_filters_takes_the_points_of_its_tiers():
    found = by_filter(["f1", "lead:recall=0.9"], [TIERS, ("front",), ()])
    assert [{tier: point.spelling for tier, point in own.items()} for own in found] == [
        {"lead": "recall=0.9", "front": "f1"},
        {"front": "f1"},
        {},
    ]
    assert by_filter((), [TIERS, ()]) == [{}, {}]
    with pytest.raises(BadInput, match="brief is no positive tier; there are lead, front"):
        by_filter(["brief:f1"], [("lead",), ("front",)])


@pytest.mark.parametrize("value", [0, -1, 1001, True, "some", float("nan")])
def test_a_volume_that_is_none_is_told_what_is_valid(value):
    with pytest.raises(ValidationError, match=r"expected match, or a number above 0 and up to 1,000"):
        OperatingPoint(volume=value)
