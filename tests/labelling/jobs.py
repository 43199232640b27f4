"""Helpers for the tests of batch jobs of any provider: labelling, reading labels, and a process to kill."""

import os
import subprocess
import sys
from pathlib import Path

from scripted_oracle import FRONT_PAGE, stories

from potstill.labelling import Batching, Ledger, label
from potstill.oracle import Settings, open_oracle

HERE = Path(__file__).parent

CHILD = """
import sys
from types import SimpleNamespace
from jobs import buy
address, ledger, spec, count, size = sys.argv[1:]
summary = buy(SimpleNamespace(url=address), ledger, int(count), spec=spec, size=int(size))
sys.exit(3 if summary.fatal else 0)
"""


def buy(server, ledger, count=7, *, spec="openai:tiny", size=3, drop=(), **how):
    """Label a number of stories with batch jobs at this server."""
    oracle = open_oracle(spec, Settings(base_url=server.url))
    return label(ledger, stories(count), FRONT_PAGE, oracle, batch=Batching(size, 0.01, drop), **how)


def labels(path):
    """Return each article's score in the first dimension, and check that no job is pending."""
    with Ledger(path) as ledger:
        found = ledger.labels(FRONT_PAGE)
        assert ledger.jobs() == []
        return dict(zip(found["article"], found[f"y_{FRONT_PAGE.dimension_names[0]}"], strict=True))


def under_way(path):
    """Return the names of pending jobs; None for one that has no name yet."""
    with Ledger(path) as ledger:
        return [job.job for job in ledger.jobs()]


def child(server, ledger, count=7, *, spec="openai:tiny", size=3):
    """Start the work of `buy` in a process that can be killed."""
    command = [sys.executable, "-c", CHILD, server.url, str(ledger), spec, str(count), str(size)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": f"{HERE.parent}:{HERE}"})


def story_in(text):
    """Return the number of the story in a question's text."""
    return int(text.split("Story ")[1].split(".")[0])
