"""The `data` section of a recipe."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt

from atrous.augment.base import Side

__all__ = ["DataOptions"]


@dataclass(frozen=True)
class DataOptions:
    """How a folder becomes batches.

    Attributes:
        crop: side, or (height, width), of the random crops of training in pixels; None takes whole images.
        batch_size: crops in a batch.
        augment: transforms of a training crop in order, each a section such as `{name: horizontal_flip}`.
        workers: loader processes; "auto" follows the machine.
        val_fraction: share of the images kept for validation where the folder has no split of its own, 0 to 1.
        fold: [i, k] keeps the i-th of k blocks of images for validation, whatever the folder's splits, see
            `data.splits.take_fold`; `atrous train --folds k` sets it for each of its runs.
        layout: a name in `DATASETS` where the folder's own shape does not say which it is; null recognises it.
        exif: "oriented" turns images as the camera's orientation says, "raw" takes their pixels as they are stored, for
            masks that were drawn on these; predictions then lie on them too.
        cache: "memory" keeps decoded images in memory that all workers share, "disk" in a file for later runs too.
    """

    crop: Side | tuple[Side, Side] | None = 256
    batch_size: Annotated[int, Ge(1)] = 8
    augment: list[Any] = field(default_factory=list)
    workers: Annotated[int, Ge(0)] | Literal["auto"] = "auto"
    val_fraction: Annotated[float, Ge(0), Lt(1)] = 0.2
    fold: tuple[Side, Annotated[int, Ge(2)]] | None = None
    layout: str | None = None
    exif: Literal["oriented", "raw"] = "oriented"
    cache: Literal["none", "memory", "disk"] = "none"
