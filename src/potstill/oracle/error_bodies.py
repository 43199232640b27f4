"""Detect errors that come with HTTP 200, which many gateways send, each in its own form.

Input: the JSON of an answer. Output: the status that an error in it states, and the server's words; None for an answer.
"""

from __future__ import annotations

import json
import re
from typing import Any

# Words used by providers and google.rpc, in lower case, with the corresponding HTTP status; the first match is used.
_STATUS = (
    (402, ("insufficient_quota", "billing", "credit balance", "insufficient credits", "insufficient balance",
           "exceeded your current quota")),
    (429, ("rate_limit", "rate limit", "resource_exhausted", "too many requests", "throttl")),
    (401, ("authentication", "unauthenticated", "unauthorized", "invalid_api_key", "api key", "not authenticated")),
    (403, ("permission", "forbidden")),
    (529, ("overloaded", "unavailable", "capacity", "loading")),
    (504, ("timeout", "timed out", "deadline_exceeded", "deadline exceeded")),
    (404, ("not_found", "not found", "unexpected endpoint", "unknown endpoint")),
    (400, ("invalid_request", "invalid_argument", "bad_request", "badrequest", "failed_precondition",
           "context_length")),
)  # fmt: skip

_ANSWERS = frozenset({"choices", "content", "candidates", "answers", "promptFeedback", "usage", "usageMetadata"})
"""Keys of an answer; a gateway's error has none of them."""

_TEXTS = (
    "code",
    "error_code",
    "type",
    "status",
    "message",
    "msg",
    "error_msg",
    "error_message",
    "detail",
    "faultstring",
)

_NUMBERS = ("code", "status", "status_code", "statusCode", "httpStatus")

_BROKEN_OFF = frozenset({"error", "network_error", "server_error", "internal_error"})
_OUTPUT = ("completion_tokens", "output_tokens", "candidatesTokenCount", "thoughtsTokenCount")


def error_in(value: object) -> tuple[int, str] | None:
    """Return the HTTP status and message of an error inside an answer; None if there is no error.

    Args:
        value: the JSON of an answer; some servers put the error into a list.
    """
    if isinstance(value, list):
        return next(filter(None, map(error_in, value)), None)
    if not isinstance(value, dict):
        return None
    choice = _first(value.get("choices"))
    error = value.get("error") or choice.get("error")
    if not error and (value.get("object") == "error" or value.get("type") == "error"):
        error = value
    if error:
        return _status(error) or 500, _words(error)
    if not value.keys() & _ANSWERS:
        return _of_a_gateway(value)
    ends = (choice.get("finish_reason"), value.get("stop_reason"), _first(value.get("candidates")).get("finishReason"))
    if any(str(end).lower() in _BROKEN_OFF for end in ends):
        return 502, "the server ended the answer with an error"
    # Gemini sends no candidates if it blocks a question, and reports the block instead.
    nothing = [name for name in ("choices", "content", "candidates") if name in value and value[name] is None]
    return (502, f"the answer's {nothing[0]} are null") if nothing and not value.get("promptFeedback") else None


def _of_a_gateway(value: dict[str, Any]) -> tuple[int, str] | None:
    """Return the error in a body without any part of an answer, if it names a known error."""
    errors = value.get("errors")
    error = value.get("fault") or _first(errors) or errors or value
    status = _status(error)
    return None if status is None else (status, _words(error))


def error_in_stream(text: str) -> tuple[int, str] | None:
    """Do the same as `error_in` for an answer sent as server-sent events although none were requested."""
    for line in text.splitlines()[:100]:
        if line.startswith("data:"):
            try:
                found = error_in(json.loads(line.removeprefix("data:")))
            except (ValueError, RecursionError):
                continue
            if found is not None:
                return found
    return None


def is_billed(value: object) -> bool:
    """Return whether an answer reports output tokens in addition to its error, so that these may be billed."""
    usage = (value.get("usage") or value.get("usageMetadata")) if isinstance(value, dict) else None
    return isinstance(usage, dict) and any(usage.get(name) for name in _OUTPUT)


def without_answer(part: str, body: object) -> str:
    """Return the message about a body without the required part of an answer, with the server's words, if any."""
    fields = body.keys() if isinstance(body, dict) else ()
    words = words_in(body) if {*_TEXTS, "error", "errors", "fault"} & set(fields) else ""
    return f"no {part} in the answer" + (f": {' '.join(words.split())[:200]}" if words else "")


def words_in(body: object) -> str:
    """Return what a server says in an error body: its code and message, or the body itself."""
    if isinstance(body, list):
        return words_in(body[0]) if body else ""
    if isinstance(body, dict):
        error = body.get("error") or body.get("fault") or _first(body.get("errors")) or body
        return words_in(error) if isinstance(error, list) else _words(error)
    return "" if body is None else str(body)


def _first(choices: object) -> dict[str, Any]:
    found = choices[0] if isinstance(choices, list) and choices else None
    return found if isinstance(found, dict) else {}


def _status(error: object) -> int | None:
    """Return the status given as a number, else as words; None if there is none."""
    facts = [error.get(name) for name in _NUMBERS] if isinstance(error, dict) else [error]
    for fact in facts:
        found = re.fullmatch(r"\s*([45]\d\d)\b.*", str(fact), re.DOTALL)
        if found:
            return int(found[1])
    lower_case = str(error).lower()
    return next((status for status, words in _STATUS if any(word in lower_case for word in words)), None)


def _words(error: object) -> str:
    """Return the server's message, preceded by its code or kind."""
    if not isinstance(error, dict):
        return str(error)
    facts = [error.get(name) for name in _TEXTS]
    return ": ".join(str(fact) for fact in facts if fact) or str(error)
