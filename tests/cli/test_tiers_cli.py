"""Tests of `potstill tiers` on bundles: the curve of each positive tier, the chosen cut, and the next command."""

import json
import re

import pytest
from tiny_bundle import FILTER, YAML, calibration_of, examples, golden, tfidf_bundle, tfidf_student
from typer.testing import CliRunner

from potstill.bundle import write_bundle
from potstill.cli import build
from potstill.errors import BadInput
from potstill.filters import parse_filter
from potstill.operating_points import OperatingPoint


def invoke(*arguments):
    done = CliRunner().invoke(build(), ["tiers", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tfidf_bundle(tmp_path_factory.mktemp("bundle") / "good-news").folder


def written(folder, filter_=FILTER, **changes):
    """Write a bundle whose calibration is changed."""
    student = tfidf_student()
    calibration = calibration_of(student).model_copy(update=changes)
    return write_bundle(
        folder,
        student=student,
        recipe="tfidf-ridge",
        filter_=filter_,
        calibration=calibration,
        golden=golden(examples()),
    ).folder


def test_the_curve_has_volumes_recall_and_precision_and_marks_the_chosen_cut(bundle):
    done = invoke(bundle)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("lead: named from probability ")
    assert "for the oracle's volume; " in lines[0]
    assert re.fullmatch(
        r"  probability from the residuals: no other way is better than the residuals; the (head|blend) has log-loss "
        r"[+-]\d\.\d{4} \+- \d\.\d{4} against the residuals, [+-]\d\.\d{4} \+- \d\.\d{4} against the tier's share",
        lines[1],
    )
    assert [line.split()[0] for line in lines[2:5]] == ["residuals", "head", "blend"]
    assert all("log-loss" in line and "average precision" in line for line in lines[2:5])
    heading = lines.index("      cut  per 1,000  recall  precision")
    table = [line for line in lines[heading + 1 :] if line[2:9].strip().replace(".", "").isdigit()]
    assert 5 <= len(table) <= 11
    assert sum(line.endswith("<- chosen") for line in table) == 1
    assert "nothing is promised" in done.stdout
    assert "(each with 95% confidence)" in done.stdout
    assert done.stderr.splitlines()[-1] == f"next: potstill score {bundle} FILE -o RESULTS"


def test_another_operating_point_is_shown_with_its_promise_and_how_to_keep_it(bundle):
    done = invoke(bundle, "--decide", "recall=0.5")
    assert "for recall 0.5; " in done.stdout
    assert "promised: recall 0.5 with 95% confidence" in done.stdout
    assert "more articles per 1,000, precision" in done.stdout
    assert done.stderr.splitlines()[-1] == f"next: potstill score {bundle} FILE -o RESULTS --decide recall=0.5"


def test_a_recall_that_the_articles_do_not_prove_is_measured_and_the_note_says_so(bundle):
    output = invoke(bundle, "--decide", "lead:recall=0.99").stdout
    assert "for a measured recall of 1.00; " in output
    assert "recall 0.99 is not proven: " in output
    assert "; cut at the measured 1.00" in output


def test_as_json_it_has_the_same_figures_as_the_bundle(bundle):
    found = json.loads(invoke(bundle, "--decide", "f1", "--json").stdout)
    (tier,) = found["tiers"]
    assert (found["reason"], tier["tier"], tier["cut"]["point"]["f1"]) == (None, "lead", "best")
    chosen = [point for point in tier["points"] if point["chosen"]]
    assert [point["cut"] for point in chosen] == [tier["cut"]["probability"]]
    assert tier["signal"]["quality"].keys() == {"residuals", "head", "blend"}


def test_a_tier_decided_by_score_says_so_and_which_command_changes_it(tmp_path):
    by_score = calibration_of(tfidf_student()).decisions.chosen({"lead": OperatingPoint(threshold="by-score")})
    done = invoke(written(tmp_path / "bundle", decisions=by_score))
    assert done.stdout.startswith("lead: decided by score, as asked for\n")
    assert "<- chosen" not in done.stdout
    assert done.stderr.splitlines()[-1] == "next: potstill bundle RUN --decide volume=match"


def test_an_old_bundle_says_why_it_decides_by_score_and_which_command_changes_it(tmp_path):
    old = written(tmp_path / "bundle", decisions=None)
    done = invoke(old)
    assert done.stdout.startswith("tiers are decided by score: the bundle holds no probabilities of tiers")
    assert done.stderr.splitlines()[-1] == "next: potstill bundle RUN"
    assert json.loads(invoke(old, "--json").stdout)["reason"].startswith("the bundle holds no probabilities")
    with pytest.raises(BadInput, match=r"tiers are decided by score: .*; rebuild it with: potstill bundle RUN"):
        invoke(old, "--decide", "f1")


def test_a_filter_without_positive_tiers_has_nothing_to_decide(tmp_path):
    plain = parse_filter(YAML.replace(", positive: true", ""), "Score the gain and the nearness.", "good-news")
    bundle = tfidf_bundle(tmp_path / "bundle", plain).folder
    assert invoke(bundle).stdout == "tiers are decided by score: the filter marks no tier as positive\n"


def test_two_positive_tiers_are_nested_and_the_second_says_so(tmp_path):
    two = parse_filter(
        YAML.replace("when: overall >= 3}", "when: overall >= 3, positive: true}"),
        "Score the gain and the nearness.",
        "good-news",
    )
    output = invoke(tfidf_bundle(tmp_path / "bundle", two).folder).stdout
    assert output.index("lead: named") < output.index("page: named")
    assert output.count("those of page or a better tier") == 1
    assert "those of lead or a better tier" not in output


def test_a_cut_and_settings_of_the_filter_exclude_each_other(bundle):
    with pytest.raises(BadInput, match="--decide chooses a cut on probabilities; leave it out, or --set"):
        invoke(bundle, "--decide", "f1", "--recall", "0.9")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("brief:f1", "brief is no positive tier; there are lead"),
        ("recall=1.5", "recall"),
        ("x", "expected volume=match"),
    ],
)
def test_a_wrong_operating_point_is_refused(bundle, text, message):
    with pytest.raises(BadInput, match=message):
        invoke(bundle, "--decide", text)
