"""Ask by levels through OpenAI's decisions API (`/decisions`), or a server that is compatible with it.

Input: score questions. Output: a reply with a distribution per dimension, or a named failure. Each call sends one HTTP
request through the library's `client.decisions`. The rubric is the system message, so that the server can cache it, and
the article the user message. Probabilities are matched by the labels of levels, never by their positions.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from potstill.errors import OracleError, require
from potstill.oracle.by_levels import LevelsOracle, reply_of, unusable
from potstill.oracle.environment import check_header, set_up
from potstill.oracle.error_bodies import without_answer, words_in
from potstill.oracle.openai import connect
from potstill.oracle.protocol import Failure, Reply, Settings
from potstill.oracle.wire import charged, counts, one_line, the_object, transport_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import openai

    from potstill.oracle.protocol import Request


class DecisionsOracle(LevelsOracle):
    """An oracle that asks a model through the decisions API.

    The address is `settings.base_url`, else OPENAI_BASE_URL, else OpenAI's own. The key is in the environment variable
    `settings.api_key_env`, by default OPENAI_API_KEY, and is optional for an address other than OpenAI's.

    Raises:
        OracleError: there is no key for OpenAI's own address, the named variable is not set, or the installed openai
            package is too old to have this API.
        BadInput: a setting is given that the API does not have.
        MissingExtra: the openai package is not installed.
    """

    name = "decisions"
    address_variable = "OPENAI_BASE_URL"
    own_address = "https://api.openai.com/v1"
    route = "/decisions"

    def __init__(self, model: str, settings: Settings | None = None) -> None:
        self._library = require("openai", "oracle")
        settings = settings or Settings()
        super().__init__(model, settings)
        own = self._address is not None and not (urlsplit(self._address).hostname or "").endswith("openai.com")
        key = self._know_key(("OPENAI_API_KEY",), needed=not own)
        for variable in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
            check_header(os.environ.get(variable, ""), variable)
        self._client: openai.AsyncOpenAI = set_up(self.name, lambda: connect(self._address, key, settings))
        if not hasattr(self._client, "decisions"):
            raise OracleError(
                f"openai {self._library.__version__} has no decisions API; run: pip install --upgrade openai"
            )
        self.transport = (*transport_errors("oracle"), ValueError)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _send(self, request: Request, form: str) -> Reply:  # noqa: ARG002 - there is one form
        try:
            async with asyncio.timeout(self._settings.timeout):
                # The body is read as text: an invalid body must become a failure and not an exception.
                answer = await self._client.decisions.with_raw_response.create(**self._body(request))
                return _read(answer.text, request)
        except self._library.APIStatusError as error:
            words = words_in(error.body) or error.message
            told = f"{words} {error.code} {error.type}" + (" unsupported model" if error.param == "model" else "")
            raise self._status_failure(error.status_code, words, told, error.response.headers) from None
        except (self._library.APIConnectionError, *self.transport) as error:
            raise self.lost(error) from None
        except self._library.APIError as error:
            raise Failure("malformed", one_line(str(error)), charged="unknown") from None

    def _body(self, request: Request) -> dict[str, Any]:
        return {
            "model": self._served,
            "input": [dict(message) for message in request.messages],
            "questions": [
                {
                    "type": "score",
                    "name": question.name,
                    "instructions": question.instructions,
                    "levels": [{"label": level.label, "description": level.description} for level in question.levels],
                }
                for question in request.questions
            ],
        }


def _read(text: str, request: Request) -> Reply:
    """Parse the distributions from an answer with status 200; answers come in the order of the questions."""
    body = the_object(text)
    known = charged(_used(body.get("usage")), body.get("usage"))
    answers = body.get("answers")
    if not isinstance(answers, list):
        known.raw = text[:4000]
        raise unusable(known, without_answer("answers", body))
    names = [question.name for question in request.questions]
    if len(answers) != len(names):
        known.raw = text[:4000]
        raise unusable(known, f"{len(answers)} answers to {len(names)} questions")
    found: dict[str, Mapping[str, object] | None] = {}
    for name, answer in zip(names, answers, strict=True):
        known.raw = text[:4000]
        if not isinstance(answer, dict) or answer.get("name") not in {name, None}:
            given = answer.get("name") if isinstance(answer, dict) else type(answer).__name__
            raise unusable(known, f"the answer to the question {name} is for {str(given)[:40]!r}")
        found[name] = _probabilities(name, answer, known)
    return reply_of(request, text, found, known)


def _probabilities(name: str, answer: Mapping[str, object], known: Failure) -> dict[str, object] | None:
    """Return the probability of each label; None for a refusal."""
    kind, listed = answer.get("type"), answer.get("probabilities")
    if kind == "refusal":
        return None
    if kind != "score" or not isinstance(listed, list):
        raise unusable(known, f"{name}: the answer is a {str(kind)[:40]!r} and not a score with probabilities")
    found: dict[str, object] = {}
    for one in listed:
        label = one.get("label") if isinstance(one, dict) else None
        if not isinstance(label, str) or label in found:
            raise unusable(known, f"{name}: a level has no label, or the same label as another")
        found[label] = one.get("probability")
    return found


def _used(usage: object) -> tuple[int, int, int] | None:
    """Return input tokens, output tokens and cached input tokens; None unless the server reports the first two."""
    if not isinstance(usage, dict):
        return None
    details = usage.get("input_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    found = counts(usage.get("input_tokens"), usage.get("output_tokens"), cached or 0)
    return None if found is None else (found[0], found[1], found[2])
