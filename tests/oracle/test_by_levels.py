"""Tests of the oracles that are asked by levels, against real servers on loopback and the reference of the protocol."""

import asyncio
import json

import asking
import pytest
from decision_servers import SPECS, decided, judged, said
from scripted_server import Answer, error

from potstill.errors import BadInput, OracleError
from potstill.oracle import Failure, Settings, open_oracle
from potstill.oracle.prompt import Prompt
from potstill.oracle.score_questions import ScoreQuestions

PROMPT = asking.PROMPT
NAMES = PROMPT.filter.dimension_names
both = pytest.mark.parametrize("spec", SPECS)


def ask(spec, script, *, times=1, levels=None, **settings):
    """Return the server, and the replies or failures of a number of consecutive questions."""
    request = ScoreQuestions(PROMPT, levels).request("a", "A bridge fell.")
    return asking.ask(spec, script, times=times, request=request, levels=levels, **settings)


def outcome_of(spec, answer):
    return ask(spec, answer if callable(answer) else lambda request, number: answer)[1][0]


@both
def test_scores_are_expected_values_and_the_distributions_are_kept(spec):
    _, [reply] = ask(spec, lambda request, number: said(spec, request))
    assert reply.scores == dict.fromkeys(NAMES, 4.6)
    assert reply.distributions["reach"] == ((0, 0.1), (2, 0.2), (4, 0.3), (6, 0.2), (8, 0.1), (10, 0.1))
    assert (reply.tokens_in, reply.tokens_out) == (900, 8)
    assert reply.cached == (600 if spec == "decisions:m" else 0)


def test_decisions_are_asked_as_the_library_sends_them():
    server, _ = ask("decisions:m", lambda request, number: decided(request))
    [request], [head] = server.requests, server.heads
    assert head.startswith("POST /v1/decisions ")
    assert request["model"] == "m"
    assert [message["role"] for message in request["input"]] == ["system", "user"]
    assert "A bridge fell." in request["input"][1]["content"]
    question = request["questions"][1]
    assert (question["type"], question["name"]) == ("score", "reach")
    assert "How many people the event affects" in question["instructions"]
    assert [level["label"] for level in question["levels"]] == ["0", "2", "4", "6", "8", "10"]
    assert question["levels"][2]["description"] == "4 (3 to 4: minor)"


def test_a_system_one_server_is_asked_at_its_path(monkeypatch):
    monkeypatch.setenv("TYPESAFE_API_KEY", "sk-of-the-test-0123456789")
    server, _ = ask("systemone:m", lambda request, number: judged(request))
    [request], [head] = server.requests, server.heads
    assert head.startswith("POST /v1/systemone ")
    assert "authorization: bearer sk-of-the-test-0123456789" in head.lower()
    assert set(request["state"]) == {"rubric", "article"}
    assert "A bridge fell." in request["state"]["article"]
    assert list(request["questions"]) == list(NAMES)
    assert request["questions"]["reach"]["criteria"][2] == "4 (3 to 4: minor)"


@both
def test_other_levels_can_be_set(spec):
    levels = (0.0, 5.0, 10.0)
    server, [reply] = ask(spec, lambda request, number: said(spec, request, (0.5, 0.3, 0.2)), levels=levels)
    assert reply.scores["reach"] == 3.5
    assert "?levels=0,5,10" in open_oracle(spec, Settings(base_url=server.url, levels=levels)).model


def test_probabilities_of_decisions_are_found_by_label_whatever_their_order():
    def reversed_levels(answers):
        return [answer | {"probabilities": answer["probabilities"][::-1]} for answer in answers]

    _, [reply] = ask("decisions:m", lambda request, number: decided(request, change=reversed_levels))
    assert reply.scores["reach"] == 4.6


def test_a_dimension_that_is_refused_is_masked_and_a_refusal_of_all_is_a_failure():
    refusal = {"type": "refusal", "name": None}
    one = outcome_of("decisions:m", lambda request, number: decided(request, change=lambda all_: [refusal, *all_[1:]]))
    assert one.scores == dict.fromkeys(NAMES, 4.6) | {NAMES[0]: None}
    assert NAMES[0] not in one.distributions
    every = outcome_of("decisions:m", lambda request, number: decided(request, change=lambda all_: [refusal] * 8))
    assert (every.reason, every.charged, every.tokens_in) == ("refused", "tokens", 900)


def changed(spec, **facts):
    """Return a script that answers well except for these facts of the second dimension's answer."""

    def change(answers):
        if isinstance(answers, dict):
            return answers | {"reach": answers["reach"] | facts}
        return [answers[0], answers[1] | facts, *answers[2:]]

    return lambda request, number: said(spec, request, change=change)


@pytest.mark.parametrize(
    ("spec", "script", "message"),
    [
        ("decisions:m", changed("decisions:m", type="predicate"), "reach: the answer is a 'predicate'"),
        ("systemone:m", changed("systemone:m", type="noul"), "reach: the answer is a 'noul'"),
        ("decisions:m", changed("decisions:m", name="range"), "question reach is for 'range'"),
        ("decisions:m", changed("decisions:m", probabilities=[{"label": "0"}] * 2), "reach: a level has no label"),
        ("decisions:m", changed("decisions:m", probabilities=[{"label": "0", "probability": 1}]), "reach: no prob"),
        ("systemone:m", changed("systemone:m", probabilities={"0": 1.0}), "for the levels 0, exp"),
        (
            "systemone:m",
            changed("systemone:m", probabilities={str(place): 0.4 for place in range(6)}),
            "reach: the probabilities sum to 2.4, expected 1",
        ),
        ("decisions:m", lambda asked, number: decided(asked, change=lambda all_: all_[1:]), "7 answers to 8 questions"),
        (
            "systemone:m",
            lambda request, number: judged(request, change=lambda all_: {"reach": all_["reach"]}),
            "no answer to the question human_harm",
        ),
        ("decisions:m", lambda request, number: decided(request, change=lambda all_: {}), "no answers in the answer"),
        ("systemone:m", lambda request, number: judged(request, change=lambda all_: []), "no answers in the answer"),
    ],
)  # fmt: skip
def test_an_answer_that_breaks_the_protocol_names_the_question(spec, script, message):
    failure = outcome_of(spec, script)
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.charged, failure.of_server) == ("malformed", "tokens", True)
    assert message in failure.detail


TOLD = {"error_type": "api_usage_error", "message": "Unknown model: m"}
FAULT = {"loc": ["body", "questions", "reach", "score", "criteria"], "msg": "at most 5 items", "type": "too_long"}


@pytest.mark.parametrize(
    ("spec", "answer", "reason", "charged", "message"),
    [
        ("decisions:m", error(404, "Not Found"), "not_allowed", "nothing", "does not answer /decisions"),
        ("systemone:m", error(404, "Not Found"), "not_allowed", "nothing", "does not answer /v1/systemone"),
        ("decisions:m", error(404, "The model 'm' does not exist"), "not_allowed", "nothing", "not exist"),
        ("decisions:m", error(400, "Unsupported model"), "not_allowed", "nothing", "the model 'm' is not served"),
        ("systemone:m", Answer(400, json.dumps({"detail": TOLD}).encode()), "not_allowed", "nothing", "Unknown model"),
        ("systemone:m", Answer(422, json.dumps({"detail": [FAULT]}).encode()), "bad_request", "nothing",
         "questions.reach.score.criteria: at most 5 items; set other levels, as in systemone:m?levels=0,5,10"),
        ("decisions:m", error(400, "too many levels"), "bad_request", "nothing", "decisions:m?levels=0,5,10"),
        *((spec, error(401, "bad key"), "not_allowed", "nothing", "bad key") for spec in SPECS),
        *((spec, error(402, "no money"), "quota", "nothing", "no money") for spec in SPECS),
        *((spec, error(429, "slow", retry_after="7"), "rate_limited", "nothing", "slow") for spec in SPECS),
        *((spec, error(500, "oops"), "server", "unknown", "oops") for spec in SPECS),
        *((spec, error(302, "-", location="http://e.it/"), "not_allowed", "nothing", "e.it") for spec in SPECS),
        *((spec, Answer(body=b"<html>"), "malformed", "unknown", "not JSON") for spec in SPECS),
        *((spec, Answer(body=b"[]"), "malformed", "unknown", "not a JSON object") for spec in SPECS),
        *((spec, Answer(body=b'{"answers": NaN}'), "malformed", "unknown", "no answers") for spec in SPECS),
        *((spec, Answer(reset=True), "connection", "unknown", "") for spec in SPECS),
    ],
)  # fmt: skip
def test_each_fault_of_a_server_has_its_name(spec, answer, reason, charged, message):
    failure = outcome_of(spec, answer)
    assert (failure.reason, failure.charged) == (reason, charged)
    assert message in failure.detail
    assert failure.retry_after == (7 if reason == "rate_limited" else None)


@both
def test_an_answer_that_never_ends_is_a_timeout(spec):
    _, [failure] = ask(spec, lambda request, number: Answer(body=b"{}", stall=True), timeout=0.3)
    assert (failure.reason, failure.charged) == ("timeout", "unknown")


@both
def test_an_answer_without_usage_has_no_counts(spec):
    reply = outcome_of(spec, lambda request, number: said(spec, request, usage=False))
    assert (reply.tokens_in, reply.scores["reach"]) == (None, 4.6)


@pytest.mark.parametrize(("spec", "variable"), [("decisions:m", "OPENAI_API_KEY"), ("systemone:m", "TYPESAFE_API_KEY")])
def test_the_key_is_needed_for_the_own_address_and_never_shown(spec, variable, monkeypatch):
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(OracleError, match=variable):
        open_oracle(spec)
    monkeypatch.setenv(variable, "sk-of-the-test-0123456789")
    failure = outcome_of(spec, error(401, "wrong key sk-of-the-test-0123456789"))
    assert "0123456789" not in failure.detail
    assert "[redacted]" in failure.detail


@both
def test_settings_that_these_servers_do_not_have_are_refused(spec):
    with pytest.raises(BadInput, match=r"got the setting 'temperature', which .* does not have"):
        open_oracle(spec, Settings(base_url="http://127.0.0.1:9", temperature=0.0))


def test_levels_are_refused_for_other_providers():
    with pytest.raises(BadInput, match="levels are set for decisions:MODEL and systemone:MODEL only"):
        open_oracle("openai:m", Settings(base_url="http://127.0.0.1:9", levels=(0.0, 10.0)))


def test_levels_off_the_scale_are_refused_before_anything_is_asked():
    oracle = open_oracle("decisions:m", Settings(base_url="http://127.0.0.1:9", levels=(0.0, 5.0)))
    with pytest.raises(BadInput, match="expected levels from 0 to 10"):
        oracle.prepare(PROMPT)


def test_a_library_without_the_decisions_api_says_how_to_upgrade(monkeypatch):
    openai = pytest.importorskip("openai")
    monkeypatch.delattr(openai.AsyncOpenAI, "decisions")
    with pytest.raises(OracleError, match="has no decisions API; run: pip install --upgrade openai"):
        open_oracle("decisions:m", Settings(base_url="http://127.0.0.1:9"))


def at_the_reference(model="jev-latest", **faults):
    """Ask the reference server of the System One protocol, which can break each of its requirements."""
    mock = pytest.importorskip("jevcompat.mock")

    async def asked(url):
        oracle = open_oracle(f"systemone:{model}", Settings(base_url=url, timeout=10.0))
        try:
            return await oracle.ask(oracle.questions(Prompt.of(PROMPT.filter)).request("a", "A bridge fell."))
        except Failure as failure:
            return failure
        finally:
            await oracle.close()

    with mock.Running(mock.MockConfig(**faults)) as server:
        return asyncio.run(asked(server.url))


def test_the_reference_server_answers():
    reply = at_the_reference()
    body = json.loads(reply.raw)["answers"]
    # Its scores are positions of levels, which are two points apart.
    assert reply.scores == pytest.approx({name: 2 * body[name]["score"] for name in NAMES}, abs=1e-4)
    assert reply.tokens_in == json.loads(reply.raw)["usage"]["input_tokens"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("score-keys-1-based", "probabilities for the levels 1, 2, 3, 4, 5, 6, expected 0 to 5"),
        ("score-sum", "human_harm: the probabilities sum to 0.8, expected 1"),
        ("first-question-only", "no answer to the question reach"),
        (
            "cap-5-levels",
            "criteria: List should have at most 5 items after validation, not 6, and 7 more faults; set other levels",
        ),
        ("wrong-route", "does not answer /v1/systemone"),
        ("xssi-200", "not JSON"),
        ("reject-jev-latest", "Model not served: jev-latest"),
    ],
)
def test_a_fault_of_the_reference_server_is_named(fault, message):
    assert message in at_the_reference(faults=frozenset({fault})).detail


@pytest.mark.parametrize("fault", ["score-argmax", "score-no-legend", "legend-1-based", "confidence-over", "no-usage"])
def test_faults_in_what_is_not_read_do_not_matter(fault):
    assert at_the_reference(faults=frozenset({fault})).scores == at_the_reference().scores


def test_a_key_that_the_reference_server_does_not_know_is_refused(monkeypatch):
    monkeypatch.setenv("TYPESAFE_API_KEY", "sk-of-the-test-0123456789")
    assert at_the_reference(key="another-key-entirely").reason == "not_allowed"
    assert at_the_reference(key="sk-of-the-test-0123456789").scores
