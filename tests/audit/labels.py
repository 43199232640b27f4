"""Synthetic weather news with labels that follow from its words, and two passes of a low-noise oracle."""

import numpy as np
import polars as pl

from potstill.audit import Answer, labelled
from potstill.filters import parse_filter

WEATHER = parse_filter(
    """
name: weather
version: 1
text: {max_chars: 200, keep: head}
dimensions:
  wind: {weight: 0.5, description: How strong}
  rain: {weight: 0.5, description: How wet}
tiers:
  - {name: storm, when: overall >= 6, positive: true}
  - {name: calm}
prefilter:
  drop:
    - {reason: sport, any: [league table]}
    - {reason: advert, any: [buy now]}
""",
    "Judge the weather.",
    "weather",
)

WIND = ("still air", "a breeze", "strong wind", "a gale", "a hurricane")
RAIN = ("dry streets", "drizzle", "showers", "steady rain", "floods")


def news(n, seed=0, noise=0.5):
    """Return articles with two answers each: scores of two points per step along either list, plus noise."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(0, 5, (n, 2))
    towns = rng.choice(["Bergen", "Leeds", "Porto", "Ghent", "Turku", "Graz"], n)
    texts = [
        f"{town} reported {WIND[w]} and {RAIN[r]} on day {i} of the season, said observer {rng.integers(1e6)}"
        for i, (town, (w, r)) in enumerate(zip(towns, steps.tolist(), strict=True))
    ]
    frame = pl.DataFrame(
        {
            "id": [f"n{i}" for i in range(n)],
            "title": [""] * n,
            "content": texts,
            "source": ["herald" if w > 2 else "gazette" for w in steps[:, 0].tolist()],
            "language": ["en"] * n,
            "published": [None] * n,
        },
        schema_overrides={"published": pl.String},
    )
    passes = np.clip(2.0 * steps[:, None, :] + rng.normal(0, noise, (n, 2, 2)), 0, 10)
    answers = {f"n{i}": Answer(passes[i], f"it said {texts[i][:20]}") for i in range(n)}
    return frame, answers


def rows_of(n=150, seed=0, noise=0.5):
    articles, answers = news(n, seed, noise)
    return labelled(articles, {"two-pass": answers}, WEATHER)


def rows_with(scores, texts=None, **facts):
    """Return rows with one answer each."""
    n = len(scores)
    articles = pl.DataFrame(
        {
            "id": [f"r{i}" for i in range(n)],
            "title": [""] * n,
            "content": [""] * n if texts is None else texts,
            "source": facts.get("source", [None] * n),
            "language": facts.get("language", [None] * n),
            "published": [None] * n,
        },
        schema_overrides=dict.fromkeys(("source", "language", "published"), pl.String),
    )
    answers = {f"r{i}": Answer(np.atleast_2d(np.array(row, dtype=np.float64))) for i, row in enumerate(scores)}
    return labelled(articles, {"one": answers}, WEATHER)
