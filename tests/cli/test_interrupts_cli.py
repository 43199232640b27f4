"""Tests of Ctrl-C and SIGTERM while commands are running, from the first import to the last wait."""

import json
import os
import signal
import time

import polars as pl
import pytest
from commands import LISTENING, PROGRAM, started
from scripted_server import ScriptedServer, completion
from tiny_bundle import tfidf_bundle
from tiny_run import started as started_run

from potstill.articles import open_writer
from potstill.filters import load_filter, save_filter
from potstill.labelling import Ledger

FRONT_PAGE = load_filter("front-page")


def ended(process):
    """Return exit code, stdout and stderr of an interrupted process."""
    out, error = process.communicate(timeout=100)
    return process.returncode, out, error


def slowed(target, word):
    """Return a program in which `target` (a module and a function) prints a word and then takes a minute."""
    module, _, name = target.rpartition(".")
    return (
        f"import time, importlib\n"
        f"def slowly(*_, **__):\n"
        f"    print({word!r}, flush=True); time.sleep(60)\n"
        f"setattr(importlib.import_module({module!r}), {name!r}, slowly)\n{PROGRAM}"
    )


def alive(group):
    """Return whether a process of the group is still running."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(happened):
    """Wait until a condition is true."""
    for _ in range(2000):
        if happened():
            return
        time.sleep(0.05)
    raise AssertionError("it never happened")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_everything_is_being_imported_is_one_line(number):
    # Slow enough that the signal always arrives in the middle.
    slow = (
        "import sys, time\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'potstill.cli.app':\n"
        "            print('importing', file=sys.__stdout__, flush=True); time.sleep(60)\n"
        "sys.meta_path.insert(0, Slow())\n"
    )
    process = started("filters", program=f"{LISTENING}\n{slow}\n{PROGRAM}")
    assert process.stdout.readline() == "importing\n"
    process.send_signal(number)
    assert ended(process) == (130, "", "Stopped.\n")


def answer(request):
    return completion(json.dumps({"scores": dict.fromkeys(FRONT_PAGE.dimension_names, 5)}))


@pytest.fixture
def labelling(tmp_path):
    """Starts `potstill label` on 40 stories, four calls at a time, against a server."""
    save_filter(FRONT_PAGE, tmp_path / "filter")
    with open_writer(tmp_path / "articles.jsonl") as writer:
        texts = [f"Story {number} of a harbour town." for number in range(40)]
        writer.write(pl.DataFrame({"id": [f"a{n}" for n in range(40)], "title": "", "content": texts}))

    def start(server):
        return started(
            *("label", tmp_path / "run", "--filter", tmp_path / "filter", "--articles", tmp_path / "articles.jsonl"),
            *("--oracle", f"openai:m@{server.url}", "--concurrency", 4),
            env=os.environ | {"OPENAI_API_KEY": "k"},
        )

    start.ledger = tmp_path / "run" / "ledger.sqlite"
    return start


def kept(path):
    """Return how many answers are in a ledger, and how many calls are open."""
    with Ledger.reading(path) as ledger:
        answers = ledger.answers(FRONT_PAGE).height
        return answers, ledger._database.execute("SELECT count(*) FROM open_calls").fetchone()[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.by_example(2)
def test_labelling_makes_no_more_calls_and_keeps_the_answers_that_still_come(labelling, number):
    def slowly(request, count):
        made = answer(request)
        made.delay = 0.0 if not count else 3.0
        return made

    with ScriptedServer(slowly) as server:
        process = labelling(server)
        wait_until(lambda: server.running >= 2)
        process.send_signal(number)
        code, out, error = ended(process)
        asked = len(server.requests)
    assert (code, out) == (130, "")
    waiting, stopped = error.splitlines()
    assert waiting.endswith("waiting up to 30 s; a second interrupt ends this at once.")
    assert stopped == "Stopped; run the same command to resume."
    # Every call that was made is answered, and the answer kept.
    assert kept(labelling.ledger) == (asked, 0)
    assert asked < 40


@pytest.mark.long
def test_a_second_interrupt_ends_labellings_last_wait_and_the_same_command_goes_on(labelling):
    def never(request, count):
        made = answer(request)
        made.delay = 0.0 if not count else 600.0
        return made

    with ScriptedServer(never) as server:
        process = labelling(server)
        wait_until(lambda: server.running >= 2)
        process.send_signal(signal.SIGINT)
        assert "waiting up to 30 s" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert ended(process) == (130, "", "Stopped; run the same command to resume.\n")
    with ScriptedServer(lambda request, count: answer(request)) as server:
        process = labelling(server)
        code, _, error = ended(process)
    assert code == 0, error
    assert kept(labelling.ledger) == (40, 0)


def test_scoring_processes_end_at_once_and_say_nothing_of_their_own(tmp_path):
    bundle = tfidf_bundle(tmp_path / "good-news").folder
    source = tmp_path / "in.jsonl"
    with source.open("w") as stream:
        for number in range(100_000):
            stream.write(json.dumps({"id": str(number), "content": f"A library saved the town {number}"}) + "\n")
    out = tmp_path / "out.jsonl"
    process = started("score", bundle, source, "-o", out, "--processes", 2, "--batch-size", 100)
    wait_until(lambda: len(list(tmp_path.glob(".out.jsonl.parts/*.arrow"))) > 1)
    # Like a terminal, send the signal to every process of the group.
    os.killpg(process.pid, signal.SIGINT)
    code, _, error = ended(process)
    assert code == 130
    assert error == "Stopped; what is scored is kept; run the same command with --resume to resume.\n"
    assert not out.exists()
    wait_until(lambda: not alive(process.pid))


def test_training_says_how_it_goes_on(tmp_path):
    run = started_run(tmp_path / "run")
    program = slowed("potstill.training.fit.fit", "fitting")
    for options, promise in (
        ([], "run the same command with --resume to resume"),
        (["--resume"], "run the same command to resume"),
    ):
        process = started("train", run.folder, "--recipe", "constant", *options, program=program)
        assert process.stdout.readline() == "fitting\n"
        process.send_signal(signal.SIGINT)
        assert ended(process) == (130, "", f"Stopped; {promise}.\n")


@pytest.mark.parametrize(
    ("command", "target", "promise"),
    [
        (
            ["train", "RUN", "--auto"],
            "potstill.pipeline.leaderboard.train_candidates",
            "; finished students are kept; run the same command to resume",
        ),
        (["tune", "RUN", "RUN/space.yaml"], "potstill.pipeline.tune.load_space", "; run the same command to resume"),
        (["evaluate", "RUN"], "potstill.pipeline.evaluate.evaluate_run", ""),
        (["dataset", "RUN"], "potstill.dataset.build_dataset", ""),
        (["bundle", "RUN"], "potstill.bundle.build_bundle", ""),
        (["report", "RUN"], "potstill.report.write_report", ""),
    ],
)
@pytest.mark.by_example(3)
def test_every_command_ends_with_what_is_true_of_it(tmp_path, command, target, promise):
    run = started_run(tmp_path / "run")
    words = [word.replace("RUN", str(run.folder)) for word in command]
    process = started(*words, program=slowed(target, "begun"))
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (130, "", f"Stopped{promise}.\n")
