"""Miniatures of all layouts of data: images of noise, and masks of upright stripes of the layout's values."""

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import tifffile
import zarr
from PIL import Image

from atrous.data.datasets.base import voc_colors
from atrous.data.datasets.camvid import CAMVID32_COLORS

SIZE = (24, 36)
VOC_PALETTE = [number for color in voc_colors(256) for number in color]


def photo(seed: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    """A picture of noise, another for every seed."""
    shape = SIZE if channels == 1 else (*SIZE, channels)
    return np.random.default_rng(seed).integers(1, 256, shape).astype(dtype)


def stripes(*values: int, dtype: type = np.uint8) -> np.ndarray:
    """A mask of upright stripes, one for each of the values."""
    which = np.arange(SIZE[1]) * len(values) // SIZE[1]
    return np.ascontiguousarray(np.broadcast_to(np.asarray(values, dtype)[which], SIZE))


def cells(dtype: type = np.uint16) -> np.ndarray:
    """Numbered objects, two of which touch."""
    numbers = np.zeros(SIZE, dtype)
    numbers[3:12, 2:12], numbers[3:12, 12:22], numbers[14:22, 5:30] = 1, 2, 3
    return numbers


def put(root: Path, name: str, content: object, palette: list[int] | None = None) -> None:
    """Write an array, a text or bytes under a path, and make the folders on the way."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".npy":
        np.save(path, np.asarray(content))
    elif path.suffix == ".zarr":
        zarr.save(path, np.asarray(content))
    elif path.suffix == ".tif":
        array = np.asarray(content)
        colors = array.ndim == 3 and array.shape[2] == 3
        tifffile.imwrite(path, array, photometric="rgb" if colors else "minisblack")
    elif palette or path.suffix == ".gif":
        image = Image.fromarray(np.asarray(content))
        if palette:
            image.putpalette(palette)
        image.save(path)
    else:
        array = np.asarray(content)
        cv2.imwrite(str(path), array[..., ::-1] if array.ndim == 3 else array)


def nifti(volume: np.ndarray) -> bytes:
    """A NIfTI-1 file of a (Z, Y, X) volume of bytes, turned and placed in space."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, *volume.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", head, 70, 2, 8)
    struct.pack_into("<8f", head, 76, 1, 0.5, 0.5, 2, 1, 1, 1, 1)
    struct.pack_into("<3f", head, 108, 352, 0, 0)
    struct.pack_into("<2h", head, 252, 0, 1)  # the affine below
    struct.pack_into("<12f", head, 280, -0.5, 0, 0, 90, 0, 0.5, 0, -126, 0, 0, 2, -72)
    head[344:348] = b"n+1\0"
    return gzip.compress(bytes(head) + volume.tobytes())


def side_by_side(*values: int, table: str = "", dtype: type = np.uint8) -> Callable[[Path], None]:
    """images/ and masks/, and perhaps a class table."""

    def make(root: Path) -> None:
        for n in range(4):
            put(root, f"images/{n}.png", photo(n))
            put(root, f"masks/{n}.png", stripes(*values[n % 2 :], *values[: n % 2], dtype=dtype))
        if table:
            put(root, "classes.yaml", table)

    return make


def colored(root: Path) -> None:
    """Masks in colours, RGB and with a palette of each file's own."""
    colors = [(0x78, 0x5A, 0x28), (0, 255, 0), (255, 0, 0), (0, 0, 0)]
    rows = ", ".join(f'{{name: c{k}, color: "#{bytes(color).hex()}"}}' for k, color in enumerate(colors[:3]))
    put(root, "classes.yaml", f'classes: [{rows}]\nignore: ["#000000"]')
    for n in range(4):
        put(root, f"images/{n}.png", photo(n))
        order = np.roll(np.arange(4), n)
        if n % 2:
            put(root, f"masks/{n}.png", np.asarray(colors, np.uint8)[stripes(0, 1, 2, 3)])
        else:
            put(root, f"masks/{n}.png", stripes(0, 1, 2, 3), [part for k in order for part in colors[k]])


def voc(root: Path) -> None:
    for n, name in enumerate(("2007_000001", "2007_000002", "2008_000003")):
        put(root, f"JPEGImages/{name}.png", photo(n))
        put(root, f"SegmentationClass/{name}.png", stripes(0, 15, 255), VOC_PALETTE)
        put(
            root,
            f"ImageSets/Segmentation/{'train' if n < 2 else 'val'}.txt",
            "2007_000001\n2007_000002\n" if n < 2 else name,
        )


def camvid(root: Path) -> None:
    for n, (split, name) in enumerate(
        (("train", "0001TP_006690"), ("train", "0006R0_f00930"), ("val", "0016E5_07959"))
    ):
        put(root, f"{split}/{name}.png", photo(n))
        put(root, f"{split}annot/{name}.png", stripes(0, 10, 11, 3))


def camvid32(root: Path) -> None:
    mask = np.zeros((*SIZE, 3), np.uint8)
    mask[:, 10:20], mask[:, 20:] = CAMVID32_COLORS["Car"], CAMVID32_COLORS["Sky"]
    for n in range(4):
        put(root, f"701_StillsRaw_full/0001TP_00{n}.png", photo(n))
        put(root, f"LabeledApproved_full/0001TP_00{n}_L.png", mask)


def cityscapes(root: Path, kind: str = "labelIds", values: tuple[int, ...] = (0, 7, 26, 33)) -> None:
    for n, (split, city) in enumerate((("train", "aachen"), ("train", "ulm"), ("val", "lindau"), ("test", "bonn"))):
        name = f"{split}/{city}/{city}_000000_000019"
        put(root, f"leftImg8bit/{name}_leftImg8bit.png", photo(n))
        put(root, f"gtFine/{name}_gtFine_{kind}.png", stripes(*values))


def ade20k(root: Path) -> None:
    for n, (split, word) in enumerate((("training", "train"), ("validation", "val"))):
        put(root, f"images/{split}/ADE_{word}_0000000{n}.png", photo(n))
        put(root, f"annotations/{split}/ADE_{word}_0000000{n}.png", stripes(0, 1, 150))


def coco(root: Path) -> None:
    for n, split in enumerate(("train", "val")):
        put(root, f"{split}2017/{n:012}.png", photo(n))
        rows = [
            {"id": k, "image_id": 1, "category_id": 7 - 4 * k, "segmentation": [square], "iscrowd": 0, "area": 9 - k}
            for k, square in enumerate(([2, 2, 20, 2, 20, 20, 2, 20], [4, 4, 8, 4, 8, 8, 4, 8]))
        ]
        image = {"id": 1, "file_name": f"{n:012}.png", "height": SIZE[0], "width": SIZE[1]}
        categories = [{"id": 7, "name": "train"}, {"id": 3, "name": "car"}]
        table = {"images": [image], "categories": categories, "annotations": rows}
        put(root, f"annotations/instances_{split}2017.json", json.dumps(table))


def coco_stuff(root: Path) -> None:
    for n, split in enumerate(("train2017", "val2017")):
        put(root, f"images/{split}/{n:012}.png", photo(n))
        put(root, f"stuffthingmaps/{split}/{n:012}.png", stripes(0, 89, 91, 181, 255))


def stanford(root: Path) -> None:
    for n in range(4):
        put(root, f"images/000{n}.png", photo(n))
        rows = np.where(stripes(9, 0, 7, 3) == 9, -1, stripes(9, 0, 7, 3).astype(int))
        put(root, f"labels/000{n}.regions.txt", "\n".join(" ".join(map(str, row)) for row in rows))


def pets(root: Path) -> None:
    for n in range(4):
        put(root, f"images/Abyssinian_{n}.png", photo(n))
        put(root, f"annotations/trimaps/Abyssinian_{n}.png", stripes(1, 2, 3))
    put(root, "annotations/trainval.txt", "\n".join(f"Abyssinian_{n} 1 1 1" for n in range(4)))


def drive(root: Path) -> None:
    field = np.zeros(SIZE, np.uint8)
    field[2:-2, 2:-2] = 255
    for n in range(21, 25):
        put(root, f"training/images/{n}_training.tif", photo(n))
        put(root, f"training/1st_manual/{n}_manual1.gif", stripes(0, 255))
        put(root, f"training/mask/{n}_training_mask.gif", field)


def isbi2012(root: Path) -> None:
    put(root, "train-volume.tif", np.stack([photo(n, 1) for n in range(5)]))
    put(root, "train-labels.tif", np.stack([stripes(0, 255)] * 5))


def ctc(root: Path) -> None:
    for film in ("01", "02"):
        put(root, f"{film}/t002.tif", photo(int(film), 1, np.uint16))
        put(root, f"{film}_GT/TRA/man_track002.tif", cells())
        put(root, f"{film}_GT/SEG/man_seg002.tif", cells())


def dsb2018(root: Path) -> None:
    for n, name in enumerate(("aa", "bb", "cc")):
        put(root, f"stage1_train/{name}/images/{name}.png", photo(n))
        for number in (1, 2, 3):
            put(root, f"stage1_train/{name}/masks/{number}.png", (cells() == number).astype(np.uint8) * 255)


def ctc_volumes(root: Path) -> None:
    """Outlines of two slices of five."""
    put(root, "01/t000.tif", np.stack([photo(n, 1) for n in range(5)]))
    for z in (1, 3):
        put(root, f"01_GT/SEG/man_seg_000_{z:03}.tif", cells())


def cellpose(root: Path) -> None:
    for n in range(4):
        put(root, f"{n}.tif", photo(n, 1))
        put(root, f"{n}_masks.tif", cells())


def hyperstack(root: Path) -> None:
    """Two channels of three slices, and masks of the slices."""
    pages = np.stack([photo(n, 1) for n in range(6)]).reshape(3, 2, *SIZE)
    tifffile.imwrite(root / "a.tif", pages, imagej=True, metadata={"axes": "ZCYX"})
    put(root, "a_masks.tif", np.stack([cells()] * 3))


def sbd(root: Path) -> None:
    from scipy.io import savemat

    for n, name in enumerate(("2008_000001", "2008_000002", "2008_000003")):
        put(root, f"dataset/img/{name}.png", photo(n))
        for folder, key, mask in (("cls", "GTcls", stripes(0, 7, 20)), ("inst", "GTinst", stripes(0, 1, 2))):
            (root / "dataset" / folder).mkdir(exist_ok=True)
            savemat(root / "dataset" / folder / f"{name}.mat", {key: {"Segmentation": mask, "Boundaries": 0}})
    put(root, "dataset/train.txt", "2008_000001\n2008_000002")
    put(root, "dataset/val.txt", "2008_000003")


def coco_panoptic(root: Path) -> None:
    segments = stripes(0, 5, 6, 7)
    picture = np.stack([segments, 0 * segments, 0 * segments], axis=2)
    rows = [{"id": 5, "category_id": 9}, {"id": 6, "category_id": 18}, {"id": 7, "category_id": 18}]
    categories = [{"id": 18, "name": "dog", "isthing": 1}, {"id": 9, "name": "sky", "isthing": 0}]
    for n, split in enumerate(("train2017", "val2017")):
        put(root, f"{split}/{n:012}.png", photo(n))
        put(root, f"annotations/panoptic_{split}/{n:012}.png", picture)
        image = {"id": n, "file_name": f"{n:012}.png", "height": SIZE[0], "width": SIZE[1]}
        row = {"image_id": n, "file_name": f"{n:012}.png", "segments_info": [{**one, "iscrowd": 0} for one in rows]}
        table = {"images": [image], "annotations": [row], "categories": categories}
        put(root, f"annotations/panoptic_{split}.json", json.dumps(table))


def nnunet_table(root: Path, ending: str, labels: dict[str, object], channels: int) -> None:
    names = {str(channel): f"c{channel}" for channel in range(channels)}
    put(root, "dataset.json", json.dumps({"channel_names": names, "labels": labels, "file_ending": ending}))


def nnunet(root: Path, labels: dict[str, object] | None = None) -> None:
    for case in range(4):
        for channel in range(2):
            put(root, f"imagesTr/cell_{case:03}_{channel:04}.png", photo(10 * case + channel, 1))
        put(root, f"labelsTr/cell_{case:03}.png", stripes(0, 1, 2, 3))
    nnunet_table(root, ".png", labels or {"background": 0, "edge": 2, "cell": 1, "ignore": 3}, 2)


def nnunet_regions(root: Path) -> None:
    nnunet(root, {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3})


def nnunet_tiff(root: Path) -> None:
    for n, case in enumerate("ab"):
        put(root, f"imagesTr/{case}_0000.tif", np.stack([photo(9 * n + z, 1) for z in range(3)]))
        put(root, f"labelsTr/{case}.tif", np.stack([stripes(0, 2, 1)] * 3))
    nnunet_table(root, ".tif", {"background": 0, "edge": 2, "cell": 1}, 1)


def nnunet_nifti(root: Path) -> None:
    for n, case in enumerate("ab"):
        for channel in range(2):
            volume = np.stack([photo(9 * n + 3 * channel + z, 1) for z in range(3)])
            put(root, f"imagesTr/{case}_{channel:04}.nii.gz", nifti(volume))
        put(root, f"labelsTr/{case}.nii.gz", nifti(np.stack([stripes(0, 2, 1)] * 3)))
    nnunet_table(root, ".nii.gz", {"background": 0, "edge": 2, "cell": 1}, 2)


def mmseg(root: Path) -> None:
    for n, split in enumerate(("train", "val")):
        put(root, f"img_dir/{split}/a{n}.png", photo(n))
        put(root, f"ann_dir/{split}/a{n}_labelTrainIds.png", stripes(0, 1, 2))


def stacks(root: Path) -> None:
    put(root, "images/a.tif", np.stack([photo(n, 1, np.uint16) for n in range(4)]))
    put(root, "masks/a.tif", np.stack([stripes(0, 1, 2, 255)] * 4))


def class_folders(root: Path) -> None:
    for n in range(4):
        put(root, f"images/{n}.png", photo(n))
        put(root, f"masks/cell/{n}.png", stripes(255, 255, 0))
        put(root, f"masks/edge/{n}.png", stripes(0, 255, 255))


def arrays(root: Path) -> None:
    for n in range(4):
        put(root, f"images/{n}.zarr", photo(n, 3, np.uint16))
        put(root, f"masks/{n}.npy", stripes(0, 1, 255))


def array_planes(root: Path) -> None:
    for n in range(4):
        put(root, f"images/{n}.npy", photo(n))
        put(root, f"masks/{n}.npy", np.stack([stripes(1, 1, 0), stripes(0, 1, 1), stripes(0, 0, 1)]))


def objects(root: Path) -> None:
    for n in range(4):
        put(root, f"images/{n}.png", photo(n))
        put(root, f"instances/{n}.png", cells())


def geotiff(root: Path) -> None:
    """Georeferenced images a part of which holds no data."""
    place = [(33550, 12, 3, (0.5, 0.5, 0), True), (33922, 12, 6, (0, 0, 0, 4e5, 5e6, 0), True)]
    keys = [(34735, 3, 8, (1, 1, 0, 1, 3072, 0, 1, 32633), True), (42113, 2, 0, "-9999", True)]
    for n in range(4):
        image = photo(n, 1).astype(np.float32)
        image[:5] = -9999
        (root / "images").mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(root / f"images/{n}.tif", image, extratags=[*place, *keys])
        put(root, f"masks/{n}.png", stripes(0, 1, 2))


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "0, 1, 2, 255": side_by_side(0, 1, 2, 255),
    "0, 255": side_by_side(0, 255),
    "cell 1, background 0": side_by_side(0, 1, table="classes: [{name: cell, value: 1}, {name: background, value: 0}]"),
    "merged": side_by_side(0, 1, 2, table="classes: [{name: soil, value: 0}, {name: plant, value: [2, 1]}]"),
    "16 bits": side_by_side(
        0,
        300,
        1000,
        table="classes: [{name: a, value: 1000}, {name: b, value: 0}, {name: c, value: 300}]",
        dtype=np.uint16,
    ),
    "255 and nothing ignored": side_by_side(
        10, 255, 7, table="classes: [{name: a, value: 255}, {name: b, value: 10}, {name: c, value: 7}]\nignore: []"
    ),
    "colors": colored,
    "objects": objects,
    "geotiff": geotiff,
    "voc": voc,
    "camvid": camvid,
    "camvid32": camvid32,
    "cityscapes": cityscapes,
    "cityscapes trainIds": lambda root: cityscapes(root, "labelTrainIds", (255, 0, 13, 18)),
    "ade20k": ade20k,
    "coco": coco,
    "coco_stuff": coco_stuff,
    "stanford": stanford,
    "pets": pets,
    "drive": drive,
    "isbi2012": isbi2012,
    "ctc": ctc,
    "ctc volumes": ctc_volumes,
    "cellpose": cellpose,
    "hyperstack": hyperstack,
    "sbd": sbd,
    "coco_panoptic": coco_panoptic,
    "dsb2018": dsb2018,
    "nnunet": nnunet,
    "nnunet regions": nnunet_regions,
    "nnunet tiff": nnunet_tiff,
    "nnunet nifti": nnunet_nifti,
    "mmseg": mmseg,
    "stacks": stacks,
    "class_folders": class_folders,
    "arrays": arrays,
    "array planes": array_planes,
}
