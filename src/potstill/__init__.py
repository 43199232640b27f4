"""potstill: distil an LLM's judgement into a small model you own.

`import potstill as ps` gives the Python interface; every name is loaded when it is first used, so that the import takes
milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from potstill.api import Dataset, Leaderboard, Parts, Result, Rows, Run, Scorer, Student, compare, label, probe
    from potstill.errors import BadInput, MissingExtra, NoSkill, PotstillError
    from potstill.filters import Dimension, Filter, Probes
    from potstill.types import Article, Verdict
    from potstill.verdict import Cap, Gate, Tier

__version__: str

_MODULES = {
    "api": (
        "Dataset",
        "Leaderboard",
        "Parts",
        "Result",
        "Rows",
        "Run",
        "Scorer",
        "Student",
        "compare",
        "label",
        "probe",
    ),
    "errors": ("BadInput", "MissingExtra", "NoSkill", "PotstillError"),
    "filters": ("Dimension", "Filter", "Probes"),
    "types": ("Article", "Verdict"),
    "verdict": ("Cap", "Gate", "Tier"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Article",
    "BadInput",
    "Cap",
    "Dataset",
    "Dimension",
    "Filter",
    "Gate",
    "Leaderboard",
    "MissingExtra",
    "NoSkill",
    "Parts",
    "PotstillError",
    "Probes",
    "Result",
    "Rows",
    "Run",
    "Scorer",
    "Student",
    "Tier",
    "Verdict",
    "__version__",
    "compare",
    "label",
    "probe",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the module holds under the name
    if name == "__version__":
        from importlib.metadata import version

        found: Any = version("potstill")
    elif name in _HOME:
        found = getattr(import_module(f"potstill.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'potstill' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
