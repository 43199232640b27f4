"""Fit a learning curve to decide between more labels, a better prompt, and stopping.

Input: rows, and the noise floor if known. Output: a `Curve`: errors of a cheap student that was trained on increasing
subsets, a power-law fit with intervals, and advice by a stated rule. The cheap student is a proxy for a more expensive
one: its curve shows how much more of the same labels would help.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from potstill.audit.records import LEVEL, Curve, Forecast, Point, interval
from potstill.audit.suspects import MANY_ROWS, cheap_student
from potstill.dataset import folds
from potstill.findings import FEWEST_ROWS_FOR_CURVE, FLOOR_NEAR_ERROR, LOW_SIGNAL, MOSTLY_NOISE, WORTHWHILE_GAIN
from potstill.metrics import number
from potstill.terminal import steps
from potstill.training import fitter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from potstill.audit.labelled import Labelled
    from potstill.audit.records import Repeats
    from potstill.dataset import Examples
    from potstill.records import Interval
    from potstill.students import Student
    from potstill.types import FloatArray, IntArray

SMALLEST = 40
"""Number of rows of the smallest subset."""

SIZES = 6
DRAWS = 400

RULE = (
    f"If less than {MOSTLY_NOISE:.0%} of the labels' variance is signal: a better prompt. If the noise floor is "
    f"at least {FLOOR_NEAR_ERROR:.0%} of the error: a better prompt if less than {LOW_SIGNAL:.0%} of the variance is "
    f"signal, else stop. Otherwise more labels, if doubling them is expected to reduce the error by at "
    f"least {WORTHWHILE_GAIN:.0%} and the interval of that reduction lies above 0. "
    "Otherwise stop, or measure the noise floor first if it is unknown."
)

_EXPONENTS = np.linspace(0.05, 1.5, 59)

Advice = Literal["more labels", "better prompt", "stop", "measure the floor"]


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """The function error(n) = asymptote + factor * n ** -exponent, with asymptote and factor not below 0."""

    asymptote: float
    factor: float
    exponent: float

    def at(self, rows: float) -> float:
        """Return the error for a number of rows."""
        return float(self.asymptote + self.factor * rows**-self.exponent)


def power_law(rows: FloatArray, errors: FloatArray, least: float = 0.0) -> PowerLaw:
    """Fit a power law to points (rows, errors) by least squares, with an asymptote of at least `least`.

    The exponent is chosen from a grid. For a fixed exponent the problem is linear, so there are no local minima.
    """
    best, found = np.inf, PowerLaw(float(errors.mean()), 0.0, 1.0)
    for exponent in _EXPONENTS:
        x = rows**-exponent
        spread = x - x.mean()
        factor = float((spread * errors).sum() / max(float((spread**2).sum()), 1e-300))
        asymptote = float(errors.mean() - factor * x.mean())
        if asymptote < least:
            asymptote, factor = least, float((x * (errors - least)).sum() / (x**2).sum())
        if factor < 0:
            asymptote, factor = max(least, float(errors.mean())), 0.0
        miss = float(((asymptote + factor * x - errors) ** 2).sum())
        if miss < best - 1e-15:
            best, found = miss, PowerLaw(asymptote, factor, float(exponent))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Results of one seed: subset sizes, and the mean error of each held-out row, shape (sizes, held-out rows)."""

    rows: FloatArray
    errors: FloatArray
    clusters: IntArray


def curve_of(
    rows: Labelled, repeats: Repeats | None = None, *, seed: int = 0, seeds: int | None = None
) -> Curve | None:
    """Compute the learning curve of a cheap student.

    The result is None with fewer than `FEWEST_ROWS_FOR_CURVE` rows or fewer than five clusters.

    Args:
        rows: rows with texts.
        repeats: the oracle's repeat error, for the noise floor.
        seed: the first of the random seeds.
        seeds: number of random splits into training and held-out rows. Default: five, or three if there are many rows.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    examples = rows.examples()
    if len(rows) < FEWEST_ROWS_FOR_CURVE or len(np.unique(rows.clusters)) < 5:
        return None
    count = seeds or (5 if len(rows) <= MANY_ROWS else 3)
    recipe, scale = cheap_student(len(rows)), rows.filter.scale
    wanted = sizes(int(0.8 * len(rows)))
    with steps("learning curve", count * len(wanted)) as done:
        trials = [
            _trial(examples, wanted, one, fitter(recipe, seed=one), (scale.min, scale.max), done)
            for one in range(seed, seed + count)
        ]
    floor = None if repeats is None else repeats.mean_floor
    return _fitted(recipe.name, len(rows), trials, floor, None if repeats is None else repeats.mean_signal, seed)


def sizes(most: int) -> list[int]:
    """Return subset sizes that are evenly spaced on a log scale, from `most` / 32 (at least `SMALLEST`) to `most`."""
    least = max(SMALLEST, most / 2 ** (SIZES - 1))
    return [round(least * (most / least) ** (step / (SIZES - 1))) for step in range(SIZES)]


def _trial(
    examples: Examples,
    wanted: Sequence[int],
    seed: int,
    fit: Callable[[Examples], Student],
    ends_of_scale: tuple[float, float],
    done: Callable[[float], None],
) -> Trial:
    """Train students for one seed: a fifth is held out, and the rest is used in nested subsets of whole clusters."""
    outside = folds(examples.clusters, examples.scores, 5, seed) == 0
    held, inside = examples.take(outside), np.flatnonzero(~outside)
    names, index = np.unique(examples.clusters[inside], return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    place = np.empty(len(names), dtype=np.int64)
    place[order] = np.arange(len(names))
    inside = inside[np.argsort(place[index], kind="stable")]
    ends = np.flatnonzero(np.diff(examples.clusters[inside], append=np.int64(-1))) + 1
    counts, errors = [], []
    for size in wanted:
        # End of the last whole cluster at or after the size.
        count = int(ends[min(int(np.searchsorted(ends, size)), len(ends) - 1)])
        part = examples.take(inside[:count])
        if np.isnan(part.scores).all(axis=0).any():
            done(1)
            continue
        error = np.abs(np.clip(fit(part).predict(held.frame), *ends_of_scale) - held.scores)
        known = np.isfinite(error)
        counts.append(count)
        errors.append(np.where(known, error, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1))
        done(1)
    return Trial(np.array(counts, dtype=np.float64), np.array(errors), held.clusters)


def _fitted(
    name: str, now: int, trials: Sequence[Trial], floor: float | None, signal: float | None, seed: int
) -> Curve | None:
    least = min(len(trial.rows) for trial in trials)
    if least < 3:
        return None
    trials = [Trial(trial.rows[-least:], trial.errors[-least:], trial.clusters) for trial in trials]
    rows = np.mean([trial.rows for trial in trials], axis=0)
    means = np.array([trial.errors.mean(axis=1) for trial in trials])
    law = power_law(rows, means.mean(axis=0), floor or 0.0)
    drawn = _draws(trials, rows, floor or 0.0, seed)
    at = {size: np.array([each.at(size) for each in drawn]) for size in (now, now + 1000, 2 * now)}

    def forecast(size: int) -> Forecast:
        return Forecast(rows=size, mae=round(law.at(size), 6), interval=_ends(at[size]))

    gain, doubling = law.at(now) - law.at(now + 1000), law.at(now) - law.at(2 * now)
    doubling_ends = _ends(at[now] - at[2 * now])
    advice, reason = advise(law.at(now), doubling, None if doubling_ends is None else doubling_ends.low, floor, signal)
    return Curve(
        student=name,
        held_out=int(np.mean([trial.errors.shape[1] for trial in trials])),
        points=tuple(
            Point(
                rows=round(float(rows[i])),
                mae=round(float(means[:, i].mean()), 6),
                errors=tuple(round(float(one), 6) for one in means[:, i]),
            )
            for i in range(least)
        ),
        asymptote=round(law.asymptote, 6),
        asymptote_interval=_ends(np.array([each.asymptote for each in drawn])),
        factor=round(law.factor, 6),
        exponent=round(law.exponent, 6),
        now=forecast(now),
        more=forecast(now + 1000),
        twice=forecast(2 * now),
        gain=round(gain, 6),
        gain_interval=_ends(at[now] - at[now + 1000]),
        doubling=round(doubling, 6),
        doubling_interval=doubling_ends,
        floor=number(floor) if floor is not None else None,
        advice=advice,
        reason=reason,
        rule=RULE,
    )


def _draws(trials: Sequence[Trial], rows: FloatArray, least: float, seed: int) -> list[PowerLaw]:
    """Fit curves to bootstrap resamples: of the seeds, and within each seed of its held-out clusters."""
    rng = np.random.default_rng(seed)
    members = [np.unique(trial.clusters, return_inverse=True)[1] for trial in trials]
    found = []
    for _ in range(DRAWS):
        curves = []
        for i in rng.integers(0, len(trials), size=len(trials)).tolist():
            size = int(members[i].max()) + 1
            times = rng.multinomial(size, np.full(size, 1.0 / size))[members[i]]
            curves.append(trials[i].errors @ times / times.sum())
        found.append(power_law(rows, np.mean(curves, axis=0), least))
    return found


def _ends(values: FloatArray) -> Interval | None:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return interval(float(low), float(high))


def advise(
    error: float, doubling: float, doubling_low: float | None, floor: float | None, signal: float | None
) -> tuple[Advice, str]:
    """Return the recommended next step, by `RULE`, and the reason.

    Args:
        error: error of the cheap student with all labels.
        doubling: expected reduction of the error by twice the labels.
        doubling_low: lower end of the interval of `doubling`; None if unknown.
        floor: expected error of a perfect student; None if unknown.
        signal: share of the labels' variance that is signal; None if unknown.
    """
    if signal is not None and signal < MOSTLY_NOISE:
        return "better prompt", f"Only {signal:.0%} of the labels' variance is signal, so more labels would add noise"
    if floor is not None and floor >= FLOOR_NEAR_ERROR * error:
        share = f"The noise floor of {floor:.3f} is {floor / error:.0%} of the error of {error:.3f}"
        if signal is not None and signal < LOW_SIGNAL:
            return "better prompt", f"{share}, and only {signal:.0%} of the labels' variance is signal"
        return "stop", f"{share}, so a perfect student would not be much better"
    gap = (
        ""
        if floor is None
        else f"; the noise floor is {floor:.3f}, so the error can fall by at most {error - floor:.3f}"
    )
    share = (
        f"Twice the labels are expected to reduce the error of {error:.3f} by {doubling:.3f} ({doubling / error:.1%})"
    )
    if doubling >= WORTHWHILE_GAIN * error and doubling_low is not None and doubling_low > 0:
        return "more labels", share + gap
    if floor is None:
        return "measure the floor", (
            f"{share}, which is small or uncertain; only repeated answers (potstill label --answers 2) show whether "
            "the oracle's noise or the student limits the error"
        )
    return "stop", f"{share}, which is small or uncertain{gap}, with another student rather than with more labels"
