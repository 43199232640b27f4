"""Tests that keys, custom headers and a proxy's password are in no file of a run and in no printed line.

Each test drives the three providers' clients, with single calls or jobs, against a server that quotes requests.
"""

import json
from base64 import b64encode
from urllib.parse import quote

import jobs
import pytest
from batch_server import BatchServer, line
from dialects import DIALECTS, sent
from message_batch_server import MessageBatchServer
from scripted_oracle import FRONT_PAGE, Clock, good, stories
from scripted_server import Answer, ScriptedServer
from test_batch_gemini import GeminiBatchServer
from typer.testing import CliRunner

from potstill.articles import open_writer
from potstill.cli import build
from potstill.labelling import Ledger, Limits, label
from potstill.oracle import Settings, open_oracle

KEY = "sk-proj-7Yb/Qz0AvKp9+M3xLw"
GOOD = good(5.0)
BASIC = b64encode(f"user:{KEY}".encode()).decode()

every_provider = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)

QUOTES = {
    "bare": f"Authorization: Bearer {KEY}",
    "json": json.dumps({"authorization": f"Bearer {KEY}"}).replace("/", "\\/"),
    "url": f"/v1?key={quote(KEY, safe='')}",
    "basic": f"Proxy-Authorization: Basic {BASIC}",
    # The part of a long text that is kept ends within the key.
    "cut": "x" * (300 - len("HTTP 400: ") - 12) + KEY,
}


def answers(dialect, quoted):
    """Return answers that contain the quotation."""
    evidence = json.dumps({"scores": json.loads(GOOD)["scores"], "evidence": quoted[-190:]})
    usage = dict.fromkeys(dialect.usage(1, 1), quoted)
    odd = json.dumps(dialect.body(GOOD, usage=(1, 1)))
    odd = odd.replace(json.dumps(dialect.usage(1, 1)), json.dumps(usage))
    return {
        "400": sent(dialect.error(400, quoted), 400),
        "401": sent(dialect.error(401, quoted), 401),
        "402": sent(dialect.error(402, quoted), 402),
        "404": sent(dialect.error(404, quoted), 404),
        "429": sent(dialect.error(429, quoted), 429),
        "500": sent(dialect.error(500, quoted), 500),
        "302": Answer(302, b"", {"location": f"/{quote(quoted, safe=':/ ')}"}),
        "no JSON": Answer(body=quoted.encode(), headers={"content-type": "text/html"}),
        "502 page": Answer(502, f"<pre>{quoted}</pre>".encode(), {"content-type": "text/html"}),
        "no answer": sent({"said": quoted}),
        "malformed": sent(dialect.body(f"I was sent {quoted}.")),
        "refused": sent(dialect.body(f"I will not. {quoted}", finish="refused")),
        "evidence": sent(dialect.body(evidence)),
        "thinking": sent(dialect.body(GOOD, thought=quoted)),
        "finish": sent(dialect.body(quoted, finish=quoted)),
        "usage": Answer(body=odd.encode()),
    }


MODES = tuple(answers(DIALECTS["openai"], ""))


def shown_in(folder, *texts, secrets=(KEY, BASIC)):
    """Return the files and texts that contain a secret, or most of one."""
    found = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found |= {f"text {number}": text.encode() for number, text in enumerate(texts)}
    parts = [part for secret in secrets for part in (secret[:14], secret[-14:])]
    parts += [json.dumps(part)[1:-1].replace("/", "\\/") for part in parts] + [quote(part, safe="") for part in parts]
    return [name for name, held in found.items() if any(part.encode() in held for part in parts)]


@every_provider
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", QUOTES)
@pytest.mark.by_example(5)
def test_no_file_of_a_run_and_no_line_holds_the_key(dialect, tmp_path, monkeypatch, capsys, mode, how):
    monkeypatch.setenv("MY_KEY", KEY)
    said = answers(dialect, QUOTES[how])[mode]
    with ScriptedServer(lambda *_: said) as server, Ledger(tmp_path / "l.sqlite") as ledger:
        settings = Settings(base_url=dialect.address(server), api_key_env="MY_KEY")
        oracle = open_oracle(dialect.spec, settings)
        summary = label(ledger, stories(2), FRONT_PAGE, oracle, limits=Limits(max_calls=7), pace=Clock().pace(8))
        assert server.requests
        shown = json.dumps(summary.as_dict(), ensure_ascii=False)
        assert shown_in(tmp_path, shown, capsys.readouterr().err) == []
    assert shown_in(tmp_path, shown) == []
    if mode == "evidence":
        assert summary.bought == 2


@every_provider
@pytest.mark.parametrize("mode", ["400", "401", "evidence"])
def test_a_run_folder_and_what_the_command_prints_do_not_hold_it(dialect, tmp_path, monkeypatch, mode):
    monkeypatch.setenv("MY_KEY", KEY)
    with open_writer(tmp_path / "news.jsonl") as writer:
        writer.write(stories(3))
    said = answers(dialect, QUOTES["bare"])[mode]
    with ScriptedServer(lambda *_: said) as server:
        words = ["label", tmp_path / "run", "--filter", "front-page", "--articles", tmp_path / "news.jsonl"]
        words += ["--oracle", f"{dialect.spec}@{dialect.address(server)}#MY_KEY"]
        words += ["--max-calls", "9", "--json"]
        done = CliRunner().invoke(build(), [str(word) for word in words])
    assert list((tmp_path / "run").rglob("ledger.sqlite"))
    assert shown_in(tmp_path, done.output, done.stderr, str(done.exception)) == []
    assert "[redacted]" in done.output + str(done.exception) or mode == "evidence"


@every_provider
def test_headers_that_a_person_has_set_are_not_kept(dialect, tmp_path):
    said = sent(dialect.error(400, "X-Team-Token: tok-9f8e7d6c5b4a and X-Title: news of my house"), 400)
    with ScriptedServer(lambda *_: said) as server, Ledger(tmp_path / "l.sqlite") as ledger:
        headers = {"X-Team-Token": "tok-9f8e7d6c5b4a", "X-Title": "news of my house"}
        oracle = open_oracle(dialect.spec, Settings(base_url=dialect.address(server), headers=headers))
        label(ledger, stories(1), FRONT_PAGE, oracle)
    assert shown_in(tmp_path, secrets=("tok-9f8e7d6c5b4a", "news of my house")) == []


@every_provider
def test_a_proxys_password_is_not_kept(dialect, tmp_path, monkeypatch):
    basic = b64encode(b"me:hunter2-of-the-proxy").decode()
    said = sent(dialect.error(400, f"I got Basic {basic} of http://me:hunter2-of-the-proxy@proxy"), 400)
    with ScriptedServer(lambda *_: said) as proxy, Ledger(tmp_path / "l.sqlite") as ledger:
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTP_PROXY", f"http://me:hunter2-of-the-proxy@127.0.0.1:{proxy.port}")
        oracle = open_oracle(dialect.spec, Settings(base_url="http://oracle.example/v1"))
        label(ledger, stories(1), FRONT_PAGE, oracle)
        assert proxy.requests
    assert shown_in(tmp_path, secrets=("hunter2-of-the-proxy", basic)) == []


@every_provider
def test_what_a_server_can_do_is_remembered_without_the_secrets_of_its_address(dialect, tmp_path):
    with ScriptedServer(lambda *_: sent(dialect.body(GOOD))) as server, Ledger(tmp_path / "l.sqlite") as ledger:
        address = dialect.address(server)
        oracle = open_oracle(dialect.spec, Settings(base_url=f"{address}?api-key=abcdefghijklmnop"))
        label(ledger, stories(1), FRONT_PAGE, oracle, limits=Limits(max_calls=3))
        assert ledger.recall(oracle.server) == oracle.abilities
    assert shown_in(tmp_path, secrets=("abcdefghijklmnop",)) == []


@pytest.mark.parametrize("how", QUOTES)
def test_jobs_at_openai_leave_it_nowhere(tmp_path, monkeypatch, how):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    quoted = QUOTES[how]
    evidence = json.dumps({"scores": json.loads(GOOD)["scores"], "evidence": quoted[-190:]})
    outcomes = [
        lambda key: line(key, evidence),
        lambda key: line(key, f"I was sent {quoted}."),
        lambda key: line(key, error=quoted),
        lambda key: line(key, status=400, body={"error": {"message": quoted}}),
    ]

    def script(question, times):
        return outcomes[jobs.story_in(question["body"]["messages"][-1]["content"]) % 4](question["custom_id"])

    with BatchServer(script) as server:
        summary = jobs.buy(server, tmp_path / "l", 8)
    assert summary.bought == 2
    assert shown_in(tmp_path, json.dumps(summary.as_dict())) == []


@pytest.mark.parametrize("how", QUOTES)
def test_jobs_at_anthropic_and_gemini_leave_it_nowhere(tmp_path, monkeypatch, how):
    quoted = QUOTES[how]
    for name in ("ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, KEY)

    def at_anthropic(question, times):
        body = DIALECTS["anthropic"].body(f"I was sent {quoted}.")
        wrong = {"type": "errored", "error": {"type": "error", "error": {"type": "api_error", "message": quoted}}}
        return wrong if times == 1 else {"type": "succeeded", "message": body}

    with MessageBatchServer(at_anthropic) as server:
        first = jobs.buy(server, tmp_path / "a", 2, spec="anthropic:claude")

    def at_gemini(number, times):
        body = DIALECTS["gemini"].body(f"I was sent {quoted}.")
        return {"error": {"code": 13, "message": quoted}} if times == 1 else {"response": body}

    with GeminiBatchServer(at_gemini) as server:
        second = jobs.buy(server, tmp_path / "g", 2, spec="gemini:flash")
    assert first.failed == second.failed == {"malformed": 2}
    assert shown_in(tmp_path, json.dumps(first.as_dict()), json.dumps(second.as_dict())) == []


def test_a_job_whose_name_holds_the_key_is_not_written_down(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    class Quoting(BatchServer):
        def start(self, asked):
            return super().start(asked) | {"id": f"batch-{KEY}"}

    with Quoting(lambda question, times: None) as server:
        summary = jobs.buy(server, tmp_path / "l", 2)
    assert summary.fatal
    assert "contains the API key" in summary.stopped
    assert shown_in(tmp_path, summary.stopped) == []
