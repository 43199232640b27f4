"""A head that learns distributions over the levels of the scale, and says their median or mean.

In: features. Out: scores, in numpy. A linear layer gives one number less than a dimension has levels; the link says
how these become the probability that a score is at most each level, and the decoding what to say of that:

- `ordinal`: each number is the log odds that the score is at most its level, one binary task a level (Frank & Hall
  2001; as a network's outputs: Niu et al. 2016);
- `corn`: the log odds that the score exceeds its level, given that it exceeds the one before (Shi, Cao & Raschka
  2021), so that probabilities rise from level to level by themselves;
- `distribution`: log odds of each level against the last, a softmax.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from potstill.students.heads import LinearHead
    from potstill.students.levels import Levels
    from potstill.types import FloatArray

Link: TypeAlias = Literal["ordinal", "corn", "distribution"]
Decode: TypeAlias = Literal["median", "mean"]

LINKS: tuple[Link, ...] = get_args(Link)


@dataclass(frozen=True)
class GradedHead:
    """What `base` says of `levels`, read by `link` and said by `decode`."""

    base: LinearHead
    levels: Levels
    link: Link
    decode: Decode

    @property
    def kind(self) -> str:
        """The link and the decoding, such as `corn-median`."""
        return f"{self.link}-{self.decode}"

    @property
    def width(self) -> int:
        """Width of the features it was made for."""
        return self.base.width

    @property
    def outputs(self) -> int:
        """How many scores it gives a text."""
        return int(self.levels.counts.size)

    def predict(self, features: NDArray[Any]) -> FloatArray:
        """Scores, shape (rows, dimensions), float64."""
        return decoded(self.base.predict(features), self.levels, self.link, self.decode)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that the head is, beside its kind."""
        return self.base.arrays() | self.levels.arrays()


def kind_of(kind: str) -> tuple[Link, Decode] | None:
    """The link and the decoding that a head's kind names, or None where it is no graded head's."""
    for link in LINKS:
        for decode in get_args(Decode):
            if kind == f"{link}-{decode}":
                return link, decode
    return None


def decoded(outputs: FloatArray, levels: Levels, link: Link, decode: Decode) -> FloatArray:
    """Scores, shape (rows, dimensions), from raw outputs, shape (rows, levels.outputs)."""
    likely = shares(outputs, levels, link)
    return levels.median(likely) if decode == "median" else levels.mean(likely)


def shares(outputs: FloatArray, levels: Levels, link: Link) -> FloatArray:
    """How likely a score is at most each level but the last, shape (rows, levels.outputs)."""
    if link == "ordinal":
        return _sigmoid(outputs)
    found = np.empty_like(outputs)
    for _, place in levels.each():
        own = outputs[:, place]
        found[:, place] = (
            1.0 - np.cumprod(_sigmoid(own), axis=1) if link == "corn" else np.cumsum(_softmax(own), axis=1)
        )
    return found


def start_of(scores: FloatArray, levels: Levels, link: Link) -> FloatArray:
    """The outputs that say what the labels' own frequencies say, shape (levels.outputs,).

    Args:
        scores: labels, shape (rows, dimensions), NaN masked.
        levels: the labels' levels.
        link: how outputs are read.
    """
    found = np.empty(levels.outputs)
    for column, (own, place) in enumerate(levels.each()):
        known = scores[:, column][~np.isnan(scores[:, column])]
        # Half an answer more at every level, so that none is impossible.
        counts = np.bincount(np.searchsorted(own, known).clip(0, own.size - 1), minlength=own.size) + 0.5
        below = np.cumsum(counts)[:-1]
        above = counts.sum() - below
        if link == "ordinal":
            found[place] = np.log(below / above)
        elif link == "corn":
            found[place] = np.log(above / counts[:-1])
        else:
            found[place] = np.log(counts[:-1] / counts[-1])
    return found


def _sigmoid(values: FloatArray) -> FloatArray:
    # Both branches of np.exp stay finite this way, however large the logits are.
    small = np.exp(-np.abs(values))
    return np.asarray(np.where(values >= 0, 1.0, small) / (1.0 + small))


def _softmax(values: FloatArray) -> FloatArray:
    """Probabilities of all levels but the last, whose logit is 0."""
    top = np.maximum(values.max(axis=1, keepdims=True, initial=0.0), 0.0)
    each = np.exp(values - top)
    return np.asarray(each / (each.sum(axis=1, keepdims=True) + np.exp(-top)))
