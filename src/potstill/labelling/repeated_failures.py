"""Detect repeated failures, so that an oracle that can never answer is noticed before it costs much.

Input: each failure and each answer of a session. Output: when to stop, why, and the questions to ask again once the
cause is fixed.
"""

from __future__ import annotations

from collections import Counter

from potstill.oracle import FATAL, UNSUPPORTED, Failure

ALIKE = 20
"""Number of failures for the same reason, before any answer, after which the oracle is considered unable to answer."""

TO_THE_LETTER = 5
"""The same limit for failures with identical messages."""


class Alike:
    """A counter of failures as long as nothing was bought.

    Args:
        answered_before: whether this oracle answered in an earlier session; faults of its answers are then attributed
            to single articles, and only faults of the server or its address count.
    """

    def __init__(self, *, answered_before: bool) -> None:
        self._answered_before = answered_before
        self._reasons: Counter[str] = Counter()
        self._letters: Counter[tuple[str, str, str]] = Counter()
        self._keys: dict[str, bool] = {}
        self._hopeless = False

    def answered(self) -> None:
        """Record an answer, which proves that the oracle can answer."""
        self._answered_before = True
        self._reasons.clear()
        self._letters.clear()
        self._keys.clear()

    def failed(self, key: str, failure: Failure) -> bool:
        """Count a failure of the question with this key; return whether the session should stop."""
        if failure.retryable or failure.reason in {*FATAL, UNSUPPORTED}:
            return False
        server = failure.of_server
        if self._answered_before and not server:
            return False
        self._keys[key] = server
        self._reasons[failure.reason] += 1
        letters = failure.reason, failure.detail, failure.raw[:1000]
        # A refusal has the same words for every article that it concerns.
        self._letters[letters] += failure.reason != "refused"
        self._hopeless = self._reasons[failure.reason] >= ALIKE or self._letters[letters] >= TO_THE_LETTER
        return self._hopeless

    def why(self, failure: Failure, address: str) -> str:
        """Return why the session should stop, in one line, with the beginning of the answer."""
        count = max(self._reasons.values())
        began = " ".join((failure.raw or failure.detail).split())[:200]
        where = f" from {address}" if address else ""
        return f"{count} answers{where} could not be used, and there was no usable one ({failure.reason}: {began})"

    def to_reopen(self) -> list[str]:
        """Return the keys of the questions to ask again: all repeated failures, or those caused by the server."""
        return [key for key, server in self._keys.items() if self._hopeless or server]
