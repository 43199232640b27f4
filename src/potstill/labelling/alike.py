"""Failures that are alike: an oracle that can never answer is noticed before it has cost much.

In: each failure of a session, and each answer. Out: the moment at which going on is hopeless, why, and the questions
that are to be asked again when the cause is mended.
"""

from __future__ import annotations

from collections import Counter

from potstill.oracle import FATAL, UNSUPPORTED, Failure

ALIKE = 20
"""Failures for one reason, before any answer, after which an oracle is taken never to answer."""

TO_THE_LETTER = 5
"""The same, for failures that are equal to the letter."""


class Alike:
    """Counts failures while nothing was bought.

    Args:
        answered_before: whether this oracle has answered in an earlier session; then faults of its answers are taken to
            be those of single articles, and only faults of the server or its address count.
    """

    def __init__(self, *, answered_before: bool) -> None:
        self._answered_before = answered_before
        self._reasons: Counter[str] = Counter()
        self._letters: Counter[tuple[str, str, str]] = Counter()
        self._keys: dict[str, bool] = {}
        self._hopeless = False

    def answered(self) -> None:
        """There is an answer: the oracle can."""
        self._answered_before = True
        self._reasons.clear()
        self._letters.clear()
        self._keys.clear()

    def failed(self, key: str, failure: Failure) -> bool:
        """Count a failure of the question with this key; whether going on is hopeless."""
        if failure.retryable or failure.reason in {*FATAL, UNSUPPORTED}:
            return False
        server = failure.of_server
        if self._answered_before and not server:
            return False
        self._keys[key] = server
        self._reasons[failure.reason] += 1
        letters = failure.reason, failure.detail, failure.raw[:1000]
        # A refusal has the same words for every article that it is about.
        self._letters[letters] += failure.reason != "refused"
        self._hopeless = self._reasons[failure.reason] >= ALIKE or self._letters[letters] >= TO_THE_LETTER
        return self._hopeless

    def why(self, failure: Failure, address: str) -> str:
        """Why it is hopeless, in one line, with the beginning of the answer."""
        count = max(self._reasons.values())
        began = " ".join((failure.raw or failure.detail).split())[:200]
        where = f" from {address}" if address else ""
        return f"{count} answers{where} were of no use and none was good ({failure.reason}: {began})"

    def to_reopen(self) -> list[str]:
        """Keys of questions to be asked again: all that failed alike, or those at which the server was at fault."""
        return [key for key, server in self._keys.items() if self._hopeless or server]
