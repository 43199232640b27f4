"""`potstill bundle`, `verify` and `sign`: the trained artefact made, held to what it claims, and signed."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.cuts import in_one_line
from potstill.cli.next import print_next, scoring
from potstill.errors import BadInput

if TYPE_CHECKING:
    from potstill.bundle import Bundle

TrustedKeys = Annotated[
    list[Path] | None,
    typer.Option(
        "--trusted-key",
        metavar="FILE",
        help="File of a public key to trust; repeat to accept any of several.",
    ),
]
RequireSignature = Annotated[
    bool,
    typer.Option(
        "--require-signature",
        help="Refuse a bundle without a valid signature, by any signer; use --trusted-key to require a particular one.",
    ),
]


Decide = Annotated[
    list[str] | None,
    typer.Option(
        "--decide",
        metavar="[TIER:]GOAL",
        help="What the cut on the probability of each positive tier, or of one, should achieve: volume=match, volume=N "
        "(articles per 1,000), recall=R, precision=P, f1, cost=MISS/FALSE_ALARM or by-score; repeat for several tiers. "
        "Default: as in the filter, or the oracle's volume.",
    ),
]

Anyway = Annotated[
    bool,
    typer.Option(
        "--anyway",
        help="Ship the student even if the interval of its held-out skill does not lie above 0. The bundle records "
        "this, and every output about it says so.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(bundle)
    app.command()(verify)
    app.command()(sign)


def bundle(
    run: Annotated[Path, typer.Argument(help="A run folder with trained students.")],
    others: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            metavar="RUN",
            help="Another filter's run to bundle with the same student, so that one network can score for all "
            "filters; repeat for several.",
        ),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            help="Recipe name of the student to ship. Default: the student that reads the text with the lowest "
            "validation error."
        ),
    ] = None,
    adapter: Annotated[
        bool | None,
        typer.Option(
            "--adapter/--self-contained",
            help="Ship only the adapter and the hash of its base model; default: the whole network if it fits an "
            "ONNX file (1.9 GB).",
        ),
    ] = None,
    decide: Decide = None,
    anyway: Anyway = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Choose, calibrate and export a student, and write it as a bundle that can be verified."""
    from potstill.bundle import Kind
    from potstill.operating_points import by_filter
    from potstill.pipeline.bundle import build_bundle, choose_for_all
    from potstill.pipeline.run import Run

    kind: Kind | None = None if adapter is None else "adapter" if adapter else "self-contained"
    runs = [Run.open(folder) for folder in (run, *(others or ()))]
    points = by_filter(decide or (), [one.filter.positive_tiers for one in runs])
    if others and student is None:
        student = choose_for_all(runs)
    built = [
        build_bundle(one, student, kind=kind, decide=own, anyway=anyway) for one, own in zip(runs, points, strict=True)
    ]
    if as_json:
        made = [
            {
                "bundle": str(one.folder),
                "sha256": one.hash,
                "caution": one.caution,
                **one.facts.model_dump(mode="json"),
            }
            for one in built
        ]
        print(json.dumps(made if others else made[0]))
        return
    for one in built:
        print(f"{one.folder}  {one.manifest.kind}  {one.hash[:16]}")
        _print_cuts(one)
    print_next(runs[0])


def _print_cuts(bundle: Bundle) -> None:
    """Print how each positive tier is decided."""
    decisions = bundle.calibration.decisions
    for cut in () if decisions is None else decisions.cuts:
        print(f"  {in_one_line(cut)}")


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder, or a run folder with a bundle.")],
    trusted_key: TrustedKeys = None,
    require_signature: RequireSignature = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Verify a bundle: file hashes, scores of the golden texts, golden verdicts and signature."""
    from potstill.bundle import verify_bundle
    from potstill.bundle.signing import trust_of
    from potstill.cli.places import bundle_of

    trust = trust_of(trusted_key or (), require_signature=require_signature)
    bundle = bundle_of(bundle)
    found = verify_bundle(bundle, trust=trust)
    if as_json:
        print(json.dumps(asdict(found)))
        return
    print(
        f"{found.bundle} is valid: {found.files} files, {found.bytes / 1e6:.1f} MB, {found.recipe} for {found.filter}, "
        f"{found.golden_texts} golden texts within {found.largest_difference:.2g} "
        f"(allowed {found.allowed_difference:g}), {found.golden_verdicts:,} golden verdicts, {found.seconds:.2f} s"
    )
    if found.refitted_rows is not None:
        print(f"refitted on all {found.refitted_rows:,} labelled rows; its figures are those of the student before")
    if found.caution is not None:
        print(found.caution)
    if found.signed_by is None:
        print("not signed")
    elif found.signature == "trusted":
        print(f"signed by the trusted key {found.signed_by}")
    elif found.signature == "unchecked":
        print(f"claims to be signed by {found.signed_by}, not checked; to check it: pip install 'potstill[sign]'")
    else:
        print(f"signed by {found.signed_by}; use --trusted-key to require a particular key")
    print_next(scoring(bundle))


def sign(
    bundle: Annotated[Path | None, typer.Argument(help="A bundle folder.", show_default=False)] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File of the private key (Ed25519, PEM).", show_default=False)
    ] = None,
    new_key: Annotated[
        Path | None,
        typer.Option(
            "--new-key",
            metavar="FILE",
            help="Create a key pair and use it: the private key in FILE, the public key (for --trusted-key) in "
            "FILE.pub.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Verify a bundle and sign it with a private key, or create a key pair."""
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
        print(f"{made['private_key']}: the private key {made['key']}; keep it secret")
        print(f"{made['public_key']}: the public key; give it to the users of your bundles (--trusted-key)")
    if bundle is not None:
        print(f"{bundle}: signed by {made['key']}")
        print_next(f"potstill verify {shlex.quote(str(bundle))} --require-signature")
    elif new_key is not None:
        print_next(f"potstill sign BUNDLE --key {shlex.quote(str(new_key))}")
