"""Token batches: texts are tokenized once, grouped by length, and shuffled by seed and epoch only.

Input: texts and a tokenizer. Output: padded tensors. Padding is the main cost on a CPU, so texts of similar length are
batched together. The order depends only on seed and epoch, so a resumed epoch has the same batches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Sampler

from potstill.students.torch.encoder import text_reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from potstill.students.encoding import EncoderFacts
    from potstill.types import BoolArray, FloatArray, IntArray

POOL = 8
"""Number of batches whose rows are sorted by length together. More means less padding and less mixing."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokenized texts: `ids` has one int32 array per text, never empty; `truncated` marks the texts that were cut."""

    ids: tuple[NDArray[np.int32], ...]
    truncated: BoolArray
    pad_id: int

    @property
    def lengths(self) -> IntArray:
        """Number of tokens of each text, shape (texts,)."""
        return np.array([len(row) for row in self.ids], dtype=np.int64)

    def batch(self, index: Sequence[int] | IntArray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return token ids and attention mask of some texts, int64, shape (texts, longest of them), padded right."""
        rows = [self.ids[place] for place in index]
        ids = np.full((len(rows), max(len(row) for row in rows)), self.pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
            mask[place, : len(row)] = 1
        return torch.from_numpy(ids), torch.from_numpy(mask)


def tokenise(tokenizer: Any, texts: Sequence[str], facts: EncoderFacts) -> Tokens:  # noqa: ANN401 - untyped
    """Tokenize texts as every backend does, with a single padding token where a text gives no tokens.

    Args:
        tokenizer: a fast tokenizer of transformers.
        texts: text windows.
        facts: the encoder's prefix, maximum length, window and padding.
    """
    found, cut = text_reader(tokenizer, facts).read(texts)
    return Tokens(
        ids=tuple(np.array(ids or [facts.pad_id], dtype=np.int32) for ids in found),
        truncated=np.array(cut, dtype=np.bool_),
        pad_id=facts.pad_id,
    )


class LengthGrouped(Sampler[list[int]]):
    """Batches of rows of similar length, in an order that depends only on seed and epoch.

    All rows are shuffled, sorted by length within each group of `POOL` batches, and split into batches, which are
    shuffled. Each row appears once per epoch; the last rows may make one smaller batch.
    """

    def __init__(self, lengths: IntArray, batch_size: int, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Select the order of an epoch, from 0; accelerate calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng([self.seed, self.epoch])
        rows = random.permutation(len(self.lengths))
        batches: list[list[int]] = []
        for start in range(0, len(rows), POOL * self.batch_size):
            pooled = rows[start : start + POOL * self.batch_size]
            pooled = pooled[np.argsort(self.lengths[pooled], kind="stable")]
            batches += [
                pooled[place : place + self.batch_size].tolist() for place in range(0, len(pooled), self.batch_size)
            ]
        for place in random.permutation(len(batches)):
            yield batches[place]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the data, ready for the model: tokens and scores (rows, dimensions), NaN masked."""

    tokens: Tokens
    scores: FloatArray

    def __len__(self) -> int:
        return len(self.scores)

    def collate(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """Return the tensors of a batch."""
        ids, mask = self.tokens.batch(rows)
        labels = torch.from_numpy(self.scores[list(rows)].astype(np.float32))
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}
