"""Labelling when things go wrong: faults of every kind, storms, kills and a cost limit, against servers on loopback.

In: scripted servers (`tests/scripted_server.py`). Out: `results/labelling_faults.json` with the counts:

1. faults: each kind hits three of ten calls. Nothing is lost (every question ends as a label or a recorded failure,
   and a later run with a healthy server gets the rest), and no failure becomes a score.
2. storms: three seconds in which every call gets 429, with and without Retry-After; how fast the rate comes back.
   Answers take 0.2 s, so that the rate is the server's and not that of a busy machine.
3. kills: the process is killed at random moments; the ledger in the end equals an unbroken run's, and no more calls
   are paid twice than were in flight.
4. cost: a limit under 64 calls at once with answers of random length, reckoned by the server.
5. hostile: servers that lie, break, quote the key or quote the article (`tests/hostile_servers.py`), in the formats of
   all three providers; what the server bills against the limit, false labels, where the key was left, and which of the
   mode's promises were broken.

Run: `python benchmarks/labelling_faults.py` (some minutes); `--only hostile` for one part, which keeps the others.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "labelling")]

from hostile_servers import ADDRESSES, DIALECTS, MODES, drive, drive_away, kept  # noqa: E402 - the tests' own servers
from scripted_oracle import FRONT_PAGE, good, stories  # noqa: E402
from scripted_server import Answer, ScriptedServer, completion, error  # noqa: E402

from potstill.labelling import Ledger, Limits, Price, label  # noqa: E402
from potstill.labelling.budget import TRILLION  # noqa: E402
from potstill.oracle import Settings  # noqa: E402
from potstill.oracle.openai import OpenAIOracle  # noqa: E402

GOOD = good(5.0)
FAULTS: dict[str, Answer] = {
    "429": error(429),
    "429 with Retry-After": error(429, retry_after="1"),
    "500": error(500),
    "502": Answer(502, b"<html>Bad gateway</html>", {"content-type": "text/html"}),
    "stalled body": Answer(body=b'{"choices": []}', stall=True),
    "reset": Answer(reset=True),
    "truncated JSON": completion(GOOD[:-20]),
    "cut at the token limit": completion(GOOD[:-20], finish="length"),
    "broken body": Answer(body=b'{"choices": ['),
    "wrong types": completion(GOOD.replace("5.0", '"five"')),
    "out of range": completion(GOOD.replace("5.0", "55", 1)),
    "missing dimension": completion(GOOD.replace('"reach": 5.0, ', "")),
    "extra dimension": completion(good(5.0, charm=5.0)),
    "prose around JSON": completion(f"Well, I would say:\n```json\n{GOOD}\n```\nI hope this helps."),
    "empty choices": Answer(body=b'{"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 0}}'),
    "wrong content type": Answer(body=b"<html>hello</html>", headers={"content-type": "text/html"}),
    "402": error(402, "Insufficient Balance"),
}


def oracle_at(server: ScriptedServer, timeout: float = 1.5) -> OpenAIOracle:
    """The oracle that asks this server."""
    return OpenAIOracle("m", Settings(base_url=server.url, timeout=timeout))


def fault(name: str, articles: int, folder: Path) -> dict[str, Any]:
    """One kind of fault in three of ten calls, then a healthy server."""
    chance = random.Random(name)

    def script(_: dict[str, Any], number: int) -> Answer:
        return FAULTS[name] if number >= 3 and chance.random() < 0.3 else completion(GOOD)

    texts = stories(articles)
    with Ledger(folder / f"{name.replace(' ', '-')}.sqlite") as ledger:
        with ScriptedServer(script) as server:
            first = label(ledger, texts, FRONT_PAGE, oracle_at(server))
            counted = ledger.spent().calls == len(server.requests)
        before = ledger.labels(FRONT_PAGE)
        with ScriptedServer(lambda *_: completion(GOOD)) as server:
            second = label(ledger, texts, FRONT_PAGE, oracle_at(server), retry_failed=True)
        after = ledger.labels(FRONT_PAGE)
    wrong = sum(int((frame[f"y_{d}"] != 5.0).sum()) for frame in (before, after) for d in FRONT_PAGE.dimension_names)
    return {
        "calls": first.calls,
        "labels": first.bought,
        "failed": first.failed,
        "stopped": first.stopped,
        "every_call_in_the_ledger": counted,
        "labels_after_a_healthy_run": after.height,
        "bought_then": second.bought,
        "lost": articles - after.height,
        "wrong_scores": wrong,
    }


def storm(folder: Path, retry_after: str | None, articles: int) -> dict[str, Any]:
    """Three seconds of nothing but 429, and the rate before and after; None for a run without a storm."""
    landed: list[float] = []
    began = time.monotonic()
    quiet = retry_after == "none"

    def script(*_: object) -> Answer:
        now = time.monotonic() - began
        if not quiet and 5.0 <= now < 8.0:
            return error(429) if retry_after is None else error(429, retry_after=retry_after)
        landed.append(now)
        answer = completion(GOOD)
        answer.delay = 0.2
        return answer

    with ScriptedServer(script) as server, Ledger(folder / f"storm-{retry_after}.sqlite") as ledger:
        began = time.monotonic()
        summary = label(ledger, stories(articles), FRONT_PAGE, oracle_at(server, 10.0), limits=Limits(concurrency=16))
    end = landed[-1]
    late = [at for at in landed if end - 6.0 <= at < end - 1.0]
    result = {"labels": summary.bought, "failed": summary.failed, "calls": summary.calls, "seconds": summary.seconds,
              "rate_late": round(len(late) / 5.0, 1)}  # fmt: skip
    if not quiet:
        windows = [8.0 + step * 0.5 for step in range(int(2 * (end - 11.0)))]
        rates = [(start, sum(start <= at < start + 2.0 for at in landed) / 2.0) for start in windows]
        result["rates_after_the_storm"] = [[round(start - 8.0, 1), rate] for start, rate in rates]
    return result


def storms(folder: Path, articles: int) -> dict[str, Any]:
    """A run without a storm and two with one."""
    calm = storm(folder, "none", articles)
    found: dict[str, Any] = {"without_a_storm": calm}
    for name, retry_after in (("without_retry_after", None), ("with_retry_after_2", "2")):
        run = storm(folder, retry_after, articles)
        rates = run["rates_after_the_storm"]
        back = [after for after, rate in rates if rate > 0.9 * calm["rate_late"]]
        run["share_of_calm_rate"] = round(run["rate_late"] / calm["rate_late"], 3)
        run["seconds_until_over_90_percent"] = back[0] if back else None
        found[name] = run
    return found


CLIENT = """
import sys
from potstill.labelling import Ledger, Limits, Price, label
from potstill.oracle import Settings, open_oracle
from scripted_oracle import FRONT_PAGE, stories
oracle = open_oracle("openai:m", Settings(base_url=sys.argv[2], timeout=10.0))
label(sys.argv[1], stories(int(sys.argv[3])), FRONT_PAGE, oracle, limits=Limits(concurrency=8), price=Price(1.0, 1.0))
"""


def kills(folder: Path, count: int, times: int) -> dict[str, Any]:
    """Killed so often while labelling so many articles, against an unbroken run."""
    chance = random.Random(0)
    target: int | None = None
    process: subprocess.Popen[bytes] | None = None
    in_flight: list[int] = []

    def kill() -> None:
        if process is not None and process.poll() is None:
            in_flight.append(server.running)
            process.kill()

    def script(request: dict[str, Any], number: int) -> Answer:
        nonlocal target
        if target is not None and number >= target:
            target = None
            threading.Timer(chance.uniform(0.0, 0.02), kill).start()
        text = request["messages"][-1]["content"]
        answer = completion(good(len(text) % 7 + 0.5), usage=(100, len(text) % 50))
        answer.delay = 0.005
        return answer

    def run(path: Path) -> int:
        nonlocal process
        command = [sys.executable, "-c", CLIENT, str(path), server.url, str(count)]
        process = subprocess.Popen(command, cwd=TESTS / "labelling")
        return process.wait(120)

    done = 0
    with ScriptedServer(script) as server:
        while True:
            distinct = len({request["messages"][-1]["content"] for request in server.requests})
            step = max(2, 2 * (count - distinct) // (times - done + 1))
            target = len(server.requests) + chance.randint(1, step) if done < times else None
            code = run(folder / "killed.sqlite")
            if code == 0:
                break
            assert code == -9
            done += 1
        asked = len(server.requests)
        target = None
        run(folder / "whole.sqlite")
        asked_whole = len(server.requests) - asked
    with Ledger(folder / "killed.sqlite") as killed, Ledger(folder / "whole.sqlite") as whole:
        lost = int((killed.failures()["reason"] == "killed").sum())
        return {
            "articles": count,
            "kills": done,
            "calls_of_the_unbroken_run": asked_whole,
            "calls_with_kills": asked,
            "paid_twice": asked - count,
            "noted_as_in_flight_at_kills": lost,
            "on_the_server_at_kills": sum(in_flight),
            "most_allowed": 8 * done,
            "labels_equal": killed.labels(FRONT_PAGE).equals(whole.labels(FRONT_PAGE)),
        }


def cost(folder: Path, cap: float) -> dict[str, Any]:
    """A cost limit under 64 calls at once; the trace is the server's own."""
    chance, price = random.Random(1), Price(1.0, 4.0)
    charged: list[int] = []
    lock = threading.Lock()

    def script(request: dict[str, Any], _: int) -> Answer:
        usage = (chance.randint(100, 1500), chance.randint(1, request["max_tokens"]))
        with lock:
            charged.append(price.of(*usage))
        answer = completion(GOOD, usage=usage)
        answer.delay = chance.uniform(0.1, 0.6)
        return answer

    limits = Limits(max_cost=cap, concurrency=64, max_tokens=400)
    with ScriptedServer(script) as server, Ledger(folder / "cost.sqlite") as ledger:
        summary = label(ledger, stories(5000), FRONT_PAGE, oracle_at(server, 10.0), limits=limits, price=price)
        ours = ledger.spent().cost
        most = server.most
    totals = [sum(charged[: i + 1]) / TRILLION for i in range(len(charged))]
    assert all(a <= b for a, b in pairwise(totals))
    return {
        "cap": cap,
        "calls": summary.calls,
        "most_at_once": most,
        "charged_by_the_server": totals[-1],
        "in_the_ledger": ours / TRILLION,
        "exceeded": totals[-1] > cap,
        "left": round(cap - totals[-1], 6),
        "stopped": summary.stopped,
        "trace": [round(total, 6) for total in totals[:: max(1, len(totals) // 50)]] + [round(totals[-1], 6)],
    }


def hostile(folder: Path) -> dict[str, Any]:
    """Every mode of a hostile server, and every address at which nobody can be asked, for each provider."""
    modes: dict[str, Any] = {}
    found = []
    for number, (name, mode) in enumerate(MODES.items()):
        modes[name] = {"entry": mode.entry, "cap": mode.cap, "articles": mode.articles}
        for provider, dialect in DIALECTS.items():
            here = folder / f"{number}-{provider}"
            here.mkdir()
            outcome = drive(mode, dialect, here)
            found.append((f"{name}, {provider}", outcome, kept(mode, outcome)))
            told = {name: value for name, value in outcome.as_dict().items() if name not in {"message", "exceeded"}}
            modes[name][provider] = told | {"broken": found[-1][2]}
    away: dict[str, Any] = {}
    for number, (name, address) in enumerate(ADDRESSES.items()):
        for provider, dialect in DIALECTS.items():
            here = folder / f"away-{number}-{provider}"
            here.mkdir()
            away.setdefault(name, {})[provider] = drive_away(address, dialect, here)
    return {
        "runs": len(found),
        "limit_exceeded_by_the_servers_bill": sum(outcome.exceeded for _, outcome, _ in found),
        "false_labels": sum(outcome.false_labels for _, outcome, _ in found),
        "runs_with_the_key_in_a_file_or_message": sum(bool(outcome.key_found_in) for _, outcome, _ in found),
        "promises_broken": {name: broken for name, _, broken in found if broken},
        "modes": modes,
        "addresses_where_nobody_can_be_asked": away,
    }


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--articles", type=int, default=40)
    parser.add_argument("--storm-articles", type=int, default=1400)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "labelling_faults.json")
    parts: dict[str, Callable[[Path], Any]] = {
        "cost": lambda folder: cost(folder, 2.0),
        "faults": lambda folder: {kind: fault(kind, options.articles, folder) for kind in FAULTS},
        "storms": lambda folder: storms(folder, options.storm_articles),
        "kills": lambda folder: kills(folder, options.calls, options.kills),
        "hostile": hostile,
    }
    parser.add_argument("--only", choices=parts, help="One part; keeps the others.")
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.only and options.out.exists() else {}
    for name, part in parts.items():
        if options.only in {None, name}:
            with tempfile.TemporaryDirectory() as folder:
                found[name] = part(Path(folder))
            found.setdefault("measured", {})[name] = datetime.now(UTC).date().isoformat()
            print(name, json.dumps(found[name]), flush=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
