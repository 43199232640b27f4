"""Flag articles that address the oracle (prompt injection).

Input: texts of articles as the oracle sees them. Output: what each text seems to attempt. The fence in the prompt
isolates any text, so a flag only reports the attempt, and a person can check the label. Words are searched in the text
itself, in the text with digits read as the letters that they resemble, and in text that is hidden in base64 or
invisible characters. Hidden characters (`oracle.hidden`) count as an attempt by themselves. A flag is no proof: an
article about such attacks is also flagged. Indirect persuasion and other encodings are not detected.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

import polars as pl

from potstill.oracle.hidden import shown, spelled
from potstill.prefilter import fold

if TYPE_CHECKING:
    from collections.abc import Sequence

_READER = (
    r"(?:ai|a\.i\.|llm|language model|ai model|assistant|chatbot|gpt|chatgpt|claude|gemini|oracle|scorer|rater|grader"
    r"|annotator|evaluator|model)s?\b"
)
_ORDERS = r"\b(?:instructions?|rubric|prompts?|guidelines?|criteria|directives?)\b"
_SCORES = r"\b(?:scores?|dimensions?|ratings?)\b"
_HIGH = r"(?:\d|\bten\b|\bmax|\bhigh|\bfull\b|\btop\b|\bzero\b|\blowest\b|\bperfect\b)"

_TRIES: dict[str, tuple[str, ...]] = {
    "fence": (
        r"={3,}\s*(?:end|article)\b",
        r"</?(?:article|document|input|user|system|instructions?|rubric|text)>",
        r"^\W*end of (?:the )?(?:article|document|untrusted (?:text|input|data)|user input)\W*$",
    ),
    "chat markup": (
        r"<\|[a-z_]+\|>",
        r"\[/?inst\]|<</?sys>>|<(?:start|end)_of_turn>",
        r"^\W*(?:system|assistant|developer)(?: (?:prompt|message|note|override))?\s*:",
        r"^#{2,}\s*(?:new )?(?:instructions?|system|response|answer)\b",
        r"^\W*(?:human|user)\s*:.*\n+\W*assistant\b",
    ),
    "instruction": (
        rf"\b(?:ignore|disregard|forget|override|bypass|set aside)\b[^.\n]{{0,70}}{_ORDERS}",
        r"\bignor(?:ez|a|e|iere|ieren|are|ate)\b[^.\n]{0,40}(?:instruc|anweisung|istruzion|consigne)",
        r"\b(?:vergiss|missachte)\b[^.\n]{0,40}anweisung|\bnegeer\b[^.\n]{0,40}(?:instructie|opdracht)",
        r"(?:忽略|无视|無視).{0,12}(?:指令|指示|说明|要求|規則|规则)|(?:指示|命令)を(?:すべて)?無視",
        r"игнорируй\w*.{0,40}(?:инструкц|указан)|تجاهل.{0,30}(?:التعليمات|تعليمات)",
        r"\b(?:new|updated|revised|real|actual) (?:instructions?|rubric|task|system prompt)\b\s*(?::|is\b|follow)",
        r"\b(?:reveal|repeat|print|output)\b[^.\n]{0,30}\b(?:system prompt|your (?:instructions|prompt|rubric))",
        r"\byou are (?:now|no longer)\b",
        r"\b(?:do not|don't|never) (?:use|apply|follow) (?:the|your|this) (?:rubric|instructions?|prompt)",
    ),
    "address": (
        r"\b(?:dear|attention|note (?:to|for)|message (?:to|for)|instructions? (?:to|for)|hey|hello|hi)[,:]?\s+"
        r"(?:the |any |all |whichever )?(?:automated |reading |scoring )?" + _READER,
        r"\bif you(?: are|'re)[^.\n]{0,20}\b(?:ai|llm|language model|bot|automated|chatbot)\b",
        r"\bas an? (?:ai|(?:large )?language) (?:language )?(?:model|assistant)\b",
        r"\b(?:automated|ai|llm) (?:scor|rat|grad|judg|evaluat|annotat)\w+ (?:must|should|are|will)\b",
    ),
    "score": (
        rf"\b(?:score|rate|grade|mark) (?:this|it|the (?:above|following|article|text|story))\b[^.\n]{{0,60}}{_HIGH}",
        rf"\b(?:set|assign|give|return|output|put|award|report)\b[^.\n]{{0,40}}{_SCORES}[^.\n]{{0,40}}{_HIGH}",
        r"\b(?:maximum|highest|perfect|full|top) (?:scores?|ratings?|marks) \w+ (?:all|every|each)",
        r"\b(?:bewerte|noteer|puntúa|évalue|valuta|beoordeel)\w*\b[^.\n]{0,60}\d",
    ),
    "answer": (r"[\"']?\bscores[\"']?\s*:\s*\{", r"[\"']evidence[\"']\s*:"),
}
_PATTERNS = {name: "(?m)" + "|".join(f"(?:{one})" for one in patterns) for name, patterns in _TRIES.items()}


HIDDEN = "hidden characters"
"""The kind of attempt for a text with characters that readers cannot see and that are not shown to the oracle."""

# A digit between letters is rare in normal text.
_SPELLED = re.compile(r"[a-z][013457@$]+[a-z]")
_LETTERS = str.maketrans("013457@$", "oieastas")
_ENCODED = re.compile(r"[A-Za-z0-9+/]{24,}")


def tries(windows: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the attempts of each text: address, answer, chat markup, fence, instruction, score, hidden characters.

    Most texts have none. Letters are compared after folding, without invisible characters (`prefilter.fold`).
    """
    # Rust's matcher reads each text once per kind, in linear time.
    texts = pl.Series("read", [_read(window) for window in windows], dtype=pl.String)
    found = pl.DataFrame([texts.str.contains(pattern).alias(name) for name, pattern in _PATTERNS.items()])
    hidden = pl.Series(HIDDEN, [shown(window) != window for window in windows], dtype=pl.Boolean)
    found = found.with_columns(hidden)
    return [tuple(name for name, hit in zip(found.columns, row, strict=True) if hit) for row in found.iter_rows()]


def _read(window: str) -> str:
    """Return the folded text, followed by the text that is spelled or encoded in it."""
    folded = fold(window)
    readings = [folded]
    if _SPELLED.search(folded):
        readings.append(folded.translate(_LETTERS))
    readings += [fold(text) for text in map(_decoded, _ENCODED.findall(window)) if text]
    readings += [fold(text) for text in spelled(window)]
    return "\n".join(readings)


def _decoded(run: str) -> str:
    """Return the text that is encoded in base64, or an empty string."""
    try:
        return base64.b64decode(run + "=" * (-len(run) % 4)).decode()
    except ValueError:
        return ""
