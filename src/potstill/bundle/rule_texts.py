"""Generates short texts in which a filter's words are found, and some in which they are almost found.

Input: a filter's prefilter rules and caps. Output: a text for each of their terms, for each term that excludes a match,
and for what a pattern looks for, each surrounded by words that no filter has. A term that is changed or removed no
longer finds its text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from potstill.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from potstill.filters import Filter
    from potstill.prefilter import TermRule

MOST_TEXTS = 20_000
"""Maximum number of texts per filter; each term has one."""

_BEFORE, _AFTER = "Qzx", "vqj"
_OF_CATEGORY: Mapping[str, str] = {"CATEGORY_DIGIT": "7", "CATEGORY_SPACE": " ", "CATEGORY_NOT_WORD": " "}
_LONGEST = 1_000
"""Maximum length of a text for a pattern, in characters."""

_ALTERNATIVES = 16
"""Maximum number of alternatives of a pattern from which a text is made."""


def rule_texts(filter_: Filter) -> list[str]:
    """Return the distinct texts, in the order of the rules.

    Raises:
        BundleError: the filter has more terms than `MOST_TEXTS`.
    """
    rules = (*filter_.prefilter.drop, *filter_.caps)
    texts = list(dict.fromkeys([f"{_BEFORE} {_AFTER}", *(text for rule in rules for text in _texts(rule))]))
    if len(texts) > MOST_TEXTS:
        raise BundleError(f"filter.yaml: {len(texts):,} terms and patterns; a bundle can prove {MOST_TEXTS:,}")
    return texts


def _texts(rule: TermRule) -> Iterator[str]:
    found = [*rule.any, *(sample for pattern in rule.patterns for sample in samples(pattern))]
    for words in found:
        yield f"{_BEFORE} {words} {_AFTER}"
    for words in found[:1]:
        yield f"{_BEFORE}{words}{_AFTER}"
        for term in rule.unless:
            yield f"{_BEFORE} {words} {_AFTER} {term} {_AFTER}"


def samples(pattern: str) -> list[str]:
    """Return texts that a pattern may match, one per path through its first alternatives; none if it cannot be parsed.

    Patterns use Rust's dialect, which Python's parser reads except for a few classes. Whether a text is really matched
    is only known by matching it.
    """
    try:
        parsed = re._parser.parse(pattern, re.IGNORECASE)  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public one
    except (re.error, RecursionError, OverflowError, ValueError):
        return []
    found = (_sample(parsed, way) for way in range(_ALTERNATIVES))
    return [text for text in dict.fromkeys(found) if text and len(text) <= _LONGEST]


def _sample(tokens: Any, way: int) -> str:  # noqa: ANN401 - of the parser's own classes
    return "".join(_sample_of(str(name), value, way) for name, value in tokens)


def _sample_of(name: str, value: Any, way: int) -> str:  # noqa: ANN401, PLR0911 - as `_sample`; one for each kind
    match name:
        case "LITERAL":
            return chr(value)
        case "ANY" | "NOT_LITERAL":
            return "x" if value != ord("x") else "y"
        case "IN":
            return _sample_of_set(value)
        case "CATEGORY":
            return _OF_CATEGORY.get(str(value), "x")
        case "BRANCH":
            return _sample(value[1][way % len(value[1])], way)
        case "SUBPATTERN" | "ATOMIC_GROUP":
            return _sample(value[-1] if name == "SUBPATTERN" else value, way)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, _, part = value
            once = _sample(part, way)
            return once * min(max(int(least), way % 2), _LONGEST // max(1, len(once)) + 1)
        case _:
            return ""


def _sample_of_set(parts: Any) -> str:  # noqa: ANN401 - as `_sample`
    first = str(parts[0][0])
    if first == "NEGATE":
        return "x"
    return chr(parts[0][1][0]) if first == "RANGE" else _sample_of(first, parts[0][1], 0)
