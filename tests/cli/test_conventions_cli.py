"""Tests of what is the same for every command: help, `--json`, groups, the next command, completion and colours."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest
import typer
from commands import PROGRAM, potstill
from evaluated_run import bundled_run, stories
from typer.testing import CliRunner

from potstill.cli import build
from potstill.cli.app import GROUPS
from potstill.cli.reference import commands
from potstill.cli.removed import REMOVED, REMOVED_COMMANDS

COMMANDS = typer.main.get_command(build()).commands

WITHOUT_FIGURES = {
    "sample": "it writes articles",
    "decide": "it prints the decision that was given",
    "report": "it prints a path",
    "view": "it serves a page",
}

LAST_STAGES = {
    "new": "it asks to edit two files before the next command",
    **dict.fromkeys(("import", "distill"), "their own tests look at the last line"),
    "score": "its results are what everything was for",
    "demo": "it runs every stage",
    "view": "it serves a page until it is interrupted",
    **dict.fromkeys(("filters", "recipes", "params"), "it lists"),
    **dict.fromkeys(("bakeoff", "compare", "tiers", "evaluate-predictions", "check-history"), "it informs a decision"),
    **dict.fromkeys(("tune", "cascade", "optimize", "bench"), "its own tests look at the last line"),
}

LEADING = (
    (["check", "front-page"], "potstill label RUN --filter front-page --articles FILE --oracle ORACLE --plan"),
    (["label", "RUN", "--oracle", "replay:HERE/answers.jsonl", "--answers", 2], "potstill evaluate RUN"),
    (["audit", "RUN", "--no-learn"], "potstill evaluate RUN"),
    (["review", "RUN", "--reviewer", "me", "--summary"], "potstill evaluate RUN"),
    (["sample", "RUN", "--articles", "HERE/new.jsonl", "-n", 5, "-o", "HERE/chosen.jsonl"],
     "potstill label RUN --oracle ORACLE --articles HERE/chosen.jsonl"),
    (["dataset", "RUN"], "potstill evaluate RUN"),
    (["dataset", "RUN", "--seed", 1], "potstill train RUN --recipe constant --recipe tfidf-ridge"),
    (["train", "RUN", "--recipe", "constant", "--recipe", "tfidf-ridge"], "potstill bundle RUN"),
    (["bundle", "RUN"], "potstill evaluate RUN"),
    (["evaluate", "RUN", "--folds", 0, "--no-time"], "potstill refit RUN"),
    (["refit", "RUN"], "potstill report RUN"),
    (["evaluate-fresh", "RUN", "--oracle", "replay:HERE/new-answers.jsonl", "--articles", "HERE/new.jsonl", "-n", 20],
     "potstill report RUN"),
    (["probe", "RUN", "--probes", "HERE/probes.yaml", "-n", 5], "potstill report RUN"),
    (["accept", "RUN", "--targets", "HERE/targets.yaml"], "potstill decide RUN --accept --why REASON"),
    (["decide", "RUN", "--accept", "--why", "It is better."], "potstill report RUN"),
    (["status", "RUN"], "potstill report RUN"),
    (["report", "RUN"], "potstill score RUN/shipped FILE -o RESULTS"),
    (["verify", "RUN"], "potstill score RUN/shipped FILE -o RESULTS"),
    (["sign", "--new-key", "HERE/key"], "potstill sign BUNDLE --key HERE/key"),
    (["sign", "RUN/bundle", "--key", "HERE/key"], "potstill verify RUN/bundle --require-signature"),
    (["status", "RUN"], "potstill score RUN/shipped FILE -o RESULTS"),
)  # fmt: skip
"""Commands in the order of the work, and the command that each names in its last line."""


def is_sentence(text):
    """Whether a help text is one or more sentences; it may begin with a value that can be given."""
    return re.match(r"([A-Z-]|[a-z-]+[:;,])", text) is not None and text.endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_and_of_its_options_is_in_full_sentences(name):
    command = COMMANDS[name]
    assert is_sentence(command.help.strip()), command.help
    for parameter in command.params:
        assert is_sentence(parameter.help or ""), f"{name} {parameter.name}: {parameter.help}"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_prints_figures_prints_them_as_json_too(name):
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert ("--json" in options) != (name in WITHOUT_FIGURES)


def test_the_groups_hold_every_command_in_the_order_of_the_work():
    assert list(GROUPS) == ["Start", "Label", "Train", "Judge", "Ship", "Operate"]
    assert [name for names in GROUPS.values() for name in names] == list(commands())
    said = CliRunner().invoke(build(), ["--help"], env={"COLUMNS": "100"}).output
    places = [said.index(f" {group} ") for group in GROUPS]
    assert places == sorted(places)


def test_one_name_means_one_thing():
    helps = {}
    for name, command in COMMANDS.items():
        for parameter in command.params:
            for option in parameter.opts:
                helps.setdefault(option, {}).setdefault(parameter.param_type_name, []).append(name)
    # Each of these stood for the same thing under another name.
    gone = {
        "--sample",
        "--samples",
        "--limit",
        "--output",
        "--level",
        "--crossfit",
        "--base",
        "--price-in",
        "--base-url",
    }
    assert not gone & set(helps)
    assert "--oracle" not in {
        option for each in ("dataset", "review") for p in COMMANDS[each].params for option in p.opts
    }


def test_every_command_names_the_next_one_or_leads_nowhere():
    leading = {words[0] for words, _ in LEADING}
    assert leading | set(LAST_STAGES) == set(COMMANDS)
    assert not leading & set(LAST_STAGES)


def test_the_last_line_of_a_command_is_the_next_command(tmp_path):
    run = bundled_run(tmp_path, 60).folder
    articles, answers = stories(40, seed=5)
    for name, rows in (("new", articles), ("new-answers", answers)):
        lines = (json.dumps({**row, "id": f"n{row['id']}"}) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    (tmp_path / "probes.yaml").write_text("ramps:\n  gain:\n    - [A fire., A school.]\n")
    (tmp_path / "targets.yaml").write_text("targets:\n  - {figure: shipped/judgement/mean/mae, at_most: 2}\n")

    def filled(words):
        return str(words).replace("HERE", str(tmp_path)).replace("RUN", str(run))

    for words, following in LEADING:
        done = CliRunner().invoke(build(), [filled(word) for word in words])
        assert done.exit_code == 0, (words, done.output, done.exception)
        expected = following if words[0] == "check" else filled(following)
        assert done.output.splitlines()[-1] == f"next: {expected}", words


def test_the_next_command_is_no_part_of_the_results(tmp_path):
    run = bundled_run(tmp_path, 60).folder
    done = potstill("verify", run / "bundle")
    assert "next:" not in done.stdout
    assert done.stderr.splitlines()[-1].startswith("next: potstill score ")
    assert "next:" not in potstill("verify", run / "bundle", "--json").stderr


@pytest.mark.parametrize(("name", "option"), [(name, option) for name, each in REMOVED.items() for option in each])
def test_a_removed_option_names_its_replacement_in_one_line(name, option, ending):
    assert option not in {spelling for parameter in COMMANDS[name].params for spelling in parameter.opts}
    for words in ([option, "1"], [f"{option}=1"]):
        code, error = ending(name, *words)
        assert code == 2
        assert error == f"error: potstill {name} no longer has {option}: {REMOVED[name][option]}\n"
        for replacement in re.findall(r"use (--[\w-]+)", error):
            assert replacement in {spelling for parameter in COMMANDS[name].params for spelling in parameter.opts}


@pytest.mark.parametrize("name", REMOVED_COMMANDS)
def test_a_removed_command_names_its_replacement_in_one_line(name, ending):
    assert name not in COMMANDS
    code, error = ending(name, "run")
    assert (code, error) == (2, f"error: there is no potstill {name} any more: {REMOVED_COMMANDS[name]}\n")


def test_the_shell_completes_commands():
    env = {**os.environ, "_POTSTILL_COMPLETE": "complete_bash", "COMP_WORDS": "potstill evaluate-", "COMP_CWORD": "1"}
    program = f"import sys; sys.argv[0] = 'potstill'; {PROGRAM}"
    assert potstill(program=program, env=env).stdout.split() == ["evaluate-fresh", "evaluate-predictions"]


def in_terminal(*arguments, columns=80, **env):
    """Run a command in a terminal and return everything it prints there."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        stdin=child, stdout=child, stderr=child,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color", **env},
    )  # fmt: skip
    os.close(child)
    parts = []
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    assert process.wait(60) == 0
    os.close(parent)
    return b"".join(parts).decode().replace("\r\n", "\n")


COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9\d|10\d)(?:;\d+)*m")
CONTROL = re.compile(r"\x1b\[[\d;?]*[a-zA-Z]|\r")


@pytest.mark.parametrize("words", [["--help"], ["score", "--help"], ["score", "BUNDLE", "ARTICLES"]])
def test_a_terminal_with_no_color_shows_no_colours(words, tmp_path):
    bundled_run(tmp_path, 60)
    places = {"BUNDLE": tmp_path / "run" / "bundle", "ARTICLES": tmp_path / "articles.jsonl"}
    words = [places.get(word, word) for word in words]
    assert COLOUR.search(in_terminal(*words))
    assert not COLOUR.search(in_terminal(*words, NO_COLOR="1"))


def test_help_through_a_pipe_has_no_control_characters():
    done = potstill("score", "--help")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_scores_on_a_terminal_are_a_table_that_fits(tmp_path, columns):
    bundled_run(tmp_path, 60)
    rows = [json.loads(line) for line in (tmp_path / "articles.jsonl").open()][:12]
    long = {"id": "long", "content": "The village cooperative that the council had closed brought its river back. " * 3}
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (long, *rows)))
    said = CONTROL.sub("", in_terminal("-q", "score", tmp_path / "run", tmp_path / "some.jsonl", columns=columns))
    lines = said.splitlines()
    head = next(index for index, line in enumerate(lines) if "overall" in line)
    assert lines[head].split()[-5:] == ["title", "tier", "prob.", "overall", "why"]
    table = [line for line in lines[head:] if re.search(r"(lead|page|drawer) +\d\.\d\d +\d+\.\d\d  ", line)]
    assert len(table) == 13
    assert all(len(line) <= columns for line in table)
    # A text without a title is shown by its beginning, cut between words.
    shown = re.match(r"The[^…]+", table[0]).group()
    assert long["content"].startswith(f"{shown} ")
    assert re.search(r"gain \d", "".join(table))


def test_scores_through_a_pipe_are_json_lines_with_four_decimals_and_files_hold_them_in_full(tmp_path):
    run = bundled_run(tmp_path, 60).folder
    done = potstill("score", run / "bundle", tmp_path / "articles.jsonl", "--probabilities")
    potstill("score", run / "bundle", tmp_path / "articles.jsonl", "--probabilities", "-o", tmp_path / "out.jsonl")
    short = [json.loads(line) for line in done.stdout.splitlines()]
    full = [json.loads(line) for line in (tmp_path / "out.jsonl").open()]
    assert [row["id"] for row in short] == [row["id"] for row in full]

    def numbers(value):
        if isinstance(value, dict | list):
            values = value.values() if isinstance(value, dict) else value
            return [number for one in values for number in numbers(one)]
        return [value] if isinstance(value, float) else []

    few, many = (numbers(rows) for rows in (short, full))
    assert few == pytest.approx(many, abs=6e-5)
    assert all(round(number, 4) == number for number in few)
    assert any(round(number, 4) != number for number in many)
