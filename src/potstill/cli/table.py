"""Results of scoring for a person: a table on a terminal, and rounded numbers in JSON lines.

In: the rows of a scorer, nested. Out: lines that fit the terminal, cut between words; or rows with fewer decimals.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, chop_cells

from potstill.scorer.scoring import VERDICTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from potstill.filters import Filter
    from potstill.scorer import Scorer

DECIMALS = 4
"""Decimals of scores, ends of intervals and probabilities in what is printed; files hold them in full."""

NUMBERS = ("scores", "intervals", "overall", "novelty", "probability", "cut", "tier_probabilities")
"""Columns of a verdict that hold numbers."""

NARROWEST = 40
"""Columns that the table needs at least; a narrower terminal wraps its lines."""


def rounded(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with the numbers of the verdicts rounded; the fields of the input stay as they are."""
    names = (VERDICTS,) if VERDICTS in rows.columns else NUMBERS
    return rows.with_columns(_rounded(rows[name]) for name in names if name in rows.columns)


def _rounded(column: pl.Series) -> pl.Series:
    import polars as pl

    kind = column.dtype
    if isinstance(kind, pl.Struct):
        fields = column.struct.unnest().select(_rounded(field) for field in column.struct.unnest().iter_columns())
        made = fields.to_struct(column.name)
        return pl.select(pl.when(column.is_not_null()).then(made).alias(column.name)).to_series()
    if isinstance(kind, pl.List):
        return column.list.eval(pl.element().round(DECIMALS)) if kind.inner == pl.Float64 else column
    return column.round(DECIMALS) if kind == pl.Float64 else column


class Table:
    """Prints a line per article and filter: title, tier, overall score and the main reasons.

    If tiers are decided by their probability, it stands after the tier.
    """

    def __init__(self, scorer: Scorer[Any]) -> None:
        self._filters: dict[str, Filter] = {one.name: one.bundle.filter for one in scorer.filter_scorers}
        self._several = scorer.by_filter
        tiers = [name for each in self._filters.values() for name in (*each.tier_names, "dropped", "unscored")]
        self._tier = max(cell_len(name) for name in tiers)
        self._filter = max(map(len, self._filters)) if self._several else 0
        self._probability = any(one.by_probability for one in scorer.filter_scorers)
        self._headed = False

    def __call__(self, rows: pl.DataFrame) -> None:
        """Print the rows of a batch, after a headline before the first one."""
        if not self._headed:
            self._headed = True
            self._print("title", "filter", "tier", "prob.", "overall", "why")
        for row in rows.to_dicts():
            verdicts = row[VERDICTS] if self._several else {next(iter(self._filters)): row}
            title = row["title"] or row["content"] or row["id"]
            for name, verdict in verdicts.items():
                probability, overall = (_number(verdict.get(field)) for field in ("probability", "overall"))
                self._print(title, name, verdict["tier"], probability, overall, reasons(verdict, self._filters[name]))
                title = ""

    def _print(self, title: str, name: str, tier: str, probability: str, overall: str, why: str) -> None:
        fixed = [
            *([_padded(name, self._filter)] if self._several else []),
            _padded(tier, self._tier),
            *([f"{probability:>5}"] if self._probability else []),
            f"{overall:>7}",
        ]
        left = max(shutil.get_terminal_size().columns, NARROWEST) - sum(cell_len(cell) + 2 for cell in fixed)
        width = left * 2 // 5
        cells = [_padded(cut(title, width), width), *fixed, cut(why, left - width - 2)]
        print("  ".join(cells).rstrip())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def reasons(verdict: Mapping[str, Any], filter_: Filter) -> str:
    """Say why a verdict is as it is: why there is none, or its gates and caps, then what raises the score most."""
    if verdict["scores"] is None:
        return verdict["reason"] or ""
    dimensions = filter_.dimensions
    by_share = sorted(verdict["scores"].items(), key=lambda item: -dimensions[item[0]].weight * (item[1] or 0.0))
    highest = [f"{name} {score:.1f}" for name, score in by_share if score is not None][:2]
    return "; ".join([*(f"capped: {one}" for one in (*verdict["gates"], *verdict["caps"])), ", ".join(highest)])


def cut(text: str, width: int) -> str:
    """Return a text in one line of at most `width` columns, cut between words where it has spaces."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    if cell_len(line) <= width:
        return line
    start = chop_cells(line, max(width - 1, 1))[0]
    whole = start if line[len(start)] == " " else start.rpartition(" ")[0] or start
    return whole.rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))
