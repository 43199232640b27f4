"""A filter with two dimensions, and articles and labels for it."""

import numpy as np
import polars as pl

from potstill.filters import parse_filter

FILTER = parse_filter(
    """
name: weather
version: 1
description: How bad the weather is.
text: {max_chars: 40, keep: head}
dimensions:
  wind: {weight: 0.5, description: How strong}
  rain: {weight: 0.5, description: How wet}
tiers:
  - {name: storm, when: overall >= 6, positive: true}
  - {name: calm}
""",
    "Judge the weather.",
    "weather",
)


def some_articles(n=20, **columns):
    rng = np.random.default_rng(0)
    contents = [" ".join(rng.choice(["gale", "drizzle", "sun", "hail", "fog", "thaw"], 6)) for _ in range(n)]
    return pl.DataFrame({"id": [f"a{i}" for i in range(n)], "title": [None] * n, "content": contents, **columns})


def some_labels(n=20, oracle="rehearsal", **changed):
    rng = np.random.default_rng(1)
    columns = {
        "article": [f"a{i}" for i in range(n)],
        "oracle": [oracle] * n,
        "samples": [2] * n,
        "evidence": [""] * n,
        "y_wind": rng.uniform(0, 10, n),
        "s_wind": [0.1] * n,
        "y_rain": rng.uniform(0, 10, n),
        "s_rain": [0.0] * n,
        **changed,
    }
    return pl.DataFrame(columns, schema_overrides={"y_wind": pl.Float64, "y_rain": pl.Float64})
