"""Tests of commands with an oracle in an environment without working calls: one line, exit code 2, no secret."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from scripted_server import ScriptedServer
from tiny_bundle import FILTER, articles, tfidf_bundle

from potstill.filters import save_filter

VARIABLES = {
    "openai": ("OPENAI_API_KEY", "OPENAI_BASE_URL"),
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL"),
}
COMMANDS = ("label", "label --batch", "bakeoff", "evaluate-fresh", "audit", "score")


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """A filter, a bundle, news, labels of them, and news that the prefilter drops."""
    folder = tmp_path_factory.mktemp("things")
    save_filter(FILTER, folder / "filter")
    tfidf_bundle(folder / "bundle")
    frame, scores = articles(40, seed=7)
    rows = list(frame.iter_rows(named=True))
    dropped = [{"id": f"d{i}", "title": "Code", "content": f"git clone number {i}"} for i in range(3)]
    answers = [
        {"id": row["id"], "scores": dict(zip(FILTER.dimension_names, each, strict=True))}
        for row, each in zip(rows, np.round(scores, 1).tolist(), strict=True)
    ]
    for name, what in (("news", rows), ("dropped", dropped), ("answers", answers)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in what))
    return folder


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    known = {"SSL_CERT_FILE", "GOOGLE_API_KEY", *(name for pair in VARIABLES.values() for name in pair)}
    for name in list(os.environ):
        if name in known or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for key, _ in VARIABLES.values():
        monkeypatch.setenv(key, "k3y")


def words_of(command, provider, things, out):
    """Return the arguments of a command that queries this provider's oracle."""
    news, oracle = things / "news.jsonl", f"{provider}:m"
    return {
        "label": ["label", out / "run", "--filter", things / "filter", "--articles", news, "--oracle", oracle],
        "label --batch": ["label", out / "run", "--filter", things / "filter", "--articles", news, "--oracle", oracle,
                          "--batch", "--poll", "0.01"],
        "bakeoff": ["bakeoff", out / "run", "--filter", things / "filter", "--articles", news, "--oracle", oracle,
                    "--oracle", f"replay:{things / 'answers.jsonl'}"],
        "evaluate-fresh": ["evaluate-fresh", things / "bundle", "--articles", news, "-n", "10", "-o", out / "fresh",
                     "--oracle", oracle],
        "audit": ["audit", "--labels", things / "answers.jsonl", "--articles", news, "--filter", things / "filter",
                  "--drop-from", things / "dropped.jsonl", "--drop-sample", "2", "--no-learn", "--out", out / "audit",
                  "--oracle", oracle],
        "score": ["score", things / "bundle", news, "-o", out / "scored.jsonl", "--ledger", out / "asked.sqlite",
                  "--max-calls", "50", "--oracle", oracle],
    }[command]  # fmt: skip


def potstill(words):
    """Run a command, and return its stderr and exit code."""
    program = [sys.executable, "-c", "from potstill.cli import main; main()", *map(str, words)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return done.stderr, done.returncode


FAULTS = {
    "key": ("\u201csk-s3cret\u201d", "{key}: contains the character U+201C"),
    "key with a line break": ("sk-s3cret\n", "{key}: contains a line break"),
    "address": ("http://ann:s3cret@127.0.0.1:88999", "{address}: "),
    "address without a scheme": ("127.0.0.1:9/v1", "{address}: expected an address that begins with http://"),
    "all_proxy": ("socks://ann:s3cret@127.0.0.1:9", "all_proxy: a socks:// proxy cannot be used"),
    "HTTPS_PROXY": ("http://ann:s3cret@[::1", "HTTPS_PROXY: the host in brackets is not an IPv6 address"),
    "SSL_CERT_FILE": ("/nowhere/certificates.pem", "SSL_CERT_FILE: /nowhere/certificates.pem: No such file"),
}


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        # Each fault is tested once, each with another command; the long tests try every pair.
        pytest.param(command, fault, marks=[] if (i - j) % len(COMMANDS) == 0 else [pytest.mark.long])
        for i, command in enumerate(COMMANDS)
        for j, fault in enumerate(FAULTS)
    ],
)
@pytest.mark.by_example(2)
def test_a_fault_of_the_environment_is_one_line_that_names_its_variable(
    command, fault, things, tmp_path, monkeypatch, capsys
):
    # All commands open oracles with the same function; each fault is tested with another provider.
    provider = sorted(VARIABLES)[(list(FAULTS).index(fault) + COMMANDS.index(command)) % 3]
    key, address = VARIABLES[provider]
    value, expected = FAULTS[fault]
    monkeypatch.setenv(address, "http://127.0.0.1:9")
    monkeypatch.setenv({"key": key, "address": address}.get(fault.split()[0], fault), value)
    stderr, code = potstill(words_of(command, provider, things, tmp_path))
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert (len(lines), code) == (1, 2), stderr
    assert lines[0].startswith(f"error: {expected.format(key=key, address=address)}")
    assert stderr.endswith(f"{lines[0]}\n")
    assert "s3cret" not in stderr


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.by_example(3)
def test_a_proxy_that_is_not_there_is_one_line_that_names_its_variable_without_the_password(
    command, things, tmp_path, monkeypatch, capsys
):
    provider = sorted(VARIABLES)[COMMANDS.index(command) % 3]
    monkeypatch.setenv(VARIABLES[provider][1], "http://example.invalid/v1")
    monkeypatch.setenv("http_proxy", "http://ann:s3cret@127.0.0.1:9")
    stderr, code = potstill(words_of(command, provider, things, tmp_path))
    assert code == 2
    assert "the proxy http://127.0.0.1:9 from http_proxy" in stderr.splitlines()[-1]
    assert "s3cret" not in stderr
    assert len(stderr.splitlines()[-1]) < 400


@pytest.mark.parametrize(
    "oracle", ["openai:m@127.0.0.1:9/v1", "openai:m@ftp://ann:s3cret@x/v1", "openai:m@http://x:88999"]
)
def test_an_address_of_a_bake_offs_own_is_looked_at_too(oracle, things, tmp_path, monkeypatch, capsys):
    words = words_of("bakeoff", "openai", things, tmp_path)
    words[words.index("openai:m")] = oracle
    stderr, code = potstill(words)
    assert (code, stderr.count("\n")) == (2, 1)
    assert stderr.startswith("error: --oracle openai:m@: ")
    assert "s3cret" not in stderr


def test_a_models_own_name_may_hold_an_at_sign(things, tmp_path, monkeypatch, capsys):
    with ScriptedServer(lambda request, number: None) as server:
        words = words_of("bakeoff", "openai", things, tmp_path)
        words[words.index("openai:m")] = f"openai:m@20250219@{server.url}"
        program = [sys.executable, "-c", "from potstill.cli import main; main()", *map(str, words), "--plan"]
        done = subprocess.run(program, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert "openai:m@20250219:" in done.stdout
        assert server.requests == []
