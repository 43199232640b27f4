"""Tests of the OpenAI-compatible client against a real server on loopback: every failure has its own reason."""

import asyncio
import json
import time
from email.utils import formatdate
from functools import partial

import asking
import pytest
from asking import GOOD, PROMPT, SCORES
from scripted_server import Answer, ScriptedServer, completion, error

from potstill.errors import OracleError
from potstill.oracle import Failure, Settings, open_oracle
from potstill.oracle.openai import OpenAIOracle

ask = partial(asking.ask, "openai:tiny")


def failure_of(answer, **settings):
    return ask(lambda request, number: answer, **settings)[1][0]


def test_a_good_answer_comes_with_its_tokens():
    server, [reply] = ask(lambda request, number: completion(GOOD, usage=(321, 45)))
    assert (reply.scores, reply.evidence, reply.tokens_in, reply.tokens_out) == (SCORES, "bridge fell", 321, 45)
    [request] = server.requests
    assert request["response_format"]["json_schema"]["schema"] == PROMPT.schema
    assert request["response_format"]["json_schema"]["strict"] is True
    assert request["max_tokens"] == 300
    assert "temperature" not in request


@pytest.mark.parametrize(
    ("answer", "reason", "charged"),
    [
        (error(429), "rate_limited", "nothing"),
        (error(429, code="insufficient_quota"), "quota", "nothing"),
        (error(429, "You exceeded your current quota, please check your plan"), "quota", "nothing"),
        (error(402), "quota", "nothing"),
        (error(401), "not_allowed", "nothing"),
        (error(403, "country not supported"), "not_allowed", "nothing"),
        (error(403, "input was flagged by moderation"), "refused", "nothing"),
        (error(404, "the model 'tiny' does not exist"), "not_allowed", "nothing"),
        (error(500), "server", "unknown"),
        (error(502), "server", "unknown"),
        (error(529, "overloaded"), "server", "unknown"),
        (error(408), "server", "unknown"),
        (error(501), "bad_request", "nothing"),
        (error(422), "bad_request", "nothing"),
        (error(400, "content_policy_violation"), "refused", "nothing"),
        (error(413, "too large"), "bad_request", "nothing"),
        (completion(GOOD[:-40], finish="length"), "truncated", "tokens"),
        (completion(GOOD[:-40]), "malformed", "tokens"),
        (completion(GOOD.replace("4.5", '"high"')), "malformed", "tokens"),
        (completion(GOOD.replace("4.5", "11", 1)), "out_of_range", "tokens"),
        (completion(GOOD.replace('"reach": 4.5, ', "")), "missing_dimension", "tokens"),
        (completion(GOOD.replace('"reach"', '"range"')), "unknown_dimension", "tokens"),
        (completion("I'd say five."), "malformed", "tokens"),
        (completion(""), "empty", "tokens"),
        (completion(None, reasoning_content="Hmm."), "thinking_only", "tokens"),
        (completion(None, refusal="I can't help with that."), "refused", "tokens"),
        (completion(GOOD, finish="content_filter"), "refused", "tokens"),
        (Answer(body=b'{"choices": []}'), "empty", "unknown"),
        (Answer(body=b'{"choices": null}'), "server", "nothing"),
        (Answer(body=b'{"choices": [{"message": null}]}'), "empty", "unknown"),
        (Answer(body=b'{"choices": ['), "malformed", "unknown"),
        (Answer(body=b"[]"), "malformed", "unknown"),
        (Answer(body=b"<html>", headers={"content-type": "text/html"}), "malformed", "unknown"),
        (Answer(body=b""), "malformed", "unknown"),
        (Answer(reset=True), "connection", "unknown"),
        (completion(GOOD, usage=None), None, None),
    ],
)
@pytest.mark.by_example(3)
def test_each_fault_has_its_name(answer, reason, charged):
    outcome = failure_of(answer)
    if reason is None:
        assert outcome.tokens_in is None
        return
    assert (outcome.reason, outcome.charged) == (reason, charged)
    if charged == "tokens":
        assert (outcome.tokens_in, outcome.tokens_out) == (100, 20)


def test_prose_around_the_json_is_passed_over_where_no_schema_holds_the_answer():
    answer = completion(f"Sure!\n```json\n{GOOD}\n```")
    assert failure_of(answer).reason == "malformed"

    def script(request, number):
        return error(400, "response_format is not supported") if "response_format" in request else answer

    assert ask(script)[1][0].scores == SCORES


def test_a_list_of_content_parts_is_read():
    assert failure_of(completion([{"type": "text", "text": GOOD}])).scores == SCORES


@pytest.mark.parametrize(
    "answer", [Answer(body=b"{}", stall=True), Answer(delay=30.0), Answer(body=b" " * 9999, drip=True)]
)
def test_an_answer_that_never_ends_is_a_timeout(answer):
    failure = failure_of(answer, timeout=0.2)
    assert (failure.reason, failure.charged) == ("timeout", "unknown")


def test_a_server_that_is_not_there_costs_nothing():
    with ScriptedServer(lambda request, number: completion(GOOD)) as server:
        pass
    oracle = OpenAIOracle("tiny", Settings(base_url=server.url))
    with pytest.raises(Failure, match="connection: ") as caught:
        asyncio.run(oracle.ask(PROMPT.request("a", "x")))
    assert caught.value.charged == "nothing"


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({"retry_after": "7"}, 7, 7),
        ({"retry_after_ms": "250"}, 0.25, 0.25),
        ({"retry_after": "a date"}, 90, 101),
        ({"retry_after": "soon"}, None, None),
        ({}, None, None),
    ],
)
def test_the_time_to_wait_is_read_from_the_headers(headers, low, high):
    if headers.get("retry_after") == "a date":
        headers = {"retry_after": formatdate(time.time() + 100, usegmt=True)}
    found = failure_of(error(429, **headers)).retry_after
    assert found is None if low is None else low <= found <= high


def form_of(request):
    told = request.get("response_format", {})
    return "bounded_schema" if "maxLength" in json.dumps(told) else told.get("type", "text")


def knows(*forms):
    """Return a script of a server that answers 400 to every other form of a question."""

    def script(request, number):
        form = form_of(request)
        return completion(GOOD) if form in forms else error(400, f"response_format {form} is not supported")

    return script


@pytest.mark.parametrize(
    ("forms", "tried"),
    [
        (("bounded_schema",), ["bounded_schema"]),
        (("json_schema",), ["bounded_schema", "json_schema"]),
        (("json_object", "text"), ["bounded_schema", "json_schema", "json_object"]),
        (("text",), ["bounded_schema", "json_schema", "json_object", "text"]),
    ],
)
def test_what_a_server_can_do_is_found_out_once(forms, tried):
    server, outcomes = ask(knows(*forms), times=3)
    assert [outcome.scores for outcome in outcomes] == [SCORES] * 3
    asked = [form_of(request) for request in server.requests]
    assert asked == tried + [tried[-1]] * 2


def test_a_server_that_breaks_at_a_schema_is_asked_without_after_its_second_500():
    def script(request, number):
        return error(500) if "json_schema" in json.dumps(request.get("response_format", "")) else completion(GOOD)

    server, outcomes = ask(script, times=4)
    answered = ["server", "server", "answered", "answered"]
    assert [getattr(outcome, "reason", "answered") for outcome in outcomes] == answered
    firm, plain = "bounded_schema", "json_schema"
    assert [form_of(one) for one in server.requests] == [firm, firm, plain, firm, plain, "json_object", "json_object"]


def test_an_article_that_no_form_helps_leaves_the_next_one_a_fresh_start():
    def script(request, number):
        return error(400, "context length exceeded") if "Bridge 0" in json.dumps(request) else completion(GOOD)

    server, [first, second] = ask(script, times=2)
    assert first.reason == "bad_request"
    assert second.scores == SCORES
    assert server.requests[-1]["response_format"]["type"] == "json_schema"


def test_a_server_that_knows_the_limit_by_its_other_name_gets_it_so():
    def script(request, number):
        if "max_tokens" in request:
            return error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return completion(GOOD)

    server, outcomes = ask(script, times=2)
    assert [outcome.scores for outcome in outcomes] == [SCORES] * 2
    assert [request.get("max_completion_tokens") for request in server.requests] == [None, 300, 300]


def test_a_temperature_is_sent_where_given_and_dropped_where_refused():
    def script(request, number):
        return error(400, "Unsupported value: 'temperature'") if "temperature" in request else completion(GOOD)

    server, outcomes = ask(script, times=2, temperature=0.0)
    assert [outcome.scores for outcome in outcomes] == [SCORES] * 2
    assert [request.get("temperature") for request in server.requests] == [0.0, None, None]


def test_settings_that_change_answers_are_part_of_the_model():
    settings = Settings(base_url="http://127.0.0.1:9/v1", temperature=0.0, reasoning_effort="low")
    assert OpenAIOracle("tiny", settings).model == "tiny?temperature=0.0&reasoning_effort=low"


def test_openais_own_address_needs_a_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(OracleError, match="set the environment variable OPENAI_API_KEY"):
        open_oracle("openai:gpt-5-mini")
    with pytest.raises(OracleError, match="set the environment variable MY_KEY"):
        open_oracle("openai:m", Settings(base_url="http://127.0.0.1:9/v1", api_key_env="MY_KEY"))


def test_what_an_earlier_process_found_out_is_tried_first_and_found_out_anew_if_false():
    def asked(recalled, *forms):
        async def one(oracle):
            oracle.recall(recalled)
            await asking.outcome_of(oracle, PROMPT.request("a", "Bridge fell."))
            await oracle.close()
            return oracle.abilities

        with ScriptedServer(knows(*forms)) as server:
            found = asyncio.run(one(OpenAIOracle("tiny", Settings(base_url=server.url))))
        return found, [form_of(request) for request in server.requests]

    every = ["bounded_schema", "json_schema", "json_object", "text"]
    assert asked({}, "text") == ({"form": "text", "limit": "max_tokens"}, every)
    assert asked({"form": "text"}, "text") == ({"form": "text", "limit": "max_tokens"}, ["text"])
    assert asked({"form": "json_object"}, "json_schema")[1] == ["json_object", "bounded_schema", "json_schema"]
    assert asked({"form": "xml"}, "bounded_schema")[1] == ["bounded_schema"]


@pytest.mark.parametrize("spec", ["openai", "openai:", "gpt-5", "llama:x", ""])
def test_an_unknown_oracle_is_refused(spec):
    with pytest.raises(
        OracleError,
        match=r"expected replay:FILE, .*openai:MODEL, .*decisions:MODEL or systemone:MODEL",
    ):
        open_oracle(spec)


@pytest.mark.parametrize("kind", ["thinking", "reasoning"])
def test_a_draft_in_a_part_of_thinking_is_passed_over(kind):
    draft = {"type": kind, "text": GOOD.replace("4.5", "9"), "thinking": [{"type": "text", "text": "Nine?"}]}
    assert failure_of(completion([draft, {"type": "text", "text": GOOD}])).scores == SCORES
    assert failure_of(completion([draft])).reason == "thinking_only"


@pytest.mark.parametrize("word", ["length", "max_tokens", "MAX_TOKENS", "model_length", "abort"])
def test_every_word_for_a_cut_is_known(word):
    assert failure_of(completion(GOOD[:-30], finish=word)).reason == "truncated"


@pytest.mark.parametrize("word", ["content_filter", "content_filter: PROHIBITED_CONTENT", "SAFETY", "sensitive"])
def test_every_word_for_a_refusal_is_known(word):
    assert failure_of(completion(GOOD, finish=word)).reason == "refused"


def test_a_refusal_among_the_parts_is_a_refusal():
    parts = [{"type": "refusal", "refusal": "I can't help with that."}, {"type": "text", "text": GOOD}]
    assert (failure_of(completion(parts)).reason) == "refused"
