"""Filters: what to judge, as data.

In: a folder with `filter.yaml` and `rubric.md`, or the name of one that ships. Out: a strict, frozen `Filter`
that every other stage reads its weights, scale, window and rules from. Whatever in the YAML would not be read,
or could never have an effect, is an error that names its path and its line.
"""

from potstill.filters.advice import Finding, explain, lint
from potstill.filters.model import Dimension, Example, Filter, Scale
from potstill.filters.packages import (
    RUBRIC_NAME,
    YAML_NAME,
    builtin_filters,
    load_filter,
    parse_filter,
    save_filter,
    scaffold,
    untouched,
)

__all__ = [
    "RUBRIC_NAME",
    "YAML_NAME",
    "Dimension",
    "Example",
    "Filter",
    "Finding",
    "Scale",
    "builtin_filters",
    "explain",
    "lint",
    "load_filter",
    "parse_filter",
    "save_filter",
    "scaffold",
    "untouched",
]
