"""The content security policies of pages that potstill writes.

In: the script of a page. Out: the policy under which a browser runs that script and no other. The policy is part of the
page, and the server that shows a page also sends it as a header.
"""

from __future__ import annotations

import base64
import hashlib
import re

_NAMED = re.compile(r"script-src &#x27;(sha256-[A-Za-z0-9+/]{43}=)&#x27;")
"""The hash of a report's script in the policy, which is an HTML attribute."""

_HEAD = 4096
"""The policy is within this number of characters at the start of a report."""


def source_hash(content: str) -> str:
    """The source of a script or style for a policy: `'sha256-...'`, in quotes."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def report_policy(script: str) -> str:
    """The policy of a report.

    Args:
        script: the script that may run: its source from `source_hash`, or `'none'`.
    """
    # Tables and Vega's plots set styles on elements; nothing may be fetched.
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src {script}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def script_named(report: str) -> str | None:
    """The source of the script that a report's policy allows; None if the policy names no script by its hash."""
    found = _NAMED.search(report, 0, _HEAD)
    return None if found is None else f"'{found[1]}'"
