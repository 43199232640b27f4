"""`potstill bundle`, `verify` and `sign`: the trained artefact made, held to what it claims, and signed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from potstill.errors import BadInput

TrustedKeys = Annotated[
    list[Path] | None,
    typer.Option(
        "--trusted-key",
        metavar="FILE",
        help="A public key that the bundle must be signed by; give it again for others of which one will do.",
    ),
]
RequireSignature = Annotated[
    bool,
    typer.Option(
        "--require-signature",
        help="Refuse a bundle that is not signed; by whom it must be, only --trusted-key says.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(bundle)
    app.command()(verify)
    app.command()(sign)


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
        made = [{"bundle": str(one.folder), "sha256": one.hash, **one.facts.model_dump(mode="json")} for one in built]
        print(json.dumps(made if others else made[0]))
        return
    for one in built:
        print(f"{one.folder}  {one.manifest.kind}  {one.hash[:16]}")


def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    trusted_key: TrustedKeys = None,
    require_signature: RequireSignature = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps; for bundles that run on torch.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="What was found, as JSON.")] = False,
) -> None:
    """Prove a bundle: every file's hash, every golden text's scores, every golden verdict, and its signature."""
    from potstill.bundle import verify_bundle
    from potstill.bundle.signing import trust_of
    from potstill.cli.places import bundle_of

    trust = trust_of(trusted_key or (), require_signature=require_signature)
    found = verify_bundle(bundle_of(bundle), device=device, trust=trust)
    if as_json:
        print(json.dumps(asdict(found)))
        return
    print(
        f"{found.bundle} holds: {found.files} files, {found.bytes / 1e6:.1f} MB, {found.recipe} for {found.filter}, "
        f"{found.golden_texts} golden texts within {found.largest_difference:.2g} "
        f"(allowed {found.allowed_difference:g}), {found.golden_verdicts:,} golden verdicts, {found.seconds:.2f} s"
    )
    if found.signed_by is None:
        print("not signed: nothing here says who made it")
    elif found.signature == "trusted":
        print(f"signed by the trusted key {found.signed_by}")
    elif found.signature == "unchecked":
        print(f"signed by {found.signed_by}, it says; to check that: pip install 'potstill[sign]'")
    else:
        print(f"signed by {found.signed_by}; whether that is a key to trust, only --trusted-key can tell")


def sign(
    bundle: Annotated[Path | None, typer.Argument(help="Folder of the bundle.", show_default=False)] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The private key: an Ed25519 key in PEM.", show_default=False)
    ] = None,
    new_key: Annotated[
        Path | None,
        typer.Option(
            "--new-key",
            metavar="FILE",
            help="Make a key first: the private one in FILE, the public one, for --trusted-key, in FILE.pub.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="What was made, as JSON.")] = False,
) -> None:
    """Sign a bundle, once it has proven itself, so that others can tell who made it; or make a key for that."""
    from potstill.bundle import verify_bundle
    from potstill.bundle.signing import PUBLIC, sign_bundle
    from potstill.bundle.signing import new_key as make_key

    if (key is None) == (new_key is None) or (bundle is None and key is not None):
        raise BadInput("give a bundle and --key FILE to sign it, or --new-key FILE to make a key")
    made: dict[str, str] = {}
    if new_key is not None:
        made = {"key": make_key(new_key), "private_key": str(new_key), "public_key": f"{new_key}{PUBLIC}"}
    if bundle is not None:
        found = verify_bundle(bundle)
        made |= {"bundle": str(bundle), "sha256": found.hash, "key": sign_bundle(bundle, key or new_key or Path())}
    if as_json:
        print(json.dumps(made))
        return
    if new_key is not None:
        print(f"{made['private_key']}: the private key {made['key']}; keep it to yourself")
        print(f"{made['public_key']}: the public key, for whoever uses what you sign (--trusted-key)")
    if bundle is not None:
        print(f"{bundle}: signed by {made['key']}")
