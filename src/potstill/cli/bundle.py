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
    from potstill.bundle import Kind, build_bundle
    from potstill.runs import Run

    kind: Kind | None = None if adapter is None else "adapter" if adapter else "self-contained"
    built = build_bundle(Run.open(run), student, kind=kind, seed=seed)
    facts = built.facts
    if as_json:
        print(json.dumps({"bundle": str(built.folder), "sha256": built.hash, **facts}))
        return
    print(f"{built.folder}  {built.manifest.kind}  {built.hash[:16]}")
    print(facts["choice"]["reason"])


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
