"""Load, check and describe filters, which define what to judge.

Input: a folder with `filter.yaml` and `rubric.md`, or the name of a built-in filter. Output: a strict, frozen `Filter`,
from which all other stages read weights, scale, window and rules. Anything in the YAML that would be ignored or could
never have an effect is an error that names its path and its line.
"""

from potstill.filters.advice import Finding, explain, lint
from potstill.filters.model import Dimension, Example, Filter, Scale
from potstill.filters.packages import (
    PROBES_NAME,
    RUBRIC_NAME,
    YAML_NAME,
    builtin_filters,
    builtin_probes,
    load_filter,
    load_probes,
    new_place,
    own_probes,
    parse_filter,
    probes_path,
    save_filter,
    scaffold,
    untouched,
)
from potstill.filters.probes import Negation, Probes, check_probes, parse_probes

__all__ = [
    "PROBES_NAME",
    "RUBRIC_NAME",
    "YAML_NAME",
    "Dimension",
    "Example",
    "Filter",
    "Finding",
    "Negation",
    "Probes",
    "Scale",
    "builtin_filters",
    "builtin_probes",
    "check_probes",
    "explain",
    "lint",
    "load_filter",
    "load_probes",
    "new_place",
    "own_probes",
    "parse_filter",
    "parse_probes",
    "probes_path",
    "save_filter",
    "scaffold",
    "untouched",
]
