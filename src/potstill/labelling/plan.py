"""Estimate the effort of labelling, before anything is spent.

Input: articles, a filter, prices. Output: the number of missing calls, estimates of their tokens, cost and duration,
and their maximum cost.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from potstill.labelling.budget import TRILLION, Price, most_tokens
from potstill.labelling.changes import refuse_others
from potstill.labelling.ledger import call_key, window_hash
from potstill.labelling.limits import repeats_of
from potstill.oracle.prompt import Prompt

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

    from potstill.filters import Filter
    from potstill.labelling.changes import Prompts
    from potstill.labelling.ledger import Ledger
    from potstill.labelling.limits import Limits, Repeats
    from potstill.oracle.score_questions import ScoreQuestions

    Form = Prompt | ScoreQuestions

SECONDS_PER_CALL = 4.0
"""Assumed seconds per answer, until the server has shown otherwise."""

_TOKENS_PER_SCORE = 12
_TOKENS_OF_EVIDENCE = 40
_TOKENS_PER_QUESTION = 2
"""Assumed output tokens that a decision API reports per question."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The estimated effort of labelling.

    `calls` is the number of calls still to be made. Tokens, `cost` and `seconds` are estimates; `worst_cost` is an
    upper bound for one answer to each call. Costs are None without a price.
    """

    articles: int
    samples: int
    calls: int
    already_bought: int
    tokens_in: int
    tokens_out: int
    cost: float | None
    worst_cost: float | None
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as a dictionary for JSON."""
        return asdict(self)


def plan(
    articles: Iterable[pl.DataFrame],
    filter_: Filter,
    oracle: str,
    *,
    revision: str = "",
    samples: int | Repeats = 1,
    price: Price | None = None,
    limits: Limits,
    ledger: Ledger | None = None,
    prompts: Prompts = "refuse",
    form: Form | None = None,
) -> Plan:
    """Estimate the effort of labelling these articles; nothing is asked and nothing is written.

    Args:
        articles: data frames with the columns id, title, content.
        filter_: the filter to label for.
        oracle: name and model, as in labels (`openai:gpt-5-mini`).
        revision: the oracle's revision, if it has one.
        samples: answers per article; or a `Repeats` to repeat only a share of the articles.
        price: price per million tokens, if known.
        limits: limits on cost, calls and request rate.
        ledger: a ledger whose answers are left out, because they are already bought.
        prompts: how labelling would treat labels made with another prompt.
        form: the form in which the oracle is asked, if it is not the filter's prompt.

    Returns:
        The missing calls, with their estimated tokens, cost and duration.

    Raises:
        LabelError: labelling would be rejected, because the ledger contains labels of another prompt.
    """
    prompt = Prompt.of(filter_)
    repeats = repeats_of(samples)
    counted = [prompt.hash]
    if ledger is not None and prompts == "refuse":
        refuse_others(ledger, prompt)
    if ledger is not None and prompts == "mix":
        counted += [hash_ for hash_ in ledger.accepted_prompts() if hash_ != prompt.hash]
    count = calls = bought = tokens_in = cost = worst = 0
    form = form or prompt
    tokens_out = _TOKENS_OF_EVIDENCE + _TOKENS_PER_SCORE * len(filter_.dimensions)
    for frame in articles:
        windows = {
            id_: filter_.text.of(title, content)
            for id_, title, content in frame.select("id", "title", "content").iter_rows()
        }
        count += len(windows)
        hashes = {window_hash(window): window for window in windows.values()}
        questions = {
            tuple(call_key(oracle, asked, hash_, sample, revision) for asked in counted): window
            for hash_, window in hashes.items()
            for sample in range(repeats.of(hash_))
        }
        done = set() if ledger is None else ledger.answered([key for keys in questions for key in keys])
        for keys, window in questions.items():
            if not done.isdisjoint(keys):
                bought += 1
                continue
            request = form.request("", window, max_tokens=limits.max_tokens)
            calls += 1
            asked = sum(estimate_tokens(message["content"]) + 4 for message in request.messages)
            if request.questions:
                asked += estimate_tokens(json.dumps(request.schema, ensure_ascii=False))
                tokens_out = _TOKENS_PER_QUESTION * len(request.questions)
            tokens_in += asked
            # Long questions have other prices, so each call is priced by itself.
            cost += price.of(asked, tokens_out) if price is not None else 0
            worst += price.of(*most_tokens(request)) if price is not None else 0
    return Plan(
        articles=count,
        samples=repeats.samples,
        calls=calls,
        already_bought=bought,
        tokens_in=tokens_in,
        tokens_out=calls * tokens_out,
        cost=None if price is None else cost / TRILLION,
        worst_cost=None if price is None else worst / TRILLION,
        seconds=_seconds(calls, tokens_in + calls * tokens_out, limits),
    )


def estimate_tokens(text: str) -> int:
    """Estimate the number of tokens of a text: 1/4 per ASCII character, 2/3 per other character."""
    ascii_chars = len(text.encode("ascii", "ignore"))
    return round(ascii_chars / 4 + (len(text) - ascii_chars) / 1.5)


def _seconds(calls: int, tokens: int, limits: Limits) -> float:
    """Return the longest of the durations implied by concurrency, calls per minute and tokens per minute."""
    times = [calls * SECONDS_PER_CALL / limits.concurrency]
    times += [60.0 * calls / limits.rpm] if limits.rpm else []
    times += [60.0 * tokens / limits.tpm] if limits.tpm else []
    return max(times)
