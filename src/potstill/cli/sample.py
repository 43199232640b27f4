"""`potstill sample`: which articles to have labelled next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.next import print_next


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="sample")(sample)


def sample(
    run: Annotated[
        Path, typer.Argument(help="A run folder. Its filter applies, and articles that it has labelled are left out.")
    ],
    articles: Annotated[Path, typer.Option(help="File of articles to choose from.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Output file; - writes JSON lines to stdout.")],
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Number of articles to choose.")] = 200,
    how: Annotated[
        str,
        typer.Option(help="Sampling method: random, or high (the highest scores that a cheap student predicts)."),
    ] = "random",
    dimension: Annotated[
        str | None,
        typer.Option(help="With --how high: compare the predicted scores of this dimension instead of overall."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    dropped: Annotated[
        bool, typer.Option("--dropped", help="Choose from the articles that the prefilter drops.")
    ] = False,
) -> None:
    """Choose articles to label next. Those chosen by their expected scores train students, but never evaluate them."""
    from potstill.articles import check_columns, form_of, open_writer, read_all
    from potstill.audit import dropped_by, labelled
    from potstill.dataset import SAMPLING
    from potstill.files import check_output
    from potstill.pipeline.audit import labels_of
    from potstill.pipeline.run import LAYOUT, Run
    from potstill.sampling import choose
    from potstill.terminal import note

    opened = Run.open(run)
    check_output(
        out, inputs=[articles, *map(opened.path, LAYOUT)], folders=[opened.path("bundle"), opened.path("shipped")]
    )
    filter_ = opened.filter
    pool = read_all(articles, as_text=form_of(out) != ".parquet")
    check_columns(out, pool.schema)
    # Ids and not the frame of what is dropped, whose reasons would be in the place of a column of that name.
    gone = pool["id"].is_in(dropped_by(pool, filter_)["id"].to_list())
    pool = pool.filter(gone if dropped else ~gone)
    known = None
    if opened.path("ledger").exists() and opened.path("articles").exists():
        rows, oracles = labels_of(opened)
        known = labelled(rows, oracles, filter_).examples() if oracles else None
    chosen = choose(pool, number, how, filter_, known, dimension=dimension, seed=seed)  # type: ignore[arg-type]  # choose checks the method itself
    with open_writer(out) as writer:
        writer.write(chosen)
    note(f"{chosen.height} of {pool.height} articles chosen, {how}{'' if dimension is None else f' by {dimension}'}")
    if how == "high":
        note(f"they are marked in the column {SAMPLING}: a dataset uses them for training only")
    print_next(f"potstill label {shlex.quote(str(run))} --oracle ORACLE --articles {shlex.quote(out)}")
