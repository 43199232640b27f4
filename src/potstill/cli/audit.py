"""`potstill audit` and `potstill sample`: what labels are worth, and which to buy next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from potstill.audit import Answer, Audit
    from potstill.filters import Filter


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="audit")(audit)
    app.command(name="sample")(sample)


def audit(
    run: Annotated[Path | None, typer.Argument(help="A run folder with labels; or give --labels.")] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="A file of labels instead of a run: JSON lines with id and scores, samples or oracles. "
            "FILE#FIELD for another field."
        ),
    ] = None,
    articles: Annotated[
        Path | None, typer.Option(help="The articles of --labels; left out where its rows have their texts.")
    ] = None,
    filter_: Annotated[
        str | None, typer.Option("--filter", metavar="FILTER", help="For --labels: weights, scale and tiers.")
    ] = None,
    scale: Annotated[tuple[float, float], typer.Option(metavar="MIN MAX", help="For --labels without --filter.")] = (
        0.0,
        10.0,
    ),
    labels_of: Annotated[
        str | None, typer.Option(metavar="ORACLE", help="Whose labels; else those of whom there are most.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for audit.json and audit.html; else the run's.")
    ] = None,
    learn: Annotated[
        bool, typer.Option("--learn/--no-learn", help="Fit cheap students: suspects, baselines, learning curve.")
    ] = True,
    suspects: Annotated[int, typer.Option(min=0, help="Suspects to list.")] = 50,
    drop_sample: Annotated[
        int | None, typer.Option(min=1, help="Have so many articles that the prefilter drops judged by --oracle.")
    ] = None,
    drop_from: Annotated[
        Path | None, typer.Option(help="Articles to see the prefilter at work on; else those of the labels.")
    ] = None,
    oracle: Annotated[str | None, typer.Option(help="Who judges dropped articles: as in potstill label.")] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="Never spend more on dropped articles.")] = None,
    max_calls: Annotated[int | None, typer.Option(min=0, help="Never ask more often about dropped articles.")] = None,
    price_in: Annotated[float | None, typer.Option(min=0, help="Price of a million tokens of questions.")] = None,
    price_out: Annotated[float | None, typer.Option(min=0, help="Price of a million tokens of answers.")] = None,
    base_url: Annotated[str | None, typer.Option(help="The oracle's address.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of folds, subsets, samples and resamples.")] = 0,
    resamples: Annotated[int, typer.Option(min=10, help="Of the bootstraps over clusters.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole record as JSON.")] = False,
) -> None:
    """Say what labels are worth: spread, repeat error, redundancy, suspects, learning curve, prefilter misses."""
    from potstill.audit import audit_labels, dropped_by, labelled
    from potstill.errors import BadInput
    from potstill.report.audit import write_audit
    from potstill.runs import LAYOUT

    if (run is None) == (labels is None):
        raise BadInput("give either a run folder or --labels FILE")
    if (drop_sample is None) != (oracle is None):
        raise BadInput("--drop-sample and --oracle go together")
    judged_by, rows, oracles, inputs = _read(run, labels, articles, filter_, scale)
    folder = out or (None if run is None else run / LAYOUT["audit"])
    if folder is None:
        raise BadInput("--labels needs a folder for the audit: --out FOLDER")
    pool = None if drop_from is None else _pool(drop_from)
    audited = labelled(rows, oracles, judged_by, labels_of)
    dropped: dict[str, Answer] = {}
    if drop_sample is not None and oracle is not None:
        if not judged_by.positive_tiers:
            raise BadInput(f"{judged_by.name}: no tier is marked positive, so nothing that is dropped is missed")
        candidates = dropped_by(rows if pool is None else pool, judged_by)
        dropped = _judged(
            candidates, drop_sample, judged_by, oracle, folder, seed, base_url, max_cost, max_calls, price_in, price_out
        )
    found = audit_labels(
        audited,
        rows,
        oracles,
        dropped=dropped,
        pool=pool,
        learn=learn,
        suspects=suspects,
        seed=seed,
        resamples=resamples,
        inputs=inputs,
    )
    page = write_audit(found, folder)
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        print("\n".join([*described(found), "", str(page)]))


def sample(
    run: Annotated[Path, typer.Argument(help="A run folder: its filter, and what is labelled already.")],
    articles: Annotated[Path, typer.Option(help="The pool to choose from.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Where the chosen articles go; - for JSON lines on stdout.")],
    n: Annotated[int, typer.Option("--number", "-n", min=1, help="How many.")] = 200,
    how: Annotated[
        str,
        typer.Option(help="random; high (expected scores), uncertain (cheap students disagree) or diverse."),
    ] = "random",
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    dropped: Annotated[bool, typer.Option("--dropped", help="Choose among what the prefilter drops.")] = False,
) -> None:
    """Choose which articles the oracle should label next; only a random sample may be used to judge a student."""
    from potstill.articles import open_writer, read_all
    from potstill.audit import dropped_by, labelled, of_run
    from potstill.runs import Run
    from potstill.sampling import choose
    from potstill.terminal import note

    opened = Run.open(run)
    filter_ = opened.filter
    pool = read_all(articles)
    gone = dropped_by(pool, filter_)
    pool = gone.drop("reason") if dropped else pool.filter(~pool["id"].is_in(gone["id"].to_list()))
    known = None
    if opened.path("ledger").exists() and opened.path("articles").exists():
        rows, oracles = of_run(opened)
        known = labelled(rows, oracles, filter_).examples() if oracles else None
    chosen = choose(pool, n, how, filter_, known, seed=seed)  # type: ignore[arg-type]  # choose names the ways itself
    with open_writer(out) as writer:
        writer.write(chosen)
    note(f"{chosen.height} of {pool.height} articles chosen, {how}")


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
            f"repeat difference {_number(found.repeats.mean_difference)}, floor {_number(found.repeats.mean_floor)} "
            f"(labels are means of {found.repeats.samples:g} answers)"
        )
    if found.redundancy is not None:
        more.append(f"effective number of dimensions {_number(found.redundancy.effective)}")
    return [*table, *more, "", *(f"- {finding.text}" for finding in found.findings)]


def _read(
    run: Path | None, labels: str | None, articles: Path | None, filter_: str | None, scale: tuple[float, float]
) -> tuple[Filter, pl.DataFrame, Mapping[str, Mapping[str, Answer]], dict[str, str]]:
    """The filter, articles, answers by oracle, and the hashes of what was read."""
    from potstill.audit import of_files, of_run
    from potstill.errors import BadInput
    from potstill.files import sha256
    from potstill.filters import load_filter
    from potstill.runs import Run

    if run is not None:
        if articles is not None or filter_ is not None:
            raise BadInput("--articles and --filter go with --labels; a run has its own")
        opened = Run.open(run)
        rows, oracles = of_run(opened)
        hashes = {name: opened.fingerprint(name) for name in ("filter.all", "articles", "ledger")}
        return opened.filter, rows, oracles, {name: value for name, value in hashes.items() if value is not None}
    file, mark, field = str(labels).rpartition("#")
    # A file's own name may hold a #.
    path = Path(file) if mark and not Path(str(labels)).is_file() else Path(str(labels))
    chosen = None if filter_ is None else load_filter(filter_)
    judged_by, rows, answers = of_files(
        path, articles, chosen, field=field if path.name == Path(file).name and mark else None, scale=scale
    )
    inputs = {"labels": sha256(path)} | ({} if articles is None else {"articles": sha256(articles)})
    return judged_by, rows, answers, inputs


def _pool(path: Path) -> pl.DataFrame:
    from potstill.articles import read_all
    from potstill.dataset.assembling import with_facts

    return with_facts(read_all(path))


def _judged(
    candidates: pl.DataFrame,
    n: int,
    filter_: Filter,
    oracle: str,
    folder: Path,
    seed: int,
    base_url: str | None,
    max_cost: float | None,
    max_calls: int | None,
    price_in: float | None,
    price_out: float | None,
) -> dict[str, Answer]:
    """The oracle's answers for a random sample of what is dropped."""
    from potstill.audit import judge
    from potstill.errors import BadInput
    from potstill.labelling import Limits, Price
    from potstill.oracle import Settings, open_oracle
    from potstill.sampling import at_random
    from potstill.terminal import note

    if (price_in is None) != (price_out is None):
        raise BadInput("--price-in and --price-out go together")
    if not candidates.height:
        note("the prefilter drops none of these articles")
        return {}
    chosen = candidates[at_random(candidates["id"].to_list(), seed)[:n].tolist()]
    return judge(
        folder / "dropped.sqlite",
        chosen,
        filter_,
        open_oracle(oracle, Settings(base_url=base_url)),
        limits=Limits(max_cost=max_cost, max_calls=max_calls),
        price=None if price_in is None or price_out is None else Price(price_in, price_out),
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
