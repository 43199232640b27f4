"""Run the stage `label`: buy the missing labels of a run.

Input: a new folder or a run, articles and an oracle. Output: the run with its articles and its ledger of answers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.articles import count_articles, read_articles
from potstill.filters import save_filter
from potstill.labelling.changes import WAYS, refuse_others
from potstill.labelling.intake import add_articles
from potstill.labelling.labels import label, no_label
from potstill.labelling.ledger import Ledger
from potstill.labelling.limits import repeats_of
from potstill.oracle.prompt import Prompt
from potstill.pipeline.run import LAYOUT, Run

if TYPE_CHECKING:
    from potstill.filters import Filter
    from potstill.labelling.batch import Batching
    from potstill.labelling.budget import Price
    from potstill.labelling.changes import Prompts
    from potstill.labelling.limits import Limits, Repeats, Summary
    from potstill.oracle import Oracle


def label_run(
    run_folder: str | Path,
    filter_: Filter | None,
    articles: str | Path | None,
    oracle: Oracle,
    *,
    samples: int | Repeats = 1,
    limits: Limits | None = None,
    price: Price | None = None,
    prompts: Prompts = "refuse",
    retry_failed: bool = False,
    batch: Batching | None = None,
) -> Summary:
    """Label a run: create its folder, add articles and buy the missing labels; recorded as the stage `label`.

    Args:
        run_folder: a new folder, or the folder of a run.
        filter_: the filter to label for; None for the filter of the run.
        articles: a file of articles to add to the run; None for the articles that it has.
        oracle: the oracle to ask.
        samples: answers per article, as in `label`.
        limits: limits on cost, calls and request rate.
        price: price per million tokens.
        prompts: how to treat labels made with another prompt.
        retry_failed: whether to retry questions that failed permanently.
        batch: send the questions as batch jobs.

    Returns:
        What the session bought, what failed and what it cost.

    Raises:
        RunError: there is no such run, or another process is writing to it.
        ArticleError: a row cannot be read, or an id occurs twice or is already in the run with another text.
        LabelError: as in `label`; or not a single label could be bought.
    """
    run = open_for_labels(Path(run_folder), filter_, prompts)
    repeats = repeats_of(samples)
    facts: dict[str, Any] = {"oracle": f"{oracle.name}:{oracle.model}", "samples": repeats.samples}
    if repeats.share < 1:
        facts |= {"repeat_share": repeats.share, "repeat_seed": repeats.seed}
    with run.recording("label", parameters=facts) as recording:
        if articles is not None:
            add_articles(run.path("articles"), articles)
        path = run.need("articles", "label")
        with Ledger(run.path("ledger")) as ledger:
            summary = label(
                ledger, read_articles(path), run.filter, oracle, samples=repeats, limits=limits, price=price,
                prompts=prompts, retry_failed=retry_failed, batch=batch, expected=count_articles(path),
            )  # fmt: skip
        if not summary.already and not summary.bought:
            raise no_label(summary)
        recording.nothing_done = not summary.calls
        facts["summary"] = summary.as_dict()
    return summary


def open_for_labels(folder: Path, filter_: Filter | None, prompts: Prompts, ways: str = WAYS) -> Run:
    """Open a run, or create it for a filter; a filter whose labels are the same replaces that of the run.

    Args:
        folder: a new folder, or the folder of a run.
        filter_: the filter to label for; None for the filter of the run.
        prompts: how to treat labels made with another prompt.
        ways: the user's options if there are such labels, for the message.

    Raises:
        RunError: there is no such run, or another process is writing to it.
        LabelError: the run has labels of another prompt, and `prompts` is `refuse`.
    """
    if filter_ is None:
        return Run.open(folder)
    if not (folder / LAYOUT["manifest"]).exists():
        return Run.create(folder, filter_)
    run = Run.open(folder)
    if run.filter.content_hash == filter_.content_hash:
        return run
    if prompts != "refuse" or run.filter.oracle_hash == filter_.oracle_hash:
        # Labels do not depend on tiers, gates and caps, so these may change freely. The filter is saved before the
        # record of the stage begins, because the record contains the filter that the labels are made with.
        with run.locked():
            save_filter(filter_, run.path("filter"))
        return run
    if run.path("ledger").exists():
        with Ledger(run.path("ledger")) as ledger:
            refuse_others(ledger, Prompt.of(filter_), ways)
    return Run.create(folder, filter_)  # raises an error because the filters differ


def ledger_of(filter_: Filter) -> Path:
    """Return the ledger of answers that belong to no run: one for everything that the labels of a filter depend on."""
    from potstill.students.torch.backbones import cache_folder

    return cache_folder() / "labels" / f"{filter_.name}-{filter_.oracle_hash[:12]}.sqlite"
