"""Every error that potstill raises on purpose, drawn as a tree.

PotstillError
├── BadInput                exit 2: something given to potstill is not legal
│   ├── FilterError             a filter package
│   │   └── ConditionError          a condition inside one
│   ├── ArticleError            a row of an article file
│   ├── LabelError              a row of labels, or the ledger
│   ├── RunError                a run folder: missing stage, stale, locked, unknown layout
│   ├── DatasetError            labels that cannot make a dataset
│   ├── RecipeError             a training recipe
│   ├── TrainingError           training that must not go on (frozen adapter, NaN)
│   └── BundleError             a bundle that does not prove itself
├── Unavailable             exit 3: something potstill needs is not on this machine
│   ├── MissingExtra            an optional dependency; names the exact command
│   ├── MissingModel            a backbone's weights
│   └── NotEnoughMemory         a network that this machine cannot hold
├── OracleError             exit 2: the oracle cannot be asked at all (key, address, quota)
└── TargetMissed            exit 1: the work is done and a declared target is missed

Commands catch PotstillError once, print its one line and exit with `exit_code`.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from types import ModuleType


LONGEST_MESSAGE = 300
"""Characters of the line that tells a person of an error."""

_LEFT_OUT = " [...] "


class PotstillError(Exception):
    """Base of all errors that potstill raises on purpose; `exit_code` is what a command exits with."""

    exit_code: ClassVar[int] = 2


class BadInput(PotstillError):
    """Something given to potstill is not legal; the message names file, row and field."""


class FilterError(BadInput):
    """A filter package that cannot be used."""


class ConditionError(FilterError):
    """A condition that is not in the small language of `conditions`."""


class ArticleError(BadInput):
    """A row of an article file that cannot be read."""


class LabelError(BadInput):
    """A label that is out of range, or labels that do not belong together."""


class RunError(BadInput):
    """A run folder that cannot be used as asked: a stage missing or stale, a lock held, a newer layout."""


class DatasetError(BadInput):
    """Labels that cannot make a dataset."""


class RecipeError(BadInput):
    """A recipe that cannot be used."""


class TrainingError(BadInput):
    """Training that must not go on, such as one whose adapter is frozen."""


class BundleError(BadInput):
    """A bundle that does not prove itself."""


class OracleError(PotstillError):
    """The oracle cannot be asked at all: no key, no address, no quota."""


class Unavailable(PotstillError):
    """Something potstill needs is not on this machine."""

    exit_code = 3


class MissingExtra(Unavailable):
    """An optional dependency is not installed."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f"{module} is not installed; run: pip install 'potstill[{extra}]'")


class MissingModel(Unavailable):
    """A backbone's weights cannot be found."""


class NotEnoughMemory(Unavailable):
    """A network needs more memory than is free."""


class TargetMissed(PotstillError):
    """The work is done, and a declared target is missed."""

    exit_code = 1


def one_line(message: str, longest: int = LONGEST_MESSAGE) -> str:
    """A message as one line that a terminal shows as it is, of at most `longest` characters.

    White space becomes single spaces, what can't be seen is spelled out, and a message that is too long loses its
    middle: it begins with the file's name, and often ends with what to do.
    """
    line = "".join(sign if sign.isprintable() else _spelled(sign) for sign in " ".join(message.split()))
    if len(line) <= longest:
        return line
    room = longest - len(_LEFT_OUT)
    return line[: room - room // 3] + _LEFT_OUT + line[-(room // 3) :]


def _spelled(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


def require_installed(module: str, extra: str) -> None:
    """As `require`, for a dependency that another process imports.

    Raises:
        MissingExtra: it is not installed; the message holds the command that installs it.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtra(module, extra)


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency late.

    Raises:
        MissingExtra: it is not installed; the message holds the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(error.name + ".")):
            raise MissingExtra(module, extra) from error
        raise
