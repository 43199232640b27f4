"""Texts to tokens, one way for training and every backend: the prefix, the cut, the special tokens.

In: windows. Out: each text's token numbers, at most as many as its encoder reads. A text that is longer is cut behind
its first tokens, or in its middle, so that its beginning and its end are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tokenizers import Tokenizer

    from potstill.students.encoding import EncoderFacts


_MOST_CHARACTERS = 2**18
"""Characters that are made into tokens at a time: before a text is cut, each of its tokens takes about 100 bytes."""


class TextReader:
    """A tokenizer as an encoder's facts want it: `tokenizer` is this reader's own, and its settings are changed."""

    def __init__(self, tokenizer: Tokenizer, facts: EncoderFacts) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._facts = facts
        # Special tokens stand around every text alike, so one text shows them.
        special = tokenizer.encode("a").special_tokens_mask
        self._before = special.index(0) if 0 in special else 0
        self._after = special[::-1].index(0) if 0 in special else len(special)
        self.room = room = facts.max_tokens - self._before - self._after
        """Tokens that the special ones leave for the prefix and a text."""
        whole = min(room, prefix_tokens(tokenizer, facts.prefix))
        self._first = room if facts.window == "head" else whole + (room - whole + 1) // 2
        self._last = room - self._first
        self.left = room - prefix_tokens(tokenizer, facts.prefix)
        """Tokens that the prefix leaves for a text; below 0 where it is itself too long."""

    def read(self, texts: Sequence[str]) -> tuple[list[list[int]], list[bool]]:
        """Each text's tokens, special ones included, and whether it was cut; a text may have none."""
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
    """Texts in order, as many at a time as have `_MOST_CHARACTERS` together; one that is longer comes alone."""
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
    """How many tokens a prefix takes, without special ones."""
    return len(tokenizer.encode(prefix, add_special_tokens=False).ids)
