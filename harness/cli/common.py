"""What all commands share: errors as messages and exit codes, standard output kept for one JSON document."""

from __future__ import annotations

import errno
import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, ParamSpec

import typer

from harness.api.errors import ExitCode, HarnessError, UsageError

P = ParamSpec("P")

DEBUG_VARIABLE = "HARNESS_DEBUG"


class InterruptedCommand(HarnessError):
    """Somebody pressed Ctrl-C while there was nothing to be taken down."""

    code = ExitCode.INCONCLUSIVE


def command(function: Callable[P, ExitCode]) -> Callable[P, None]:
    """Make a command of a function: what it returns is the exit code, what it raises is one clear message on standard error
    (and, with --json, a document on standard output, which is kept free for that)."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs.get("as_json"))
        code: ExitCode | None = None
        try:
            with held_back() as last_words, reserved_stdout() if as_json else nullcontext():
                code = function(*args, **kwargs)
            sys.stdout.write("".join(last_words))
            sys.stdout.flush()
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            code = _failed(InterruptedCommand("interrupted"), as_json)
        except Exception as error:  # whatever goes wrong is one message and a documented exit code
            # Nobody can be told any more: a failure keeps its code, a success that was not told is none.
            code = (code or ExitCode.INFRASTRUCTURE) if _nobody_reads(error, code) else _failed(error, as_json)
        raise typer.Exit(int(code))

    return wrapped


def _nobody_reads(error: Exception, code: ExitCode | None) -> bool:
    """Whether whoever read our output has left. EIO means a closed terminal only where nothing but the output was left."""
    return isinstance(error, BrokenPipeError) or (isinstance(error, OSError) and error.errno == errno.EIO and code is not None)


def _failed(error: Exception, as_json: bool) -> ExitCode:
    code = error.code if isinstance(error, HarnessError) else ExitCode.INFRASTRUCTURE
    tell(error_text(error))
    if as_json and sys.stdout is not None:
        mistakes = {"mistakes": error.mistakes} if isinstance(error, UsageError) else {}
        print_json({"exit_code": int(code), "verdict": "error", "error": str(error) or type(error).__name__, **mistakes})
    return code


def error_text(error: Exception) -> str:
    """What standard error is told: the message, and the traceback where that is asked for."""
    trace = "".join(traceback.format_exception(error)) if os.environ.get(DEBUG_VARIABLE) else ""
    if isinstance(error, UsageError) and len(error.mistakes) > 1:
        return trace + "\n  ".join([f"error: {len(error.mistakes)} mistakes", *error.mistakes]) + "\n"
    if isinstance(error, HarnessError):
        return f"{trace}error: {error}\n"
    hint = "" if trace else f"; this is a mistake in harness or in a plugin: run it again with {DEBUG_VARIABLE}=1 to see where"
    return f"{trace}error: {type(error).__name__}: {error}{hint}\n"


#: What is printed once a command knows its exit code; None outside of a command.
_held: list[str] | None = None


@contextmanager
def held_back() -> Iterator[list[str]]:
    """Hold back what `print_json` and `print_last` are given. An error leaves nothing of it."""
    global _held
    held: list[str] = []
    _held = held
    try:
        yield held
    finally:
        _held = None


def print_json(document: Any) -> None:
    """Print the one document of a command."""
    print_last(json.dumps(document, indent=2, allow_nan=False, default=str) + "\n")


def print_last(text: str) -> None:
    """Print what a command has to say at its end."""
    if _held is None:
        sys.stdout.write(text)
    else:
        _held.append(text)


def warn(text: str) -> None:
    """Tell a person something on standard error."""
    tell(f"warning: {text}\n")


def tell(text: str) -> None:
    """Write to standard error, if anybody can read it."""
    with suppress(OSError):
        sys.stderr.write(text)


def let_go() -> None:
    """Flush what was printed; what nobody can read any more is thrown away, so that Python does not trip over it at its end."""
    for stream, fd in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            if stream is not None:  # it was closed when we were started
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), fd)


@contextmanager
def reserved_stdout() -> Iterator[None]:
    """Send everything that is written to standard output meanwhile, by whomever and by child processes too, to standard
    error, so that the document of `print_json`, which follows at the end, stands alone. Raises UsageError if it is closed."""
    if sys.stdout is None:  # its descriptor is that of the next file that is opened: what others print would go there
        raise UsageError("standard output was closed when harness was started; send it somewhere, if only to /dev/null")
    sys.stdout.flush()
    sys.stderr.flush()
    ours, kept = sys.stdout, os.dup(1)
    try:
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        yield
    finally:
        sys.stdout = ours
        os.dup2(kept, 1)
        os.close(kept)
