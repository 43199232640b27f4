"""Run the stage `label` with labels that people already have, read from a file.

Input: a new folder or a run, and a file with texts and scores. Output: the run with the file's articles, and with its
labels as answers in the ledger. Everything is checked before anything is written.
"""

from __future__ import annotations

import shlex
import tempfile
from array import array
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from potstill.articles import open_writer, read_articles, read_table_file
from potstill.articles.faults import place_of
from potstill.dataset.assembling import with_facts
from potstill.dataset.rows import GIVEN_SPLIT
from potstill.dataset.tables import IMPORTED, Columns, Origin, answer_rows, article_rows, no_scores, other_text
from potstill.errors import BadInput, LabelError, RunError
from potstill.labelling.changes import refuse_others
from potstill.labelling.intake import add_batches, fingerprint
from potstill.labelling.ledger import IMPORTED as IMPORTED_RAW
from potstill.labelling.ledger import Answered, Ledger, Question, window_hash
from potstill.oracle.prompt import Prompt
from potstill.parquet import read_parquet
from potstill.pipeline.label import open_for_labels
from potstill.pipeline.run import LAYOUT, Run
from potstill.terminal import steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from potstill.articles.rows import Batch
    from potstill.filters import Filter
    from potstill.labelling.ledger import Known

_WAYS = "Use --replace to import the labels again for the changed filter; the old ones then no longer count."

_WINDOWS_AT_ONCE = 500
"""Number of texts that the ledger is asked about at once."""

Scores = tuple[float | None, ...]
"""Scores in the order of the filter's dimensions, None where missing."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import read from a file, and what it changed in the run."""

    rows: int
    articles: int
    """Number of articles in the file."""
    labels: dict[str, int]
    """Number of labelled rows of the file, by oracle."""
    masked: int
    """Number of missing scores in the labelled rows."""
    unscored: int
    """Number of rows without any score; their articles have no label."""
    shared: int
    """Number of articles whose text, as far as the filter reads it, is also that of another article of the file."""
    new_articles: int = 0
    new_labels: int = 0
    replaced: int = 0
    """Number of articles and oracles whose labels were replaced."""

    @property
    def changed(self) -> bool:
        """Whether the import changed the run."""
        return bool(self.new_articles or self.new_labels or self.replaced)

    @property
    def oracle(self) -> str:
        """The oracle with the most labels."""
        return max(self.labels, key=lambda name: self.labels[name])


@dataclass(frozen=True, slots=True, eq=False)
class _Content:
    """The content of a file: its articles in a temporary file, with the line of each, and the labelled rows.

    `answers` has the columns line, article, oracle, window (a hash) and `y_<dimension>`.
    """

    articles: Path
    lines: Sequence[int]
    answers: pl.DataFrame
    found: Imported


@dataclass(slots=True)
class _Changes:
    """What an import adds to a ledger and removes from it: lines of the file with their questions, and keys."""

    added: list[tuple[int, Question, Scores]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    conflicts: list[tuple[int, str]] = field(default_factory=list)
    """Lines whose scores differ from those of the run, and in what."""
    replaced: int = 0


def import_labels(
    run_folder: str | Path,
    file: str | Path,
    filter_: Filter | None = None,
    columns: Columns | None = None,
    *,
    overwrite: bool = False,
) -> Imported:
    """Import texts and scores into a run, which is created if it does not exist; recorded as the stage `label`.

    Rows with the same id are repeated answers about one article, or answers of different oracles. Without a column of
    ids, rows with the same text are. What the run already holds is not added again.

    Args:
        run_folder: a new folder, or the folder of a run.
        file: a CSV, JSON Lines or Parquet file with texts and scores.
        filter_: the filter with the dimensions and the scale; None for the filter of the run.
        columns: which column holds what. `oracle` may also be the name of the oracle of all rows.
        overwrite: whether scores that differ from those in the run replace them, and labels for another prompt cease to
            count.

    Returns:
        What the file holds, and what is new in the run.

    Raises:
        RunError: there is no such run, or another process is writing to it.
        ArticleError: a row has no text, or its id has another text in an earlier row or in the run.
        LabelError: a score is no number or outside the scale, or differs from that in the run.
    """
    folder, columns = Path(run_folder), columns or Columns()
    with tempfile.TemporaryDirectory(prefix="potstill-import-") as temporary:
        articles = Path(temporary) / "articles.parquet"
        if filter_ is None and not (folder / LAYOUT["manifest"]).exists():
            raise RunError(f"{folder}: not a run folder; a new run needs a filter: add --filter FILTER")
        content = _read(file, Run.open(folder).filter if filter_ is None else filter_, columns, articles)
        run = open_for_labels(folder, filter_, "replace" if overwrite else "refuse", _WAYS)
        facts: dict[str, Any] = {
            "oracle": ", ".join(content.found.labels),
            "file": str(file),
            "options": _options(columns),
        }
        with run.recording("label", parameters=facts) as recording:
            done = _add(run, file, content, overwrite=overwrite)
            recording.nothing_done = not done.changed
            facts["summary"] = asdict(done)
    return done


def _add(run: Run, file: str | Path, content: _Content, *, overwrite: bool) -> Imported:
    """Add the content of a file to a run."""
    prompt = Prompt.of(run.filter)
    _refuse_other_split(run, file, content)
    with Ledger(run.path("ledger")) as ledger:
        if not overwrite:
            refuse_others(ledger, prompt, _WAYS)
        changes = _changes(ledger, content.answers, prompt)
        if changes.conflicts and not overwrite:
            raise _conflict(file, changes.conflicts)
        added = add_batches(run.path("articles"), file, _articles(content))
        _write(ledger, file, content.answers, changes, prompt)
    return replace(content.found, new_articles=added, new_labels=len(changes.added), replaced=changes.replaced)


def _refuse_other_split(run: Run, file: str | Path, content: _Content) -> None:
    """Refuse a split of articles that the run has already with another one or none, because articles never change."""
    path = run.path("articles")
    wanted = read_parquet(content.articles).select("id", GIVEN_SPLIT).drop_nulls()
    if wanted.is_empty() or not path.exists():
        return
    known = with_facts(read_parquet(path)).select("id", known=GIVEN_SPLIT)
    others = wanted.join(known, on="id").filter(pl.col("known").ne_missing(pl.col(GIVEN_SPLIT)))
    if not others.is_empty():
        id_, split, before = others.row(0)
        raise BadInput(
            f"{file}: article {id_}: the split is {split}, and the run already has the article with "
            f"{before or 'no split'}; import the file into a new run"
        )


def _read(file: str | Path, filter_: Filter, columns: Columns, target: Path) -> _Content:
    """Read and check the whole file, and write its articles to `target`, each once."""
    texts: dict[str, bytes] = {}
    lines = array("q")
    answers: list[pl.DataFrame] = []
    rows = 0
    with steps("reading", None) as advance, open_writer(target) as writer:
        for frame, numbers in read_table_file(file):
            origin = Origin(str(file), numbers)
            articles = article_rows(frame, columns, origin)
            by, name = _oracle(frame, columns)
            scores = answer_rows(frame, articles["id"], filter_, by, origin, oracle=name)
            new = _new(articles, texts, origin)
            lines.extend(number for number, keep in zip(numbers, new, strict=True) if keep)
            writer.write(with_facts(articles.filter(new)))
            windows = [window_hash(filter_.text.of(*both)) for both in articles.select("title", "content").iter_rows()]
            line = pl.Series("line", numbers, dtype=pl.Int64)
            answers.append(scores.with_columns(line, pl.Series("window", windows, dtype=pl.String)))
            rows += frame.height
            advance(frame.height)
    if not rows:
        raise LabelError(f"{file}: the table has no rows")
    whole = pl.concat(answers)
    labelled = whole.filter(pl.any_horizontal(pl.col(f"y_{name}").is_not_null() for name in filter_.dimension_names))
    if labelled.is_empty():
        raise no_scores(rows, Origin(str(file)))
    return _Content(target, lines, labelled, _described(labelled, rows, len(texts)))


def _new(articles: pl.DataFrame, texts: dict[str, bytes], origin: Origin) -> pl.Series:
    """Return which rows have an id that occurs for the first time, and add these to `texts`."""
    mask = []
    for row, (id_, title, content) in enumerate(articles.select("id", "title", "content").iter_rows()):
        print_ = fingerprint(title, content)
        mask.append(id_ not in texts)
        if texts.setdefault(id_, print_) != print_:
            raise other_text(row, id_, origin)
    return pl.Series(mask, dtype=pl.Boolean)


def _oracle(frame: pl.DataFrame, columns: Columns) -> tuple[Columns, str]:
    """Return the columns and the name of the oracle of all rows, for a name that is no column."""
    if columns.oracle is None or columns.oracle in frame.columns:
        return columns, IMPORTED
    return replace(columns, oracle=None), columns.oracle


def _described(labelled: pl.DataFrame, rows: int, articles: int) -> Imported:
    by_window = labelled.select("window", "article").unique().group_by("window").len()
    return Imported(
        rows=rows,
        articles=articles,
        labels=dict(labelled["oracle"].value_counts(sort=True).iter_rows()),
        masked=sum(labelled[name].null_count() for name in labelled.columns if name.startswith("y_")),
        unscored=rows - labelled.height,
        shared=int(by_window.filter(pl.col("len") > 1)["len"].sum()),
    )


def _articles(content: _Content) -> Iterator[Batch]:
    lines = iter(content.lines)
    for frame in read_articles(content.articles):
        yield frame, list(islice(lines, frame.height))


def _changes(ledger: Ledger, answers: pl.DataFrame, prompt: Prompt) -> _Changes:
    """Compare the labels of a file with those of a ledger."""
    names = prompt.filter.dimension_names
    rows = answers.sort("window", maintain_order=True).select(
        "window", "line", "article", "oracle", *(f"y_{name}" for name in names)
    )
    changes = _Changes()
    groups = ((window, list(some)) for window, some in groupby(rows.iter_rows(), key=lambda row: row[0]))
    while some := list(islice(groups, _WINDOWS_AT_ONCE)):
        known: dict[str, list[Known]] = defaultdict(list)
        for answer in ledger.answers_about([window for window, _ in some], prompt.hash):
            known[answer.window].append(answer)
        for window, given in some:
            _compare(window, given, known[window], prompt, changes)
    return changes


def _compare(
    window: str, rows: Sequence[tuple[Any, ...]], known: Sequence[Known], prompt: Prompt, changes: _Changes
) -> None:
    """Compare the labels of one text; the labels of an article and an oracle are compared whatever their order."""
    if not known and len(rows) == 1:
        _, number, id_, by, *only = rows[0]
        changes.added.append((number, Question(id_, by, prompt.hash, window, 0), tuple(only)))
        return
    names = prompt.filter.dimension_names
    free: Counter[str] = Counter()
    before: dict[tuple[str, str], list[tuple[int, Scores]]] = defaultdict(list)
    for answer in known:
        free[answer.oracle] = max(free[answer.oracle], answer.sample + 1)
        before[answer.article, answer.oracle].append((answer.sample, tuple(map(answer.scores.get, names))))
    now: dict[tuple[str, str], list[tuple[int, Scores]]] = defaultdict(list)
    for _, line, article, oracle, *given_scores in rows:
        now[article, oracle].append((line, tuple(given_scores)))
    for (article, oracle), given in now.items():
        had = before[article, oracle]
        left = Counter(scores for _, scores in had)
        fresh = []
        for line, scores in given:
            if left[scores]:
                left[scores] -= 1
            else:
                fresh.append((line, scores))
        if not fresh:
            continue
        samples: list[int] = []
        if left.total():
            old = next(scores for scores, count in left.items() if count)
            changes.conflicts.append((fresh[0][0], _difference(names, article, oracle, old, fresh[0][1])))
            samples = [sample for sample, _ in had]
            changes.removed += [Question(article, oracle, prompt.hash, window, sample).key for sample in samples]
            changes.replaced += 1
            fresh = given
        for line, scores in fresh:
            sample = samples.pop(0) if samples else free[oracle]
            free[oracle] = max(free[oracle], sample + 1)
            changes.added.append((line, Question(article, oracle, prompt.hash, window, sample), scores))


def _difference(names: Sequence[str], article: str, oracle: str, old: Scores, new: Scores) -> str:
    name, was, now = next(both for both in zip(names, old, new, strict=True) if both[1] != both[2])
    return f"{name}: got {_shown(now)}, but the run has {_shown(was)} for id {article!r} of oracle {oracle}"


def _shown(score: float | None) -> str:
    return "no score" if score is None else f"{score:g}"


def _conflict(file: str | Path, conflicts: list[tuple[int, str]]) -> LabelError:
    line, what = min(conflicts)
    more = f" ({len(conflicts) - 1:,} more rows differ)" if len(conflicts) > 1 else ""
    return LabelError(f"{file}: {place_of(file, line)}{what}{more}; use --replace to replace the labels in the run")


def _write(ledger: Ledger, file: str | Path, answers: pl.DataFrame, changes: _Changes, prompt: Prompt) -> None:
    """Write the hash of each article's text and the changed labels, and accept the labels of the prompt."""
    ledger.know(dict(answers.select("article", "window").iter_rows()))
    names = prompt.filter.dimension_names
    raw = f"{IMPORTED_RAW}{Path(file).name}, "
    kind = place_of(file, 0).removesuffix("0: ")
    events = (_answered(f"{raw}{kind}{line}", names, question, scores) for line, question, scores in changes.added)
    ledger.record_imported(events, without=changes.removed)
    ledger.accept(prompt, others=False)


def _answered(raw: str, names: Sequence[str], question: Question, scores: Scores) -> Answered:
    return Answered(
        question=question,
        scores=dict(zip(names, scores, strict=True)),
        evidence="",
        raw=raw,
        repaired=False,
        tokens_in=None,
        tokens_out=None,
        cost=0,
        seconds=0.0,
    )


def _options(columns: Columns) -> str:
    """Return the options of the command that name these columns, for a shell."""
    words = [("text", columns.text), ("title", columns.title), ("id", columns.id), ("labels-of", columns.oracle)]
    words.append(("split-column", columns.split))
    scores = columns.scores
    if isinstance(scores, str):
        words.append(("scores", scores))
    else:
        words += [("scores", f"{name}={column}") for name, column in (scores or {}).items()]
    return "".join(f" --{name} {shlex.quote(value)}" for name, value in words if value is not None)
