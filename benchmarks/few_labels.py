"""Whether few labels are told from labels that teach nothing, and how many labels are asked for.

Parts of labelled sets, drawn at random, are treated as all the labels that a user has: they are split as the product
splits them, the student is selected on the validation part, and its skill is tested as `potstill bundle` does it. The
rows that are left over say what the student's skill really is. The same is done with labels that were shuffled among
the articles, which teach nothing. For each part that is refused, larger parts of the same random order say at which
number of labels the skill is shown.

Run with `python benchmarks/few_labels.py`. `--only SET` runs one set and keeps the recorded results of the others.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _sets import HERE, WORK, NoDataError, _examples, labelled_set, lee
from _students import write

from potstill import metrics
from potstill.bundle.exporting import CALIBRATION_PART, OUT_OF_FOLD
from potstill.calibration import fit_calibration
from potstill.dataset import DEFAULT_FRACTIONS, split
from potstill.evaluation.skill import Claim, proven_skill
from potstill.filters import load_filter
from potstill.findings import LABELS_IN_SIGHT
from potstill.students.recipes import load_recipe
from potstill.terminal import set_quiet
from potstill.training import fitter, predict_out_of_fold
from potstill.training.fit import frozen_encoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.bundle.facts import HeldOutSkill
    from potstill.dataset import Examples
    from potstill.filters import Filter

OUT = HERE / "results" / "few_labels.json"
RECIPES = ("tfidf-ridge", "tfidf-median", "minilm-median")
"""What `potstill train` fits by default, without the constant."""

SIZES = (30, 60, 222)
GROWING = 2**0.5
"""Factor between the numbers of labels at which it is tried whether the skill is shown."""

LARGEST = 480
"""Labels of the largest part that is tried."""


@dataclass(frozen=True, eq=False)
class Set:
    """Rows, the filter whose dimensions they have, and the name for the record."""

    name: str
    rows: Examples
    filter: Filter


def sets() -> Iterator[Set]:
    """Yield the sets whose data are on this machine."""
    ids, texts = lee()
    path = Path(str(files("potstill") / "builtin" / "lee-oracle.jsonl"))
    recorded = {row["id"]: row for row in map(json.loads, path.read_text("utf-8").splitlines())}
    for key in ("front_page", "uplifting", "investment_risk"):
        filter_ = load_filter(key.replace("_", "-"))
        names = filter_.dimension_names
        passes = [(recorded[i][key]["a"], recorded[i][key]["b"]) if "a" in recorded[i][key] else (recorded[i][key],)
                  for i in ids]  # fmt: skip
        scores = np.array([[np.mean([one[name] for one in each]) for name in names] for each in passes])
        yield Set(filter_.name, _examples(ids, texts, scores, names), filter_)
    for name in ("sustainability-news",):
        try:
            found = labelled_set(name)
        except NoDataError as error:
            print(error)
            continue
        yield Set(name, found.examples, found.filter)


def shipped(one: Set, rows: Examples, seed: int) -> tuple[HeldOutSkill, str, Any]:
    """Do what a user of the product would do with these rows; return the skill, the student, and a scoring function."""
    filter_, low, high = one.filter, one.filter.scale.min, one.filter.scale.max
    parts = split(rows.scores, rows.clusters, seed=seed, fractions=DEFAULT_FRACTIONS, weights=filter_.weights)
    part = {name: rows.take((parts == name).to_numpy()) for name in ("train", "validation", "calibration")}
    train, validation = part["train"], part["validation"]
    best: tuple[float, str, Any] | None = None
    for name in RECIPES:
        recipe = load_recipe(name)
        fit = fitter(recipe, seed=seed, encoder=frozen_encoder(recipe, WORK / "features"))
        student = fit(train)
        predicted = np.clip(student.predict(validation.frame), low, high)
        error = metrics.average(metrics.mae(predicted, validation.scores))
        if best is None or error < best[0]:
            best = (error, name, (fit, student))
    assert best is not None
    _, name, (fit, student) = best
    if len(part["calibration"]):
        held, origin = part["calibration"], CALIBRATION_PART
        raw = student.predict(held.frame)
    else:
        held, origin, raw = train, OUT_OF_FOLD, predict_out_of_fold(fit, train, 5, seed, name)
    claim = Claim(name, load_recipe(name), False, train, held, raw, origin, len(rows), filter_)
    found = proven_skill(claim, anyway=True, cache=WORK / "features", seed=seed)
    curves = fit_calibration(
        raw, held.scores, held.clusters, seed, dimensions=filter_.dimension_names, low=low, high=high
    )

    def really(rest: Examples) -> dict[str, Any]:
        ours = np.abs(curves.apply(student.predict(rest.frame)) - rest.scores)
        base = np.abs(metrics.constant(train.scores) - rest.scores)
        shares = metrics.row_shares(ours), metrics.row_shares(base)
        bounds = metrics.bootstrap_ratio(*shares, rest.clusters, seed=seed)
        return {"rows": len(rest), "skill": round(float(1 - shares[0].sum() / shares[1].sum()), 4),
                "interval": [round(float(1 - bounds.high[0]), 4), round(float(1 - bounds.low[0]), 4)]}  # fmt: skip

    return found, name, really


def shuffled(rows: Examples, seed: int) -> Examples:
    """Return the rows with the labels of others."""
    return replace(rows, scores=rows.scores[np.random.default_rng(1000 + seed).permutation(len(rows))])


def trial(one: Set, size: int, seed: int, *, noise: bool) -> dict[str, Any]:
    """Test one part, and find the number of labels that is really needed if it is refused."""
    rows = shuffled(one.rows, seed) if noise else one.rows
    order = np.random.default_rng(seed).permutation(len(rows))
    found, student, really = shipped(one, rows.take(order[:size]), seed)
    result: dict[str, Any] = {
        "seed": seed,
        "student": student,
        "shown": found.shown,
        "skill": round(found.skill or 0.0, 4),
        "interval": None if found.interval is None else [round(found.interval.low, 4), round(found.interval.high, 4)],
        "really": really(rows.take(order[size:])),
    }
    if found.labels is not None:
        result["asked"] = {"labels": found.labels.articles, "low": found.labels.low, "high": found.labels.high,
                           "reason": found.labels.reason}  # fmt: skip
        if not noise:
            result["needed"] = needed(one, order, size, seed)
    return result


def needed(one: Set, order: np.ndarray, size: int, seed: int) -> dict[str, Any]:
    """Return the smallest tried number of labels from which the skill is shown, with what was tried."""
    most = min(LARGEST, len(one.rows) - 20)
    tried = {}
    count = float(size)
    while (count := count * GROWING) <= most:
        tried[round(count)] = shipped(one, one.rows.take(order[: round(count)]), seed)[0].shown
        # Two in a row are enough: the interval only becomes narrower.
        if list(tried.values())[-2:] == [True, True]:
            break
    last_refusal = max((labels for labels, shown in tried.items() if not shown), default=size)
    after = [labels for labels, shown in tried.items() if shown and labels > last_refusal]
    return {"labels": min(after, default=None), "tried": {str(labels): shown for labels, shown in tried.items()}}


def summary(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Count what was refused and shipped, and how far that was right."""
    really = [one["really"]["skill"] for one in trials]
    refused, accepted = ([one for one in trials if one["shown"] is shown] for shown in (False, True))
    asked = [one["asked"]["labels"] for one in refused]
    pairs = [(one["asked"]["labels"], one["needed"]["labels"]) for one in refused if "needed" in one]
    known = [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
    return {
        "parts": len(trials),
        "refused": len(refused),
        "shipped": len(accepted),
        "skill_really": {"mean": round(float(np.mean(really)), 4), "least": min(really), "most": max(really)},
        # A skill that is really above 0, and was not shown.
        "refused_with_skill": sum(one["really"]["interval"][0] > 0 for one in refused),
        "skill_really_where_refused": [one["really"]["skill"] for one in refused],
        "shipped_without_skill": sum(one["really"]["skill"] <= 0 for one in accepted),
        "refused_with_a_number": sum(labels is not None for labels in asked),
        "asked_over_needed": [round(ours / theirs, 2) for ours, theirs in known],
        "not_in_sight_but_shown_with_more": sum(ours is None and theirs is not None for ours, theirs in pairs),
    }  # fmt: skip


def main() -> None:
    """Run the benchmark and record the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", action="append")
    options = parser.parse_args()
    set_quiet(True)
    started = time.monotonic()
    kept = json.loads(OUT.read_text("utf-8"))["sets"] if options.only and OUT.exists() else {}
    for one in sets():
        if options.only and one.name not in options.only:
            continue
        results: dict[str, Any] = {}
        for noise in (False, True):
            for size in SIZES:
                trials = [trial(one, size, seed, noise=noise) for seed in range(options.seeds)]
                name = f"{size} {'shuffled ' if noise else ''}labels"
                results[name] = summary(trials) | {"trials": trials}
                print(one.name, name, json.dumps(summary(trials)), flush=True)
        kept[one.name] = results
        every = [part for results in kept.values() for part in results.items()]
        total = {
            what: summary([one for name, part in every for one in part["trials"] if ("shuffled" in name) is noise])
            for what, noise in (("labels", False), ("shuffled labels", True))
        }
        write(OUT, {"recipes": RECIPES, "searched_up_to": LABELS_IN_SIGHT, "all": total, "sets": kept}, started)


if __name__ == "__main__":
    main()
