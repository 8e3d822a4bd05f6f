"""How annotations become a data folder."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from atrous.annotations.base import Annotated, Annotations
from atrous.annotations.drawn import BACKGROUND_LABELS, IGNORE_LABEL, Painted, number_labels, paint
from atrous.data.classes import Classes
from atrous.errors import DataError, did_you_mean
from atrous.findings import FindingError, error
from atrous.images.colors import Color, default_colors, to_hex
from atrous.images.files import SUFFIXES, ImageFile, read_image, read_info
from atrous.images.raster import Raster
from atrous.images.writing import write_image
from atrous.types import IGNORE_INDEX

__all__ = ["place_image", "write_folder"]


def write_folder(
    annotations: Annotations,
    out: Path,
    *,
    classes: Classes | None = None,
    ignore: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> tuple[int, tuple[str, ...]]:
    """Write images/, masks/, classes.yaml, and instances/ where single objects were drawn.

    Args:
        annotations: what to write.
        out: an empty folder that exists.
        classes: names and their order; None takes the labels.
        ignore: labels that count for nothing.
        progress: called with the number of images done.

    Returns:
        The images written, and the names of the classes.

    Raises:
        DataError: if a label is not among the classes, sizes differ, or two images have one name.
    """
    names, colors = _table(annotations, classes, ignore)
    numbers = {**number_labels(names), **dict.fromkeys(ignore, IGNORE_INDEX)}
    for folder in ("images", "masks", "instances"):
        (out / folder).mkdir()
    background = 0 if names[0] in BACKGROUND_LABELS else IGNORE_INDEX
    objects, count, used = False, 0, set[str]()
    for one in annotations.images:
        stem = Path(one.name.replace("\\", "/")).with_suffix("").as_posix().strip("/").replace("..", "_")
        if stem in used:
            message = f"is a second image with the name {stem}"
            raise FindingError(error("same_name", one.where, message, "Rename one of the files, or leave it out."))
        used.add(stem)
        _check_labels(one, numbers)
        objects |= _write_one(one, out, stem, paint(one.drawings, one.size, numbers, background=background), colors)
        count += 1
        if progress is not None:
            progress(count)
    if not objects:
        shutil.rmtree(out / "instances")
    rows = [{"name": n, "value": k, "color": to_hex(c)} for k, (n, c) in enumerate(zip(names, colors, strict=True))]
    table: dict[str, Any] = {"classes": rows, "ignore": [IGNORE_INDEX]}
    if classes is not None and classes.flip_pairs:
        table["flip_pairs"] = classes.named_flip_pairs()
    text = yaml.safe_dump(table, sort_keys=False, default_flow_style=None)
    (out / "classes.yaml").write_text(text, encoding="utf-8")
    return count, names


def _write_one(one: Annotated, out: Path, stem: str, painted: Painted, colors: Sequence[Color]) -> bool:
    """Write one image with its mask and its objects, and tell whether there are any."""
    place_image(one.image, out / "images", stem, suffix=Path(one.name).suffix, where=one.where, size=one.size)
    _write(out / "masks" / f"{stem}.png", painted.mask, palette=_palette(colors))
    most = int(painted.instances.max(initial=0))
    suffix, dtype = (".png", np.uint16) if most < 1 << 16 else (".tif", np.uint32)
    _write(out / "instances" / f"{stem}{suffix}", painted.instances.astype(dtype))
    return most > 0


def place_image(
    image: ImageFile | bytes,
    folder: Path,
    stem: str,
    *,
    suffix: str = "",
    where: object = "",
    size: tuple[int, int] | None = None,
) -> Path:
    """Copy an image into a folder as it is; what is no image file of its own is written as PNG or TIFF.

    Raises:
        DataError: if it cannot be read, or has another size than the annotations.
    """
    if isinstance(image, Path) and image.is_file() and image.suffix.lower() in SUFFIXES:
        target = folder / f"{stem}{image.suffix.lower()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, target)
    elif isinstance(image, bytes):
        target = folder / f"{stem}{suffix.lower() if suffix.lower() in SUFFIXES else '.png'}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(image)
    else:
        array = _complete(read_image(image))
        png = array.dtype in (np.uint8, np.uint16) and array.shape[2] in (1, 3, 4)
        target = folder / f"{stem}{'.png' if png else '.tif'}"
        _write(target, array)
    info = read_info(target if isinstance(image, bytes) else image)
    if size is not None and (info.height, info.width) != size:
        has = f"{info.height} x {info.width}"
        message = f"was drawn on {size[0]} x {size[1]} pixels (height x width), and the image has {has}"
        fix = "Use the images that the annotations were drawn on, not resized or turned ones."
        raise FindingError(error("size_mismatch", where, message, fix))
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
    annotations: Annotations, classes: Classes | None, ignore: Sequence[str]
) -> tuple[tuple[str, ...], tuple[Color, ...]]:
    """Names and colours of the classes to write."""
    if classes is not None:
        return classes.names, classes.colors
    none = (*BACKGROUND_LABELS, IGNORE_LABEL, *ignore)
    labels = [label for label in annotations.labels if label not in none]
    names = (BACKGROUND_LABELS[0], *labels)
    if len(names) > IGNORE_INDEX:
        raise DataError(
            f"{len(labels)} labels are too many: a mask holds {IGNORE_INDEX - 1} at most. Name some with --classes."
        )
    colors = list(default_colors(names))
    for number, name in enumerate(names):
        colors[number] = annotations.colors.get(name, colors[number])
    if len(set(colors)) < len(colors):  # a table of colours tells each class by its own
        colors = list(default_colors(names))
    return names, tuple(colors)


def _check_labels(one: Annotated, numbers: Mapping[str, int]) -> None:
    for drawing in one.drawings:
        if drawing.label not in numbers:
            fix = f"{did_you_mean(drawing.label, numbers)} Correct it, or add it to the classes or to --ignore."
            raise FindingError(
                error("annotation", one.where, f"has the label {drawing.label!r}, which is no class", fix)
            )


def _palette(colors: Sequence[Color]) -> list[Color]:
    """256 colours: the classes', black, and white for what is ignored."""
    return [*colors, *[(0, 0, 0)] * (IGNORE_INDEX - len(colors)), (255, 255, 255)]
