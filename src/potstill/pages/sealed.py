"""Build a page that only runs its own scripts and styles.

Input: the parts of a page. Output: HTML whose content security policy contains the hashes of its only script and its
only style, so that no text that is inserted into the page can be executed as either.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from importlib.resources import files

from potstill.report.policy import source_hash


@dataclass(frozen=True, slots=True)
class Document:
    """A page, and the content security policy that the server sends with it.

    A `sandboxed` page runs as if it came from another origin, so it cannot access the server's other pages.
    """

    html: str
    policy: str
    sandboxed: bool = False


def sealed(title: str, body: str, *, style: str, script: str) -> Document:
    """Build a complete page. `body` is trusted HTML and must not contain text from external sources."""
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
    """Read a file that ships with a package of potstill."""
    return (files("potstill") / folder / name).read_text(encoding="utf-8")
