"""Opens a tokenizer from an untrusted file and checks it before use.

Input: `tokenizer.json`. Output: a tokenizer, or a BundleError. Such a file is a small program: it may replace one
letter with a million, so that one article takes gigabytes. Therefore the amount that its parts can add to a text is
limited before any text is read. The library panics on some errors and prints the panic itself; this output is
suppressed while the file is tested.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import sys
import threading
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from potstill.errors import BadInput, BundleError
from potstill.files import check_file, foreign

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tokenizers import Tokenizer

MOST_BYTES = 256 * 2**20
"""Maximum size of a tokenizer's file in bytes; the largest vocabularies in use take a tenth of that."""

LONGEST_ADDED = 64
"""Maximum number of characters that one part may insert into a text at one position, and of tokens it may add around
one."""

MOST_GROWTH = 16
"""Maximum factor by which all replacements together may lengthen a text."""

MOST_PARTS = 256
"""Maximum number of parts for normalization, splitting and post-processing."""

LONGEST_PATTERN = 5_000
LONGEST_WORD = 1_000
"""Maximum length of a word that WordPiece looks up as a whole, since its time grows with the square of the length."""

_SILENCING = threading.Lock()

_TRIED = (
    "",
    "a",
    'The river rose 2.5 m overnight; "volunteers" -- 40 of them -- filled sandbags, it\'s said.\n\n(See p. 7)',
    "Der Bürgermeister eröffnete die Brücke über den Fluß. ﬁnis ½ … ﷺ",
    "市政府周二宣布了一项新的住房计划。Рыбаки вернулись. أعلنت المدينة. गाँव 🙂",
    "a" * 500 + " " * 40 + "\t!",
)
"""Texts that reveal errors before an article is tokenized."""


def open_tokenizer(path: Path) -> Tokenizer:
    """Open a tokenizer's file.

    Raises:
        BundleError: it is missing, broken or exceeds the limits; the message names it.
    """
    from tokenizers import Tokenizer

    try:
        check_file(path, most=MOST_BYTES)
    except BadInput as error:
        raise BundleError(str(error)) from None
    with foreign(path, BundleError), _stderr_silenced():
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:
            # tokenizers raises plain Exception, not a class of its own, for any error in a file.
            if type(error) is not Exception:
                raise
            raise BundleError(f"{path}: not a tokenizer ({error})") from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        fault = _fault(tokenizer)
        if fault is not None:
            raise BundleError(f"{path}: {fault}")
        tokenizer.encode_batch_fast(list(_TRIED))
    return tokenizer


def _fault(tokenizer: Tokenizer) -> str | None:
    """Describe what exceeds the limits, or return None."""
    parts = {name: _described(getattr(tokenizer, name)) for name in ("normalizer", "pre_tokenizer", "post_processor")}
    nodes = list(islice(_objects(parts), MOST_PARTS + 2))
    if len(nodes) > MOST_PARTS + 1:
        return f"has more than {MOST_PARTS} parts"
    for node in nodes:
        for name, value in node.items():
            if isinstance(value, str) and len(value) > _longest(name):
                return f"{node.get('type', 'a part')}: {name} has {len(value):,} characters, which is too many"
            if isinstance(value, list) and len(value) > LONGEST_ADDED and name in {"single", "pair", "ids", "tokens"}:
                return f"{node.get('type', 'a part')}: {name} adds {len(value):,} tokens to a text"
    growth = _growth([node for node in _objects(parts["normalizer"]) if node.get("type") == "Replace"])
    if growth > MOST_GROWTH:
        return f"its replacements can make a text {growth:,} times as long; at most {MOST_GROWTH} times is allowed"
    return _fault_of_charsmap(nodes) or _fault_of_templates(nodes) or _fault_of_model(tokenizer.model)


def _longest(name: str) -> int:
    if name == "precompiled_charsmap":
        return MOST_BYTES
    return LONGEST_PATTERN if name in {"Regex", "String"} else LONGEST_ADDED


def _growth(replacements: list[dict[str, Any]]) -> int:
    """Compute the factor by which replacements, applied in sequence, can lengthen a text.

    A replacement may apply again to a letter that an earlier one inserted.
    """
    most = 1
    done: list[tuple[str, int]] = []
    for node in replacements:
        content, looked_for = str(node["content"]), node["pattern"].get("String")
        own = max(1, -(-len(content) // len(looked_for)) if looked_for else len(content) + _matches_nothing(node))
        before = [growth for added, growth in done if not looked_for or any(letter in added for letter in looked_for)]
        own *= max(before, default=1)
        done.append((content, own))
        most = max(most, own)
    return most


def _matches_nothing(replacement: dict[str, Any]) -> bool:
    """Return whether a replacement also matches the empty string, between any two letters."""
    from tokenizers import Regex, normalizers

    pattern = replacement["pattern"].get("Regex")
    return pattern is None or len(normalizers.Replace(Regex(pattern), "yy").normalize_str("\ue000")) > 2


def _fault_of_charsmap(nodes: list[dict[str, Any]]) -> str | None:
    """Check for a character table that replaces a character with a long text."""
    for node in nodes:
        encoded = node.get("precompiled_charsmap")
        if not isinstance(encoded, str):
            continue
        with suppress(binascii.Error, ValueError):
            table = base64.b64decode(encoded, validate=True)
            texts = table[4 + int.from_bytes(table[:4], "little") :]
            longest = max(map(len, texts.split(b"\0")), default=0)
            if longest > 4 * LONGEST_ADDED:
                return f"Precompiled: replaces one character with {longest:,} bytes"
    return None


def _fault_of_templates(nodes: list[dict[str, Any]]) -> str | None:
    """Check for a template that repeats the text, or reads a second one."""
    for node in nodes:
        single = node.get("single")
        if isinstance(single, list):
            read = [one["Sequence"].get("id") for one in single if isinstance(one, dict) and "Sequence" in one]
            if read != ["A"]:
                return f"TemplateProcessing: reads {', '.join(map(str, read)) or 'no text'}, expected the text once"
    return None


def _fault_of_model(model: Any) -> str | None:  # noqa: ANN401 - one of the library's classes
    for name in ("continuing_subword_prefix", "end_of_word_suffix", "unk_token"):
        value = getattr(model, name, None)
        if isinstance(value, str) and len(value) > LONGEST_ADDED:
            return f"{name} has {len(value):,} characters, which is too many"
    longest = getattr(model, "max_input_chars_per_word", 0)
    if longest > LONGEST_WORD:
        return f"looks up words of up to {longest:,} letters; at most {LONGEST_WORD:,} is allowed"
    return None


def _described(part: Any) -> Any:  # noqa: ANN401 - one of the library's classes, and JSON
    return None if part is None else json.loads(part.__getstate__())


def _objects(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - JSON
    """Yield all objects in a JSON value, outer ones before inner ones, in order."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting += reversed(one.values())
        elif isinstance(one, list):
            waiting += reversed(one)


@contextmanager
def _stderr_silenced() -> Iterator[None]:
    """Suppress what a panic prints directly to the stderr stream, not through Python."""
    with _SILENCING:
        # The process may have been started without this stream.
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()
        try:
            kept = os.dup(2)
        except OSError:
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(nowhere)
            os.close(kept)
