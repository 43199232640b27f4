"""Measure how labels use the scale, by dimension, by source and by language.

Input: labels. Output: `Scores`. A dimension with most labels at one end of the scale provides little training signal.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from potstill import metrics
from potstill.audit.records import Group, Scores, Spread
from potstill.dataset.reach import LabelReach
from potstill.findings import FEWEST_ROWS_IN_GROUP
from potstill.metrics import number

if TYPE_CHECKING:
    from potstill.audit.labelled import Labelled
    from potstill.types import FloatArray

BANDS = 10
"""Number of equal bands of the scale in a histogram."""


def spread_of(rows: Labelled) -> Scores:
    """Describe how every dimension and the weighted overall use the scale."""
    scale = rows.filter.scale
    scores = metrics.with_overall(rows.scores, rows.filter.weights)
    names = (*rows.filter.dimension_names, "overall")
    sources, languages = rows.names("source"), rows.names("language")
    groups = [_groups(scores, names, each, scale.min, scale.max) for each in (sources, languages)]
    return Scores(
        dimensions=tuple(spread(name, scores[:, i], scale.min, scale.max) for i, name in enumerate(names)),
        by_source=groups[0],
        by_language=groups[1],
        least=FEWEST_ROWS_IN_GROUP,
        small=sum(count for count in Counter(filter(None, sources)).values() if count < FEWEST_ROWS_IN_GROUP),
        reach=LabelReach.of(rows.scores, rows.filter.dimension_names, scale.min, scale.max),
    )


def spread(name: str, values: FloatArray, low: float, high: float) -> Spread:
    """Describe one column of labels, shape (rows,), on a scale from `low` to `high`; NaN is masked."""
    known = values[np.isfinite(values)]
    if not known.size:
        blank = dict.fromkeys(("mean", "median", "sd", "low", "high", "used", "at_floor", "at_ceiling", "constant_mae"))
        return Spread(dimension=name, rows=0, levels=0, histogram=(0,) * BANDS, **blank)
    first, last = np.quantile(known, [0.05, 0.95])
    median = float(np.median(known))
    return Spread(
        dimension=name,
        rows=int(known.size),
        mean=number(known.mean()),
        median=number(median),
        sd=number(known.std(ddof=1)) if known.size > 1 else None,
        low=number(known.min()),
        high=number(known.max()),
        used=number((last - first) / (high - low)),
        at_floor=number((known == low).mean()),
        at_ceiling=number((known == high).mean()),
        levels=len(np.unique(known.round(6))),
        constant_mae=number(np.abs(known - median).mean()),
        histogram=tuple(np.histogram(known, bins=BANDS, range=(low, high))[0].tolist()),
    )


def _groups(
    scores: FloatArray, names: tuple[str, ...], labels: list[str], low: float, high: float
) -> tuple[Group, ...]:
    """Return groups of at least `FEWEST_ROWS_IN_GROUP` rows, the largest first."""
    counts = sorted(Counter(filter(None, labels)).items(), key=lambda item: (-item[1], item[0]))
    found = []
    for label, count in counts:
        if count < FEWEST_ROWS_IN_GROUP:
            break
        inside = scores[[each == label for each in labels]]
        found.append(
            Group(
                name=label,
                rows=count,
                dimensions={name: spread(name, inside[:, i], low, high) for i, name in enumerate(names)},
            )
        )
    return tuple(found)
