"""Define every error that potstill raises deliberately.

PotstillError
├── BadInput                exit 2: an input to potstill is invalid
│   ├── FilterError             a filter package
│   │   └── ConditionError          a condition inside one
│   ├── ArticleError            a row of an article file
│   ├── LabelError              a row of labels, or the ledger
│   ├── RunError                a run folder: missing stage, stale, locked, unknown layout
│   ├── DatasetError            labels from which no dataset can be made
│   ├── RecipeError             a training recipe
│   ├── TrainingError           training that must stop (frozen adapter, NaN)
│   └── BundleError             a bundle that fails its checks
├── Unavailable             exit 3: something potstill needs is not on this machine
│   ├── MissingExtra            an optional dependency; the message has the exact command
│   ├── MissingModel            the weights of a backbone
│   └── NotEnoughMemory         a network that exceeds this machine's memory
├── OracleError             exit 2: the oracle cannot be asked at all (key, address, quota)
└── TargetMissed            exit 1: the work is done, but a declared target is missed
    └── NoSkill                 a student that is not shown to be better than the constant

Each command catches PotstillError once, prints it as one line and exits with `exit_code`.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from types import ModuleType


LONGEST_MESSAGE = 300
"""Maximum length, in characters, of the line that reports an error to the user."""

_LEFT_OUT = " [...] "


class PotstillError(Exception):
    """Base class of all errors that potstill raises deliberately; `exit_code` is the exit status of the command."""

    exit_code: ClassVar[int] = 2


class BadInput(PotstillError):
    """An input to potstill is invalid; the message names file, row and field."""


class FilterError(BadInput):
    """A filter package cannot be used."""


class ConditionError(FilterError):
    """A condition does not follow the language of `conditions`."""


class ArticleError(BadInput):
    """A row of an article file cannot be read."""


class LabelError(BadInput):
    """A label is out of range, or labels do not belong together."""


class RunError(BadInput):
    """A run folder cannot be used as requested: a stage is missing or stale, a lock is held, the layout is newer."""


class DatasetError(BadInput):
    """No dataset can be made from the labels."""


class RecipeError(BadInput):
    """A recipe cannot be used."""


class TrainingError(BadInput):
    """Training must stop, for example because the adapter is frozen."""


class BundleError(BadInput):
    """A bundle fails its checks."""


class OracleError(PotstillError):
    """The oracle cannot be asked at all: key, address or quota is missing."""


class Unavailable(PotstillError):
    """Something that potstill needs is not on this machine."""

    exit_code = 3


class MissingExtra(Unavailable):
    """An optional dependency is not installed."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f"{module} is not installed; run: pip install 'potstill[{extra}]'")


class MissingModel(Unavailable):
    """The weights of a backbone cannot be found."""


class NotEnoughMemory(Unavailable):
    """A network needs more memory than is free."""


class TargetMissed(PotstillError):
    """The work is done, but a declared target is missed."""

    exit_code = 1


class NoSkill(TargetMissed):
    """A student is not shown to be better than the constant, so it is not shipped."""


def one_line(message: str, longest: int = LONGEST_MESSAGE) -> str:
    """Return a message as one printable line of at most `longest` characters.

    White space becomes single spaces and invisible characters are spelled out. A message that is too long is shortened
    in the middle, because it starts with the file's name and often ends with the remedy.
    """
    line = "".join(sign if sign.isprintable() else _spelled(sign) for sign in " ".join(message.split()))
    if len(line) <= longest:
        return line
    room = longest - len(_LEFT_OUT)
    return line[: room - room // 3] + _LEFT_OUT + line[-(room // 3) :]


def _spelled(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


def require_installed(module: str, extra: str) -> None:
    """Check that a dependency that another process imports is installed, as `require` does.

    Raises:
        MissingExtra: the dependency is not installed; the message contains the command that installs it.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtra(module, extra)


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency when it is needed.

    Raises:
        MissingExtra: the dependency is not installed; the message contains the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(error.name + ".")):
            raise MissingExtra(module, extra) from error
        raise
