"""Texts to tokens, one way for training and every backend: the prefix, the cut, the special tokens.

In: windows. Out: each text's token numbers, at most as many as its encoder reads. A text that is longer is cut behind
its first tokens, or in its middle, so that its beginning and its end are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer

    from potstill.students.encoding import EncoderFacts


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
        room = facts.max_tokens - self._before - self._after
        whole = min(room, prefix_tokens(tokenizer, facts.prefix))
        self._first = room if facts.window == "head" else whole + (room - whole + 1) // 2
        self._last = room - self._first
        self.left = room - prefix_tokens(tokenizer, facts.prefix)
        """Tokens that the prefix leaves for a text; below 0 where it is itself too long."""

    def read(self, texts: Sequence[str]) -> tuple[list[list[int]], list[bool]]:
        """Each text's tokens, special ones included, and whether it was cut; a text may have none."""
        found = [one.ids for one in self._tokenizer.encode_batch_fast([self._facts.prefix + text for text in texts])]
        cut = [len(ids) > self._facts.max_tokens for ids in found]
        return [self._cut(ids) if long else ids for ids, long in zip(found, cut, strict=True)], cut

    def _cut(self, ids: list[int]) -> list[int]:
        return ids[: self._before + self._first] + ids[len(ids) - self._last - self._after :]


def prefix_tokens(tokenizer: Tokenizer, prefix: str) -> int:
    """How many tokens a prefix takes, without special ones."""
    return len(tokenizer.encode(prefix, add_special_tokens=False).ids)
