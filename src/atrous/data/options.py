"""The `data` section of a recipe."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypedDict

from annotated_types import Ge, Lt

from atrous.augment.base import Side
from atrous.errors import did_you_mean

__all__ = ["SPLITTING", "DataOptions", "FolderOptions", "complete_options"]

SPLITTING = ("val_fraction", "test_fraction", "unlabelled", "fold", "layout", "exif")
"""The entries that decide which images the splits hold, and how: arguments of `open_folder` of the same names."""


class FolderOptions(TypedDict, total=False):
    """The rarer keywords of `open_folder` and `examine_folder`.

    Attributes:
        test_fraction: share set aside for the test before that for validation, where the folder has no test split; 0
            to 1.
        unlabelled: images without a mask outside of the test split are an "error", or "skip" leaves them out.
        exif: "oriented" turns images as the camera's orientation says, "raw" reads them as they are stored.
    """

    test_fraction: float
    unlabelled: Literal["error", "skip"]
    exif: Literal["oriented", "raw"]


def complete_options(given: FolderOptions) -> FolderOptions:
    """The options with their defaults.

    Raises:
        TypeError: if there is no such keyword, as for any function.
    """
    for name in given:
        if name not in FolderOptions.__annotations__:
            near = did_you_mean(name, FolderOptions.__annotations__)
            raise TypeError(f"open_folder() got an unexpected keyword argument {name!r}. {near}")
    return {"test_fraction": 0.0, "unlabelled": "error", "exif": "oriented", **given}


@dataclass(frozen=True)
class DataOptions:
    """How a folder becomes batches.

    Attributes:
        crop: side, or (height, width), of the random crops of training in pixels; None takes whole images.
        batch_size: crops in a batch.
        augment: transforms of a training crop in order, each a section such as `{name: horizontal_flip}`.
        workers: loader processes; "auto" follows the machine.
        val_fraction: share of the images kept for validation where the folder has no split of its own, 0 to 1.
        test_fraction: share of the images set aside for `atrous evaluate --split test` where the folder has no test
            split of its own, 0 to 1; they are taken before those for validation.
        unlabelled: images without a mask outside of the test split are an "error", or "skip" leaves them out.
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
    test_fraction: Annotated[float, Ge(0), Lt(1)] = 0.0
    unlabelled: Literal["error", "skip"] = "error"
    fold: tuple[Side, Annotated[int, Ge(2)]] | None = None
    layout: str | None = None
    exif: Literal["oriented", "raw"] = "oriented"
    cache: Literal["none", "memory", "disk"] = "none"

    @property
    def splitting(self) -> dict[str, Any]:
        """The entries of `SPLITTING`."""
        return {key: getattr(self, key) for key in SPLITTING}
