"""Made data, for trying things out before one's own data is at hand."""

from pathlib import Path
from typing import Literal, get_args

from atrous.errors import UsageError, did_you_mean
from atrous.made import make_cells, make_figures, make_scenes

__all__ = ["KINDS", "sample"]

Kind = Literal["cells", "scenes", "figures", "xray"]
KINDS: tuple[str, ...] = get_args(Kind)


def sample(
    kind: Kind | str, out: str | Path, *, count: int = 60, size: int | tuple[int, int] = 256, seed: int = 0
) -> Path:
    """Make a data folder.

    `cells` are grey and touch each other; `scenes` are RGB, with six classes and thin structures; `figures` are people
    of simple parts, half covered, with 14 landmarks; `xray` are radiographs of made pelvises from many sides, with 23
    landmarks and the geometry of each view.

    The same seed gives the same images.

    Args:
        kind: "cells", "scenes", "figures" or "xray".
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
    if kind == "xray":
        from atrous.xray.sampling import make_xray  # brings SciPy, which nothing else here needs

        return make_xray(out, count=count, size=size, seed=seed)
    make = {"cells": make_cells, "scenes": make_scenes, "figures": make_figures}[kind]
    return make(out, count=count, size=size, seed=seed)
