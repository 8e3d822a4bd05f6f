"""The images that a bundle can be measured on."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from atrous.data import open_folder
from atrous.data.options import SPLITTING
from atrous.drawing import default_colors, former_colors
from atrous.errors import BundleError, DataError, UsageError, did_you_mean
from atrous.images.channels import how_brought

if TYPE_CHECKING:
    from atrous.data import Classes, Folder, Pair

__all__ = ["labelled_pairs", "must_agree", "open_like", "same_masks"]


def open_like(recipe: dict[str, Any], data: str | Path, classes: str | Path | None = None) -> "Folder":
    """Open a data folder as the recipe did: its layout, its fold, or its seed and share where there is no split."""
    section = recipe.get("data") or {}
    given = {key: section[key] for key in SPLITTING if key in section}
    return open_folder(data, classes=classes, seed=recipe.get("seed") or 0, **given)


def labelled_pairs(folder: "Folder", split: str) -> list["Pair"]:
    """The images of a split that have a mask.

    Raises:
        DataError: if there is no such split, or no mask in it.
    """
    if split not in folder.splits:
        raise UsageError(f"{folder.root}: has no split {split!r}. {did_you_mean(split, folder.splits)}")
    pairs = list(folder.labelled(split))
    if not pairs:
        raise DataError(f"{folder.root}: no image of the split {split!r} has a mask to compare with; choose another.")
    return pairs


def must_agree(bundle: str, loaded: Any, folder: "Folder", *, given: bool = False) -> None:
    """The bundle's classes, their mask values and the image type are those of the data, or an error that names both.

    Equal names are not enough: in masks of {0, 1, 255}, 255 is ignored, and in masks of {0, 255} it is the object.

    Args:
        bundle: its name, for messages.
        loaded: has `class_names`, `dtype` and `channels`, and `classes`, the table of the masks or None.
        folder: the data.
        given: whether the user named the class table of the data, and so said what its values mean.

    Raises:
        BundleError: naming both.
    """
    ours, theirs = list(loaded.class_names), list(folder.classes.names)
    if ours != theirs:
        raise BundleError(
            f"{bundle}: decides the classes {ours}, but {folder.root} has {theirs}; "
            "give the bundle's classes, in this order, with --classes FILE."
        )
    if not given and loaded.classes is not None and not same_masks(loaded.classes, folder.classes):
        raise BundleError(
            f"{bundle}: was trained on masks of other values or colours than those of {folder.root}. Bundle: "
            f"{loaded.classes.describe()}. Data: {folder.classes.describe()}. If the values of the data do mean these "
            "classes, say so with --classes FILE."
        )
    fits = how_brought(folder.channels, False, folder.dtype, loaded.channels) is not None
    if loaded.dtype != folder.dtype or not fits:
        raise BundleError(
            f"{bundle}: takes {loaded.dtype} images of {loaded.channels} channels, but {folder.root} has "
            f"{folder.dtype} images of {folder.channels}; convert the images, or train on images like these."
        )


def same_masks(one: "Classes", other: "Classes") -> bool:
    """Whether two tables of equal class names mean the same by the values and colours of masks.

    Ignored values are not compared: a value that one table ignores and the other takes for a class is a difference of
    that class. Colours that were chosen for display say nothing, and nor do those of one table alone.
    """
    if [set(values) for values in one.values] != [set(values) for values in other.values]:
        return False
    for palette in (default_colors(one.names), former_colors(one.names)):
        trios = zip(one.colors, other.colors, palette, strict=True)
        if all(first == second or default in (first, second) for first, second, default in trios):
            return True
    return False
