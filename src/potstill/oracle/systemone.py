"""Ask by levels through `/v1/systemone`, which TypeSafe and compatible servers speak.

Input: score questions. Output: a reply with a distribution per dimension, or a named failure. Each call sends one HTTP
request. The state of the request holds the rubric and the article, and the questions are named by their dimensions. A
level's position, from 0, identifies it in the answer.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from potstill.errors import require
from potstill.oracle.by_levels import LevelsOracle, reply_of, unusable
from potstill.oracle.environment import NO_KEY, set_up
from potstill.oracle.error_bodies import without_answer, words_in
from potstill.oracle.protocol import Reply, Settings
from potstill.oracle.wire import charged, connecting, counts, the_object, transport_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx2

    from potstill.oracle.protocol import Request


class SystemOneOracle(LevelsOracle):
    """An oracle that asks a model at a System One address.

    The address is `settings.base_url`, without the path `/v1/systemone`, else TYPESAFE_BASE_URL, else TypeSafe's own.
    The key is in the environment variable `settings.api_key_env`, by default TYPESAFE_API_KEY, and is optional for an
    address other than TypeSafe's.

    Raises:
        OracleError: there is no key for TypeSafe's own address, or the named variable is not set.
        BadInput: a setting is given that the API does not have.
        MissingExtra: the httpx2 package is not installed.
    """

    name = "systemone"
    address_variable = "TYPESAFE_BASE_URL"
    own_address = "https://api.typesafe.ai"
    route = "/v1/systemone"

    def __init__(self, model: str, settings: Settings | None = None) -> None:
        self._library = require("httpx2", "oracle")
        settings = settings or Settings()
        super().__init__(model, settings)
        key = self._know_key(("TYPESAFE_API_KEY",), needed=self._address is None)
        self._client: httpx2.AsyncClient = set_up(self.name, lambda: self._connect(key))
        self.transport = (*transport_errors("oracle"), ValueError)
        base = (self._address or self.own_address).rstrip("/").removesuffix(self.route).removesuffix("/v1")
        self._url = base + self.route

    def _connect(self, key: str) -> httpx2.AsyncClient:
        login = {} if key == NO_KEY else {"Authorization": f"Bearer {key}"}
        client: httpx2.AsyncClient = self._library.AsyncClient(
            timeout=self._library.Timeout(self._settings.timeout, connect=connecting(self._settings.timeout)),
            limits=self._library.Limits(max_connections=None, max_keepalive_connections=None),
            headers={"Content-Type": "application/json", **login, **self._settings.headers},
            follow_redirects=False,
        )
        return client

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _send(self, request: Request, form: str) -> Reply:  # noqa: ARG002 - there is one form
        body = json.dumps(self._body(request), ensure_ascii=False).encode("utf-8", "replace")
        try:
            async with asyncio.timeout(self._settings.timeout):
                answer = await self._client.post(self._url, content=body)
        except self.transport as error:
            raise self.lost(error) from None
        text = answer.content.decode("utf-8", "replace")
        if answer.status_code != 200:
            words = _words(text) or answer.reason_phrase
            raise self._status_failure(answer.status_code, words, words, answer.headers)
        return _read(text, request)

    def _body(self, request: Request) -> dict[str, Any]:
        rubric, article = (
            "\n\n".join(message["content"] for message in request.messages if (message["role"] == "system") is system)
            for system in (True, False)
        )
        return {
            "model": self._served,
            "state": {"rubric": rubric, "article": article},
            "questions": {
                question.name: {
                    "type": "score",
                    "instructions": question.instructions,
                    "criteria": [level.description for level in question.levels],
                }
                for question in request.questions
            },
        }


def _words(text: str) -> str:
    """Return what an error body says: in `detail`, a message, or a list of faults with their places."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text
    detail = body.get("detail") if isinstance(body, dict) else None
    if isinstance(detail, dict):
        return words_in({"type": detail.get("error_type"), "message": detail.get("message")})
    if isinstance(detail, list):
        faults = [f"{'.'.join(map(str, _places(one)))}: {one.get('msg')}" for one in detail if isinstance(one, dict)]
        return (faults[0] + (f", and {len(faults) - 1} more faults" if len(faults) > 1 else "")) if faults else ""
    return words_in(body)


def _places(fault: Mapping[str, object]) -> list[object]:
    place = fault.get("loc")
    return place if isinstance(place, list) else ["request"]


def _read(text: str, request: Request) -> Reply:
    """Parse the distributions from an answer with status 200."""
    body = the_object(text)
    known = charged(_used(body.get("usage")), body.get("usage"))
    answers = body.get("answers")
    known.raw = text[:4000]
    if not isinstance(answers, dict):
        raise unusable(known, without_answer("answers", body))
    found: dict[str, Mapping[str, object] | None] = {}
    for question in request.questions:
        answer = answers.get(question.name)
        if answer is None:
            continue
        kind = answer.get("type") if isinstance(answer, dict) else type(answer).__name__
        probabilities = answer.get("probabilities") if isinstance(answer, dict) else None
        if kind != "score" or not isinstance(probabilities, dict):
            raise unusable(
                known, f"{question.name}: the answer is a {str(kind)[:40]!r} and not a score with probabilities"
            )
        labels = {str(place): level.label for place, level in enumerate(question.levels)}
        if set(probabilities) != set(labels):
            raise unusable(
                known,
                f"{question.name}: probabilities for the levels {', '.join(map(str, probabilities))[:80]}, expected 0 "
                f"to {len(labels) - 1}",
            )
        found[question.name] = {labels[place]: share for place, share in probabilities.items()}
    return reply_of(request, text, found, known)


def _used(usage: object) -> tuple[int, int, int] | None:
    """Return input tokens, output tokens and no cached input tokens, because the protocol has none."""
    if not isinstance(usage, dict):
        return None
    found = counts(usage.get("input_tokens"), usage.get("output_tokens"))
    return None if found is None else (found[0], found[1], 0)
