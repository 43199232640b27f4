"""`potstill audit`: what labels are worth."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from potstill.cli.asking import AnswerTokens, Asking, MaxCost, OracleName, Plan_, Prices, print_plan
from potstill.cli.next import print_next

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    import polars as pl

    from potstill.audit import Answer, Audit
    from potstill.filters import Filter
    from potstill.pipeline.run import Run

DROPPED = "dropped.sqlite"
"""The ledger of dropped articles that were judged, in an audit's folder."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="audit")(audit)


def audit(
    run: Annotated[Path | None, typer.Argument(help="A run folder with labels. Alternatively, give --labels.")] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Audit this file of labels instead of a run: JSON lines with id and one of scores, samples or "
            "oracles. FILE#FIELD reads the labels from another field."
        ),
    ] = None,
    articles: Annotated[
        Path | None, typer.Option(help="Articles that --labels refers to. Not needed if its rows contain the texts.")
    ] = None,
    filter_: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="FILTER",
            help="Filter for --labels, with weights, scale and tiers: a folder or the name of a built-in filter.",
        ),
    ] = None,
    scale: Annotated[
        tuple[float, float], typer.Option(metavar="MIN MAX", help="Scale of the scores, for --labels without --filter.")
    ] = (
        0.0,
        10.0,
    ),
    labels_of: Annotated[
        str | None,
        typer.Option(metavar="ORACLE", help="Oracle whose labels to audit. Default: the one with the most labels."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for audit.json and audit.html. Default: RUN/audit.")
    ] = None,
    learn: Annotated[
        bool,
        typer.Option(
            "--learn/--no-learn",
            help="Fit cheap students to find suspect labels and to compute baselines and a learning curve.",
        ),
    ] = True,
    drop_sample: Annotated[
        int | None, typer.Option(min=1, help="Ask the oracle about N articles that the prefilter dropped.")
    ] = None,
    drop_from: Annotated[
        Path | None, typer.Option(help="File of articles to apply the prefilter to. Default: the labelled articles.")
    ] = None,
    oracle: OracleName = None,
    plan: Plan_ = False,
    max_cost: MaxCost = None,
    max_tokens: AnswerTokens = 1000,
    prices: Prices = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the full record as JSON.")] = False,
) -> None:
    """Audit label quality: spread, repeat error, redundancy, suspect labels, learning curve, prefilter misses."""
    from potstill.audit import audit_labels, judge, labelled
    from potstill.files import check_output_folder
    from potstill.interrupts import on_interrupt
    from potstill.labelling import Limits
    from potstill.pipeline.run import Run
    from potstill.report.audit import write_audit
    from potstill.terminal import steps

    _refuse(
        {
            "give either a run folder or --labels FILE": (run is None) == (labels is None),
            "--drop-sample and --oracle go together": (drop_sample is None) != (oracle is None),
            "--plan goes with --drop-sample and --oracle": plan and oracle is None,
            "--articles and --filter go with --labels; a run has its own": run is not None
            and (articles is not None or filter_ is not None),
            "--labels needs a folder for the audit: --out FOLDER": run is None and out is None,
        }
    )
    opened = None if run is None else Run.open(run)
    folder = out or (Path() if opened is None else opened.path("audit"))
    if not plan:
        own = () if opened is None else (opened.path("bundle"), opened.path("shipped"))
        check_output_folder(folder, folders=[*own])
    limits = Limits(max_cost=max_cost, max_tokens=max_tokens)
    asking = None if oracle is None else Asking.of(oracle, limits, prices)

    def read() -> _Read:
        return _read(opened, labels, articles, filter_, scale, drop_from)

    if plan and asking is not None and drop_sample is not None:
        source = read()
        chosen = source.dropped(drop_sample)
        print_plan(asking.plan([chosen], source.filter, folder / DROPPED), asking.known, as_json=as_json)
        return
    facts: dict[str, Any] = {"learn": learn, "labels_of": labels_of, "drop_sample": drop_sample}
    with _recording(opened, out, facts | {"oracle": oracle}):
        source = read()
        audited = labelled(source.articles, source.oracles, source.filter, labels_of)
        dropped: dict[str, Answer] = {}
        if asking is not None and drop_sample is not None:
            chosen = source.dropped(drop_sample)
            if chosen.height:
                on_interrupt("answers are kept; run the same command to reuse them")
                dropped = judge(
                    folder / DROPPED, chosen, source.filter, asking.opened(), limits=limits, price=asking.price
                )
        with steps("auditing", None):
            found = audit_labels(
                audited,
                source.articles,
                source.oracles,
                dropped=dropped,
                pool=source.pool,
                learn=learn,
                inputs=source.inputs,
            )
        page = write_audit(found, folder)
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        print("\n".join([*described(found), "", str(page)]))
        if opened is not None:
            print_next(opened)


def _refuse(faults: Mapping[str, bool]) -> None:
    from potstill.errors import BadInput

    for fault, there in faults.items():
        if there:
            raise BadInput(fault)


def described(found: Audit) -> list[str]:
    """The lines that the command prints for a person: a line per dimension, then the verdicts."""
    repeats = {} if found.repeats is None else {each.dimension: each for each in found.repeats.dimensions}
    head = ("dimension", "rows", "mean", "sd", "used", "floor", "ceiling", "repeat", "signal")
    lines = [head]
    for each in found.scores.dimensions:
        repeat = repeats.get(each.dimension)
        lines.append(
            (
                each.dimension,
                str(each.rows),
                _number(each.mean),
                _number(each.sd),
                _share(each.used),
                _share(each.at_floor),
                _share(each.at_ceiling),
                _number(None if repeat is None else repeat.difference),
                _share(None if repeat is None else repeat.signal),
            )
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    table = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    more = []
    if found.repeats is not None:
        more.append(
            f"repeat difference {_number(found.repeats.mean_difference)}, "
            f"noise floor {_number(found.repeats.mean_floor)} (labels are means of {found.repeats.samples:g} answers)"
        )
    if found.redundancy is not None:
        more.append(f"effective number of dimensions {_number(found.redundancy.effective)}")
    return [*table, *more, "", *(f"- {finding.text}" for finding in found.findings)]


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """What is audited: the filter, articles, answers by oracle, and the hashes of what was read.

    `pool` are the articles to see the prefilter at work on, where they are others.
    """

    filter: Filter
    articles: pl.DataFrame
    oracles: Mapping[str, Mapping[str, Answer]]
    inputs: dict[str, str]
    pool: pl.DataFrame | None

    def dropped(self, n: int) -> pl.DataFrame:
        """A random sample of what the prefilter drops.

        Raises:
            BadInput: nothing that is dropped can be missed, as no tier is positive.
        """
        from potstill.audit import dropped_by
        from potstill.errors import BadInput
        from potstill.sampling import at_random
        from potstill.terminal import note

        if not self.filter.positive_tiers:
            raise BadInput(f"{self.filter.name}: no tier is marked positive, so dropped articles cannot be misses")
        candidates = dropped_by(self.articles if self.pool is None else self.pool, self.filter)
        if not candidates.height:
            note("the prefilter drops none of these articles")
        chosen: pl.DataFrame = candidates[at_random(candidates["id"].to_list(), 0)[:n].tolist()]
        return chosen


def _read(
    run: Run | None,
    labels: str | None,
    articles: Path | None,
    filter_: str | None,
    scale: tuple[float, float],
    drop_from: Path | None,
) -> _Read:
    from potstill.audit import of_files
    from potstill.files import sha256
    from potstill.filters import load_filter
    from potstill.pipeline.audit import labels_of

    pool = None if drop_from is None else _pool(drop_from)
    inputs = {} if drop_from is None else {"drop_from": sha256(drop_from)}
    if run is not None:
        rows, oracles = labels_of(run)
        hashes = {name: run.fingerprint(name) for name in ("filter.all", "articles", "ledger")}
        inputs |= {name: value for name, value in hashes.items() if value is not None}
        return _Read(run.filter, rows, oracles, inputs, pool)
    file, mark, field = str(labels).rpartition("#")
    # A file's own name may hold a #.
    path = Path(file) if mark and not Path(str(labels)).is_file() else Path(str(labels))
    chosen = None if filter_ is None else load_filter(filter_)
    judged_by, rows, answers = of_files(
        path, articles, chosen, field=field if path.name == Path(file).name and mark else None, scale=scale
    )
    inputs |= {"labels": sha256(path)} | ({} if articles is None else {"articles": sha256(articles)})
    return _Read(judged_by, rows, answers, inputs, pool)


def _pool(path: Path) -> pl.DataFrame:
    from potstill.articles import read_all
    from potstill.dataset.assembling import with_facts

    return with_facts(read_all(path))


def _recording(run: Run | None, out: Path | None, facts: dict[str, Any]) -> AbstractContextManager[object]:
    """Record an audit in the run's own folder as a stage; one with another output folder is not recorded."""
    if run is None or out is not None:
        return nullcontext()
    return run.recording("audit", parameters=facts, seeds={"audit": 0})


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
