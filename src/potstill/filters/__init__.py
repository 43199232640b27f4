"""Load, check and describe filters, which define what to judge.

Input: a folder with `filter.yaml` and `rubric.md`, or the name of a built-in filter. Output: a strict, frozen `Filter`,
from which all other stages read weights, scale, window and rules. Anything in the YAML that would be ignored or could
never have an effect is an error that names its path and its line.
"""

from potstill.filters.advice import Finding, explain, lint
from potstill.filters.model import Dimension, Example, Filter, Scale
from potstill.filters.packages import (
    RUBRIC_NAME,
    YAML_NAME,
    builtin_filters,
    load_filter,
    new_place,
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
    "new_place",
    "parse_filter",
    "save_filter",
    "scaffold",
    "untouched",
]
