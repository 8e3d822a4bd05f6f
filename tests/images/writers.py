"""Writers of the formats that hold images in the parity tests, beside those of the package."""

import gzip
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

HEIGHT, WIDTH = 40, 60
NODATA = {"uint8": 0, "uint16": 0, "int16": -32768, "float32": -9999, "float64": -9999}


def write_pillow(suffix: str, **options):
    def write(path: Path, array: np.ndarray) -> Path:
        path = path.with_suffix(f".{suffix}")
        Image.fromarray(array.squeeze()).save(path, **options)
        return path

    return write


def write_nifti(version: int):
    """The numbers of an image as a volume of one slice; version 2 is packed."""

    def write(path: Path, array: np.ndarray) -> Path:
        code = {"uint8": 2, "int16": 4, "float32": 16, "float64": 64, "uint16": 512}[array.dtype.name]
        sizes, bits = (3, WIDTH, HEIGHT, 1, 1, 1, 1, 1), array.dtype.itemsize * 8
        head = bytearray(352 if version == 1 else 544)
        if version == 1:
            struct.pack_into("<i36x8h", head, 0, 348, *sizes)
            struct.pack_into("<hh", head, 70, code, bits)
            struct.pack_into("<3f", head, 108, 352, 0, 0)
            head[344:348] = b"n+1\0"
        else:
            struct.pack_into("<i8shh8q", head, 0, 540, b"n+2\0\r\n\x1a\n", code, bits, *sizes)
            struct.pack_into("<q2d", head, 168, 544, 0, 0)
        data = bytes(head) + array.tobytes()
        path = path.with_suffix(".nii" if version == 1 else ".nii.gz")
        path.write_bytes(data if version == 1 else gzip.compress(data))
        return path

    return write


def write_imagej(path: Path, array: np.ndarray) -> Path:
    path = path.with_suffix(".tif")
    tifffile.imwrite(path, np.moveaxis(array, -1, 0), imagej=True, metadata={"axes": "CYX"})
    return path


def write_set(path: Path, array: np.ndarray) -> Path:
    """An OME-TIFF of three files, each with one channel; the second one is named."""
    names = [f"s{number}.ome.tif" for number in range(3)]
    kind = {"float32": "float"}.get(array.dtype.name, array.dtype.name)
    channels = "".join(f'<Channel ID="Channel:0:{c}" SamplesPerPixel="1"/>' for c in range(3))
    parts = "".join(
        f'<TiffData FirstC="{c}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:0-{c}</UUID></TiffData>'
        for c, name in enumerate(names)
    )
    for c, name in enumerate(names):
        about = (
            f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:0-{c}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{kind}" '
            f'SizeX="{WIDTH}" SizeY="{HEIGHT}" SizeC="3" SizeZ="1" SizeT="1">{channels}{parts}</Pixels></Image></OME>'
        )
        tifffile.imwrite(path.with_name(name), array[..., c], description=about, metadata=None, tile=(16, 16))
    return path.with_name(names[1])


def write_lerc(path: Path, array: np.ndarray) -> Path:
    """Tiles packed by LERC, whose own mask says what is missing: in files of GDAL there is no number for it."""
    path, flat, tiles = path.with_suffix(".tif"), array[..., 0], []
    there = flat != NODATA[array.dtype.name] if array.dtype.kind in "ui" else np.isfinite(flat)
    for top in range(0, HEIGHT, 16):
        for left in range(0, WIDTH, 16):
            tile, mask = np.zeros((16, 16), array.dtype), np.zeros((16, 16), bool)
            part = flat[top : top + 16, left : left + 16]
            tile[: part.shape[0], : part.shape[1]] = part
            mask[: part.shape[0], : part.shape[1]] = there[top : top + 16, left : left + 16]
            tiles.append(bytes(imagecodecs.lerc_encode(np.where(mask, tile, 0).astype(array.dtype), masks=mask)))
    tifffile.imwrite(
        path, iter(tiles), shape=flat.shape, dtype=array.dtype, compression="lerc", tile=(16, 16),
        photometric="minisblack",
    )  # fmt: skip
    return path


WRITERS = {
    "bmp": write_pillow("bmp"),
    "gif": write_pillow("gif"),
    "webp": write_pillow("webp", lossless=True),
    "jp2": write_pillow("jp2", irreversible=False),
    "nifti 1": write_nifti(1),
    "nifti 2": write_nifti(2),
    "imagej": write_imagej,
    "ome-tiff set": write_set,
    "lerc": write_lerc,
}
