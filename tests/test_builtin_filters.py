"""Tests of the four built-in filters: every gate, cap and tier at its boundary, just below it and just above it.

The scores are constructed: the same score in every dimension, except for those under test.
"""

from __future__ import annotations

import polars as pl
import pytest

from potstill.filters import Filter, builtin_filters, lint, load_filter
from potstill.prefilter import fold_all, matcher
from potstill.verdict import cap_hits, decide

NAMES = ("front-page", "investment-risk", "sustainability-tech-innovation", "uplifting")


def verdict(name: str, flat: float, text: str = "", **scores: float) -> dict:
    filter_ = load_filter(name)
    row = dict.fromkeys(filter_.dimension_names, float(flat)) | scores
    assert set(row) == set(filter_.dimension_names)
    return decide(pl.DataFrame([row]), filter_, cap_hits([text], filter_)).row(0, named=True)


def dropped(name: str, text: str) -> str | None:
    return load_filter(name).prefilter.reasons(fold_all([text])).item()


def test_these_are_the_filters_that_ship():
    assert tuple(builtin_filters()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_filter_that_ships_has_nothing_to_remark(name):
    assert lint(load_filter(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_filter_that_ships_reads_and_scores_alike(name):
    filter_ = load_filter(name)
    assert filter_.name == name
    assert (filter_.scale.min, filter_.scale.max) == (0, 10)
    assert (filter_.text.max_chars, filter_.text.keep) == (2500, "head")
    assert len(filter_.dimension_names) == 8


@pytest.mark.parametrize("name", NAMES)
def test_a_rubric_says_what_is_low_on_each_dimension_and_never_asks_for_a_tier(name):
    filter_ = load_filter(name)
    for number, dimension in enumerate(filter_.dimension_names, start=1):
        assert f"{number}. **{dimension}**" in filter_.rubric
    assert "Return scores only; never a" in filter_.rubric
    for tier in filter_.tier_names:
        assert f" {tier} " not in filter_.rubric or tier in {"connection", "pilot", "commercial"}


@pytest.mark.parametrize(
    ("name", "version", "weights"),
    [
        ("uplifting", 4, {"agency": 0.14, "progress": 0.19, "collective_benefit": 0.38, "connection": 0.10,
                          "innovation": 0.08, "justice": 0.04, "resilience": 0.02, "wonder": 0.05}),
        ("front-page", 1, {"human_harm": 0.20, "reach": 0.20, "conflict": 0.10, "power": 0.15,
                           "economic_impact": 0.10, "urgency": 0.10, "novelty": 0.10, "human_interest": 0.05}),
        ("investment-risk", 4, {"macro_risk_severity": 0.25, "credit_market_stress": 0.20,
                                "market_sentiment_extremes": 0.15, "valuation_risk": 0.15,
                                "policy_regulatory_risk": 0.10, "systemic_risk": 0.15,
                                "evidence_quality": 0.0, "actionability": 0.0}),
        ("sustainability-tech-innovation", 2, {"deployment_maturity": 0.20, "technology_performance": 0.15,
                                               "cost_trajectory": 0.15, "scale_of_deployment": 0.15,
                                               "market_penetration": 0.15, "technology_readiness": 0.10,
                                               "supply_chain_maturity": 0.05, "proof_of_impact": 0.05}),
    ],
)  # fmt: skip
def test_weights_are_those_that_were_agreed(name, version, weights):
    filter_ = load_filter(name)
    assert filter_.version == version
    assert {dimension: part.weight for dimension, part in filter_.dimensions.items()} == weights


# -- tiers of the overall score, at the boundary, just below it, just above it


@pytest.mark.parametrize(
    ("name", "flat", "tier"),
    [
        ("front-page", 0, "brief"),
        ("front-page", 2.499, "brief"),
        ("front-page", 2.5, "inside"),
        ("front-page", 2.501, "inside"),
        ("front-page", 4.499, "inside"),
        ("front-page", 4.5, "front"),
        ("front-page", 4.501, "front"),
        ("front-page", 5.999, "front"),
        ("front-page", 6, "lead"),
        ("front-page", 6.001, "lead"),
        ("front-page", 10, "lead"),
        ("uplifting", 0, "not_uplifting"),
        ("uplifting", 5, "connection"),
        ("uplifting", 6.999, "connection"),
        ("uplifting", 7, "impact"),
        ("uplifting", 7.001, "impact"),
        ("sustainability-tech-innovation", 3, "pilot"),
        ("sustainability-tech-innovation", 3.001, "pilot"),
        ("sustainability-tech-innovation", 4.999, "pilot"),
        ("sustainability-tech-innovation", 5, "early_commercial"),
        ("sustainability-tech-innovation", 5.001, "early_commercial"),
        ("sustainability-tech-innovation", 6.499, "early_commercial"),
        ("sustainability-tech-innovation", 6.5, "commercial"),
        ("sustainability-tech-innovation", 6.501, "commercial"),
        ("sustainability-tech-innovation", 7.999, "commercial"),
        ("sustainability-tech-innovation", 8, "mass_deployment"),
        ("sustainability-tech-innovation", 8.001, "mass_deployment"),
    ],
)
def test_tiers_of_a_flat_score(name, flat, tier):
    found = verdict(name, flat)
    assert (found["overall"], found["tier"]) == (flat, tier)


@pytest.mark.parametrize(
    ("benefit", "others", "overall", "tier"),
    [
        # 0.38 * 5 + 0.62 * others
        (5, 3.387, 3.99994, "not_uplifting"),
        (5, 3.387096775, 4.0000000005, "connection"),
        (5, 3.388, 4.00056, "connection"),
    ],
)
def test_connection_begins_at_four(benefit, others, overall, tier):
    found = verdict("uplifting", others, collective_benefit=benefit)
    assert (found["overall"], found["tier"]) == (pytest.approx(overall, abs=1e-8), tier)


def test_exactly_four_is_connection():
    # The weighted mean is 0.38 * 10 + 0.10 * 2 = 4.
    found = verdict("uplifting", 0, collective_benefit=10.0, connection=2.0)
    assert (found["overall"], found["tier"]) == (4.0, "connection")


@pytest.mark.parametrize(("readiness", "tier"), [(2.999, "unproven"), (3.0, "pilot"), (3.001, "pilot")])
def test_pilot_begins_at_three_also_where_the_gate_is_open(readiness, tier):
    assert verdict("sustainability-tech-innovation", readiness, deployment_maturity=3.0)["tier"] == tier


@pytest.mark.parametrize(
    ("name", "positive"),
    [
        ("front-page", ("lead", "front")),
        ("uplifting", ("impact", "connection")),
        ("investment-risk", ("RED",)),
        ("sustainability-tech-innovation", ("mass_deployment", "commercial", "early_commercial")),
    ],
)
def test_positive_tiers(name, positive):
    assert load_filter(name).positive_tiers == positive


# -- gates


@pytest.mark.parametrize(
    ("benefit", "wonder", "overall"),
    [
        (4.99, 6.0, 3.0),
        (5.0, 6.0, None),
        (5.01, 6.0, None),
        # The exception for wonder needs both scores, and each has its own threshold.
        (4.99, 6.99, 3.0),
        (4.99, 7.0, None),
        (4.99, 7.01, None),
        (2.99, 9.0, 3.0),
        (3.0, 9.0, None),
        (3.01, 9.0, None),
        (3.0, 6.99, 3.0),
        (5.0, 0.0, None),
    ],
)
def test_little_shared_benefit_limits_what_is_uplifting(benefit, wonder, overall):
    found = verdict("uplifting", 9, collective_benefit=benefit, wonder=wonder)
    mean = 9 * 0.57 + 0.38 * benefit + 0.05 * wonder
    assert found["overall"] == pytest.approx(mean if overall is None else overall)
    assert found["gates"] == ([] if overall is None else ["little shared benefit"])


def test_a_gate_raises_nothing():
    found = verdict("uplifting", 1)
    assert (found["overall"], found["gates"]) == (1.0, ["little shared benefit"])


@pytest.mark.parametrize(("maturity", "fires"), [(0.0, True), (2.99, True), (3.0, False), (3.01, False)])
def test_what_is_not_deployed_is_unproven_however_good(maturity, fires):
    found = verdict("sustainability-tech-innovation", 9, deployment_maturity=maturity)
    assert found["gates"] == (["not deployed or piloted"] if fires else [])
    assert found["tier"] == ("unproven" if fires else "commercial")
    assert found["overall"] == (2.9 if fires else pytest.approx(7.2 + 0.2 * maturity))


# -- caps


FINANCE, ARMS, BUSINESS = "corporate finance", "military build-up", "business news"


@pytest.mark.parametrize(
    ("text", "benefit", "caps", "overall"),
    [
        ("Its share price doubled.", 9, [FINANCE], 2.0),
        ("EARNINGS PER SHARE rose", 9, [FINANCE], 2.0),
        ("the firm's IPO", 9, [FINANCE], 2.0),
        ("The worker cooperative has no share price.", 9, [], None),
        ("An employee-owned firm refused a takeover bid.", 9, [], None),
        ("The foundation behind the open source project has no share price.", 9, [], None),
        ("A fund for affordable access refused the hedge fund.", 9, [], None),
        ("Safety work is paying dividends.", 9, [], None),
        ("hippos and the World Series a record crowd saw", 9, [], None),
        ("A new arms deal was signed.", 9, [ARMS], 4.0),
        ("the military build\u2011up goes on", 9, [ARMS], 4.0),
        ("Warships left the strait as the peace process began.", 9, [], None),
        ("Fighter jets were scrapped under the disarmament accord.", 9, [], None),
        ("A product launch with a higher market share", 5.99, [BUSINESS], 4.0),
        ("A product launch with a higher market share", 6.0, [], None),
        ("A product launch with a higher market share", 6.01, [], None),
        ("The product launch of an open-source ventilator", 5.5, [], None),
        ("A joint venture for affordable access to insulin", 5.5, [], None),
        ("Sales growth at the cooperative", 5.5, [], None),
        ("An arms deal moved the share price after a product launch.", 5.5, [FINANCE, ARMS, BUSINESS], 2.0),
        ("Warsaw's shareware product relaunched.", 5.5, [], None),
        ("", 9, [], None),
    ],
)
def test_caps_of_uplifting(text, benefit, caps, overall):
    found = verdict("uplifting", 9, text, collective_benefit=float(benefit))
    assert found["caps"] == caps
    assert found["overall"] == pytest.approx(5.58 + 0.38 * benefit if overall is None else overall)


def test_a_capped_article_keeps_the_tier_of_its_cap():
    assert verdict("uplifting", 9, "an arms deal")["tier"] == "connection"
    assert verdict("uplifting", 9, "an arms deal and its share price")["tier"] == "not_uplifting"


RULES = [
    pytest.param(rule, id=f"{name}: {rule.reason}")
    for name in NAMES
    for rule in (*load_filter(name).caps, *load_filter(name).prefilter.drop)
]


@pytest.mark.parametrize("rule", RULES)
def test_every_term_is_found_and_every_exception_works(rule):
    assert rule.unless
    alone = [f"see {term}." for term in rule.any]
    excused = [f"see {term} and {exception}." for term in rule.any for exception in rule.unless]
    texts = pl.DataFrame({"folded": fold_all(alone + excused)})
    found = texts.select(matcher(rule)).to_series().to_list()
    assert found == [True] * len(alone) + [False] * len(excused)


# -- the tiers of investment-risk

MACRO, CREDIT, SENTIMENT, VALUE = (
    "macro_risk_severity", "credit_market_stress", "market_sentiment_extremes", "valuation_risk",
)  # fmt: skip
SYSTEMIC, EVIDENCE, ACTION = "systemic_risk", "evidence_quality", "actionability"


@pytest.mark.parametrize(
    ("tier", "scores"),
    [
        # RED: one of three alarms, with evidence and actionability of 5 or more.
        ("RED", {MACRO: 7, EVIDENCE: 5, ACTION: 5}),
        ("RED", {MACRO: 7.01, EVIDENCE: 5.01, ACTION: 5.01}),
        ("YELLOW", {MACRO: 6.99, EVIDENCE: 5, ACTION: 5}),
        ("RED", {CREDIT: 7, EVIDENCE: 5, ACTION: 5}),
        ("YELLOW", {CREDIT: 6.99, EVIDENCE: 5, ACTION: 5}),
        ("RED", {SYSTEMIC: 8, EVIDENCE: 5, ACTION: 5}),
        ("RED", {SYSTEMIC: 8.01, EVIDENCE: 5, ACTION: 5}),
        ("BLUE", {SYSTEMIC: 7.99, EVIDENCE: 5, ACTION: 5}),
        ("BLUE", {MACRO: 7, EVIDENCE: 4.99, ACTION: 5}),
        ("YELLOW", {MACRO: 7, EVIDENCE: 5, ACTION: 4.99}),
        # YELLOW: a warning, with evidence of 5 or more and actionability of 4 or more.
        ("YELLOW", {MACRO: 5, EVIDENCE: 5, ACTION: 4}),
        ("YELLOW", {MACRO: 5.01, EVIDENCE: 5.01, ACTION: 4.01}),
        ("BLUE", {MACRO: 4.99, EVIDENCE: 5, ACTION: 4}),
        ("YELLOW", {CREDIT: 5, EVIDENCE: 5, ACTION: 4}),
        ("BLUE", {CREDIT: 4.99, EVIDENCE: 5, ACTION: 4}),
        ("YELLOW", {VALUE: 7, EVIDENCE: 5, ACTION: 4}),
        ("YELLOW", {VALUE: 7.01, EVIDENCE: 5, ACTION: 4}),
        ("BLUE", {VALUE: 6.99, EVIDENCE: 5, ACTION: 4}),
        ("BLUE", {MACRO: 5, EVIDENCE: 4.99, ACTION: 4}),
        ("BLUE", {MACRO: 5, EVIDENCE: 5, ACTION: 3.99}),
        # GREEN: panic while prices are low.
        ("GREEN", {SENTIMENT: 7, VALUE: 3, EVIDENCE: 6, ACTION: 5}),
        ("GREEN", {SENTIMENT: 7.01, VALUE: 2.99, EVIDENCE: 6.01, ACTION: 5.01}),
        ("BLUE", {SENTIMENT: 6.99, VALUE: 3, EVIDENCE: 6, ACTION: 5}),
        ("BLUE", {SENTIMENT: 7, VALUE: 3.01, EVIDENCE: 6, ACTION: 5}),
        ("BLUE", {SENTIMENT: 7, VALUE: 3, EVIDENCE: 5.99, ACTION: 5}),
        ("BLUE", {SENTIMENT: 7, VALUE: 3, EVIDENCE: 6, ACTION: 4.99}),
        ("YELLOW", {SENTIMENT: 7, VALUE: 3, EVIDENCE: 6, ACTION: 5, MACRO: 5}),
        # NOISE: little evidence, whatever the other scores.
        ("NOISE", {EVIDENCE: 3.99}),
        ("BLUE", {EVIDENCE: 4}),
        ("BLUE", {EVIDENCE: 4.01}),
        ("NOISE", {MACRO: 10, CREDIT: 10, SYSTEMIC: 10, EVIDENCE: 3.99, ACTION: 10}),
    ],
)
def test_tiers_of_investment_risk(tier, scores):
    assert verdict("investment-risk", 0, **{name: float(score) for name, score in scores.items()})["tier"] == tier


def test_evidence_and_actionability_do_not_move_overall():
    assert verdict("investment-risk", 4, evidence_quality=10.0, actionability=10.0)["overall"] == 4.0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("This hot stock will double, says our expert.", "hot tip"),
        ("Five stocks to buy now", "hot tip"),
        ("Is this the next Tesla?", "hot tip"),
        ("Regulator charged the seller of hot stock tips with fraud.", None),
        ("The mission to the moon lifted off.", None),
        ("Analyst raises price target for one firm", "single-stock pick without macro context"),
        ("Price targets fall across the market as recession looms", None),
        ("Top picks after the central bank's decision", None),
        ("We may earn a commission if you buy through this site.", "affiliate text"),
        ("Watchdog's investigation into sponsored content", None),
        ("You won\u2019t believe what gold did", "clickbait"),
        ("7 shocking facts about bonds", "clickbait"),
        ("The shocking truth in the official statistics: unemployment doubled", None),
        ("Central bank lifts interest rates by half a point.", None),
        ("Bank fails, contagion feared", None),
        ("", None),
    ],
)
def test_the_prefilter_of_investment_risk(text, reason):
    assert dropped("investment-risk", text) == reason


def test_the_prefilter_of_uplifting():
    assert dropped("uplifting", "Run git clone first") == "code hosting page"
    assert dropped("uplifting", "The newspaper explains what a pull request is") is None


@pytest.mark.parametrize("name", ["front-page", "sustainability-tech-innovation"])
def test_these_score_every_text(name):
    assert load_filter(name).prefilter.drop == ()


# -- missing scores


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("missing", [None, float("nan"), float("inf")])
def test_one_missing_score_in_any_dimension_is_unscored(name, missing):
    filter_: Filter = load_filter(name)
    rows = [
        {dimension: missing if dimension == gone else 9.0 for dimension in filter_.dimension_names}
        for gone in filter_.dimension_names
    ]
    found = decide(pl.DataFrame(rows, schema=dict.fromkeys(filter_.dimension_names, pl.Float64)), filter_)
    assert found["tier"].to_list() == ["unscored"] * 8
    assert found["overall"].to_list() == [None] * 8
