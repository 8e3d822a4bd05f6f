"""Commands that show: the networks, the report of a run, the whole job at once."""

import sys
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated

import typer

from atrous.cli.base import app
from atrous.cli.saying import say
from atrous.errors import UsageError

__all__ = ["demo", "models", "recipes", "report", "weights"]


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One network. Default: all of them.")] = None,
    size: Annotated[tuple[int, int], typer.Option(metavar="H W", help="Height and width of the image.")] = (512, 512),
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Draw the network: a .png or .svg file.")
    ] = None,
) -> None:
    """List the networks that a recipe can name, oldest first; or show one of them, stage by stage.

    Example: atrous models unet --size 512 640 -o unet.png
    """
    from atrous import workflows

    if name is None:
        if out is not None:
            raise UsageError(f"{out}: one network is drawn at a time; name it, as in: atrous models unet -o {out}")
        say(workflows.lineage())
        return
    say(workflows.describe(name, size=size, out=out))
    if out is not None:
        say(f"\nwritten: {out}")


@app.command()
def weights(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help='An encoder of timm, or several: "convnext_tiny*".')
    ] = None,
) -> None:
    """List the pretrained weights of this machine, of packages and of the Hub, with sizes and licences.

    Example: atrous weights resnet18
    """
    from atrous import workflows

    say(workflows.weights(name))


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One recipe. Default: all of them.")] = None,
) -> None:
    """List the recipes that `train --recipe` takes by name; or print one of them, to be changed and used.

    Example: atrous recipes unet > mine.yaml
    """
    from atrous import workflows

    say(workflows.recipes(name, width=get_terminal_size().columns if sys.stdout.isatty() else None))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    data: Annotated[Path | None, typer.Option(help="The data folder, if it has moved.")] = None,
) -> None:
    """Write the report of a run again, with its pictures.

    Example: atrous report runs/cells
    """
    from atrous import workflows

    say(f"written: {workflows.report(run, data=data)}")


@app.command()
def demo(out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for all of it.")] = Path("demo")) -> None:
    """Make cells, check them, train, evaluate, segment a large image, and write the report.

    Example: atrous demo demo
    """
    from atrous import workflows

    workflows.demo(out, say=say)
