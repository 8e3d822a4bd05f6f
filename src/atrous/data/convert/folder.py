"""How annotations become a data folder.

Where the annotations are of several splits, the folder has train/, val/ and test/; a subset whose name speaks of no
split is training. Images of one name in one split are told apart by their subset, or by their suffix.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from atrous.annotations.base import Annotated, Annotations, image_stem, path_within
from atrous.annotations.drawn import BACKGROUND_LABELS, IGNORE_LABEL, Painted, number_labels, paint
from atrous.annotations.parsing import Gathered
from atrous.class_names import is_plain
from atrous.data.classes import Classes
from atrous.data.split_names import split_of
from atrous.errors import did_you_mean
from atrous.findings import FindingError, error
from atrous.images.colors import Color, default_colors, spare_grey, to_hex
from atrous.images.files import SUFFIXES, ImageFile, read_image, read_info
from atrous.images.raster import Raster
from atrous.images.writing import write_image
from atrous.types import IGNORE_INDEX

__all__ = ["place_image", "write_folder"]


def write_folder(
    annotations: Annotations,
    out: Path,
    gathered: Gathered,
    *,
    classes: Classes | None = None,
    ignore: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
    where: object = "",
) -> tuple[int, tuple[str, ...]]:
    """Write images/, masks/, classes.yaml, and instances/ where single objects were drawn.

    After the first error nothing more is written, but all is read, so that every error is gathered.

    Args:
        annotations: what to write.
        out: an empty folder that exists.
        gathered: gets what is wrong with single images.
        classes: names and their order; None takes the labels.
        ignore: labels that count for nothing.
        progress: called with the number of images done.
        where: the source, for messages about its labels.

    Returns:
        The images written, and the names of the classes.

    Raises:
        DataError: if there are more classes than a mask can hold.
    """
    names, colors = _table(annotations, classes, ignore, where)
    numbers = {**number_labels(names), **dict.fromkeys(ignore, IGNORE_INDEX)}
    drawn_on = annotations.background and names[0] in BACKGROUND_LABELS
    writer = _FolderWriter(out, numbers, colors, 0 if drawn_on else IGNORE_INDEX)
    count = 0
    for one in annotations.images:
        with gathered.going_on():
            for problem in _unknown_labels(one, numbers):
                gathered.add(problem)
            if one.drawings is None and writer.split(one) != "test":
                gathered.note("images have no annotation")
                continue
            writer.add(one, dry=bool(gathered.findings))
            count += 1
        if progress is not None:
            progress(count)
    writer.finish()
    rows = [{"name": n, "value": k, "color": to_hex(c)} for k, (n, c) in enumerate(zip(names, colors, strict=True))]
    table: dict[str, Any] = {"classes": rows, "ignore": [IGNORE_INDEX]}
    if classes is not None and classes.flip_pairs:
        table["flip_pairs"] = classes.named_flip_pairs()
    text = yaml.safe_dump(table, sort_keys=False, default_flow_style=None)
    (out / "classes.yaml").write_text(text, encoding="utf-8")
    return count, names


class _FolderWriter:
    """Writes images with their masks and objects, a folder for each split until it is known that there is one alone."""

    def __init__(self, out: Path, numbers: Mapping[str, int], colors: Sequence[Color], background: int) -> None:
        self.out, self.numbers, self.background = out, numbers, background
        self.palette = _palette(colors)
        self.objects = False
        self.places: dict[tuple[str, str], Annotated] = {}
        self.images: dict[Path, Annotated] = {}

    def split(self, one: Annotated) -> str:
        """train, val or test."""
        return split_of(one.subset) or "train"

    def add(self, one: Annotated, *, dry: bool) -> None:
        """Write one image; with `dry`, only find its place.

        Raises:
            FindingError: if there is an image of that name already.
        """
        split = self.split(one)
        stem = self._place(one, split)
        if dry:
            return
        root = self.out / split
        place_image(one.image, root / "images", stem, suffix=Path(one.name).suffix)
        if one.drawings is None:
            return
        self._write(root, stem, paint(one.drawings, one.size, self.numbers, background=self.background))

    def _place(self, one: Annotated, split: str) -> str:
        """A name within the split that no other image has.

        Raises:
            FindingError: if an image stands there twice: each of its masks would lack the other's objects.
        """
        first_one = self.images.setdefault(one.image.resolve(), one) if isinstance(one.image, Path) else one
        if first_one is not one:
            message = f"has annotations of {one.image!s}, and {first_one.where} has some too"
            raise FindingError(error("same_image", one.where, message, "Join them, or leave one of them out."))
        stem, suffix = image_stem(one.name), Path(one.name).suffix.lower()
        first, _, rest = stem.partition("/")
        short = rest if rest and split_of(first) == split else stem
        told = [short, stem, f"{image_stem(one.subset)}/{stem}", f"{stem}_{suffix.removeprefix('.')}"]
        for name in told if one.subset else (short, stem, told[-1]):
            twin = self.places.setdefault((split, name), one)
            if twin is one:
                return name
            if (twin.name, twin.subset) == (one.name, one.subset):
                break
        message = f"is a second image with the name {one.name}"
        raise FindingError(error("same_name", one.where, message, "Rename one of the files, or leave it out."))

    def _write(self, root: Path, stem: str, painted: Painted) -> None:
        _write(root / "masks" / f"{stem}.png", painted.mask, palette=self.palette)
        most = int(painted.instances.max(initial=0))
        suffix, dtype = (".png", np.uint16) if most < 1 << 16 else (".tif", np.uint32)
        _write(root / "instances" / f"{stem}{suffix}", painted.instances.astype(dtype))
        self.objects |= most > 0

    def finish(self) -> None:
        """Take away maps that hold no object, and the folder of a split that is alone."""
        roots = [self.out / split for split in ("train", "val", "test") if (self.out / split).is_dir()]
        for root in roots:
            if not self.objects and (root / "instances").is_dir():
                shutil.rmtree(root / "instances")
        if len(roots) == 1:
            for folder in sorted(roots[0].iterdir()):
                folder.rename(self.out / folder.name)
            roots[0].rmdir()


def place_image(
    image: ImageFile | bytes,
    folder: Path,
    stem: str,
    *,
    suffix: str = "",
) -> Path:
    """Copy an image into a folder as it is; what is no image file of its own is written as PNG or TIFF.

    Raises:
        DataError: if it cannot be read, or a file of its name is there already.
    """
    read_info(image)
    stem = path_within(stem)
    if isinstance(image, Path) and image.is_file() and image.suffix.lower() in SUFFIXES:
        shutil.copyfile(image, _free(folder, stem, image.suffix.lower()))
        return folder / f"{stem}{image.suffix.lower()}"
    if isinstance(image, bytes):
        target = _free(folder, stem, suffix.lower() if suffix.lower() in SUFFIXES else ".png")
        target.write_bytes(image)
        return target
    array = _complete(read_image(image))
    png = array.dtype in (np.uint8, np.uint16) and array.shape[2] in (1, 3, 4)
    target = _free(folder, stem, ".png" if png else ".tif")
    _write(target, array)
    return target


def _free(folder: Path, stem: str, suffix: str) -> Path:
    """A file that is not there yet; its folder is made.

    Raises:
        FindingError: if it is there, which on some disks a name in other letters is too.
    """
    target = folder / f"{stem}{suffix}"
    if target.exists():
        raise FindingError(error("same_name", target, "would be written twice", "Give every image a name of its own."))
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _complete(raster: Raster) -> np.ndarray:
    """The numbers of an image for a file that names no nodata value: NaN where invalid, in integers the mean."""
    if raster.valid is None:
        return raster.array
    if raster.array.dtype.kind == "f":
        return raster.visible()
    return raster.filled(raster.array[raster.valid].mean(axis=0) if raster.valid.any() else None)


def _write(path: Path, array: np.ndarray, palette: Sequence[Color] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, array, palette=palette)


def _table(
    annotations: Annotations, classes: Classes | None, ignore: Sequence[str], where: object
) -> tuple[tuple[str, ...], tuple[Color, ...]]:
    """Names and colours of the classes to write."""
    known = (*annotations.labels, *BACKGROUND_LABELS, IGNORE_LABEL)
    if lost := [label for label in ignore if label not in known]:
        raise FindingError(
            error("annotation", where, f"has no label {lost[0]!r} to ignore", did_you_mean(lost[0], known))
        )
    if classes is not None:
        return classes.names, classes.colors
    none = (*BACKGROUND_LABELS, IGNORE_LABEL, *ignore)
    labels = [label for label in annotations.labels if label not in none]
    names = (BACKGROUND_LABELS[0], *labels) if annotations.background else tuple(labels)
    problem, fix = "", ""
    if not names:
        problem, fix = "names no class, and has no background", "Label something, and export again."
    elif bad := [name for name in names if not is_plain(name)]:
        problem = f"has the label {bad[0]!r}, which is blank or holds control characters"
        fix = "Rename it in the labelling tool."
    elif len(names) > IGNORE_INDEX:
        problem = f"has {len(labels)} labels, and a mask holds {IGNORE_INDEX - 1} at most"
        fix = "Name some with --classes."
    if problem:
        raise FindingError(error("annotation", where, problem, fix))
    colors = list(default_colors(names))
    for number, name in enumerate(names):
        colors[number] = annotations.colors.get(name, colors[number])
    if len(set(colors)) < len(colors):  # a table of colours tells each class by its own
        colors = list(default_colors(names))
    return names, tuple(colors)


def _unknown_labels(one: Annotated, numbers: Mapping[str, int]) -> list[FindingError]:
    """The labels of an image that are no class."""
    problems = []
    for label in dict.fromkeys(drawing.label for drawing in one.drawings or () if drawing.label not in numbers):
        fix = f"{did_you_mean(label, numbers)} Correct it, or add it to the classes or to --ignore."
        problems.append(
            FindingError(error("annotation", one.where, f"has the label {label!r}, which is no class", fix))
        )
    return problems


def _palette(colors: Sequence[Color]) -> list[Color]:
    """256 colours: the classes', black, and for what is ignored white, or a grey where a class is white."""
    return [*colors, *[(0, 0, 0)] * (IGNORE_INDEX - len(colors)), spare_grey(colors, (255, 255, 255))]
