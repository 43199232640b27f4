"""Share what oracles have in common that are asked by levels, whatever their protocol.

Input: a server's probabilities per question. Output: a reply with scores and distributions, or a failure that names the
question and what is wrong with its answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.errors import BadInput
from potstill.oracle.protocol import Failure, Reply, Settings
from potstill.oracle.reading import storable
from potstill.oracle.score_questions import ScoreQuestions, distribution, expected
from potstill.oracle.wire import LiveOracle, status_failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from potstill.oracle.prompt import Prompt
    from potstill.oracle.protocol import Distribution, Request

# Words of servers about a model that they do not serve.
_NOT_SERVED = ("unknown", "not found", "not served", "does not exist", "unsupported", "not supported", "invalid")


class LevelsOracle(LiveOracle):
    """An oracle that is asked by levels; a subclass per protocol.

    Raises:
        BadInput: a setting is given that decision APIs do not have.
    """

    forms = ("score",)
    route: str
    """The path of the protocol, for messages."""

    def __init__(self, model: str, settings: Settings) -> None:
        for name in ("temperature", "reasoning_effort"):
            if getattr(settings, name) is not None:
                raise BadInput(
                    f"--oracle {self.name}:{model}: got the setting {name!r}, which {self.route} does not have"
                )
        super().__init__(model, settings)

    def questions(self, prompt: Prompt) -> ScoreQuestions:
        """Return the questions of a prompt's filter.

        Raises:
            BadInput: the levels that were set do not fit the filter's scale.
        """
        return ScoreQuestions(prompt, self._settings.levels)

    def prepare(self, prompt: Prompt) -> None:
        """Check the levels.

        Raises:
            BadInput: the levels that were set do not fit the filter's scale.
        """
        self.questions(prompt)

    def _status_failure(self, status: int, message: str, message_text: str, headers: Mapping[str, str]) -> Failure:
        """Return the failure for an HTTP status; a wrong model or a wrong address is fatal, because all calls fail."""
        failure = status_failure(status, message, message_text, headers)
        words = message_text.lower()
        if failure.reason == "bad_request" and "model" in words and any(word in words for word in _NOT_SERVED):
            return Failure("not_allowed", f"{failure.detail}; the model {self._served!r} is not served")
        if status in {404, 405} and failure.reason == "bad_request":
            return Failure("not_allowed", f"{failure.detail}; {self.address} does not answer {self.route}")
        if failure.reason == "bad_request" and any(word in words for word in ("level", "criteria")):
            failure.detail += f"; set other levels, as in {self.name}:{self._served}?levels=0,5,10"
        return failure


def reply_of(request: Request, text: str, answers: Mapping[str, Mapping[str, object] | None], known: Failure) -> Reply:
    """Return the reply with the scores of all questions.

    Args:
        request: the questions.
        text: the body of the answer.
        answers: by question, the probability of each level's label; None for a question that the server refuses to
            answer, whose score is then masked.
        known: what is known about the cost; raised, with its reason, if an answer cannot be used.

    Raises:
        Failure: a question has no answer, all are refused, or a distribution is invalid.
    """
    known.raw = storable(text[:4000])
    found: dict[str, Distribution] = {}
    for question in request.questions:
        if question.name not in answers:
            raise unusable(known, f"no answer to the question {question.name}")
        probabilities = answers[question.name]
        if probabilities is None:
            continue
        try:
            found[question.name] = distribution(question.levels, probabilities)
        except ValueError as fault:
            raise unusable(known, f"{question.name}: {fault}") from None
    if not found:
        known.reason, known.detail = "refused", "every question is refused"
        raise known
    scores = {one.name: expected(found[one.name]) if one.name in found else None for one in request.questions}
    return Reply(scores, "", known.tokens_in, known.tokens_out, storable(text), known.cached, known.doubt, found)


def unusable(known: Failure, detail: str) -> Failure:
    """Return the failure for an answer that does not follow the protocol; asking again would not help."""
    known.reason, known.detail, known.of_server = "malformed", detail, True
    return known
