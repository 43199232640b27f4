"""When the question has changed: labels that answer another prompt are not mixed in unless a person says so.

In: a ledger, and the prompt that is about to be asked. Out: a ledger that accepts it, or an error that shows what
differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from potstill.errors import LabelError

if TYPE_CHECKING:
    from potstill.labelling.ledger import Ledger
    from potstill.oracle.prompt import Prompt

Prompts = Literal["refuse", "mix", "replace"]
"""What to do when the ledger holds labels made with another prompt: refuse, keep them and buy only what is
missing, or buy everything anew (the old answers stay in the ledger, and count no more)."""

_WAYS = "--mix-prompts keeps them and asks only for what is missing; --replace-prompt asks for everything anew."


def agree(ledger: Ledger, prompt: Prompt, prompts: Prompts) -> None:
    """Make the ledger accept answers to a prompt, beside others' or in their place.

    Raises:
        LabelError: it holds labels of another, and nobody said what to do with them.
    """
    if prompts == "refuse":
        refuse_others(ledger, prompt)
    ledger.accept(prompt, others=prompts == "mix")


def refuse_others(ledger: Ledger, prompt: Prompt, ways: str = _WAYS) -> None:
    """Refuse a ledger with labels of another prompt.

    Args:
        ledger: an open one.
        prompt: what is about to be asked.
        ways: what a person may do about it, for the message.

    Raises:
        LabelError: it holds some; the message shows the lines that differ.
    """
    for hash_, parts in ledger.accepted_prompts().items():
        if hash_ != prompt.hash:
            differs = prompt.difference(parts)
            raise LabelError(f"{ledger.path}: holds labels made with another prompt. What differs: {differs}. {ways}")
