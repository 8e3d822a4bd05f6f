"""What the commands share: the application itself, arguments that several take, a progress bar."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from atrous._version import __version__
from atrous.cli.saying import say

__all__ = [
    "INTERRUPTED",
    "TERMINATED",
    "USER_ERROR",
    "BundleName",
    "ClassFile",
    "Data",
    "Device",
    "Engine",
    "Overrides",
    "Precision",
    "RecipeOption",
    "Refine",
    "Tile",
    "app",
    "progress_bar",
]

app = typer.Typer(
    name="atrous",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: atrous demo demo",
)

Data = Annotated[Path, typer.Argument(metavar="DATA", help="Folder with images/, masks/ and perhaps classes.yaml.")]
BundleName = Annotated[str, typer.Argument(metavar="BUNDLE", help="A bundle, a run folder, or a Hub id.")]
ClassFile = Annotated[Path | None, typer.Option("--classes", help="A classes.yaml to use instead of the folder's.")]
Tile = Annotated[int | None, typer.Option(help="Side of the tiles in pixels. Default: whole images.")]
Refine = Annotated[
    str | None,
    typer.Option(
        metavar="NAME[:KEY=VALUE,...]",
        help="Refine the masks: crf, local_crf, crf:bilateral_xy=60,iterations=10. none: not even as the bundle says.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="auto, float32, bfloat16, float16, or int8 of a quantised bundle.")]
Engine = Annotated[
    str | None,
    typer.Option(
        metavar="auto|torch|openvino|onnxruntime",
        help="What computes the network on a CPU. auto: torch at first, OpenVINO where much is predicted.",
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Entries of the recipe to change.")
]
RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe", "-r", metavar="NAME|FILE", help="A recipe by name or file. Default: unet. See: atrous recipes."
    ),
]

USER_ERROR = 2
INTERRUPTED, TERMINATED = 130, 143


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on standard error, where it is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"atrous {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """From a folder of images and masks to a trained, measured, deployable segmenter."""
