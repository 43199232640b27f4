"""The prefilter: words that say, before any model runs, that a text is not worth scoring.

In: folded windows, one Polars Series. Out: the reason for each that is dropped, null for those to keep. Terms
match whole words in scripts that put spaces between words, and anywhere in scripts that don't; patterns are
regular expressions of the Rust `regex` crate, whose time is linear in the text. The verdict's caps match by
the same rules.

Feeds deliver texts with markup: `S&amp;P 500`, `<b>sponsored</b> content`, `_sponsored content_`. Words are looked for
in what a reader sees of them; patterns, and terms with signs in them, also in the text as it is written. Only whether
there is a match is kept, never where.
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
"""How many terms a list of a rule may have."""

MOST_PATTERNS = 60
"""How many patterns a rule, and a filter in all, may have: a large one takes a tenth of a second to check."""

MOST_RULES = 200
"""How many rules a prefilter may have."""

_LONGEST_TERM = 500
_LONGEST_PATTERN = 1000

# Rust compiles no pattern of more than 10 MB, which ten thousand terms of two words would need.
_MOST_CHARACTERS = 8_000
# From here on one search for all words at once is faster than one for each.
_MANY_WORDS = 50

# Apostrophes, single quotes and accents typed in their place; hyphens that only forbid a line break.
_ALIKE = (
    *((sign, "'") for sign in "\u2018\u2019\u201b\u02bc\u02b9\u2032\uff07\u00b4"),
    *((sign, "-") for sign in "\u2010\u2011\uff0d"),
)
_INVISIBLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+")

_EDGE = rf"[\W{UNSPACED}]"
# What Rust's \s matches; Python's also splits at four control characters.
_GAP = regex.compile(r"\p{White_Space}+")
# A term with such a sign may be meant for the markup itself: <div>, utm_source, example.com.
_SIGN = regex.compile(r"[^\p{L}\p{M}\p{N}\s'-]")
_NEEDS_EDGE = regex.compile(rf"(?V1)[\w--[{UNSPACED}]]")


def fold(text: str) -> str:
    """A text as terms see it: NFKC, case folded, plain apostrophes and hyphens, no invisible characters.

    Folding twice changes nothing.
    """
    if text.isascii():
        return text.lower()
    text = _plain(unicodedata.normalize("NFKC", _plain(text)).casefold())
    return unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))


def _plain(text: str) -> str:
    # One search for each sign takes a hundredth of the time that a table of all characters would.
    for sign, plain in _ALIKE:
        if sign in text:
            text = text.replace(sign, plain)
    return text


def fold_all(texts: Iterable[str | None]) -> pl.Series:
    """The folded texts, in their order, as a Struct Series `folded`; null stays null.

    Its field `read` is what a reader sees of the text, `written` the text with its markup, null where it has none.
    """
    read: list[str | None] = []
    written: list[str | None] = []
    for text in texts:
        seen = None if text is None else readable(text)
        read.append(None if seen is None else fold(seen))
        # Most texts have no marks, and come back as they were.
        written.append(None if text is None or seen == text else _as_written(text))
    fields = {"read": read, "written": written}
    return pl.DataFrame(fields, schema=dict.fromkeys(fields, pl.String)).to_struct("folded")


def _as_written(text: str) -> str:
    """The folded text with its markup; a text with entities twice, the second time with what they stand for.

    An encoded tag may be one that the article writes about.
    """
    meant = decoded(text)
    return fold(text) if meant == text else f"{fold(text)}\n{fold(meant)}"


def _term(term: str) -> str:
    if not fold(term).strip():
        raise ValueError("a term needs a character that can be seen")
    return term


def _pattern(pattern: str) -> str:
    try:
        matches_nothing_at_all = pl.Series([""]).str.contains(_spelled(pattern)).item()
    except ComputeError as error:
        raise ValueError(f"not a pattern of Rust's regex: {_gist(error)}") from None
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
    """Words to find: a text matches when it has one of `any` or `patterns` and none of `unless`."""

    any: tuple[Term, ...] = Field(default=(), max_length=MOST_TERMS)
    patterns: tuple[Pattern, ...] = Field(default=(), max_length=MOST_PATTERNS)
    unless: tuple[Term, ...] = Field(default=(), max_length=MOST_TERMS)

    @model_validator(mode="after")
    def _looks_for_something(self) -> TermRule:
        if not self.any and not self.patterns:
            raise ValueError("nothing to look for; give terms under any, or patterns")
        return self


class DropRule(TermRule):
    """A reason not to score a text, and the words that give it away."""

    reason: str = Field(min_length=1)


def matcher(rule: TermRule) -> pl.Expr:
    """A Boolean expression over a column `folded` from `fold_all`; null where the text is."""
    folded = pl.col("folded").struct
    found = _has(folded.field("read"), folded.field("written"), rule.any, rule.patterns)
    return found & ~_has(folded.field("read"), folded.field("written"), rule.unless) if rule.unless else found


def found(rule: TermRule, folded: pl.Series) -> pl.Series:
    """Which folded texts a rule matches, as `matcher` says: Boolean, null where the text is.

    Nearly all texts have none of a rule's words anywhere, which plain searches tell sooner than patterns do.
    """
    telling = _telling(rule)
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
    """The rows in which the rule's patterns must look: all others have none of its words."""
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
    """Whether all words of some term are anywhere in the text."""
    for word, others in telling.items():
        if word in text and any(all(other in text for other in rest) for rest in others):
            return True
    return False


@lru_cache(maxsize=1024)
def _telling(rule: TermRule) -> dict[str, list[list[str]]] | None:
    """For the longest word of each term, the other words of the terms it is in; None where patterns may match too."""
    if rule.patterns:
        return None
    terms: dict[str, list[list[str]]] = {}
    for spelling in {*_read(rule.any), *_written(rule.any)}:
        longest, *rest = sorted(_GAP.split(spelling), key=len, reverse=True)
        terms.setdefault(longest, []).append(rest)
    return terms


class Prefilter(Part):
    """Rules that drop a text before it is scored; without any, all are kept."""

    drop: tuple[DropRule, ...] = Field(default=(), max_length=MOST_RULES)

    def reasons(self, folded: pl.Series) -> pl.Series:
        """Why each text is dropped: a String Series `reason`, null where it is kept. The first rule wins."""
        reasons = np.full(len(folded), None, dtype=object)
        for rule in reversed(self.drop):
            reasons[found(rule, folded).fill_null(False).to_numpy()] = rule.reason
        return pl.Series("reason", reasons.tolist(), dtype=pl.String)


def _has(read: pl.Expr, written: pl.Expr, terms: Sequence[str], patterns: Sequence[str] = ()) -> pl.Expr:
    """Whether a text has one of the terms or patterns; null where `read` is."""
    own = [_spelled(pattern) for pattern in patterns]
    found = [read.str.contains(pattern) for pattern in [*term_patterns(_read(terms)), *own]]
    # Null, as `written` mostly is, would make a false null.
    found += [
        written.str.contains(pattern).fill_null(False) & read.is_not_null()
        for pattern in [*term_patterns(_written(terms)), *own]
    ]
    return pl.any_horizontal(found)


def _read(terms: Sequence[str]) -> list[str]:
    """How terms stand in what a reader sees; a term that is nothing but markup does not."""
    return [folded for term in terms if (folded := fold(decoded(term)).strip())]


def _written(terms: Sequence[str]) -> list[str]:
    """How terms stand in a text as it is written, of those that may be meant for it."""
    return [folded for term in terms if _SIGN.search(folded := fold(term).strip())]


def term_patterns(terms: Sequence[str]) -> list[str]:
    """Rust patterns of which one matches a folded text that has one of the terms; few, whatever their number.

    Rust's engine has no look-around, so a pattern takes in the character at each end that must be an edge: a
    term's end that is a letter of a spaced script may not touch another such letter.
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
    """The words in lists that are small enough for one pattern each."""
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
    # By their codes, because some escaped signs, such as \<, mean something to Rust.
    return "".join(
        f"\\x{ord(sign):02x}" if sign.isascii() and not sign.isalnum() and sign != "_" else sign for sign in word
    )
