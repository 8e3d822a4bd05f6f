"""ImageJ's regions of interest: NAME.roi, or NAME.zip of the ROI manager, for the image NAME.

Names of regions are no classes, because ImageJ numbers them; groups are. A region of no group is an `object`, one of
group 3 is `group 3`. Regions are painted in the order of the manager. A single RoiSet.zip beside a single image is for
that one.
"""

import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from atrous.annotations.base import Annotated, Annotations, Format, ellipse, one_by_one, path_within, size_of
from atrous.annotations.drawn import Drawn
from atrous.annotations.folders import files_below, image_for, split_folder
from atrous.annotations.parsing import Gathered, need_points, refuse
from atrous.annotations.polygons import Polygon
from atrous.errors import UsageError
from atrous.images.files import SUFFIXES

if TYPE_CHECKING:
    from roifile import ImagejRoi

__all__ = ["IMAGEJ"]

_SUFFIXES = (".roi", ".zip")
_LARGEST = 1 << 26
"""Bytes that one region may have: a freehand line of some million points."""


def _fits(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in _SUFFIXES and _holds_regions(path)
    return path.is_dir() and any(_holds_regions(file) for file in files_below(path, _SUFFIXES))


def _holds_regions(file: Path) -> bool:
    """Whether a file begins like a region, or is an archive of some."""
    try:
        if file.suffix.lower() == ".roi":
            with file.open("rb") as stream:
                return stream.read(4) == b"Iout"
        with zipfile.ZipFile(file) as archive:
            return any(name.lower().endswith(".roi") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _read(path: Path, images: Path | None, gathered: Gathered) -> Annotations:
    try:
        import roifile  # noqa: F401
    except ImportError:
        raise UsageError(
            "ImageJ's regions need a package that is not installed: pip install 'atrous[imagej]'."
        ) from None
    files = [file for file in files_below(path, _SUFFIXES) if path.is_file() or _holds_regions(file)]
    labels: set[str] = set()
    for file in files:
        with gathered.going_on():
            labels.update(_label(roi) for _, roi in _regions(file))
    root = path if path.is_dir() else path.parent
    return Annotations(tuple(sorted(labels)), one_by_one(files, partial(_image, root, images, gathered), gathered))


def _regions(file: Path) -> Iterator[tuple[str, "ImagejRoi"]]:
    """The regions of a file, each with its place."""
    for where, data in _contents(file):
        from roifile import ImagejRoi

        try:
            yield where, ImagejRoi.frombytes(data)
        except Exception:  # the decoder raises what it likes
            refuse(where, "is no region that can be read", "Save it again with ImageJ.")


def _contents(file: Path) -> Iterator[tuple[str, bytes]]:
    """The bytes of each region."""
    try:
        if file.suffix.lower() != ".zip":
            yield str(file), file.read_bytes()
            return
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if entry.filename.lower().endswith(".roi"):
                    where = f"{file} {entry.filename}"
                    if entry.file_size > _LARGEST:
                        refuse(where, f"has {entry.file_size} bytes, which no region has", "Save it again.")
                    yield where, archive.read(entry)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
        refuse(file, "cannot be unpacked", "Save the regions again with the ROI manager.")


def _label(roi: "ImagejRoi") -> str:
    return f"group {roi.group}" if roi.group else "object"


def _image(root: Path, images: Path | None, gathered: Gathered, file: Path) -> Annotated:
    """One file."""
    image = _image_of(file, root, images)
    size = size_of(image, None, file)
    drawings: list[Drawn] = []
    for where, roi in _regions(file):
        with gathered.going_on():
            page = max(roi.position, roi.z_position, roi.t_position)
            if page > 1:
                message = f"lies on page {page} of a stack, and annotations of one page are read"
                refuse(where, message, "Save the pages as images, each with its regions.")
            parts = _parts(roi, where, gathered)
            drawings += [Drawn(_label(roi), parts)] if parts else []
    inner = file.parent.relative_to(root).as_posix()
    return Annotated(path_within(f"{inner}/{image.name}"), str(file), image, size, drawings, split_folder(file, root))


def _image_of(file: Path, root: Path, images: Path | None) -> Path:
    """The image of the file's name, without what the ROI manager puts around it; else the only one beside it."""
    stem = file.stem
    names = [stem, stem.removesuffix("_RoiSet"), stem.removeprefix("RoiSet_"), stem.removesuffix("_rois"),
             stem.removesuffix("-rois")]  # fmt: skip
    if stem == "RoiSet":
        folder = images or file.parent
        alone = [one for one in sorted(folder.iterdir()) if one.suffix.lower() in SUFFIXES]
        if len(alone) == 1:
            return alone[0]
    return image_for(file, root, images, names)


def _parts(roi: "ImagejRoi", where: str, gathered: Gathered) -> tuple[Polygon, ...]:
    """The polygons of a region; none where it has no area."""
    from roifile import ROI_TYPE

    kind = roi.roitype
    if kind == ROI_TYPE.RECT and roi.multi_coordinates is not None:  # a composite: its outlines and holes
        return (tuple(need_points(ring, where) for ring in _rings(roi, where) if len(ring) > 2),)
    if kind in (ROI_TYPE.RECT, ROI_TYPE.OVAL):
        box: tuple[float, ...] = (roi.left, roi.top, roi.right, roi.bottom)
        if roi.subpixelrect:
            box = (roi.xd, roi.yd, roi.xd + roi.widthd, roi.yd + roi.heightd)
        left, top, right, bottom = map(float, box)
        if kind == ROI_TYPE.OVAL:
            center, radii = ((left + right) / 2, (top + bottom) / 2), ((right - left) / 2, (bottom - top) / 2)
            return ((ellipse(center, radii),),)
        return ((np.array([[left, top], [right, top], [right, bottom], [left, bottom]]),),)
    if kind in (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED):
        return ((need_points(_rings(roi, where)[0], where),),)
    gathered.note(f"{kind.name.lower()} regions have no area")
    return ()


def _rings(roi: "ImagejRoi", where: str) -> list[np.ndarray]:
    """The closed lines of a region."""
    try:
        return list(roi.coordinates(multi=True))
    except Exception as problem:  # curves are not supported, and damaged counts raise what they like
        refuse(where, f"has outlines that cannot be read: {problem}", "Turn it into polygons with ImageJ.")


IMAGEJ = Format("ImageJ's regions", _fits, _read)
