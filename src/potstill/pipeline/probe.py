"""Test the behaviour of a bundle, of an oracle, or of both, on texts of which we know how their scores must differ.

Input: a bundle, a run or a filter; its behaviour tests; articles; perhaps an oracle. Output: a `ProbeRecord`; for a
run's bundle it is the run's stage `probe`. An oracle's answers are stored in a ledger of their own, so that repeating
the tests costs nothing and no run's labels change.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from potstill.articles import article_id, read_all
from potstill.dataset import Dataset
from potstill.dataset.assembling import with_facts
from potstill.errors import BadInput, FilterError, OracleError
from potstill.files import check_ledger, check_output_folder, digest, read_text, write_text
from potstill.filters import (
    PROBES_NAME,
    YAML_NAME,
    Filter,
    Probes,
    builtin_filters,
    builtin_probes,
    check_probes,
    load_filter,
    load_probes,
    probes_path,
)
from potstill.labelling import Ledger, label
from potstill.labelling.changes import refuse_others
from potstill.labelling.labels import no_label
from potstill.oracle.prompt import Prompt
from potstill.pipeline.fresh import run_of
from potstill.pipeline.label import ledger_of
from potstill.pipeline.run import DEFAULT_PROBED, LAYOUT, Run
from potstill.probing import Asked, Probed, ProbeRecord, Text, build_cases, findings_of, judge_cases, relative_to
from potstill.probing.cases import drawn
from potstill.probing.judging import read_target, rise_of, shift_of, targets_of
from potstill.probing.records import Texts
from potstill.scorer import Scorer
from potstill.terminal import steps_if_long

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from potstill.labelling import Limits, Price, Summary
    from potstill.oracle import Oracle
    from potstill.probing import Cases
    from potstill.probing.records import Check, Failing, Subject
    from potstill.types import FloatArray

PROBE_LAYOUT: Mapping[str, str] = {"record": Path(LAYOUT["probe_record"]).name, "ledger": "ledger.sqlite"}
"""Names of the files in the folder of behaviour tests."""

_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class ProbeCheck:
    """Everything except the oracle that behaviour tests need; `prepare` creates it.

    `scorer` is None if only an oracle is tested. `folder` is the folder for results, or None to write nothing. `run` is
    the run of which the tests are a stage.
    """

    filter: Filter
    cases: Cases
    about: Texts
    ledger: Path
    scorer: Scorer[Any] | None = None
    folder: Path | None = None
    run: Run | None = None
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def texts(self) -> pl.DataFrame:
        """The distinct texts that are scored, as articles: id, title, content and source."""
        contents = [text.content for text in self.cases.texts]
        columns = {
            "id": [article_id("", content) for content in contents],
            "title": [""] * len(contents),
            "content": contents,
            "source": [text.source for text in self.cases.texts],
        }
        return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))

    @property
    def questions(self) -> pl.DataFrame:
        """The distinct texts that an oracle is asked about, each once: id, title and content."""
        return self.texts.select("id", "title", "content").unique("id", keep="first", maintain_order=True)

    def carry_out(
        self,
        oracle: Oracle | None = None,
        *,
        samples: int = 1,
        limits: Limits | None = None,
        price: Price | None = None,
        least: Sequence[str] = (),
    ) -> ProbeRecord:
        """Score the texts with the bundle, with the oracle, or with both; judge the scores and write the record.

        Args:
            oracle: the oracle to test; it is closed at the end.
            samples: answers per text; scores are their means.
            limits: limits on number, cost and rate, over all calls of the ledger.
            price: price per million tokens.
            least: pass rates to reach, such as `0.9` or `ramps=0.9`; see `ProbeRecord.targets`. They apply to the
                student, or to the oracle if there is no student.

        Raises:
            BadInput: there is nothing to test, or a target is not valid.
            OracleError: the oracle cannot be asked. Answers so far are kept.
            LabelError: the oracle has answered nothing.
            RunError: another process is writing to the run.
        """
        if oracle is None and self.scorer is None:
            raise BadInput("a filter scores nothing by itself: name a bundle or a run, or an oracle with --oracle")
        for text in least:
            read_target(text)
        facts = self.parameters | ({} if oracle is None else {"oracle": f"{oracle.name}:{oracle.model}"})
        seeds = {"articles": self.about.seed}
        stage = nullcontext() if self.run is None else self.run.recording("probe", parameters=facts, seeds=seeds)
        with stage:
            subjects: dict[Subject, Probed] = {}
            if self.scorer is not None:
                subjects["student"] = self._student(self.scorer)
            if oracle is not None:
                subjects["oracle"] = self._oracle(oracle, samples, limits, price)
            record = self._record(subjects, least)
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
                record.save(self.folder / PROBE_LAYOUT["record"])
        return record

    def _record(self, subjects: dict[Subject, Probed], least: Sequence[str]) -> ProbeRecord:
        relative = relative_to(subjects["student"], subjects["oracle"]) if len(subjects) == 2 else None
        targets = targets_of(least, next(iter(subjects.values())).checks)
        return ProbeRecord(
            filter=self.filter.name,
            filter_version=self.filter.version,
            filter_hash=self.filter.content_hash,
            dimensions=self.filter.dimension_names,
            rise=round(rise_of(self.filter), 9),
            shift=round(shift_of(self.filter), 9),
            texts=self.about,
            subjects=subjects,
            relative=relative,
            targets=targets,
            met=all(target.met for target in targets) if targets else None,
            findings=findings_of(subjects, relative),
        )

    def _student(self, scorer: Scorer[Any]) -> Probed:
        bundle = scorer.bundle
        checks, failing = self._judged(scored(scorer, self.texts))
        return Probed(
            name=bundle.manifest.recipe,
            # A student in memory has neither a folder nor a hash.
            bundle=str(bundle.folder) if bundle.hash else None,
            bundle_sha256=bundle.hash or None,
            checks=checks,
            failing=failing,
        )

    def _oracle(self, oracle: Oracle, samples: int, limits: Limits | None, price: Price | None) -> Probed:
        name = f"{oracle.name}:{oracle.model}"
        self.ledger.parent.mkdir(parents=True, exist_ok=True)
        if self.ledger.exists():
            with Ledger(self.ledger) as kept:
                refuse_others(kept, Prompt.of(self.filter), "Choose another folder with --out.")
        questions = self.questions
        summary = label(self.ledger, questions, self.filter, oracle, samples=samples, limits=limits, price=price)
        if summary.fatal:
            raise OracleError(
                f"labelling stopped: {summary.stopped}; all answers so far are kept, and the same command goes on"
            )
        scores = self._answers(self.ledger, name)
        if np.isnan(scores).all():
            raise no_label(summary)
        checks, failing = self._judged(scores)
        asked = _asked(name, self.ledger, questions.height, summary, samples)
        return Probed(name=name, asked=asked, checks=checks, failing=failing)

    def _answers(self, ledger: Path, oracle: str) -> FloatArray:
        """Return the oracle's mean scores of the texts, shape (texts, dimensions); NaN without an answer."""
        with Ledger.reading(ledger) as kept:
            found = kept.labels(self.filter).filter(pl.col("oracle") == oracle)
        columns = [f"y_{name}" for name in self.filter.dimension_names]
        rows = self.texts.select(pl.col("id").alias("article")).join(
            found.select("article", *columns), on="article", how="left", maintain_order="left"
        )
        return _array(rows, columns)

    def _judged(self, scores: FloatArray) -> tuple[dict[str, Check], tuple[Failing, ...]]:
        return judge_cases(self.cases, scores, self.filter)


def prepare(
    place: str | Path | Scorer[Any] | Filter,
    *,
    probes: str | Path | Probes | None = None,
    articles: str | Path | Sequence[Text] | None = None,
    number: int = DEFAULT_PROBED,
    seed: int = 0,
    folder: Path | None = None,
    ledger: Path | None = None,
    keeps: bool = True,
) -> ProbeCheck:
    """Open what is tested, and collect the texts; no oracle is asked yet.

    Args:
        place: a bundle, a run, an open scorer of one bundle, or a filter, whose oracle is tested.
        probes: a `probes.yaml`, a filter's folder, the name of a built-in filter, or the tests themselves. A run keeps
            a copy of the file. Default: the tests of the run's filter, or those of the built-in filter of the same name
            and dimensions.
        articles: a file of articles to change, or texts. Default: the test part of the run, or else the texts of the
            ramps.
        number: number of articles, chosen at random.
        seed: random seed of that choice.
        folder: folder for results and bought answers. Default for a run: the run's own folder for them.
        ledger: another path for the bought answers. Without it and a folder, they are kept in potstill's cache folder.
        keeps: whether results and answers will be saved; a plan writes nothing.

    Raises:
        BadInput: there are no articles, or the place holds nothing that can be tested.
        FilterError: there are no behaviour tests, or they are not valid.
        ArticleError: the file of articles cannot be read.
        BundleError: the bundle fails its self-test.
    """
    if number < 1:
        raise BadInput(f"--number: got {number}, expected at least 1")
    scorer, filter_, run = _opened(place)
    stage_of = run if folder is None else None
    folder = folder if stage_of is None else stage_of.path("probe")
    kept = ledger or (ledger_of(filter_) if folder is None else folder / PROBE_LAYOUT["ledger"])
    if keeps and folder is not None:
        check_output_folder(folder, folders=[] if scorer is None else [scorer.bundle.folder])
    if keeps and (folder is not None or ledger is not None):
        check_ledger(kept, inputs=[articles] if isinstance(articles, str | Path) else [])
    tests, tests_from = _probes(place, probes, filter_, stage_of if keeps else None, run)
    texts, texts_from = _articles(articles, tests, filter_, run)
    chosen = drawn(texts, number, seed)
    if not chosen:
        raise BadInput(f"{texts_from}: there are no texts to change")
    cases = build_cases(tests, filter_, chosen)
    about = Texts(
        probes=tests_from,
        probes_sha256=digest(tests.model_dump(mode="json")),
        ramps=sum(len(ramps) for ramps in tests.ramps.values()),
        negations=sum(len(pairs) for pairs in tests.negations.values()),
        paraphrases=len(tests.paraphrases),
        articles_from=texts_from,
        articles=len(chosen),
        seed=seed,
        distinct=len(cases.texts),
        unchanged=cases.unchanged,
    )
    given: dict[str, Any] = {"number": number} | ({"file": str(articles)} if isinstance(articles, str | Path) else {})
    return ProbeCheck(filter_, cases, about, kept, scorer, folder, stage_of, given)


def scored(scorer: Scorer[Any], texts: pl.DataFrame) -> FloatArray:
    """Return a scorer's scores of texts, shape (texts, dimensions); NaN where the prefilter drops a text."""
    names = scorer.bundle.filter.dimension_names
    columns = [f"score_{name}" for name in names]
    parts = []
    with steps_if_long("scoring texts", texts.height) as advance:
        for start in range(0, texts.height, _BATCH):
            part = texts[start : start + _BATCH]
            parts.append(_array(scorer.score_batch(part), columns))
            advance(part.height)
    return np.concatenate(parts)


def carry_probes(package: str | Path, run: Path) -> Path | None:
    """Copy the behaviour tests of a filter's folder into a run that has none yet, and return the path of the copy.

    Returns None for a built-in filter, for a folder without tests, and if the run has its own.

    Raises:
        FilterError: the tests are not valid.
    """
    target = run / LAYOUT["probes"]
    source = probes_path(package)
    built_in = package in builtin_filters()
    if built_in or source.name != PROBES_NAME or not source.is_file() or target.exists() or not target.parent.is_dir():
        return None
    load_probes(Run.open(run).filter, source)
    write_text(target, read_text(source))
    return target


def _opened(place: str | Path | Scorer[Any] | Filter) -> tuple[Scorer[Any] | None, Filter, Run | None]:
    """Open a scorer's bundle, a bundle, a run or a filter; return the scorer, the filter and the run."""
    if isinstance(place, Scorer):
        return place, place.bundle.filter, None
    if isinstance(place, Filter):
        return None, place, None
    path = Path(place)
    if str(place) in builtin_filters() or ((path / YAML_NAME).is_file() and not _is_bundle(path)):
        return None, load_filter(place), None
    if (path / LAYOUT["manifest"]).exists():
        run = Run.open(path)
        scorer = Scorer.load(run.shipped(), follow_plan=False) if run.path("bundle").exists() else None
        return scorer, run.filter if scorer is None else scorer.bundle.filter, run
    bundle, above = run_of(path)
    scorer = Scorer.load(bundle, follow_plan=False)
    own = above is not None and bundle.resolve() in {above.path(name).resolve() for name in ("bundle", "shipped")}
    return scorer, scorer.bundle.filter, above if own else None


def _is_bundle(folder: Path) -> bool:
    from potstill.bundle import BUNDLE_LAYOUT

    return (folder / BUNDLE_LAYOUT["manifest"]).exists()


def _probes(
    place: str | Path | Scorer[Any] | Filter,
    given: str | Path | Probes | None,
    filter_: Filter,
    keeper: Run | None,
    run: Run | None,
) -> tuple[Probes, str]:
    """Return the tests, and where they are from; a run keeps a copy of those that are given."""
    if isinstance(given, Probes):
        check_probes(given, filter_)
        return given, "in memory"
    if given is not None:
        tests = load_probes(filter_, given)
        if keeper is not None and given not in builtin_filters():
            with keeper.locked():
                write_text(keeper.path("probes"), read_text(probes_path(given)))
        return tests, str(given)
    own = _own_tests(place, run)
    if own is not None and own.is_file():
        return load_probes(filter_, own), str(own)
    shipped = builtin_probes(filter_)
    if shipped is not None:
        return shipped, f"{filter_.name}/{PROBES_NAME}"
    where = f"there is no {own}" if own is not None else f"{filter_.name} is no built-in filter"
    raise FilterError(
        f"no behaviour tests: {where}; write a {PROBES_NAME} (docs/probing.md shows how) and name it with --probes"
    )


def _own_tests(place: str | Path | Scorer[Any] | Filter, run: Run | None) -> Path | None:
    """Return where the tests of the run's filter, or of the filter's folder, would be."""
    if run is not None:
        return run.path("probes")
    if isinstance(place, Scorer | Filter) or str(place) in builtin_filters() or _is_bundle(Path(place)):
        return None
    return probes_path(place)


def _articles(
    given: str | Path | Sequence[Text] | None, tests: Probes, filter_: Filter, run: Run | None
) -> tuple[list[Text], str]:
    """Return the articles to change, and where they are from."""
    if isinstance(given, str | Path):
        rows = with_facts(read_all(given, on_empty="keep")).select("title", "content", "source").iter_rows()
        return [Text(filter_.text.of(title, content), source) for title, content, source in rows], str(given)
    if given is not None:
        return list(given), "a table"
    if run is not None and run.path("rows").is_file():
        part = Dataset.load(run.path("rows"), run.filter.dimension_names).part("test").frame
        if part.height:
            sources = part["source"] if "source" in part.columns else [None] * part.height
            return [Text(text, source) for text, source in zip(part["text"], sources, strict=True)], "test part"
    return [Text(text) for text in tests.texts], "ramps"


def _array(rows: pl.DataFrame, columns: Sequence[str]) -> FloatArray:
    return np.column_stack([rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in columns])


def _asked(name: str, ledger: Path, texts: int, summary: Summary, samples: int) -> Asked:
    failed = {
        reason: summary.failed.get(reason, 0) + summary.given_up.get(reason, 0)
        for reason in sorted({*summary.failed, *summary.given_up})
    }
    return Asked(
        oracle=name,
        ledger=str(ledger),
        texts=texts,
        already=summary.already,
        bought=summary.bought,
        calls=summary.calls,
        cost=summary.cost,
        failed=failed,
        stopped=summary.stopped,
        samples=samples,
    )
