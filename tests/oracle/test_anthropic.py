"""Tests of Claude's wire format against a real server on loopback."""

import json
import re
from functools import partial

import asking
import pytest
from asking import GOOD, PROMPT, SCORES
from scripted_server import Answer

from potstill.errors import OracleError
from potstill.oracle import Failure, open_oracle

ask = partial(asking.ask, "anthropic:claude")


def message(*content, stop="end_turn", **usage):
    """Return an answer of texts, or of blocks of another type."""
    blocks = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": blocks,
            "stop_reason": stop, "usage": {"input_tokens": 100, "output_tokens": 20} | usage}  # fmt: skip
    return Answer(body=json.dumps(body).encode())


def error(status, kind, text="no", **headers):
    body = {"type": "error", "error": {"type": kind, "message": text}}
    return Answer(status, json.dumps(body).encode(), {name.replace("_", "-"): value for name, value in headers.items()})


def test_a_good_answer_comes_with_its_tokens():
    server, [reply] = ask(lambda request, number: message(GOOD))
    assert (reply.scores, reply.evidence, reply.tokens_in, reply.tokens_out) == (SCORES, "bridge fell", 100, 20)
    [sent] = server.requests
    assert sent["system"][0]["text"] == PROMPT.system
    assert sent["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert [part["role"] for part in sent["messages"]] == ["user"]
    assert sent["max_tokens"] == 300
    assert "temperature" not in sent


def test_the_schema_is_sent_without_the_bounds_that_the_server_does_not_know():
    server, _ = ask(lambda request, number: message(GOOD))
    schema = server.requests[0]["output_config"]["format"]["schema"]
    assert list(schema["properties"]) == ["scores", "evidence"]
    assert schema["additionalProperties"] is False
    assert not re.search("minimum|maximum|maxLength", json.dumps(schema))


def test_tokens_of_the_cache_are_counted_at_no_less_than_they_cost():
    _, [reply] = ask(
        lambda request, number: message(GOOD, cache_read_input_tokens=1000, cache_creation_input_tokens=401)
    )
    assert (reply.tokens_in, reply.cached) == (100 + 1000 + 502, 1000)


THINKING = {"type": "thinking", "thinking": "Hmm.", "signature": "s"}


def test_thinking_before_the_answer_is_passed_over():
    assert ask(lambda request, number: message(THINKING, GOOD))[1][0].scores == SCORES


@pytest.mark.parametrize(
    ("answer", "reason", "charged"),
    [
        (message(GOOD[:-40], stop="max_tokens"), "truncated", "tokens"),
        (message(THINKING, stop="max_tokens"), "truncated", "tokens"),
        (message(GOOD[:-40], stop="model_context_window_exceeded"), "truncated", "tokens"),
        (message(THINKING), "thinking_only", "tokens"),
        (message(), "empty", "tokens"),
        (message("I will not.", stop="refusal"), "refused", "tokens"),
        (message("I'd say five."), "malformed", "tokens"),
        (message(GOOD.replace("4.5", "11", 1)), "out_of_range", "tokens"),
        (Answer(body=b'{"content": null}'), "server", "nothing"),
        (Answer(body=b'{"type": "message"}'), "empty", "unknown"),
        (Answer(body=b"<html>", headers={"content-type": "text/html"}), "malformed", "unknown"),
        (error(429, "rate_limit_error"), "rate_limited", "nothing"),
        (error(529, "overloaded_error"), "server", "unknown"),
        (error(500, "api_error"), "server", "unknown"),
        (error(401, "authentication_error"), "not_allowed", "nothing"),
        (error(403, "permission_error"), "not_allowed", "nothing"),
        (error(404, "not_found_error", "model: claude"), "not_allowed", "nothing"),
        (error(402, "billing_error"), "quota", "nothing"),
        (error(400, "invalid_request_error", "Your credit balance is too low"), "quota", "nothing"),
        (error(413, "request_too_large"), "bad_request", "nothing"),
        (Answer(reset=True), "connection", "unknown"),
    ],
)
def test_each_fault_has_its_name(answer, reason, charged):
    server, [failure] = ask(lambda request, number: answer)
    assert (failure.reason, failure.charged) == (reason, charged)
    if reason == "connection":
        assert len(server.requests) == 1


def test_a_body_that_stalls_is_a_timeout():
    _, [failure] = ask(lambda request, number: Answer(body=b"{}", stall=True), timeout=0.2)
    assert (failure.reason, failure.charged) == ("timeout", "unknown")


def test_the_time_to_wait_is_read():
    assert ask(lambda request, number: error(429, "rate_limit_error", retry_after="7"))[1][0].retry_after == 7.0


def test_a_model_without_schemas_is_asked_in_plain_text_and_that_is_remembered():
    def script(request, number):
        if "output_config" in request:
            return error(400, "invalid_request_error", "output_config.format: not supported by this model")
        return message(f"Sure: {GOOD}")

    server, outcomes = ask(script, times=3)
    assert [outcome.scores for outcome in outcomes] == [SCORES] * 3
    assert ["output_config" in request for request in server.requests] == [True, False, False, False]


def test_a_temperature_is_dropped_where_refused():
    def script(request, number):
        refused = error(400, "invalid_request_error", "`temperature` is deprecated for this model.")
        return refused if "temperature" in request else message(GOOD)

    server, [reply] = ask(script, temperature=0.0)
    assert reply.scores == SCORES
    assert [request.get("temperature") for request in server.requests] == [0.0, None]


def test_effort_is_sent_and_part_of_the_model():
    server, _ = ask(lambda request, number: message(GOOD), reasoning_effort="low")
    assert server.requests[0]["output_config"]["effort"] == "low"


def test_a_repair_keeps_the_order_of_the_turns():
    request = PROMPT.request("a", "Bridge fell.")
    repaired = PROMPT.repair(request, Failure("malformed", "no JSON", raw="Five."))
    server, _ = ask(lambda request, number: message(GOOD), request=repaired)
    assert [part["role"] for part in server.requests[0]["messages"]] == ["user", "assistant", "user"]


def test_anthropics_own_address_needs_a_key(monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    with pytest.raises(OracleError, match="set the environment variable ANTHROPIC_API_KEY"):
        open_oracle("anthropic:claude-haiku-4-5")
