"""A page whose scripts and styles are sealed: the browser runs the ones that were put in, and no other.

In: the parts of a page. Out: HTML whose content security policy names the hash of its one script and its one
style, so that no text that finds its way into the page can become either.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib.resources import files


def sealed(title: str, body: str, *, style: str, script: str) -> str:
    """A whole page. `body` is HTML that is trusted; text from outside has no place in it."""
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n'
        f"{body}\n<script>{script}</script>\n</body>\n</html>\n"
    )


def asset(folder: str, name: str) -> str:
    """A file that ships with a package of potstill."""
    return (files("potstill") / folder / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
