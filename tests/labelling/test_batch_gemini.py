"""Labelling by Gemini's batches, against a real server on loopback."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from batch_server import BatchServer
from scripted_oracle import FRONT_PAGE, good, stories

from potstill.labelling import Batching, Ledger, Price, label
from potstill.oracle import Settings, open_oracle


class GeminiBatchServer(BatchServer):
    """Answers each question of a batch by `script(number, times)`, its `response` or `error`, or None for neither."""

    keeps_keys = True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, method, path, body, kind):
        if method == "POST":
            assert path.endswith("/models/flash:batchGenerateContent")
            batch = json.loads(body)["batch"]
            return self.start(batch["displayName"], batch["inputConfig"]["requests"]["requests"])
        if path.endswith("/batches"):
            # Two to a page.
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
            lines = [({"metadata": key} if self.keeps_keys else {}) | answer for key, answer in answers if answer]
            job["metadata"]["output"] = {"inlinedResponses": {"inlinedResponses": lines[::-1]}}
            job["metadata"]["state"] = "BATCH_STATE_SUCCEEDED"
        return job


def number_of(question):
    return int(question["request"]["contents"][-1]["parts"][0]["text"].split("Story ")[1].split(".")[0])


def said(text, finish="STOP"):
    usage = {"promptTokenCount": 100, "candidatesTokenCount": 15, "thoughtsTokenCount": 5}
    parts = [{"text": "Hmm.", "thought": True}, {"text": text}]
    return {"response": {"candidates": [{"content": {"parts": parts}, "finishReason": finish}], "usageMetadata": usage}}


def right(number, times):
    return said(good(float(number)))


def buy(server, ledger, count=7):
    oracle = open_oracle("gemini:flash", Settings(base_url=server.url))
    return label(ledger, stories(count), FRONT_PAGE, oracle, batch=Batching(3, 0.01), price=Price(10, 100))


def labels(path):
    with Ledger(path) as ledger:
        found = ledger.labels(FRONT_PAGE)
        assert ledger.jobs() == []
        return dict(zip(found["article"], found[f"y_{FRONT_PAGE.dimension_names[0]}"], strict=True))


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
        assert "do not say to which questions" in buy(server, tmp_path / "l").stopped
        assert buy(server, tmp_path / "l").fatal
    assert set(server.paid.values()) == {1}


HERE = Path(__file__).parent

CHILD = """
import sys
from test_batch_gemini import FRONT_PAGE, Batching, Settings, label, open_oracle, stories
oracle = open_oracle("gemini:flash", Settings(base_url=sys.argv[1]))
label(sys.argv[2], stories(7), FRONT_PAGE, oracle, batch=Batching(3, 0.01))
"""


def test_a_batch_whose_name_was_lost_is_found_again(tmp_path):
    """The server has begun the batch, and the process ends before it hears of it."""
    killed = []

    def before(number, request):
        if request.startswith("POST") and len(server.jobs) == 2 and not killed:
            killed.append(number)
            child.kill()
            return "done"
        return None

    with GeminiBatchServer(right, before=before) as server:
        command = [sys.executable, "-c", CHILD, server.url, str(tmp_path / "l")]
        child = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": f"{HERE.parent}:{HERE}"})
        child.wait(120)
        with Ledger(tmp_path / "l") as ledger:
            assert sorted(job.job or "" for job in ledger.jobs()) == ["", "batches/b0", "batches/b1"]
        summary = buy(server, tmp_path / "l")
    assert (summary.already, summary.bought) == (7, 0)
    assert sorted(server.paid.values()) == [1] * 7
    assert labels(tmp_path / "l") == {f"a{i}": float(i) for i in range(7)}
