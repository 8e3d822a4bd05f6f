"""The main job end to end on made data: cells, check, training, evaluation, a large image by tiles, a report."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from atrous.disk import write_errors, write_text
from atrous.errors import UsageError
from atrous.locks import refuse_locked

__all__ = ["demo"]

MARK = ".made-by-atrous-demo"
PARTS = ("cells", "run", "large", "masks", "test.json")
"""What a demo writes, and all that a second one removes."""
COUNT, SIZE, LARGE = 72, 256, (1500, 2000)
RECIPE = "demo_cells"


def demo(out: str | Path = "demo", *, say: Callable[[str], None] = print) -> Path:
    """Run the whole job into a folder; run again, it starts over.

    Args:
        out: a folder that is absent, empty, or was made by an earlier demo.
        say: called with every line of text for the reader.

    Returns:
        The path of the report.

    Raises:
        UsageError: if the folder holds anything else.
    """
    folder = Path(out)
    begin = time.perf_counter()
    _clear(folder)
    cells, run = folder / "cells", folder / "run"
    say(f"1/6  Making {COUNT} images of cells in {cells}")
    # Here, and not at the top: the reader sees the first line while torch is being loaded.
    from atrous.workflows.checkup import check
    from atrous.workflows.evaluation import evaluate
    from atrous.workflows.prediction import PredictionFiles, predict
    from atrous.workflows.reporting import report
    from atrous.workflows.samples import sample
    from atrous.workflows.training import train

    sample("cells", cells, count=COUNT, size=SIZE)
    say("2/6  Checking them\n")
    checked = check(cells)
    say(f"{checked}\n")
    checked.raise_errors()
    say(f"3/6  Training by the recipe {RECIPE} into {run}")
    train(cells, recipe=RECIPE, out=run)
    say("4/6  Evaluating on the test images, which the training has not seen\n")
    tested = evaluate(run, cells, split="test")
    tested.write(folder / "test.json")
    say(f"{tested}\n")
    say(f"5/6  Segmenting an image of {LARGE[0]} x {LARGE[1]} pixels by tiles")
    large = _large_image(folder / "large")
    predict(run, large, folder / "masks", outputs=PredictionFiles(overlay=True), tile=512)
    say("6/6  Writing the report")
    page = report(run, evaluation=tested)
    say(_closing(folder, page, time.perf_counter() - begin))
    return page


def _clear(folder: Path) -> None:
    """Remove what an earlier demo made, and nothing else."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; name a folder for the demo.")
    marked = (folder / MARK).is_file()
    if folder.is_dir() and any(folder.iterdir()) and not marked:
        raise UsageError(f"{folder}: the folder is not empty and was not made by a demo; name a new one.")
    if marked:
        refuse_locked(folder / "run")
        for part in PARTS:
            path = folder / part
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    write_text(folder / MARK, "atrous demo made this folder and will make it anew.\n")


def _large_image(folder: Path) -> Path:
    """One large image of cells that are in no other image."""
    # Here for the same reason.
    import numpy as np

    from atrous.images import write_image
    from atrous.made import draw_cells

    with write_errors(folder):
        folder.mkdir(parents=True)
    path = folder / "large.png"
    write_image(path, draw_cells(np.random.default_rng(1), *LARGE)["images"])
    return path


def _closing(folder: Path, page: Path, seconds: float) -> str:
    cells, run = folder / "cells", folder / "run"
    commands = [
        f"atrous predict {run} {cells / 'images'} -o masks --overlay",
        f"atrous predict {run} {folder / 'large'} -o masks --tile 512 --confidence",
        f"atrous evaluate {run} {cells} --split test -o test.json",
        f"atrous train {cells} --recipe unet -o runs/unet",
        f"atrous train {cells} --recipe unet model.encoder=resnet34 training.max_steps=500 -o runs/deeper",
        "atrous train YOUR_DATA --recipe unet -o runs/yours",
        "atrous check YOUR_DATA",
        "atrous sample scenes data/scenes",
        "atrous models",
        "atrous train --help",
    ]
    lines = [
        f"\nDone in {seconds / 60:.1f} minutes.",
        f"The report:   {page.resolve()}",
        f"Large image:  {(folder / 'masks' / 'overlay' / 'large.jpg').resolve()}",
        "\nWhat you can do next:",
        *(f"  {command}" for command in commands),
    ]
    return "\n".join(lines)
