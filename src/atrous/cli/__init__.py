"""The command `atrous`: it parses, calls a workflow, and prints.

Nothing heavy is imported before a command needs it. Whatever a user can cause ends as one line, `error: ...`, on
standard error with exit code 2; `--debug` (or ATROUS_DEBUG=1) shows where it came from.
"""

# Commands stand in the help in the order in which their modules are imported.
from atrous.cli import data, training, using, showing  # isort: skip
from atrous.cli.base import app
from atrous.cli.start import main

__all__ = ["app", "data", "main", "showing", "training", "using"]
