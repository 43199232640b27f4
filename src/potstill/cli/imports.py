"""`potstill import`: bring texts and scores that people already have into a run."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.next import print_next

if TYPE_CHECKING:
    from potstill.pipeline.imports import Imported


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="import")(import_)


def import_(
    run: Annotated[Path, typer.Argument(help="A run folder. A new run needs --filter.")],
    file: Annotated[str, typer.Argument(help="A CSV, JSON Lines or Parquet file with texts and scores.")],
    filter_: Annotated[
        str | None,
        typer.Option("--filter", metavar="FILTER", help="A filter folder, or the name of a built-in filter."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of the texts. Default: content, text, body or full_text."),
    ] = None,
    title: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of the titles. Default: title, if there is one.")
    ] = None,
    id_: Annotated[
        str | None,
        typer.Option("--id", metavar="COLUMN", help="Column of the ids. Default: id, or else a hash of each text."),
    ] = None,
    scores: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Column that holds a mapping of scores, or DIMENSION=COLUMN, once per dimension. Default: the columns "
            "named like the dimensions, or a column scores that holds a mapping.",
        ),
    ] = None,
    oracle: Annotated[
        str | None,
        typer.Option(
            "--labels-of",
            metavar="NAME",
            help="Who gave the scores: a column that names it in each row, or one name for all rows. Default: the "
            "column oracle, or else imported.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split-column",
            metavar="COLUMN",
            help="Column of your own split: train, validation, calibration or test in each row. The dataset then has "
            "this split. Default: the dataset is split at random.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--replace", help="Replace scores in the run that differ from those in the file."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Import texts and scores that you already have into a run, instead of buying labels from an oracle."""
    from potstill.dataset.tables import Columns
    from potstill.filters import load_filter
    from potstill.interrupts import on_interrupt
    from potstill.pipeline.imports import import_labels

    columns = Columns(text=text, title=title, id=id_, scores=_scores(scores), oracle=oracle, split=split)
    on_interrupt("run the same command again; labels that are already in the run are kept")
    chosen = None if filter_ is None else load_filter(filter_)
    done = import_labels(run, file, chosen, columns, overwrite=overwrite)
    if filter_ is not None:
        from potstill.pipeline.probe import carry_probes

        carry_probes(filter_, Path(run))
    following = f"potstill distill {shlex.quote(str(run))}"
    if len(done.labels) > 1:
        # `distill` learns the labels of the oracle that the dataset was built with.
        following = f"potstill dataset {shlex.quote(str(run))} --labels-of {shlex.quote(done.oracle)}"
    if as_json:
        print(json.dumps(asdict(done) | {"next": following}, indent=2, ensure_ascii=False))
        return
    print("\n".join(_described(done, file)))
    print_next(following)


def _scores(given: list[str] | None) -> dict[str, str] | str | None:
    """Return the columns of `--scores`: one column with mappings, or the column of each dimension."""
    from potstill.errors import BadInput

    if not given:
        return None
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    wrong = next((word for word in given if not all(word.partition("="))), None)
    if wrong is not None:
        raise BadInput(f"--scores: got {wrong!r}, expected DIMENSION=COLUMN")
    return {name: column for name, _, column in (word.partition("=") for word in given)}


def _described(done: Imported, file: str) -> list[str]:
    """Return what was imported, for a person."""
    labels = ", ".join(f"{count:,} of {name}" for name, count in done.labels.items())
    lines = [f"{file}: {done.rows:,} rows, {done.articles:,} articles, labels: {labels}"]
    if done.unscored:
        lines.append(f"{done.unscored:,} rows have no score; their articles have no label")
    if done.masked:
        lines.append(f"{done.masked:,} scores are missing in the other rows; they are masked")
    if done.shared:
        lines.append(f"{done.shared:,} articles share their text with another; the label of a text is its mean score")
    if not done.changed:
        return [*lines, "the run already has all of them; nothing was changed"]
    replaced = f", {done.replaced:,} labels replaced" if done.replaced else ""
    return [*lines, f"{done.new_articles:,} articles and {done.new_labels:,} labels added{replaced}"]
