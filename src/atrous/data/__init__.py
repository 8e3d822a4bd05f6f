"""Folders of images and masks: opened, checked, read, augmented; and made data to try the package on."""

from atrous.data.classes import Classes
from atrous.data.datasets import DATASETS
from atrous.data.doctor import CheckReport, Finding, check_folder, quick_check
from atrous.data.folder import Folder, FolderDataset, Pair, open_folder
from atrous.data.io import ImageInfo, Raster, read_image, read_info, read_mask, read_window, write_image
from atrous.data.options import DataOptions
from atrous.data.splits import list_images
from atrous.data.transforms import TRANSFORMS

__all__ = [
    "DATASETS",
    "TRANSFORMS",
    "CheckReport",
    "Classes",
    "DataOptions",
    "Finding",
    "Folder",
    "FolderDataset",
    "ImageInfo",
    "Pair",
    "Raster",
    "check_folder",
    "list_images",
    "open_folder",
    "quick_check",
    "read_image",
    "read_info",
    "read_mask",
    "read_window",
    "write_image",
]
