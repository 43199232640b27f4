"""Drop texts that are not worth scoring by their words, before any model runs.

Input: folded windows, as one Polars Series. Output: the reason for each dropped text, null for those to keep. Terms
match whole words in scripts that put spaces between words, and any substring in scripts that do not. Patterns are
regular expressions of the Rust `regex` crate, which runs in linear time. The verdict's caps match by the same rules.

Feeds deliver texts with markup: `S&amp;P 500`, `<b>sponsored</b> content`, `_sponsored content_`. Words are searched in
the text that a reader sees. Patterns, and terms that contain signs, are also searched in the raw text. The result is
only whether there is a match, not where.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

import numpy as np
import polars as pl
import regex
from polars.exceptions import ComputeError
from pydantic import AfterValidator, Field, model_validator

from potstill.markup import UNSPACED, decoded, readable
from potstill.records import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

MOST_TERMS = 10_000
"""Maximum number of terms in a list of a rule."""

MOST_PATTERNS = 60
"""Maximum number of patterns of a rule, and of a filter in total; a large pattern takes 0.1 s to check."""

MOST_RULES = 200
"""Maximum number of rules of a prefilter."""

_LONGEST_TERM = 500
_LONGEST_PATTERN = 1000

# Rust compiles no pattern larger than 10 MB, which ten thousand terms of two words would exceed.
_MOST_CHARACTERS = 8_000
# From this number of words on, one search for all words is faster than one search per word.
_MANY_WORDS = 50

# Apostrophes, with the single quotes and accents typed in their place, and non-breaking hyphens.
_ALIKE = (
    *((sign, "'") for sign in "\u2018\u2019\u201b\u02bc\u02b9\u2032\uff07\u00b4"),
    *((sign, "-") for sign in "\u2010\u2011\uff0d"),
)
_INVISIBLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+")

_EDGE = rf"[\W{UNSPACED}]"
# The characters that Rust's \s matches; Python's also matches four control characters.
_GAP = regex.compile(r"\p{White_Space}+")
# A term with such a sign may refer to the markup itself: <div>, utm_source, example.com.
_SIGN = regex.compile(r"[^\p{L}\p{M}\p{N}\s'-]")
_NEEDS_EDGE = regex.compile(rf"(?V1)[\w--[{UNSPACED}]]")


def fold(text: str) -> str:
    """Normalise a text for term matching: NFKC, case folded, plain apostrophes and hyphens, nothing invisible.

    Folding is idempotent.
    """
    if text.isascii():
        return text.lower()
    text = _plain(unicodedata.normalize("NFKC", _plain(text)).casefold())
    return unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))


def _plain(text: str) -> str:
    # One search per sign takes a hundredth of the time of a translation table of all characters.
    for sign, plain in _ALIKE:
        if sign in text:
            text = text.replace(sign, plain)
    return text


def fold_all(texts: Iterable[str | None]) -> pl.Series:
    """Return the folded texts, in order, as a Struct Series `folded`; null stays null.

    The field `read` is the text that a reader sees; `written` is the text with its markup, null if it has none.
    """
    read: list[str | None] = []
    written: list[str | None] = []
    for text in texts:
        seen = None if text is None else readable(text)
        read.append(None if seen is None else fold(seen))
        # Most texts have no markup and are returned unchanged.
        written.append(None if text is None or seen == text else _as_written(text))
    fields = {"read": read, "written": written}
    return pl.DataFrame(fields, schema=dict.fromkeys(fields, pl.String)).to_struct("folded")


def _as_written(text: str) -> str:
    """Return the folded text with its markup; a text with entities is followed by its decoded form.

    The article may be writing about an encoded tag.
    """
    meant = decoded(text)
    return fold(text) if meant == text else f"{fold(text)}\n{fold(meant)}"


def _term(term: str) -> str:
    if not fold(term).strip():
        raise ValueError("a term must contain a visible character")
    return term


def _pattern(pattern: str) -> str:
    try:
        matches_nothing_at_all = pl.Series([""]).str.contains(_spelled(pattern)).item()
    except ComputeError as error:
        raise ValueError(f"not a valid pattern of Rust's regex crate: {_gist(error)}") from None
    if matches_nothing_at_all:
        raise ValueError("the pattern matches the empty text, so it would match every text")
    return pattern


def _spelled(pattern: str) -> str:
    # Texts are folded, so a capital letter in a pattern would never match.
    return f"(?i){pattern}"


def _gist(error: ComputeError) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    named = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return named[0] if named else lines[0].removeprefix("regex error: ")


Term = Annotated[str, Field(max_length=_LONGEST_TERM), AfterValidator(_term)]
Pattern = Annotated[str, Field(max_length=_LONGEST_PATTERN), AfterValidator(_pattern)]


class TermRule(Part):
    """Terms to search for: a text matches if it has one of `any` or `patterns` and none of `unless`."""

    any: tuple[Term, ...] = Field(default=(), max_length=MOST_TERMS)
    patterns: tuple[Pattern, ...] = Field(default=(), max_length=MOST_PATTERNS)
    unless: tuple[Term, ...] = Field(default=(), max_length=MOST_TERMS)

    @model_validator(mode="after")
    def _looks_for_something(self) -> TermRule:
        if not self.any and not self.patterns:
            raise ValueError("no terms and no patterns; add some under any or patterns")
        return self


class DropRule(TermRule):
    """A reason not to score a text, with the terms that identify such texts."""

    reason: str = Field(min_length=1)


def matcher(rule: TermRule) -> pl.Expr:
    """Return a Boolean expression over a column `folded` from `fold_all`; null where the text is null."""
    folded = pl.col("folded").struct
    found = _has(folded.field("read"), folded.field("written"), rule.any, rule.patterns)
    return found & ~_has(folded.field("read"), folded.field("written"), rule.unless) if rule.unless else found


def found(rule: TermRule, folded: pl.Series) -> pl.Series:
    """Return which folded texts a rule matches, as `matcher` defines it: Boolean, null where the text is null.

    Nearly all texts contain none of a rule's words, and plain substring searches exclude those faster than patterns.
    """
    telling = _longest_words(rule)
    if telling is None:
        return _matched(rule, folded)
    likely = _likely(folded, telling)
    if len(likely) == len(folded):
        return _matched(rule, folded)
    result: list[bool | None] = [False] * len(folded)
    if likely:
        for row, matches in zip(likely, _matched(rule, folded.gather(likely)), strict=True):
            result[row] = matches
    return pl.Series(result, dtype=pl.Boolean)


def _matched(rule: TermRule, folded: pl.Series) -> pl.Series:
    return pl.DataFrame({"folded": folded}).select(matcher(rule)).to_series()


def _likely(folded: pl.Series, telling: Mapping[str, list[list[str]]]) -> list[int]:
    """Return the rows that the rule's patterns must search; all other rows contain none of its words."""
    read, written = folded.struct.field("read"), folded.struct.field("written")
    if len(telling) > _MANY_WORDS:
        words = list(telling)
        has = read.is_null() | read.str.contains_any(words) | written.str.contains_any(words).fill_null(value=False)
        return has.arg_true().to_list()
    others = written.to_list()
    return [
        row
        for row, text in enumerate(read.to_list())
        if text is None or _may_have(text, telling) or _may_have(others[row] or "", telling)
    ]


def _may_have(text: str, telling: Mapping[str, list[list[str]]]) -> bool:
    """Return whether all words of some term occur anywhere in the text."""
    for word, others in telling.items():
        if word in text and any(all(other in text for other in rest) for rest in others):
            return True
    return False


@lru_cache(maxsize=1024)
def _longest_words(rule: TermRule) -> dict[str, list[list[str]]] | None:
    """Map the longest word of each term to the other words of its terms; None if the rule has patterns."""
    if rule.patterns:
        return None
    terms: dict[str, list[list[str]]] = {}
    for spelling in {*_read(rule.any), *_written(rule.any)}:
        longest, *rest = sorted(_GAP.split(spelling), key=len, reverse=True)
        terms.setdefault(longest, []).append(rest)
    return terms


class Prefilter(Part):
    """Rules that drop a text before it is scored; without rules, all texts are kept."""

    drop: tuple[DropRule, ...] = Field(default=(), max_length=MOST_RULES)

    def reasons(self, folded: pl.Series) -> pl.Series:
        """Return why each text is dropped: a String Series `reason`, null if it is kept; the first rule wins."""
        reasons = np.full(len(folded), None, dtype=object)
        for rule in reversed(self.drop):
            reasons[found(rule, folded).fill_null(False).to_numpy()] = rule.reason
        return pl.Series("reason", reasons.tolist(), dtype=pl.String)


def _has(read: pl.Expr, written: pl.Expr, terms: Sequence[str], patterns: Sequence[str] = ()) -> pl.Expr:
    """Return an expression for whether a text has one of the terms or patterns; null where `read` is null."""
    own = [_spelled(pattern) for pattern in patterns]
    found = [read.str.contains(pattern) for pattern in [*term_patterns(_read(terms)), *own]]
    # `written` is usually null, and a null would turn a False result into null.
    found += [
        written.str.contains(pattern).fill_null(False) & read.is_not_null()
        for pattern in [*term_patterns(_written(terms)), *own]
    ]
    return pl.any_horizontal(found)


def _read(terms: Sequence[str]) -> list[str]:
    """Return the terms as they occur in the text that a reader sees; a term of pure markup has no such form."""
    return [folded for term in terms if (folded := fold(decoded(term)).strip())]


def _written(terms: Sequence[str]) -> list[str]:
    """Return the terms as they occur in the raw text, for those that may refer to markup."""
    return [folded for term in terms if _SIGN.search(folded := fold(term).strip())]


def term_patterns(terms: Sequence[str]) -> list[str]:
    """Return Rust patterns, few in number, one of which matches a folded text if it contains one of the terms.

    Rust's engine has no look-around, so a pattern includes the character at each end that must be a word edge: if a
    term ends with a letter of a script with spaces, no such letter may be adjacent to it.
    """
    groups: dict[tuple[str, str], set[str]] = {}
    for term in terms:
        folded = fold(term).strip()
        before = rf"(?:^|{_EDGE})" if _NEEDS_EDGE.match(folded[0]) else ""
        after = rf"(?:$|{_EDGE})" if _NEEDS_EDGE.match(folded[-1]) else ""
        groups.setdefault((before, after), set()).add(r"[\s-]+".join(map(_literal, _GAP.split(folded))))
    return [
        f"{before}(?:{'|'.join(some)}){after}"
        for (before, after), words in sorted(groups.items())
        for some in _in_parts(sorted(words))
    ]


def _in_parts(words: list[str]) -> Iterator[list[str]]:
    """Split the words into lists that are each small enough for one pattern."""
    part: list[str] = []
    size = 0
    for word in words:
        if part and size + len(word) > _MOST_CHARACTERS:
            yield part
            part, size = [], 0
        part.append(word)
        size += len(word)
    if part:
        yield part


def _literal(word: str) -> str:
    # Signs are written by their codes, because some escaped signs, such as \<, have a meaning in Rust.
    return "".join(
        f"\\x{ord(sign):02x}" if sign.isascii() and not sign.isalnum() and sign != "_" else sign for sign in word
    )
