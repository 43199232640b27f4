"""Tier probabilities: their reliability, and errors when uncertain tiers are deferred to the oracle.

In: facts. Out: a section; a figure that is not in a record is shown as "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Block, Column, Paragraph, Row, Section, Table, Text
from potstill.report.sections.parts import DASH, interval, show

if TYPE_CHECKING:
    from potstill.report.facts import Facts, Record

_AT = ("shipped", "odds")
_TITLE = "Tier probabilities"


def odds(facts: Facts) -> Section:
    """Tier probabilities on the test part, and deferral to the oracle for a target error rate."""
    evaluation = facts.evaluation
    if not evaluation.at(*_AT).recorded:
        return Section("odds", _TITLE, (Paragraph(("Tier probabilities: not recorded.",)),))
    text: Text = (
        (
            "The bundle gives each tier a probability: the share of the student's known errors for which the article "
            "would be in the tier. Compared with the oracle's tiers of "
        ),
        show(evaluation, "count", *_AT, "rows"),
        " test articles, the Brier score is ",
        show(evaluation, "score", *_AT, "brier"),
        ". Always predicting the tier frequencies of the training labels has a score of ",
        show(evaluation, "score", *_AT, "brier_of_shares"),
        ", so the probabilities remove ",
        show(evaluation, "percent", *_AT, "brier_skill"),
        (
            " of that score. The tables compare, by predicted probability, the mean predicted probability with the "
            "observed frequency of the oracle's tier."
        ),
    )
    blocks: tuple[Block, ...] = (
        Paragraph(text),
        _said(evaluation, "own", "Reliability of the predicted tier"),
        _said(evaluation, "positive", "Reliability of the positive tiers combined"),
        Paragraph(
            (
                (
                    "If a tier is too uncertain, scoring can defer to the oracle (score --ask-oracle-above). The "
                    "threshold is set on the calibration articles, so that with a confidence of "
                ),
                show(evaluation, "percent", *_AT, "sure"),
                (
                    " at most the target share of the remaining tiers is wrong. A target that cannot be guaranteed "
                    "with those articles is refused. On the test articles:"
                ),
            )
        ),
        _asked(evaluation),
    )
    return Section("odds", _TITLE, blocks)


def _said(evaluation: Record, kind: str, caption: str) -> Table:
    at = (*_AT, kind)
    return Table(
        caption,
        tuple(map(Column, ("Probability from", "to", "Rows", "Mean probability", "Observed frequency"))),
        tuple(
            Row(
                (
                    (show(evaluation, "percent", *at, i, "low"),),
                    (show(evaluation, "percent", *at, i, "high"),),
                    (show(evaluation, "count", *at, i, "rows"),),
                    (show(evaluation, "percent", *at, i, "said", absent=DASH),),
                    (show(evaluation, "percent", *at, i, "came", absent=DASH),),
                )
            )
            for i in range(evaluation.size(*at))
        ),
    )


def _asked(evaluation: Record) -> Table:
    at = (*_AT, "asked")
    return Table(
        "Deferral to the oracle",
        tuple(map(Column, ("Target error", "Minimum probability", "Kept", "Share kept", "Wrong", "Error", "Interval"))),
        tuple(
            Row(
                (
                    (show(evaluation, "percent", *at, i, "error"),),
                    (show(evaluation, "score", *at, i, "probability", absent="no guarantee"),),
                    (show(evaluation, "count", *at, i, "kept", absent=DASH),),
                    (show(evaluation, "percent", *at, i, "kept_share", absent=DASH),),
                    (show(evaluation, "count", *at, i, "wrong", absent=DASH),),
                    (show(evaluation, "percent", *at, i, "observed", absent=DASH),),
                    interval(evaluation, "percent", *at, i, "observed_interval", absent=DASH),
                )
            )
            for i in range(evaluation.size(*at))
        ),
    )
