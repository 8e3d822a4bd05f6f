"""Writing images and masks, whole or not at all."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atrous.disk import writing
from atrous.errors import DataError

__all__ = ["write_image"]


def write_image(path: str | Path, array: np.ndarray, *, palette: Sequence[tuple[int, int, int]] | None = None) -> None:
    """Write a PNG or TIFF under its final name only when it is whole.

    Args:
        path: ends in .png, .tif or .tiff; the folder must exist.
        array: (H, W) or (H, W, C); PNG takes uint8 and uint16 of 1, 3 or 4 channels, TIFF any numbers and channels.
        palette: colours of the values 0, 1, ... of an (H, W) uint8 array, up to 256.

    Raises:
        DataError: if the format cannot hold the array, or the disk refuses it.
    """
    path, array = Path(path), np.asarray(array)
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    suffix = path.suffix.lower()
    if suffix not in (".png", ".tif", ".tiff"):
        raise DataError(f"{path}: images are written as .png, .tif or .tiff, not {suffix!r}. Change the suffix.")
    png_holds = array.dtype in (np.uint8, np.uint16) and (array.ndim == 2 or array.shape[2] in (3, 4))
    if suffix == ".png" and not png_holds:
        shape = "x".join(map(str, array.shape))
        raise DataError(f"{path}: PNG does not hold a {shape} array of {array.dtype}. Write a .tif instead.")
    if palette is not None and (array.ndim != 2 or array.dtype != np.uint8):
        raise DataError(f"{path}: a palette goes with (H, W) uint8, not {array.shape} {array.dtype}. Leave it out.")
    with writing(path, error=DataError, instead="choose another folder", parents=False) as beside:
        _write_png(beside, array, palette) if suffix == ".png" else _write_tiff(beside, array, palette)


def _write_png(path: Path, array: np.ndarray, palette: Sequence[tuple[int, int, int]] | None) -> None:
    if palette is not None:
        from PIL import Image

        image = Image.fromarray(array)
        image.putpalette([number for color in palette for number in color])
        image.save(path, format="PNG")
        return
    import cv2

    codes = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    turned = array if array.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(array), codes[array.shape[2]])
    path.write_bytes(cv2.imencode(".png", turned)[1].data)


def _write_tiff(path: Path, array: np.ndarray, palette: Sequence[tuple[int, int, int]] | None) -> None:
    import tifffile

    if palette is not None:
        colors = np.zeros((256, 3), np.uint16)
        colors[: len(palette)] = np.asarray(palette, np.uint16) * 257
        tifffile.imwrite(path, array, photometric="palette", colormap=colors.T, compression="zlib")
        return
    rgb = array.ndim == 3 and array.shape[2] == 3 and array.dtype in (np.uint8, np.uint16)
    planar = {"planarconfig": "contig"} if array.ndim == 3 else {}
    photometric = "rgb" if rgb else "minisblack"
    tifffile.imwrite(path, array, photometric=photometric, compression="zlib", **planar)
