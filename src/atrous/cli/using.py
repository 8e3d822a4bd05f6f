"""Commands that put a bundle to work."""

from pathlib import Path
from typing import Annotated, Any

import typer

from atrous.cli.base import BundleName, ClassFile, Data, Device, Engine, Precision, Refine, Tile, app, progress_bar
from atrous.cli.saying import say
from atrous.errors import UsageError

__all__ = ["evaluate", "predict", "tune_crf"]

MaskPlace = Annotated[
    Path, typer.Option("--out", "-o", metavar="OUT", help="Folder for the masks, or FILE of a single one.")
]
MaskFormat = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="auto|png|tif",
        help="Type of the masks. auto: TIFF of stacks and georeferenced images, NIfTI of NIfTI, PNG of all others.",
    ),
]
MaskValues = Annotated[
    str, typer.Option(metavar="data|index", help="What masks hold: the values of the training masks, or 0, 1, 2, ...")
]
ViewNames = Annotated[
    str,
    typer.Option(
        "--views",
        "--view",
        help="Test-time augmentation: hflip,vflip, ...; mc:20 samples dropout 20 times and maps the uncertainty.",
    ),
]


@app.command()
def evaluate(
    bundle: BundleName,
    data: Data,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.json", help="Write all numbers here.")
    ] = None,
    tile: Tile = None,
    refine: Refine = None,
    boundary: Annotated[bool, typer.Option(help="Measure the boundary F1 too.")] = True,
    device: Device = "auto",
    precision: Precision = "auto",
    engine: Engine = None,
    classes: ClassFile = None,
) -> None:
    """Segment the labelled images of a split and compare.

    Example: atrous evaluate runs/cells data/cells --split test -o test.json
    """
    from atrous import workflows

    if out is not None and out.is_dir():
        raise UsageError(f"{out}: is a folder; name a file, such as {out / 'evaluation.json'}.")
    with progress_bar("evaluating") as progress:
        result = workflows.evaluate(
            bundle,
            data,
            split=split,
            tile=tile,
            refine=refine,
            boundary=boundary,
            device=device,
            precision=precision,
            engine=engine,
            classes=classes,
            progress=progress,
        )
    written = result.write(out) if out is not None else None  # before anything is printed, which may go wrong
    say(result)
    if written is not None:
        say(f"written: {written}")


@app.command()
def predict(
    bundle: BundleName,
    images: Annotated[list[str], typer.Argument(metavar="IMAGES...", help="Files, folders, or quoted patterns.")],
    out: MaskPlace = Path("predictions"),
    overlay: Annotated[bool, typer.Option("--overlay", help="Also pictures with the classes over the image.")] = False,
    confidence: Annotated[bool, typer.Option("--confidence", help="Also maps of the decided class's score.")] = False,
    maps: Annotated[bool, typer.Option("--maps", help="Also the belief map of each landmark.")] = False,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="Leave finished images alone.")] = False,
    file_format: MaskFormat = "auto",
    values: MaskValues = "data",
    tile: Tile = None,
    margin: Annotated[str, typer.Option(help="Context of a tile: exact, auto, or pixels.")] = "exact",
    views: ViewNames = "",
    refine: Refine = None,
    device: Device = "auto",
    precision: Precision = "auto",
    engine: Engine = None,
) -> None:
    """Segment new images of any size: one mask of the same name for each, with the values of the training masks.

    Example: atrous predict runs/cells scans/ "more/*.tif" -o masks --overlay --tile 1024
    """
    from atrous import workflows

    outputs = workflows.PredictionFiles(file_format, overlay, confidence, skip_existing, maps=maps, values=values)  # type: ignore[arg-type]
    with progress_bar("segmenting") as progress:
        written = workflows.predict(
            bundle,
            images,
            out,
            outputs=outputs,
            tile=tile,
            margin=_margin(margin),
            views=[view for view in views.split(",") if view],
            refine=refine,
            device=device,
            precision=precision,
            engine=engine,
            progress=progress,
        )
    if counts := workflows.describe_counts(written, out):
        say(counts)
    if tables := [path for path in written if path.suffix in (".csv", ".json")]:
        say(f"written: {', '.join(map(str, tables))}")
    else:
        say(f"{out}: {len(written)} mask{'' if len(written) == 1 else 's'}")


def _margin(text: str) -> Any:
    return int(text) if text.lstrip("-").isdigit() else text


@app.command("tune-crf")
def tune_crf(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A bundle or a run folder, which is written to.")],
    data: Data,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="What to try, as bilateral_xy=[30,60].")
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    images: Annotated[int, typer.Option(help="Choose by this many of its images; 0 for all.")] = 25,
    device: Device = "auto",
    precision: Precision = "auto",
    engine: Engine = None,
    classes: ClassFile = None,
) -> None:
    """Choose the settings of a CRF by labelled images, and have the bundle refine its masks by it from now on.

    Example: atrous tune-crf runs/cells data/cells iterations=10
    """
    from atrous import workflows

    with progress_bar("tuning") as progress:
        result = workflows.tune_crf(
            bundle,
            data,
            split=split,
            images=images,
            overrides=overrides or [],
            device=device,
            precision=precision,
            engine=engine,
            classes=classes,
            progress=progress,
        )
    say(result)
