"""`potstill bundle` and `potstill verify`: the trained artefact made, and held to what it claims."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(bundle)
    app.command()(verify)


def bundle(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    others: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            metavar="RUN",
            help="Bundle another filter's run too, with the same student, so that one network can score for all; "
            "give it again for more.",
        ),
    ] = None,
    student: Annotated[
        str | None, typer.Option(help="Ship this student, by its recipe's name; else the one validation prefers.")
    ] = None,
    adapter: Annotated[
        bool | None,
        typer.Option(
            "--adapter/--self-contained",
            help="Ship an adapter and the hash of its base, or the network whole; else whole where it fits.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the calibration's folds and the golden word lists.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="What was built, as JSON.")] = False,
) -> None:
    """Choose a student, calibrate it, export it and write a bundle that proves itself."""
    from potstill.bundle import Kind, build_bundle, choose_for_all
    from potstill.runs import Run

    kind: Kind | None = None if adapter is None else "adapter" if adapter else "self-contained"
    runs = [Run.open(folder) for folder in (run, *(others or ()))]
    if others and student is None:
        student = choose_for_all(runs)
    built = [build_bundle(one, student, kind=kind, seed=seed) for one in runs]
    if as_json:
        made = [{"bundle": str(one.folder), "sha256": one.hash, **one.facts} for one in built]
        print(json.dumps(made if others else made[0]))
        return
    for one in built:
        print(f"{one.folder}  {one.manifest.kind}  {one.hash[:16]}")
        print(one.facts["choice"]["reason"])


def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps; for bundles that run on torch.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="What was found, as JSON.")] = False,
) -> None:
    """Prove a bundle: every file's hash, and every golden text's scores."""
    from potstill.bundle import verify_bundle

    found = verify_bundle(bundle, device=device)
    if as_json:
        print(json.dumps(asdict(found)))
        return
    print(
        f"{found.bundle} holds: {found.files} files, {found.bytes / 1e6:.1f} MB, {found.recipe} for {found.filter}, "
        f"{found.golden_texts} golden texts within {found.largest_difference:.2g} "
        f"(allowed {found.allowed_difference:g}), {found.seconds:.2f} s"
    )
