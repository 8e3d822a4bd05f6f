"""Commands that make bundles."""

from pathlib import Path
from typing import Annotated

import typer

from atrous.cli.base import ClassFile, Data, Overrides, RecipeOption, app, progress_bar
from atrous.cli.saying import say

__all__ = ["ensemble", "find_lr", "train"]


@app.command()
def train(
    data: Data,
    overrides: Overrides = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            "-r",
            metavar="NAME|FILE",
            help="A recipe by name or file. Default: one made from the data. See: atrous recipes.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="RUN", help="Folder of the run. Default: runs/DATA-RECIPE.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN.")] = False,
    start: Annotated[
        str | None, typer.Option("--from", metavar="BUNDLE", help="Fine-tune from these weights; a .pth file goes too.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Time that the training may take: 90s, 10m, 2h.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(metavar="K", help="Train K networks, each validated on another part; join them.")
    ] = None,
    classes: ClassFile = None,
) -> None:
    """Train a network by a recipe. The run folder holds the bundle, the log, the checkpoints and the report.

    Example: atrous train data/cells --recipe unet model.encoder=resnet34 -o runs/cells
    """
    from atrous import workflows

    run = workflows.train(
        data,
        recipe=recipe,
        out=out,
        overrides=overrides or [],
        resume=resume,
        from_bundle=start,
        classes=classes,
        budget=budget,
        folds=folds,
    )
    if not workflows.is_secondary():  # of several processes one speaks
        say(run)


@app.command("find-lr")
def find_lr(
    data: Data,
    overrides: Overrides = None,
    recipe: RecipeOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Draw the curve: a .png or .svg file.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Training steps of the test.")] = 100,
    classes: ClassFile = None,
) -> None:
    """Train for a moment while the learning rate grows, and say where the loss falls fastest.

    Example: atrous find-lr data/cells --recipe unet -o curve.png
    """
    from atrous import workflows

    with progress_bar("trying rates") as progress:
        found = workflows.find_lr(
            data, recipe=recipe, overrides=overrides or [], classes=classes, out=out, steps=steps, progress=progress
        )
    say(found)
    if out is not None:
        say(f"\nwritten: {out}")


@app.command()
def ensemble(
    bundles: Annotated[list[str], typer.Argument(metavar="BUNDLE...", help="Bundles, run folders or Hub ids.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Folder of the new bundle.")],
) -> None:
    """Join bundles of the same classes and images into one that averages their probabilities.

    Example: atrous ensemble runs/unet runs/fcn -o both.bundle
    """
    from atrous import workflows

    say(f"bundle: {workflows.ensemble(bundles, out)}")
