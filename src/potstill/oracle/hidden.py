"""Characters that no reader sees and a language model reads all the same: what an oracle is shown lacks them.

In: a text. Out: the text as a person would read it, and what the hidden characters spell. These are hidden:

- Tag characters, but for those in the flag of a region (Scotland's is a black flag and seven of them).
- Overrides, embeddings and isolates of writing direction, which make a person read another order than a model does.
  The marks LRM, RLM and ALM only help to lay out right-to-left text and stay.
- Runs of four or more invisible characters (zero-width spaces, joiners and the like), or of three or more variation
  selectors: writing needs no such run, and each character of one can carry a bit or a byte.
- Invisible characters around each of two or more letters in a row, which spell a word that no search finds.

A single joiner, soft hyphen or zero-width space is writing. A text without hidden characters comes back as it is,
so that its question, and the label that was paid for it, stay the same.
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
    """The text without its hidden characters; the text itself if there are none."""
    if text.isascii() or not _INVISIBLES.search(text):
        return text
    while (seen := _HIDDEN.sub(_kept, text)) != text:
        # What stood apart may now be a run.
        text = seen
    return text


def spelled(text: str) -> list[str]:
    """What hidden characters spell, if there are any: the ASCII of tags, and the UTF-8 of variation selectors."""
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
    """The byte that a variation selector stands for where text is hidden in a row of them."""
    if "\ufe00" <= character <= "\ufe0f":
        return ord(character) - 0xFE00
    if "\U000e0100" <= character <= "\U000e01ef":
        return ord(character) - 0xE0100 + 16
    return None
