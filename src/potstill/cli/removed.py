"""Options that commands no longer have, and what replaces each.

In: the arguments of a command. Out: one line that names the replacement, for people whose scripts still use the option.
"""

from __future__ import annotations

from potstill.errors import BadInput

_ORACLE = {
    "--base-url": "write the address behind the oracle: --oracle openai:MODEL@URL",
    "--api-key-env": "write the variable behind the oracle: --oracle openai:MODEL@URL#VARIABLE",
    "--temperature": "write it behind the oracle: --oracle 'openai:MODEL?temperature=0'",
    "--reasoning-effort": "write it behind the oracle: --oracle 'openai:MODEL?reasoning_effort=low'",
    "--timeout": "write it behind the oracle: --oracle 'openai:MODEL?timeout=300'",
    "--price-in": "give both prices as --prices IN/OUT",
    "--price-out": "give both prices as --prices IN/OUT",
}
_ANSWERS = {"--samples": "use --answers"}
_FIXED = {
    "--seed": "the order and the sample no longer depend on a seed",
    "--resamples": "the number of resamples is always 1,000",
}
_LABELS_OF = {"--oracle": "use --labels-of; --oracle names an oracle to ask"}

REMOVED: dict[str, dict[str, str]] = {
    "label": {
        **_ORACLE,
        **_ANSWERS,
        "--repeat-seed": "--repeat-share always draws the same articles",
        "--mix-prompts": "use --changed-prompt mix",
        "--replace-prompt": "use --changed-prompt replace",
    },
    "bakeoff": {
        **_ORACLE,
        **_ANSWERS,
        **_FIXED,
        "--sample": "use --number",
        "--max-calls": "use --number and --max-cost",
        "--concurrency": "it is chosen by the server's answers",
    },
    "audit": {
        **_ORACLE,
        **_FIXED,
        "--max-calls": "use --drop-sample and --max-cost",
        "--suspects": "audit.json lists 50 of them",
    },
    "review": {**_LABELS_OF, **_FIXED},
    "dataset": _LABELS_OF,
    "train": {"--crossfit": "use --folds"},
    "params": {"--levels": "it is always 11"},
    "tune": {"--tiny": "use potstill train --tiny for a trial run"},
    "evaluate": {
        **_FIXED,
        "--predictions": "use potstill evaluate-predictions FILE --filter FILTER",
        "--filter": "use potstill evaluate-predictions FILE --filter FILTER",
        "--history": "use potstill check-history FILE",
        "--metadata": "use potstill check-history FILE --metadata FILE",
        "--oracle": "use potstill evaluate-fresh BUNDLE --oracle ORACLE --articles FILE",
    },
    "tiers": {"--base": "use --filter, and --edited for the edited filter", "--moved": "use --number"},
    "bundle": _FIXED,
    "verify": {"--device": "it is chosen automatically"},
    "optimize": {**_FIXED, "--limit": "use --number"},
    "bench": {"--limit": "use --number"},
    "score": {
        **_ORACLE,
        "--output": "use --out",
        "--level": "use --coverage for the intervals and --ask-oracle-below for the oracle",
        "--rpm": "label the articles with potstill label, which has it",
        "--concurrency": "it is chosen by the server's answers",
        "--threads": "it is chosen by potstill optimize, or else one per core",
    },
}
"""By command, the options that it had and what to do instead."""


REMOVED_COMMANDS = {"ladder": "use potstill train RUN --auto"}
"""Commands that are gone, and what to use instead."""


def refuse_removed_command(command: str) -> None:
    """Refuse a command that is gone.

    Raises:
        BadInput: it is one; the message names what replaces it.
    """
    if command in REMOVED_COMMANDS:
        raise BadInput(f"there is no potstill {command} any more: {REMOVED_COMMANDS[command]}")


def refuse_removed(command: str, arguments: list[str]) -> None:
    """Refuse an option that the command no longer has.

    Raises:
        BadInput: there is one; the message names what replaces it.
    """
    removed = REMOVED.get(command, {})
    for argument in arguments:
        option = argument.partition("=")[0]
        if option in removed:
            raise BadInput(f"potstill {command} no longer has {option}: {removed[option]}")
