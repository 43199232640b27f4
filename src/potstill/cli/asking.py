"""Options shared by the commands that buy labels: the oracle, its price, and limits."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
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

ORACLE = "Oracle"
"""Group of options in the help."""

OracleName = Annotated[
    str | None,
    typer.Option(metavar="ORACLE", help="Ask this oracle, given as in potstill label.", rich_help_panel=ORACLE),
]
Plan_ = Annotated[
    bool,
    typer.Option(
        "--plan", help="Estimate calls, cost and time; ask nothing and write nothing.", rich_help_panel=ORACLE
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option(
        help="Maximum cost of the oracle's answers, in US dollars, over all sessions.", rich_help_panel=ORACLE
    ),
]
MaxCalls = Annotated[
    int | None, typer.Option(help="Maximum number of calls to the oracle, over all sessions.", rich_help_panel=ORACLE)
]
Prices = Annotated[
    str | None,
    typer.Option(
        metavar="IN/OUT|FILE",
        help="Prices per million input and output tokens in US dollars, such as 0.5/2, or a YAML file of prices by "
        "model, with lines such as openai:MODEL: {input: 0.5, output: 2}. Default: the published price.",
        rich_help_panel=ORACLE,
    ),
]
AnswerTokens = Annotated[
    int,
    typer.Option(min=16, help="Maximum output tokens per answer, including reasoning tokens.", rich_help_panel=ORACLE),
]
Answers = Annotated[
    int,
    typer.Option(
        help="Number of answers per article. At least 2 are needed to estimate the noise floor.", rich_help_panel=ORACLE
    ),
]


@dataclass(frozen=True, slots=True)
class Asking:
    """An oracle as the options name it, what is known of its price, and the limits.

    A price that is given wins over the user's own `table`, and that over the data of genai-prices.
    """

    spec: str
    settings: Settings
    limits: Limits
    given: Price | None = None
    table: Path | None = None
    known: Known | None = field(init=False, default=None)
    told: bool = field(init=False, default=False)

    @classmethod
    def of(cls, oracle: str, limits: Limits, prices: str | None = None) -> Asking:
        """Read the options: the oracle, as in `openai:MODEL?temperature=0@URL#VARIABLE`, and its prices.

        Raises:
            BadInput: a setting or a price is invalid.
            OracleError: the address is invalid.
        """
        spec, settings = parse_oracle(oracle)
        given = None if prices is None else _price(prices)
        return cls(spec, settings, limits, given, None if prices is None or given is not None else Path(prices))

    def __post_init__(self) -> None:
        """Find the price.

        Raises:
            BadInput: the user's table is broken.
            OracleError: the address is none that can be asked.
        """
        from potstill.labelling.prices import price_at

        if self.given is None:
            object.__setattr__(self, "known", price_at(self.spec, self.settings.base_url, self.table))

    @property
    def price(self) -> Price | None:
        """Per million tokens; None where nobody knows."""
        return self.given if self.known is None else self.known.price

    def opened(self) -> Oracle:
        """The oracle; says, the first time, where a price that was not given is from.

        Raises:
            OracleError: the spec cannot be read, or a key is missing.
        """
        from potstill.oracle import open_oracle

        if self.known is not None and not self.told:
            note(described_price(self.known))
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
        from potstill.oracle import form_of, open_oracle
        from potstill.oracle.prompt import Prompt

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
                ledger=opened, prompts=prompts, form=form_of(self.spec, self.settings, Prompt.of(filter_)),
            )  # fmt: skip
        finally:
            if opened is not None:
                opened.close()


_SETTINGS = ("temperature", "reasoning_effort", "timeout", "levels")
"""Settings of an oracle that its name may hold, as in `openai:MODEL?temperature=0`."""


def parse_oracle(text: str) -> tuple[str, Settings]:
    """Split `openai:MODEL?temperature=0@URL#VARIABLE` into `openai:MODEL` and the settings of the oracle.

    Raises:
        BadInput: a setting is unknown or out of range.
        OracleError: the address is invalid.
    """
    from potstill.oracle import Settings
    from potstill.oracle.environment import check_address

    if text.startswith("replay:"):
        return text, Settings()
    # An address's fragment is never sent, so it can hold the name of a variable.
    rest, _, variable = text.partition("#")
    rest, url = _at_address(rest)
    name, mark, given = rest.partition("?")
    if url:
        check_address(url, f"--oracle {name}@")
    settings = dict(part.partition("=")[::2] for part in given.split("&")) if mark else {}
    for setting in settings:
        if setting not in _SETTINGS:
            raise BadInput(f"--oracle {name}: got the setting {setting!r}, expected one of {', '.join(_SETTINGS)}")
    temperature, timeout = (_setting(name, settings, each) for each in ("temperature", "timeout"))
    found = Settings(
        url or None, variable or None, temperature, settings.get("reasoning_effort"), levels=_levels(name, settings)
    )
    return name, found if timeout is None else replace(found, timeout=timeout)


def _at_address(text: str) -> tuple[str, str]:
    """Split at the @ before an address; the name of a model may also hold one, as in `claude@20250219`."""
    with_scheme = re.search(r"@(?=[A-Za-z][A-Za-z0-9+.-]*://)", text)
    if with_scheme is not None:
        return text[: with_scheme.start()], text[with_scheme.end() :]
    name, _, rest = text.partition("@")
    return (name, rest) if re.search(r"[:/]", rest) else (text, "")


def _levels(oracle: str, settings: dict[str, str]) -> tuple[float, ...] | None:
    """Return the levels that are set, as in `levels=0,5,10`; None if they are not.

    Raises:
        BadInput: one of them is no number.
    """
    if "levels" not in settings:
        return None
    try:
        return tuple(float(level) for level in settings["levels"].split(","))
    except ValueError:
        raise BadInput(
            f"--oracle {oracle}: levels: got {settings['levels']!r}, expected numbers joined by commas, such as 0,5,10"
        ) from None


def _setting(oracle: str, settings: dict[str, str], name: str) -> float | None:
    """Return a numeric setting; None if it is not given.

    Raises:
        BadInput: it is no number.
    """
    if name not in settings:
        return None
    try:
        return float(settings[name])
    except ValueError:
        raise BadInput(f"--oracle {oracle}: {name}: got {settings[name]!r}, expected a number") from None


def _price(text: str) -> Price | None:
    """Return the prices of `IN/OUT`; None if the text is the name of a file.

    Raises:
        BadInput: there is only one price, or a price is out of range.
    """
    from potstill.labelling import Price

    try:
        prices = [float(part) for part in text.split("/")]
    except ValueError:
        return None
    if len(prices) != 2:
        raise BadInput(f"--prices: got {text}, expected two prices, such as 0.5/2, or a YAML file")
    return Price(prices[0], prices[1])


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


def described_price(known: Known) -> str:
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
        print("price unknown; set --prices IN/OUT (US dollars per million input and output tokens)")
    else:
        jobs = "" if not batch else f", at {_price_of_jobs(known)}"
        print(f"about {money(plan.cost)}, at most {money(plan.worst_cost)} if no call is retried{jobs}")
    if known is not None:
        print(described_price(known))
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
