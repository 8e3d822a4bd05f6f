"""The way into the command and out of it: whatever a user can cause ends as one line."""

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from atrous.cli.base import INTERRUPTED, TERMINATED, USER_ERROR, app
from atrous.cli.saying import drain, plain, warn
from atrous.errors import AtrousError, did_you_mean, lacks_memory
from atrous.findings import FindingsError

__all__ = ["main"]


class Terminated(KeyboardInterrupt):
    """The system asks the process to end, as a scheduler does, or a container that is stopped."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments, or None for those of the process.

    Returns:
        0 when all went well, 2 for an error that the user can mend, 130 after Ctrl-C, 143 after SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get("ATROUS_DEBUG", "") not in ("", "0")
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        with warnings.catch_warnings(), _telling(), _terminable():
            warnings.showwarning = _show_warning
            command = typer.main.get_command(app)
            # Not its `main`, which would swallow what an interruption says.
            with command.make_context("atrous", arguments) as context:
                code = command.invoke(context)
    except (KeyboardInterrupt, typer.Abort) as stop:
        warn(f"interrupted: {stop}" if str(stop) else "interrupted")
        code = TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
    except typer.Exit as leaving:
        code = leaving.exit_code
    except (BrokenPipeError, SystemExit):  # the reader of the help has gone
        code = 0
    except Exception as error:
        text = _explain(error)
        if debug or text is None:
            raise
        if text:
            warn(f"error: {text}")
        code = USER_ERROR
    drain()
    return code if isinstance(code, int) else 0


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the command as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


class _Formatter(logging.Formatter):
    """Messages as the terminal can show them."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record), getattr(sys.stderr, "encoding", None) or "utf-8")


@contextmanager
def _telling() -> Iterator[None]:
    """Show what the package reports while it works, a line each, on standard error as it is now."""
    log = logging.getLogger("atrous")
    handler, level = logging.StreamHandler(sys.stderr), log.level
    handler.setFormatter(_Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    """One line: where in the source a warning was raised is nothing to the user."""
    warn(f"warning: {' '.join(str(message).split())}")


def _explain(error: Exception) -> str | None:
    """One line for what a user can cause, or one for each of several; None for what is our own fault."""
    if isinstance(error, FindingsError):
        return str(error)
    if isinstance(error, AtrousError):
        return " ".join(str(error).splitlines())
    # typer has brought its own copy of click since 0.20: its errors are known by what they can do.
    if hasattr(error, "format_message"):
        return _explain_usage(error)
    if isinstance(error, OSError) and error.strerror:
        what = error.filename or "the system"
        return f"{what}: {error.strerror}; check the path, its rights and the space on the disk."
    if lacks_memory(error):
        return "there is not enough memory; predict and evaluate take --tile 512, train takes data.batch_size=1."
    return None


def _explain_usage(error: Any) -> str:
    if type(error).__name__ == "NoArgsIsHelpError":  # the help has been printed
        return ""
    text = " ".join(str(error.format_message()).split()).rstrip(".")
    text = text.removesuffix(", unable to parse string as an integer")
    context = getattr(error, "ctx", None)
    option = getattr(error, "option_name", None)
    if context is not None and type(error).__name__ == "NoSuchOption":
        known = [name for parameter in context.command.get_params(context) for name in parameter.opts if name[0] == "-"]
        text = f"there is no option {option}. {did_you_mean(str(option), known)}".rstrip(".")
    elif context is not None and text.startswith("No such command"):
        word = text.split("'")[1] if "'" in text else text
        text = f"there is no command {word!r}. {did_you_mean(word, context.command.commands)}".rstrip(".")
    parameter = getattr(error, "param", None)
    purpose = getattr(parameter, "help", None)
    if type(error).__name__ == "MissingParameter" and purpose:
        text += f": {purpose.rstrip('.')}"
    command = context.command_path if context is not None else "atrous"
    end = "" if text.endswith("?") else "."
    return f"{text}{end} See: {command} --help"
