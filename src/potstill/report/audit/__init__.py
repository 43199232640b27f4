"""The page of an audit: `audit.json` as HTML.

In: an `Audit`. Out: `audit.json` and `audit.html` in a folder. The page is made from the record alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.audit import Audit
from potstill.errors import require
from potstill.files import read_object, replacing, sha256
from potstill.report.audit.sections import compose
from potstill.report.facts import Record
from potstill.report.html import render_html

if TYPE_CHECKING:
    from pathlib import Path


__all__ = ["write_audit"]

LAYOUT = {"record": "audit.json", "html": "audit.html"}
"""The files in an audit's folder, in addition to the ledger of dropped articles that were judged."""


def write_audit(audit: Audit, folder: Path) -> Path:
    """Write the record and its page, and return the path of the page.

    Raises:
        BadInput: the folder cannot be written.
        MissingExtra: the extra `report` is not installed.
    """
    require("altair", "report")
    require("vl_convert", "report")
    path = folder / LAYOUT["record"]
    audit.save(path)
    record = Record(LAYOUT["record"], sha256(path), read_object(path), Audit)
    page = folder / LAYOUT["html"]
    with replacing(page) as temporary:
        temporary.write_text(render_html(compose(record), {record.file: record.sha256}), encoding="utf-8", newline="\n")
    return page
