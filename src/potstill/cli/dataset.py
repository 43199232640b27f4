"""`potstill dataset`: a run's labels become train, validation, calibration and test rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from potstill.cli.next import print_next

if TYPE_CHECKING:
    from potstill.dataset import DatasetRecord


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="dataset")(dataset)


def dataset(
    run: Annotated[Path, typer.Argument(help="A run folder with labels.")],
    seed: Annotated[int, typer.Option(min=0, help="Random seed for the split.")] = 0,
    fractions: Annotated[
        str,
        typer.Option(
            help="Percentages of train/validation/test or train/validation/calibration/test. If the calibration "
            "part would have fewer than 100 rows, it is added to the training part, and calibration is "
            "cross-fitted."
        ),
    ] = "70/10/10/10",
    whole: Annotated[
        Literal["source", "time"] | None,
        typer.Option(
            "--keep-whole",
            help="source: also keep all rows of a source in one part. time: train on the earliest rows and test on "
            "the latest. Default: only near-duplicates are kept together.",
        ),
    ] = None,
    labels_of: Annotated[
        str | None,
        typer.Option(
            metavar="ORACLE", help="Oracle whose labels to use. Required if the run has labels from several oracles."
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Reuse another run's train/test split. Use it for runs that are trained together.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Split a run's labelled articles into parts, keeping near-duplicates together."""
    from potstill.dataset import Fractions
    from potstill.pipeline.dataset import build_dataset
    from potstill.pipeline.run import Run

    opened = Run.open(run)
    record = build_dataset(
        opened,
        seed=seed,
        fractions=Fractions.parse(fractions),
        whole=whole,
        oracle=labels_of,
        like=None if like is None else Run.open(like),
    )
    if as_json:
        print(record.model_dump_json(indent=2))
    else:
        print("\n".join(described(record)))
        print_next(opened)


def described(record: DatasetRecord) -> list[str]:
    """The lines that the command prints for a person."""
    parts = ", ".join(f"{part} {count}" for part, count in record.parts.items())
    if record.whole == "given":
        clusters = f"{record.clusters} clusters; the split is that of the column that was imported"
    else:
        clusters = f"{record.clusters} clusters, each in one part"
    kept = "" if record.whole in {"clusters", "given"} else f"; also kept together: {record.whole}"
    lines = [
        f"{record.rows} rows of {record.oracle} (seed {record.seed}): {parts}",
        f"{record.near_duplicates} near-duplicate pairs, {clusters}{kept}",
        f"{record.cut} of {record.rows} articles are longer than the text window",
    ]
    masked = {name: count for name, count in record.masked.items() if count}
    if masked:
        lines.append("labels masked: " + ", ".join(f"{name} {count}" for name, count in masked.items()))
    if record.unlabelled:
        lines.append(f"{record.unlabelled} articles without labels left out")
    unreached = () if record.reach is None else record.reach.unreached
    return [*lines, *(f"note: {note}" for note in (*record.notes, *unreached))]
