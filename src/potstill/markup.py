"""Convert texts with HTML, entities or Markdown, as feeds deliver them, to what a reader sees.

Input: a text. Output: the text without markup, to search words in it, or the kinds of markup it contains. The stored
text, and the text that oracle and student read, are not changed.
"""

from __future__ import annotations

import html
import re
from html.entities import html5
from typing import TYPE_CHECKING, Literal

import regex

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["html", "entities", "markdown"]
"""The kinds of markup that a text may contain."""

KINDS: tuple[Kind, ...] = ("html", "entities", "markdown")
"""All kinds, in display order."""

# Scripts written without spaces between words. Script extensions are used in order to include signs shared by several
# scripts.
UNSPACED = "".join(
    rf"\p{{scx={script}}}"
    for script in (
        "Han", "Hiragana", "Katakana", "Bopomofo", "Yi", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan",
        "Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Javanese", "Balinese",
    )
)  # fmt: skip
"""Their letters, as the content of a character class for Rust and for Python's `regex`."""

# Elements that occur inside a word; a reader sees a gap around all other elements.
_INLINE = re.compile(
    "a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|ins|kbd|label|mark|nobr|q|s|samp|small|span|strike|"
    "strong|sub|time|tt|u|var|wbr",
    re.IGNORECASE,
)
_BLOCK = re.compile(
    "address|area|article|aside|audio|base|blockquote|body|br|button|canvas|caption|center|col|colgroup|dd|details|"
    "dialog|dir|div|dl|dt|embed|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|"
    "iframe|img|input|legend|li|link|main|map|menu|meta|meter|nav|noscript|object|ol|optgroup|option|output|p|param|"
    "picture|pre|progress|rp|rt|ruby|script|section|select|source|style|summary|sup|svg|table|tbody|td|template|"
    "textarea|tfoot|th|thead|title|tr|track|ul|video",
    re.IGNORECASE,
)
_BARE_ATTRIBUTES = (
    "allowfullscreen|async|autoplay|checked|controls|default|defer|disabled|hidden|ismap|itemscope|loop|multiple|muted|"
    "noshade|nowrap|open|playsinline|readonly|required|reversed|selected"
)

# Neither pattern matches past the next <, so the run time is linear in the length of the text.
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]{0,15})(\s[^<>]*+)?(?:/\s*)?>")
_ATTRIBUTES = re.compile(
    rf"""(?:\s++(?:[A-Za-z_:@][\w:.@-]*+\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s"'=<>`]++)|(?:{_BARE_ATTRIBUTES})\b))*+\s*+/?""",
    re.IGNORECASE,
)
_DECLARATION = re.compile(r"<[!?][A-Za-z][^<>]*+>")
_ENTITY = re.compile(
    r"&(?:#(?:[0-9]{1,7}(?![0-9])|[xX][0-9A-Fa-f]{1,6}(?![0-9A-Fa-f]));?"
    r"|([A-Za-z][A-Za-z0-9]{1,31});|(amp|nbsp|quot)\b)"
)
# The patterns start with a single required character, which is found ten times faster than a repeated or optional one.
_LINK = re.compile(r"\[([^\[\]]{0,500})\](?:\([^()\s]{0,2000}(?:\s+\"[^\"]{0,300}\")?\)|\[[^\[\]]{0,100}\])")
_RUN = re.compile(r"[*_`~][*_`~]*+")
_ESCAPE = re.compile(r"\\(?=[!-/:-@\[-`{-~\n])")
_QUOTED = re.compile(r"^[ \t]{0,3}>[> \t]*+", re.MULTILINE)
_UNSPACED_LETTER = regex.compile(rf"[{UNSPACED}]")
_LONGEST_RUN = 6

_EMPHASIS = re.compile(
    r"(?<![\w*])(\*{1,3}|_{1,3}|~~|`{1,3})(?=[^\s*_~`])[^*_~`\n]{0,500}(?<=[^\s*_~`])\1(?![\w*])", re.ASCII
)
_HEADING = re.compile(r"^#{1,6} \S", re.MULTILINE)


def readable(text: str) -> str:
    """Return the text as a reader sees it: no tags, entities decoded, no Markdown; unchanged if it has no markup.

    Inline tags are removed; all other tags, scripts, styles and comments become a space. Markdown signs between two
    letters of a script with spaces are kept (`snake_case`, `f**k`), and so are those between two spaces (`2 * 3`).
    """
    text = decoded(text)
    if "<" in text:
        text = _without_elements(text)
    if ">" in text:
        text = _QUOTED.sub("", text)
    if "\\" in text:
        text = _ESCAPE.sub("", text)
    if "[" in text:
        # A link may enclose an image, so links are replaced twice.
        text = _LINK.sub(r"\1", _LINK.sub(r"\1", text))
    if "*" in text or "_" in text or "`" in text or "~" in text:
        text = _without_runs(text)
    return text


def decoded(text: str) -> str:
    """Return the text with its entities decoded, even if they were encoded up to three times."""
    if "&" not in text:
        return text
    for _ in range(3):
        before, text = text, _ENTITY.sub(_character, text)
        if text == before:
            break
    return text


def kinds_in(text: str) -> tuple[Kind, ...]:
    """Return which kinds of markup a text contains, in the order of `KINDS`.

    A single `*` or `&` does not count: Markdown is a link, a heading or a pair of signs around words.
    """
    found: dict[Kind, bool] = {
        "html": "<" in text and (_has(_TAG, text, _is_tag) or "<!--" in text or "<![CDATA[" in text),
        "entities": "&" in text and _has(_ENTITY, text, lambda match: _character(match) != match[0]),
        "markdown": bool(_EMPHASIS.search(text) or _HEADING.search(text) or ("[" in text and _LINK.search(text))),
    }
    return tuple(kind for kind in KINDS if found[kind])


def _has(pattern: re.Pattern[str], text: str, counts: Callable[[re.Match[str]], bool]) -> bool:
    return any(counts(match) for match in pattern.finditer(text))


def _character(match: re.Match[str]) -> str:
    name = match[1] or match[2]
    if name is None:
        return html.unescape(match[0].rstrip(";") + ";")
    return html5.get(f"{name};", match[0])


def _without_elements(text: str) -> str:
    text = _without_spans(text, "<!--", "-->").replace("<![CDATA[", "").replace("]]>", "")
    for element in ("script", "style"):
        text = _without_spans(text, f"<{element}", f"</{element}")
    return _TAG.sub(_gap, _DECLARATION.sub(" ", text))


def _without_spans(text: str, opening: str, closing: str) -> str:
    """Remove everything from each opening to the next closing sign; an opening that is never closed stays."""
    lower = text.lower()
    if opening not in lower or len(lower) != len(text):
        return text
    kept, at = [], 0
    while (start := lower.find(opening, at)) >= 0 and (end := lower.find(closing, start + len(opening))) >= 0:
        kept.append(text[at:start])
        at = end if closing.startswith("</") else end + len(closing)
    return " ".join([*kept, text[at:]])


def _is_tag(match: re.Match[str]) -> bool:
    known = _INLINE.fullmatch(match[2]) or _BLOCK.fullmatch(match[2])
    return bool(known) and _ATTRIBUTES.fullmatch(match[3] or "") is not None


def _gap(match: re.Match[str]) -> str:
    if not _is_tag(match):
        return match[0]
    return "" if _INLINE.fullmatch(match[2]) else " "


def _without_runs(text: str) -> str:
    return _RUN.sub(_run, text)


def _run(match: re.Match[str]) -> str:
    run, text, start, end = match[0], match.string, match.start(), match.end()
    before, after = text[start - 1 : start], text[end : end + 1]
    if before.isalnum() and after.isalnum() and _in_word(before, after):
        # A backtick may be typed instead of an apostrophe.
        return "'" if run == "`" else run
    alone = (not before or before.isspace()) and (not after or after.isspace())
    return run if alone or len(run) > _LONGEST_RUN else ""


def _in_word(before: str, after: str) -> bool:
    """Return whether two letters or digits belong to scripts that put spaces between words."""
    return (before + after).isascii() or not (_UNSPACED_LETTER.match(before) or _UNSPACED_LETTER.match(after))
