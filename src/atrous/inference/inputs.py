"""Which images are meant by files, folders and patterns, and which files their results become.

Everything that can be trained on can be segmented: image files, NumPy files and Zarr arrays, stacks of pages in TIFF,
NIfTI volumes, and data folders of any layout, whose images may be put together from several files. What lies in a
folder and is no image is named, so that nothing is passed over without a word.
"""

import glob
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from atrous.data.datasets import DATASETS, Division, choose_layout
from atrous.data.datasets.base import PageImage
from atrous.data.datasets.hyperstacks import images_of_stack
from atrous.data.datasets.nnunet import Channels
from atrous.data.listing import IMAGE_FOLDERS, entries, is_special, special
from atrous.data.pairs import Pair
from atrous.data.split_names import SPLIT_NAMES
from atrous.errors import UsageError
from atrous.findings import FindingError, error
from atrous.images import nifti
from atrous.images.arrays import is_zarr
from atrous.images.files import ARRAY_SUFFIXES, SUFFIXES, ImageFile
from atrous.images.georeference import georeference
from atrous.images.pages import count_pages
from atrous.images.tiff import stack_axes

__all__ = ["READ", "ImageInput", "find_inputs"]

LOG = logging.getLogger(__name__)
READ = (*SUFFIXES, *ARRAY_SUFFIXES, *nifti.SUFFIXES)
"""Endings of files that are taken for images in folders and by patterns."""
NAMED = 4
"""Files that are named of those that are passed over."""
BESIDE = (".msk", ".tfw", ".tifw", ".jgw", ".jpw", ".pgw", ".wld", ".aux.xml", ".ovr", ".prj")
"""Endings of files that belong to an image."""
_TIFF = (".tif", ".tiff")


@dataclass(frozen=True)
class ImageInput:
    """An image to segment.

    Attributes:
        name: of its results, without suffix.
        place: the file or folder that it is, or its first.
        pages: the image; or those of a stack, in their order.
        suffix: of the results that are most like it: ".png", ".tif" of stacks and georeferenced images, or that of a
            NIfTI volume.
    """

    name: str
    place: Path
    pages: tuple[ImageFile, ...]
    suffix: str = ".png"


def find_inputs(images: str | Path | Sequence[str | Path], *, out: Path | None = None) -> list[ImageInput]:
    """The images of files, folders, data folders and patterns, in order and without doubles.

    Args:
        images: what was named.
        out: where results go: what lies there is no image, unless it is named.

    Raises:
        UsageError: if something named is not there, or holds no image.
    """
    named = [images] if isinstance(images, str | Path) else list(images)
    found = chain.from_iterable(_expand(str(item), out) for item in named)
    return list({(one.place.resolve(), len(one.pages)): one for one in found}.values())


def _expand(item: str, out: Path | None) -> Iterator[ImageInput]:
    path = Path(item)
    if path.is_dir() and not is_zarr(path):
        yield from _in_folder(path, out)
    elif path.exists():
        yield _of_file(path)
    elif glob.has_magic(item):
        matches = sorted(Path(p) for p in glob.glob(item, recursive=True))  # noqa: PTH207  (patterns may be absolute)
        found = [p for p in matches if _is_image(p)]
        if not found:
            raise UsageError(f"{item}: no image matches this pattern; atrous reads {', '.join(READ)}.")
        yield from map(_of_file, found)
    else:
        raise UsageError(f"{item}: there is no such file or folder; check the name, or quote a pattern: 'scans/*.tif'.")


def _is_image(path: Path) -> bool:
    """Whether a path is an image by its ending; Zarr arrays are folders."""
    name = path.name.lower()
    return name.endswith(READ) and (path.is_file() or name.endswith(".zarr"))


def _in_folder(path: Path, out: Path | None) -> Iterator[ImageInput]:
    """The images of a data folder, or all that lie in a folder and its folders."""
    places = _image_folders(path)
    layout = "folder" if places else choose_layout(path, None)
    if layout != "folder":
        yield from _in_layout(path, layout)
    elif path.name in ("imagesTr", "imagesTs") and choose_layout(path.parent, None) == "nnunet":
        yield from (one for one in _in_layout(path.parent, "nnunet") if one.place.is_relative_to(path))
    else:
        files = [file for place in places or [path] for file in _walk(place, out)]
        found = [file for file in files if _is_image(file)]
        if not found:
            fix = f"Name a folder with files that end in {', '.join(READ)}."
            raise FindingError(error("empty_folder", path, "holds no image", fix))
        _tell_passed(path, [file for file in files if not _is_image(file)])
        yield from map(_of_file, found)


def _image_folders(path: Path) -> list[Path]:
    """Where a data folder of images and masks side by side has its images: images/, or train/images/ and so on."""
    splits = [path / name for names in SPLIT_NAMES.values() for name in names]
    for base in ([path], splits):
        places = [place / name for place in base for name in IMAGE_FOLDERS if (place / name).is_dir()]
        if places:
            return places[:1] if base == [path] else places
    return []


def _in_layout(path: Path, layout: str) -> list[ImageInput]:
    """The images of all splits of a data set, and those that lack a mask, which prediction does not need."""
    found = DATASETS[layout].read(path, Division(0.0, 0))
    inputs = _of_pairs(list(chain.from_iterable(found.splits.values())), layout)
    bare = [Path(one.file) for one in found.findings if one.code == "missing_mask" and layout != "nnunet"]
    inputs += [_of_file(file) for file in bare if file.is_file() and _is_image(file)]
    LOG.info("%s: %d images (layout %s)", path, len(inputs), layout)
    others = [one for one in found.findings if Path(one.file) not in bare]
    if others:
        more = f"; and {len(others) - 1} more" if len(others) > 1 else ""
        LOG.warning("%s: images are left out: %s%s", path, others[0], more)
    return inputs


def _tell_passed(folder: Path, passed: Sequence[Path]) -> None:
    """Name what lies among the images and is none by its ending."""
    names = [file.relative_to(folder).as_posix() for file in passed if not file.name.lower().endswith(BESIDE)]
    if names:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        what = "a file that is no image" if len(names) == 1 else "files that are no images"
        shown = ", ".join(names[:NAMED])
        LOG.warning("%s: passed over %s by the ending: %s%s; name a file to have it read", folder, what, shown, more)


def _walk(folder: Path, out: Path | None) -> Iterator[Path]:
    """The files of a folder and its folders in the order of their names, hidden ones and results left out.

    Raises:
        FindingError: if one of the folders cannot be opened.
    """
    results = None if out is None or out.resolve() == folder.resolve() else out.resolve()
    inside = sorted((entry for entry in entries(folder) if not entry.name.startswith(".")), key=lambda one: one.name)
    for entry in inside:
        path = Path(entry.path)
        if is_special(entry):
            LOG.warning("%s", special(path))
        elif not entry.is_dir() or is_zarr(path) or path.suffix.lower() == ".zarr":
            yield path
    for entry in inside:
        path = Path(entry.path)
        if entry.is_dir() and not (is_zarr(path) or path.suffix.lower() == ".zarr" or path.resolve() == results):
            yield from _walk(path, out)


def _of_file(path: Path) -> ImageInput:
    """A file, whose pages are looked at where it is of a kind that may have several."""
    ending = next((suffix for suffix in nifti.SUFFIXES[::-1] if path.name.lower().endswith(suffix)), "")
    name = path.name[: -len(ending)] if ending else path.stem
    tiff = path.suffix.lower() in _TIFF
    try:
        pages = _pages(path) if ending or tiff else ()
    except Exception:  # decoders raise what they like: it is told when the image is read, and the others are done
        return ImageInput(name, path, (path,), ending or ".png")
    if pages:
        return ImageInput(name, path, tuple(pages), ending or ".tif")
    return ImageInput(name, path, (path,), ".tif" if tiff and georeference(path) else ".png")


def _pages(path: Path) -> Sequence[ImageFile]:
    """The slices of a volume, or the pages of a stack, whose channels are put together; none of a single image."""
    count = count_pages(path)
    volume = path.name.lower().endswith(nifti.SUFFIXES)
    if count == 1 and not volume:
        return ()
    axes, places = ("", None) if volume else stack_axes(path)
    if places is not None and "C" in axes:
        return images_of_stack(path, count // places.shape[axes.index("C")]) or ()
    return [PageImage(path, page) for page in range(count)]


def _of_pairs(pairs: Sequence[Pair], layout: str) -> list[ImageInput]:
    """The images of pairs; pages of one file, or of several that are channels, become one stack again."""
    stacks: dict[Path, list[Pair]] = {}
    for pair in pairs:
        first = _first(pair.image)
        stacks.setdefault(first.file if isinstance(first, PageImage) else Path(str(first)), []).append(pair)
    return [_of_stack(file, group, layout) for file, group in stacks.items()]


def _of_stack(file: Path, group: Sequence[Pair], layout: str) -> ImageInput:
    """All pages of a file, of which a data set may have labelled some; or the channels that are files of their own."""
    first, name, whole = group[0].image, group[0].name, _of_file(file)
    paged = isinstance(_first(first), PageImage)
    if layout == "nnunet" and paged:
        name = name.rpartition("_")[0]
    elif paged or "/" in name:
        name = whole.name
    if not isinstance(first, Channels) or len({str(_file(channel)) for channel in first.files}) == 1:
        return ImageInput(name, file, whole.pages, whole.suffix)
    pages = tuple(pair.image for pair in sorted(group, key=lambda pair: _page(pair.image)))
    return ImageInput(name, file, pages, whole.suffix if paged else ".png")


def _file(image: ImageFile) -> object:
    return image.file if isinstance(image, PageImage) else image


def _first(image: ImageFile) -> ImageFile:
    """The first channel of an image whose channels are files."""
    return image.files[0] if isinstance(image, Channels) else image


def _page(image: ImageFile) -> int:
    first = _first(image)
    return first.page if isinstance(first, PageImage) else 0
