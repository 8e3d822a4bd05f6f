"""The command `atrous`: it parses, calls a workflow, and prints.

Nothing heavy is imported before a command needs it. Whatever a user can cause ends as one line, `error: ...`, on
standard error with exit code 2; `--debug` (or ATROUS_DEBUG=1) shows where it came from.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from atrous import __version__
from atrous.errors import AtrousError, UsageError, did_you_mean

__all__ = ["app", "main"]

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
Precision = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]

USER_ERROR = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments, or None for those of the process.

    Returns:
        0 when all went well, 2 for an error that the user can mend, 130 after an interruption.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get("ATROUS_DEBUG", "") not in ("", "0")
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = typer.main.get_command(app).main(args=arguments, prog_name="atrous", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except (BrokenPipeError, SystemExit):  # the reader of our output has gone, as in `atrous models | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
        return 0
    except Exception as error:
        text = _explain(error)
        if debug or text is None:
            raise
        if text:
            print(f"error: {text}", file=sys.stderr)
        return USER_ERROR
    if code == INTERRUPTED:
        print("interrupted", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    """One line: where in the source a warning was raised is nothing to the user."""
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def _explain(error: Exception) -> str | None:
    """One line for what a user can cause, None for what is our own fault."""
    if isinstance(error, AtrousError):
        return " ".join(str(error).splitlines())
    # typer has brought its own copy of click since 0.20: its errors are known by what they can do.
    if hasattr(error, "format_message"):
        return _explain_usage(error)
    if isinstance(error, OSError) and error.strerror:
        what = error.filename or "the system"
        return f"{what}: {error.strerror}; check the path, its rights and the space on the disk."
    if type(error).__name__ == "OutOfMemoryError":
        return "the device has not enough memory; predict and evaluate take --tile 512, train takes data.batch_size=1."
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


@contextmanager
def _progress(label: str) -> Iterator[Callable[[int, int], None]]:
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
        print(f"atrous {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """From a folder of images and masks to a trained, measured, deployable segmenter."""


@app.command()
def sample(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="cells or scenes.")],
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
    print(f"{made}: {count} images. Next: atrous check {made}")


@app.command()
def check(data: Data, classes: ClassFile = None) -> None:
    """Read every file once; list what is there, and every problem with its fix. Exits with 2 on errors.

    Example: atrous check data/cells
    """
    from atrous import workflows

    with _progress("checking") as progress:
        report = workflows.check(data, classes=classes, progress=progress)
    print(report)
    if report.errors:
        raise typer.Exit(USER_ERROR)


@app.command()
def train(
    data: Data,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Entries of the recipe to change.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", "-r", metavar="NAME|FILE", help="A recipe by name or file. Default: unet."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="RUN", help="Folder of the run. Default: runs/DATA-RECIPE.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN.")] = False,
    start: Annotated[
        str | None, typer.Option("--from", metavar="BUNDLE", help="Start from these weights; a .pth file goes too.")
    ] = None,
    classes: ClassFile = None,
) -> None:
    """Train a network by a recipe. The run folder holds the bundle, the log, the checkpoints and the report.

    Example: atrous train data/cells --recipe unet model.encoder=resnet34 -o runs/cells
    """
    from atrous import workflows

    run = workflows.train(
        data, recipe=recipe, out=out, overrides=overrides or [], resume=resume, from_bundle=start, classes=classes
    )
    print(run)


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
    classes: ClassFile = None,
) -> None:
    """Segment the labelled images of a split and compare.

    Example: atrous evaluate runs/cells data/cells --split test -o test.json
    """
    from atrous import workflows

    if out is not None and out.is_dir():
        raise UsageError(f"{out}: is a folder; name a file, such as {out / 'evaluation.json'}.")
    with _progress("evaluating") as progress:
        result = workflows.evaluate(
            bundle,
            data,
            split=split,
            tile=tile,
            refine=refine,
            boundary=boundary,
            device=device,
            precision=precision,
            classes=classes,
            progress=progress,
        )
    print(result)
    if out is not None:
        print(f"written: {result.write(out)}")


@app.command()
def predict(
    bundle: BundleName,
    images: Annotated[list[str], typer.Argument(metavar="IMAGES...", help="Files, folders, or quoted patterns.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Folder for the masks.")],
    overlay: Annotated[bool, typer.Option("--overlay", help="Also pictures with the classes over the image.")] = False,
    confidence: Annotated[bool, typer.Option("--confidence", help="Also maps of the decided class's score.")] = False,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="Leave finished images alone.")] = False,
    file_format: Annotated[str, typer.Option("--format", metavar="png|tif", help="Type of the masks.")] = "png",
    tile: Tile = None,
    margin: Annotated[str, typer.Option(help="Context of a tile: exact, auto, or pixels.")] = "exact",
    views: Annotated[
        str,
        typer.Option(
            "--views",
            "--view",
            help="Views to average over, as in hflip,vflip; mc:20 samples dropout 20 times and maps the uncertainty.",
        ),
    ] = "",
    refine: Refine = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Segment new images of any size: one mask of the same name for each.

    Example: atrous predict runs/cells scans/ "more/*.tif" -o masks --overlay --tile 1024
    """
    from atrous import workflows

    with _progress("segmenting") as progress:
        written = workflows.predict(
            bundle,
            images,
            out,
            outputs=workflows.Outputs(file_format, overlay, confidence, skip_existing),  # type: ignore[arg-type]
            tile=tile,
            margin=_margin(margin),
            views=[view for view in views.split(",") if view],
            refine=refine,
            device=device,
            precision=precision,
            progress=progress,
        )
    print(f"{out}: {len(written)} mask{'' if len(written) == 1 else 's'}")


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
    classes: ClassFile = None,
) -> None:
    """Choose the settings of a CRF by labelled images, and have the bundle refine its masks by it from now on.

    Example: atrous tune-crf runs/cells data/cells iterations=10
    """
    from atrous import workflows

    with _progress("tuning") as progress:
        result = workflows.tune_crf(
            bundle,
            data,
            split=split,
            images=images,
            overrides=overrides or [],
            device=device,
            precision=precision,
            classes=classes,
            progress=progress,
        )
    print(result)


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
        print(workflows.lineage())
        return
    print(workflows.describe(name, size=size, out=out))
    if out is not None:
        print(f"\nwritten: {out}")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    data: Annotated[Path | None, typer.Option(help="The data folder, if it has moved.")] = None,
) -> None:
    """Write the report of a run again, with its pictures.

    Example: atrous report runs/cells
    """
    from atrous import workflows

    print(f"written: {workflows.report(run, data=data)}")


@app.command()
def demo(out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for all of it.")] = Path("demo")) -> None:
    """Make cells, check them, train, evaluate, segment a large image, and write the report.

    Example: atrous demo demo
    """
    from atrous import workflows

    workflows.demo(out, say=print)


if __name__ == "__main__":
    sys.exit(main())
