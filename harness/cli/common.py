"""What all commands share: errors as messages and exit codes, standard output kept for one JSON document."""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec

import typer

from harness.api.errors import ExitCode, HarnessError, UsageError

P = ParamSpec("P")

DEBUG_VARIABLE = "HARNESS_DEBUG"


def command(function: Callable[P, ExitCode]) -> Callable[P, None]:
    """Make a command of a function: what it returns is the exit code, what it raises is one clear message on standard error
    (and, with --json, a document on standard output)."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = function(*args, **kwargs)
            sys.stdout.flush()
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:
            # Whoever read our output has left: there is nobody to tell, not even when Python flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = ExitCode.INFRASTRUCTURE
        except KeyboardInterrupt:
            code = _failed(HarnessError("interrupted"), bool(kwargs.get("as_json")))
        except Exception as error:  # whatever goes wrong is one message and a documented exit code
            code = _failed(error, bool(kwargs.get("as_json")))
        raise typer.Exit(int(code))

    return wrapped


def _failed(error: Exception, as_json: bool) -> ExitCode:
    code = error.code if isinstance(error, HarnessError) else ExitCode.INFRASTRUCTURE
    sys.stderr.write(error_text(error))
    if as_json:
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


def print_json(document: Any) -> None:
    """Print the one document of a command."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False, default=str) + "\n")


def warn(text: str) -> None:
    """Tell a person something on standard error."""
    sys.stderr.write(f"warning: {text}\n")


@contextmanager
def reserved_stdout() -> Iterator[None]:
    """Send everything that is written to standard output meanwhile, by whomever and by child processes too, to standard
    error, so that what is printed afterwards stands alone."""
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
