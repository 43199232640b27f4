"""Define the behaviour tests of a filter: texts of which we know how their scores must differ.

Input: the text of a `probes.yaml`, which may stand beside `filter.yaml`, and the filter. Output: `Probes`. Neither the
labels nor the hashes of a filter depend on them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, ValidationError

from potstill.errors import FilterError
from potstill.filters.faults import explain_fault
from potstill.filters.reading import line_of, read_yaml
from potstill.records import Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    import yaml

    from potstill.filters.model import Filter

MOST_PROBES = 200
"""Maximum number of ramps, or of negations, of one dimension, and of paraphrases."""

_Text = Annotated[str, Field(min_length=1)]
_Ramp = Annotated[tuple[_Text, ...], Field(min_length=2, max_length=10)]
_Path = tuple[str | int, ...]


class Negation(Part):
    """A text that scores on a dimension, and the same text with the deciding fact negated, which must score lower."""

    text: _Text
    negated: _Text


class Probes(Part):
    """The behaviour tests of a filter.

    `ramps` gives, for a dimension, lists of texts in which only this dimension rises from each text to the next.
    `negations` gives, for a dimension, pairs of which the negated text must score lower. `paraphrases` are pairs that
    say the same, so that no score may move.
    """

    ramps: dict[str, Annotated[tuple[_Ramp, ...], Field(min_length=1, max_length=MOST_PROBES)]] = Field(
        default_factory=dict
    )
    negations: dict[str, Annotated[tuple[Negation, ...], Field(min_length=1, max_length=MOST_PROBES)]] = Field(
        default_factory=dict
    )
    paraphrases: Annotated[tuple[tuple[_Text, _Text], ...], Field(max_length=MOST_PROBES)] = ()

    def counts(self) -> dict[str, dict[str, int] | int]:
        """Return the number of ramps and of negations of each dimension, and the number of paraphrases."""
        return {
            "ramps": {name: len(ramps) for name, ramps in self.ramps.items()},
            "negations": {name: len(pairs) for name, pairs in self.negations.items()},
            "paraphrases": len(self.paraphrases),
        }

    def described(self) -> str:
        """Return how many tests there are, in words."""
        return counted_tests(
            sum(map(len, self.ramps.values())), sum(map(len, self.negations.values())), len(self.paraphrases)
        )

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text of the ramps, each once, in order."""
        every = (text for ramps in self.ramps.values() for ramp in ramps for text in ramp)
        return tuple(dict.fromkeys(every))


def counted_tests(ramps: int, negations: int, paraphrases: int) -> str:
    """Return numbers of tests in words, such as `1 ramp, 2 negations, 0 paraphrases`."""
    own = ((ramps, "ramp"), (negations, "negation"), (paraphrases, "paraphrase"))
    return ", ".join(f"{count:,} {name}{'' if count == 1 else 's'}" for count, name in own)


def parse_probes(yaml_text: str, filter_: Filter, where: str) -> Probes:
    """Parse the behaviour tests of a filter from the text of their file; `where` names it in errors.

    Raises:
        FilterError: a key, a dimension or a text is not valid; the message names the file, the line and the field.
    """
    content, root = read_yaml(yaml_text, where)
    if not isinstance(content, dict):
        raise FilterError(f"{where}: contains no keys; expected ramps, negations and paraphrases")
    try:
        probes = Probes.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        raise FilterError(f"{where}: {explain_fault(error, root, Probes)}") from None
    fault = next(_faults(probes, filter_), None)
    if fault is not None:
        raise FilterError(f"{where}: {_place(root, fault[0])}: {fault[1]}")
    return probes


def check_probes(probes: Probes, filter_: Filter) -> None:
    """Check that tests that were made in code test the dimensions of a filter.

    Raises:
        FilterError: a dimension or a text is not valid; the message names the field.
    """
    fault = next(_faults(probes, filter_), None)
    if fault is not None:
        raise FilterError(f"{' -> '.join(map(str, fault[0])) or 'probes'}: {fault[1]}")


def _place(root: yaml.Node | None, path: _Path) -> str:
    return f"line {line_of(root, path)}: " + (" -> ".join(map(str, path)) or "probes")


def _faults(probes: Probes, filter_: Filter) -> Iterator[tuple[_Path, str]]:
    """Yield what is wrong with the tests as tests of this filter."""
    if not probes.ramps and not probes.negations and not probes.paraphrases:
        yield (), "no tests; expected ramps, negations or paraphrases"
    for kind in ("ramps", "negations"):
        for name in getattr(probes, kind):
            if name not in filter_.dimensions:
                known = ", ".join(filter_.dimension_names)
                yield (kind, name), f"not a dimension of {filter_.name}; its dimensions: {known}"
    for group in _groups(probes):
        seen: dict[str, int] = {}
        for number, (path, text) in enumerate(group, start=1):
            window = filter_.text.of("", text)
            if not window:
                yield path, "expected text that is not only white space"
            elif window in seen:
                limit = f"in the first {filter_.text.max_chars:,} characters, which is all that is read"
                yield path, f"the same as text {seen[window]} {limit}"
            seen[window] = number


def _groups(probes: Probes) -> Iterator[list[tuple[_Path, str]]]:
    """Yield the texts that are compared with one another, each with its path."""
    for name, ramps in probes.ramps.items():
        for place, ramp in enumerate(ramps):
            yield [(("ramps", name, place, step), text) for step, text in enumerate(ramp)]
    for name, negations in probes.negations.items():
        for place, one in enumerate(negations):
            at = ("negations", name, place)
            yield [((*at, "text"), one.text), ((*at, "negated"), one.negated)]
    for place, pair in enumerate(probes.paraphrases):
        yield [(("paraphrases", place, number), text) for number, text in enumerate(pair)]
