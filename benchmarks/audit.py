"""What the audit says of labels that were published: repeat error, redundancy, oracles side by side, learning curve.

    python benchmarks/audit.py [--data FOLDER]

- `lee-oracle` (ships with potstill; texts with gensim): two passes of one oracle, `front_page` and `uplifting`.
- `uplifting-multi-oracle` (benchmark data): three pairs of oracles apart.
- `sustainability-gemini` (benchmark data): the learning curve, and the per-source median beside the constant.
- Planted errors: on `front_page` the labels of some articles change places; how many of them are among the suspects.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from _sets import lee
from _students import write

from potstill.audit import Answer, audit_labels, labelled, of_files
from potstill.audit.learning import power_law
from potstill.audit.suspects import held_out, suspicion
from potstill.dataset.assembling import with_facts
from potstill.files import sha256
from potstill.filters import load_filter

if TYPE_CHECKING:
    from potstill.audit import Audit

RESULT = Path(__file__).parent / "results" / "audit.json"
DATA = Path(os.environ.get("POTSTILL_DATA", Path(__file__).parents[2] / "shared" / "data"))
PLANTED = 0.05


def of_lee(field: str, filter_name: str) -> tuple[Audit, Any]:
    """The audit of two passes over the Lee corpus."""
    ids, texts = lee()
    articles = with_facts(pl.DataFrame({"id": ids, "title": [""] * len(ids), "content": texts}))
    labels = Path(str(files("potstill") / "builtin" / "lee-oracle.jsonl"))
    filter_, _, oracles = of_files(labels, None, load_filter(filter_name), field=field)
    rows = labelled(articles, oracles, filter_)
    return audit_labels(rows, articles, oracles), rows


def planted(rows: Any, seeds: int = 5) -> dict[str, Any]:  # noqa: ANN401 - a Labelled
    """Labels that change places among `PLANTED` of the rows: the share of them among as many suspects."""
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        count = round(PLANTED * len(rows))
        chosen = rng.permutation(len(rows))[:count]
        scores = rows.scores.copy()
        scores[chosen] = scores[np.roll(chosen, 1)]
        answers = {id_: Answer(scores[i][None]) for i, id_ in enumerate(rows.ids)}
        wrong = labelled(rows.articles, {"planted": answers}, rows.filter)
        heard = held_out(wrong, seed=seed)
        order = np.argsort(-suspicion(heard.scores[heard.student] - wrong.scores))
        among = [float(np.isin(chosen, order[: times * count]).mean()) for times in (1, 2, 4)]
        found.append(among)
    mean = np.mean(found, axis=0)
    return {
        "rows": len(rows),
        "planted_share": PLANTED,
        "seeds": seeds,
        "found_among_the_first": {
            f"{times * PLANTED:.0%}": round(float(m), 3) for times, m in zip((1, 2, 4), mean, strict=True)
        },
    }


def main() -> None:
    """Run all and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    started = time.monotonic()
    result: dict[str, Any] = {"what": "audits of published labels; floors are d / sqrt(2K)"}

    front, rows = of_lee("front_page", "front-page")
    up, _ = of_lee("uplifting", "uplifting")
    result["lee"] = {"front_page": brief(front), "uplifting": brief(up), "planted_errors_front_page": planted(rows)}
    print(json.dumps(result["lee"], indent=1), flush=True)

    multi = arguments.data / "uplifting-multi-oracle.jsonl.gz"
    gemini = arguments.data / "sustainability-gemini.jsonl.gz"
    if multi.exists():
        filter_, articles, oracles = of_files(multi, None, load_filter("uplifting"))
        audit = audit_labels(labelled(articles, oracles, filter_), articles, oracles, learn=False)
        result["uplifting_multi_oracle"] = [
            {
                "pair": [pair.first, pair.second],
                "rows": pair.rows,
                "difference": pair.mean_difference,
                "difference_interval": pair.mean_difference_interval and pair.mean_difference_interval.model_dump(),
                "bias": pair.mean_bias,
                "overall_difference": pair.overall.difference,
                "same_tier": pair.tiers and pair.tiers.same,
                "positives": pair.tiers and [pair.tiers.positive_first, pair.tiers.positive_second],
                "by_dimension": {each.dimension: [each.difference, each.bias] for each in pair.dimensions},
            }
            for pair in audit.pairs
        ]
        print(json.dumps(result["uplifting_multi_oracle"], indent=1), flush=True)
    if gemini.exists():
        with gzip.open(gemini, "rt", encoding="utf-8") as stream:
            kinds = {row["id"]: row["kind"] for row in map(json.loads, stream)}
        filter_, articles, oracles = of_files(gemini)
        for name, wanted in (("news", {"news"}), ("all", {"news", "science"})):
            part = articles.filter(pl.col("id").is_in([id_ for id_, kind in kinds.items() if kind in wanted]))
            audit = audit_labels(labelled(part, oracles, filter_), part, oracles)
            result[f"sustainability_gemini_{name}"] = brief(audit)
            print(json.dumps(result[f"sustainability_gemini_{name}"], indent=1), flush=True)
    result["inputs"] = {path.name: sha256(path) for path in (multi, gemini) if path.exists()}
    write(arguments.out, result, started)


def foretold(audit: Audit) -> dict[str, Any] | None:
    """How well the law through all points but the largest foretells the largest."""
    if audit.curve is None:
        return None
    rows = np.array([point.rows for point in audit.curve.points], dtype=np.float64)
    errors = np.array([point.mae for point in audit.curve.points])
    law = power_law(rows[:-1], errors[:-1], audit.curve.floor or 0.0)
    return {
        "from_rows": int(rows[-2]),
        "to_rows": int(rows[-1]),
        "foretold": round(law.at(rows[-1]), 4),
        "measured": round(float(errors[-1]), 4),
    }


def brief(audit: Audit) -> dict[str, Any]:
    """The figures of an audit that are worth keeping, without texts."""
    dumped = audit.model_dump(mode="json")
    kept = {
        name: dumped[name]
        for name in ("rows", "clusters", "repeats", "redundancy", "baselines", "curve", "truncation", "findings")
    }
    if kept["redundancy"]:
        kept["redundancy"] = {
            name: kept["redundancy"][name]
            for name in ("effective", "effective_interval", "without_noise", "high", "warning")
        }
    kept["foretold"] = foretold(audit)
    kept["duplicates"] = dumped["duplicates"] and {k: v for k, v in dumped["duplicates"].items() if k != "apart"}
    kept["boilerplate"] = dumped["boilerplate"] and {
        each["kind"]: each["rows"] for each in dumped["boilerplate"]["declared"]
    }
    kept["spread"] = {
        each["dimension"]: {k: each[k] for k in ("mean", "sd", "used", "at_floor", "at_ceiling")}
        for each in dumped["scores"]["dimensions"]
    }
    return kept


if __name__ == "__main__":
    main()
