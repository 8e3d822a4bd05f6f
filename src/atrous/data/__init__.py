"""Folders of images and masks: layouts, class tables, the doctor, splits, caches, conversion."""

from atrous.data.classes import Classes
from atrous.data.datasets import DATASETS
from atrous.data.doctor import check_folder, quick_check
from atrous.data.folder import Folder, FolderDataset, Pair, examine_folder, open_folder
from atrous.data.options import DataOptions

__all__ = [
    "DATASETS",
    "Classes",
    "DataOptions",
    "Folder",
    "FolderDataset",
    "Pair",
    "check_folder",
    "examine_folder",
    "open_folder",
    "quick_check",
]
