import pytest

from potstill.bundle.facts import Choice
from potstill.calibration import TierCut
from potstill.evaluation.findings import file_findings, findings
from potstill.evaluation.records import (
    AtVolume,
    Band,
    Figures,
    Floor,
    Judgement,
    Positives,
    PositiveTier,
    Rung,
    Shipped,
    Slice,
    Tiers,
    Training,
)
from potstill.findings import Finding
from potstill.operating_points import OperatingPoint
from potstill.records import Interval


def figures(mae, skill, *, low=None, high=None):
    low, high = (skill - 0.05 if low is None else low), (skill + 0.05 if high is None else high)
    return Figures(
        rows=350,
        mae=mae,
        mae_interval=Interval(low=mae - 0.05, high=mae + 0.05),
        rmse=1.0,
        bias=0.0,
        r2=0.5,
        spearman=0.7,
        kendall=0.5,
        constant_mae=1.9,
        skill=skill,
        skill_interval=Interval(low=low, high=high),
    )


def tier(oracle, both, recall, *, cut=None, named=70):
    volume = AtVolume(named=oracle, found=both)
    return PositiveTier(
        tier="lead",
        tiers=("lead",),
        rows=350,
        oracle=oracle,
        named=named,
        both=both,
        recall=recall,
        precision=None if recall is None else both / named,
        average_precision=0.7,
        by_chance=0.28,
        equal_volume=volume,
        twice_volume=volume,
        cut=cut,
    )


def judgement(mean, source="out-of-fold", *, rows=350, positives=(98, 60, 0.61), accuracy=(0.66, 0.61), lean=-0.5):
    oracle, both, recall = positives
    return Judgement(
        source=source,
        rows=rows,
        clusters=rows,
        folds=10 if source == "out-of-fold" else None,
        mean=mean,
        overall=mean,
        dimensions={},
        bands={"overall": (Band(low=0, high=5, rows=200, bias=3.0), Band(low=5, high=10, rows=40, bias=lean),
                           Band(low=10, high=15, rows=3, bias=-9.0))},
        tiers=Tiers(
            rows=rows,
            names=("lead", "brief"),
            confusion=((1, 1), (1, 1)),
            accuracy=accuracy[0],
            accuracy_interval=Interval(low=accuracy[1], high=0.9),
            majority=0.5,
            majority_tier="brief",
            kappa=0.4,
            fewest_positives=20,
            positives=Positives(tiers=("lead",), oracle=oracle, student=70, both=both, recall=recall),
            by_tier=(),
        ),
        positive_tiers=(tier(oracle, both, recall),),
    )  # fmt: skip


def rung(name, student, mean, **kinds):
    judged = {"out-of-fold": judgement(mean, **kinds)}
    return Rung(name=name, student=student, headline="out-of-fold", judgements=judged)


CONSTANT = rung("constant", "constant", figures(1.9, 0.0))
GOOD = rung("ridge", "tfidf-ridge", figures(1.1, 0.42))
POOR = rung("ridge", "tfidf-ridge", figures(1.89, 0.005, low=-0.04, high=0.05))
SHIPPED = Shipped(rung="ridge", judgement=judgement(figures(1.0, 0.4), "test", rows=35))


def said(ladder, choice=None, shipped=SHIPPED, floor=None):
    return {finding.rule: finding for finding in findings(ladder, choice, shipped, floor, span=10.0)}


def test_a_student_whose_interval_is_above_zero_beats_the_constant():
    found = said([CONSTANT, GOOD])["shipped-beats-the-constant"]
    assert found.text == (
        "ridge removes 42% of the constant's error (interval 37% to 47%): MAE 1.100, compared with 1.900 for the "
        "constant, on 350 rows (out-of-fold, 10 folds)."
    )
    assert found.tone == "good"


def test_a_student_whose_interval_holds_zero_does_not():
    found = said([CONSTANT, POOR])
    assert found["cheap-students-do-not-beat-the-constant"].text.startswith(
        "No cheap student clearly beats the constant"
    )
    assert found["shipped-does-not-beat-the-constant"].tone == "bad"
    assert "shipped-beats-the-constant" not in found


def test_one_good_cheap_student_is_enough():
    other = rung("svr", "encoder-head", figures(1.0, 0.5))
    assert "cheap-students-do-not-beat-the-constant" not in said([CONSTANT, POOR, other])


@pytest.mark.parametrize(
    ("margin", "low", "rule"),
    [(0.1, 0.02, "choice-is-clear"), (0.1, -0.02, "choice-is-close"), (-0.1, -0.2, "choice-is-not-validations")],
)
def test_the_choice_is_as_clear_as_its_interval(margin, low, rule):
    choice = Choice(
        rung="ridge", validation_mae={}, runner_up="svr", margin=margin, margin_interval=Interval(low=low, high=0.2)
    )
    assert rule in said([CONSTANT, GOOD], choice)


def test_a_trained_encoder_that_a_cheap_rung_matches_is_told_so():
    tuned = Rung(
        name="lora",
        student="fine-tuned",
        headline="test",
        judgements={"test": judgement(figures(1.0, 0.5), "test")},
    )
    cheap = Rung(
        name="svr",
        student="encoder-head",
        headline="test",
        judgements={"test": judgement(figures(1.04, 0.45), "test")},
    )
    worse = cheap.model_copy(update={"judgements": {"test": judgement(figures(1.06, 0.4), "test")}})
    shipped = SHIPPED.model_copy(update={"rung": "lora"})
    assert "a-cheaper-rung-is-as-good" in said([CONSTANT, cheap, tuned], shipped=shipped)
    assert "a-cheaper-rung-is-as-good" not in said([CONSTANT, worse, tuned], shipped=shipped)


def test_the_floor_is_unknown_with_one_pass_and_a_distance_with_two():
    assert "unknown" in said([GOOD])["floor-unknown"].text
    floor = Floor(articles=350, samples=2, difference={"a": 0.4}, floor={"a": 0.2}, mean_difference=0.4, mean_floor=0.2)
    assert "0.900 above the floor" in said([GOOD], floor=floor)["distance-to-the-floor"].text


def shipped_with(*tiers):
    judged = judgement(figures(1.0, 0.4), "test", rows=350)
    return SHIPPED.model_copy(update={"judgement": judged.model_copy(update={"positive_tiers": tiers})})


def test_few_positives_are_a_count_and_more_have_a_recall_at_the_operating_point():
    found = said([GOOD], shipped=shipped_with(tier(19, 7, None, named=8)))
    assert found["too-few-positives"].text == (
        "By score, the student finds 7 of the 19 articles that the oracle puts in lead (350 test rows) and names 8 "
        "articles in total. With fewer than 20 articles in the tier, only counts are given and no recall."
    )
    assert "recall-of-positives" not in found
    found = said([GOOD], shipped=shipped_with(tier(98, 60, 0.61, cut=RECALL_CUT)))
    assert found["recall-of-positives"].text == (
        "At recall 0.9 (cut 0.30), the student finds 60 of the 98 articles that the oracle puts in lead (350 test "
        "rows) and names 70 articles in total: recall 61%, precision 86%. Average precision is 0.700 (0.280 for a "
        "random order)."
    )
    assert next(iter(found)) == "recall-of-positives"


RECALL_CUT = TierCut(
    tier="lead",
    point=OperatingPoint(recall=0.9),
    probability=0.3,
    rows=300,
    positives=90,
    named=120,
    found=87,
    recall_at_least=0.92,
    precision_at_least=0.6,
    promise="recall 0.9",
)


def test_a_recall_below_the_promised_bound_by_more_than_chance_breaks_the_promise():
    found = said([GOOD], shipped=shipped_with(tier(98, 60, 0.61, cut=RECALL_CUT)))["promise-broken"]
    assert found.tone == "bad"
    assert found.text.startswith(
        "The cut of lead promises recall 0.9, and the articles that chose it showed a recall of at least 92%. On 350 "
        "test rows, it is 60 of 98 (61%)"
    )
    kept = said([GOOD], shipped=shipped_with(tier(98, 88, 0.9, cut=RECALL_CUT)))
    assert "promise-broken" not in kept
    unpromised = RECALL_CUT.model_copy(update={"promise": None})
    assert "promise-broken" not in said([GOOD], shipped=shipped_with(tier(98, 60, 0.61, cut=unpromised)))


def test_a_promised_precision_is_compared_with_the_articles_named():
    precise = RECALL_CUT.model_copy(
        update={"point": OperatingPoint(precision=0.8), "promise": "precision 0.8", "precision_at_least": 0.81}
    )
    found = said([GOOD], shipped=shipped_with(tier(98, 30, 0.31, cut=precise, named=60)))["promise-broken"]
    assert "it is 30 of 60 (50%)" in found.text
    assert "promise-broken" not in said([GOOD], shipped=shipped_with(tier(98, 50, 0.51, cut=precise, named=60)))


@pytest.mark.threshold(name="BROKEN_PROMISE")
@pytest.mark.parametrize(("bound", "broken"), [(0.949, False), (0.95, False), (0.951, True)])
def test_a_promise_is_broken_if_chance_gives_so_few_in_less_than_5_percent(bound, broken):
    # If the one positive article is missed, chance gives that with a probability of 1 - bound.
    cut = RECALL_CUT.model_copy(update={"recall_at_least": bound})
    found = said([GOOD], shipped=shipped_with(tier(1, 0, None, cut=cut)))
    assert ("promise-broken" in found) is broken


def test_tiers_must_beat_the_majority_beyond_doubt():
    assert "tiers-beat-the-majority" in said([GOOD])
    doubtful = rung("ridge", "tfidf-ridge", figures(1.1, 0.4), accuracy=(0.55, 0.49))
    assert said([doubtful])["tiers-do-not-beat-the-majority"].tone == "caution"


def test_the_highest_band_with_enough_rows_is_watched():
    assert "highest-band-leans" not in said([GOOD])
    leaning = rung("ridge", "tfidf-ridge", figures(1.1, 0.4), lean=-1.2)
    assert "5 to 10, the student scores 1.200 too low" in said([leaning])["highest-band-leans"].text


def test_a_small_test_part_is_called_small():
    assert "With so few rows, rely on the interval" in said([GOOD])["held-out-is-small"].text
    large = SHIPPED.model_copy(update={"judgement": judgement(figures(1.0, 0.4), "test", rows=700)})
    assert "held-out" in said([GOOD], shipped=large)


def test_nothing_shipped_leaves_only_what_can_be_said():
    assert set(said([CONSTANT, GOOD], shipped=None)) == {"floor-unknown"}


def slice_of(value, difference, p_adjusted):
    return Slice(by="source", value=value, rows=40, clusters=40, mae=1.5, constant_mae=1.9, skill=0.21, bias=0.0,
                 difference=difference, difference_interval=None, p=p_adjusted / 4, p_adjusted=p_adjusted)  # fmt: skip


def test_the_worst_slice_is_told_only_when_it_is_more_than_luck():
    sure = SHIPPED.model_copy(update={"slices": (slice_of("herald", 0.6, 0.01), slice_of("post", -0.2, 0.9))})
    assert said([GOOD], shipped=sure)["worst-slice"].text == (
        "The worst slice is source herald: MAE 1.500 on 40 rows, 0.600 more than on all other rows (p = 0.01, "
        "adjusted for 2 slices; skill in this slice: 21%)."
    )
    assert "worst-slice" not in said([GOOD], shipped=SHIPPED.model_copy(update={"slices": (slice_of("x", 0.6, 0.2),)}))


def test_what_is_wrong_with_the_history_of_the_shipped_rung_is_a_finding():
    flag = Finding(rule="only-the-head-trains", tone="bad", text="200 parameters train.")
    training = Training(epochs=4, best_epoch=3, gap=0.1, plateau=None, flags=(flag,))
    assert said([GOOD.model_copy(update={"training": training})])["only-the-head-trains"] == flag
    assert "only-the-head-trains" not in said([GOOD, POOR.model_copy(update={"name": "other", "training": training})])


@pytest.mark.threshold(name="FEW_ROWS")
@pytest.mark.parametrize(("rows", "rule"), [(99, "held-out-is-small"), (100, "held-out"), (101, "held-out")])
def test_a_test_part_of_fewer_than_100_rows_is_small(rows, rule):
    shipped = SHIPPED.model_copy(update={"judgement": judgement(figures(1.0, 0.4), "test", rows=rows)})
    assert rule in said([GOOD], shipped=shipped)


@pytest.mark.threshold(name="GOOD_RECALL")
@pytest.mark.parametrize(("recall", "tone"), [(0.799, "caution"), (0.8, "good"), (0.801, "good")])
def test_a_recall_of_80_percent_is_good(recall, tone):
    found = said([GOOD], shipped=shipped_with(tier(98, 78, recall)))
    assert found["recall-of-positives"].tone == tone


@pytest.mark.threshold(name="STRONG_BIAS")
@pytest.mark.parametrize(("bias", "strong"), [(0.99, False), (1.0, False), (1.01, True)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_mean_error_of_more_than_a_tenth_of_the_scale_is_a_strong_bias(bias, strong, sign):
    found = said([rung("ridge", "tfidf-ridge", figures(1.1, 0.4), lean=sign * bias)])
    assert ("highest-band-leans" in found) is strong


@pytest.mark.threshold(name="FEWEST_ROWS_IN_BAND")
@pytest.mark.parametrize(("rows", "shown"), [(9, False), (10, True), (11, True)])
def test_the_mean_error_of_a_band_needs_ten_rows(rows, shown):
    judged = judgement(figures(1.1, 0.42)).model_copy(
        update={"bands": {"overall": (Band(low=0, high=5, rows=40, bias=0), Band(low=5, high=10, rows=rows, bias=-4))}}
    )
    found = said([GOOD.model_copy(update={"judgements": {"out-of-fold": judged}})])
    assert ("highest-band-leans" in found) is shown


@pytest.mark.threshold(name="SIGNIFICANCE")
@pytest.mark.parametrize(("p", "worse"), [(0.0499, True), (0.05, False), (0.0501, False)])
def test_a_slice_is_worse_if_chance_would_do_it_in_less_than_one_of_twenty_evaluations(p, worse):
    found = said([GOOD], shipped=SHIPPED.model_copy(update={"slices": (slice_of("herald", 0.6, p),)}))
    assert ("worst-slice" in found) is worse


def targets_for(constant):
    """Return the text about a weak round target, by rule, for labels with this error of the constant."""
    mean = figures(1.0, 0.4).model_copy(update={"constant_mae": constant})
    found = file_findings(judgement(mean, "file"), (), span=10.0, blind_caps=0)
    return [finding.text for finding in found if finding.rule == "easy-target"]


@pytest.mark.threshold(name="WEAK_SKILL")
@pytest.mark.parametrize(("constant", "weak"), [(1.249, True), (1.25, False), (1.251, False)])
def test_a_round_target_that_needs_less_than_20_percent_skill_is_weak(constant, weak):
    assert bool(targets_for(constant)) is weak


@pytest.mark.threshold(name="ROUND_TARGET_STEP")
@pytest.mark.parametrize(("constant", "target"), [(1.49, None), (1.5, None), (1.51, '"MAE < 1.5"')])
def test_round_targets_are_half_a_point_apart_on_a_scale_of_ten(constant, target):
    assert [text.partition(" would")[0] for text in targets_for(constant)] == ([] if target is None else [target])
