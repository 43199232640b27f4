"""Tests of Gemini's wire format against a real server on loopback."""

import json
from functools import partial

import asking
import pytest
from asking import GOOD, PROMPT, SCORES
from scripted_server import Answer

from potstill.errors import OracleError
from potstill.oracle import Failure, open_oracle
from potstill.oracle.prompt import without

ask = partial(asking.ask, "gemini:flash")


def content(*parts, finish="STOP", **usage):
    """Return an answer of texts, or of parts of another kind."""
    parts = [{"text": part} if isinstance(part, str) else part for part in parts]
    body = {
        "candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": finish, "index": 0}],
        "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 20, "totalTokenCount": 120} | usage,
        "modelVersion": "m",
    }
    return Answer(body=json.dumps(body).encode())


def error(status, kind, text="no", details=()):
    body = {"error": {"code": status, "message": text, "status": kind, "details": list(details)}}
    return Answer(status, json.dumps(body).encode())


def test_a_good_answer_comes_with_its_tokens_thinking_included():
    server, [reply] = ask(lambda request, number: content(GOOD, thoughtsTokenCount=300))
    assert (reply.scores, reply.evidence, reply.tokens_in, reply.tokens_out) == (SCORES, "bridge fell", 100, 320)
    [sent] = server.requests
    assert sent["systemInstruction"]["parts"][0]["text"] == PROMPT.system
    assert [part["role"] for part in sent["contents"]] == ["user"]
    settings = sent["generationConfig"]
    assert settings["responseMimeType"] == "application/json"
    assert settings["responseJsonSchema"] == without(PROMPT.schema, {"maxLength"}) != PROMPT.schema
    assert settings["maxOutputTokens"] == 300
    assert "temperature" not in settings


THOUGHT = {"text": "Hmm.", "thought": True}
PER_DAY = {"@type": "x/google.rpc.QuotaFailure", "violations": [{"quotaId": "RequestsPerDayPerProject-FreeTier"}]}
WAIT = {"@type": "x/google.rpc.RetryInfo", "retryDelay": "34.5s"}


def test_thoughts_are_passed_over():
    assert ask(lambda request, number: content(THOUGHT, GOOD))[1][0].scores == SCORES


@pytest.mark.parametrize(
    ("answer", "reason", "charged"),
    [
        (content(GOOD[:-40], finish="MAX_TOKENS"), "truncated", "tokens"),
        (content(finish="MAX_TOKENS", thoughtsTokenCount=300), "truncated", "tokens"),
        (content(THOUGHT), "thinking_only", "tokens"),
        (content(thoughtsTokenCount=80), "thinking_only", "tokens"),
        (content(), "empty", "tokens"),
        (content(finish="SAFETY"), "refused", "tokens"),
        (content(finish="PROHIBITED_CONTENT"), "refused", "tokens"),
        (content("I'd say five."), "malformed", "tokens"),
        (content(GOOD.replace("4.5", "11", 1)), "out_of_range", "tokens"),
        (Answer(body=b'{"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 9}}'),
         "refused", "tokens"),
        (Answer(body=b'{"candidates": []}'), "empty", "unknown"),
        (Answer(body=b'{"candidates": [{"finishReason": "STOP"}]}'), "empty", "unknown"),
        (Answer(body=b'{"candidates": ['), "malformed", "unknown"),
        (Answer(body=b"<html>", headers={"content-type": "text/html"}), "malformed", "unknown"),
        (Answer(body=b""), "malformed", "unknown"),
        (error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota", [WAIT]), "rate_limited", "nothing"),
        (error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota", [PER_DAY]), "quota", "nothing"),
        (error(500, "INTERNAL"), "server", "unknown"),
        (error(503, "UNAVAILABLE", "The model is overloaded."), "server", "unknown"),
        (error(400, "INVALID_ARGUMENT", "API key not valid.", [{"reason": "API_KEY_INVALID"}]), "not_allowed",
         "nothing"),
        (error(400, "FAILED_PRECONDITION", "User location is not supported"), "not_allowed", "nothing"),
        (error(403, "PERMISSION_DENIED"), "not_allowed", "nothing"),
        (error(404, "NOT_FOUND", "models/flash is not found"), "not_allowed", "nothing"),
        (Answer(502, b"<html>Bad gateway</html>", {"content-type": "text/html"}), "server", "unknown"),
        (Answer(reset=True), "connection", "unknown"),
    ],
)  # fmt: skip
@pytest.mark.by_example(3)
def test_each_fault_has_its_name(answer, reason, charged):
    server, [failure] = ask(lambda request, number: answer)
    assert (failure.reason, failure.charged) == (reason, charged)
    if reason in {"connection", "rate_limited"}:
        assert len(server.requests) == 1


def test_the_time_to_wait_is_read_from_the_details():
    assert ask(lambda request, number: error(429, "RESOURCE_EXHAUSTED", details=[WAIT]))[1][0].retry_after == 34.5


def test_the_time_to_wait_is_read_from_the_headers_where_the_details_name_none():
    for status in (429, 503):
        answer = error(status, "RESOURCE_EXHAUSTED")
        answer.headers["Retry-After"] = "33"
        assert ask(lambda request, number, answer=answer: answer)[1][0].retry_after == 33.0


def test_a_body_that_stalls_is_a_timeout():
    _, [failure] = ask(lambda request, number: Answer(body=b"{}", stall=True), timeout=0.2)
    assert (failure.reason, failure.charged) == ("timeout", "unknown")


def test_a_server_that_is_not_there_costs_nothing():
    _, [failure] = ask(lambda request, number: content(GOOD), base_url="http://127.0.0.1:9")
    assert (failure.reason, failure.charged) == ("connection", "nothing")


@pytest.mark.parametrize(("known", "tried"), [("application/json", 2), (None, 3)])
def test_a_model_without_schemas_is_asked_less_firmly_and_that_is_remembered(known, tried):
    def script(request, number):
        settings = request["generationConfig"]
        if "responseJsonSchema" in settings or settings.get("responseMimeType") not in {known, None}:
            return error(400, "INVALID_ARGUMENT", "JSON mode is not enabled for this model")
        return content(GOOD)

    server, outcomes = ask(script, times=3)
    assert [outcome.scores for outcome in outcomes] == [SCORES] * 3
    assert len(server.requests) == tried + 2


def test_settings_are_sent():
    server, _ = ask(lambda request, number: content(GOOD), temperature=0.5, reasoning_effort="low")
    settings = server.requests[0]["generationConfig"]
    assert settings["temperature"] == 0.5
    # The API accepts names in both spellings.
    assert list(settings["thinkingConfig"].values()) == ["LOW"]


def test_a_repair_speaks_as_model_and_user():
    request = PROMPT.request("a", "Bridge fell.")
    repaired = PROMPT.repair(request, Failure("malformed", "no JSON", raw="Five."))
    server, _ = ask(lambda request, number: content(GOOD), request=repaired)
    assert [part["role"] for part in server.requests[0]["contents"]] == ["user", "model", "user"]


def test_googles_own_address_needs_a_key(monkeypatch):
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OracleError, match="set the environment variable GEMINI_API_KEY"):
        open_oracle("gemini:gemini-3-flash")
