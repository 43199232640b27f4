"""Asks the oracle about articles that no student is certain of, within a budget.

Input: articles, and the students' rows for them. Output: the same rows; where the oracle has answered, they hold its
scores and the filter's verdict on these. Answers are requested in the same way as labels: each is stored in a ledger,
none is paid for twice, and no limit is exceeded. An article without an answer keeps the student's verdict and its mark.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from filelock import FileLock, Timeout

from potstill.articles import read_articles
from potstill.errors import BadInput, LabelError, OracleError
from potstill.labelling import Ledger, Limits, label
from potstill.labelling.changes import refuse_others
from potstill.labelling.ledger import Question, window_hash
from potstill.oracle.prompt import Prompt
from potstill.scorer.columns import with_columns
from potstill.verdict import cap_hits, decide_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from potstill.labelling import Price
    from potstill.labelling import Summary as Labelled
    from potstill.oracle import Oracle
    from potstill.scorer.one_filter import FilterScorer
    from potstill.scorer.scoring import Scorer
    from potstill.types import FloatArray

ORACLE = "oracle"
"""Value of `answered_by` in a row with the oracle's scores."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Counts of the articles to ask the oracle about.

    `answered` have its scores, requested now or earlier; `failed` have none because the oracle gave none, and
    `not_asked` because a limit was reached. `calls` and `cost` (None without a price) are those of the current call.
    """

    articles: int = 0
    answered: int = 0
    failed: int = 0
    not_asked: int = 0
    calls: int = 0
    cost: float | None = None


class Deferral:
    """Asks about marked articles, a batch at a time; created by `open_deferral`. `asked` holds the current counts."""

    def __init__(
        self, scorer: FilterScorer, opener: Callable[[], Oracle], ledger: Ledger, limits: Limits, price: Price | None
    ) -> None:
        self._scorer = scorer
        self._opener = opener
        self._ledger = ledger
        self._limits = limits
        self._price = price
        self._filter = scorer.bundle.filter
        self._prompt = Prompt.of(self._filter)
        oracle = opener()
        if not oracle.free and limits.max_cost is None and limits.max_calls is None:
            raise BadInput("--oracle needs a limit: give --max-cost or --max-calls")
        self._identity, self._revision = f"{oracle.name}:{oracle.model}", oracle.revision
        refuse_others(ledger, self._prompt, "Name another file with --ledger.")
        # Labelling an empty frame reveals problems with key, price or recording now, not after an hour of scoring.
        self._label(pl.DataFrame(schema=dict.fromkeys(("id", "title", "content"), pl.String)), oracle)
        self.asked = Asked()

    def answer(self, articles: pl.DataFrame, result: pl.DataFrame) -> pl.DataFrame:
        """Return the rows with the oracle's answers, and `answered_by` in each.

        Args:
            articles: columns id, title and content.
            result: the scorer's rows for them, nested or flat, with its marks.

        Raises:
            OracleError: the oracle cannot be used any more, because of a missing key or server.
        """
        if self._scorer.early is None:
            student = pl.lit(self._scorer.bundle.manifest.recipe)
            answered_by = result.select(pl.when(pl.col("overall").is_not_null()).then(student).alias("answered_by"))
            result = with_columns(result, [answered_by.to_series()])
        rows = np.flatnonzero(result["ask_oracle"].fill_null(value=False).to_numpy())
        if not rows.size:
            return result
        asked = _with_unique_ids(articles[rows])
        windows = [self._filter.text.of(*row) for row in asked.select("title", "content").iter_rows()]
        summary = self._label(asked, self._opener())
        scores = self._scores(asked["id"].to_list(), windows)
        verdict = decide_rows(scores, self._filter, cap_hits(windows, self._filter))
        # An oracle may leave a dimension out; scores that the filter cannot decide on do not count as an answer.
        known = verdict["overall"].is_not_null().to_numpy()
        self._count(rows.size, int(known.sum()), summary)
        if summary.fatal:
            raise OracleError(
                f"asking the oracle stopped: {summary.stopped}; its answers so far are kept, and what is scored: "
                "go on with --resume"
            )
        answers = self._columns(result[rows[known]], scores[known], verdict.filter(pl.Series(known)))
        order = np.arange(result.height)
        order[rows[known]] = result.height + np.arange(answers.height)
        return pl.concat([result, answers])[order.tolist()]

    def _label(self, articles: pl.DataFrame, oracle: Oracle) -> Labelled:
        return label(self._ledger, articles, self._filter, oracle, limits=self._limits, price=self._price)

    def _scores(self, ids: list[str], windows: list[str]) -> FloatArray:
        """Return the oracle's scores, shape (articles, dimensions); NaN where it gave none."""
        keys = [
            Question(id_, self._identity, self._prompt.hash, window_hash(window), 0, self._revision).key
            for id_, window in zip(ids, windows, strict=True)
        ]
        found = self._ledger.scores(keys)
        names = self._filter.dimension_names
        return np.array([[found.get(key, {}).get(name) for name in names] for key in keys], dtype=np.float64).reshape(
            len(keys), len(names)
        )

    def _columns(self, rows: pl.DataFrame, scores: FloatArray, verdict: pl.DataFrame) -> pl.DataFrame:
        """Replace the student's scores in rows with the oracle's; columns that only a student has become null."""
        names = self._filter.dimension_names
        each = {name: pl.Series(scores[:, index]) for index, name in enumerate(names)}
        only_students = [
            "intervals",
            "tier_probabilities",
            *(f"{end}_{name}" for name in names for end in ("low", "high")),
        ]
        only_students += [f"probability_{name}" for name in self._filter.tier_names]
        # Otherwise, columns of these names are the input's.
        only_students += ["probability", "cut", "why"] if self._scorer.by_probability else []
        flat = {f"score_{name}": column for name, column in each.items()}
        nested = {"scores": pl.DataFrame(each).to_struct("scores")}
        return rows.with_columns(
            *(pl.lit(None, rows.schema[name]).alias(name) for name in only_students if name in rows.columns),
            *(column.alias(name) for name, column in (nested if "scores" in rows.columns else flat).items()),
            *verdict.iter_columns(),
            answered_by=pl.lit(ORACLE),
            ask_oracle=pl.lit(value=False),
        )

    def _count(self, articles: int, answered: int, summary: Labelled) -> None:
        before, missing = self.asked, articles - answered
        refused = sum(summary.failed.values()) + sum(summary.given_up.values())
        failed = missing if summary.stopped is None else min(missing, refused)
        self.asked = Asked(
            articles=before.articles + articles,
            answered=before.answered + answered,
            failed=before.failed + failed,
            not_asked=before.not_asked + missing - failed,
            calls=before.calls + summary.calls,
            cost=None if summary.cost is None else (before.cost or 0.0) + summary.cost,
        )


@contextmanager
def open_deferral(
    scorer: Scorer[Any],
    opener: Callable[[], Oracle],
    ledger: str | Path,
    *,
    limits: Limits | None = None,
    price: Price | None = None,
) -> Iterator[Deferral]:
    """Open a context in which an oracle answers what a scorer marks; pass what it yields to `score_file`.

    Args:
        scorer: a scorer of one bundle that marks articles (`ask_oracle_above` or `ask_oracle_below`).
        opener: opens the oracle; called for each batch that has marks.
        ledger: file in which answers are stored; it is created if it does not exist, and locked in the meantime.
        limits: limits on amount and rate, over all calls of the ledger, earlier ones included.
        price: price per million tokens.

    Raises:
        BadInput: the scorer has a list of bundles, or marks nothing; an oracle that costs money has no limit, or a
            limit in money has no price.
        LabelError: the ledger holds answers to another prompt, or another process is writing to it.
        OracleError: the oracle cannot be opened.
    """
    one = scorer.only
    if one.ask_below is None:
        raise BadInput("nothing says which articles to ask the oracle about: give ask_oracle_above or ask_oracle_below")
    path = Path(ledger)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_name(path.name + ".lock"), timeout=0), Ledger(path) as open_ledger:
            yield Deferral(one, opener, open_ledger, limits or Limits(), price)
    except Timeout:
        raise LabelError(f"{path}: another potstill process is writing to this ledger") from None


def to_ask(scorer: Scorer[Any], source: str | Path, batch_size: int) -> Iterator[pl.DataFrame]:
    """Yield the articles of a file that the scorer marks, a batch at a time, without asking the oracle; for a plan.

    Raises:
        ArticleError: a row is broken.
    """
    for articles in read_articles(source, batch_size=batch_size, on_empty="keep"):
        marks = scorer.score_batch(articles)["ask_oracle"].fill_null(value=False)
        yield _with_unique_ids(articles.filter(marks))


def _with_unique_ids(articles: pl.DataFrame) -> pl.DataFrame:
    """Return articles with unique ids, as labelling needs them: a repeated id gets a numeric suffix."""
    again = pl.int_range(pl.len()).over("id")
    unique = pl.when(again == 0).then("id").otherwise(pl.format("{}#{}", "id", again + 1))
    return articles.select(unique.alias("id"), "title", "content")
