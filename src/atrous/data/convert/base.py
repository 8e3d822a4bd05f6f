"""What every reader of annotations gives, and how it becomes a data folder."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from atrous.data.classes import Classes, Color, default_colors, to_hex
from atrous.data.drawn import BACKGROUND_LABELS, IGNORE_LABEL, Drawn, Painted, number_labels, paint
from atrous.data.findings import FindingError, error
from atrous.data.io import SUFFIXES, ImageFile, read_image, read_info
from atrous.data.write import write_image
from atrous.errors import DataError, did_you_mean
from atrous.types import IGNORE_INDEX

__all__ = ["Annotated", "Annotations", "Format", "ellipse", "locate", "place_image", "turned", "write_folder"]

_CORNERS = 128
"""Corners of the polygon that stands for an ellipse."""


class Annotated(NamedTuple):
    """One image and what was drawn on it.

    Attributes:
        name: of the image, as its file names it.
        where: the place in the annotation file, for messages.
        image: the file, or its bytes where the annotations hold them.
        size: (height, width) that the annotations were drawn on.
        drawings: in the order in which they are painted.
    """

    name: str
    where: str
    image: Path | bytes
    size: tuple[int, int]
    drawings: Sequence[Drawn]


@dataclass(frozen=True)
class Annotations:
    """Everything an annotation file, or a folder of them, holds.

    Attributes:
        labels: names in their order, "background" not among them.
        images: read one by one, because drawings may be large.
        colors: of labels, where the file has them.
        notes: what was left out, and how often; complete once all images were read.
    """

    labels: tuple[str, ...]
    images: Iterable[Annotated]
    colors: Mapping[str, Color] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)


class Format(NamedTuple):
    """A format of annotations.

    Attributes:
        title: its name in prose.
        fits: a quick look whether a file or folder is of it.
        read: takes the file or folder, and the folder of images if one was named.
    """

    title: str
    fits: Callable[[Path], bool]
    read: Callable[[Path, Path | None], Annotations]


def locate(names: Iterable[str], folders: Iterable[Path | None], where: object) -> Path:
    """The first file of one of these names in one of these folders.

    Raises:
        FindingError: if there is none.
    """
    tried = list(dict.fromkeys(names))
    for folder in folders:
        for name in tried if folder is not None else ():
            if folder is not None and name and (folder / name).is_file():
                return folder / name
    fix = "Put it beside the annotations, or name its folder with --images."
    raise FindingError(error("missing_image", where, f"names the image {tried[0]}, and there is no such file", fix))


def ellipse(center: tuple[float, float], radii: tuple[float, float], degrees: float = 0.0) -> np.ndarray:
    """(N, 2) corners of a polygon that follows an ellipse, turned clockwise; of the same area."""
    angles = np.arange(_CORNERS) * (2 * np.pi / _CORNERS)
    # A polygon within the circle would be too small.
    grow = np.sqrt(2 * np.pi / (_CORNERS * np.sin(2 * np.pi / _CORNERS)))
    points = np.stack([np.cos(angles) * radii[0], np.sin(angles) * radii[1]], axis=1) * grow
    return turned(points + np.asarray(center), center, degrees)


def turned(points: np.ndarray, center: tuple[float, float], degrees: float) -> np.ndarray:
    """Points turned clockwise, as the image is seen, around a centre."""
    if not degrees:
        return points
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return (points - np.asarray(center)) @ np.array([[cos, sin], [-sin, cos]]) + np.asarray(center)


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
        progress: is told the images done.

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
    text = yaml.safe_dump({"classes": rows, "ignore": [IGNORE_INDEX]}, sort_keys=False, default_flow_style=None)
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
        array = read_image(image).array
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
