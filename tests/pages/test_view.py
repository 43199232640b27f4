"""Tests of `potstill view` with requests like a browser's, and with invalid ones."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from html import unescape
from urllib.parse import urlsplit

import pytest
from evaluated_run import bundled_run, evaluated_run
from serving import exchange, head, running

from potstill.errors import RunError
from potstill.evaluation.whatif import edited, what_if
from potstill.pages.view import open_view
from potstill.pipeline.predictions import read_predictions
from potstill.pipeline.run import Run
from potstill.report import write_report


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    run = evaluated_run(tmp_path_factory.mktemp("view"))
    write_report(run)
    return run.folder


@pytest.fixture
def server(folder):
    with open_view(Run.open(folder)) as server, running(server):
        yield server


def request(server, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    query = "" if headers.pop("without_key", False) else f"?{urlsplit(server.url).query}"
    if body is not None:
        headers["content-type"] = "application/json"
    connection.request(method, path + query, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_page_runs_its_own_script_and_no_other(server):
    status, page = request(server, "GET", "/")
    assert status == 200
    policy = page[page.index("Content-Security-Policy") : page.index("viewport")]
    assert "default-src &#x27;none&#x27;" in policy
    assert "sha256-" in policy
    assert "unsafe" not in policy
    assert page.count("<script") == 1


def policy_sent(server, line):
    headers = exchange(server, head(server, line, "Connection: close")).decode().split("\r\n\r\n")[0]
    return next(part.partition(": ")[2] for part in headers.splitlines() if part.startswith("content-security"))


def test_the_report_is_sent_with_its_own_policy_and_apart_from_the_articles(server, folder):
    sent = policy_sent(server, "GET /report?{key}")
    report = (folder / "report" / "report.html").read_text()
    assert unescape(re.search(r'Security-Policy" content="([^"]+)"', report)[1]) in sent
    assert sent.endswith("; frame-ancestors 'none'; sandbox allow-scripts")
    assert "unsafe-eval" not in sent
    assert "script-src 'sha256-" in sent


@pytest.mark.parametrize(
    "policy", ["default-src * 'unsafe-inline' 'unsafe-eval'", "script-src &#x27;sha256-short&#x27;"]
)
def test_a_report_that_does_not_name_its_script_is_shown_without_one(folder, tmp_path, capsys, policy):
    run = Run.open(shutil.copytree(folder, tmp_path / "run"))
    report = run.path("report") / "report.html"
    report.write_text(f'<meta http-equiv="Content-Security-Policy" content="{policy}">')
    with open_view(run) as server, running(server):
        assert "script-src 'none'" in policy_sent(server, "GET /report?{key}")
    assert capsys.readouterr().err.endswith("so its plots stay empty; run: potstill report\n")


def test_what_if_decides_the_stored_scores_again_and_names_what_moves(server, folder):
    body = {"settings": ["tiers.lead.when=overall >= 4.5"]}
    status, text = request(server, "POST", "/api/whatif", body)
    assert status == 200
    found = json.loads(text)
    run = Run.open(folder)
    expected = what_if(read_predictions(folder, run.filter), run.filter, edited(run.filter, body["settings"]))
    assert found["moved"] == expected.moved > 0
    assert found["after"] == expected.after.model_dump(mode="json")
    assert all(article["title"].startswith("Story") for article in found["articles"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"settings": ["weights.none=1"]}, "no dimension none"),
        ({"settings": "weights.gain=1"}, "settings"),
        ({"other": []}, "settings"),
        ({"settings": ["x"] * 101}, "settings"),
        ({"settings": ["tiers.lead.when=" + "(" * 1000 + "overall > 1"]}, "settings -> 0"),
        ({"settings": ["tiers.lead.when=" + "NOT " * 200 + "overall > 1"]}, "tiers.lead.when"),
        ({"settings": ["tiers.lead.when=overall >= nan"]}, "unknown name 'nan'"),
        ({"settings": ["gates.0.cap=nan"]}, "finite"),
        ({"settings": ["gates.\N{SUPERSCRIPT TWO}=off"]}, "no number"),
        ({"settings": ["gates." + "9" * 900 + "=off"]}, "no number"),
    ],
)
def test_settings_that_are_none_are_refused_with_the_reason(server, body, message):
    status, text = request(server, "POST", "/api/whatif", body)
    assert status == 422
    assert message in text


def test_articles_are_found_and_shown_with_evidence_and_both_scores(server, folder):
    _, found = request(server, "POST", "/api/articles", {"text": "story 7", "sort": "disagreement"})
    ids = [row["id"] for row in json.loads(found)["rows"]]
    assert "a7" in ids
    _, text = request(server, "POST", "/api/article", {"id": "a7"})
    article = json.loads(text)
    assert {"oracle", "student", "low", "high"} <= set(article["dimensions"][0])
    assert article["text"]
    assert "evidence" in article


def test_the_report_is_served_as_it_was_written(server, folder):
    assert request(server, "GET", "/report") == (200, (folder / "report" / "report.html").read_text())


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/../run.json", None, 404),
        ("GET", "/api/other", None, 404),
        ("POST", "/api/article", {"id": "nobody"}, 404),
        ("POST", "/api/article", {"id": 7}, 422),
        ("POST", "/api/articles", {"sort": "anything"}, 422),
        ("POST", "/api/articles", [], 422),
        ("POST", "/api/articles", None, 415),
        ("POST", "/api/articles", {"offset": 10**19}, 422),
        ("POST", "/api/articles", {"offset": -1}, 422),
        ("POST", "/api/articles", {"offset": "0"}, 422),
        ("POST", "/api/articles", {"offset": float("nan")}, 422),
        ("POST", "/api/articles", {"text": "x" * 501}, 422),
        ("POST", "/api/articles", {"facets": {str(i): "" for i in range(21)}}, 422),
        ("POST", "/api/articles", {"facets": {"source": None}}, 422),
        ("PUT", "/api/articles", {}, 405),
    ],
)
def test_other_questions_are_refused(server, method, path, body, status):
    assert request(server, method, path, body)[0] == status


def test_another_host_or_origin_or_a_missing_key_gets_nothing(server):
    assert request(server, "GET", "/report", host="evil.example")[0] == 403
    assert request(server, "POST", "/api/articles", {}, origin="http://evil.example")[0] == 403
    assert request(server, "GET", "/report", without_key=True)[0] == 403


def test_only_this_machine_is_served(server):
    assert server.server_address[0] == "127.0.0.1"


def test_a_run_that_is_not_evaluated_names_the_command(tmp_path):
    run = bundled_run(tmp_path, 40)
    with pytest.raises(RunError, match="potstill evaluate"):
        open_view(run)


def test_an_interrupt_ends_the_command_without_a_traceback(folder):
    command = [sys.executable, "-c", "from potstill.cli import main; main()", "view", str(folder)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with started:
        address = urlsplit(started.stdout.readline())
        connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=60)
        connection.request("GET", f"/?{address.query}")
        assert connection.getresponse().status == 200
        os.kill(started.pid, signal.SIGINT)
        _, err = started.communicate(timeout=60)
    assert started.returncode == 0
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 1
