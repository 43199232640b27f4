"""Find the share of texts that are not in English.

Input: texts, and their languages where they are known. Output: a share. A text without a known language is judged by
its words: in English prose, about a quarter of all words are among the commonest ones, and in other languages few are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# The commonest English words, without those that are common words of Dutch, German, French, Spanish or Italian too.
_COMMON = re.compile(
    "the|and|to|that|it|with|by|this|but|from|have|they|which|one|you|were|she|there|would|their|been|when|"
    "who|will|more|out|said|what|up|its|about|than|into|them|can|only|other|new|some|could|time|these|two|may|"
    "then|first|any|your|how|our|after|over|also|his|he|not"
)

_ENGLISH_SHARE = 0.07
"""Minimum share of common words in an English text. Of 6,876 news items in English, Dutch and other languages, 0.5% of
the English ones have less, and 0.7% of the others have more."""

_FEWEST_WORDS = 12
"""Texts with fewer words, such as headlines, can be English without any common word, so they are not judged."""

_FEWEST_LETTERS = 20
"""Minimum letters outside ASCII that decide for a text of few words: scripts without spaces have few "words"."""

_MOST = 2_000
"""Number of characters of each text that are read."""


def share_not_english(texts: Sequence[str], languages: Sequence[str | None]) -> float:
    """Return the share of texts that are not in English, of those whose language is known or can be judged.

    Args:
        texts: the texts.
        languages: for each text a language tag such as `nl` or `en-GB`, or None if it is not known.

    Returns:
        From 0 to 1; 0 if no language can be judged.
    """
    judged = [_is_english(text, tag) for text, tag in zip(texts, languages, strict=True)]
    known = [english for english in judged if english is not None]
    return known.count(False) / len(known) if known else 0.0


def _is_english(text: str, tag: str | None) -> bool | None:
    """Return whether a text is in English; None if that cannot be judged."""
    if tag and tag.strip():
        return re.split(r"[-_ ]", tag.strip().lower())[0] in {"en", "eng", "english"}
    start = text[:_MOST].lower()
    letters = [sign for sign in start if sign.isalpha()]
    foreign = sum(not sign.isascii() for sign in letters)
    if foreign >= _FEWEST_LETTERS and 2 * foreign > len(letters):
        return False
    words = re.findall(r"[^\W\d_]+", start)
    if len(words) < _FEWEST_WORDS:
        return None
    return sum(_COMMON.fullmatch(word) is not None for word in words) >= _ENGLISH_SHARE * len(words)
