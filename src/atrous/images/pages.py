"""Files that hold several images of one size: stacks in TIFF, volumes in NIfTI."""

from atrous.findings import FindingError, error
from atrous.images import nifti, tiff
from atrous.images.stored import File, Header, Pixels, Stored

__all__ = ["PagePixels", "VolumePixels", "count_pages", "decode_page", "page_header"]


class PagePixels(Pixels):
    """One page of a stack or slice of a volume.

    Args:
        file: a TIFF or a NIfTI file.
        page: its number, from 0.
        indices: a palette image gives its indices instead of its colours, as in masks.
    """

    def __init__(self, file: File, page: int, *, indices: bool = False) -> None:
        self._file, self._page, self._indices = file, page, indices

    def header(self) -> Header:
        """From the stack's first page: all have one size."""
        return page_header(self._file, self._page)

    def decode(self) -> Stored:
        """The pixels of the page."""
        return decode_page(self._file, self._page, indices=self._indices)


class VolumePixels(PagePixels):
    """A volume of a single slice, which is an image.

    Raises:
        FindingError: if it has more slices.
    """

    def __init__(self, file: File, name: object) -> None:
        count = count_pages(file)
        if count != 1:
            message = f"is a volume of {count} slices, and one image is needed"
            fix = "Name a slice: page=0 is the first."
            raise FindingError(error("stack", name, message, fix))
        super().__init__(file, 0)


def count_pages(file: File) -> int:
    """How many images a file holds."""
    return nifti.count_slices(file) if nifti.is_nifti(file) else tiff.count_pages(file)


def page_header(file: File, page: int) -> Header:
    """Read the header of one of them."""
    return nifti.slice_header(file, page) if nifti.is_nifti(file) else tiff.page_header(file, page)


def decode_page(file: File, page: int, *, indices: bool) -> Stored:
    """Decode one of them; with `indices`, a palette image gives its indices instead of its colours."""
    return nifti.decode_slice(file, page) if nifti.is_nifti(file) else tiff.decode_page(file, page, indices=indices)
