"""Open an oracle by its name, and its batch interface.

Input: `openai:MODEL`, `anthropic:MODEL`, `gemini:MODEL`, `decisions:MODEL`, `systemone:MODEL` or `replay:FILE`. Output:
an oracle. A provider's module, and
with it the provider's library, is imported only when that provider is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from potstill.errors import BadInput, OracleError
from potstill.oracle.protocol import Settings

if TYPE_CHECKING:
    from potstill.oracle.batches import Batches
    from potstill.oracle.prompt import Prompt
    from potstill.oracle.protocol import Oracle
    from potstill.oracle.score_questions import ScoreQuestions

PROVIDERS = ("replay", "openai", "anthropic", "gemini", "decisions", "systemone")
"""The part of an oracle specification before the colon."""

_BY_LEVELS = ("decisions", "systemone")


def open_oracle(spec: str, settings: Settings | None = None) -> Oracle:
    """Open an oracle by its spec: `replay:FILE[#FIELD]`, or `PROVIDER:MODEL` with one of the other `PROVIDERS`.

    Raises:
        OracleError: the specification is unknown, or a key is missing.
        BadInput: a file of recorded answers is invalid, or the provider does not have a setting.
        MissingExtra: the provider's library is not installed.
    """
    provider, _, rest = spec.partition(":")
    settings = settings or Settings()
    if settings.levels is not None and provider in PROVIDERS and provider not in _BY_LEVELS:
        raise BadInput(f"--oracle {spec}: levels are set for decisions:MODEL and systemone:MODEL only")
    if provider == "replay" and rest:
        from potstill.oracle.replay import ReplayOracle

        # A file name may itself contain a #.
        path, mark, column = rest.rpartition("#")
        return ReplayOracle(path, column) if mark and not Path(rest).is_file() else ReplayOracle(rest)
    if provider == "openai" and rest:
        from potstill.oracle.openai import OpenAIOracle

        return OpenAIOracle(rest, settings)
    if provider == "anthropic" and rest:
        from potstill.oracle.anthropic import AnthropicOracle

        return AnthropicOracle(rest, settings)
    if provider == "gemini" and rest:
        from potstill.oracle.gemini import GeminiOracle

        return GeminiOracle(rest, settings)
    if provider == "decisions" and rest:
        from potstill.oracle.decisions import DecisionsOracle

        return DecisionsOracle(rest, settings)
    if provider == "systemone" and rest:
        from potstill.oracle.systemone import SystemOneOracle

        return SystemOneOracle(rest, settings)
    raise OracleError(
        f"unknown oracle {spec!r}; expected replay:FILE, replay:FILE#FIELD, openai:MODEL, anthropic:MODEL, "
        "gemini:MODEL, decisions:MODEL or systemone:MODEL"
    )


def form_of(spec: str, settings: Settings, prompt: Prompt) -> Prompt | ScoreQuestions:
    """Return the form in which an oracle of this spec is asked; nothing is opened, so no key is needed.

    Raises:
        BadInput: the levels that were set do not fit the filter's scale.
    """
    from potstill.oracle.score_questions import ScoreQuestions

    return ScoreQuestions(prompt, settings.levels) if spec.partition(":")[0] in _BY_LEVELS else prompt


def batches_of(oracle: Oracle, poll: float = 30.0) -> Batches:
    """Return the batch interface of an oracle.

    Args:
        oracle: the oracle.
        poll: seconds between two checks of a job, for providers where finding a job again takes several.

    Raises:
        BadInput: the oracle has no batch interface.
    """
    from potstill.oracle.anthropic import AnthropicOracle
    from potstill.oracle.anthropic_batches import AnthropicBatches
    from potstill.oracle.batches import OpenAIBatches, RedactedBatches
    from potstill.oracle.gemini import GeminiOracle
    from potstill.oracle.gemini_batches import GeminiBatches
    from potstill.oracle.openai import OpenAIOracle

    if isinstance(oracle, OpenAIOracle):
        return RedactedBatches(OpenAIBatches(oracle), oracle.redaction)
    if isinstance(oracle, AnthropicOracle):
        return RedactedBatches(AnthropicBatches(oracle, poll), oracle.redaction)
    if isinstance(oracle, GeminiOracle):
        return RedactedBatches(GeminiBatches(oracle), oracle.redaction)
    raise BadInput(f"--batch: {oracle.name} is not supported; expected openai, anthropic or gemini")
