"""The content security policies of pages that potstill writes.

In: the script of a page. Out: the policy under which a browser runs that script and no other. The policy stands in
the page, and the server that shows a page sends it again as a header.
"""

from __future__ import annotations

import base64
import hashlib
import re

_NAMED = re.compile(r"script-src &#x27;(sha256-[A-Za-z0-9+/]{43}=)&#x27;")
"""The hash of a report's script, as its policy names it in an attribute of HTML."""

_HEAD = 4096
"""Characters at the start of a report within which its policy stands."""


def source_hash(content: str) -> str:
    """A script or style as a policy names it: `'sha256-...'`, in quotes."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def report_policy(script: str) -> str:
    """The policy of a report.

    Args:
        script: what may run: the source of the report's script by `source_hash`, or `'none'`.
    """
    # Tables and Vega's plots set styles on elements; nothing may be fetched, from anywhere.
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src {script}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def script_named(report: str) -> str | None:
    """The source of the script that a report's own policy allows; None where it names none by its hash."""
    found = _NAMED.search(report, 0, _HEAD)
    return None if found is None else f"'{found[1]}'"
