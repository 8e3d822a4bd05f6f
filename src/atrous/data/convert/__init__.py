"""Annotations of labelling tools to data folders, and back: one file per format, one line each in `FORMATS`."""

from collections.abc import Callable, Sequence
from pathlib import Path

from atrous.annotations.base import Annotated, Annotations, Format
from atrous.annotations.coco_keypoints import COCO_KEYPOINTS
from atrous.annotations.cvat import CVAT
from atrous.annotations.cvat_masks import CVAT_MASKS
from atrous.annotations.cvat_points import CVAT_POINTS
from atrous.annotations.deeplabcut import DEEPLABCUT
from atrous.annotations.imagej import IMAGEJ
from atrous.annotations.label_studio import LABEL_STUDIO
from atrous.annotations.label_studio_points import LABEL_STUDIO_POINTS
from atrous.annotations.labelme import LABELME
from atrous.annotations.labelme_points import LABELME_POINTS
from atrous.annotations.landmark_csv import LANDMARK_CSV
from atrous.annotations.landmarks import LandmarkFormat
from atrous.annotations.panoptic import PANOPTIC
from atrous.annotations.parsing import Gathered
from atrous.annotations.qupath import QUPATH
from atrous.annotations.supervisely import SUPERVISELY
from atrous.annotations.yolo import YOLO
from atrous.data.classes import Classes
from atrous.data.convert.coco import COCO_JSON
from atrous.data.convert.export import write_coco, write_labelme
from atrous.data.convert.folder import write_folder
from atrous.data.convert.landmarks import write_coco_keypoints, write_labelme_points, write_landmark_folder
from atrous.errors import UsageError, did_you_mean
from atrous.findings import FindingError, error

__all__ = [
    "FORMATS",
    "LANDMARK_TARGETS",
    "TARGETS",
    "Annotated",
    "Annotations",
    "Format",
    "LandmarkFormat",
    "bring_in",
    "choose_format",
    "write_coco",
    "write_folder",
    "write_labelme",
    "write_landmark_folder",
]

FORMATS: dict[str, Format | LandmarkFormat] = {
    "landmarks": LANDMARK_CSV,
    "deeplabcut": DEEPLABCUT,
    "coco_keypoints": COCO_KEYPOINTS,
    "labelme_points": LABELME_POINTS,
    "cvat_points": CVAT_POINTS,
    "label_studio_points": LABEL_STUDIO_POINTS,
    "cvat": CVAT,
    "cvat_masks": CVAT_MASKS,
    "supervisely": SUPERVISELY,
    "yolo": YOLO,
    "coco": COCO_JSON,
    "coco_panoptic": PANOPTIC,
    "label_studio": LABEL_STUDIO,
    "labelme": LABELME,
    "qupath": QUPATH,
    "imagej": IMAGEJ,
}
"""Formats that are read, in the order in which a file is compared with them; those of landmarks first, as they take
files of points alone."""

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")

TARGETS = {"coco": write_coco, "labelme": write_labelme}
"""Formats that a data folder is written in."""

LANDMARK_TARGETS = {"coco": write_coco_keypoints, "labelme": write_labelme_points}
"""The same for a folder of landmarks."""


def choose_format(path: Path, name: str | None) -> Format | LandmarkFormat:
    """The format of annotations.

    Args:
        path: a file or folder.
        name: a key of `FORMATS`; None looks at the file.

    Raises:
        FindingError: if there is no such file or format, or the file is of none.
    """
    if not path.exists():
        raise FindingError(error("missing_file", path, "there is no such file or folder", "Check the name."))
    if name is not None:
        if name not in FORMATS:
            raise FindingError(error("annotation", path, f"there is no format {name!r}", did_you_mean(name, FORMATS)))
        return FORMATS[name]
    found = next((one for one in FORMATS.values() if one.fits(path)), None)
    if found is None:
        known = ", ".join(one.title for one in FORMATS.values())
        if path.suffix.lower() in _ARCHIVES:
            fix = "Unpack it, and name the folder."
            raise FindingError(error("annotation", path, "is an archive, and annotations are read from files", fix))
        fix = f"It needs to be one of: {known}. Name the file itself, or say which with --from."
        raise FindingError(error("annotation", path, "holds annotations of no format that is read", fix))
    return found


def bring_in(
    chosen: Format | LandmarkFormat,
    places: tuple[Path, Path | None],
    out: Path,
    gathered: Gathered,
    *,
    classes: Classes | None = None,
    ignore: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> tuple[int, tuple[str, ...]]:
    """Read annotations, and write them as a data folder.

    Args:
        chosen: their format.
        places: the file or folder of annotations, and the folder of images if one was named.
        out: an empty folder that exists.
        gathered: gets what is wrong with single images, and what is left out.
        classes: as in `write_folder`; for masks alone, as `ignore` is.
        ignore: labels that count for nothing.
        progress: called with the number of images done.

    Returns:
        The images written, and the names of the classes or landmarks.

    Raises:
        DataError: if the annotations as a whole cannot be read.
        UsageError: if classes are given for landmarks.
    """
    source, images = places
    if not isinstance(chosen, LandmarkFormat):
        annotations, told = chosen.read(source, images, gathered), {"classes": classes, "ignore": ignore}
        return write_folder(annotations, out, gathered, progress=progress, where=source, **told)  # type: ignore[arg-type]
    if classes is not None or ignore:
        fix = "choose landmarks by a landmarks.yaml in the folder that is written."
        raise UsageError(f"{source}: holds landmarks ({chosen.title}), and --classes and --ignore are for masks; {fix}")
    return write_landmark_folder(chosen.read(source, images, gathered), out, gathered, progress=progress)
