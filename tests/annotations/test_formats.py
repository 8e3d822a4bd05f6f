"""YOLO, Supervisely, QuPath, ImageJ, CVAT's masks and COCO panoptic: what their own tools write, pixel for pixel."""

import base64
import io
import sys
import zlib

import cv2
import numpy as np
import pytest
import roifile
from PIL import Image

from atrous.data import FolderDataset, check_folder, open_folder
from atrous.data.convert import choose_format
from atrous.errors import DataError, UsageError
from atrous.workflows.conversion import convert
from tests.labelled import SQUARE, H, W, blobs, picture, put, read_mask


def shares(points):
    return " ".join(f"{x / W} {y / H}" for x, y in points)


@pytest.fixture
def yolo(tmp_path):
    root = tmp_path / "in"
    for number, split in enumerate(("train", "val", "test")):
        put(root / f"images/{split}/a.png", picture(number))
        put(root / f"labels/{split}/a.txt", f"1 {shares(SQUARE)}\n0 {shares([[0, 0], [20, 0], [20, 20], [0, 20]])}\n")
    put(root / "images/train/empty.png", picture(9))
    put(
        root / "data.yaml",
        "path: .\ntrain: images/train\nval: images/val\ntest: images/test\nnames: {0: cell, 1: dot}\n",
    )
    return root


def test_yolo(yolo, tmp_path):
    done = convert(yolo, tmp_path / "out")
    assert (done.images, done.classes) == (4, ("background", "cell", "dot"))
    assert done.notes == {"images have no label file, and show no object then": 1}
    folder = open_folder(tmp_path / "out")
    assert {split: len(pairs) for split, pairs in folder.splits.items()} == {"train": 2, "val": 1, "test": 1}
    mask = read_mask(tmp_path / "out/val/masks/a.png")
    assert ((mask == 2).sum(), (mask == 1).sum()) == (36, 20 * 20 - 36)  # the smaller one stands before
    assert (cv2.imread(str(tmp_path / "out/test/images/a.png")) == picture(2)).all()
    assert (read_mask(tmp_path / "out/train/masks/empty.png") == 0).all()


def test_yolo_as_roboflow_and_others_lay_it_out(yolo, tmp_path):
    """Paths that lead too far up, lists of files, and images without any split."""
    for split in ("train", "val", "test"):
        for kind in ("images", "labels"):
            (yolo / split).mkdir(exist_ok=True)
            (yolo / kind / split).rename(yolo / split / kind)
    names = "names: ['cell', 'dot']\nnc: 2\n"
    put(yolo / "data.yaml", f"train: ../train/images\nval: ../val/images\ntest: ../test/images\n{names}")
    assert convert(yolo, tmp_path / "one").images == 4
    put(yolo / "train.txt", "./train/images/a.png\n\ntrain/images/empty.png\n")
    put(yolo / "data.yaml", f"train: train.txt\nval: [val/images, test/images]\n{names}")
    with pytest.raises(DataError, match=r"is a second image with the name a\.png"):
        convert(yolo, tmp_path / "two")
    put(yolo / "data.yaml", f"train: train.txt\nval: train/images\n{names}")
    with pytest.raises(DataError, match=r"has annotations of .*train/images/a\.png, and .*a\.txt has some too"):
        convert(yolo, tmp_path / "two")
    put(yolo / "data.yaml", f"train: train.txt\n{names}")
    assert convert(yolo / "data.yaml", tmp_path / "three").images == 2
    for path in (yolo / "test/labels").iterdir():
        path.unlink()
    put(yolo / "data.yaml", f"train: train.txt\ntest: test/images\n{names}")
    convert(yolo, tmp_path / "four")  # nobody has labelled the test images
    assert not (tmp_path / "four/test/masks").exists()


def test_yolo_with_a_list_of_names(tmp_path):
    put(tmp_path / "in/images/a.png", picture(0))
    put(tmp_path / "in/labels/a.txt", f"1 {shares(SQUARE)}\n")
    put(tmp_path / "in/classes.txt", "cell\ndot\n")
    put(tmp_path / "in/notes.json", {"categories": [], "info": {}})
    assert convert(tmp_path / "in", tmp_path / "out").classes == ("background", "cell", "dot")
    assert (read_mask(tmp_path / "out/masks/a.png") == 2).sum() == 36


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("5 0.1 0.1 0.2 0.2 0.3 0.1", r"a\.txt line 1: has the class 5, which is none of the names"),
        ("0 0.1 0.1 0.2 0.2 0.3", r"a\.txt line 1: has 5 numbers after the class, and pairs"),
        ("0 1 1 20 2 30 1", r"a\.txt line 1: has points that are no shares of width and height"),
        ("0 0.1 0.1 0.2 nan 0.3 0.1", "no shares of width and height"),
        ("cell 0.1 0.1", r"a\.txt line 1: holds something else than numbers"),
    ],
)
def test_broken_yolo(yolo, tmp_path, line, message):
    put(yolo / "labels/val/a.txt", line)
    with pytest.raises(DataError, match=message):
        convert(yolo, tmp_path / "out")
    put(yolo / "labels/val/a.txt", f"0 0.5 0.5 0.1 0.1\n1 {shares(SQUARE)}")
    assert convert(yolo, tmp_path / "out").notes["lines are boxes, and have no outline"] == 1
    put(yolo / "data.yaml", "names: 7\ntrain: images/train")
    with pytest.raises(DataError, match=r"data\.yaml, names: is no list of names"):
        convert(yolo, tmp_path / "again")


def packed(mask, mode):
    """A bitmap as the tool packs it: PNG of one bit, of grey, or with transparency, within zlib, as Base64."""
    if mode == "RGBA":
        image = Image.fromarray(np.repeat((mask * 255).astype(np.uint8)[..., None], 4, axis=2))
    else:
        image = Image.fromarray(mask) if mode == "1" else Image.fromarray(mask.astype(np.uint8) * 255)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(zlib.compress(buffer.getvalue())).decode()


def sly(root, dataset, *objects, tags=()):
    put(root / dataset / "img/a.jpg", picture(len(dataset)))
    content = {"description": "", "tags": [{"name": tag} for tag in tags], "size": {"height": H, "width": W}}
    put(root / dataset / "ann/a.jpg.json", {**content, "objects": list(objects)})
    classes = [{"title": "cell", "shape": "any", "color": "#FF0000"}, {"title": "dot", "shape": "bitmap"}]
    put(root / "meta.json", {"classes": classes, "tags": [], "projectType": "images"})


@pytest.mark.parametrize("mode", ["1", "L", "RGBA"])
def test_supervisely(tmp_path, mode):
    root, blob = tmp_path / "in", np.random.default_rng(0).random((5, 7)) < 0.5
    bitmap = {"data": packed(blob, mode), "origin": [20, 12]}  # column, row
    polygon = {"exterior": [[2, 2], [11, 2], [11, 11], [2, 11]], "interior": [[[4, 4], [6, 4], [6, 6], [4, 6]]]}
    objects = ({"classTitle": "dot", "geometryType": "bitmap", "bitmap": bitmap},
               {"classTitle": "cell", "geometryType": "polygon", "points": polygon},
               {"classTitle": "dot", "geometryType": "rectangle", "points": {"exterior": [[15, 3], [17, 3]]}},
               {"classTitle": "dot", "geometryType": "point", "points": {"exterior": [[1, 1]]}})  # fmt: skip
    sly(root, "ds0", *objects)
    sly(root, "other", tags=["Val"])
    done = convert(root, tmp_path / "out")
    assert (done.images, done.classes) == (2, ("background", "cell", "dot"))
    assert done.notes == {"point objects have no area": 1}
    mask, wanted = read_mask(tmp_path / "out/train/masks/a.png"), np.zeros((H, W), np.uint8)
    wanted[2:12, 2:12], wanted[4:7, 4:7], wanted[3, 15:18] = 1, 0, 2
    wanted[12:17, 20:27][blob] = 2
    assert (mask == wanted).all()
    assert (tmp_path / "out/val/images/a.jpg").is_file()
    assert open_folder(tmp_path / "out").classes.colors[1] == (255, 0, 0)


def test_datasets_of_supervisely_are_splits_and_repeat_names(tmp_path):
    for dataset in ("train", "test", "more"):
        sly(tmp_path / "in", dataset)
    convert(tmp_path / "in", tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.jpg")}
    assert found == {"train/images/a.jpg", "train/images/train/a.jpg", "test/images/a.jpg"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"classTitle": "?"}, r"objects\[0\], classTitle: is '\?', which is no class"),
        ({"classTitle": "dot", "geometryType": "bitmap"}, r"objects\[0\]: has no key 'bitmap'"),
        ({"classTitle": "dot", "bitmap": {"origin": [1, 1], "data": "aGVsbG8="}}, r"bitmap\.data: is no image that"),
        ({"classTitle": "dot", "bitmap": {"origin": [1], "data": ""}}, r"bitmap\.origin: is no list of points"),
        ({"classTitle": "dot", "bitmap": {"origin": [0, 0], "data": packed(np.ones((30, 30), bool), "L")}},
         r"bitmap\.data: has 30 x 30 pixels"),
    ],
)  # fmt: skip
def test_broken_supervisely(tmp_path, entry, message):
    sly(tmp_path / "in", "ds0", entry)
    with pytest.raises(DataError, match=rf"a\.jpg\.json.*{message}"):
        convert(tmp_path / "in", tmp_path / "out")


def feature(geometry, name=None, **more):
    classification = {"classification": {"name": name, "color": [1, 2, 3]}} if name else {}
    return {"type": "Feature", "id": "0-0", "geometry": geometry,
            "properties": {"objectType": "annotation", **classification}, **more}  # fmt: skip


def closed(*rings):
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]] for ring in rings]}


def test_qupath(tmp_path):
    inner = [[4, 4], [6, 4], [6, 6], [4, 6]]
    large = [[0, 0], [20, 0], [20, 20], [0, 20]]
    several = {
        "type": "MultiPolygon",
        "coordinates": [
            closed([[22, 2], [24, 2], [24, 4], [22, 4]])["coordinates"],
            closed([[26, 2], [28, 2], [28, 4], [26, 4]])["coordinates"],
        ],
    }
    rows = [feature(closed(SQUARE, inner), "Tumor"), feature(closed(large), "Stroma"), feature(several),
            feature(closed([[22, 10], [30, 10], [30, 20]]), "Ignore*"),
            feature({"type": "LineString", "coordinates": [[0, 0], [1, 1]]}, "Tumor"),
            feature(closed(inner), "Tumor", nucleusGeometry=closed(inner))]  # fmt: skip
    put(tmp_path / "in/slide.png", picture(0))
    put(tmp_path / "in/slide.geojson", {"type": "FeatureCollection", "features": rows})
    done = convert(tmp_path / "in", tmp_path / "out")
    assert done.classes == ("background", "Stroma", "Tumor", "object")
    assert done.notes == {"LineString objects have no area": 1, "nuclei of cells are not read, only the cells": 1}
    mask, wanted = read_mask(tmp_path / "out/masks/slide.png"), np.zeros((H, W), np.uint8)
    wanted[0:20, 0:20], wanted[2:8, 2:8], wanted[2:4, 22:24], wanted[2:4, 26:28] = 1, 2, 3, 3
    assert (mask[:, :22] == wanted[:, :22]).all()
    assert (mask[:5] == wanted[:5]).all()
    assert (mask[18, 29], mask[12, 28]) == (255, 255)
    assert len(np.unique(read_mask(tmp_path / "out/instances/slide.png"))) == 5
    put(tmp_path / "in/slide.geojson", rows[:2])  # a list alone, as older versions write it
    put(tmp_path / "in/gone.png.geojson", [feature(closed(SQUARE))])
    with pytest.raises(DataError, match=r"gone\.png\.geojson: is for an image called gone\.png, and there is no such"):
        convert(tmp_path / "in", tmp_path / "again")
    put(tmp_path / "in/slide.geojson", [feature({"type": "Polygon", "coordinates": [[[1, 2]]]})])
    with pytest.raises(DataError, match=r"features\[0\], geometry\.coordinates\[0\]: has 1 points"):
        convert(tmp_path / "in/slide.geojson", tmp_path / "again")


def roi(kind, left=0, top=0, right=0, bottom=0, points=None, **more):
    one = roifile.ImagejRoi.frompoints(np.array(points)) if points is not None else roifile.ImagejRoi()
    if points is None:
        one.left, one.top, one.right, one.bottom = left, top, right, bottom
    one.roitype = getattr(roifile.ROI_TYPE, kind)
    for key, value in more.items():
        setattr(one, key, value)
    return one


def test_imagej(tmp_path):
    put(tmp_path / "in/a.png", picture(0))
    rois = [roi("RECT", 2, 3, 8, 9, name="x"), roi("OVAL", 10, 2, 20, 8, group=3),
            roi("POLYGON", points=[[22, 2], [28, 2], [28, 8], [22, 8]], group=3),
            roi("POLYGON", points=[[2.5, 12.5], [6.5, 12.5], [6.5, 16.5], [2.5, 16.5]]),
            roi("POINT", points=[[1, 1]])]  # fmt: skip
    roifile.roiwrite(tmp_path / "in/a.zip", rois)
    done = convert(tmp_path / "in", tmp_path / "out")
    assert (done.classes, done.notes) == (("background", "group 3", "object"), {"point regions have no area": 1})
    mask = read_mask(tmp_path / "out/masks/a.png")
    assert (mask[3:9, 2:8] == 2).all()
    assert (mask[2:8, 22:28] == 1).all()
    rows, columns = np.indices((H, W)) + 0.5
    disc = ((columns - 15) / 5) ** 2 + ((rows - 5) / 3) ** 2 < 1
    assert ((mask == 1)[:, 9:21] == disc[:, 9:21]).all()
    assert (mask[12:18, :10] == 2).sum() == 16
    assert len(np.unique(read_mask(tmp_path / "out/instances/a.png"))) == 5


def test_imagej_composites_keep_their_holes(tmp_path):
    put(tmp_path / "in/a.png", picture(0))
    lines = []
    for ring in ([[2, 2], [12, 2], [12, 12], [2, 12]], [[4, 4], [6, 4], [6, 6], [4, 6]], [[20, 2], [24, 2], [24, 6]]):
        lines += [*(number for i, (x, y) in enumerate(ring) for number in (1.0 if i else 0.0, x, y)), 4.0]
    one = roi("RECT", 2, 2, 24, 12, multi_coordinates=np.array(lines, np.float32), shape_roi_size=len(lines))
    one.tofile(str(tmp_path / "in/a.roi"))
    convert(tmp_path / "in", tmp_path / "out")
    mask = read_mask(tmp_path / "out/masks/a.png")
    assert (mask[2:12, 2:12].sum(), mask[4:6, 4:6].sum()) == (96, 0)
    assert mask[2, 22] == 1
    assert len(np.unique(read_mask(tmp_path / "out/instances/a.png"))) == 2
    one.multi_coordinates[3] = 2  # a curve
    one.tofile(str(tmp_path / "in/a.roi"))
    with pytest.raises(DataError, match=r"a\.roi: has outlines that cannot be read: PathIterator command 2"):
        convert(tmp_path / "in", tmp_path / "again")


def test_regions_without_the_package_that_reads_them(tmp_path, monkeypatch):
    put(tmp_path / "in/a.png", picture(0))
    roi("RECT", 2, 2, 8, 8).tofile(str(tmp_path / "in/a.roi"))
    monkeypatch.setitem(sys.modules, "roifile", None)
    with pytest.raises(UsageError, match=r"need a package that is not installed: pip install 'atrous\[imagej\]'"):
        convert(tmp_path / "in", tmp_path / "out")


def test_which_image_a_set_of_regions_is_for(tmp_path):
    put(tmp_path / "in/cell 1.png", picture(0))
    for name in ("RoiSet.zip", "cell 1_RoiSet.zip", "cell 1.png.zip"):
        roifile.roiwrite(tmp_path / "in" / name, [roi("RECT", 2, 2, 8, 8)])
        convert(tmp_path / "in", tmp_path / name)
        assert read_mask(tmp_path / name / "masks/cell 1.png").sum() == 36
        (tmp_path / "in" / name).unlink()
    roifile.roiwrite(tmp_path / "in/other.zip", [roi("RECT", 2, 2, 8, 8)])
    with pytest.raises(DataError, match=r"other\.zip: is for an image called other, and there is no such file"):
        convert(tmp_path / "in", tmp_path / "out")
    roifile.roiwrite(tmp_path / "in/RoiSet.zip", [roi("RECT", 2, 2, 8, 8, position=3)])
    with pytest.raises(DataError, match=r"lies on page 3 of a stack"):
        convert(tmp_path / "in/RoiSet.zip", tmp_path / "out")
    (tmp_path / "in/RoiSet.zip").write_bytes((tmp_path / "in/RoiSet.zip").read_bytes()[:-30])
    with pytest.raises(DataError, match=r"RoiSet\.zip: (cannot be unpacked|is an archive)"):
        convert(tmp_path / "in/RoiSet.zip", tmp_path / "out", format="imagej")


PALETTE = {"background": (0, 0, 0), "cell": (250, 50, 83), "dot": (0, 128, 0)}


def cvat_masks(root, masks, objects=True, how="RGB"):
    lines = [f"{name}:{','.join(map(str, color))}::" for name, color in PALETTE.items()]
    put(root / "labelmap.txt", "\n".join(["# label:color_rgb:parts:actions", *lines]) + "\n")
    for subset, (name, mask) in masks.items():
        put(root / f"ImageSets/Segmentation/{subset}.txt", f"{name}\n")
        put(root / f"JPEGImages/{name}.jpg", picture(len(subset), *mask.shape))
        colors = np.array(list(PALETTE.values()), np.uint8)
        file = put(root / f"SegmentationClass/{name}.png", mask if how == "L" else colors[mask][..., ::-1])
        if how == "P":
            image = Image.fromarray(mask)
            image.putpalette([value for color in PALETTE.values() for value in color])
            image.save(file)
        if objects:
            numbers = cv2.connectedComponents((mask == 1).astype(np.uint8), connectivity=4)[1]
            put(
                root / f"SegmentationObject/{name}.png",
                np.stack([numbers * 40 % 251, numbers, numbers], axis=2).astype(np.uint8),
            )


@pytest.mark.parametrize("how", ["RGB", "P", "L"])
def test_masks_of_cvat(tmp_path, how):
    masks = {"train": ("a", blobs(1) % 3), "Test": ("sub/b", blobs(2) % 3)}
    cvat_masks(tmp_path / "in", masks, how=how)
    assert choose_format(tmp_path / "in", None).title == "CVAT's Segmentation mask 1.1"
    done = convert(tmp_path / "in", tmp_path / "out")
    assert (done.images, done.classes) == (2, tuple(PALETTE))
    for split, (name, mask) in zip(("train", "test"), masks.values(), strict=True):
        assert (read_mask(tmp_path / f"out/{split}/masks/{name}.png") == mask).all()
        numbers = cv2.connectedComponents((mask == 1).astype(np.uint8), connectivity=4)[1]
        found = read_mask(tmp_path / f"out/{split}/instances/{name}.png")
        assert ((found > 0) == (numbers > 0)).all()
        assert len(np.unique(found)) == len(np.unique(numbers))
    assert open_folder(tmp_path / "out", val_fraction=0).classes.colors == tuple(PALETTE.values())


def test_broken_masks_of_cvat(tmp_path):
    cvat_masks(tmp_path / "in", {"default": ("a", blobs(1) % 3)}, objects=False)
    put(tmp_path / "in/SegmentationClass/a.png", np.full((H, W, 3), (3, 2, 1), np.uint8))
    with pytest.raises(DataError, match=r"a\.png: holds the colour \(1, 2, 3\), which is no label in labelmap\.txt"):
        convert(tmp_path / "in", tmp_path / "out")
    put(tmp_path / "in/ImageSets/Segmentation/default.txt", "a\ngone\n")
    with pytest.raises(DataError, match=r"(?s)2 entries.*default\.txt line 2: names the image gone"):
        convert(tmp_path / "in", tmp_path / "out")
    put(tmp_path / "in/labelmap.txt", "a:1,2,3::\nb:1,2,3::\n")
    with pytest.raises(DataError, match=r"labelmap\.txt line 2: gives 'b' the colour of 'a'"):
        convert(tmp_path / "in", tmp_path / "out")


def panoptic(root, split, codes, segments, image=1):
    put(root / f"{split}/a.jpg", picture(len(split), *codes.shape))
    colors = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=2).astype(np.uint8)  # blue, green, red
    put(root / f"annotations/panoptic_{split}/a.png", colors)
    categories = [{"id": 1, "name": "person", "isthing": 1, "color": [220, 20, 60]},
                  {"id": 184, "name": "tree", "isthing": 0, "color": [107, 142, 35]}]  # fmt: skip
    images = [{"id": image, "file_name": "a.jpg", "height": codes.shape[0], "width": codes.shape[1]}]
    rows = [{"image_id": image, "file_name": "a.png", "segments_info": segments}]
    put(root / f"annotations/panoptic_{split}.json", {"images": images, "annotations": rows, "categories": categories})


def test_panoptic(tmp_path):
    codes = np.zeros((H, W), np.int64)
    ids = (1 + 256 * 2 + 65536 * 3, 70000, 300, 5)
    for number, code in enumerate(ids):
        codes[2:8, 7 * number : 7 * number + 6] = code
    kinds = ((1, 0), (1, 0), (1, 1), (184, 0))
    segments = [
        {"id": code, "category_id": key, "iscrowd": crowd} for code, (key, crowd) in zip(ids, kinds, strict=True)
    ]
    for split in ("train2017", "val2017"):
        panoptic(tmp_path / "in", split, codes, segments)
    done = convert(tmp_path / "in", tmp_path / "out")
    assert (done.images, done.classes) == (2, ("person", "tree"))
    mask, objects = (read_mask(tmp_path / f"out/train/{kind}/a.png") for kind in ("masks", "instances"))
    assert [mask[4, 7 * n + 2] for n in range(4)] == [0, 0, 0, 1]
    assert (mask[codes == 0] == 255).all()  # labelled by nobody
    assert [bool(objects[4, 7 * n + 2]) for n in range(4)] == [True, True, False, False]
    assert objects[4, 2] != objects[4, 9]
    folder = open_folder(tmp_path / "in")  # as a layout, without conversion
    assert (folder.layout, folder.classes.names) == ("coco_panoptic", done.classes)
    assert open_folder(tmp_path / "out").classes.colors == ((220, 20, 60), (107, 142, 35))
    sample = FolderDataset(folder, "val")[0]
    assert (sample["mask"].numpy() == mask).all()
    assert ((sample["instances"].numpy() > 0) == (objects > 0)).all()
    assert not check_folder(tmp_path / "in").errors


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([], r"panoptic_val2017/a\.png: holds the segment 7, which its segments_info does not have"),
        ([{"id": 7}], r"annotations\[0\]\.segments_info\[0\]: has no key 'category_id'"),
        ([{"id": 7, "category_id": 9}], r"segments_info\[0\]: names category_id 9, which is no category"),
    ],
)
def test_broken_panoptic(tmp_path, segments, message):
    panoptic(tmp_path / "in", "val2017", np.full((H, W), 7), segments)
    with pytest.raises(DataError, match=message):
        convert(tmp_path / "in/annotations/panoptic_val2017.json", tmp_path / "out")


def test_an_archive_is_to_be_unpacked(tmp_path):
    (tmp_path / "export.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    with pytest.raises(DataError, match=r"export\.zip: is an archive, and annotations are read from files\. Unpack it"):
        convert(tmp_path / "export.zip", tmp_path / "out")
