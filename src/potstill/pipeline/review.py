"""Review labels: a person reads what an oracle has labelled, and accepts or corrects it.

Input: a labelled run and a reviewer's name. Output: the reviewer's labels in the run's ledger, stored as those of the
oracle `human:NAME`, while the machine's labels are kept; and the agreement of the two. The dataset prefers a reviewer's
label to the oracle's; see `dataset.corrected`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, islice
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
import polars as pl

from potstill import metrics
from potstill.audit.agreement import compare
from potstill.audit.labelled import labelled
from potstill.audit.suspects import held_out, suspicion
from potstill.dataset.assembling import of_one_oracle, with_facts
from potstill.errors import BadInput, LabelError
from potstill.labelling.ledger import HUMAN, Answered, Ledger, Question, window_hash
from potstill.oracle.prompt import MAX_EVIDENCE, Prompt
from potstill.parquet import read_parquet
from potstill.pipeline.audit import labels_of
from potstill.verdict import cap_hits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from potstill.audit.records import Pair
    from potstill.filters import Filter
    from potstill.pipeline.run import Run
    from potstill.types import FloatArray

Order = Literal["random", "suspect", "disagreement"]
"""Order of the articles: random, suspicious labels first, or disagreements first.

"random" is the only order whose agreement is representative of all labels. "suspect" starts with the labels that
deviate most from a cheap student's predictions. "disagreement" starts with the articles on which two oracles, or
repeated answers of one oracle, differ most.
"""

LONGEST_NAME = 60

_LONGEST_SHOWN = 60
_MOST_DIGITS = 30
_MOST_NAMED = 20

Scores = dict[str, float | None]


@dataclass(slots=True)
class Item:
    """An article to be reviewed. `others` holds other oracles' scores, and `given` the reviewer's own, if any."""

    id: str
    title: str
    text: str
    source: str | None
    language: str | None
    scores: Scores
    evidence: str
    others: dict[str, Scores]
    why: str = ""
    given: Scores | None = None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the item as a dictionary for the page."""
        names = ("id", "title", "text", "source", "language", "scores", "evidence", "others", "why", "given", "note")
        return {name: getattr(self, name) for name in names}


class Review:
    """A reviewer's session on a run. `Review.of` opens one, and `close` ends it."""

    def __init__(self, run: Run, ledger: Ledger, reviewer: str, oracle: str, items: Sequence[Item]) -> None:
        self.run = run
        self.filter: Filter = run.filter
        self.reviewer = reviewer
        self.oracle = oracle
        self.items = list(items)
        self._ledger = ledger
        self._prompt = Prompt.of(self.filter)
        self._place = {item.id: item for item in self.items}

    @classmethod
    def of(
        cls,
        run: Run,
        reviewer: str,
        *,
        order: Order = "random",
        oracle: str | None = None,
        seed: int = 0,
        read_only: bool = False,
    ) -> Self:
        """Open a run's labels for a reviewer, in the given order.

        Args:
            run: a run with labels.
            reviewer: the person's name, which is stored in the ledger with each label.
            order: which articles come first.
            oracle: the oracle whose labels are reviewed, if the ledger has labels of several.
            seed: random seed for the random order and for the folds behind `suspect`.
            read_only: whether to only read existing judgements.

        Returns:
            The open review.

        Raises:
            BadInput: the name is not valid.
            RunError: the run has no labels yet.
            DatasetError: there are several oracles and none was chosen, or too few labels for the order `suspect`.
            LabelError: the labels do not belong to the run's current filter, or there are no two answers to compare for
                the order `disagreement`.
            MissingExtra: scikit-learn, which the order `suspect` needs, is not installed.
        """
        name = checked_name(reviewer)
        path = run.need("ledger", "label")
        articles = with_facts(read_parquet(run.need("articles", "label")))
        ledger = Ledger.reading(path) if read_only else Ledger(path)
        try:
            labels = _labels_of(ledger, run.filter)
            machine = labels.filter(~pl.col("oracle").str.starts_with(HUMAN))
            chosen = of_one_oracle(machine, oracle or _commonest(machine))[1]
            items = _items(articles, labels, run.filter, chosen, HUMAN + name)
            return cls(run, ledger, name, chosen, _ordered(run, items, ledger, order, chosen, seed))
        except BaseException:
            ledger.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    def judge(self, id_: str, scores: Mapping[str, object], note: str = "") -> Item:
        """Save the reviewer's scores of an article, replacing the same reviewer's earlier judgement.

        Args:
            id_: id of the article.
            scores: a score for every dimension, on the filter's scale; None for one that cannot be judged.
            note: the reviewer's reason, which is stored as the label's evidence.

        Returns:
            The updated item.

        Raises:
            BadInput: the article is unknown, a dimension is missing or unknown, a score is off the scale, or the note
                contains an unpaired surrogate.
            RunError: another process is writing to the run.
        """
        item = self.item(id_)
        found = self._checked(scores)
        answer = Answered(self._question(item), found, checked_note(note), "", False, 0, 0, 0, 0.0)
        with self.run.locked():
            self._ledger.record([answer])
        item.given, item.note = found, answer.evidence
        return item

    def retract(self, id_: str) -> Item:
        """Withdraw the reviewer's judgement of an article, and return the updated item.

        Raises:
            BadInput: the article is unknown.
            RunError: another process is writing to the run.
        """
        item = self.item(id_)
        with self.run.locked():
            self._ledger.retract(self._question(item))
        item.given, item.note = None, ""
        return item

    def item(self, id_: str) -> Item:
        """Return an article by id.

        Raises:
            BadInput: the article is unknown.
        """
        if id_ not in self._place:
            raise BadInput(f"no labelled article {_brief(id_)} in {self.run.folder}")
        return self._place[id_]

    def judged(self) -> list[Item]:
        """Return the articles that this reviewer has judged."""
        return [item for item in self.items if item.given is not None]

    def corrections(self) -> int:
        """Return how many judgements differ from the oracle's label in at least one score."""
        return sum(item.given != item.scores for item in self.judged())

    def agreement(self, *, resamples: int = metrics.RESAMPLES) -> list[Pair]:
        """Compare the reviewer with each oracle on the articles that both have scored; the reviewed oracle is first."""
        items = self.judged()
        if not items:
            return []
        ours = self._array([item.given or {} for item in items])
        hits = cap_hits([item.text for item in items], self.filter) if self.filter.caps else None
        pairs = []
        for oracle in [self.oracle, *sorted({name for item in items for name in item.others})]:
            theirs = self._array(
                [item.scores if oracle == self.oracle else item.others.get(oracle, {}) for item in items]
            )
            both = np.isfinite(ours + theirs).any(axis=1)
            if both.any():
                pairs.append(
                    compare(
                        (HUMAN + self.reviewer, ours[both]),
                        (oracle, theirs[both]),
                        self.filter,
                        np.arange(int(both.sum())),
                        cap_hits=None if hits is None else hits.filter(pl.Series(both)),
                        resamples=resamples,
                    )
                )
        return pairs

    def _question(self, item: Item) -> Question:
        return Question(item.id, HUMAN + self.reviewer, self._prompt.hash, window_hash(item.text), 0)

    def _checked(self, scores: Mapping[str, object]) -> Scores:
        names, scale = self.filter.dimension_names, self.filter.scale
        if set(scores) != set(names):
            given = ", ".join(_brief(name, quoted=False) for name in islice(scores, _MOST_NAMED)) or "nothing"
            raise BadInput(f"got scores of {given}; expected {', '.join(names)}")
        found: Scores = {}
        for name in names:
            value = scores[name]
            if value is None:
                found[name] = None
            elif isinstance(value, bool) or not isinstance(value, int | float) or not scale.min <= value <= scale.max:
                raise BadInput(f"{name}: got {_brief(value)}, legal {scale.min:g} to {scale.max:g}")
            else:
                found[name] = float(value) + 0.0  # so that -0.0 and 0.0 are the same score
        if all(value is None for value in found.values()):
            raise BadInput("no score at all")
        return found

    def _array(self, scores: Sequence[Mapping[str, float | None]]) -> FloatArray:
        """Return the scores as an array of shape (articles, dimensions), NaN where there is no score."""
        rows = [[row.get(name) for name in self.filter.dimension_names] for row in scores]
        return np.array(rows, dtype=np.float64)


def checked_name(name: str) -> str:
    """Return a reviewer's name in the form in which the ledger stores it.

    Raises:
        BadInput: the name is empty, too long, or contains control characters.
    """
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise BadInput(f"--reviewer: got {name!r}, expected a name of 1 to {LONGEST_NAME} characters")
    return name


def checked_note(note: str) -> str:
    """Return a note as the ledger stores it: without NUL, and at most as long as an oracle's evidence.

    Raises:
        BadInput: the note contains an unpaired surrogate, which no database can store.
    """
    try:
        note.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"note: half of a surrogate pair at character {error.start + 1}") from None
    return note[:MAX_EVIDENCE].replace("\0", "")


def _brief(value: object, *, quoted: bool = True) -> str:
    """Return a value in the form that error messages show: at most 60 characters of it."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**_MOST_DIGITS:
        return f"an integer of more than {_MOST_DIGITS} digits"
    text = value if isinstance(value, str) and len(value) <= _LONGEST_SHOWN and not quoted else repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "\N{HORIZONTAL ELLIPSIS}"


def _labels_of(ledger: Ledger, filter_: Filter) -> pl.DataFrame:
    if Prompt.of(filter_).hash not in ledger.accepted_prompts():
        raise LabelError(f"{ledger.path}: its labels are not those of the run's filter; run: potstill label")
    return ledger.labels(filter_)


def _commonest(labels: pl.DataFrame) -> str | None:
    """Return the only oracle; None if there are none or several to choose from."""
    names = labels["oracle"].unique().to_list()
    return names[0] if len(names) == 1 else None


def _items(articles: pl.DataFrame, labels: pl.DataFrame, filter_: Filter, oracle: str, reviewer: str) -> list[Item]:
    """Return the articles that the oracle has labelled, in their original order, with everyone's scores."""
    said: dict[str, dict[str, tuple[Scores, str]]] = {}
    columns = [f"y_{name}" for name in filter_.dimension_names]
    for article, name, evidence, *found in labels.select("article", "oracle", "evidence", *columns).iter_rows():
        said.setdefault(article, {})[name] = (dict(zip(filter_.dimension_names, found, strict=True)), evidence)
    items = []
    for id_, title, content, source, language in articles.select(
        "id", "title", "content", "source", "language"
    ).iter_rows():
        answers = said.get(id_, {})
        if oracle not in answers:
            continue
        scores, evidence = answers[oracle]
        given, note = answers.get(reviewer, (None, ""))
        # Other reviewers' judgements are hidden so that all judgements are independent.
        others = {name: answer[0] for name, answer in answers.items() if name != oracle and not name.startswith(HUMAN)}
        text = filter_.text.of(title or "", content or "")
        items.append(Item(id_, title or "", text, source, language, scores, evidence, others, given=given, note=note))
    return items


def _ordered(run: Run, items: list[Item], ledger: Ledger, order: Order, oracle: str, seed: int) -> list[Item]:
    """Return the items in the order in which they are reviewed, each with the reason for its position."""
    if order == "random":
        shuffled = np.random.default_rng(seed).permutation(len(items))
        return [items[row] for row in shuffled.tolist()]
    doubts = _suspicions(run, oracle, seed) if order == "suspect" else _disagreements(run, items, ledger)
    for item in items:
        item.why = doubts.get(item.id, (0.0, ""))[1]
    return sorted(items, key=lambda item: -doubts.get(item.id, (0.0, ""))[0])


def _suspicions(run: Run, oracle: str, seed: int) -> dict[str, tuple[float, str]]:
    articles, oracles = labels_of(run)
    rows = labelled(articles, {oracle: oracles[oracle]}, run.filter, oracle)
    found = held_out(rows, seed=seed)
    residuals = found.scores[found.student] - rows.scores
    doubts: dict[str, tuple[float, str]] = {}
    for id_, gaps, doubt in zip(rows.ids, residuals, suspicion(residuals).tolist(), strict=True):
        if np.isfinite(doubt):
            worst = int(np.nanargmax(np.abs(gaps)))
            direction = "higher" if gaps[worst] > 0 else "lower"
            name = rows.filter.dimension_names[worst]
            why = f"articles like this one have {name} {abs(gaps[worst]):.1f} {direction}"
            doubts[id_] = (doubt, f"{doubt:.1f} times the usual doubt: {why}")
    return doubts


def _disagreements(run: Run, items: list[Item], ledger: Ledger) -> dict[str, tuple[float, str]]:
    """Return the differences between oracles if there are several, else between one oracle's repeated answers."""
    if any(item.others for item in items):
        return {item.id: _furthest({"": item.scores, **item.others}) for item in items if item.others}
    filter_ = run.filter
    answers = ledger.answers(filter_).filter(~pl.col("oracle").str.starts_with(HUMAN))
    repeats: dict[str, dict[str, Scores]] = {}
    columns = [f"y_{name}" for name in filter_.dimension_names]
    for article, sample, *scores in answers.select("article", "sample", *columns).iter_rows():
        repeats.setdefault(article, {})[str(sample)] = dict(zip(filter_.dimension_names, scores, strict=True))
    found = {id_: _furthest(samples) for id_, samples in repeats.items() if len(samples) > 1}
    if not found:
        raise LabelError("there is nothing to compare: the run has one oracle, and one answer for each article")
    return found


def _furthest(answers: Mapping[str, Scores]) -> tuple[float, str]:
    """Return the largest difference between two answers, as the mean over dimensions, and a description of it."""
    best = (0.0, "all agree")
    for first, second in combinations(answers.values(), 2):
        gaps = {
            name: abs(cast("float", first[name]) - cast("float", second[name]))
            for name in first
            if first[name] is not None and second[name] is not None
        }
        if gaps and (mean := sum(gaps.values()) / len(gaps)) > best[0]:
            widest = max(gaps, key=lambda name: gaps[name])
            best = (mean, f"answers differ by {mean:.1f} on average, {widest} by {gaps[widest]:.1f}")
    return best
