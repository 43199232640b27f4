"""Tests of records: every JSON file that potstill writes is read by the same rules."""

from __future__ import annotations

import importlib
import pkgutil
from typing import ClassVar

import pytest
from pydantic import Field

import potstill
from potstill.errors import BadInput, RunError
from potstill.files import write_json
from potstill.records import Part, Record


class Shelf(Part):
    """A part of a record."""

    books: tuple[str, ...] = Field(min_length=1)
    width: float


class Library(Record):
    """A record with layout version 2, which lost a field of version 1."""

    fault: ClassVar = RunError
    made_by: ClassVar = "potstill build LIBRARY"

    schema_version: int = 2
    shelf: Shelf
    town: str = "nowhere"


GOOD = {"schema_version": 2, "shelf": {"books": ["Emma", "Ulysses"], "width": 80}, "town": "Delft"}


def every_record() -> list[type[Record]]:
    """Return all record classes of potstill."""
    for module in pkgutil.walk_packages(potstill.__path__, "potstill."):
        if not module.name.endswith(("__main__", "_process")):
            importlib.import_module(module.name)
    found, left = [], list(Record.__subclasses__())
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        if kind.__module__.startswith("potstill."):
            found.append(kind)
    return sorted(found, key=lambda kind: f"{kind.__module__}.{kind.__name__}")


class TestFile:
    def test_a_record_comes_back_as_it_was(self, tmp_path):
        library = Library(shelf=Shelf(books=("Emma",), width=80.0))
        library.save(tmp_path / "library.json")
        assert Library.from_file(tmp_path / "library.json") == library

    def test_a_list_in_the_file_is_a_tuple(self):
        assert Library.from_json(GOOD, "library.json").shelf.books == ("Emma", "Ulysses")

    def test_an_older_record_is_read(self):
        assert Library.from_json(GOOD | {"schema_version": 1}, "library.json").town == "Delft"

    def test_an_older_record_whose_fields_do_not_fit_names_the_command_that_makes_it(self):
        content = {"schema_version": 1, "shelf": {"books": ["Emma"], "width": 80, "height": 3}}
        with pytest.raises(RunError, match=r"shelf -> height: .*an older potstill wrote it; .*potstill build LIBRARY"):
            Library.from_json(content, "library.json")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"schema_version": 3}, r"library\.json: schema_version 3 is newer than this potstill reads \(2\)"),
            ({"schema_version": "2"}, r"schema_version: expected a whole number from 1 to 2, got \"2\""),
            ({"schema_version": True}, r"schema_version: expected a whole number from 1 to 2, got true"),
            ({"schema_version": 0}, r"schema_version: expected a whole number from 1 to 2, got 0"),
            ({"shelf": {"books": "Emma", "width": 80}}, r"shelf -> books: .*valid array, got 'Emma'"),
            ({"shelf": {"books": ["Emma"], "width": "80"}}, r"shelf -> width: .*valid number, got '80'"),
            ({"shelf": {"books": ["Emma"]}}, r"shelf -> width: Field required$"),
            ({"town": 4}, r"town: .*valid string, got 4"),
            ({"country": "NL"}, r"country: Extra inputs are not permitted, got 'NL'"),
            ({"town": ["x" * 100]}, r"got \['x+\.\.\.$"),
        ],
    )
    def test_what_does_not_fit_is_refused_by_file_and_field(self, change, message, tmp_path):
        write_json(tmp_path / "library.json", GOOD | change)
        with pytest.raises(RunError, match=message):
            Library.from_file(tmp_path / "library.json")

    def test_a_file_without_a_version_is_refused(self):
        content = {name: value for name, value in GOOD.items() if name != "schema_version"}
        with pytest.raises(RunError, match="schema_version: expected a whole number from 1 to 2, it is missing"):
            Library.from_json(content, "library.json")

    def test_a_file_that_is_missing_names_its_command(self, tmp_path):
        with pytest.raises(RunError, match=r"library\.json: no such file; run: potstill build LIBRARY"):
            Library.from_file(tmp_path / "library.json")

    @pytest.mark.parametrize("text", ["[]", "{", "\udcff", '{"schema_version": ' + "1" * 50 + "}"])
    def test_a_file_that_holds_something_else_is_refused_by_name(self, text, tmp_path):
        (tmp_path / "library.json").write_text(text, encoding="utf-8", errors="surrogateescape")
        with pytest.raises(RunError, match=r"library\.json: "):
            Library.from_file(tmp_path / "library.json")

    def test_a_part_of_another_place_is_refused_with_the_error_asked_for(self):
        with pytest.raises(BadInput, match="the shelf: width: Field required"):
            Shelf.validated({"books": ["Emma"]}, "the shelf")


@pytest.mark.parametrize("kind", every_record(), ids=lambda kind: kind.__name__)
class TestEveryRecord:
    def test_a_newer_version_is_refused_by_name(self, kind):
        newest = kind.newest()
        with pytest.raises(kind.fault, match=rf"some\.json: schema_version {newest + 1} is newer than .* \({newest}\)"):
            kind.from_json({"schema_version": newest + 1}, "some.json")

    def test_a_version_that_is_too_old_names_the_command_that_makes_it_again(self, kind):
        for version in range(1, kind.oldest):
            with pytest.raises(kind.fault, match=rf"schema_version {version}: .*make it again: potstill "):
                kind.from_json({"schema_version": version}, "some.json")

    def test_a_field_that_it_does_not_know_is_refused(self, kind):
        with pytest.raises(kind.fault, match=r"not_a_field|Field required"):
            kind.from_json({"schema_version": kind.newest(), "not_a_field": 1}, "some.json")


def test_all_the_kinds_that_a_run_and_a_bundle_hold_are_records():
    names = {kind.__name__ for kind in every_record()}
    assert {
        "Acceptance", "Audit", "Bench", "BundleFacts", "Calibration", "Cascade", "Comparing", "Evaluation",
        "FreshEvaluation", "Leaderboard", "Manifest", "Pairs", "Plan", "ProbeRecord", "Signature", "StudentFacts",
        "StudentRecord", "Refitted", "Study", "Verdicts",
    } <= names  # fmt: skip
