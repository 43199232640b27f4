"""Labelled headlines with obvious scores: fires are urgent, gardens are not."""

import numpy as np
import polars as pl

from potstill.dataset import Examples

DIMENSIONS = ("urgency", "wonder")
TOWNS = ("Sydney", "Perth", "Hobart", "Darwin", "Cairns", "Albany", "Bendigo", "Mildura", "Dubbo", "Orange")
FLOWERS = ("orchids", "lilies", "roses", "tulips", "ferns", "irises", "poppies", "daisies", "mosses", "palms")
FIRES = [f"Bushfires threaten homes near {town} as crews race to stop the flames" for town in TOWNS]
GARDENS = [f"A quiet garden of rare {flower} opens to delighted visitors this spring" for flower in FLOWERS]


def headlines(*, masked: bool = False) -> Examples:
    """Return ten fires from one source and ten gardens from another; `masked` hides some labels."""
    texts = FIRES + GARDENS
    scores = np.array([[8.0 + i % 3 / 2, 1.0] for i in range(10)] + [[1.0, 6.0 + i % 4 / 2] for i in range(10)])
    if masked:
        scores[[0, 12], 0] = np.nan
        scores[5, 1] = np.nan
    frame = pl.DataFrame({"id": [str(i) for i in range(20)], "text": texts, "source": ["wire"] * 10 + ["green"] * 10})
    return Examples(tuple(frame["id"]), frame, scores, np.arange(20), DIMENSIONS)


class LetterEncoder:
    """Counts a few letters; stands in for a network."""

    def __init__(self, letters: str = "aeiou") -> None:
        self.letters = letters

    @property
    def width(self) -> int:
        return len(self.letters)

    def encode(self, texts):
        counts = [[text.lower().count(letter) for letter in self.letters] for text in texts]
        return np.array(counts, dtype=np.float32).reshape(len(texts), self.width)

    def truncated(self, texts):
        return np.array([len(text) > 100 for text in texts])
