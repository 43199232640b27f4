"""How sure a tier is: probabilities against what came, and what asking the oracle keeps.

In: facts. Out: a section; a figure that no record holds is "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Block, Column, Paragraph, Row, Section, Table, Text
from potstill.report.sections.parts import DASH, interval, show

if TYPE_CHECKING:
    from potstill.report.facts import Facts, Record

_AT = ("shipped", "odds")
_TITLE = "How sure a tier is"


def odds(facts: Facts) -> Section:
    """Tiers' probabilities on the test part, and asking the oracle by a wanted error rate."""
    evaluation = facts.evaluation
    if not evaluation.at(*_AT).recorded:
        return Section("odds", _TITLE, (Paragraph(("Tiers' probabilities: not recorded.",)),))
    text: Text = (
        (
            "The bundle gives each tier a probability: the share of its student's known errors under which the "
            "article would have the tier. Against the oracle's tiers of "
        ),
        show(evaluation, "count", *_AT, "rows"),
        " test articles the Brier score is ",
        show(evaluation, "score", *_AT, "brier"),
        "; saying of every article the shares that tiers have among the training labels has ",
        show(evaluation, "score", *_AT, "brier_of_shares"),
        ", so probabilities take away ",
        show(evaluation, "percent", *_AT, "brier_skill"),
        (
            " of that. By how probable a tier was said to be: the mean of what was said, and how often the oracle's "
            "scores had it."
        ),
    )
    blocks: tuple[Block, ...] = (
        Paragraph(text),
        _said(evaluation, "own", "The verdict's own tier"),
        _said(evaluation, "positive", "The positive tiers together"),
        Paragraph(
            (
                (
                    "Where a tier is too unsure, the oracle can be asked (score --ask-oracle-above). The threshold "
                    "comes from the articles of the calibration, so that with a confidence of "
                ),
                show(evaluation, "percent", *_AT, "sure"),
                (
                    " no more than the wanted share of the other tiers is wrong; a rate that those articles can't show "
                    "is refused. On the test articles:"
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
        tuple(map(Column, ("Probability from", "to", "Rows", "Said, mean", "Came"))),
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
        "Asking the oracle",
        tuple(map(Column, ("Wanted error", "Sure from", "Kept", "Share kept", "Wrong of them", "Error", "Interval"))),
        tuple(
            Row(
                (
                    (show(evaluation, "percent", *at, i, "error"),),
                    (show(evaluation, "score", *at, i, "probability", absent="can't be shown"),),
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
