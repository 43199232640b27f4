"""Records: every file that potstill writes as JSON, and the rules by which it is read again.

In: an object with its fields. Out: canonical JSON, and the same object read back. A record knows the version of its
layout. One that a newer potstill wrote is refused by name; an older one is read as far as its fields still fit.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from potstill.errors import BadInput, PotstillError
from potstill.files import MOST_BYTES, read_object, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Self


class Part(BaseModel):
    """A part of a record: it cannot be changed and knows all its fields.

    What is read from a file must have a field's own type; what code gives may be a number of numpy's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def validated(cls, content: Any, where: str, *, error: type[PotstillError] = BadInput) -> Self:  # noqa: ANN401 - JSON
        """Validate what was read from JSON or YAML.

        Args:
            content: lists, objects, texts, numbers, true, false and null.
            where: names its place in errors, such as a file.
            error: what is raised.

        Raises:
            PotstillError: an `error` that names the place, the field, what was expected and what came.
        """
        try:
            # As JSON, where a list is a legal tuple; a value of another type is refused all the same.
            return cls.model_validate_json(json.dumps(content, default=str), strict=True)
        except ValidationError as fault:
            raise error(f"{where}: {first_fault(fault)}") from None


class Interval(Part):
    """Both ends of an interval; the record that it is in says of which kind and level."""

    low: float
    high: float


class Record(Part):
    """A whole file. A subclass names the version of its layout: `schema_version: int = 1`."""

    fault: ClassVar[type[PotstillError]] = BadInput
    """What is raised for a file that cannot be read."""

    made_by: ClassVar[str] = ""
    """The command that makes the file again, for the message about one whose layout is too old."""

    oldest: ClassVar[int] = 1
    """The oldest version that can be read."""

    schema_version: int

    def save(self, path: Path) -> None:
        """Write the record, whole or not at all.

        Raises:
            BadInput: the file cannot be written.
        """
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def from_file(cls, path: Path, *, most: int = MOST_BYTES) -> Self:
        """Read a record.

        Args:
            path: the file.
            most: bytes that it may have.

        Raises:
            PotstillError: `fault`; the file is missing or broken, a newer potstill wrote it, or a field is not legal.
        """
        if cls.made_by and not path.exists():
            raise cls.fault(f"{path}: no such file; run: {cls.made_by}")
        try:
            content = read_object(path, most=most)
        except BadInput as error:
            raise cls.fault(str(error)) from None
        return cls.from_json(content, str(path))

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str) -> Self:
        """As `from_file`, from an object that has been read."""
        cls.check_version(content, where)
        try:
            return cls.validated(content, where, error=cls.fault)
        except cls.fault as error:
            if content["schema_version"] == cls.newest() or not cls.made_by:
                raise
            raise cls.fault(f"{error}; {cls._again()}") from None

    @classmethod
    def check_version(cls, content: Mapping[str, Any], where: str) -> None:
        """See that this potstill reads the version of a record.

        Raises:
            PotstillError: `fault`; it names the version, and what to do.
        """
        version, newest = content.get("schema_version"), cls.newest()
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            came = "it is missing" if version is None else f"got {json.dumps(version)[:40]}"
            raise cls.fault(f"{where}: schema_version: expected a whole number from 1 to {newest}, {came}")
        if version > newest:
            raise cls.fault(
                f"{where}: schema_version {version} is newer than this potstill reads ({newest}); "
                "install a newer potstill"
            )
        if version < cls.oldest:
            raise cls.fault(f"{where}: schema_version {version}: {cls._again()}")

    @classmethod
    def _again(cls) -> str:
        return f"an older potstill wrote it; make it again: {cls.made_by}"

    @classmethod
    def newest(cls) -> int:
        """The version that this potstill writes."""
        version: int = cls.model_fields["schema_version"].default
        return version


def first_fault(error: ValidationError) -> str:
    """The first thing that is wrong: the path to its field, what is expected and what came."""
    first = error.errors(include_url=False)[0]
    where = " -> ".join(str(step) for step in first["loc"])
    came = "" if first["type"] == "missing" else f", got {_shown(first['input'])}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}{came}" if where else f"{message}{came}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
