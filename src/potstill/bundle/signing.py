"""Signatures: prove who made a bundle, while hashes only show that it is unchanged.

Input: a bundle's manifest, which holds the hash of every other file, and a private key. Output: `signature.json` next
to it, an Ed25519 signature (RFC 8032) of the manifest's bytes. With the public key, anyone can verify that the holder
of the private key signed exactly this bundle. The signature is checked before anything else of the bundle is opened.
Keys are PEM files.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from potstill.bundle.layout import BUNDLE_LAYOUT, check_files, read_manifest
from potstill.errors import BadInput, BundleError, require
from potstill.files import foreign, read_bytes, write_text
from potstill.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable

PUBLIC = ".pub"
"""Suffix of a public key's file, appended to the name of its private key."""

_SIGNED = b"potstill bundle, schema 1\n"
"""Prefix of the signed message, so that a signature made for another purpose is never valid for a bundle."""

_MOST_KEY_BYTES = 64 * 1024


class Signature(Record):
    """`signature.json`."""

    fault = BundleError
    made_by = "potstill sign BUNDLE"

    schema_version: int = 1
    algorithm: Literal["ed25519"] = "ed25519"
    public_key: str = Field(pattern=r"^[0-9a-f]{64}$")
    signature: str = Field(pattern=r"^[0-9a-f]{128}$")


@dataclass(frozen=True, slots=True)
class Trust:
    """Requirements on a bundle's signature: by one of `keys` (raw public keys), or by any key if there are none."""

    keys: tuple[bytes, ...] = ()

    def check(self, folder: Path, bundle_hash: str) -> str:
        """Check that a bundle is signed as required; return the key's fingerprint.

        Args:
            folder: the bundle's folder.
            bundle_hash: its hash, as returned by `read_manifest`.

        Raises:
            BundleError: it is not signed, it is signed by another key, or the signature does not match the manifest.
            MissingExtra: cryptography is not installed.
        """
        signature = read_signature(folder)
        if signature is None:
            raise BundleError(
                f"{folder}: is not signed (no {BUNDLE_LAYOUT['signature']}); its author can sign it: potstill sign "
                f"{folder} --key FILE"
            )
        signer = fingerprint(bytes.fromhex(signature.public_key))
        trusted = [fingerprint(key) for key in self.keys]
        if trusted and signer not in trusted:
            raise BundleError(
                f"{folder / BUNDLE_LAYOUT['signature']}: signed by the key {signer}, not by one that is trusted "
                f"({', '.join(trusted)})"
            )
        _check(folder, bundle_hash, signature)
        return signer


def trust_of(trusted_keys: Iterable[str | Path] = (), *, require_signature: bool = False) -> Trust | None:
    """Return the requirements on a bundle's signature; None if there are none.

    Args:
        trusted_keys: files of public keys; a bundle must be signed by one of them.
        require_signature: whether it must be signed, by any key, even if no key is named.

    Raises:
        BadInput: a file holds no Ed25519 public key.
        MissingExtra: cryptography is not installed.
    """
    keys = tuple(_public_key(Path(path)) for path in trusted_keys)
    return Trust(keys) if keys or require_signature else None


def sign_bundle(folder: Path, key: Path) -> str:
    """Sign an intact bundle and return the key's fingerprint. An earlier signature is replaced.

    Raises:
        BundleError: a file of the bundle is missing, unexpected or changed.
        BadInput: `key` is not an Ed25519 private key that only its owner may read, or the folder cannot be written.
        MissingExtra: cryptography is not installed.
    """
    private = _private_key(key)
    manifest, bundle_hash = read_manifest(folder)
    check_files(folder, manifest)
    public = private.public_key().public_bytes_raw()
    signature = Signature(public_key=public.hex(), signature=private.sign(_message(folder, bundle_hash)).hex())
    signature.save(folder / BUNDLE_LAYOUT["signature"])
    return fingerprint(public)


def new_key(path: Path) -> str:
    """Create a key pair: the private key in `path`, readable only by its owner, the public key in `path`.pub.

    Returns:
        The key's fingerprint.

    Raises:
        BadInput: one of the files exists, or cannot be written.
        MissingExtra: cryptography is not installed.
    """
    _, serialization = _library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public_path = path.with_name(path.name + PUBLIC)
    for place in (path, public_path):
        if place.exists() or place.is_symlink():
            raise BadInput(f"{place}: exists already; a key is never overwritten")
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The mode is set on creation, so that no other user can open the file in between.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(pem)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror})") from None
    public = private.public_key()
    text = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    write_text(public_path, text)
    return fingerprint(public.public_bytes_raw())


def read_signature(folder: Path) -> Signature | None:
    """Read a bundle's signature without checking it; None if there is none.

    Raises:
        BundleError: it is broken.
    """
    path = folder / BUNDLE_LAYOUT["signature"]
    if not path.exists() and not path.is_symlink():
        return None
    return Signature.from_file(path, most=_MOST_KEY_BYTES)


def fingerprint(public_key: bytes) -> str:
    """Return a key's fingerprint for display: the first 32 hexadecimal digits of the raw public key's SHA-256."""
    return f"SHA256:{hashlib.sha256(public_key).hexdigest()[:32]}"


def _check(folder: Path, bundle_hash: str, signature: Signature) -> None:
    invalid, _ = _library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    path = folder / BUNDLE_LAYOUT["signature"]
    with foreign(path, BundleError):
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.public_key))
        try:
            public.verify(bytes.fromhex(signature.signature), _message(folder, bundle_hash))
        except invalid:
            raise BundleError(
                f"{path}: the signature does not fit {BUNDLE_LAYOUT['manifest']}; the bundle is another than was signed"
            ) from None


def _message(folder: Path, bundle_hash: str) -> bytes:
    """Return the signed message: all bytes of the manifest, after a fixed prefix.

    Raises:
        BundleError: the manifest has changed since it was read.
    """
    path = folder / BUNDLE_LAYOUT["manifest"]
    manifest = read_bytes(path)
    if bundle_hash.encode() not in manifest:
        raise BundleError(f"{path}: has changed while it was read")
    return _SIGNED + manifest


def _private_key(path: Path) -> Any:  # noqa: ANN401 - cryptography is imported late
    _, serialization = _library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    content = read_bytes(path, most=_MOST_KEY_BYTES)
    if b"PUBLIC KEY-----" in content:
        raise BadInput(f"{path}: is a public key; sign with the private one, which is in the file without {PUBLIC}")
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise BadInput(f"{path}: others may read this private key; run: chmod 600 {path}")
    # The library's message about a broken key may quote the key.
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except TypeError:
        raise BadInput(f"{path}: is encrypted; potstill reads private keys without a passphrase") from None
    except Exception as error:
        raise BadInput(f"{path}: holds no private key in PEM ({type(error).__name__})") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"{path}: is a private key of another kind, expected Ed25519; make one: potstill sign --new-key")
    return key


def _public_key(path: Path) -> bytes:
    _, serialization = _library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    content = read_bytes(path, most=_MOST_KEY_BYTES)
    if b"PRIVATE KEY" in content:
        raise BadInput(
            f"{path}: is a private key; name the public one, which `potstill sign --new-key` wrote beside it"
        )
    try:
        key = serialization.load_pem_public_key(content)
    except Exception as error:
        raise BadInput(f"{path}: holds no public key in PEM ({type(error).__name__})") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BadInput(f"{path}: is a public key of another kind, expected Ed25519")
    return key.public_bytes_raw()


def _library() -> tuple[type[Exception], Any]:
    """Return the library's error for a wrong signature, and its module of key formats.

    Raises:
        MissingExtra: it is not installed.
    """
    return (
        require("cryptography.exceptions", "sign").InvalidSignature,
        require("cryptography.hazmat.primitives.serialization", "sign"),
    )
