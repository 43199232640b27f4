"""Oracles: models that score articles by a rubric, and local replacements for them.

Input: a question about one article. Output: its scores, or a `Failure` with the reason and whether a retry may help. An
oracle sends each question once and never retries; retries, pacing and cost limits are handled in `labelling`.
`protocol` defines what an oracle is, `opening` opens one by its name, each provider has its own module, and `prompt`
builds the questions and parses the answers.
"""

from potstill.oracle.opening import PROVIDERS, form_of, open_oracle
from potstill.oracle.protocol import (
    FATAL,
    REPAIRABLE,
    TRANSIENT,
    UNSUPPORTED,
    AskedByLevels,
    Distribution,
    Failure,
    Message,
    Oracle,
    Reason,
    Recorded,
    Remembers,
    Reply,
    Request,
    Settings,
)

__all__ = [
    "FATAL",
    "PROVIDERS",
    "REPAIRABLE",
    "TRANSIENT",
    "UNSUPPORTED",
    "AskedByLevels",
    "Distribution",
    "Failure",
    "Message",
    "Oracle",
    "Reason",
    "Recorded",
    "Remembers",
    "Reply",
    "Request",
    "Settings",
    "form_of",
    "open_oracle",
]
