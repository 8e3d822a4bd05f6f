"""A split of a data folder as a torch data set."""

from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from atrous.data.cache import SampleCache, cache_file
from atrous.data.contents import Folder
from atrous.data.reading import landmark_arrays, read_pair, read_pair_window
from atrous.errors import DataError
from atrous.images.files import read_info
from atrous.images.raster import Fill, Raster
from atrous.types import Sample

__all__ = ["FolderDataset"]

LARGE = 1 << 26
"""Numbers of an image, pixels times channels, above which `draw` reads a region of it only."""


class FolderDataset(Dataset[Sample]):
    """The pairs of one split, read when asked for. It may be pickled, and shared between threads.

    An item holds `image` (C, H, W), the image's own numbers; `mask` (H, W), 255 where ignored, unless a test image has
    none, or (K, H, W) of floats where classes may overlap: 1, 0, or 255; `instances` (H, W), where there is such a map;
    `keypoints` (P, 2) and `visible` (P,), where there are landmarks, with `center` (2,) and `box` (4,) where all of the
    split have them; `flip_pairs`, where the classes or landmarks have some; and `index`, its position in `names`.

    Args:
        folder: an open folder.
        split: one of its splits.
        cache: "memory" keeps decoded samples in memory that loader workers share, "disk" in a file in the user's cache
            folder (ATROUS_CACHE), which later runs use too; "none" decodes anew.
        region: (height, width) that `draw` reads of a large image; None reads it as a whole.
        fill: what pixels without data hold, one value per channel: the mean of the network that will see them, as in
            prediction. None is 0.

    Raises:
        DataError: if there is no such split, or not enough room for the cache.

    Attributes:
        fill: as given; it may be set anew, because nothing that is kept holds it.
    """

    def __init__(
        self,
        folder: Folder,
        split: str,
        *,
        cache: Literal["none", "memory", "disk"] = "none",
        region: tuple[int, int] | None = None,
        fill: Fill = None,
    ) -> None:
        if split not in folder.splits:
            have = ", ".join(folder.splits)
            raise DataError(f"{folder.root}: there is no split {split!r}. Choose from: {have}.")
        if cache not in ("none", "memory", "disk"):
            raise DataError(f"data.cache: {cache!r} is not one of none, memory, disk.")
        self.folder = folder
        self.split = split
        self.pairs = folder.splits[split]
        self.region = region
        self.fill = fill
        entries = [pair.landmarks for pair in self.pairs if pair.landmarks is not None]
        # A batch holds what all of its samples have.
        self._known = {
            *(["center"] if all(entry.middle is not None for entry in entries) else []),
            *(["box"] if all(entry.box is not None for entry in entries) else []),
        }
        self._cache: SampleCache | None = None
        if cache != "none" and self.pairs:
            from atrous.fetch import cache_folder

            file = cache_file(folder, self.pairs, cache_folder() / "samples") if cache == "disk" else None
            self._cache = SampleCache(folder, self.pairs, file)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each item."""
        return tuple(pair.name for pair in self.pairs)

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of an image, from its header."""
        info = read_info(self.pairs[index].image)
        return info.height, info.width

    def __getitem__(self, index: int) -> Sample:
        raster, mask, instances = self._read(index)
        return self._complete(_sample(index, raster.filled(self.fill), mask, instances))

    def window(self, index: int, rows: slice, columns: slice) -> Sample:
        """Some rows and columns of an item. Of tiled TIFF, Zarr and NumPy files only what they touch is read.

        Raises:
            DataError: if the image does not hold them, or a file cannot be read.
        """
        if self._cache is not None:
            raster, mask, instances = self._read(index)
            window = (..., rows, columns)
            mask, instances = (None if part is None else part[window] for part in (mask, instances))
            raster = raster.cut(rows, columns)
        else:
            raster, mask, instances = read_pair_window(self.pairs[index], self.folder, rows, columns)
        sample = _sample(index, raster.filled(self.fill), mask, instances)
        return self._complete(sample, (columns.start or 0, rows.start or 0))

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """An item to augment: as a whole, or of a large image a region anywhere in it, each place as likely.

        A number is drawn for each side whatever the image, so that what follows does not depend on its size. Image and
        mask may be bytes, as they are stored: `compose` takes them so, and `transforms.in_full` turns them into the
        numbers of an item.
        """
        places = rng.random(2)
        if self.region is None:
            return self._whole(index)
        size = self.size(index)
        if size[0] * size[1] * self.folder.channels <= LARGE:
            return self._whole(index)
        sides = []
        for length, side, place in zip(size, self.region, places, strict=True):
            start = int(place * (max(length - side, 0) + 1))
            sides.append(slice(start, min(start + side, length)))
        return self.window(index, sides[0], sides[1])

    def _whole(self, index: int) -> Sample:
        """An item as it is stored, but for its pixels without data."""
        raster, mask, instances = self._read(index)
        return self._complete(_stored(index, raster.filled(self.fill), mask, instances))

    def _complete(self, sample: Sample, corner: tuple[int, int] = (0, 0)) -> Sample:
        """A sample with its landmarks, which knows what a mirror exchanges; (x, y) is its first pixel in the image."""
        entry = self.pairs[int(sample["index"])].landmarks
        for key, array in landmark_arrays(entry, corner).items():
            if key in ("keypoints", "visible") or key in self._known:
                sample[key] = torch.from_numpy(array)  # type: ignore[literal-required]
        if self.folder.classes.flip_pairs:
            sample["flip_pairs"] = torch.tensor(self.folder.classes.flip_pairs)
        return sample

    def _read(self, index: int) -> tuple[Raster, np.ndarray | None, np.ndarray | None]:
        """Image, mask and objects, from the cache where they are there."""
        cached = self._cache.get(index) if self._cache is not None else None
        if cached is not None:
            return cached
        raster, mask, instances = read_pair(self.pairs[index], self.folder)
        if self._cache is not None:
            self._cache.put(index, raster, mask, instances)
        return raster, mask, instances


def _stored(index: int, image: np.ndarray, mask: np.ndarray | None, instances: np.ndarray | None) -> Sample:
    """Arrays as tensors that share their memory; transforms leave what they are given as it is."""
    # torch cannot do much with 16 bits unsigned.
    sample: Sample = {
        "image": torch.from_numpy(image.astype(np.float32) if image.dtype == np.uint16 else image).permute(2, 0, 1),
        "index": torch.tensor(index),
    }
    if mask is not None:
        sample["mask"] = torch.from_numpy(mask)
    if instances is not None:
        kept = instances.dtype in (np.uint8, np.int32, np.int64)
        sample["instances"] = torch.from_numpy(instances if kept else instances.astype(np.int64))
    return sample


def _sample(index: int, image: np.ndarray, mask: np.ndarray | None, instances: np.ndarray | None) -> Sample:
    """Arrays as the tensors of a sample; each a copy, so that the cache stays what it is."""
    # (H, W, C) -> (C, H, W)
    pixels = torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0), dtype=np.float32))
    if np.shares_memory(pixels.numpy(), image):
        pixels = pixels.clone()
    sample: Sample = {"image": pixels, "index": torch.tensor(index)}
    if mask is not None:
        sample["mask"] = torch.from_numpy(mask.astype(np.int64 if mask.ndim == 2 else np.float32))
    if instances is not None:
        sample["instances"] = torch.from_numpy(instances.astype(np.int64))
    return sample
