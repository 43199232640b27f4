"""Tests of strengths, readiness, suitability and recommendations, on records with obvious conclusions."""

import dataclasses
from types import MappingProxyType
from typing import Any

import pytest

from potstill.bundle.facts import BundleFacts
from potstill.calibration import LEVELS, Calibration
from potstill.evaluation import Evaluation
from potstill.pipeline.accept import Acceptance, Decision
from potstill.report.blocks import Findings, Paragraph, Table
from potstill.report.facts import Facts, Record
from potstill.report.facts import Table as Frame
from potstill.report.sections.conclusions import readiness, strengths, suitability
from potstill.report.sections.decisions import decisions
from potstill.report.sections.dimensions import dimensions
from potstill.report.sections.recommendations import recommendations
from potstill.report.sections.slices import slices
from potstill.training.facts import EpochRecord, StudentRecord

WRITTEN = {"sha256": ""}
MISSING = Record("nothing.json", None, None, Any)


def figures(mae, constant, low):
    return {
        "rows": 193,
        "mae": mae,
        "mae_interval": {"low": mae - 0.1, "high": mae + 0.1},
        "constant_mae": constant,
        "skill": 1 - mae / constant,
        "skill_interval": {"low": low, "high": low + 0.2},
        "spearman": 0.85,
    }


def content():
    """Return records of a student that predicts gain well and nearness not at all."""
    bands = [
        {"low": 2.0 * i, "high": 2.0 * i + 2, "rows": rows, "bias": 0.0} for i, rows in enumerate((90, 60, 30, 9, 4))
    ]
    judgement = {
        "source": "test",
        "rows": 193,
        "mean": figures(0.9, 1.5, 0.3),
        "overall": figures(0.7, 1.5, 0.4),
        "dimensions": {"gain": figures(0.5, 1.6, 0.5), "near": figures(1.4, 1.4, -0.1)},
        "bands": {"gain": bands, "near": bands},
        "tiers": {
            "accuracy": 0.8,
            "accuracy_interval": {"low": 0.75, "high": 0.85},
            "majority": 0.6,
            "kappa": 0.65,
            "fewest_positives": 20,
            "positives": {"tiers": ["lead"], "oracle": 13},
        },
    }
    return {
        "dimensions": ["gain", "near"],
        "scale": [0.0, 10.0],
        "floor": {"floor": {"gain": 0.3, "near": 0.2}},
        "ladder": [],
        "findings": [],
        "choice": {"skill": {"rows": 500, "skill": 0.4, "interval": {"low": 0.3, "high": 0.5}}},
        "shipped": {
            "rung": "ridge",
            "bundle_sha256": "ab" * 32,
            "interval_level": 0.9,
            "coverage": {"gain": 0.91, "near": 0.8},
            "latency": {"milliseconds_p50": 3.5},
            "judgement": judgement,
        },
    }


def facts_of(evaluation, **records):
    nothing = MappingProxyType({})
    facts = Facts(
        evaluation=Record("evaluation.json", "cd" * 32, evaluation, Evaluation),
        predictions=Frame("predictions.parquet", None, None),
        fresh=MISSING,
        probe=MISSING,
        students=nothing,
        histories=nothing,
        refit=MISSING,
        calibration=MISSING,
        pairs=MISSING,
        stages=nothing,
        manifest=MISSING,
        filter=MISSING,
        bundle=Record("bundle/bundle.json", "ef" * 32, {"sha256": "ab" * 32}, WRITTEN),
        made=MISSING,
        sizes=MISSING,
        bench=MISSING,
        plan=MISSING,
        cascade=MISSING,
        leaderboard=MISSING,
        comparison=MISSING,
        acceptance=Record(
            "acceptance.json", "00" * 32, {"met": True, "evaluation_sha256": "cd" * 32, "outcomes": []}, Acceptance
        ),
        decisions=MISSING,
    )
    return dataclasses.replace(facts, **records)


def sentence(text):
    return "".join(str(part) for part in text)


def said(section):
    """Return tone and sentence of each finding or paragraph."""
    items = [item for block in section.blocks if isinstance(block, Findings) for item in block.items]
    items += [block for block in section.blocks if isinstance(block, Paragraph)]
    return [(item.tone, sentence(item.text)) for item in items]


def rows_of(section, place=0):
    table = [block for block in section.blocks if isinstance(block, Table)][place]
    return {sentence(row.cells[0]): [sentence(cell) for cell in row.cells[1:]] for row in table.rows}


def test_each_dimension_is_a_strength_or_a_weakness_with_its_evidence():
    found = said(strengths(facts_of(content())))
    assert ("good", "gain: rated excellent. MAE 0.500, skill 69%; 0.200 above its noise floor.") in found
    assert ("bad", "near: rated none. MAE 1.400, skill 0%; 1.200 above its noise floor.") in found
    assert any(
        tone == "caution" and text.startswith("near: intervals with a nominal coverage of 90%") for tone, text in found
    )


def test_a_failed_check_stands_in_the_way_of_production():
    section = readiness(facts_of(content()))
    checks = rows_of(section)
    assert said(section)[0][0] == "bad"
    assert checks["Every dimension clearly beats the constant"][0] == "no"
    assert checks["Clearly beats the constant"][0] == "yes"
    assert checks["Intervals reach their nominal coverage"][0] == "no"


def test_a_student_that_was_shipped_anyway_is_not_ready_and_has_it_as_its_first_weakness():
    evaluation = content()
    evaluation["choice"]["skill"] |= {"skill": 0.05, "interval": {"low": -0.1, "high": 0.2}}
    evaluation["findings"] = [{"rule": "shipped-anyway", "tone": "bad", "text": "ridge: shipped with --anyway."}]
    check = "Was shown to beat the constant on rows that selected nothing before it was shipped"
    answer, evidence = rows_of(readiness(facts_of(evaluation)))[check]
    assert answer == "no"
    assert evidence == "interval of skill \N{MINUS SIGN}10% to 20% on 500 rows"
    assert ("bad", "ridge: shipped with --anyway.") in said(strengths(facts_of(evaluation)))
    evaluation["choice"]["skill"]["interval"] = None
    assert rows_of(readiness(facts_of(evaluation)))[check][0] == "no"
    evaluation["choice"] = None
    assert rows_of(readiness(facts_of(evaluation)))[check][0] == "not recorded"


def test_a_check_without_a_record_is_open_and_not_passed():
    evaluation = content()
    evaluation["shipped"]["judgement"]["dimensions"]["near"] = figures(0.5, 1.4, 0.4)
    evaluation["shipped"]["coverage"]["near"] = 0.9
    assert said(readiness(facts_of(evaluation)))[0][0] == "good"
    evaluation["shipped"]["latency"] = None
    section = readiness(facts_of(evaluation))
    assert said(section)[0][0] == "caution"
    assert rows_of(section)["Scoring time is measured without heavy load"][0] == "not recorded"


def test_another_bundle_than_the_judged_one_is_noticed():
    other = Record("bundle/bundle.json", "ef" * 32, {"sha256": "00" * 32}, WRITTEN)
    checks = rows_of(readiness(facts_of(content(), bundle=other)))
    assert checks["The bundle is verified and is the one evaluated"][0] == "no"


@pytest.mark.parametrize(("width", "verdict"), [(0.8, "suited"), (1.9, "with care"), (4.0, "not suited")])
def test_exact_scores_are_for_narrow_intervals(width, verdict):
    curves = [{"dimension": name, "widths": [width] * len(LEVELS)} for name in ("gain", "near")]
    uses = rows_of(
        suitability(facts_of(content(), calibration=Record("c.json", "aa", {"curves": curves}, Calibration)))
    )
    assert uses["Exact scores"][0] == verdict
    assert uses["Ranking articles"][0] == "suited"
    assert uses["Assigning articles to tiers"][0] == "suited"


def test_without_intervals_nothing_is_said_of_exact_scores():
    assert rows_of(suitability(facts_of(content())))["Exact scores"][0] == "not recorded"


def test_the_dimension_furthest_from_its_floor_gets_advice_by_its_high_labels():
    texts = [text for _, text in said(recommendations(facts_of(content())))]
    assert texts[0] == (
        "near has the most room for improvement: its error is 1.200 above its noise floor, with 9 rows at 6 to 8, "
        "4 rows at 8 to 10: label more high-scoring articles."
    )
    assert any(text.startswith("Label more articles in lead: the oracle puts 13 rows there") for text in texts)


def test_many_high_labels_get_other_advice():
    evaluation = content()
    evaluation["shipped"]["judgement"]["bands"]["near"][4]["rows"] = 40
    assert "label more high-scoring articles" not in said(recommendations(facts_of(evaluation)))[0][1]


def trained(best):
    history = [
        {
            "epoch": epoch,
            "train": {"mae": train, "mae_by_dimension": {"gain": train, "near": train}},
            "validation": {"mae": 1.0, "mae_by_dimension": {"gain": 1.25, "near": 0.75}},
        }
        for epoch, train in ((1, 0.9), (2, 0.5))
    ]
    return {
        "students": {
            "ridge": Record("students/ridge/record.json", "aa", {"best_epoch": best, "epochs": 2}, StudentRecord)
        },
        "histories": {"ridge": Record("students/ridge/history.json", "bb", history, tuple[EpochRecord, ...])},
    }


def test_the_gap_is_that_of_the_kept_epoch():
    table = rows_of(dimensions(facts_of(content(), **trained(best=1))), place=1)
    assert table["gain"][:3] == ["0.900", "1.250", "0.350"]
    assert table["gain"][-1] == "excellent"


def test_a_best_epoch_at_the_end_asks_for_more_and_a_wide_gap_for_labels():
    last = [text for _, text in said(recommendations(facts_of(content(), **trained(best=2))))]
    first = [text for _, text in said(recommendations(facts_of(content(), **trained(best=1))))]
    assert any(text.startswith("Train longer: the best epoch, 2,") for text in last)
    assert any(text.startswith("Label more articles: the validation error is 0.500 higher") for text in last)
    assert not any(text.startswith(("Train longer", "Label more articles: the validation")) for text in first)


def test_decisions_come_with_their_reasons():
    made = Record(
        "bundle/facts.json", "aa", {"choice": {"rung": "ridge", "reason": "selected on validation"}}, BundleFacts
    )
    assert rows_of(decisions(facts_of(content(), made=made)), place=1)["student that is shipped"] == [
        "ridge",
        "selected on validation",
    ]


def test_nothing_is_concluded_from_nothing():
    facts = dataclasses.replace(
        facts_of({}), evaluation=Record("evaluation.json", None, None, Evaluation), bundle=MISSING, acceptance=MISSING
    )
    assert said(strengths(facts))[-1][1] == "Not recorded."
    assert {row[0] for row in rows_of(readiness(facts)).values()} == {"not recorded"}
    assert {row[0] for row in rows_of(suitability(facts)).values()} == {"not recorded"}
    assert said(recommendations(facts)) == [(None, "No recommendations.")]


def test_a_missed_target_stands_in_the_way_and_is_shown_with_what_a_constant_has():
    outcome = {"figure": "test mae", "wanted": "< 0.5", "value": 0.9, "constant": 1.5, "met": False, "weak": False}
    missed = Record(
        "acceptance.json", "00", {"met": False, "evaluation_sha256": "cd" * 32, "outcomes": [outcome]}, Acceptance
    )
    facts = facts_of(content(), acceptance=missed)
    assert rows_of(readiness(facts))["Meets its targets"][0] == "no"
    assert rows_of(decisions(facts))["test mae"] == ["< 0.5", "0.900", "1.500", "no", "no"]


def test_targets_of_another_evaluation_are_not_shown():
    old = Record("acceptance.json", "00", {"met": True, "evaluation_sha256": "99" * 32, "outcomes": []}, Acceptance)
    facts = facts_of(content(), acceptance=old)
    assert rows_of(readiness(facts))["Meets its targets"][0] == "not recorded"
    assert said(decisions(facts))[0][1].startswith("Targets were judged on a different evaluation (999999999999)")


def test_what_people_decided_is_in_the_log_with_the_evaluation_it_was_decided_on():
    decided = ((2, False, "too few leads", "11"), (3, True, "good enough for the desk", "cd"))
    lines = [
        {"when": f"2026-01-0{day}T03:04:05+00:00", "accepted": accepted, "why": why, "evaluation_sha256": hash_ * 32}
        for day, accepted, why, hash_ in decided
    ]
    table = rows_of(
        decisions(facts_of(content(), decisions=Record("decisions.jsonl", "00", lines, tuple[Decision, ...]))), place=1
    )
    assert table == {
        "2026-01-02 03:04": ["no", "too few leads", "not judged", "111111111111 (an earlier one)"],
        "2026-01-03 03:04": ["yes", "good enough for the desk", "not judged", "cdcdcdcdcdcd"],
    }


def test_slices_that_were_looked_for_and_not_found_are_told_from_those_that_nobody_looked_for():
    evaluation = content()
    assert said(slices(facts_of(evaluation))) == [(None, "Slices: not recorded.")]
    evaluation["shipped"]["slices"] = []
    assert said(slices(facts_of(evaluation)))[0][1].startswith("No slice of the test part has enough rows")
    figures_ = {"by": "source", "value": "Sun", "rows": 40, "mae": 1.2, "difference": 0.3, "p_adjusted": 0.04}
    evaluation["shipped"]["slices"] = [figures_]
    row = rows_of(slices(facts_of(evaluation)))["source: Sun"]
    assert (row[0], row[1], row[5], row[8]) == ("40", "1.200", "+0.30", "0.040")


@pytest.mark.threshold(name="FEW_ROWS")
@pytest.mark.parametrize(("rows", "verdict"), [(99, "no"), (100, "yes"), (101, "yes")])
def test_a_hundred_rows_are_enough_to_judge_on(rows, verdict):
    evaluation = content()
    evaluation["shipped"]["judgement"]["rows"] = rows
    assert rows_of(readiness(facts_of(evaluation)))["Evaluated on enough rows"][0] == verdict
    advice = [text for _, text in said(recommendations(facts_of(evaluation)))]
    assert any(text.startswith("Label more articles: the student is evaluated on") for text in advice) == (
        verdict == "no"
    )


@pytest.mark.threshold(name="FEWEST_HIGH_ROWS")
@pytest.mark.parametrize(("high", "few"), [(29, True), (30, False), (31, False)])
def test_thirty_rows_of_high_labels_are_enough(high, few):
    evaluation = content()
    bands = evaluation["shipped"]["judgement"]["bands"]["near"]
    bands[3]["rows"], bands[4]["rows"] = 9, high - 9
    assert ("label more high-scoring articles" in said(recommendations(facts_of(evaluation)))[0][1]) is few


@pytest.mark.threshold(name="MANY_TRUNCATED")
@pytest.mark.parametrize(("share", "many"), [(0.0999, False), (0.1, False), (0.1001, True)])
def test_a_student_that_cannot_read_more_than_a_tenth_of_the_texts_whole_is_named(share, many):
    record = Record("students/ridge/record.json", "aa", {"truncated_share": share}, StudentRecord)
    advice = [text for _, text in said(recommendations(facts_of(content(), students={"ridge": record})))]
    assert any(text.startswith("Try a student that can read longer texts") for text in advice) is many


@pytest.mark.threshold(name="WIDE_GAP")
@pytest.mark.parametrize(("train", "wide"), [(0.7501, False), (0.75, False), (0.7499, True)])
def test_a_gap_of_more_than_a_quarter_of_the_error_is_wide(train, wide):
    records = trained(best=2)
    records["histories"]["ridge"].content[1]["train"]["mae"] = train
    advice = [text for _, text in said(recommendations(facts_of(content(), **records)))]
    assert any(text.startswith("Label more articles: the validation error") for text in advice) is wide
