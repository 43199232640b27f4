"""Handle a changed prompt: labels of different prompts are not mixed unless the user requests it.

Input: a ledger, and the prompt to be asked next. Output: a ledger that accepts it, or an error that shows the
difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from potstill.errors import LabelError

if TYPE_CHECKING:
    from potstill.labelling.ledger import Ledger
    from potstill.oracle.prompt import Prompt

Prompts = Literal["refuse", "mix", "replace"]
"""How to treat labels made with another prompt.

`refuse`: raise an error. `mix`: keep them and buy only missing labels. `replace`: buy all labels again; the old answers
stay in the ledger but no longer count.
"""

WAYS = (
    "Use --changed-prompt mix to keep them and buy only missing labels, or --changed-prompt replace to buy all labels "
    "again."
)
"""What a user who labels can do about labels of another prompt."""


def agree(ledger: Ledger, prompt: Prompt, prompts: Prompts) -> None:
    """Make the ledger accept answers to a prompt, in addition to those of other prompts or instead of them.

    Raises:
        LabelError: the ledger contains labels of another prompt, and `prompts` is `refuse`.
    """
    if prompts == "refuse":
        refuse_others(ledger, prompt)
    ledger.accept(prompt, others=prompts == "mix")


def refuse_others(ledger: Ledger, prompt: Prompt, ways: str = WAYS) -> None:
    """Reject a ledger with labels of another prompt.

    Args:
        ledger: an open ledger.
        prompt: the prompt to be asked next.
        ways: the user's options, for the message.

    Raises:
        LabelError: the ledger contains such labels; the message shows the differing lines.
    """
    for hash_, parts in ledger.accepted_prompts().items():
        if hash_ != prompt.hash:
            differs = prompt.difference(parts)
            raise LabelError(f"{ledger.path}: contains labels made with another prompt. Difference: {differs}. {ways}")
