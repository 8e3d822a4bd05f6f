"""The one place where text goes to the terminal: what names of files and classes could do to it is shown, not done."""

import os
import sys
from contextlib import suppress
from typing import Any, TextIO

__all__ = ["drain", "plain", "say", "warn"]

_SHOWN = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160))}
"""Control characters: escape sequences begin with one of them."""
del _SHOWN[ord("\n")], _SHOWN[ord("\t")]


def plain(text: str, encoding: str = "utf-8") -> str:
    r"""The text without control characters, and without what an encoding does not have.

    Example:
        >>> plain("a\x1b[31mb\ud800")
        'a\\x1b[31mb\\ud800'
    """
    return text.translate(_SHOWN).encode(encoding, "backslashreplace").decode(encoding)


def say(text: Any) -> None:
    """A line of standard output. Where its reader has gone, as in `atrous models | head -1`, it is lost quietly."""
    _write(sys.stdout, str(text))


def warn(text: Any) -> None:
    """A line of standard error."""
    _write(sys.stderr, str(text))


def drain() -> None:
    """Bring to the system what has been said."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except BrokenPipeError:
                _give_up(stream)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # closed before the command began
        return
    try:
        print(plain(text, stream.encoding or "utf-8"), file=stream)
    except BrokenPipeError:
        _give_up(stream)


def _give_up(stream: TextIO) -> None:
    """Send what else is said to nowhere."""
    with suppress(OSError, ValueError):  # a stream of a test has no number
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
