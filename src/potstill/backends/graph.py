"""Common part of backends that run an exported graph: tokenization, batches by length, and input order.

Input: texts, and a subclass that runs one padded batch. Output: features in input order. Texts are tokenized by the
tokenizer's own threads. Batches are sorted by length and limited in tokens, so that there is little padding and memory
does not grow with the number of texts. The batches of only one call run at a time, so that callers in several threads
tokenize in parallel with the network and do not compete for cores.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from itertools import starmap
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from potstill.backends.tokenizer import open_tokenizer
from potstill.errors import BundleError
from potstill.files import foreign
from potstill.students.encoding import TOKEN_BUDGET, token_batches
from potstill.students.tokens import TextReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from potstill.students.encoding import EncoderFacts
    from potstill.types import BoolArray, IntArray

INPUTS = ("input_ids", "attention_mask")
"""Inputs of a graph: int64, shape (texts, tokens)."""

OUTPUT = "features"
"""Output of a graph: float32, shape (texts, width)."""

_CHUNK = 1024
"""Number of texts tokenized at a time, which limits the memory of a call with very many texts."""


class GraphEncoder(ABC):
    """An exported encoder; a subclass runs the graph.

    A text's features depend on the other texts in its batch only by rounding, since padding is masked.
    """

    name: ClassVar[str]

    def __init__(self, model: Path, tokenizer: Path, facts: EncoderFacts, token_budget: int = TOKEN_BUDGET) -> None:
        """Open the tokenizer.

        Args:
            model: the graph's file, which the subclass opens.
            tokenizer: the file `tokenizer.json`.
            facts: description of the encoder.
            token_budget: maximum number of tokens in a batch.

        Raises:
            BundleError: the file cannot be used; the message names it.
        """
        self._model_path = model
        self.facts = facts
        self.width = facts.width
        self._token_budget = token_budget
        self._tokenizer_path = tokenizer
        with foreign(tokenizer, BundleError):
            self._reader = TextReader(open_tokenizer(tokenizer), facts)
        if self._reader.room < 1:
            raise BundleError(f"{tokenizer}: its special tokens leave no room for a text in {facts.max_tokens} tokens")
        self._running = threading.Lock()

    @abstractmethod
    def run(self, ids: IntArray, mask: IntArray) -> NDArray[np.float32]:
        """Return features of one padded batch, shape (texts, width); both inputs have the shape (texts, tokens)."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the features, shape (texts, width), in input order; texts are cut to `max_tokens`."""
        parts = [self.features(self.tokens(texts[start : start + _CHUNK])) for start in range(0, len(texts), _CHUNK)]
        return np.concatenate(parts) if parts else np.zeros((0, self.width), dtype=np.float32)

    def features(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return features of texts with known `tokens`, shape (texts, width), in input order."""
        features = np.zeros((len(tokens), self.width), dtype=np.float32)
        lengths = np.array([len(one) for one in tokens], dtype=np.int64)
        batches = list(token_batches(lengths, self._token_budget))
        padded = [self._padded([tokens[index] for index in batch]) for batch in batches]
        with self._running, foreign(self._model_path, BundleError):
            for batch, found in zip(batches, self.run_batches(padded), strict=True):
                if not isinstance(found, np.ndarray) or found.shape != (len(batch), self.width):
                    shape = getattr(found, "shape", type(found).__name__)
                    raise BundleError(
                        f"{self._model_path}: returns features of shape {shape} for {len(batch)} texts, "
                        f"expected {(len(batch), self.width)}"
                    )
                features[batch] = found
        return features

    def run_batches(self, batches: Sequence[tuple[IntArray, IntArray]]) -> Iterable[NDArray[np.float32]]:
        """Yield features of padded batches, in their order; each is consumed before the next one is requested."""
        return starmap(self.run, batches)

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, special tokens included, at most `max_tokens`."""
        return self._read(texts)[0]

    def truncated(self, texts: Sequence[str]) -> BoolArray:
        """Return which texts have more than `max_tokens` tokens, shape (texts,)."""
        found = np.zeros(len(texts), dtype=np.bool_)
        for start in range(0, len(texts), _CHUNK):
            _, cut = self._read(texts[start : start + _CHUNK])
            found[start : start + len(cut)] = cut
        return found

    def _read(self, texts: Sequence[str]) -> tuple[list[list[int]], list[bool]]:
        with foreign(self._tokenizer_path, BundleError):
            return self._reader.read(texts)

    def _padded(self, tokens: Sequence[Sequence[int]]) -> tuple[IntArray, IntArray]:
        # A tokenizer without special tokens may return no tokens; one unmasked padding token is used then.
        longest = max(1, *(len(one) for one in tokens))
        ids = np.full((len(tokens), longest), self.facts.pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, one in enumerate(tokens):
            ids[row, : len(one)] = one
            mask[row, : max(1, len(one))] = 1
        return ids, mask


def check_interface(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Check that a graph has the inputs and outputs of an encoder's graph.

    Raises:
        BundleError: it does not; the message names the file.
    """
    if tuple(inputs) != INPUTS or tuple(outputs) != (OUTPUT,):
        raise BundleError(
            f"{path}: has the inputs {', '.join(inputs)}; expected {', '.join(INPUTS)}, and the output {OUTPUT}"
        )
