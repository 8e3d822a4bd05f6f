"""One pair of a data folder, read: the image, its classes and its objects, whole or a window of them."""

from collections.abc import Iterator

import numpy as np

from atrous.annotations.landmarks import LandmarkEntry
from atrous.data.classes import Classes
from atrous.data.contents import Folder
from atrous.data.pairs import NoObjects, Pair
from atrous.findings import Finding, FindingError, error
from atrous.images.derived import DerivedPlanes
from atrous.images.files import (
    ImageFile,
    MaskFile,
    read_image,
    read_info,
    read_mask,
    read_mask_window,
    read_palette,
    read_window,
)
from atrous.images.raster import Raster
from atrous.images.source import tell_odd
from atrous.types import IGNORE_INDEX

__all__ = [
    "landmark_arrays",
    "read_labels",
    "read_pair",
    "read_pair_window",
    "read_truth",
    "set_elsewhere",
    "wrong_kind",
]


def read_pair(pair: Pair, folder: Folder) -> tuple[Raster, np.ndarray | None, np.ndarray | None]:
    """Read an image and what is known of it.

    Returns:
        The image; classes (H, W) uint8, 255 where ignored or where the image has no valid number, None if there is no
        mask; object numbers (H, W) or None. Where classes may overlap, the mask is (K, H, W): 1, 0, or 255.

    Raises:
        DataError: if a file cannot be read, sizes differ, or the image or mask is not of the folder's kind.
    """
    raster = read_image(pair.image, channels=folder.channels)
    tell_odd(pair.image, raster)
    _check_kind(pair, raster, folder)
    for finding in set_elsewhere(pair, _size(raster)):
        raise FindingError(finding)
    mask, instances = read_labels(pair, folder.classes, _size(raster))
    return raster, _without_invalid(mask, raster), instances


def read_truth(pair: Pair, folder: Folder) -> tuple[Raster, dict[str, np.ndarray]]:
    """Read an image, and all that is known of it as arrays under the keys of a sample; what is not known is not there.

    Raises:
        DataError: as `read_pair`.
    """
    raster, mask, instances = read_pair(pair, folder)
    known = {"mask": mask, "instances": instances, **landmark_arrays(pair.landmarks)}
    return raster, {key: array for key, array in known.items() if array is not None}


def landmark_arrays(entry: LandmarkEntry | None, corner: tuple[int, int] = (0, 0)) -> dict[str, np.ndarray]:
    """Landmarks under the keys of a sample: `keypoints`, `visible`, and `center` and `box` where they are known.

    Args:
        entry: of the image; None gives nothing.
        corner: (x, y) of the first pixel of the window that is meant.
    """
    if entry is None:
        return {}
    at = np.array(corner, np.float64)
    arrays = {"keypoints": (entry.points - at).astype(np.float32), "visible": entry.visibility.copy()}
    if entry.middle is not None:
        arrays["center"] = (entry.middle - at).astype(np.float32)
    if entry.box is not None:
        arrays["box"] = (entry.box - np.append(at, (0, 0))).astype(np.float32)
    return arrays


def set_elsewhere(pair: Pair, size: tuple[int, int]) -> Iterator[Finding]:
    """The finding about landmarks that were set on an image of another (height, width) than the file has."""
    if pair.landmarks is None or pair.landmarks.size in (None, size):
        return
    (wanted, has) = (f"{height} x {width}" for height, width in (pair.landmarks.size or size, size))
    message = f"has {has} pixels (height x width), and its landmarks were set on {wanted}"
    fix = "Use the images that the landmarks were set on, not resized or turned ones."
    yield error("size_mismatch", pair.image, message, fix)


def read_pair_window(
    pair: Pair, folder: Folder, rows: slice, columns: slice
) -> tuple[Raster, np.ndarray | None, np.ndarray | None]:
    """Read a window of an image and of what is known of it, as `read_pair` does; see `read_window`.

    Raises:
        DataError: as `read_pair`, or if image or mask do not hold the window.
    """
    raster = read_window(pair.image, rows, columns, channels=folder.channels)
    if pair.landmarks is not None and pair.landmarks.size is not None:
        info = read_info(pair.image)
        for finding in set_elsewhere(pair, (info.height, info.width)):
            raise FindingError(finding)
    _check_kind(pair, raster, folder)
    raw = None if pair.mask is None else read_mask_window(pair.mask, rows, columns)
    written = pair.instances is not None and not isinstance(pair.instances, NoObjects)
    objects = read_mask_window(pair.instances, rows, columns) if written and pair.instances is not None else None
    mask, instances = _understand(pair, folder.classes, _size(raster), raw, objects)
    return raster, _without_invalid(mask, raster), instances


def read_labels(
    pair: Pair, classes: Classes, size: tuple[int, int] | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Read the mask and the instance map of an image of this (height, width), if it is known; see `read_pair`."""
    written = pair.instances is not None and not isinstance(pair.instances, NoObjects)
    instances = read_mask(pair.instances) if written and pair.instances is not None else None
    raw = None if pair.mask is None else read_mask(pair.mask)
    return _understand(pair, classes, size, raw, instances)


def _understand(
    pair: Pair,
    classes: Classes,
    size: tuple[int, int] | None,
    raw: np.ndarray | None,
    instances: np.ndarray | None,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Classes and object numbers from what the files of a pair hold."""
    if pair.instances is not None and instances is not None:
        if instances.ndim == 3:
            message = "is no instance map: it has 3 channels"
            raise FindingError(error("mask_type", pair.instances, message, "Store one object number per pixel."))
        _same_size(pair.image, size, pair.instances, instances.shape)
    if pair.mask is not None and raw is not None:
        if isinstance(pair.mask, DerivedPlanes):
            _same_size(pair.image, size, pair.mask, raw.shape[1:])
            return _planes(pair.mask, classes, raw), instances
        _same_size(pair.image, size, pair.mask, raw.shape)
        palette = read_palette(pair.mask) if classes.color_coded and raw.ndim == 2 else None
        mask = classes.encode(raw, file=str(pair.mask), palette=palette)
        if isinstance(pair.instances, NoObjects):
            pair.instances.check(mask, classes.names)
            instances = np.zeros(mask.shape, np.uint8)
        return mask, instances
    if instances is not None:
        return classes.encode((instances > 0).astype(np.uint8), file=str(pair.instances)), instances
    return None, None


def _planes(mask: DerivedPlanes, classes: Classes, raw: np.ndarray) -> np.ndarray:
    """(K, H, W) planes, one for each class of the table."""
    if len(raw) != len(classes):
        message = f"has {len(raw)} planes, and there are {len(classes)} classes"
        raise FindingError(error("mask_type", mask, message, "Store one plane per class, or correct classes.yaml."))
    if bad := sorted(set(np.unique(raw).tolist()) - {0, 1, IGNORE_INDEX}):
        message = f"holds the value {bad[0]}, and a plane holds 1 where its class is, 0 where not, 255 where unknown"
        raise FindingError(error("out_of_range_label", mask, message, "Write the planes as 0 and 1."))
    return raw.astype(np.uint8)


def _without_invalid(mask: np.ndarray | None, raster: Raster) -> np.ndarray | None:
    """The mask with 255 where the image has no valid number."""
    if mask is not None and raster.valid is not None:
        mask[..., ~raster.valid] = IGNORE_INDEX
    return mask


def _size(raster: Raster) -> tuple[int, int]:
    return (raster.array.shape[0], raster.array.shape[1])


def _check_kind(pair: Pair, raster: Raster, folder: Folder) -> None:
    """Raise unless the image's numbers are of the folder's kind."""
    if raster.array.dtype.name != folder.dtype:
        raise FindingError(wrong_kind(pair.image, raster.array.dtype.name, folder.dtype))


def wrong_kind(path: ImageFile, came: str, needed: str) -> Finding:
    """The finding about an image whose numbers are not of the others' kind."""
    message = f"holds {came} numbers, and the others hold {needed}: the same grey is another number there"
    fix = f"Convert it to {needed} in the range of the others, or take it out."
    return error("mixed_kinds", path, message, fix)


def _same_size(image: ImageFile, size: tuple[int, int] | None, mask: MaskFile, came: tuple[int, ...]) -> None:
    """Raise a finding unless image and mask have one size."""
    if size is None or came[:2] == size:
        return
    message = f"has {came[0]} x {came[1]} pixels (height x width), and its image {image} has {size[0]} x {size[1]}"
    fix = "Export the mask at the size of its image."
    if came[:2] == size[::-1]:
        fix = "Height and width are swapped: transpose the mask, if it is that of this image."
        if read_info(image).orientation >= 5:
            fix = (
                "The camera's orientation (EXIF) turns the image: draw the mask on the turned image, or remove the "
                "tag; if masks lie on stored pixels, set data.exif=raw."
            )
    raise FindingError(error("size_mismatch", mask, message, fix))
