"""Small data sets in every format, one file of which is to be damaged: see `fuzz_damage`."""

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["FORMATS", "Case", "make_case"]

COUNT, SIZE = 6, (24, 32)
"""Images of a data set, and their height and width."""
Save = Callable[[Path, np.ndarray], object]
"""Writes an image or a mask."""


class Case(NamedTuple):
    """A data set with one file to be damaged.

    Attributes:
        data: the folder.
        target: the file to damage.
        annotations: what `convert` reads, where it reads annotations.
        bundle: what predicts: "colour", "grey16" or "plain" (one channel, float32); or the folder with the target.
        reads: the commands that read the target.
    """

    data: Path
    target: Path
    bundle: str
    reads: tuple[str, ...] = ("check", "predict", "train", "convert")
    annotations: Path | None = None


def make_case(name: str, root: Path, rng: np.random.Generator) -> Case:
    """A sound data set of a format, and which of its files is to be damaged."""
    return FORMATS[name](root, rng)


def _pictures(channels: int, dtype: type, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images whose bright pixels are class 1."""
    made = []
    for _ in range(COUNT):
        mask = np.zeros(SIZE, np.uint8)
        row, column = rng.integers(2, 10, size=2)
        mask[row : row + 10, column : column + 14] = 1
        noise = rng.integers(0, 60, (*SIZE, channels))
        made.append(((noise + mask[..., None] * 150).astype(dtype).squeeze(), mask))
    return made


def _write(
    root: Path,
    ending: str,
    save: Save,
    channels: int,
    dtype: type,
    rng: np.random.Generator,
    *,
    mask_ending: str = "",
    save_mask: Save | None = None,
) -> Path:
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for number, (image, mask) in enumerate(_pictures(channels, dtype, rng)):
        save(root / "images" / f"im{number}{ending}", image)
        (save_mask or save)(root / "masks" / f"im{number}{mask_ending or ending}", mask)
    return root


def _chosen(root: Path, rng: np.random.Generator, bundle: str, *, masks: float = 0.35) -> Case:
    """One image or mask of a folder."""
    is_mask = rng.random() < masks
    files = sorted((root / ("masks" if is_mask else "images")).iterdir())
    target = files[int(rng.integers(len(files)))]
    if target.is_dir():
        inside = sorted(path for path in target.rglob("*") if path.is_file())
        target = inside[int(rng.integers(len(inside)))]
    reads = ("check", "train", "convert") if is_mask else ("check", "predict", "train", "convert")
    return Case(root, target, bundle, reads)


def _save_picture(path: Path, image: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(image).save(path)


def _png(root: Path, rng: np.random.Generator) -> Case:
    return _chosen(_write(root, ".png", _save_picture, 3, np.uint8, rng), rng, "colour")


def _jpeg(root: Path, rng: np.random.Generator) -> Case:
    data = _write(root, ".jpg", _save_picture, 3, np.uint8, rng, mask_ending=".png")
    return _chosen(data, rng, "colour", masks=0.1)


def _striped_tiff(root: Path, rng: np.random.Generator) -> Case:
    import tifffile

    def save(path: Path, image: np.ndarray) -> None:
        tifffile.imwrite(path, image, rowsperstrip=8, compression="lzw")

    return _chosen(_write(root, ".tif", save, 1, np.uint16, rng), rng, "grey16")


def _tiled_tiff(root: Path, rng: np.random.Generator) -> Case:
    import tifffile

    compression = str(rng.choice(["deflate", "none", "jpeg"]))

    def save(path: Path, image: np.ndarray) -> None:
        tifffile.imwrite(path, image, tile=(16, 16), compression=None if compression == "none" else compression)

    def save_mask(path: Path, mask: np.ndarray) -> None:
        tifffile.imwrite(path, mask, tile=(16, 16), compression="deflate")

    return _chosen(_write(root, ".tif", save, 3, np.uint8, rng, save_mask=save_mask), rng, "colour")


def _numpy(root: Path, rng: np.random.Generator) -> Case:
    return _chosen(_write(root, ".npy", np.save, 1, np.float32, rng), rng, "plain")


def _zarr(root: Path, rng: np.random.Generator) -> Case:
    import zarr

    version = int(rng.choice([2, 3]))

    def save(path: Path, image: np.ndarray) -> None:
        array = zarr.create_array(str(path), shape=image.shape, chunks=(16, 16), dtype=image.dtype, zarr_format=version)
        array[...] = image

    return _chosen(
        _write(root, ".zarr", save, 1, np.uint16, rng, mask_ending=".png", save_mask=_save_picture), rng, "grey16"
    )


def _nifti(root: Path, rng: np.random.Generator) -> Case:
    ending = str(rng.choice([".nii", ".nii.gz"]))

    def save(path: Path, image: np.ndarray) -> None:
        kind, bits = {"uint8": (2, 8), "float32": (16, 32)}[image.dtype.name]
        dimensions = (3, image.shape[1], image.shape[0], 1, 1, 1, 1, 1)
        head = struct.pack("<i35xB8h14x2hh8f", 348, 0, *dimensions, kind, bits, 0, *[1.0] * 8) + struct.pack(
            "<3f", 352, 1, 0
        )
        content = head.ljust(344, b"\0") + b"n+1\0" + bytes(4) + image.tobytes()
        path.write_bytes(gzip.compress(content, mtime=0) if ending == ".nii.gz" else content)

    (root / "imagesTr").mkdir(parents=True)
    (root / "labelsTr").mkdir()
    for number, (image, mask) in enumerate(_pictures(1, np.float32, rng)):
        save(root / "imagesTr" / f"im{number}_0000{ending}", image)
        save(root / "labelsTr" / f"im{number}{ending}", mask)
    table = {
        "channel_names": {"0": "light"},
        "labels": {"background": 0, "cell": 1},
        "numTraining": COUNT,
        "file_ending": ending,
    }
    (root / "dataset.json").write_text(json.dumps(table, indent=1))
    files = [*sorted(root.glob("*Tr/*")), root / "dataset.json"]
    return Case(root, files[int(rng.integers(len(files)))], "plain", ("check", "train", "convert"))


def _images_only(root: Path, rng: np.random.Generator) -> list[str]:
    root.mkdir(parents=True)
    names = [f"im{number}.png" for number in range(COUNT)]
    for name, (image, _) in zip(names, _pictures(3, np.uint8, rng), strict=True):
        _save_picture(root / name, image)
    return names


def _coco(root: Path, rng: np.random.Generator) -> Case:
    names, height, width = _images_only(root / "train2017", rng), *SIZE
    entries = [{"id": i, "file_name": name, "height": height, "width": width} for i, name in enumerate(names)]
    rle = {"size": [height, width], "counts": [10, 20, height * width - 30]}
    shapes = [[[3, 3, 15, 3, 15, 12, 3, 12]], rle]
    annotations = [
        {"id": i + 1, "image_id": i % COUNT, "category_id": 1 + i % 2, "bbox": [3, 3, 12, 9], "area": 108,
         "iscrowd": int(i % 2), "segmentation": shapes[i % 2]} for i in range(2 * COUNT)
    ]  # fmt: skip
    categories = [{"id": 1, "name": "cell", "supercategory": ""}, {"id": 2, "name": "dirt", "supercategory": ""}]
    target = root / "annotations" / "instances_train2017.json"
    target.parent.mkdir()
    target.write_text(json.dumps({"images": entries, "categories": categories, "annotations": annotations}, indent=1))
    return Case(root, target, "colour", ("check", "train", "convert"), target)


def _labelme(root: Path, rng: np.random.Generator) -> Case:
    names = _images_only(root, rng)
    for name in names:
        shapes = [
            {"label": "cell", "points": [[2, 2], [14, 3], [12, 13]], "shape_type": "polygon", "group_id": None},
            {"label": "dirt", "points": [[4, 4], [9, 9]], "shape_type": "rectangle", "group_id": 1, "flags": {}},
            {"label": "cell", "points": [[20, 12], [24, 12]], "shape_type": "circle", "group_id": 1, "flags": {}},
        ]  # fmt: skip
        table = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": name, "imageData": None,
                 "imageHeight": SIZE[0], "imageWidth": SIZE[1]}  # fmt: skip
        (root / name).with_suffix(".json").write_text(json.dumps(table, indent=1))
    target = root / f"im{int(rng.integers(COUNT))}.json"
    return Case(root, target, "colour", ("convert",), root)


def _label_studio(root: Path, rng: np.random.Generator) -> Case:
    names, tasks = _images_only(root / "images", rng), []
    for number, name in enumerate(names):
        size = {"original_width": SIZE[1], "original_height": SIZE[0], "from_name": "label", "to_name": "image"}
        polygon = {"points": [[10, 10], [60, 12], [50, 70]], "polygonlabels": ["cell"]}
        box = {"x": 20, "y": 20, "width": 30, "height": 40, "rotation": 10, "rectanglelabels": ["dirt"]}
        result = [
            {**size, "id": "a", "type": "polygonlabels", "value": polygon},
            {**size, "id": "b", "type": "rectanglelabels", "value": box},
        ]
        tasks.append(
            {
                "id": number,
                "data": {"image": f"/data/upload/1/{name}"},
                "annotations": [{"id": number, "result": result}],
            }
        )
    target = root / "export.json"
    target.write_text(json.dumps(tasks, indent=1))
    return Case(root, target, "colour", ("convert",), target)


def _cvat(root: Path, rng: np.random.Generator) -> Case:
    names = _images_only(root / "images", rng)
    shapes = (
        '<polygon label="cell" points="2.0,2.0;14.0,3.0;12.0,13.0" z_order="0" occluded="0"></polygon>\n'
        '<box label="dirt" xtl="3" ytl="4" xbr="9" ybr="12" z_order="1" occluded="0" rotation="20"></box>\n'
        '<mask label="cell" rle="3, 4, 5" left="2" top="3" width="4" height="3" z_order="2" occluded="0"></mask>\n'
    )
    images = "".join(
        f'<image id="{number}" name="{name}" width="{SIZE[1]}" height="{SIZE[0]}">\n{shapes}</image>\n'
        for number, name in enumerate(names)
    )
    target = root / "annotations.xml"
    target.write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n{images}</annotations>\n'
    )
    return Case(root, target, "colour", ("convert",), target)


def _classes(root: Path, rng: np.random.Generator) -> Case:
    data = _write(root, ".png", _save_picture, 3, np.uint8, rng)
    target = root / "classes.yaml"
    target.write_text(
        'classes:\n  - {name: background, value: 0, color: "#000000"}\n  - name: cell\n    value: 1\nignore: [255]\n'
    )
    return Case(data, target, "colour", ("check", "train", "convert"))


def _recipe(root: Path, rng: np.random.Generator) -> Case:
    data = _write(root, ".png", _save_picture, 3, np.uint8, rng)
    return Case(data, root / "recipe.yaml", "colour", ("train",))


def _bundle(root: Path, rng: np.random.Generator) -> Case:
    data = _write(root, ".png", _save_picture, 3, np.uint8, rng)
    names = ("recipe.yaml", "classes.json", "metrics.json", "model.safetensors")
    return Case(data, root / "bundle" / str(rng.choice(names)), "own", ("predict", "evaluate"))


def _run(root: Path, rng: np.random.Generator) -> Case:
    data = _write(root, ".png", _save_picture, 3, np.uint8, rng)
    names = (
        "run.json",
        "log.csv",
        "recipe.yaml",
        "environment.json",
        "check.json",
        "evaluation.json",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
    )
    return Case(data, root / "run" / str(rng.choice(names)), "own", ("resume", "report"))


FORMATS: dict[str, Callable[[Path, np.random.Generator], Case]] = {
    "png": _png,
    "jpeg": _jpeg,
    "tiff in strips": _striped_tiff,
    "tiff in tiles": _tiled_tiff,
    "numpy": _numpy,
    "zarr": _zarr,
    "nifti": _nifti,
    "coco": _coco,
    "labelme": _labelme,
    "label studio": _label_studio,
    "cvat": _cvat,
    "classes.yaml": _classes,
    "recipe": _recipe,
    "bundle": _bundle,
    "run": _run,
}
