"""Batch labelling that is killed 50 times: what the ledger holds in the end, and what was paid for twice.

In: `tests/batch_server.py`, which speaks `/files` and `/batches` on loopback and counts how often each question was in
a job that was started. Out: `results/batch_kills.json`. The process that labels is killed with SIGKILL at a request
drawn by chance, be it an upload, a start, a search or a look. What happens is drawn too: the request is done, or not,
and its answer never comes; or it comes, and the kill up to 50 ms later, wherever the process is then. Half of the
kills run against a server that keeps the tag of a job, half against one that does not.

Run: `python benchmarks/batch_kills.py` (some minutes).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "labelling")]

from batch_server import BatchServer, line  # noqa: E402 - the tests' own server
from jobs import buy, child, story_in  # noqa: E402 - and processes
from scripted_oracle import FRONT_PAGE, good  # noqa: E402

from potstill.files import write_json  # noqa: E402
from potstill.labelling import Ledger  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "batch_kills.json"
SIZE = 4
KINDS = {
    "POST /v1/files": "uploads",
    "POST /v1/batches": "starts",
    "GET /v1/batches": "searches for a job whose name was lost",
    "GET /v1/batches/": "looks at a job",
    "GET /v1/files/": "reads of a job's answers",
}


def answer(question: dict[str, Any], times: int) -> dict[str, Any] | None:
    """The story's number as its score, at the first try for most: the rest fail, expire or can't be read once."""
    number = story_in(question["body"]["messages"][-1]["content"])
    if times == 1 and number % 10 == 3:
        return line(question["custom_id"], "no JSON at all")
    if times == 1 and number % 10 == 7:
        return None
    return line(question["custom_id"], good(number % 11 + 0.0))


def killed(folder: Path, kills: int, *, keeps_tags: bool, seed: int) -> dict[str, Any]:
    """So many kills while labelling eight times as many stories, against an unbroken run."""
    chance = random.Random(seed)
    count = 8 * kills
    hits: Counter[str] = Counter()
    fates: Counter[str] = Counter()
    children: list[Any] = []
    doomed: list[Any] = []
    due = 3

    def before(number: int, request: str) -> str | None:
        """Kill whoever asks, when it is time."""
        nonlocal due
        process = children[-1]
        if len(children) > kills or number < due or process in doomed:
            return None
        doomed.append(process)
        due = number + chance.randint(1, 14)
        path = request.partition("?")[0]
        hits[KINDS.get(path) or KINDS[f"{path.removesuffix('/content').rpartition('/')[0]}/"]] += 1
        fate = chance.choice(["done, without an answer", "not done", "done, and killed later"])
        fates[fate] += 1
        if fate == "done, and killed later":
            threading.Timer(chance.uniform(0.0, 0.05), process.kill).start()
            return None
        process.kill()
        return "undone" if fate == "not done" else "done"

    with BatchServer(answer, keeps_tags=keeps_tags, before=before) as server:
        while not children or children[-1].returncode != 0:
            children.append(child(server, folder / "killed.sqlite", count, size=SIZE))
            children[-1].wait(300)
            assert children[-1].returncode in {0, -9}
    with BatchServer(answer, keeps_tags=keeps_tags) as whole:
        buy(whole, folder / "whole.sqlite", count, size=SIZE)
    with Ledger(folder / "killed.sqlite") as ours, Ledger(folder / "whole.sqlite") as theirs:
        return {
            "server_keeps_tags": keeps_tags,
            "articles": count,
            "kills": sum(process.returncode == -9 for process in children),
            "kills_by_request": dict(sorted(hits.items())),
            "the_request_was": dict(sorted(fates.items())),
            "jobs": len(server.sizes),
            "jobs_of_the_unbroken_run": len(whole.sizes),
            "questions_paid": sum(server.paid.values()),
            "questions_paid_by_the_unbroken_run": sum(whole.paid.values()),
            "questions_paid_twice": sum(server.paid.values()) - sum(whole.paid.values()),
            "each_question_paid_as_often": server.paid == whole.paid,
            "labels": ours.labels(FRONT_PAGE).height,
            "labels_equal": ours.labels(FRONT_PAGE).equals(theirs.labels(FRONT_PAGE)),
            "failures_equal": failures(ours) == failures(theirs),
            "spent_equal": ours.spent() == theirs.spent(),
            "jobs_left_under_way": len(ours.jobs()),
        }


def failures(ledger: Ledger) -> list[tuple[str, ...]]:
    """Each failure's article and reason, sorted."""
    return sorted(ledger.failures().select("article", "reason").rows())


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULTS)
    told = parser.parse_args()
    runs = []
    for keeps_tags in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            kills = told.kills // 2 + (keeps_tags and told.kills % 2)
            runs.append(killed(Path(folder), kills, keeps_tags=keeps_tags, seed=int(keeps_tags)))
        print(json.dumps(runs[-1], indent=2), flush=True)
    found = {
        "kills": sum(run["kills"] for run in runs),
        "questions_paid_twice": sum(run["questions_paid_twice"] for run in runs),
        "ledgers_equal": all(run["labels_equal"] and run["failures_equal"] and run["spent_equal"] for run in runs),
        "runs": runs,
    }
    write_json(told.out, found)


if __name__ == "__main__":
    main()
