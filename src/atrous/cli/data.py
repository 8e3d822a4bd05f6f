"""Commands that make and check data."""

from pathlib import Path
from typing import Annotated

import typer

from atrous.cli.base import USER_ERROR, ClassFile, Data, Overrides, app, progress_bar
from atrous.cli.saying import say

__all__ = ["check", "convert", "sample"]


@app.command()
def sample(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="cells, scenes, figures or xray.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
    count: Annotated[int, typer.Option(help="Number of images.")] = 60,
    size: Annotated[int, typer.Option(help="Side of an image in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="The same seed makes the same images.")] = 0,
) -> None:
    """Make data to try things out on.

    Example: atrous sample cells data/cells --count 60
    """
    from atrous import workflows

    made = workflows.sample(kind, out, count=count, size=size, seed=seed)
    say(f"{made}: {count} images. Next: atrous check {made}")


@app.command()
def check(
    data: Data,
    overrides: Overrides = None,
    every: Annotated[bool, typer.Option("--all", help="List every finding, not ten of a kind.")] = False,
    classes: ClassFile = None,
) -> None:
    """Read every file once; list what is there, and every problem with its fix. Exits with 2 on errors.

    Example: atrous check data/cells data.unlabelled=skip
    """
    from atrous import workflows

    with progress_bar("checking") as progress:
        report = workflows.check(data, classes=classes, overrides=overrides or [], progress=progress)
    say(report.text(None) if every else report)
    if report.errors:
        raise typer.Exit(USER_ERROR)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Annotations (a file or folder), or a data folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="A new folder.")],
    to: Annotated[str, typer.Option(help="folder, or the annotations to write: coco, labelme.")] = "folder",
    kind: Annotated[
        str | None,
        typer.Option("--from", metavar="NAME", help="The format, such as labelme, cvat or yolo; or a layout."),
    ] = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the annotated images are.")] = None,
    classes: ClassFile = None,
    ignore: Annotated[list[str] | None, typer.Option(metavar="LABEL", help="A label that counts for nothing.")] = None,
    tolerance: Annotated[float, typer.Option(help="Pixels by which a simplified polygon may be off.")] = 0.0,
) -> None:
    """Turn the annotations of a labelling tool into a data folder, or a data folder into annotations.

    Example: atrous convert annotations.xml --images photos -o data/cells
    """
    from atrous import workflows

    with progress_bar("converting") as bar:

        def report(done: int) -> None:
            bar(done, None)

        if to == "folder":
            done = workflows.convert(
                source, out, format=kind, images=images, classes=classes, ignore=ignore or (), progress=report
            )
        else:
            done = workflows.write_annotations(
                source, out, to=to, layout=kind, classes=classes, tolerance=tolerance, progress=report
            )
    say(done)
    say(f"Next: atrous check {done.out}")
