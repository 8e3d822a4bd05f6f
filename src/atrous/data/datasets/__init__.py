"""Data sets as they are handed out, and the layouts that people share: one file each, one line each in `DATASETS`."""

from pathlib import Path

from atrous.data.datasets.ade20k import ADE20K
from atrous.data.datasets.base import Dataset, Division, Found
from atrous.data.datasets.biology import CTC, DSB2018, ISBI2012
from atrous.data.datasets.camvid import CAMVID, CAMVID32
from atrous.data.datasets.cellpose import CELLPOSE
from atrous.data.datasets.cityscapes import CITYSCAPES
from atrous.data.datasets.coco import COCO
from atrous.data.datasets.coco_panoptic import COCO_PANOPTIC
from atrous.data.datasets.coco_stuff import COCO_STUFF
from atrous.data.datasets.landmarks import COCO_KEYPOINTS_LAYOUT, DEEPLABCUT_LAYOUT, LANDMARKS_LAYOUT
from atrous.data.datasets.layouts import ARRAYS, CLASS_FOLDERS, MMSEG, STACKS
from atrous.data.datasets.nnunet import NNUNET
from atrous.data.datasets.others import DRIVE, PETS, STANFORD
from atrous.data.datasets.voc import SBD, VOC, VOC_AUG
from atrous.errors import did_you_mean
from atrous.findings import FindingError, error

__all__ = ["DATASETS", "Dataset", "Division", "Found", "choose_layout"]

DATASETS: dict[str, Dataset] = {
    "voc": VOC,
    "voc_aug": VOC_AUG,
    "sbd": SBD,
    "camvid": CAMVID,
    "camvid32": CAMVID32,
    "cityscapes": CITYSCAPES,
    "ade20k": ADE20K,
    "coco_stuff": COCO_STUFF,
    "landmarks": LANDMARKS_LAYOUT,
    "deeplabcut": DEEPLABCUT_LAYOUT,
    "coco_keypoints": COCO_KEYPOINTS_LAYOUT,
    "coco": COCO,
    "coco_panoptic": COCO_PANOPTIC,
    "stanford": STANFORD,
    "pets": PETS,
    "drive": DRIVE,
    "isbi2012": ISBI2012,
    "ctc": CTC,
    "dsb2018": DSB2018,
    "nnunet": NNUNET,
    "mmseg": MMSEG,
    "cellpose": CELLPOSE,
    "stacks": STACKS,
    "class_folders": CLASS_FOLDERS,
    "arrays": ARRAYS,
}
"""Layouts by name, in the order in which a folder is compared with them; what fits none is "folder"."""


def choose_layout(root: Path, layout: str | None) -> str:
    """The name of a folder's layout.

    Args:
        root: a folder.
        layout: what it is said to be; None looks at it.

    Returns:
        A key of `DATASETS`, or "folder" for images and masks side by side.

    Raises:
        FindingError: if there is no layout of that name.
    """
    if layout is None:
        return next((name for name, dataset in DATASETS.items() if dataset.fits(root)), "folder")
    if layout != "folder" and layout not in DATASETS:
        fix = did_you_mean(layout, (*DATASETS, "folder"))
        raise FindingError(error("no_layout", root, f"there is no layout {layout!r}", fix))
    return layout
