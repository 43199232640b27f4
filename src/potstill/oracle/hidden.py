"""Remove characters that readers cannot see but language models read, before a text is shown to an oracle.

Input: a text. Output: the text as a person would read it, and what the hidden characters spell. These are hidden:

- Tag characters, except those in the flag of a region (Scotland's is a black flag followed by seven of them).
- Overrides, embeddings and isolates of writing direction, with which a person reads another order than a model. The
  marks LRM, RLM and ALM only support the layout of right-to-left text and are kept.
- Runs of four or more invisible characters (zero-width spaces, joiners and similar), or of three or more variation
  selectors: real text does not contain such runs, and each character can encode a bit or a byte.
- Invisible characters around each of two or more consecutive letters, which hide a word from searches.

A single joiner, soft hyphen or zero-width space is normal text. A text without hidden characters is returned unchanged,
so that its question, and the label that was bought for it, stay the same.
"""

from __future__ import annotations

import regex

_TAGS = r"\U000E0000-\U000E00FF\U000E01F0-\U000E0FFF"
_REGION = r"\U0001F3F4[\U000E0061-\U000E007A]{2}[\U000E0030-\U000E0039\U000E0061-\U000E007A]{1,3}\U000E007F"
_DIRECTIONS = r"\u202A-\u202E\u2066-\u2069"
_SELECTORS = r"\uFE00-\uFE0F\U000E0100-\U000E01EF"
_INVISIBLE = r"\p{Default_Ignorable_Code_Point}"
_LETTER = rf"[\p{{Latin}}\p{{Greek}}\p{{Cyrillic}}\p{{Nd}}][\p{{M}}--{_INVISIBLE}]*"

_HIDDEN = regex.compile(
    rf"(?V1)(?P<region>{_REGION})|(?P<word>{_INVISIBLE}+(?:{_LETTER}{_INVISIBLE}+){{2,}})"
    rf"|{_INVISIBLE}{{4,}}|[{_SELECTORS}]{{3,}}|[{_TAGS}{_DIRECTIONS}]+"
)
_INVISIBLES = regex.compile(rf"{_INVISIBLE}+")


def shown(text: str) -> str:
    """Return the text without its hidden characters; the same object if there are none."""
    if text.isascii() or not _INVISIBLES.search(text):
        return text
    while (seen := _HIDDEN.sub(_kept, text)) != text:
        # Characters that were separated may now form a run.
        text = seen
    return text


def spelled(text: str) -> list[str]:
    """Return what hidden characters spell, if any: the ASCII of tags and the UTF-8 of variation selectors."""
    if shown(text) == text:
        return []
    tags = "".join(chr(ord(one) - 0xE0000) for one in text if "\U000e0020" <= one <= "\U000e007e")
    selectors = bytes(byte for one in text if (byte := _byte(one)) is not None)
    return [found for found in (tags, selectors.decode("utf-8", "ignore")) if found.strip()]


def _kept(found: regex.Match[str]) -> str:
    if found["region"]:
        return found["region"]
    return _INVISIBLES.sub("", found["word"]) if found["word"] else ""


def _byte(character: str) -> int | None:
    """Return the byte that a variation selector encodes in a run of hidden text."""
    if "\ufe00" <= character <= "\ufe0f":
        return ord(character) - 0xFE00
    if "\U000e0100" <= character <= "\U000e01ef":
        return ord(character) - 0xE0100 + 16
    return None
