"""The plan: what labelling will take, said before anything is spent.

In: articles, a filter, prices. Out: how many calls are missing, about how many tokens and how much money they
take, the most they can take, and for how long.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from potstill.labelling.budget import TRILLION, Price, most_tokens
from potstill.labelling.changes import refuse_others
from potstill.labelling.ledger import call_key, window_hash
from potstill.labelling.terms import repeats_of
from potstill.oracle.prompt import Prompt

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

    from potstill.filters import Filter
    from potstill.labelling.changes import Prompts
    from potstill.labelling.ledger import Ledger
    from potstill.labelling.terms import Limits, Repeats

SECONDS_PER_CALL = 4.0
"""What one answer is taken to need, until the server has shown otherwise."""

_TOKENS_PER_SCORE = 12
_TOKENS_OF_EVIDENCE = 40


@dataclass(frozen=True, slots=True)
class Plan:
    """What labelling will take.

    `calls` are those still to be made; tokens, `cost` and `seconds` are estimates, `worst_cost` is a bound for
    one answer to each call. Costs are None without a price.
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
        """For JSON."""
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
) -> Plan:
    """Reckon what labelling these articles will take; nothing is asked and nothing is written.

    Args:
        articles: frames with the columns id, title, content.
        filter_: what will be judged.
        oracle: name and model, as labels have it (`openai:gpt-5-mini`).
        revision: the oracle's, if it has one.
        samples: answers per article; or so many for a share of the articles.
        price: per million tokens, if known.
        limits: how fast it may go.
        ledger: answers already bought are left out.
        prompts: what labelling would be told to do with labels made with another prompt.

    Raises:
        LabelError: labelling would be refused, as the ledger holds labels of another prompt.
    """
    prompt = Prompt.of(filter_)
    repeats = repeats_of(samples)
    counted = [prompt.hash]
    if ledger is not None and prompts == "refuse":
        refuse_others(ledger, prompt)
    if ledger is not None and prompts == "mix":
        counted += [hash_ for hash_ in ledger.accepted_prompts() if hash_ != prompt.hash]
    count = calls = bought = tokens_in = worst = 0
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
            request = prompt.request("", window, max_tokens=limits.max_tokens)
            calls += 1
            tokens_in += sum(estimate_tokens(message["content"]) + 4 for message in request.messages)
            worst += price.of(*most_tokens(request)) if price is not None else 0
    return Plan(
        articles=count,
        samples=repeats.samples,
        calls=calls,
        already_bought=bought,
        tokens_in=tokens_in,
        tokens_out=calls * tokens_out,
        cost=None if price is None else price.of(tokens_in, calls * tokens_out) / TRILLION,
        worst_cost=None if price is None else worst / TRILLION,
        seconds=_seconds(calls, tokens_in + calls * tokens_out, limits),
    )


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has: four ASCII characters each, and two thirds of a token for each other one."""
    ascii_chars = len(text.encode("ascii", "ignore"))
    return round(ascii_chars / 4 + (len(text) - ascii_chars) / 1.5)


def _seconds(calls: int, tokens: int, limits: Limits) -> float:
    """The slowest of what concurrency, calls a minute and tokens a minute allow."""
    times = [calls * SECONDS_PER_CALL / limits.concurrency]
    times += [60.0 * calls / limits.rpm] if limits.rpm else []
    times += [60.0 * tokens / limits.tpm] if limits.tpm else []
    return max(times)
