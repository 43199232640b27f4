"""Tests of labelling with Gemini's batches, against a real server on loopback."""

import json
import re
from collections import Counter
from functools import partial

import jobs
import pytest
from batch_server import BatchServer
from jobs import labels, story_in, under_way
from scripted_oracle import good

from potstill.errors import LabelError
from potstill.labelling import Ledger, Limits, Price
from potstill.labelling.budget import TRILLION


class GeminiBatchServer(BatchServer):
    """Answers each question of a batch by `script(number, times)`: its `response` or `error`, or None for neither."""

    keeps_keys, keyless = True, None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, method, path, body, kind):
        if method == "POST":
            assert path.endswith("/models/flash:batchGenerateContent")
            batch = json.loads(body)["batch"]
            return self.start(batch["displayName"], batch["inputConfig"]["requests"]["requests"])
        if path.endswith("/batches"):
            # A page has two jobs.
            at = int(self.line.partition("pageToken=")[2].partition("&")[0] or 0)
            more = {"nextPageToken": str(at + 2)} if at + 2 < len(self.jobs) else {}
            return {"operations": list(self.jobs.values())[at : at + 2]} | more
        return self.look(self.jobs[path.partition("/batches/")[2]])

    def start(self, tag, questions):
        self.paid.update(number_of(question) for question in questions)
        self.sizes.append(len(questions))
        name = f"b{len(self.jobs)}"
        self.files[name], self.seen = questions, questions
        self.jobs[name] = {"name": f"batches/{name}", "metadata": {"displayName": tag, "state": "BATCH_STATE_RUNNING"}}
        return self.jobs[name]

    def look(self, job):
        if self.looks > 0:
            self.looks -= 1
        elif "output" not in job["metadata"]:
            questions = self.files[job["name"].removeprefix("batches/")]
            answers = [(one["metadata"], self.script(number_of(one), self.paid[number_of(one)])) for one in questions]
            keeps = self.keeps_keys and job["name"] != self.keyless
            lines = [({"metadata": key} if keeps else {}) | answer for key, answer in answers if answer]
            job["metadata"]["output"] = {"inlinedResponses": {"inlinedResponses": lines[::-1]}}
            job["metadata"]["state"] = "BATCH_STATE_SUCCEEDED"
        return job


def number_of(question):
    return story_in(question["request"]["contents"][-1]["parts"][0]["text"])


def said(text, finish="STOP"):
    usage = {"promptTokenCount": 100, "candidatesTokenCount": 15, "thoughtsTokenCount": 5}
    parts = [{"text": "Hmm.", "thought": True}, {"text": text}]
    return {"response": {"candidates": [{"content": {"parts": parts}, "finishReason": finish}], "usageMetadata": usage}}


def right(number, times):
    return said(good(float(number)))


buy = partial(jobs.buy, spec="gemini:flash", price=Price(10, 100))


def test_labels_come_in_batches_at_half_the_price(tmp_path):
    with GeminiBatchServer(right) as server:
        summary = buy(server, tmp_path / "l")
    assert (summary.wanted, summary.bought, summary.stopped) == (7, 7, None)
    assert summary.cost == pytest.approx(7 * (100 * 5 + 20 * 50) / 1e6)
    assert server.sizes == [3, 3, 1]
    assert labels(tmp_path / "l") == {f"a{i}": float(i) for i in range(7)}
    assert "responseJsonSchema" in server.seen[0]["request"]["generationConfig"]


def test_failed_ones_are_sent_again_and_no_failure_becomes_a_score(tmp_path):
    faults = {
        1: said("no JSON at all"),
        2: said(good(11)),
        3: {"error": {"code": 13, "message": "internal"}},
        4: {"error": {"code": 4, "message": "deadline exceeded"}},
        5: None,
    }

    def script(number, times):
        return faults[number] if times == 1 and number in faults else right(number, times)

    with GeminiBatchServer(script) as server:
        summary = buy(server, tmp_path / "l")
    assert (summary.bought, summary.failed) == (7, {})
    with Ledger(tmp_path / "l") as ledger:
        assert sorted(ledger.failures()["reason"]) == ["malformed", "out_of_range", "server", "server", "server"]
    assert Counter(server.paid.values()) == {1: 2, 2: 5}
    assert labels(tmp_path / "l") == {f"a{i}": float(i) for i in range(7)}


def test_answers_without_keys_stop_it_and_are_not_bought_again(tmp_path):
    with GeminiBatchServer(right) as server:
        server.keeps_keys = False
        said = buy(server, tmp_path / "l").stopped
        assert "do not state which questions" in said
        assert said.endswith("abandon a job with --drop-job (in progress: batches/b0, batches/b1, batches/b2)")
        assert buy(server, tmp_path / "l").fatal
    assert set(server.paid.values()) == {1}


def test_a_job_that_cannot_be_awaited_is_given_up_at_its_worst_price(tmp_path, capsys):
    with GeminiBatchServer(right) as server:
        server.keeps_keys = False
        buy(server, tmp_path / "l", 3)
        with pytest.raises(LabelError, match=r"no job b9 is in progress; in progress: batches/b0$"):
            buy(server, tmp_path / "l", 3, drop=("batches/b0", "b9"))
        assert under_way(tmp_path / "l") == ["batches/b0"]
        server.keeps_keys = True
        summary = buy(server, tmp_path / "l", 3, drop=("batches/b0",))
    assert (summary.bought, summary.stopped) == (3, None)
    assert set(server.paid.values()) == {2}
    with Ledger(tmp_path / "l") as ledger:
        assert list(ledger.failures()["reason"]) == ["dropped"] * 3
        spent = ledger.spent().cost / TRILLION
    said = " ".join(capsys.readouterr().err.split())
    assert "abandoned: batches/b0, with 3 questions; those that the provider still answers are billed" in said
    [counted] = re.findall(r"They are counted at their maximum cost, \$(\S+)\.", said)
    assert spent == pytest.approx(float(counted) + summary.cost, abs=1e-4)


def test_one_job_that_cannot_be_awaited_holds_up_no_other(tmp_path):
    with GeminiBatchServer(right, looks=0) as server:
        server.keyless = "batches/b0"
        said = buy(server, tmp_path / "l").stopped
        assert said.endswith("abandon a job with --drop-job (in progress: batches/b0)")
        summary = buy(server, tmp_path / "l", drop=("batches/b0",))
    assert (summary.already, summary.bought) == (4, 3)
    assert sorted(server.paid.values()) == [1] * 4 + [2] * 3
    assert labels(tmp_path / "l") == {f"a{i}": float(i) for i in range(7)}


def test_what_was_given_up_counts_against_the_cap(tmp_path):
    with GeminiBatchServer(right) as server:
        server.keeps_keys = False
        buy(server, tmp_path / "l", 3)
        server.keeps_keys = True
        summary = buy(server, tmp_path / "l", 3, drop=("batches/b0",), limits=Limits(max_calls=5))
    assert summary.bought == 2
    assert summary.stopped == "the limit is reached: --max-calls 5"


def test_a_batch_whose_name_was_lost_is_found_again(tmp_path):
    """The server has started the batch, and the process is killed before it gets the response."""
    killed = []

    def before(number, request):
        if request.startswith("POST") and len(server.jobs) == 2 and not killed:
            killed.append(number)
            child.kill()
            return "done"
        return None

    with GeminiBatchServer(right, before=before) as server:
        child = jobs.child(server, tmp_path / "l", spec="gemini:flash")
        child.wait(120)
        assert sorted(name or "" for name in under_way(tmp_path / "l")) == ["", "batches/b0", "batches/b1"]
        summary = buy(server, tmp_path / "l")
    assert (summary.already, summary.bought) == (7, 0)
    assert sorted(server.paid.values()) == [1] * 7
    assert labels(tmp_path / "l") == {f"a{i}": float(i) for i in range(7)}
