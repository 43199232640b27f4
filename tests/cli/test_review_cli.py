"""Tests of the command `potstill review`."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

from reviewed import labelled_run, opinions
from typer.testing import CliRunner

from potstill.cli import build
from potstill.pipeline.review import Review


def test_the_agreement_is_printed_without_a_page(tmp_path):
    run = labelled_run(tmp_path)
    with Review.of(run, "Ann") as review:
        review.judge("a1", opinions(1))
        review.judge("a2", {"wind": 3.0, "rain": 9.0})
    words = ["review", str(run.folder), "--reviewer", "Ann", "--summary"]
    out = CliRunner().invoke(build(), words).stdout
    assert out.startswith("2 of 20 articles reviewed, 1 corrected\nAnn and replay:mild: mean difference 0.500 (")
    assert "over 2 articles, bias +0.500; largest difference in wind, 1.000; same tier 50%" in out
    found = json.loads(CliRunner().invoke(build(), [*words, "--json"]).stdout)
    assert (found["judged"], found["corrected"], found["agreement"][0]["rows"]) == (2, 1, 2)


def test_the_page_is_served_until_it_is_interrupted(tmp_path):
    run = labelled_run(tmp_path)
    # Shells start background jobs with interrupts ignored, and a test run may be one.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code = f"{listening}from potstill.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "review", str(run.folder), "--reviewer", "Ann"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    try:
        assert process.stderr.readline().startswith("20 articles to review, 0 reviewed")
        url = re.search(r"http://127\.0\.0\.1:\d+/\?key=\S+", process.stderr.readline()).group()
        with urllib.request.urlopen(url, timeout=30) as page:
            assert b"<title>Review of weather</title>" in page.read()
    finally:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "0 of 20 articles reviewed, 0 corrected\n")
