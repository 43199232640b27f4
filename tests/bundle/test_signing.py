"""Tests of signatures, which prove who made a bundle: anyone can write hashes, but only the key's holder can sign."""

import builtins
import shutil
import stat

import pytest
from forging import rehash
from tiny_bundle import articles, tfidf_bundle
from typer.testing import CliRunner

from potstill.bundle import BUNDLE_LAYOUT, load_bundle, verify_bundle
from potstill.bundle.layout import read_manifest
from potstill.bundle.signing import fingerprint, new_key, read_signature, sign_bundle, trust_of
from potstill.cli import build
from potstill.errors import BadInput, BundleError, MissingExtra
from potstill.files import read_json, sha256, write_json
from potstill.pipeline.run import SIGNATURE
from potstill.scorer import Scorer

pytest.importorskip("cryptography")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return tfidf_bundle(tmp_path_factory.mktemp("bundle") / "bundle").folder


@pytest.fixture
def bundle(original, tmp_path):
    return shutil.copytree(original, tmp_path / "bundle")


@pytest.fixture
def key(tmp_path):
    new_key(tmp_path / "ours")
    return tmp_path / "ours"


@pytest.fixture
def trusted(key):
    return trust_of([key.with_name("ours.pub")])


class TestKeys:
    def test_a_new_private_key_is_for_its_owner_alone(self, key):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert b"PRIVATE" in key.read_bytes()
        assert b"PRIVATE" not in key.with_name("ours.pub").read_bytes()

    @pytest.mark.parametrize("taken", ["ours", "ours.pub"])
    def test_no_key_is_ever_overwritten(self, tmp_path, taken):
        (tmp_path / taken).write_text("mine")
        with pytest.raises(BadInput, match=rf"{taken}: exists already"):
            new_key(tmp_path / "ours")
        assert [path.name for path in tmp_path.iterdir()] == [taken]

    def test_a_private_key_that_others_may_read_is_not_used(self, bundle, key):
        key.chmod(0o644)
        with pytest.raises(BadInput, match="others may read this private key; run: chmod 600"):
            sign_bundle(bundle, key)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "holds no private key in PEM"),
            (b"-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n", "holds no private key in PEM"),
            (b"\xff" * 100, "holds no private key in PEM"),
            (b"x" * 100_000, "at most 65,536 are allowed"),
        ],
    )
    def test_what_is_no_private_key_is_named_and_never_quoted(self, bundle, tmp_path, content, message):
        (tmp_path / "key").write_bytes(content)
        (tmp_path / "key").chmod(0o600)
        with pytest.raises(BadInput, match=f"key: .*{message}") as refused:
            sign_bundle(bundle, tmp_path / "key")
        assert "MC4C" not in str(refused.value)

    def test_a_public_key_is_told_from_the_private_one(self, bundle, key):
        with pytest.raises(BadInput, match=r"ours\.pub: is a public key; sign with the private one"):
            sign_bundle(bundle, key.with_name("ours.pub"))

    def test_keys_of_another_kind_and_encrypted_ones_are_named(self, bundle, tmp_path):
        from cryptography.hazmat.primitives import serialization as forms
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519

        def written(private, encryption):
            path = tmp_path / "key"
            path.write_bytes(private.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, encryption))
            path.chmod(0o600)
            return path

        other = ec.generate_private_key(ec.SECP256R1())
        with pytest.raises(BadInput, match="of another kind, expected Ed25519"):
            sign_bundle(bundle, written(other, forms.NoEncryption()))
        locked = written(ed25519.Ed25519PrivateKey.generate(), forms.BestAvailableEncryption(b"word"))
        with pytest.raises(BadInput, match="is encrypted"):
            sign_bundle(bundle, locked)
        pem = other.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / "other.pub").write_bytes(pem)
        with pytest.raises(BadInput, match=r"other\.pub: is a public key of another kind"):
            trust_of([tmp_path / "other.pub"])

    @pytest.mark.parametrize("name", ["ours", "nowhere", "text"])
    def test_what_is_no_public_key_is_named(self, key, name):
        key.with_name("text").write_text("ssh-ed25519 AAAA")
        with pytest.raises(BadInput, match=f"{name}: (is a private key|no such file|holds no public key)"):
            trust_of([key.with_name(name)])


class TestSignatures:
    def test_a_signed_bundle_is_the_same_bundle_and_says_who_signed_it(self, bundle, key, trusted):
        before = load_bundle(bundle).hash
        signer = sign_bundle(bundle, key)
        assert load_bundle(bundle, trust=trusted).hash == before
        found = verify_bundle(bundle, trust=trusted)
        assert (found.signed_by, found.signature) == (signer, "trusted")
        assert signer == fingerprint(bytes.fromhex(read_signature(bundle).public_key))
        assert verify_bundle(bundle).signature == "valid"

    def test_one_of_several_trusted_keys_will_do(self, bundle, key, tmp_path):
        new_key(tmp_path / "theirs")
        sign_bundle(bundle, key)
        assert load_bundle(bundle, trust=trust_of([tmp_path / "theirs.pub", tmp_path / "ours.pub"]))

    def test_without_a_signature_there_is_no_trust(self, bundle, trusted):
        for trust in (trusted, trust_of(require_signature=True)):
            with pytest.raises(BundleError, match=r"is not signed \(no signature\.json\)"):
                load_bundle(bundle, trust=trust)
        assert verify_bundle(bundle).signature == "none"

    def test_a_signature_by_another_key_is_refused_and_both_keys_are_named(self, bundle, trusted, tmp_path):
        theirs = new_key(tmp_path / "theirs")
        sign_bundle(bundle, tmp_path / "theirs")
        with pytest.raises(
            BundleError, match=rf"signed by the key {theirs}, not by one that is trusted \(SHA256:\w+\)"
        ):
            load_bundle(bundle, trust=trusted)
        assert load_bundle(bundle, trust=trust_of(require_signature=True))

    @pytest.mark.parametrize("name", sorted(set(BUNDLE_LAYOUT.values()) & {
        "bundle.json", "filter.yaml", "rubric.md", "student.json", "student.safetensors", "calibration.json",
        "golden.jsonl", "verdicts.json", "facts.json",
    }))  # fmt: skip
    def test_no_file_can_change_after_signing(self, bundle, key, trusted, name):
        sign_bundle(bundle, key)
        path = bundle / name
        path.write_bytes(path.read_bytes() + b"\n")
        with pytest.raises(BundleError, match=name.replace(".", r"\.")):
            load_bundle(bundle, trust=trusted)

    def test_not_even_where_every_hash_is_written_again(self, bundle, key, trusted):
        """Hashes and golden texts do not detect this change, for example a note in the bundle's facts."""
        sign_bundle(bundle, key)
        write_json(bundle / "facts.json", {"made": "by somebody else"})
        rehash(bundle)
        for trust in (None, trusted):
            with pytest.raises(BundleError, match=r"signature\.json: the signature does not fit bundle\.json"):
                load_bundle(bundle, trust=trust)
        with pytest.raises(BundleError, match="does not fit"):
            verify_bundle(bundle)

    def test_no_file_can_be_added(self, bundle, key, trusted):
        sign_bundle(bundle, key)
        (bundle / "model.pkl").write_text("x")
        with pytest.raises(BundleError, match=r"model\.pkl: is no part of the bundle"):
            load_bundle(bundle, trust=trusted)

    def test_a_signature_of_another_bundle_is_refused(self, bundle, key, trusted, tmp_path):
        other = shutil.copytree(bundle, tmp_path / "other")
        write_json(other / "facts.json", {})
        rehash(other)
        sign_bundle(other, key)
        shutil.copy(other / "signature.json", bundle / "signature.json")
        with pytest.raises(BundleError, match=r"does not fit bundle\.json; the bundle is another than was signed"):
            load_bundle(bundle, trust=trusted)

    @pytest.mark.parametrize(
        "change",
        [
            {"algorithm": "none"},
            {"signature": ""},
            {"signature": "0" * 128},
            {"public_key": "0" * 64},
            {"public_key": "zz"},
            {"schema_version": 2},
            {"more": 1},
        ],
    )
    def test_a_changed_signature_is_refused(self, bundle, key, change):
        sign_bundle(bundle, key)
        write_json(bundle / "signature.json", read_json(bundle / "signature.json") | change)
        with pytest.raises(BundleError, match=r"signature\.json"):
            load_bundle(bundle, trust=trust_of(require_signature=True))

    def test_a_signature_that_does_not_fit_is_refused_where_none_is_asked_for(self, bundle, key):
        sign_bundle(bundle, key)
        path = bundle / SIGNATURE
        write_json(path, read_json(path) | {"signature": "0" * 128})
        with pytest.raises(BundleError, match="signature"):
            load_bundle(bundle)

    def test_what_does_not_fit_its_hashes_is_not_signed(self, bundle, key):
        (bundle / "facts.json").write_text("{}")
        with pytest.raises(BundleError, match=r"facts\.json: changed after it was written"):
            sign_bundle(bundle, key)

    def test_a_signature_is_no_change_of_a_run(self, bundle, key):
        assert BUNDLE_LAYOUT["signature"] == SIGNATURE
        before = sha256(bundle, leave_out={SIGNATURE})
        sign_bundle(bundle, key)
        assert sha256(bundle, leave_out={SIGNATURE}) == before != sha256(bundle)

    def test_the_manifest_is_not_read_twice_as_two_things(self, bundle, key, trusted):
        sign_bundle(bundle, key)
        with pytest.raises(BundleError, match="has changed while it was read"):
            trusted.check(bundle, "0" * 64)


class TestScoring:
    def test_a_scorer_asks_for_a_signature(self, bundle, key):
        public = key.with_name("ours.pub")
        for load in (Scorer.load, lambda path, **asked: Scorer.load([path], **asked)):
            with pytest.raises(BundleError, match="is not signed"):
                load(bundle, trusted_keys=[public])
            with pytest.raises(BundleError, match="is not signed"):
                load(bundle, require_signature=True)
        sign_bundle(bundle, key)
        for load in (Scorer.load, lambda path, **asked: Scorer.load([path], **asked)):
            assert load(bundle, trusted_keys=[public], require_signature=True).score("A library opened.")

    def test_a_cascade_is_not_covered(self, bundle, key, tmp_path):
        sign_bundle(bundle, key)
        with pytest.raises(BadInput, match="no signature covers a cascade"):
            Scorer.load(bundle, trusted_keys=[key.with_name("ours.pub")], cascade=tmp_path)

    def test_without_the_library_nothing_is_trusted_and_plain_loading_works(self, bundle, key, monkeypatch):
        sign_bundle(bundle, key)
        really = builtins.__import__

        def refusing(name, *rest):
            if name.startswith("cryptography"):
                raise ModuleNotFoundError(f"No module named {name!r}", name="cryptography")
            return really(name, *rest)

        monkeypatch.setattr("potstill.errors.importlib.import_module", refusing)
        with pytest.raises(MissingExtra, match=r"pip install 'potstill\[sign\]'"):
            Scorer.load(bundle, require_signature=True)
        assert verify_bundle(bundle).signature == "unchecked"
        assert Scorer.load(bundle).score("A library opened.")


def run(*arguments):
    return CliRunner().invoke(build(), [str(argument) for argument in arguments])


class TestCommands:
    def test_a_key_is_made_a_bundle_signed_and_trusted(self, bundle, tmp_path):
        made = run("sign", bundle, "--new-key", tmp_path / "key")
        assert made.exit_code == 0, made.output
        assert f"{bundle}: signed by SHA256:" in made.stdout
        said = run("verify", bundle, "--trusted-key", tmp_path / "key.pub")
        assert said.exit_code == 0
        assert "signed by the trusted key SHA256:" in said.stdout
        assert "use --trusted-key to require a particular key" in run("verify", bundle, "--require-signature").stdout
        again = run("sign", bundle, "--key", tmp_path / "key", "--json")
        assert read_manifest(bundle)[1] in again.stdout

    def test_scoring_refuses_what_is_not_signed(self, bundle, key, tmp_path):
        articles(2)[0].write_ndjson(tmp_path / "news.jsonl")
        arguments = (
            "score",
            bundle,
            tmp_path / "news.jsonl",
            "-o",
            tmp_path / "out.jsonl",
            "--trusted-key",
            f"{key}.pub",
        )
        refused = run(*arguments)
        assert isinstance(refused.exception, BundleError)
        assert not (tmp_path / "out.jsonl").exists()
        assert run("sign", bundle, "--key", key).exit_code == 0
        assert run(*arguments).exit_code == 0

    @pytest.mark.parametrize("arguments", [(), ("bundle",), ("--key", "k"), ("bundle", "--key", "k", "--new-key", "n")])
    def test_too_few_or_too_many_options_are_refused(self, arguments):
        refused = run("sign", *arguments)
        assert isinstance(refused.exception, BadInput)
        assert "give a bundle and --key FILE to sign it, or --new-key FILE" in str(refused.exception)
