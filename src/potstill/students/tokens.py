"""Tokenizes texts in the same way for training and every backend: prefix, truncation, special tokens.

Input: text windows. Output: each text's token ids, at most as many as its encoder reads. A longer text keeps its first
tokens, or its first and last tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tokenizers import Tokenizer

    from potstill.students.encoding import EncoderFacts


_MOST_CHARACTERS = 2**18
"""Number of characters tokenized at a time: before truncation, each token takes about 100 bytes."""


class TextReader:
    """A tokenizer configured by an encoder's facts. It owns `tokenizer` and changes its settings."""

    def __init__(self, tokenizer: Tokenizer, facts: EncoderFacts) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._facts = facts
        # Special tokens are the same for all texts, so one text is enough to find them.
        special = tokenizer.encode("a").special_tokens_mask
        self._before = special.index(0) if 0 in special else 0
        self._after = special[::-1].index(0) if 0 in special else len(special)
        self.room = room = facts.max_tokens - self._before - self._after
        """Number of tokens available for the prefix and a text, without special tokens."""
        whole = min(room, prefix_tokens(tokenizer, facts.prefix))
        self._first = room if facts.window == "head" else whole + (room - whole + 1) // 2
        self._last = room - self._first
        self.left = room - prefix_tokens(tokenizer, facts.prefix)
        """Number of tokens available for a text after the prefix; negative if the prefix alone is too long."""

    def read(self, texts: Sequence[str]) -> tuple[list[list[int]], list[bool]]:
        """Return each text's tokens, special ones included, and whether it was truncated; a text may have no tokens."""
        tokens: list[list[int]] = []
        cut: list[bool] = []
        for some in _few_at_a_time([self._facts.prefix + text for text in texts]):
            for one in self._tokenizer.encode_batch_fast(some):
                ids = one.ids
                cut.append(len(ids) > self._facts.max_tokens)
                tokens.append(self._cut(ids) if cut[-1] else ids)
        return tokens, cut

    def _cut(self, ids: list[int]) -> list[int]:
        return ids[: self._before + self._first] + ids[len(ids) - self._last - self._after :]


def _few_at_a_time(texts: list[str]) -> Iterator[list[str]]:
    """Yield texts in order, in groups of up to `_MOST_CHARACTERS` characters; a longer text is a group by itself."""
    some: list[str] = []
    characters = 0
    for text in texts:
        if some and characters + len(text) > _MOST_CHARACTERS:
            yield some
            some, characters = [], 0
        some.append(text)
        characters += len(text)
    if some:
        yield some


def prefix_tokens(tokenizer: Tokenizer, prefix: str) -> int:
    """Return the number of tokens of a prefix, without special tokens."""
    return len(tokenizer.encode(prefix, add_special_tokens=False).ids)
