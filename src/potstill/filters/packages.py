"""Read and write filter packages: a folder with `filter.yaml` and `rubric.md`, or a built-in filter.

A package may also hold `probes.yaml`, the behaviour tests of the filter, which are read on their own.
"""

from __future__ import annotations

import json
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from potstill.errors import FilterError
from potstill.files import write_text
from potstill.filters.faults import explain_fault, keys_at
from potstill.filters.model import NAME, Filter
from potstill.filters.probes import Probes, parse_probes
from potstill.filters.reading import MOST_CHARACTERS, Dumper, line_of, read_yaml
from potstill.prefilter import MOST_PATTERNS

YAML_NAME = "filter.yaml"
RUBRIC_NAME = "rubric.md"
PROBES_NAME = "probes.yaml"

_MOST_BYTES = 4 * MOST_CHARACTERS


def builtin_filters() -> list[str]:
    """Return the names of the built-in filters."""
    return sorted(folder.name for folder in _builtin().iterdir() if (folder / YAML_NAME).is_file())


def load_filter(name_or_path: str | Path) -> Filter:
    """Load a built-in filter by its name, or a filter from a folder.

    A bare name that matches a built-in filter selects that filter; write `./name` for a folder of the same name.

    Raises:
        FilterError: there is no such filter, or it is invalid; the message names the file, the line, the path inside
            it, the value found and the valid values.
    """
    if isinstance(name_or_path, str) and name_or_path in builtin_filters():
        folder = _builtin() / name_or_path
        return parse_filter(
            (folder / YAML_NAME).read_text(encoding="utf-8"),
            (folder / RUBRIC_NAME).read_text(encoding="utf-8"),
            f"{name_or_path}/{YAML_NAME}",
        )
    path = Path(name_or_path)
    if path.name == YAML_NAME and path.is_file():
        path = path.parent
    if not path.is_dir():
        known = ", ".join(builtin_filters())
        raise FilterError(
            f"{name_or_path}: no such filter; expected a built-in filter ({known}) or a folder with {YAML_NAME}"
        )
    return parse_filter(_read(path / YAML_NAME), _read(path / RUBRIC_NAME), str(path / YAML_NAME))


def load_probes(filter_: Filter, place: str | Path) -> Probes:
    """Load the behaviour tests of a filter, and check that they test its dimensions.

    Args:
        filter_: the filter.
        place: the name of a built-in filter, a filter's folder, or the path of the file.

    Raises:
        FilterError: there are no tests in this place, or they are invalid; the message names the file, the line and
            the field.
    """
    if isinstance(place, str) and place in builtin_filters():
        file = _builtin() / place / PROBES_NAME
        if not file.is_file():
            raise FilterError(f"{place}/{PROBES_NAME}: no such file; the built-in filter has no behaviour tests")
        return parse_probes(file.read_text(encoding="utf-8"), filter_, f"{place}/{PROBES_NAME}")
    path = probes_path(place)
    if not path.exists():
        raise FilterError(f"{path}: no such file; behaviour tests of a filter stand in {PROBES_NAME} in its folder")
    return parse_probes(_read(path), filter_, str(path))


def own_probes(filter_: Filter, place: str | Path) -> Probes | None:
    """Return the tests that stand in the place of a filter, as `load_probes` does, or None if there are none."""
    if isinstance(place, str) and place in builtin_filters():
        return load_probes(filter_, place) if (_builtin() / place / PROBES_NAME).is_file() else None
    return load_probes(filter_, place) if probes_path(place).is_file() else None


def probes_path(place: str | Path) -> Path:
    """Return where the behaviour tests of a filter's folder are; the path of a file stays as it is."""
    path = Path(place)
    if path.name == YAML_NAME:
        path = path.parent
    return path / PROBES_NAME if path.is_dir() else path


def builtin_probes(filter_: Filter) -> Probes | None:
    """Return the tests of the built-in filter of this name, or None if it has other dimensions or another scale."""
    if filter_.name not in builtin_filters():
        return None
    built_in = load_filter(filter_.name)
    same = built_in.dimension_names == filter_.dimension_names and built_in.scale == filter_.scale
    return own_probes(filter_, filter_.name) if same else None


def save_filter(filter_: Filter, folder: str | Path) -> None:
    """Write a filter package that `load_filter` reads back as an equal filter."""
    folder = Path(folder)
    write_text(folder / RUBRIC_NAME, filter_.rubric)
    content = _without_gaps(filter_.model_dump(mode="json", exclude={"rubric"}))
    write_text(folder / YAML_NAME, yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110))


def parse_filter(yaml_text: str, rubric: str, where: str) -> Filter:
    """Parse a filter from the text of its two files; `where` names the YAML in errors.

    Raises:
        FilterError: as in `load_filter`.
    """
    content, root = read_yaml(yaml_text, where)
    if not isinstance(content, dict):
        raise FilterError(f"{where}: contains no keys; expected {', '.join(keys_at(()))}")
    if "rubric" in content:
        line = line_of(root, ("rubric",))
        raise FilterError(f"{where}: line {line}: rubric: move it to {RUBRIC_NAME} in the same folder")
    _refuse_many_patterns(content, root, where)
    rubric = "\n".join(rubric.splitlines()).strip()
    if not rubric:
        raise FilterError(f"{where}: {RUBRIC_NAME} is empty; it must tell the oracle how to score")
    try:
        # Validation uses JSON because strict models then accept lists for tuples, but still reject "7" for 7.
        return Filter.model_validate_json(json.dumps({**content, "rubric": rubric + "\n"}), strict=True)
    except ValidationError as error:
        raise FilterError(f"{where}: {explain_fault(error, root)}") from None


def _refuse_many_patterns(content: dict[str, Any], root: yaml.Node | None, where: str) -> None:
    """Reject too many patterns before the first one is checked, because checking them would take seconds."""
    prefilter = content.get("prefilter")
    rules = [content.get("caps"), prefilter.get("drop") if isinstance(prefilter, dict) else None]
    found = [
        rule.get("patterns") for some in rules if isinstance(some, list) for rule in some if isinstance(rule, dict)
    ]
    count = sum(len(patterns) for patterns in found if isinstance(patterns, list))
    if count > MOST_PATTERNS:
        line = line_of(root, ("caps",) if content.get("caps") else ("prefilter",))
        raise FilterError(
            f"{where}: line {line}: {count:,} patterns in caps and prefilter; at most {MOST_PATTERNS} are allowed"
        )


def scaffold(name: str, folder: str | Path = ".") -> Path:
    """Create a new filter package `folder/name` that is valid and whose warnings ask the user to edit it.

    Raises:
        FilterError: the name is invalid or belongs to a built-in filter, or the path exists.
    """
    place = new_place(name, folder)
    filled = {
        file: (_builtin("template") / file).read_text(encoding="utf-8").replace("NAME", name)
        for file in (YAML_NAME, RUBRIC_NAME)
    }
    # The filter is checked before anything is written.
    parse_filter(filled[YAML_NAME], filled[RUBRIC_NAME], f"new filter {name}")
    for file, text in filled.items():
        write_text(place / file, text)
    return place


def new_place(name: str, folder: str | Path = ".") -> Path:
    """Return the folder of a new filter package, `folder/name`, which does not exist yet.

    Raises:
        FilterError: the name is invalid or belongs to a built-in filter, or the path exists.
    """
    if name in builtin_filters():
        raise FilterError(f"{name}: this is the name of a built-in filter; choose another name")
    if not NAME.fullmatch(name):
        raise FilterError(
            f"{name}: not a valid filter name; use lower-case letters, digits and hyphens, such as my-topic"
        )
    place = Path(folder) / name
    if place.exists():
        raise FilterError(f"{place}: already exists; nothing was written")
    return place


def untouched(filter_: Filter) -> tuple[str, ...]:
    """Return which of `description`, `dimensions` and `rubric` are still as `scaffold` wrote them."""
    template = {file: (_builtin("template") / file).read_text(encoding="utf-8") for file in (YAML_NAME, RUBRIC_NAME)}
    blank = parse_filter(template[YAML_NAME].replace("NAME", "name"), template[RUBRIC_NAME], "the template")

    def body(rubric: str) -> list[str]:
        # The first line contains the filter's name and version.
        return rubric.splitlines()[1:]

    found = {
        "description": filter_.description == blank.description,
        "dimensions": {name: one.description for name, one in filter_.dimensions.items()}
        == {name: one.description for name, one in blank.dimensions.items()},
        "rubric": body(filter_.rubric) == body(blank.rubric),
    }
    return tuple(name for name, same in found.items() if same)


def _without_gaps(value: Any) -> Any:  # noqa: ANN401 - any value that YAML can contain
    """Return the value without keys whose value is empty or False."""
    if isinstance(value, dict):
        kept = ((key, _without_gaps(part)) for key, part in value.items())
        # A weight or a cap of 0 equals False but is meaningful, so the test is `is not False`.
        return {key: part for key, part in kept if part is not False and part not in (None, "", [], {})}
    return [_without_gaps(part) for part in value] if isinstance(value, list) else value


def _read(path: Path) -> str:
    try:
        # Reading a pipe would block. A missing file is reported below.
        if path.exists() and not path.is_file():
            raise FilterError(f"{path}: is not a file")
        if path.exists() and path.stat().st_size > _MOST_BYTES:
            raise FilterError(f"{path}: {path.stat().st_size:,} bytes; at most {_MOST_BYTES:,} are allowed")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FilterError(
            f"{path}: no such file; a filter consists of {YAML_NAME} and {RUBRIC_NAME} in one folder"
        ) from None
    except UnicodeDecodeError as error:
        raise FilterError(f"{path}: not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise FilterError(f"{path}: cannot be read ({error.strerror})") from None


def _builtin(kind: str = "filters") -> Any:  # noqa: ANN401 - importlib's Traversable has no stable public name
    return resources("potstill") / "builtin" / kind
