"""The command line as a process: its streams, its interrupts, and one line and an exit code for whatever ends it.

In: the application. Out: an exit code: 0 done, 1 a target is missed, 2 bad input or something that cannot be read or
written, 3 an extra, a model or memory is missing, 130 interrupted. No traceback reaches a person who did not ask for
it with `-v`.
"""

from __future__ import annotations

import os
import sys
import traceback
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from potstill import interrupts
from potstill.cli.streams import drop_stdout, prepare_streams
from potstill.errors import LONGEST_MESSAGE, BadInput, PotstillError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    import typer


def run(build: Callable[[], typer.Typer]) -> NoReturn:
    """Run the application that `build` makes; ends this process."""
    try:
        prepare_streams()
        with interrupts.listening():
            code = _run(build)
            code = _flush(code)
    except KeyboardInterrupt:
        # One that came before `listening` began, or while the last lines were printed.
        interrupts.say_farewell()
        code = interrupts.EXIT_CODE
    if code == interrupts.EXIT_CODE:
        interrupts.leave_soon()
    sys.exit(code)


class Carried(BaseException):
    """Carries an error past typer, which would end the process in its own way."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def _run(build: Callable[[], typer.Typer]) -> int:
    """Run the application; its exit code, once what ended it is printed."""
    try:
        _refuse_odd_names(sys.argv[1:])
        build()()
    except SystemExit as error:
        # Usage errors are printed, and interrupts turned into this code, by then.
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 2
    except BaseException as error:  # noqa: BLE001 - whatever it is, a person reads one line
        code = _ended_by(error.error if isinstance(error, Carried) else error)
    else:
        code = 0
    if code == interrupts.EXIT_CODE:
        interrupts.say_farewell()
    return code


def _ended_by(error: BaseException) -> int:
    """Print what ended the command; its exit code."""
    if isinstance(error, KeyboardInterrupt) or interrupts.interrupted():
        # A library may have made another error of the interrupt.
        return interrupts.EXIT_CODE
    if isinstance(error, BrokenPipeError):
        # The reader of our output has closed it, as `head` does. What Python still buffers is discarded.
        drop_stdout()
        return 0
    if isinstance(error, PotstillError):
        _error(str(error))
        return error.exit_code
    if isinstance(error, MemoryError):
        _error("not enough memory")
        return 3
    if isinstance(error, OSError):
        _error(_of_system(error))
    elif isinstance(error, UnicodeEncodeError) and _has_surrogate(error.object):
        _error(f"{error.object}: this name is not valid UTF-8; rename the file or folder")
    else:
        _internal(error)
    return 2


def _refuse_odd_names(arguments: list[str]) -> None:
    """Refuse arguments that are not valid text: most libraries under potstill cannot open such a file.

    Raises:
        BadInput: there is one.
    """
    for before, argument in pairwise(["", *arguments]):
        # A quoted text is no name, and is not printed; the command says what is wrong with it.
        if before == "--text" or argument.startswith("--text="):
            continue
        if _has_surrogate(argument):
            raise BadInput(
                f"{argument}: this name is not valid {sys.getfilesystemencoding().upper()}, and the libraries that "
                "read the files can't open it; rename the file or folder"
            )


def _has_surrogate(text: str) -> bool:
    """Whether Python has put stand-ins for bytes that are no text."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _of_system(error: OSError) -> str:
    """What the system refused, in one line that names the file where the system does."""
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    return reason if error.filename is None else f"{os.fsdecode(error.filename)}: cannot be used ({reason})"


def _internal(error: BaseException) -> None:
    """A fault that nobody foresaw: its kind and its place, and the whole of it with `-v`.

    The message of a library's error may quote the text of an article, so it is only shown to those who ask.
    """
    from potstill.terminal import log

    places = traceback.extract_tb(error.__traceback__)
    own = next((place for place in reversed(places) if "potstill" in Path(place.filename).parts), places[-1])
    where = f"{Path(own.filename).parent.name}/{Path(own.filename).name}:{own.lineno}"
    _error(f"internal error: {type(error).__name__} at {where}; run the command with `potstill -v` for details")
    if any(flag in sys.argv[1:] for flag in ("-v", "--verbose")):
        traceback.print_exception(error)
    log.debug("internal error: %s at %s", type(error).__name__, where)


def _error(message: str) -> None:
    from potstill.terminal import console

    console.quiet = False
    said = one_line(message, LONGEST_MESSAGE - len("error: "))
    console.print(f"error: {said}", style="red", highlight=False, markup=False, soft_wrap=True)


def _flush(code: int) -> int:
    """Write what Python still holds of stdout; the exit code, which is another where that fails."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        drop_stdout()
    except BadInput as error:
        if code in {0, 1}:
            _error(str(error))
            return error.exit_code
    return code
