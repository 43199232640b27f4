"""The ordinal head: predicts distributions over the levels of the scale and returns their median or mean.

Input: features. Output: scores, computed with numpy. A linear layer gives one output fewer than a dimension has levels.
The link turns these outputs into the probability that a score is at most each level, and the decoding turns this
distribution into a score:

- `ordinal`: each output is the log-odds that the score is at most its level, one binary task per level (Frank & Hall
2001; as outputs of a network: Niu et al. 2016);
- `corn`: the log-odds that the score exceeds its level, given that it exceeds the previous one (Shi, Cao & Raschka
2021), so that cumulative probabilities increase by construction;
- `distribution`: the log-odds of each level against the last, a softmax.
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
TrainedLink: TypeAlias = Literal["corn", "distribution"]
"""Links of students that are trained now; earlier versions also trained `ordinal`."""
Decode: TypeAlias = Literal["median", "mean"]

LINKS: tuple[Link, ...] = get_args(Link)


@dataclass(frozen=True)
class OrdinalHead:
    """Applies `base`, reads its outputs with `link` and decodes them to scores with `decode`, over `levels`."""

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
        """Expected number of features."""
        return self.base.width

    @property
    def outputs(self) -> int:
        """Number of scores per text."""
        return int(self.levels.counts.size)

    def predict(self, features: NDArray[Any]) -> FloatArray:
        """Predict scores, shape (rows, dimensions), float64."""
        return decoded(self.base.predict(features), self.levels, self.link, self.decode)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays that define the head, except for its kind."""
        return self.base.arrays() | self.levels.arrays()


def kind_of(kind: str) -> tuple[Link, Decode] | None:
    """Parse a head's kind into link and decoding; return None if it is not an ordinal head."""
    for link in LINKS:
        for decode in get_args(Decode):
            if kind == f"{link}-{decode}":
                return link, decode
    return None


def decoded(outputs: FloatArray, levels: Levels, link: Link, decode: Decode) -> FloatArray:
    """Decode raw outputs, shape (rows, levels.outputs), to scores, shape (rows, dimensions)."""
    likely = shares(outputs, levels, link)
    return levels.median(likely) if decode == "median" else levels.mean(likely)


def shares(outputs: FloatArray, levels: Levels, link: Link) -> FloatArray:
    """Return the probability of a score at most each level except the last, shape (rows, levels.outputs)."""
    if link == "ordinal":
        return _sigmoid(outputs)
    found = np.empty_like(outputs)
    for _, place in levels.each():
        own = outputs[:, place]
        found[:, place] = (
            1.0 - np.cumprod(_sigmoid(own), axis=1) if link == "corn" else np.cumsum(_softmax(own), axis=1)
        )
    return found


def start_of(scores: FloatArray, levels: Levels, link: TrainedLink) -> FloatArray:
    """Return the outputs that correspond to the label frequencies, shape (levels.outputs,).

    Args:
        scores: labels, shape (rows, dimensions), NaN where masked.
        levels: the labels' levels.
        link: how outputs are read.
    """
    found = np.empty(levels.outputs)
    for column, (own, place) in enumerate(levels.each()):
        known = scores[:, column][~np.isnan(scores[:, column])]
        # Half a count is added to every level, so that no level has probability 0.
        counts = np.bincount(np.searchsorted(own, known).clip(0, own.size - 1), minlength=own.size) + 0.5
        above = counts.sum() - np.cumsum(counts)[:-1]
        if link == "corn":
            found[place] = np.log(above / counts[:-1])
        else:
            found[place] = np.log(counts[:-1] / counts[-1])
    return found


def _sigmoid(values: FloatArray) -> FloatArray:
    # Both branches of np.exp stay finite this way, however large the logits are.
    small = np.exp(-np.abs(values))
    return np.asarray(np.where(values >= 0, 1.0, small) / (1.0 + small))


def _softmax(values: FloatArray) -> FloatArray:
    """Return the probabilities of all levels except the last, whose logit is 0."""
    top = np.maximum(values.max(axis=1, keepdims=True, initial=0.0), 0.0)
    each = np.exp(values - top)
    return np.asarray(each / (each.sum(axis=1, keepdims=True) + np.exp(-top)))
