"""A page whose scripts and styles are sealed: the browser runs the ones that were put in, and no other.

In: the parts of a page. Out: HTML whose content security policy names the hash of its one script and its one
style, so that no text that finds its way into the page can become either.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from importlib.resources import files

from potstill.report.policy import source_hash


@dataclass(frozen=True, slots=True)
class Document:
    """A page, and the content security policy that the server sends with it.

    A `sandboxed` page runs as if it came from another address: it cannot reach the other pages of the server.
    """

    html: str
    policy: str
    sandboxed: bool = False


def sealed(title: str, body: str, *, style: str, script: str) -> Document:
    """A whole page. `body` is HTML that is trusted; text from outside has no place in it."""
    policy = (
        f"default-src 'none'; style-src {source_hash(style)}; script-src {source_hash(script)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return Document(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n'
        f"{body}\n<script>{script}</script>\n</body>\n</html>\n",
        policy,
    )


def asset(folder: str, name: str) -> str:
    """A file that ships with a package of potstill."""
    return (files("potstill") / folder / name).read_text(encoding="utf-8")
