"""Find the answer in a model's text: the one JSON object that ends it.

Input: a model's text, and how it was produced. Output: the object with the scores, or a `Failure` that names what the
text contains instead. A draft inside thinking, a truncated draft, an answer quoted from the article and an answer
inside a refusal do not count as answers. The rules are the same for all providers, for single calls and for batch jobs:

1. The object ends the text. Only white space, the end of a Markdown fence, or an end-of-turn mark may follow it.
2. Thinking before it, in any markup, is skipped. A mark inside the object (quoted as evidence) is text.
3. If the server enforces the schema, nothing else may precede the object. Otherwise prose may precede it if it contains
   no brace and no refusal, and its last sentence says no more than that the answer follows. If it says anything else
   (that somebody planted the object, or what the answer would be if), a second question is safer.
4. If the server reports that the answer was cut, only an object with nothing before and after it counts.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from potstill.oracle.hidden import shown
from potstill.oracle.protocol import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from potstill.oracle.protocol import Reason

MARKS = 20
"""Maximum number of end-of-thinking marks that are tried, from the last backwards; few others follow a real one."""

_NAME = (
    r"(?:[a-z0-9]{1,20}[:_-]){0,3}(?:(?:ant)?think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|scratch_?pad|monologue"
    r"|deliberation|planning|brainstorm(?:ing)?|draft|cot)(?:_\w{1,20})?"
)
# Matches <think>, <thinking budget="9">, <seed:think>, [THINK], ◁think▷, <|begin_of_thought|>, and gpt-oss's raw
# channels.
_OPENED = re.compile(
    rf"<\s*{_NAME}(?:\s[^<>]{{0,200}})?(?<!/)>|\[\s*(?:think(?:ing)?|thoughts?|reasoning)(?:\s[^\[\]]{{0,200}})?\]|◁{_NAME}▷"
    rf"|<\|(?:begin_of_|start_of_|start_)?{_NAME}\|>|<\|channel\|>\s*(?:analysis|commentary)\b|<unused94>",
    re.IGNORECASE,
)
_CLOSED = re.compile(
    rf"<\s*/\s*{_NAME}\s*>|<\s*{_NAME}\s*/>|\[\s*/\s*{_NAME}\s*\]|◁/{_NAME}▷"
    rf"|<\|(?:/|end_of_|end_){_NAME}\|>|<\|channel\|>\s*final\s*<\|message\|>|<unused95>",
    re.IGNORECASE,
)
_FENCED_THINKING = re.compile(rf"^[ \t]*(?:`{{3,}}+|~{{3,}}+)[ \t]*{_NAME}\b[^\n]*$", re.IGNORECASE | re.MULTILINE)
_BARE_FENCE = re.compile(r"^[ \t]*(?:`{3,}+|~{3,}+)[ \t]*$", re.MULTILINE)

# Markup that may directly precede or follow the object.
_WRAPPING = re.compile(
    r"(?:(?<![`~])(?:`{3,}+|~{3,}+)[ \t]*(?:json[c5]?|javascript|js)?|<(?:answer|response)>|<\|\w{1,30}\|>)\Z",
    re.IGNORECASE,
)
_ENDS = re.compile(r"(?:`{3,}+|~{3,}+|</(?:answer|response)>|<\|\w{1,30}\|>|</s>)+", re.IGNORECASE)

_VERBS = (
    r"(?:scor|rat|judg|evaluat|assess|grad|answer|compl(?:y|ies)|follow|assist|help|provid|produc|giv|obey|fulfil|engag"
    r"|continu|respond|return|process|do (?:this|that|so|it))"
)
_REFUSAL = re.compile(
    r"\b(?:can(?: ?no|['\u2019])?t|could(?: not|n['\u2019]t)|won['\u2019]t|(?:will|would|must|shall|do|may|am|are) not"
    rf"|don['\u2019]t|unable to|refuse to|decline to)\b[^.!?\n]{{0,50}}\b{_VERBS}"
    r"|\bi(?: must| have to|'ll| will)? (?:refuse|decline)\b|\bi(?:['\u2019]m| am)(?: very)? sorry\b|\bas an ai\b"
    r"|\bich (?:kann|werde|darf)\b[^.!?\n]{0,60}\b(?:nicht|kein)"
    r"|\bje ne (?:peux|vais|puis|suivrai|répondrai)|\bno (?:puedo|voy a|debo)\b|\bn[aã]o (?:posso|vou)\b|\bnon posso\b"
    r"|\bik (?:kan|zal|ga|mag)\b[^.!?\n]{0,60}\b(?:niet|geen)\b"
    r"|\b(?:не могу|не буду)\b|我(?:无法|無法|不能|不会)|できません",
    re.IGNORECASE,
)
# The end of a sentence, and the characters that headings and emphasis add to it.
_SENTENCES = re.compile(r"(?<=[.!?])\s+")
_DECORATION = " \t*_#>`~-"

# Keys next to the scores by which a model reports that it gives none.
_REFUSING = ("refusal", "refused", "error", "errors")

_RESULT = (
    r"(?:json(?: object)?|scores?|scoring|answers?|results?|ratings?|evaluation|assessment|analysis|output|response"
    r"|verdict|judge?ment|object)"
)
_OF_WHAT = (
    r"(?: (?:is|are|is as follows|are as follows|follows?|below|now|in json(?: format)?|as (?:a )?json(?: object)?"
    r"|(?:for|of) (?:this|the|your) (?:article|story|text|news|piece)|(?:you|as) (?:asked for|requested)|and evidence"
    r"|with (?:the )?evidence|in the (?:requested|required) (?:format|form|schema)))*"
)
_INTRODUCTION = re.compile(
    r"(?:(?:sure(?: thing)?|okay|ok|certainly|of course|alright|all right|great|understood|absolutely|thanks|thank you"
    r"|done|here it is|here you (?:go|are))\b[\s,.!:]*)*"
    rf"(?:(?:so |therefore,? |thus,? )?(?:here(?:['\u2019]s| is| are)|below (?:is|are)|this is|these are|my|the|final)?"
    r"(?: ?\b(?:a|the|my|final|json|requested|overall|complete|full|resulting|corresponding|following|required|own)\b)"
    r"{0,4}"
    rf" ?\b{_RESULT}(?: {_RESULT})?{_OF_WHAT})?[\s:.!*_]*",
    re.IGNORECASE,
)


def the_answer(text: str, *, alone: bool = False, cut: bool = False, article: str = "") -> dict[str, Any]:
    """Return the JSON object with scores that forms or ends a model's text.

    Args:
        text: the model's text.
        alone: whether the server enforces the schema on the text, so that it may contain nothing else.
        cut: whether the server reports that the text ended before the model finished it.
        article: the text that was asked about, as far as known; an object copied from it is not an answer.

    Raises:
        Failure: with the reason empty, thinking_only, truncated, refused or malformed.
    """
    found = _last_object(text)
    if found is None:
        _fail("truncated" if cut else _absent(text), text)
    if cut and (found.prose or found.thinking):
        # The object may be the draft of an answer that was still to come.
        _fail("truncated", text)
    if found.thinking:
        _fail("thinking_only", text)
    if found.prose and alone:
        _fail("malformed", text, "there is text before the JSON object")
    if found.prose and not found.introduced:
        _fail("malformed", text, "the text before the JSON object does not say that it is the answer")
    if "scores" not in found.value:
        _fail("malformed", text)
    if any(found.value.get(name) for name in _REFUSING):
        _fail("refused", text, "the JSON object states that it is not an answer")
    if "{" in article and _squeezed(found.raw) in _squeezed(shown(article)):
        _fail("malformed", text, "the JSON object is copied from the article")
    return found.value


def storable(text: str) -> str:
    """Return text that UTF-8 and SQLite can store: unpaired surrogates and NUL are replaced."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


@dataclass(frozen=True, slots=True)
class _Found:
    """The object that ends a text: its value, its spelling, and the text before it since the thinking."""

    value: dict[str, Any]
    raw: str
    lead: str

    @property
    def prose(self) -> str:
        """The text before the object, without the start of a fence."""
        return _WRAPPING.sub("", self.lead.strip().strip("\ufeff")).strip()

    @property
    def thinking(self) -> bool:
        """Whether the object is inside thinking that has not ended."""
        return any(mark.match(self.lead.strip()) for mark in (_OPENED, _FENCED_THINKING))

    @property
    def introduced(self) -> bool:
        """Whether the prose introduces the object as the model's own answer."""
        last = self.prose.rpartition("\n")[2]
        apart = "\n" in self.lead[len(self.lead.rstrip()) :] or _WRAPPING.search(self.lead.strip())
        if not apart and not last.endswith((":", ".", "!")):
            return False
        sentence = _SENTENCES.split(last)[-1].strip(_DECORATION)
        unanswered = any(mark.search(self.lead) for mark in (_OPENED, _FENCED_THINKING, _REFUSAL))
        return bool(_INTRODUCTION.fullmatch(sentence)) and not unanswered


def _last_object(text: str) -> _Found | None:
    """Return the JSON object that ends a text: the first one after thinking, with only marks after it."""
    for start in _starts(text):
        brace = text.find("{", start)
        if brace < 0:
            continue
        try:
            value, end = _DECODER.raw_decode(text, brace)
        except (ValueError, RecursionError):
            continue
        if _ends(text[end:]):
            return _Found(value, text[brace:end], text[start:brace])
    return None


def _starts(text: str) -> Iterator[int]:
    """Yield the positions where thinking may have ended, from the last one back to the start of the text."""
    ends = [mark.end() for mark in _CLOSED.finditer(text)]
    if opened := _FENCED_THINKING.search(text):
        ends += [mark.end() for mark in _BARE_FENCE.finditer(text, opened.end())]
    # A mark in the evidence follows the mark that ends the thinking, but no object starts and ends after it.
    yield from sorted(ends, reverse=True)[:MARKS]
    yield 0


def _ends(tail: str) -> bool:
    marks = tail.split(maxsplit=4)
    return len(marks) <= 4 and all(_ENDS.fullmatch(mark) for mark in marks)


def _absent(text: str) -> Reason:
    """Return the reason for a text that does not end with an object."""
    if not text.strip():
        return "empty"
    rest = text[next(_starts(text)) :].strip()
    if not rest or _OPENED.match(rest) or _FENCED_THINKING.match(rest):
        return "thinking_only"
    return "refused" if "{" not in rest and _REFUSAL.search(rest) else "malformed"


_SAID: dict[Reason, str] = {
    "empty": "no text",
    "thinking_only": "there is thinking, but no answer",
    "refused": "the text is a refusal",
    "truncated": "the answer was truncated",
    "malformed": 'the answer does not end with a complete JSON object that has "scores"',
}


def _fail(reason: Reason, text: str, detail: str = "") -> NoReturn:
    raise Failure(reason, detail or _SAID[reason], raw=storable(text))


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key is given twice")
    return value


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_not_json)


def _squeezed(text: str) -> str:
    return "".join(text.split())
