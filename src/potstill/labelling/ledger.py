"""Store every purchased answer, every failure and the cost of each in one SQLite file, the ledger.

Input: answers and failures as they arrive. Output: labels, as means over samples. An answer is keyed by the hash of
(oracle, model, prompt, window, sample), so nothing is paid for twice, and two articles with the same text share an
answer. A call is recorded with its maximum cost before it is made. A call that never returned, for example after a
crash, counts as spent at that cost. When the prompt changes, old answers are kept; the table `prompts` records which
prompts' answers are accepted as labels.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import polars as pl

from potstill.errors import BadInput, LabelError
from potstill.files import read_database, writable
from potstill.labelling.distributions import with_distributions, with_mixtures
from potstill.oracle.hidden import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from potstill.filters import Filter
    from potstill.labelling.budget import Price
    from potstill.oracle import Distribution
    from potstill.oracle.prompt import Prompt

SCHEMA_VERSION = 2
"""Version 2 added the distributions of oracles that are asked by levels. Version 1 is read, and upgraded on writing."""

HUMAN = "human:"
"""Prefix of the oracle name for human labels; the reviewer's name follows."""

IMPORTED = "imported: "
"""Prefix of the raw answer of a label that was read from a file of the user; the file and the row follow."""

# This table is also added to ledgers that were created before it existed.
_FLAGS = """
-- Texts that speak to the oracle, and what each seems to try.
-- Jobs of a batch interface: under way from before they are sent until their answers are in `calls` and `failures`.
CREATE TABLE IF NOT EXISTS jobs (tag TEXT PRIMARY KEY, oracle TEXT NOT NULL, file TEXT, job TEXT, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS job_calls (
    key TEXT PRIMARY KEY, tag TEXT NOT NULL, article TEXT NOT NULL, oracle TEXT NOT NULL, prompt TEXT NOT NULL,
    window TEXT NOT NULL, sample INTEGER NOT NULL, revision TEXT NOT NULL, worst INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS flags (window TEXT PRIMARY KEY, tries TEXT NOT NULL) WITHOUT ROWID;
"""

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE prompts (
    hash TEXT PRIMARY KEY, parts TEXT NOT NULL, system TEXT NOT NULL, accepted INTEGER NOT NULL, at TEXT NOT NULL
);
-- Which text each article has; answers belong to texts.
CREATE TABLE windows (article TEXT NOT NULL, window TEXT NOT NULL, PRIMARY KEY (article, window)) WITHOUT ROWID;
CREATE INDEX windows_by_window ON windows (window);
-- Money is in trillionths of whatever unit the prices are in, as whole numbers, so that sums are exact.
CREATE TABLE calls (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, article TEXT NOT NULL, oracle TEXT NOT NULL,
    prompt TEXT NOT NULL, window TEXT NOT NULL, sample INTEGER NOT NULL, scores TEXT NOT NULL,
    evidence TEXT NOT NULL, raw TEXT NOT NULL, repaired INTEGER NOT NULL, tokens_in INTEGER, tokens_out INTEGER,
    cost INTEGER NOT NULL, seconds REAL NOT NULL, at TEXT NOT NULL, distributions TEXT
);
CREATE INDEX calls_by_window ON calls (window, oracle, sample);
-- Each call that gave no answer; `final` where asking the same again is not expected to help.
CREATE TABLE failures (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, article TEXT NOT NULL, oracle TEXT NOT NULL,
    prompt TEXT NOT NULL, window TEXT NOT NULL, sample INTEGER NOT NULL, reason TEXT NOT NULL,
    detail TEXT NOT NULL, raw TEXT NOT NULL, final INTEGER NOT NULL, tokens_in INTEGER, tokens_out INTEGER,
    cost INTEGER NOT NULL, seconds REAL NOT NULL, at TEXT NOT NULL
);
CREATE INDEX failures_by_key ON failures (key);
-- Calls that are being made now, with the most each can cost.
CREATE TABLE open_calls (
    key TEXT PRIMARY KEY, article TEXT NOT NULL, oracle TEXT NOT NULL, prompt TEXT NOT NULL,
    window TEXT NOT NULL, sample INTEGER NOT NULL, worst INTEGER NOT NULL, at TEXT NOT NULL
);
-- One row per article and accepted sample; where several prompts are accepted, the latest answer holds.
CREATE VIEW labels (article, oracle, sample, scores, evidence) AS
    SELECT windows.article, calls.oracle, calls.sample, calls.scores, calls.evidence
    FROM calls JOIN windows USING (window)
    WHERE calls.number = (
        SELECT max(other.number) FROM calls AS other JOIN windows AS same ON same.window = other.window
        WHERE same.article = windows.article AND other.oracle = calls.oracle AND other.sample = calls.sample
            AND other.prompt IN (SELECT hash FROM prompts WHERE accepted)
    );
"""

_UPGRADE = "ALTER TABLE calls ADD COLUMN distributions TEXT"

# The rows of the view `labels`, with the distributions of each answer. The view, which old ledgers hold too, compares
# each answer with all others of its article, so that its time grows with the cube of the number of articles that share
# a text.
_LABELS = """
    SELECT articles.article, calls.oracle, calls.sample, calls.scores, calls.evidence, max(calls.number),
        {distributions}
    FROM ({articles}) AS articles JOIN windows ON windows.article = articles.article
        JOIN calls ON calls.window = windows.window
    WHERE calls.prompt IN (SELECT hash FROM prompts WHERE accepted)
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""

_ALL = "SELECT DISTINCT article FROM windows"

# Articles with the same texts have the same answers: `first` is the article of them that comes first.
_SAME_TEXTS = """
    SELECT article, min(article) OVER (PARTITION BY texts) AS first FROM
        (SELECT article, group_concat(window) AS texts FROM (SELECT * FROM windows ORDER BY 1, 2) GROUP BY article)
    ORDER BY article
"""

_FIRST = f"SELECT article FROM ({_SAME_TEXTS}) WHERE article = first"  # noqa: S608 - a constant

_MOST_COPIES = 20
_MANY_COPIES = 1_000_000
"""Above both, in answers per text and in all, the answers that articles share are read once for each text."""


@dataclass(frozen=True, slots=True)
class Question:
    """The identity of a call; `oracle` is its name and model, `prompt` and `window` are hashes.

    `revision` distinguishes answers that one oracle would give at different times, for example after a recording is
    edited.
    """

    article: str
    oracle: str
    prompt: str
    window: str
    sample: int
    revision: str = ""

    @property
    def key(self) -> str:
        """SHA-256 over all fields except the article, in hex."""
        return call_key(self.oracle, self.prompt, self.window, self.sample, self.revision)


@dataclass(frozen=True, slots=True)
class Opened:
    """A call about to be made, with its maximum cost."""

    question: Question
    worst: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A call with an answer: scores by dimension (None = masked), and its tokens, cost and time.

    `distributions` are those whose expected values the scores are, from an oracle that gives them.
    """

    question: Question
    scores: Mapping[str, float | None]
    evidence: str
    raw: str
    repaired: bool
    tokens_in: int | None
    tokens_out: int | None
    cost: int
    seconds: float
    distributions: Mapping[str, Distribution] | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """An answer in the ledger: scores by dimension (None = masked)."""

    window: str
    article: str
    oracle: str
    sample: int
    scores: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Failed:
    """A call without an answer."""

    question: Question
    reason: str
    detail: str
    raw: str
    final: bool
    tokens_in: int | None
    tokens_out: int | None
    cost: int
    seconds: float


Event = Opened | Answered | Failed


@dataclass(frozen=True, slots=True)
class Job:
    """A batch job: our tag, its questions, and the server's names for its file and for the job.

    A job without a name may or may not have been sent, because the process ended in between.
    """

    tag: str
    oracle: str
    file: str | None
    job: str | None
    calls: tuple[Opened, ...]


@dataclass(frozen=True, slots=True)
class Spent:
    """The totals of a ledger: the number of calls, and their cost in trillionths of a currency unit."""

    calls: int
    cost: int


class Ledger:
    """An open ledger; created if the file does not exist.

    Raises:
        LabelError: the file is not a ledger, or a newer potstill version wrote it.
        BadInput: the file cannot be opened or created.
    """

    def __init__(self, path: str | Path, *, _read_only: bool = False) -> None:
        self.path = Path(path)
        new = not self.path.exists()
        # The event loop reads from this connection and a thread writes to it.
        self._lock = threading.RLock()
        try:
            if _read_only:
                self._database = read_database(self.path)
                self._check_version()
                return
            if not new and not (os.access(self.path, os.W_OK) and writable(self.path.parent)):
                # SQLite opens a read-only file without an error and would fail only at the first answer.
                raise BadInput(f"{self.path}: cannot be written (Permission denied); nothing was done")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # With autocommit, the only transactions are the explicit ones below.
            self._database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=30)
            self._prepare(new=new)
        except sqlite3.DatabaseError as error:
            raise LabelError(f"{self.path}: not a ledger ({error})") from None
        except OSError as error:
            raise BadInput(f"{self.path}: cannot be opened ({error.strerror})") from None

    @classmethod
    def reading(cls, path: str | Path) -> Self:
        """Open a ledger for reading only; nothing is created or changed, so its folder may be read-only.

        Raises:
            LabelError: the file is not a ledger, or a newer potstill version wrote it.
            BadInput: the file cannot be read.
        """
        return cls(path, _read_only=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # Methods that write.

    def record(self, events: Iterable[Event], *, without: Iterable[str] = ()) -> None:
        """Write events in one transaction; after this returns, a crash cannot lose them.

        Args:
            events: the events.
            without: keys of answers to delete first, in the same transaction.

        Raises:
            BadInput: the disk is full; the existing content is unchanged.
        """
        with self._writing() as database:
            database.executemany("DELETE FROM calls WHERE key = ?", ((key,) for key in without))
            for event in events:
                _keep(database, event)

    def record_imported(self, answers: Iterable[Answered], *, without: Iterable[str] = ()) -> None:
        """Write answers that no call was made for, in one transaction; faster than `record` for many of them.

        Args:
            answers: the answers.
            without: keys of answers to delete first, in the same transaction.

        Raises:
            BadInput: the disk is full; the existing content is unchanged.
        """
        with self._writing() as database:
            database.executemany("DELETE FROM calls WHERE key = ?", ((key,) for key in without))
            database.execute("PRAGMA cache_size = -262144")
            at = _now()
            database.executemany(_ANSWER, (_answer_columns(answer, at) for answer in answers))

    def open_job(self, tag: str, calls: Sequence[Opened]) -> None:
        """Record a batch job that is about to be sent, with the maximum cost of each call."""
        with self._writing() as database:
            oracle = calls[0].question.oracle
            _insert(database, "jobs", {"tag": tag, "oracle": oracle, "file": None, "job": None, "at": _now()})
            for call in calls:
                more = {"tag": tag, "revision": call.question.revision, "worst": _money(call.worst)}
                _insert(database, "job_calls", _columns(call.question) | more)

    def name_job(self, tag: str, *, file: str | None = None, job: str | None = None) -> None:
        """Record the names that the server gave to a job's file or to the job."""
        with self._writing() as database:
            database.execute(
                "UPDATE jobs SET file = coalesce(?, file), job = coalesce(?, job) WHERE tag = ?", (file, job, tag)
            )

    def land_job(self, tag: str, events: Iterable[Event] = ()) -> None:
        """Save the outcomes of a finished job, if it ran, and delete its record, in one transaction."""
        with self._writing() as database:
            for event in events:
                _keep(database, event)
            database.execute("DELETE FROM job_calls WHERE tag = ?", (tag,))
            database.execute("DELETE FROM jobs WHERE tag = ?", (tag,))

    def jobs(self) -> list[Job]:
        """Return the unfinished jobs, oldest first."""
        with self._lock:
            found = self._database.execute("SELECT tag, oracle, file, job FROM jobs ORDER BY rowid").fetchall()
            return [Job(tag, oracle, file, job, tuple(self._job_calls(tag))) for tag, oracle, file, job in found]

    def _job_calls(self, tag: str) -> Iterator[Opened]:
        rows = self._database.execute(
            "SELECT article, oracle, prompt, window, sample, revision, worst FROM job_calls WHERE tag = ?", (tag,)
        )
        for *question, worst in rows:
            yield Opened(Question(*question), worst)

    def retract(self, question: Question) -> bool:
        """Delete an answer, for example of a reviewer; return whether there was one."""
        with self._writing() as database:
            return database.execute("DELETE FROM calls WHERE key = ?", (question.key,)).rowcount > 0

    def know(self, windows: Mapping[str, str]) -> None:
        """Record the hash of each article's text."""
        with self._writing() as database:
            database.executemany("INSERT OR IGNORE INTO windows VALUES (?, ?)", windows.items())

    def flag(self, tries: Mapping[str, Sequence[str]]) -> None:
        """Record which manipulation attempts each text (given by its hash) contains."""
        with self._writing() as database:
            rows = [(window, ", ".join(found)) for window, found in tries.items()]
            database.executemany("INSERT OR REPLACE INTO flags VALUES (?, ?)", rows)

    def remember(self, server: str, abilities: Mapping[str, Any]) -> None:
        """Save the detected capabilities of a server for the next process."""
        with self._writing() as database:
            row = (f"server {server}", json.dumps(dict(abilities), sort_keys=True))
            database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", row)

    def accept(self, prompt: Prompt, *, others: bool) -> None:
        """Accept answers to `prompt` as labels, and answers to other prompts only if `others` is True."""
        with self._writing() as database:
            if not others:
                database.execute("UPDATE prompts SET accepted = 0 WHERE hash <> ?", (prompt.hash,))
            database.execute(
                "INSERT INTO prompts VALUES (?, ?, ?, 1, ?) ON CONFLICT (hash) DO UPDATE SET accepted = 1",
                (prompt.hash, json.dumps(prompt.parts, ensure_ascii=False), prompt.system, _now()),
            )

    def reopen(self, keys: Iterable[str]) -> None:
        """Reopen questions that failed permanently, so they can be asked again; the failures stay recorded."""
        with self._writing() as database:
            database.executemany("UPDATE failures SET final = 0 WHERE key = ?", [(key,) for key in keys])

    def has_answers(self, oracle: str) -> bool:
        """Return whether this oracle has ever answered."""
        with self._lock:
            found = self._database.execute("SELECT 1 FROM calls WHERE oracle = ? LIMIT 1", (oracle,)).fetchone()
        return found is not None

    def settle_killed(self) -> int:
        """Record unfinished calls of an ended process as failures at their maximum cost; return their number."""
        with self._writing() as database:
            found = database.execute(
                "INSERT INTO failures SELECT NULL, key, article, oracle, prompt, window, sample, 'killed',"
                " 'the process ended while the answer was awaited', '', 0, NULL, NULL, worst, 0.0, at FROM open_calls"
            )
            database.execute("DELETE FROM open_calls")
            return found.rowcount

    # Methods that read.

    def answered(self, keys: Sequence[str]) -> set[str]:
        """Return the keys that have an answer, unless another revision answered the same question later."""
        return self._among(
            "SELECT key FROM calls WHERE key IN ({}) AND number = (SELECT max(number) FROM calls AS other WHERE"
            " other.window = calls.window AND other.oracle = calls.oracle AND other.sample = calls.sample"
            " AND other.prompt = calls.prompt)",
            keys,
        )

    def scores(self, keys: Sequence[str]) -> dict[str, dict[str, float | None]]:
        """Return the scores of those keys that have an answer: key -> scores by dimension (None = masked)."""
        found = self._pairs("SELECT key, scores FROM calls WHERE key IN ({})", keys)
        return {key: json.loads(scores) for key, scores in found}

    def answers_about(self, windows: Sequence[str], prompt: str) -> Iterator[Known]:
        """Yield every answer about these texts (given by their hashes) to one prompt."""
        columns = "window, article, oracle, sample, scores, prompt"
        rows = self._pairs(f"SELECT {columns} FROM calls WHERE window IN ({{}})", windows)  # noqa: S608
        for window, article, oracle, sample, scores, asked in rows:
            if asked == prompt:
                yield Known(window, article, oracle, sample, json.loads(scores))

    def given_up(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the keys whose last failure was final, with its reason."""
        found = self._pairs(
            "SELECT key, reason FROM failures WHERE final AND key IN ({}) AND number ="
            " (SELECT max(number) FROM failures AS other WHERE other.key = failures.key)",
            keys,
        )
        return dict(found)

    def recall(self, server: str) -> dict[str, Any]:
        """Return the server capabilities that an earlier process detected; empty if there are none."""
        row = self._database.execute("SELECT value FROM meta WHERE name = ?", (f"server {server}",)).fetchone()
        found = json.loads(row[0]) if row else {}
        return found if isinstance(found, dict) else {}

    def by_oracle(self) -> pl.DataFrame:
        """Return totals per oracle: oracle, calls, answers, tokens_in, tokens_out, cost, seconds (of answers).

        Cost is in trillionths. A call of unknown size counts no tokens and its maximum cost.
        """
        sums = ", ".join(_sum_in_halves(column) for column in _COUNTED)
        rows = self._database.execute(
            f"SELECT oracle, count(*), sum(answered), {sums}, coalesce(sum(seconds * answered), 0.0) FROM"  # noqa: S608
            " (SELECT oracle, 1 AS answered, tokens_in, tokens_out, cost, seconds FROM calls UNION ALL"
            " SELECT oracle, 0, tokens_in, tokens_out, cost, seconds FROM failures) GROUP BY oracle ORDER BY oracle"
        ).fetchall()
        found = [(*row[:3], *(_whole(*row[at : at + 2]) for at in (3, 5, 7)), row[9]) for row in rows]
        schema = {"oracle": pl.String, "calls": pl.Int64, "answers": pl.Int64}
        schema |= dict.fromkeys(_COUNTED, pl.Int128) | {"seconds": pl.Float64}
        return pl.DataFrame(found, schema=schema, orient="row")

    def flags(self) -> pl.DataFrame:
        """Return the articles whose text addresses the oracle, sorted: article, tries (as `fence, instruction`)."""
        rows = self._database.execute(
            "SELECT DISTINCT article, tries FROM flags JOIN windows USING (window) ORDER BY article"
        ).fetchall()
        return pl.DataFrame(rows, schema={"article": pl.String, "tries": pl.String}, orient="row")

    def spent(self) -> Spent:
        """Return the total cost and number of all calls in this ledger; lost calls count at their maximum cost."""
        costs = f"SELECT {_sum_in_halves('cost')} FROM (SELECT cost FROM calls UNION ALL SELECT cost FROM failures)"  # noqa: S608
        # A human judgement and an imported label are not calls.
        calls = "SELECT count(*) FROM calls WHERE oracle NOT LIKE ? || '%' AND raw NOT LIKE ? || '%'"
        query = f"SELECT ({calls}) + (SELECT count(*) FROM failures)"  # noqa: S608
        [made] = self._database.execute(query, (HUMAN, IMPORTED)).fetchone()
        return Spent(made, _whole(*self._database.execute(costs).fetchone()))

    def price_unpriced(self, oracle: str, price: Price) -> tuple[int, int]:
        """Set the price of an oracle's calls that used tokens and were recorded without a price.

        Returns:
            The number of these calls, and their total cost in trillionths.
        """
        calls = total = 0
        with self._writing():
            for table in ("calls", "failures"):
                used = f"SELECT number, tokens_in, tokens_out FROM {table} WHERE oracle = ? AND cost = 0"  # noqa: S608
                costs = [
                    (_money(price.of(tokens_in or 0, tokens_out or 0)), number)
                    for number, tokens_in, tokens_out in self._database.execute(used, (oracle,))
                    if tokens_in or tokens_out
                ]
                costs = [(cost, number) for cost, number in costs if cost]
                self._database.executemany(f"UPDATE {table} SET cost = ? WHERE number = ?", costs)  # noqa: S608
                calls += len(costs)
                total += sum(cost for cost, _ in costs)
        return calls, total

    def accepted_prompts(self) -> dict[str, dict[str, Any]]:
        """Return the accepted prompts that have at least one answer: hash -> parts."""
        rows = self._database.execute(
            "SELECT hash, parts FROM prompts WHERE accepted AND EXISTS (SELECT 1 FROM calls WHERE prompt = hash)"
        )
        return {hash_: json.loads(parts) for hash_, parts in rows}

    def failures(self) -> pl.DataFrame:
        """Return every failure, oldest first: article, oracle, sample, reason, detail, final, at."""
        rows = self._database.execute(
            "SELECT article, oracle, sample, reason, detail, final, at FROM failures ORDER BY number"
        ).fetchall()
        schema = {"article": pl.String, "oracle": pl.String, "sample": pl.Int64, "reason": pl.String,
                  "detail": pl.String, "final": pl.Int64, "at": pl.String}  # fmt: skip
        return pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col("final").cast(pl.Boolean))

    def answers(self, filter_: Filter) -> pl.DataFrame:
        """Return each accepted answer: article, oracle, sample, evidence and `y_<dimension>` (null = masked).

        If any answer has a distribution, there is a column `d_<dimension>` of each dimension too, see
        `distributions.COLUMN_TYPE`. The rows are sorted by article, oracle and sample.

        Raises:
            LabelError: a label does not have the dimensions of the filter, or is outside its scale.
        """
        return self._answers(filter_, _ALL)

    def _answers(self, filter_: Filter, articles: str) -> pl.DataFrame:
        """Return the answers about the articles of an SQL query, as `answers` does."""
        names = filter_.dimension_names
        low, high = filter_.scale.min, filter_.scale.max
        columns: dict[str, list[Any]] = {name: [] for name in ("article", "oracle", "sample", "evidence")}
        scores: dict[str, list[float | None]] = {name: [] for name in names}
        shares: dict[str, list[Distribution | None]] = {name: [] for name in names}
        for article, oracle, sample, text, evidence, _, kept in self._database.execute(
            _labels_query(self._database, articles)
        ):
            facts = (article, oracle, sample, evidence)
            found = json.loads(text)
            if set(found) != set(names):
                raise LabelError(
                    f"{self.path}: the label of {facts[0]!r} has the dimensions {', '.join(found)}; "
                    f"{filter_.name} has {', '.join(names)}"
                )
            for name in names:
                value = found[name]
                if value is not None and not low <= value <= high:
                    raise LabelError(f"{self.path}: {facts[0]!r}: {name}: got {value}, expected {low:g} to {high:g}")
                scores[name].append(value)
            found = {} if kept is None else json.loads(kept)
            for name in names:
                shares[name].append(found.get(name))
            for name, fact in zip(columns, facts, strict=True):
                columns[name].append(fact)
        schema: dict[str, Any] = {"article": pl.String, "oracle": pl.String, "sample": pl.Int64, "evidence": pl.String}
        columns |= {f"y_{name}": values for name, values in scores.items()}
        frame = pl.DataFrame(columns, schema=schema | {f"y_{name}": pl.Float64 for name in names})
        return frame.with_columns(with_distributions(shares))

    def labels(self, filter_: Filter) -> pl.DataFrame:
        """Return one row per article and oracle, sorted, with means over the samples.

        Columns: article, oracle, samples, evidence (of the first sample), `y_<dimension>` (mean; null if no sample has
        a score) and `s_<dimension>` (standard deviation over the samples, 0.0 for one sample). If any answer has a
        distribution, there is also a column `d_<dimension>`, the mixture of the samples' distributions.

        Raises:
            LabelError: as in `answers`.
        """
        names = filter_.dimension_names
        answers = self._answers(filter_, _FIRST)
        found = answers.group_by("article", "oracle", maintain_order=True).agg(
            pl.len().cast(pl.Int64).alias("samples"),
            pl.col("evidence").first(),
            *(pl.col(f"y_{name}").mean() for name in names),
            *(pl.col(f"y_{name}").std(ddof=0).alias(f"s_{name}") for name in names),
        )
        found = with_mixtures(found, answers, names)
        with self._lock:
            same = self._database.execute(_SAME_TEXTS).fetchall()
        articles = pl.DataFrame(same, schema={"article": pl.String, "first": pl.String}, orient="row")
        labels = articles.join(found.rename({"article": "first"}), on="first", maintain_order="left_right")
        return labels.drop("first")

    # Private methods.

    def _prepare(self, *, new: bool) -> None:
        database = self._database
        database.execute("PRAGMA journal_mode=WAL")
        # Answers cost money, so they must survive a power failure. Many are written in one transaction, which shares
        # the delay of the sync.
        database.execute("PRAGMA synchronous=FULL")
        if new or not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            version = f"INSERT INTO meta VALUES ('schema_version', '{SCHEMA_VERSION}');"  # noqa: S608 - a constant
            database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} {_FLAGS} {version} COMMIT;")
            return
        if self._check_version() < SCHEMA_VERSION:
            self._upgrade()
        database.executescript(_FLAGS)

    def _upgrade(self) -> None:
        """Add what a ledger of version 1 does not have; two processes may try it at once."""
        with self._writing() as database:
            if not _has_distributions(database):
                database.execute(_UPGRADE)
            database.execute("UPDATE meta SET value = ? WHERE name = 'schema_version'", (str(SCHEMA_VERSION),))

    def _check_version(self) -> int:
        with closing(self._database.execute("SELECT value FROM meta WHERE name = 'schema_version'")) as rows:
            row = rows.fetchone()
        if row is None or not str(row[0]).isdecimal():
            raise LabelError(f"{self.path}: not a ledger (it has no schema_version)")
        found = int(row[0])
        if found > SCHEMA_VERSION:
            raise LabelError(
                f"{self.path}: schema_version {found} is newer than this version of potstill supports "
                f"({SCHEMA_VERSION})"
            )
        return found

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
                self._database.execute("COMMIT")
            except sqlite3.OperationalError as error:
                raise BadInput(f"{self.path}: cannot be written ({error}); existing content is unchanged") from error
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")

    def _among(self, query: str, keys: Sequence[str]) -> set[str]:
        return {row[0] for row in self._pairs(query, keys)}

    def _pairs(self, query: str, keys: Sequence[str]) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            with self._lock:
                found += self._database.execute(query.format(",".join("?" * len(part))), part).fetchall()
        return found


def _has_distributions(database: sqlite3.Connection) -> bool:
    return any(name == "distributions" for _, name, *_ in database.execute("PRAGMA table_info(calls)"))


def _labels_query(database: sqlite3.Connection, articles: str) -> str:
    """Return the query for the labels of an SQL query's articles, which works for ledgers of every version."""
    column = "calls.distributions" if _has_distributions(database) else "NULL"
    return _LABELS.format(articles=articles, distributions=column)


def hash_labels(database: sqlite3.Connection) -> str:
    """Hash a ledger's labels: only what later stages read, and not when or how the labels were bought."""
    hasher = hashlib.sha256()
    copies, calls = database.execute(
        "SELECT (SELECT coalesce(sum(articles * answers), 0) FROM"
        " (SELECT window, count(*) AS articles FROM windows GROUP BY window)"
        " JOIN (SELECT window, count(*) AS answers FROM calls GROUP BY window) USING (window)),"
        " (SELECT count(*) FROM calls)"
    ).fetchone()
    many = copies > max(_MOST_COPIES * calls, _MANY_COPIES)
    if many:
        for row in database.execute(_SAME_TEXTS):
            hasher.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    for *row, _, _, distributions in database.execute(_labels_query(database, _FIRST if many else _ALL)):
        # Labels without a distribution have the hash that they had before there were any.
        hashed = row if distributions is None else [*row, distributions]
        hasher.update(json.dumps(hashed, ensure_ascii=False).encode() + b"\n")
    return hasher.hexdigest()


_COUNTED = ("tokens_in", "tokens_out", "cost")


def _sum_in_halves(column: str) -> str:
    """Return SQL for the sums of the higher and the lower 32 bits of a column.

    In SQLite, an integer sum of more than 63 bits is an error. These sums stay below that limit, even if a server
    reported absurd counts.
    """
    return f"coalesce(sum({column} >> 32), 0), coalesce(sum({column} & 4294967295), 0)"


def _whole(high: int, low: int) -> int:
    """Combine the sums of the two halves."""
    return (high << 32) + low


MOST_TOKENS = 10**12
"""The largest plausible token count; greater values are treated as unknown."""


def _count(value: object) -> int | None:
    """Return a token count, or None for an invalid value."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value <= MOST_TOKENS else None  # type: ignore[operator,return-value]


def _money(value: int) -> int:
    """Return a cost clipped to the range that SQLite can store."""
    return max(0, min(value, 2**63 - 1))


def call_key(oracle: str, prompt: str, window: str, sample: int, revision: str = "") -> str:
    """Return the key of a call: SHA-256 of oracle and model, prompt hash, window hash and sample number, in hex."""
    parts = (oracle, prompt, window, str(sample), *([revision] if revision else []))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def window_hash(window: str) -> str:
    """Return the SHA-256, in hex, of a window as the oracle sees it, without hidden characters."""
    return hashlib.sha256(shown(window).encode()).hexdigest()


def _columns(question: Question) -> dict[str, Any]:
    return {
        "key": question.key,
        "article": question.article,
        "oracle": question.oracle,
        "prompt": question.prompt,
        "window": question.window,
        "sample": question.sample,
    }


# The encoding must be unique per set of scores, because a hash of this text decides whether the run is stale.
_encode_scores = json.JSONEncoder(sort_keys=True, allow_nan=False).encode


def _answer_columns(event: Answered, at: str) -> dict[str, Any]:
    return _columns(event.question) | {
        "scores": _encode_scores(dict(event.scores)),
        "evidence": event.evidence,
        "raw": event.raw,
        "repaired": event.repaired,
        "tokens_in": _count(event.tokens_in),
        "tokens_out": _count(event.tokens_out),
        "cost": _money(event.cost),
        "seconds": event.seconds,
        "at": at,
        "distributions": None if event.distributions is None else _encode_scores(dict(event.distributions)),
    }


_ANSWER_COLUMNS = (
    "key", "article", "oracle", "prompt", "window", "sample", "scores", "evidence", "raw", "repaired", "tokens_in",
    "tokens_out", "cost", "seconds", "at", "distributions",
)  # fmt: skip

# The key can only exist already if an earlier revision's answer is valid again; that answer becomes the latest.
_ANSWER = (
    f"INSERT OR REPLACE INTO calls ({', '.join(_ANSWER_COLUMNS)}) "  # noqa: S608 - constants of this module
    f"VALUES ({', '.join(f':{name}' for name in _ANSWER_COLUMNS)})"
)


def _failure_columns(event: Failed) -> dict[str, Any]:
    return _columns(event.question) | {
        "reason": event.reason,
        "detail": event.detail,
        "raw": event.raw,
        "final": event.final,
        "tokens_in": _count(event.tokens_in),
        "tokens_out": _count(event.tokens_out),
        "cost": _money(event.cost),
        "seconds": event.seconds,
        "at": _now(),
    }


def _keep(database: sqlite3.Connection, event: Event) -> None:
    if isinstance(event, Opened):
        _insert(database, "open_calls", _columns(event.question) | {"worst": _money(event.worst), "at": _now()})
        return
    database.execute("DELETE FROM open_calls WHERE key = ?", (event.question.key,))
    if isinstance(event, Answered):
        database.execute(_ANSWER, _answer_columns(event, _now()))
    else:
        _insert(database, "failures", _failure_columns(event))


def _insert(database: sqlite3.Connection, table: str, columns: Mapping[str, Any]) -> None:
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    # The names are constants of this module.
    query = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608
    database.execute(query, tuple(columns.values()))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
