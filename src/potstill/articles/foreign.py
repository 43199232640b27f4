"""Read web pages and feeds in a separate process.

Input: a path. Output: what `potstill.web_process` extracted from it, or a one-line error. Nothing is downloaded, and
links in a page or a feed are not followed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from potstill.errors import ArticleError, require_installed
from potstill.processes import ANSWER, Worker

if TYPE_CHECKING:
    from pathlib import Path

_WORKER = Worker("potstill.web_process")
_NEEDS = {"page": ("trafilatura", "lxml_html_clean"), "feed": ("feedparser", "lxml")}


def read_foreign(path: Path, kind: Literal["page", "feed"]) -> dict[str, Any]:
    """Return the content of the file.

    Raises:
        ArticleError: the file cannot be read, or is not of the kind that its name indicates.
        MissingExtra: the extra `web` is not installed.
    """
    for module in _NEEDS[kind]:
        require_installed(module, "web")
    place = os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH118 - links stay as they are
    try:
        answered, facts, _ = _WORKER.ask({"path": place, "kind": kind})
    except EOFError as error:
        raise ArticleError(f"{path}: cannot be read as a {kind} ({error})") from None
    if answered != ANSWER:
        reason = facts["reason"]
        raise ArticleError(f"{path}: cannot be read ({reason})" if facts["of_system"] else f"{path}: {reason}")
    return facts
