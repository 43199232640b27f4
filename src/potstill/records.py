"""Define the JSON records that potstill writes and the rules for reading them.

Input: an object with its fields. Output: canonical JSON, and the same object read back. A record contains the version
of its layout. A record of a newer potstill is rejected with a message; an older record is accepted as long as its
fields are still valid.
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
    """An immutable part of a record; unknown fields are rejected.

    Values read from a file must have the exact type of the field; values passed in code may be numpy numbers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def validated(cls, content: Any, where: str, *, error: type[PotstillError] = BadInput) -> Self:  # noqa: ANN401 - JSON
        """Validate content that was read from JSON or YAML.

        Args:
            content: lists, objects, strings, numbers, true, false and null.
            where: the source for messages, such as a file.
            error: the class of the error to raise.

        Raises:
            PotstillError: an `error` that names the source, the field, what was expected and what was found.
        """
        try:
            # In JSON mode, strict validation accepts a list as a tuple, but still rejects values of another type.
            return cls.model_validate_json(json.dumps(content, default=str), strict=True)
        except ValidationError as fault:
            raise error(f"{where}: {first_fault(fault)}") from None


REMOVED = "removed"
"""Type of the validation error for a field that earlier versions had; its message names field and value."""


class Interval(Part):
    """Both ends of an interval; the enclosing record states its kind and level."""

    low: float
    high: float


class Record(Part):
    """A record in its own file. A subclass sets the version of its layout: `schema_version: int = 1`."""

    fault: ClassVar[type[PotstillError]] = BadInput
    """The class of the error for a file that cannot be read."""

    made_by: ClassVar[str] = ""
    """The command that recreates the file, for the message about a layout that is too old."""

    oldest: ClassVar[int] = 1
    """The oldest version that can be read."""

    schema_version: int

    def save(self, path: Path) -> None:
        """Write the record atomically.

        Raises:
            BadInput: the file cannot be written.
        """
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def from_file(cls, path: Path, *, most: int = MOST_BYTES) -> Self:
        """Read a record from a file.

        Args:
            path: the file.
            most: maximum size in bytes.

        Raises:
            PotstillError: a `fault`, if the file is missing or broken, a newer potstill wrote it, or a field is
                invalid.
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
        """Read a record, as `from_file` does, from a parsed JSON object."""
        cls.check_version(content, where)
        try:
            return cls.validated(content, where, error=cls.fault)
        except cls.fault as error:
            if content["schema_version"] == cls.newest() or not cls.made_by:
                raise
            raise cls.fault(f"{error}; {cls._again()}") from None

    @classmethod
    def check_version(cls, content: Mapping[str, Any], where: str) -> None:
        """Check that this potstill can read the version of a record.

        Raises:
            PotstillError: a `fault` that names the version and the remedy.
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
        """Return the version that this potstill writes."""
        version: int = cls.model_fields["schema_version"].default
        return version


def first_fault(error: ValidationError) -> str:
    """Return the first fault: the path of the field, what was expected and what was found."""
    first = error.errors(include_url=False)[0]
    where = " -> ".join(str(step) for step in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    named = first["type"] in {"missing", REMOVED} or message.startswith("got ")
    came = "" if named else f", got {_shown(first['input'])}"
    return f"{where}: {message}{came}" if where else f"{message}{came}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
