"""One small sample of every format of annotations that is read, for tests over all of them."""

import base64
import io
import zlib
from pathlib import Path

import numpy as np
import roifile
from PIL import Image

from tests.labelled import SQUARE, H, W, blobs, picture, put

SIZE = f'width="{W}" height="{H}"'
FLAT = np.ravel(SQUARE).tolist()


def png(array: np.ndarray) -> str:
    """A picture as Base64 of a PNG."""
    return base64.b64encode(packed(array)).decode()


def packed(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def coco(root: Path) -> None:
    images = [{"id": n, "file_name": f"a{n}.png", "height": H, "width": W} for n in range(2)]
    runs = {"size": [H, W], "counts": [10, 20, H * W - 30]}
    rows = [{"id": 1, "image_id": 0, "category_id": 1, "segmentation": [FLAT], "area": 36, "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 1, "segmentation": runs, "area": 20, "iscrowd": 1}]  # fmt: skip
    put(root / "coco.json", {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "cell"}]})


def coco_panoptic(root: Path) -> None:
    codes = np.zeros((H, W, 3), np.uint8)
    codes[2:8, 2:8] = (0, 2, 1)  # blue, green, red: 1 + 256 * 2
    put(root / "panoptic_train/a0.png", codes)
    segments = [{"id": 513, "category_id": 1, "iscrowd": 0, "area": 36, "bbox": [2, 2, 6, 6]}]
    images = [{"id": 1, "file_name": "a0.png", "height": H, "width": W}]
    rows = [{"image_id": 1, "file_name": "a0.png", "segments_info": segments}]
    categories = [{"id": 1, "name": "cell", "isthing": 1, "color": [1, 2, 3]}]
    put(root / "panoptic_train.json", {"images": images, "annotations": rows, "categories": categories})


def labelme(root: Path) -> None:
    shapes = [{"label": "cell", "points": SQUARE, "shape_type": "polygon", "group_id": 1},
              {"label": "dot", "points": [[3, 4], [8, 9]], "shape_type": "circle"},
              {"label": "dot", "points": [[3, 4], [8, 9]], "shape_type": "mask",
               "mask": png(np.eye(6, dtype=np.uint8))}]  # fmt: skip
    sizes = {"imageHeight": H, "imageWidth": W}
    put(root / "a0.json", {"shapes": shapes, "imagePath": "a0.png", "imageData": png(picture(0)), **sizes})


def label_studio(root: Path) -> None:
    shown = {"original_width": W, "original_height": H}
    clear = np.zeros((H, W, 4), np.uint8)
    clear[2:8, 2:8, 3] = 255
    values = {
        "polygon": {"points": [[10, 10], [50, 10], [50, 50]]},
        "rectangle": {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 30},
        "ellipse": {"x": 10, "y": 10, "radiusX": 5, "radiusY": 9, "rotation": 0},
        "vector": {
            "closed": True,
            "vertices": [{"x": 1, "y": 1}, {"x": 50, "y": 1, "isBezier": True}, {"x": 9, "y": 9}],
        },
        "bitmask": {"imageDataURL": f"data:image/png;base64,{png(clear)}"},
    }
    results = [{"type": f"{kind}labels", "to_name": "img", **shown, "value": {**value, f"{kind}labels": ["cell"]}}
               for kind, value in values.items()]  # fmt: skip
    put(root / "export.json", [{"id": 1, "data": {"image": "/data/upload/1/0a1b2c3d-a0.png"},
                                "annotations": [{"result": results, "was_cancelled": False}]}])  # fmt: skip


def cvat(root: Path) -> None:
    head = "<meta><task><labels><label><name>cell</name><color>#ff0000</color></label></labels></task></meta>"
    shapes = """<polygon label="cell" z_order="1" points="2,2;8,2;8,8" group_id="3"/><mask label="cell" rle="1, 2, 3"
        left="10" top="12" width="3" height="2"/><box label="cell" xtl="0" ytl="0" xbr="4" ybr="4" rotation="3"/>
        <ellipse label="cell" cx="15" cy="16" rx="3" ry="2"/>"""
    put(root / "annotations.xml", f'<annotations>{head}<image name="a0.png" {SIZE}>{shapes}</image></annotations>')


def cvat_masks(root: Path) -> None:
    colors = np.array([(0, 0, 0), (83, 50, 250), (0, 128, 0)], np.uint8)
    put(root / "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncell:250,50,83::\ndot:0,128,0::\n")
    put(root / "ImageSets/Segmentation/default.txt", "a0\n")
    put(root / "SegmentationClass/a0.png", colors[blobs(1) % 3])


def yolo(root: Path) -> None:
    (root / "images").mkdir()
    for image in root.glob("*.png"):
        image.rename(root / "images" / image.name)
    put(root / "labels/a0.txt", "0 0.1 0.1 0.5 0.1 0.5 0.5\n1 0.5 0.5 0.9 0.5 0.9 0.9 0.5 0.9\n")
    put(root / "data.yaml", "path: .\ntrain: images\nnames: {0: cell, 1: dot}\n")


def supervisely(root: Path) -> None:
    bitmap = {"data": base64.b64encode(zlib.compress(packed(np.eye(5, dtype=bool)))).decode(), "origin": [20, 12]}
    polygon = {"exterior": SQUARE, "interior": [[[4, 4], [6, 4], [6, 6]]]}
    objects = [{"classTitle": "dot", "geometryType": "bitmap", "bitmap": bitmap},
               {"classTitle": "cell", "geometryType": "polygon", "points": polygon},
               {"classTitle": "cell", "geometryType": "rectangle",
                "points": {"exterior": [[1, 1], [3, 3]]}}]  # fmt: skip
    put(root / "ds/img/a0.png", picture(0))
    put(root / "ds/ann/a0.png.json", {"size": {"height": H, "width": W}, "tags": [{"name": "val"}], "objects": objects})
    put(root / "meta.json", {"classes": [{"title": name, "color": "#FF0000"} for name in ("cell", "dot")], "tags": []})


def qupath(root: Path) -> None:
    ring = [*SQUARE, SQUARE[0]]
    kinds = ({"type": "Polygon", "coordinates": [ring, ring]}, {"type": "MultiPolygon", "coordinates": [[ring]]})
    rows = [{"type": "Feature", "geometry": kind, "properties": {"classification": {"name": "T", "color": [1, 2, 3]}}}
            for kind in kinds]  # fmt: skip
    put(root / "a0.geojson", {"type": "FeatureCollection", "features": rows})


def imagej(root: Path) -> None:
    box = roifile.ImagejRoi(left=2, top=3, right=8, bottom=9, roitype=roifile.ROI_TYPE.RECT)
    roifile.roiwrite(root / "a0.zip", [box, roifile.ImagejRoi.frompoints(np.array(SQUARE) + 0.5)])
    box.tofile(str(root / "a1.roi"))


_ALL = (coco, coco_panoptic, labelme, label_studio, cvat, cvat_masks, yolo, supervisely, qupath, imagej)
SAMPLES = {one.__name__: one for one in _ALL}


def make(name: str, root: Path) -> Path:
    """A folder of one format, with the images a0.png and a1.png."""
    for number in range(2):
        put(root / f"a{number}.png", picture(number))
    SAMPLES[name](root)
    return root
