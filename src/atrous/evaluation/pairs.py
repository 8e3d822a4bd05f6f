"""The images that a bundle can be measured on."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from atrous.data import open_folder
from atrous.errors import BundleError, DataError, UsageError, did_you_mean
from atrous.images.channels import how_brought

if TYPE_CHECKING:
    from atrous.data import Folder, Pair

__all__ = ["labelled_pairs", "must_agree", "open_like"]


def open_like(recipe: dict[str, Any], data: str | Path, classes: str | Path | None = None) -> "Folder":
    """Open a data folder as the recipe did: its layout, its fold, or its seed and share where there is no split."""
    section = recipe.get("data") or {}
    given = {"val_fraction": section.get("val_fraction", 0.2), "fold": section.get("fold")}
    return open_folder(data, classes=classes, seed=recipe.get("seed") or 0, layout=section.get("layout"), **given)


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


def must_agree(bundle: str, loaded: Any, folder: "Folder") -> None:
    """The bundle's classes and image type are those of the data, or an error that names both.

    Args:
        bundle: its name, for messages.
        loaded: has `class_names`, `kind` and `channels`.
        folder: the data.

    Raises:
        BundleError: naming both.
    """
    ours, theirs = list(loaded.class_names), list(folder.classes.names)
    if ours != theirs:
        raise BundleError(
            f"{bundle}: decides the classes {ours}, but {folder.root} has {theirs}; "
            "give the bundle's classes, in this order, with --classes FILE."
        )
    fits = how_brought(folder.channels, False, folder.dtype, loaded.channels) is not None
    if loaded.dtype != folder.dtype or not fits:
        raise BundleError(
            f"{bundle}: takes {loaded.dtype} images of {loaded.channels} channels, but {folder.root} has "
            f"{folder.dtype} images of {folder.channels}; convert the images, or train on images like these."
        )
