"""Files that hold several images of one size: stacks in TIFF, volumes in NIfTI."""

from pathlib import Path

from atrous.images import nifti, tiff
from atrous.images.formats import Header, Stored

__all__ = ["count_pages", "decode_page", "page_header"]


def count_pages(path: Path) -> int:
    """How many images a file holds."""
    return nifti.count_slices(path) if _is_volume(path) else tiff.count_pages(path)


def page_header(path: Path, page: int) -> Header:
    """Read the header of one of them."""
    return nifti.slice_header(path, page) if _is_volume(path) else tiff.page_header(path, page)


def decode_page(path: Path, page: int, *, indices: bool) -> Stored:
    """Decode one of them; with `indices`, a palette image gives its indices instead of its colours."""
    return nifti.decode_slice(path, page) if _is_volume(path) else tiff.decode_page(path, page, indices=indices)


def _is_volume(path: Path) -> bool:
    return path.name.lower().endswith(nifti.SUFFIXES)
