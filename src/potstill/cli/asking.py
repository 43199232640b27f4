"""Options shared by the commands that buy labels: the oracle, its price, and limits."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.errors import BadInput, FilterError
from potstill.terminal import note

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

    from potstill.filters import Filter
    from potstill.labelling import Limits, Plan, Price, Repeats
    from potstill.labelling.changes import Prompts
    from potstill.labelling.prices import Known
    from potstill.oracle import Oracle, Settings

PriceIn = Annotated[float | None, typer.Option(help="Price per million input tokens, in US dollars.")]
PriceOut = Annotated[float | None, typer.Option(help="Price per million output tokens, in US dollars.")]
Prices = Annotated[
    Path | None, typer.Option(help="A YAML file with your own prices, such as openai:MODEL: {input: 1, output: 4}.")
]
Rpm = Annotated[float | None, typer.Option(help="Maximum calls per minute.")]
Concurrency = Annotated[int, typer.Option(help="Maximum concurrent calls; reduced if the server asks for it.")]
AnswerTokens = Annotated[
    int, typer.Option(min=16, help="Maximum output tokens per answer, including reasoning tokens.")
]
BaseUrl = Annotated[
    str | None,
    typer.Option(help="Server address. Default: the provider's environment variable (OPENAI_BASE_URL, ...)."),
]
KeyVariable = Annotated[
    str | None,
    typer.Option(help="Environment variable that holds the API key. Default: the provider's (OPENAI_API_KEY, ...)."),
]
Temperature = Annotated[float | None, typer.Option(help="Sampling temperature. Default: the provider's.")]
ReasoningEffort = Annotated[
    str | None, typer.Option(help="Reasoning effort, for reasoning models. Default: the provider's.")
]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for an answer.")]


@dataclass(frozen=True, slots=True)
class Asking:
    """An oracle as the options name it, what is known of its price, and the limits.

    Prices that are given win over the user's own `table`, and that over the data of genai-prices.
    """

    spec: str
    settings: Settings
    limits: Limits
    price_in: float | None = None
    price_out: float | None = None
    table: Path | None = None
    known: Known | None = field(init=False, default=None)
    told: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        """Find the price.

        Raises:
            BadInput: only one of the two prices is given, or the user's table is broken.
            OracleError: the address is none that can be asked.
        """
        from potstill.labelling.prices import price_at

        if (self.price_in is None) != (self.price_out is None):
            raise BadInput("--price-in and --price-out go together")
        if self.price_in is None:
            object.__setattr__(self, "known", price_at(self.spec, self.settings.base_url, self.table))

    @property
    def price(self) -> Price | None:
        """Per million tokens; None where nobody knows."""
        from potstill.labelling import Price

        if self.price_in is not None and self.price_out is not None:
            return Price(self.price_in, self.price_out)
        return None if self.known is None else self.known.price

    def opened(self) -> Oracle:
        """The oracle; says, the first time, where a price that was not given is from.

        Raises:
            OracleError: the spec cannot be read, or a key is missing.
        """
        from potstill.oracle import open_oracle

        if self.known is not None and not self.told:
            note(said(self.known))
            object.__setattr__(self, "told", True)
        return open_oracle(self.spec, self.settings)

    def plan(
        self,
        articles: Iterable[pl.DataFrame],
        filter_: Filter,
        ledger: Path,
        samples: int | Repeats = 1,
        *,
        batch: bool = False,
        prompts: Prompts = "refuse",
    ) -> Plan:
        """What it would take; asks nobody, needs no key and makes no file."""
        from potstill.labelling import Ledger, plan
        from potstill.labelling.budget import FREE
        from potstill.oracle import open_oracle

        # A job's price, as labelling itself reckons it.
        price = self.price.in_jobs() if batch and self.price is not None else self.price
        identity, revision = self.spec, ""
        if self.spec.startswith("replay:"):
            replay = open_oracle(self.spec)
            identity, revision, price = f"{replay.name}:{replay.model}", replay.revision, FREE
        elif ":" in self.spec:
            provider, _, model = self.spec.partition(":")
            identity = f"{provider}:{self.settings.identity(model)}"
        opened = Ledger.reading(ledger) if ledger.exists() else None
        try:
            return plan(
                articles, filter_, identity, revision=revision, samples=samples, price=price, limits=self.limits,
                ledger=opened, prompts=prompts,
            )  # fmt: skip
        finally:
            if opened is not None:
                opened.close()


def replayed(spec: str) -> Path | None:
    """The file that a replay oracle reads; None for any other oracle."""
    provider, _, rest = spec.partition(":")
    return Path(rest.partition("#")[0]) if provider == "replay" else None


def refuse_template(filter_: Filter, specs: Iterable[str]) -> None:
    """Refuse to pay an oracle for judging by the rubric that `potstill new` wrote; recorded answers cost nothing.

    Raises:
        FilterError: nobody has edited the rubric.
    """
    from potstill.filters import untouched

    if "rubric" in untouched(filter_) and not all(spec.startswith("replay:") for spec in specs):
        raise FilterError(
            f"{filter_.name}: rubric.md is still the unedited template; edit it before you pay an oracle to use it"
        )


def said(known: Known) -> str:
    """Where a price is from, in words."""
    price = known.price
    return f"prices: ${price.input:g} and ${price.output:g} per million input and output tokens ({known.source})"


def print_plan(plan: Plan, known: Known | None, *, batch: bool = False, as_json: bool = False) -> None:
    """A plan for a person, or as JSON."""
    if as_json:
        print(json.dumps(plan.as_dict() | {"price_from": known.source if known else None}, indent=2))
        return
    from potstill.labelling.limits import money

    each = "1 answer each" if plan.samples == 1 else f"up to {plan.samples} answers each"
    print(f"{plan.articles:,} articles, {each}: {plan.calls:,} calls to make")
    if plan.already_bought:
        print(f"{plan.already_bought:,} answers are already in the ledger")
    print(f"about {plan.tokens_in:,} tokens in and {plan.tokens_out:,} out")
    if plan.cost is None or plan.worst_cost is None:
        print("price unknown; set --price-in and --price-out (US dollars per million tokens)")
    else:
        jobs = "" if not batch else f", at {_price_of_jobs(known)}"
        print(f"about {money(plan.cost)}, at most {money(plan.worst_cost)} if no call is retried{jobs}")
    if known is not None:
        print(said(known))
    print("up to a day per round of batch jobs" if batch else f"about {in_words(plan.seconds)}")


def _price_of_jobs(known: Known | None) -> str:
    """What a question in a job costs, in words."""
    if known is None or known.price.in_jobs().input == known.price.input / 2:
        return "half the price (batch)"
    jobs = known.price.in_jobs()
    return f"{jobs.input:g} and {jobs.output:g} per million tokens (batch)"


def in_words(seconds: float) -> str:
    """A time for a person."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
