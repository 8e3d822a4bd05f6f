"""Annotations of labelling tools to data folders, and back: one file per format, one line each in `FORMATS`."""

from pathlib import Path

from atrous.annotations.base import Annotated, Annotations, Format
from atrous.annotations.cvat import CVAT
from atrous.annotations.cvat_masks import CVAT_MASKS
from atrous.annotations.imagej import IMAGEJ
from atrous.annotations.label_studio import LABEL_STUDIO
from atrous.annotations.labelme import LABELME
from atrous.annotations.panoptic import PANOPTIC
from atrous.annotations.qupath import QUPATH
from atrous.annotations.supervisely import SUPERVISELY
from atrous.annotations.yolo import YOLO
from atrous.data.convert.coco import COCO_JSON
from atrous.data.convert.export import write_coco, write_labelme
from atrous.data.convert.folder import write_folder
from atrous.errors import did_you_mean
from atrous.findings import FindingError, error

__all__ = [
    "FORMATS",
    "TARGETS",
    "Annotated",
    "Annotations",
    "Format",
    "choose_format",
    "write_coco",
    "write_folder",
    "write_labelme",
]

FORMATS: dict[str, Format] = {
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
"""Formats that are read, in the order in which a file is compared with them."""

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")

TARGETS = {"coco": write_coco, "labelme": write_labelme}
"""Formats that a data folder is written in."""


def choose_format(path: Path, name: str | None) -> Format:
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
