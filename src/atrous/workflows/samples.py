"""Made data, for trying things out before one's own data is at hand."""

from pathlib import Path
from typing import Literal, get_args

from atrous.errors import UsageError, did_you_mean
from atrous.made import make_cells, make_scenes

__all__ = ["KINDS", "sample"]

Kind = Literal["cells", "scenes"]
KINDS: tuple[str, ...] = get_args(Kind)


def sample(
    kind: Kind | str, out: str | Path, *, count: int = 60, size: int | tuple[int, int] = 256, seed: int = 0
) -> Path:
    """Make a data folder: `cells` (grey, touching cells) or `scenes` (RGB, six classes, thin structures).

    The same seed gives the same images.

    Args:
        kind: "cells" or "scenes".
        out: a folder that is absent or empty.
        count: number of images.
        size: side, or (height, width), of the images in pixels.
        seed: a number from 0.

    Raises:
        UsageError: if an argument is out of its range.
        DataError: if the folder is not empty.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no made data {kind!r}. {did_you_mean(kind, KINDS)}")
    if seed < 0:
        raise UsageError(f"seed {seed}: give a whole number from 0.")
    make = make_cells if kind == "cells" else make_scenes
    return make(out, count=count, size=size, seed=seed)
