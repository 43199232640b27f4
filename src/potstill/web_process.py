"""Run the process that reads untrusted web pages and feeds; `potstill.articles.foreign` starts it.

Input: requests on standard input: a path and a kind, `page` or `feed`. Output: the article of a page, or the entries of
a feed. The process has no network access, and its memory and processor time are limited.
"""

from __future__ import annotations

import codecs
import io
import re
import socket
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from potstill.markup import readable
from potstill.processes import bound_memory, bound_time, serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_BYTES = 16_000_000
"""Maximum size, in bytes, of a page or feed; a larger one is rejected."""

SECONDS = 60
"""Maximum processor time, in seconds, for one page or feed."""

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Python encodings that no page uses.
_NO_ENCODINGS = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "utf-7"})
_DECLARED = re.compile(
    rb"""<\?xml[^>]{0,200}?\bencoding\s*=\s*["']([\w.:-]+)["']|<meta[^>]{0,500}?\bcharset\s*=\s*["']?([\w.:-]+)""",
    re.IGNORECASE,
)
_DECLARATION = re.compile(r"\s*<\?xml[^>]{0,500}\?>")
_FEED = re.compile(r"\s*(?:<\?[^>]*\?>\s*|<!--.*?-->\s*|<!DOCTYPE[^>]*>\s*)*<(?:rss|feed|rdf:RDF)[\s>]", re.DOTALL)
_ROOT = re.compile(r"<([A-Za-z_][\w:.-]*)")
_LANGUAGE = re.compile(r"<html\b[^>]{0,500}?\blang\s*=\s*[\"']?([A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*)", re.IGNORECASE)

_BLOCKS = frozenset(
    {
        "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption", "figure", "footer",
        "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p", "pre", "section", "table", "tr",
        "ul",
    }
)  # fmt: skip
_UNSEEN = frozenset({"script", "style", "template", "noscript", "head", "iframe", "object", "svg"})


def main() -> None:
    """Answer requests until the input ends."""
    _disable_network()
    serve(_answer)


def _disable_network() -> None:
    def refused(*_: object, **__: object) -> NoReturn:
        raise OSError("network access is disabled")

    # The libraries fetch nothing unless asked to; this guards against a change of theirs.
    for name in ("connect", "connect_ex", "sendto"):
        setattr(socket.socket, name, refused)
    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        setattr(socket, name, refused)


def _answer(request: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    with Path(request["path"]).open("rb") as stream:
        data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"is longer than {MOST_BYTES:,} bytes")
    bound_memory(len(data))
    bound_time(SECONDS)
    return (page if request["kind"] == "page" else feed)(as_text(data)), b""


def as_text(data: bytes) -> str:
    """Decode a page or a feed by its byte order mark or the encoding that it declares, else as UTF-8.

    Raises:
        ValueError: the content is not in the declared encoding, declares an unknown one, or declares none and is not
            UTF-8.
    """
    marked = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), None)
    declared = None if marked else _DECLARED.search(data[:4096])
    name = marked or ((declared[1] or declared[2]).decode("ascii") if declared else "utf-8")
    # Browsers do the same: pages that declare Latin-1 use Windows-1252, which has more characters.
    name = "cp1252" if _known(name) in {"iso8859-1", "ascii"} else name
    try:
        return data.decode(name).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        named = "which it declares" if declared else "and it declares no other encoding"
        raise ValueError(f"is not {name} at byte {error.start + 1:,}, {named}") from None


def _known(name: str) -> str:
    try:
        found: codecs.CodecInfo | None = codecs.lookup(name)
        "".encode(name)
    except (LookupError, UnicodeError):
        found = None
    if found is None or found.name in _NO_ENCODINGS:
        raise ValueError(f"declares an unknown encoding: {name[:40]}")
    return found.name


def page(text: str) -> dict[str, Any]:
    """Extract the article of a page: title, text, url, source, language and published; null where missing.

    Raises:
        ValueError: the content is a feed.
    """
    if _FEED.match(text):
        raise ValueError("is a feed; give it a name that ends in .xml")
    import trafilatura

    # Use the page's own date, not the most recent date that occurs anywhere on the page.
    dates = {"extensive_search": False, "original_date": True}
    found: Any = trafilatura.bare_extraction(
        text.replace("\0", " "), with_metadata=True, include_comments=False, date_extraction_params=dates
    )
    if found is None:
        return dict.fromkeys(("title", "text", "url", "source", "language", "published"))
    title, content = found.title or "", (found.text or "").strip()
    if title and content.partition("\n")[0].strip() == title.strip():
        content = content.partition("\n")[2]
    language = _LANGUAGE.search(text)
    return {
        "title": title,
        "text": content,
        "url": found.url,
        "source": found.sitename or found.hostname,
        "language": language[1] if language else found.language,
        "published": found.date,
    }


def feed(text: str) -> dict[str, Any]:
    """Return the entries of a feed, and a description of what is not well-formed in it, null if all is.

    An entry has id, link, title, text, published, updated, author, source and language, null where missing.

    Raises:
        ValueError: the content is not a feed, is truncated, or declares entities, which can expand to gigabytes.
    """
    if not text.strip():
        raise ValueError("is empty")
    if re.search(r"<!ENTITY\b", text, re.IGNORECASE):
        raise ValueError("declares entities, which are not allowed in feeds")
    import feedparser

    # A stream is passed because other values may be interpreted as a file name or an address.
    stream = io.BytesIO(_DECLARATION.sub("", text, count=1).encode("utf-8", "replace"))
    found = feedparser.parse(stream, sanitize_html=False, resolve_relative_uris=False)
    if not found.get("version"):
        page_ = "; it is a web page, so give it a name that ends in .html" if "<html" in text[:2000].lower() else ""
        raise ValueError(f"is not an RSS or Atom feed{page_}")
    fault = _fault(found, text)
    return {"entries": list(_entries(found)), "fault": fault}


def _fault(found: Any, text: str) -> str | None:  # noqa: ANN401 - feedparser has no types
    error = found.get("bozo_exception")
    # Other remarks of the library concern encodings, which are already decoded here.
    if not found.bozo or "SAX" not in type(error).__name__:
        return None
    root = _ROOT.search(text)
    if root is not None and f"</{root[1]}" not in text[-2000:]:
        raise ValueError(f"is truncated: it does not end in </{root[1]}>")
    return str(error.getMessage() if hasattr(error, "getMessage") else error)


def _entries(found: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - as above
    links = Counter(entry.get("link") for entry in found.entries)
    for entry in found.entries:
        link = entry.get("link")
        contents = [one for one in entry.get("content", ()) if one.get("value") and _is_text(one)]
        body = contents[0] if contents else entry.get("summary_detail") or {}
        yield {
            # In feeds whose entries all link to one page, only the ids distinguish them.
            "id": link if link and links[link] == 1 else entry.get("id") or link,
            "link": link,
            "title": " ".join(_plain(entry.get("title_detail") or {}).split()),
            "text": _plain(body),
            "published": entry.get("published"),
            "updated": entry.get("updated"),
            "author": entry.get("author") or None,
            "source": (entry.get("source") or {}).get("title") or found.feed.get("title") or None,
            "language": (body.get("language") or found.feed.get("language")) or None,
        }


def _is_text(part: Mapping[str, Any]) -> bool:
    return str(part.get("type", "text/html")).startswith(("text/", "application/xhtml"))


def _plain(part: Mapping[str, Any]) -> str:
    value = str(part.get("value") or "").replace("\0", " ")
    return value.strip() if part.get("type") == "text/plain" else html_text(value)


def html_text(fragment: str) -> str:
    """Return the text of an HTML fragment as a reader sees it, one line per paragraph, without scripts and styles."""
    if "<" not in fragment and "&" not in fragment:
        return "\n".join(" ".join(line.split()) for line in fragment.splitlines() if line.strip())
    from lxml import etree, html

    # The library ignores content nested deeper than 2,048 elements; without the argument, the limit is 256.
    tree = html.fromstring(f"<div>{fragment}</div>", parser=html.HTMLParser(huge_tree=True))
    parts: list[str] = []
    unseen = 0
    for event, element in etree.iterwalk(tree, events=("start", "end", "comment", "pi")):
        name = element.tag if isinstance(element.tag, str) else None
        if event == "start":
            unseen += name in _UNSEEN
            parts.append("\n" if name in _BLOCKS else " " if name in {"td", "th"} else "")
            parts.append("" if unseen else _flat(element.text))
        else:
            unseen -= event == "end" and name in _UNSEEN
            parts.append("\n" if name in _BLOCKS else "")
            if element is not tree:
                parts.append("" if unseen else _flat(element.tail))
    lines = (" ".join(line.split()) for line in "".join(parts).split("\n"))
    return "\n".join(line for line in lines if line) or " ".join(readable(fragment).split())


def _flat(text: str | None) -> str:
    # A line break in HTML is a space.
    return " ".join(f" {text} ".split("\n"))[1:-1] if text else ""


if __name__ == "__main__":
    main()
