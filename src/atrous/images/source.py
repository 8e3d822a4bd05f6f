"""Images of any origin and size as windows: arrays, memory maps, files, tiled TIFF and Zarr larger than memory."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np

from atrous.errors import DataError

__all__ = ["ImageSource", "Source", "Window", "open_source"]

_WHOLE_FILE = 1 << 28  # bytes of pixels up to which a TIFF is read at once
_INTEGERS_HINT = "give uint8 (0 to 255), uint16 or float32, for example image.astype('uint8')"


@runtime_checkable
class ImageSource(Protocol):
    """Anything with a shape and window reads: a Zarr array, a slide reader, a class of your own.

    Attributes:
        shape: (H, W, C), or (H, W) for one channel.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, C), or (H, W) for one channel."""

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        """The pixels of some rows and columns, (h, w, C) or (h, w)."""


class Window(NamedTuple):
    """Some rows and columns of an image.

    Attributes:
        array: (h, w, C) float32 in the image's own numbers, finite.
        valid: (h, w) bool, False where there was nodata, NaN or infinity; None where all pixels are valid.
    """

    array: np.ndarray
    valid: np.ndarray | None


class Source:
    """An opened image: its size, its kind of numbers, and windows of it. Close it, or use it in a `with`.

    Args:
        name: what messages call it.
        pixels: an array, or an `ImageSource`.
        axes: which dimension of it is which: "YX", "YXC" or "CYX".
        valid: (H, W) bool, False where pixels count for nothing.
        nodata: a value that stands for "nothing measured here".
        channels: how many of its channels are used, the first ones; None for all.

    Raises:
        DataError: if its numbers or its shape are not those of an image.
    """

    def __init__(
        self,
        name: str,
        pixels: Any,
        *,
        axes: str | None = None,
        valid: np.ndarray | None = None,
        nodata: float | None = None,
        channels: int | None = None,
    ) -> None:
        self.name = name
        self.axes = axes or ("YX" if len(pixels.shape) == 2 else "YXC")
        self._pixels, self._valid, self._nodata = pixels, valid, nodata
        if len(pixels.shape) != len(self.axes) or 0 in pixels.shape:
            raise DataError(f"{name} has the shape {tuple(pixels.shape)}; an image is (H, W) or (H, W, C), none 0")
        sizes = dict(zip(self.axes, pixels.shape, strict=True))
        self._channels = slice(channels)
        self.shape = (int(sizes["Y"]), int(sizes["X"]), int(channels or sizes.get("C", 1)))
        dtype = getattr(pixels, "dtype", None)
        self.kind = _kind(np.dtype(dtype if dtype is not None else self._crop(slice(0, 1), slice(0, 1)).dtype), name)
        self._open_files = ExitStack()

    def read(self, rows: slice, columns: slice, fill: np.ndarray | None = None) -> Window:
        """The pixels of some rows and columns.

        Args:
            rows: start and stop within the image.
            columns: start and stop within the image.
            fill: what invalid pixels hold, one value per channel; 0 where none is given.

        Raises:
            DataError: if the file is damaged there.
        """
        try:
            raw = self._crop(rows, columns)
        except (OSError, ValueError, RuntimeError, KeyError, IndexError) as error:
            text = (str(error).splitlines() or [type(error).__name__])[0]
            where = f"rows {rows.start} to {rows.stop} and columns {columns.start} to {columns.stop}"
            raise DataError(f"{self.name}: {where} cannot be read ({text}); copy or export the file again") from error
        valid = None if self._valid is None else np.asarray(self._valid[rows, columns], dtype=bool)
        measured = _measured(raw, self._nodata)
        if measured is not None:
            valid = measured if valid is None else valid & measured
        array = np.array(raw, dtype=np.float32)  # a copy: what was given is not written to
        if measured is not None:
            array[~measured] = 0 if fill is None else fill
        return Window(array, None if valid is None or valid.all() else valid)

    def closing(self, *close: Callable[[], object]) -> Self:
        """Call these when the source is closed."""
        for call in close:
            self._open_files.callback(call)
        return self

    def close(self) -> None:
        """Let go of the file."""
        self._open_files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _crop(self, rows: slice, columns: slice) -> np.ndarray:
        if self.axes == "CYX":
            return np.moveaxis(np.asarray(self._pixels[self._channels, rows, columns]), 0, -1)  # (C, h, w) -> (h, w, C)
        window = np.asarray(self._pixels[rows, columns])
        return window[..., None] if self.axes == "YX" else window[..., self._channels]


def open_source(image: Any, *, channels: int | None = None) -> Source:
    """Open an image, wherever it is.

    Args:
        image: a path (PNG, JPEG, TIFF, BMP, GIF, WebP, `.npy`, `.zarr`), an array of (H, W) or (H, W, C), anything that
            NumPy takes for one, or an `ImageSource`. Files larger than 256 MiB of pixels are read by windows where the
            format allows: TIFF that is not turned and has no palette, `.npy`, Zarr.
        channels: how many channels are needed: decides whether an alpha channel is kept.

    Raises:
        DataError: if it is not there, is damaged, or is not an image.
    """
    if isinstance(image, Source):
        return image
    if isinstance(image, str | Path):
        return _open_path(Path(image), channels)
    if isinstance(image, np.ndarray):
        return Source("the array", image)
    if isinstance(image, ImageSource) and not hasattr(image, "numpy"):
        return Source(str(getattr(image, "name", "") or f"the {type(image).__name__}"), image)
    try:
        array = np.asarray(image)
    except (TypeError, ValueError, RuntimeError):
        array = np.empty((), object)
    if array.ndim < 2:
        raise DataError(f"a {type(image).__name__} is not an image: give a path, an array of (H, W) or (H, W, C)")
    return Source(f"the {type(image).__name__}", array)


def _open_path(path: Path, channels: int | None) -> Source:
    if not path.exists():
        raise DataError(f"{path}: there is no such file. Check the name.")
    if path.suffix.lower() == ".zarr":
        return _open_zarr(path)
    if path.suffix.lower() == ".npy":
        try:
            return Source(str(path), np.load(path, mmap_mode="r"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as an array ({error}); save it again with numpy.save") from error
    from atrous.images.files import read_image, read_info

    info = read_info(path)
    if path.suffix.lower() in (".tif", ".tiff"):
        large = info.height * info.width * info.channels * np.dtype(info.kind).itemsize > _WHOLE_FILE
        source = _open_tiff(path, channels) if large else None
        if source is not None:
            return source
    # Only where the alpha channel is one of those that are needed is it kept although it be constant.
    raster = read_image(path, channels=channels if channels == info.channels else None)
    return Source(str(path), raster.array, valid=raster.valid)


def _open_zarr(path: Path) -> Source:
    import zarr

    try:
        array = zarr.open(path, mode="r")
    except Exception as error:  # zarr and its stores raise what they like
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: cannot be read as Zarr ({text}); is it complete?") from error
    if not isinstance(array, zarr.Array):
        inside = ", ".join(sorted(array.array_keys())) or "none"
        raise DataError(f"{path}: is a group of arrays ({inside}), and one array is needed; name it: {path}/ARRAY")
    return Source(str(path), array)


def _open_tiff(path: Path, channels: int | None) -> Source | None:
    """A TIFF by windows, or None where its pixels mean something else than they say."""
    import tifffile
    import zarr

    from atrous.images.tiff import tiff_header

    header = tiff_header(path)  # refuses stacks
    with tifffile.TiffFile(path) as tif:
        page, series = tif.pages[0], tif.series[0]
        axes = series.axes.replace("S", "C")
        plain = page.photometric not in (0, 3) and header.orientation == 1 and np.dtype(header.dtype) != np.bool_
        masked = any(p.is_mask for p in tif.pages[1:])
        nodata = _nodata(page.tags.get("GDAL_NODATA"))
    if not plain or masked or axes not in ("YX", "YXC", "CYX"):
        return None
    store = tifffile.imread(path, aszarr=True, series=0, level=0)
    used = header.channels - 1 if header.alpha and channels == header.channels - 1 else None
    array = zarr.open(store, mode="r")
    return Source(str(path), array, axes=axes, nodata=nodata, channels=used).closing(store.close)


def _nodata(tag: Any) -> float | None:
    text = "" if tag is None else str(tag.value).strip("\0 ")
    return float(text) if text else None


def _measured(raw: np.ndarray, nodata: float | None) -> np.ndarray | None:
    """(h, w), True where the numbers count, or None where all do; as `atrous.images.files` counts them."""
    if raw.dtype.kind == "f":
        bad = ~np.isfinite(raw)
        if nodata is not None:
            bad |= raw == raw.dtype.type(nodata)
        return ~bad.any(axis=2) if bad.any() else None
    if nodata is None or not np.isfinite(nodata):
        return None
    # In integers 0 is often nodata and an honest number too: a pixel counts unless all its channels have it.
    return (raw != nodata).any(axis=2)


def _kind(dtype: np.dtype, name: str) -> str:
    if dtype.kind == "f":
        return "float32"
    if dtype not in (np.uint8, np.uint16):
        raise DataError(f"{name} holds {dtype} numbers: {_INTEGERS_HINT}")
    return dtype.name
