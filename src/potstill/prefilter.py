"""The prefilter: words that say, before any model runs, that a text is not worth scoring.

In: folded windows, one Polars Series. Out: the reason for each that is dropped, null for those to keep. Terms
match whole words in scripts that put spaces between words, and anywhere in scripts that don't; patterns are
regular expressions of the Rust `regex` crate, whose time is linear in the text. The verdict's caps match by
the same rules.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

import numpy as np
import polars as pl
import regex
from polars.exceptions import ComputeError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# Apostrophes, single quotes and accents typed in their place; hyphens that only forbid a line break.
_ALIKE = (
    *((sign, "'") for sign in "\u2018\u2019\u201b\u02bc\u02b9\u2032\uff07\u00b4"),
    *((sign, "-") for sign in "\u2010\u2011\uff0d"),
)
_INVISIBLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+")

# Scripts written without spaces between words. Script extensions, so that marks they share come along.
_UNSPACED = "".join(
    rf"\p{{scx={script}}}"
    for script in (
        "Han", "Hiragana", "Katakana", "Bopomofo", "Yi", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan",
        "Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Javanese", "Balinese",
    )
)  # fmt: skip
_EDGE = rf"[\W{_UNSPACED}]"
# What Rust's \s matches; Python's also splits at four control characters.
_GAP = regex.compile(r"\p{White_Space}+")
_NEEDS_EDGE = regex.compile(rf"(?V1)[\w--[{_UNSPACED}]]")


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
    """A String Series of the folded texts, in their order; null stays null."""
    return pl.Series("folded", [None if text is None else fold(text) for text in texts], dtype=pl.String)


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


Term = Annotated[str, AfterValidator(_term)]
Pattern = Annotated[str, AfterValidator(_pattern)]


class TermRule(BaseModel):
    """Words to find: a text matches when it has one of `any` or `patterns` and none of `unless`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    any: tuple[Term, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    unless: tuple[Term, ...] = ()

    @model_validator(mode="after")
    def _looks_for_something(self) -> TermRule:
        if not self.any and not self.patterns:
            raise ValueError("nothing to look for; give terms under any, or patterns")
        return self


class DropRule(TermRule):
    """A reason not to score a text, and the words that give it away."""

    reason: str = Field(min_length=1)


def matcher(rule: TermRule) -> pl.Expr:
    """A Boolean expression over a column `folded` of folded texts; null where the text is."""
    return _matches(pl.col("folded"), rule)


def found(rule: TermRule, folded: pl.Series) -> pl.Series:
    """Which folded texts a rule matches, as `matcher` says: Boolean, null where the text is.

    Nearly all texts have none of a rule's words anywhere, which plain searches tell sooner than patterns do.
    """
    telling = _telling(rule)
    if telling is None:
        return _matched(rule, folded)
    texts = folded.to_list()
    likely = [row for row, text in enumerate(texts) if text is None or _may_have(text, telling)]
    if len(likely) == len(texts):
        return _matched(rule, folded)
    result: list[bool | None] = [False] * len(texts)
    if likely:
        for row, matches in zip(likely, _matched(rule, folded.gather(likely)), strict=True):
            result[row] = matches
    return pl.Series(result, dtype=pl.Boolean)


def _matched(rule: TermRule, folded: pl.Series) -> pl.Series:
    return pl.DataFrame({"folded": folded}).select(matcher(rule)).to_series()


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
    for term in rule.any:
        longest, *rest = sorted(_GAP.split(fold(term).strip()), key=len, reverse=True)
        terms.setdefault(longest, []).append(rest)
    return terms


class Prefilter(BaseModel):
    """Rules that drop a text before it is scored; without any, all are kept."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    drop: tuple[DropRule, ...] = ()

    def reasons(self, folded: pl.Series) -> pl.Series:
        """Why each text is dropped: a String Series `reason`, null where it is kept. The first rule wins."""
        texts = folded.cast(pl.String)
        reasons = np.full(len(texts), None, dtype=object)
        for rule in reversed(self.drop):
            reasons[found(rule, texts).fill_null(False).to_numpy()] = rule.reason
        return pl.Series("reason", reasons.tolist(), dtype=pl.String)


def _matches(column: pl.Expr, rule: TermRule) -> pl.Expr:
    wanted = [column.str.contains(pattern) for pattern in term_patterns(rule.any)]
    wanted += [column.str.contains(_spelled(pattern)) for pattern in rule.patterns]
    found = pl.any_horizontal(wanted)
    unwanted = [column.str.contains(pattern) for pattern in term_patterns(rule.unless)]
    return found & ~pl.any_horizontal(unwanted) if unwanted else found


def term_patterns(terms: Sequence[str]) -> list[str]:
    """Rust patterns of which one matches a folded text that has one of the terms; at most four.

    Rust's engine has no look-around, so a pattern takes in the character at each end that must be an edge: a
    term's end that is a letter of a spaced script may not touch another such letter.
    """
    groups: dict[tuple[str, str], set[str]] = {}
    for term in terms:
        folded = fold(term).strip()
        before = rf"(?:^|{_EDGE})" if _NEEDS_EDGE.match(folded[0]) else ""
        after = rf"(?:$|{_EDGE})" if _NEEDS_EDGE.match(folded[-1]) else ""
        groups.setdefault((before, after), set()).add(r"[\s-]+".join(map(_literal, _GAP.split(folded))))
    return [f"{before}(?:{'|'.join(sorted(words))}){after}" for (before, after), words in sorted(groups.items())]


def _literal(word: str) -> str:
    # By their codes, because some escaped signs, such as \<, mean something to Rust.
    return "".join(
        f"\\x{ord(sign):02x}" if sign.isascii() and not sign.isalnum() and sign != "_" else sign for sign in word
    )
