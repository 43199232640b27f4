"""Tests that an error with HTTP status 200 is treated as the error that it names, and costs nothing."""

import json

import pytest
from asking import KEYS, ask
from scripted_server import Answer

from potstill.oracle.error_bodies import error_in

FORMS = [
    ({"error": {"code": 429, "message": "slow down"}}, "rate_limited"),
    ({"error": {"code": 502, "message": "upstream"}}, "server"),
    ({"error": {"code": "insufficient_quota", "message": "pay"}}, "quota"),
    ({"error": {"code": 401, "message": "no"}}, "not_allowed"),
    ({"error": "Rate limit exceeded"}, "rate_limited"),
    ({"choices": None}, "server"),
    ({"choices": [{"finish_reason": "error", "message": {"content": ""}}]}, "server"),
    ({"content": None, "stop_reason": None}, "server"),
    ({"candidates": None}, "server"),
    ({"content": [], "stop_reason": "error"}, "server"),
    ({"candidates": [{"finishReason": "ERROR"}]}, "server"),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, "server"),
    ({"type": "error", "error": {"type": "rate_limit_error", "message": "busy"}}, "rate_limited"),
    ({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}, "rate_limited"),
    ([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}], "rate_limited"),
    ({"detail": "Rate limit exceeded, slow down"}, "rate_limited"),
    ({"message": "Too many requests", "status": 429}, "rate_limited"),
    ({"code": 401, "msg": "no such key"}, "not_allowed"),
    ({"errors": [{"code": "unauthorized", "message": "no"}], "success": False}, "not_allowed"),
    ({"fault": {"faultstring": "Rate limit quota violation"}}, "rate_limited"),
]


@pytest.mark.parametrize("spec", sorted(KEYS))
def test_an_error_with_http_200_is_what_it_says_and_costs_nothing(spec, monkeypatch):
    monkeypatch.setenv(KEYS[spec], "k3y")
    _, found = ask(spec, lambda request, number: Answer(body=json.dumps(FORMS[number][0]).encode()), times=len(FORMS))
    assert [(one.reason, one.charged) for one in found] == [(reason, "nothing") for _, reason in FORMS]
    assert "slow down" in found[0].detail


@pytest.mark.parametrize("spec", sorted(KEYS))
def test_an_error_in_a_stream_that_nobody_asked_for_is_what_it_says(spec, monkeypatch):
    monkeypatch.setenv(KEYS[spec], "k3y")
    body = b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}\n\n'
    _, [found] = ask(spec, lambda request, number: Answer(body=body))
    assert (found.reason, found.charged) == ("server", "nothing")


@pytest.mark.parametrize(
    "body", [{"detail": "Not here"}, {"errors": [{"code": 7003, "message": "no route"}]}, {"ok": 1}]
)
def test_a_body_that_names_no_error_that_is_known_is_not_waited_for(body):
    assert error_in(body) is None


BILLED = [
    {"choices": [{"finish_reason": "error", "message": {"content": "Half"}}], "usage": {"completion_tokens": 9}},
    {"content": [], "stop_reason": "error", "usage": {"output_tokens": 9}},
    {"candidates": [{"finishReason": "ERROR"}], "usageMetadata": {"thoughtsTokenCount": 9}},
]


@pytest.mark.parametrize("spec", sorted(KEYS))
def test_an_error_that_counts_tokens_of_output_may_have_been_billed(spec, monkeypatch):
    monkeypatch.setenv(KEYS[spec], "k3y")
    _, found = ask(spec, lambda request, number: Answer(body=json.dumps(BILLED[number]).encode()), times=len(BILLED))
    assert [(one.reason, one.charged) for one in found] == [("server", "unknown")] * len(BILLED)


def test_a_question_that_is_blocked_is_no_error():
    assert error_in({"candidates": None, "promptFeedback": {"blockReason": "SAFETY"}}) is None


@pytest.mark.parametrize("body", [{"choices": [{"message": {}}], "error": None}, {"content": [], "error": {}}, 7, "x"])
def test_an_answer_is_no_error(body):
    assert error_in(body) is None


@pytest.mark.parametrize("kind", ["application/json", "text/html"])
@pytest.mark.parametrize(
    ("status", "reason", "charged"),
    [
        (401, "not_allowed", "nothing"),
        (404, "bad_request", "nothing"),
        (429, "rate_limited", "nothing"),
        (503, "server", "unknown"),
        (504, "server", "unknown"),
    ],
)
@pytest.mark.parametrize("spec", KEYS)
@pytest.mark.by_example(3)
def test_an_http_error_in_plain_words_is_taken_by_its_status(spec, status, reason, charged, kind, monkeypatch):
    monkeypatch.setenv(KEYS[spec], "k")
    answer = Answer(status=status, body=b"no healthy upstream", headers={"content-type": kind})
    _, [failure] = ask(spec, lambda request, number: answer)
    assert (failure.reason, failure.charged) == (reason, charged)
    assert f"HTTP {status}" in failure.detail


@pytest.mark.parametrize("spec", KEYS)
def test_an_answer_without_an_answer_is_kept_in_the_servers_words(spec, monkeypatch):
    monkeypatch.setenv(KEYS[spec], "k")
    body = b'{"detail": "Nobody lives here"}'
    _, [failure] = ask(spec, lambda request, number: Answer(body=body))
    assert failure.of_server
    assert "Nobody lives here" in failure.raw
    assert failure.detail.endswith(" in the answer: Nobody lives here")


@pytest.mark.parametrize("status", [400, 503])
@pytest.mark.parametrize(
    "body",
    [
        b"teal is out of paint",
        b"<html><body>teal is out of paint</body></html>",
        b'{"error": "teal is out of paint"}',
        b'{"error": {"message": "teal is out of paint"}}',
        b'[{"error": {"message": "teal is out of paint"}}]',
        b'{"detail": "teal is out of paint"}',
        b'{"errors": [{"code": 7000, "message": "teal is out of paint"}]}',
        b'{"fault": {"faultstring": "teal is out of paint"}}',
    ],
)
@pytest.mark.parametrize("spec", KEYS)
@pytest.mark.by_example(3)
def test_the_words_of_an_http_error_are_kept_whatever_the_form_of_its_body(spec, body, status, monkeypatch):
    monkeypatch.setenv(KEYS[spec], "k")
    _, [failure] = ask(spec, lambda request, number: Answer(status=status, body=body))
    assert "teal is out of paint" in failure.detail
