"""Annotations of tools to masks, masks to annotations and back, and every broken input told with file and key."""

import base64
import json

import cv2
import numpy as np
import pytest

from atrous.annotations.rle import mask_to_counts
from atrous.data import FolderDataset, check_folder, open_folder
from atrous.data.convert import FORMATS, choose_format
from atrous.errors import DataError, UsageError
from atrous.images.files import read_mask
from atrous.workflows.conversion import convert, write_annotations

H, W = 20, 30
SQUARE = [[2, 2], [8, 2], [8, 8], [2, 8]]


@pytest.fixture
def source(tmp_path):
    """A folder with two images."""
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (H, W, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"a{number}.png"), pixels)
    return folder


def png(mask):
    return base64.b64encode(cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes()).decode()


def shape(label="cell", points=SQUARE, kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, **more}


def labelme(source, number=0, shapes=(), **changes):
    table = {
        "shapes": list(shapes),
        "imagePath": f"a{number}.png",
        "imageData": None,
        "imageHeight": H,
        "imageWidth": W,
    }
    (source / f"a{number}.json").write_text(json.dumps({**table, **changes}))


def test_labelme(source, tmp_path):
    corner = np.zeros((3, 4), bool)
    corner[0, :] = corner[:, 0] = True
    labelme(
        source,
        0,
        [
            shape(),
            shape("cell", [[10.0, 2.0], [16.0, 8.0]], "rectangle", group_id=4),
            shape("cell", [[10, 10], [12, 10], [12, 12], [10, 12]], group_id=4),
            shape("_background_", [[3, 3], [5, 3], [5, 5], [3, 5]]),
            shape("__ignore__", [[20, 0], [30, 0], [30, 5], [20, 5]]),
            shape("edge", [[20, 10], [23, 12]], "mask", mask=png(corner)),
            shape("edge", [[1, 1]], "point"),
        ],
    )
    labelme(source, 1, [shape("disc", [[15, 10], [15, 16]], "circle")])
    done = convert(source, tmp_path / "out")
    assert done.classes == ("background", "cell", "disc", "edge")
    assert done.notes == {"point shapes have no area": 1}
    mask, objects = read_mask(tmp_path / "out/masks/a0.png"), read_mask(tmp_path / "out/instances/a0.png")
    wanted = np.zeros((H, W), np.uint8)
    wanted[2:8, 2:8] = wanted[2:8, 10:16] = wanted[10:12, 10:12] = 1
    wanted[3:5, 3:5], wanted[0:5, 20:30] = 0, 255
    wanted[10:13, 20:24][corner] = 3
    assert (mask == wanted).all()
    assert objects[2, 2] != objects[2, 10] == objects[10, 10]
    assert (objects[wanted == 0] == 0).all()
    disc = read_mask(tmp_path / "out/masks/a1.png") == 2
    assert abs(disc.sum() - np.pi * 36) < 4
    folder = open_folder(tmp_path / "out")
    assert folder.classes.names == done.classes
    assert not check_folder(tmp_path / "out").errors
    assert FolderDataset(folder, "train")[0]["image"].shape == (3, H, W)
    assert "2 images, 4 classes: background, cell, disc, edge" in str(done)


def test_labelme_with_the_image_inside(source, tmp_path):
    data = (source / "a0.png").read_bytes()
    (source / "a0.png").unlink()
    labelme(source, 0, [shape()], imageData=base64.b64encode(data).decode())
    convert(source, tmp_path / "out")
    assert (tmp_path / "out/images/a0.png").read_bytes() == data


def test_classes_and_ignored_labels_of_ones_own(source, tmp_path):
    labelme(source, 0, [shape("b"), shape("dirt", [[10, 10], [15, 10], [15, 15]])])
    table = tmp_path / "classes.yaml"
    table.write_text("classes: [{name: background, value: 0}, {name: a, value: 1}, {name: b, value: 2}]")
    done = convert(source, tmp_path / "out", classes=table, ignore=["dirt"])
    assert done.classes == ("background", "a", "b")
    assert set(np.unique(read_mask(tmp_path / "out/masks/a0.png"))) == {0, 2, 255}
    with pytest.raises(DataError, match=r"source: has no label 'drit' to ignore\. Did you mean 'dirt'\?"):
        convert(source, tmp_path / "again", ignore=["drit"])
    with pytest.raises(DataError, match=r"a0\.json: has the label 'dirt', which is no class\..*--ignore"):
        convert(source, tmp_path / "again", classes=table)
    assert not (tmp_path / "again").exists()
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize(
    ("shapes", "changes", "message"),
    [
        ([{"points": SQUARE}], {}, r"a0\.json shapes\[0\]: has no key 'label'"),
        (
            [shape(points=[[1, 2], [3, 4]])],
            {},
            r"a0\.json shapes\[0\], points: has 2 points, and at least 3 are needed",
        ),
        ([shape(points=[[1, 2], [3, "x"], [4, 5]])], {}, r"shapes\[0\], points: is no list of points"),
        ([shape(points=[[1, 2], [3, None], [4, 5]])], {}, r"shapes\[0\], points: is no list of points"),
        ([shape(points=7)], {}, r"shapes\[0\], points: is 7, and a list is needed"),
        ([shape(kind="star")], {}, r"shapes\[0\], shape_type: is 'star', which is not read"),
        ([shape(), shape(kind="mask", mask="???")], {}, r"shapes\[1\], mask: is not Base64"),
        ([shape(kind="mask", mask="aGVsbG8=")], {}, r"shapes\[0\], mask: is no image"),
        ([shape(group_id="x")], {}, r"shapes\[0\], group_id: is \"x\", and a whole number is needed"),
        ([shape()], {"imagePath": "b.png"}, r"a0\.json, imagePath: names the image b\.png, and there is no such file"),
        (
            [shape()],
            {"imageHeight": H + 1},
            r"a0\.json: was drawn on 21 x 30 pixels \(height x width\), and the",
        ),
    ],
)
def test_broken_labelme(source, tmp_path, shapes, changes, message):
    labelme(source, 0, shapes, **changes)
    with pytest.raises(DataError, match=message) as caught:
        convert(source, tmp_path / "out", format="labelme")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def cvat(source, body, head=""):
    text = (
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>{head}\n{body}\n</annotations>'
    )
    (source / "annotations.xml").write_text(text)


def test_cvat(source, tmp_path):
    head = """<meta><task><labels>
      <label><name>road</name><color>#00ff00</color><attributes/></label>
      <label><name>cell</name><color>#ff0000</color></label>
      <label><name>spot</name><color>#0000ff</color><type>points</type></label></labels></task></meta>"""
    body = f"""<image id="0" name="sub/a0.png" width="{W}" height="{H}">
      <polygon label="cell" z_order="1" points="2.00,2.00;8.00,2.00;8.00,8.00;2.00,8.00" group_id="3"></polygon>
      <box label="road" z_order="0" xtl="0.0" ytl="0.0" xbr="{W}.0" ybr="4.0"></box>
      <box label="cell" xtl="20" ytl="10" xbr="24" ybr="16" rotation="90" group_id="3"></box>
      <mask label="road" rle="1, 2, 3" left="10" top="12" width="3" height="2"></mask>
      <ellipse label="cell" cx="15" cy="16" rx="3" ry="2"></ellipse>
      <points label="spot" points="1,1"></points><tag label="cell"></tag>
    </image><image id="1" name="a1.png" width="{W}" height="{H}"></image>"""
    cvat(source, body, head)
    done = convert(source, tmp_path / "out")
    assert done.classes == ("background", "road", "cell")
    assert done.notes == {"points shapes have no area": 1, "tag shapes have no area": 1}
    mask = read_mask(tmp_path / "out/masks/sub/a0.png")
    wanted = np.zeros((H, W), np.uint8)
    wanted[0:4] = 1
    wanted[2:8, 2:8] = 2
    wanted[11:15, 19:25] = 2  # 4 wide and 6 high, turned about its centre
    wanted[12, 11:13] = 1
    rows, columns = np.indices((H, W)) + 0.5
    wanted[((columns - 15) / 3) ** 2 + ((rows - 16) / 2) ** 2 < 1] = 2
    assert (mask == wanted).all()
    objects = read_mask(tmp_path / "out/instances/sub/a0.png")
    assert objects[3, 3] == objects[12, 20]  # one group
    folder = open_folder(tmp_path / "out")
    assert folder.classes.colors[1:] == ((0, 255, 0), (255, 0, 0))
    assert (read_mask(tmp_path / "out/masks/a1.png") == 0).all()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('<image name="a0.png" width="30"/>', r"annotations\.xml image\[0\]: has no attribute 'height'"),
        ('<image name="a0.png" width="x" height="20"/>', r"image\[0\], width: is 'x', and a number is needed"),
        ('<image name="b.png" width="30" height="20"/>', r"image\[0\], name: names the image b\.png, and there"),
        ('<image name="a0.png" width="31" height="20"/>', r"image\[0\]: was drawn on 20 x 31 pixels"),
        ('<track id="0"/>', r"annotations\.xml: holds the tracks of a video\. Export the task as"),
        ("", r"annotations\.xml: holds no image"),
        ("<image", r"annotations\.xml line \d+: is not XML"),
        ('<image name="a0.png" width="30" height="20"><polygon label="a" points="1,2;3,4"/></image>',
         r"image\[0\] \(a0\.png\) polygon\[0\], points: has 2 points"),
        ('<image name="a0.png" width="30" height="20"><polygon label="a" points="1,2;3,4;5,"/></image>',
         r"polygon\[0\], points: is no list of points"),
        ('<image name="a0.png" width="30" height="20"><polygon points="1,2;3,4;5,6"/></image>',
         r"polygon\[0\]: has no attribute 'label'"),
        ('<image name="a0.png" width="30" height="20"><mask label="a" rle="1,2" left="0" top="0" width="2" height="2"/>'
         "</image>", r"mask\[0\], rle: cannot be decoded: its runs cover 3 pixels, and the mask has 4"),
        ('<image name="a0.png" width="30" height="20"><box label="a" xtl="1" ytl="1" xbr="4"/></image>',
         r"box\[0\]: has no attribute 'ybr'"),
    ],
)  # fmt: skip
def test_broken_cvat(source, tmp_path, body, message):
    cvat(source, body)
    with pytest.raises(DataError, match=message):
        convert(source, tmp_path / "out", format="cvat")


@pytest.mark.parametrize("color", ["#ffffff", "#000000", "#fefefe", "#12ab34"])
def test_ignored_pixels_stay_so_whatever_colour_a_class_has(source, tmp_path, color):
    head = f"<meta><task><labels><label><name>snow</name><color>{color}</color></label></labels></task></meta>"
    boxes = "".join(f'<box label="{label}" xtl="{left}" ytl="0" xbr="{left + 5}" ybr="5"/>'
                    for left, label in ((0, "snow"), (10, "__ignore__")))  # fmt: skip
    cvat(source, f'<image name="a0.png" width="{W}" height="{H}">{boxes}</image>', head)
    convert(source, tmp_path / "out")
    mask = FolderDataset(open_folder(tmp_path / "out", val_fraction=0), "train")[0]["mask"]
    assert [int(mask[2, column]) for column in (2, 12, 22)] == [1, 255, 0]


def region(kind, value, labels=("cell",), **more):
    full = {**value, f"{kind}labels": list(labels)}
    return {"type": f"{kind}labels", "original_width": W, "original_height": H, "value": full, **more}


def percent(points):
    return [[100 * x / W, 100 * y / H] for x, y in points]


def brush(mask):
    """Label Studio's bytes, every value for itself, written from the description of the format."""
    values = np.repeat(mask.ravel() * 255, 4).tolist()
    text = f"{len(values):032b}{7:05b}" + "".join(f"{n - 1:04b}" for n in (3, 4, 8, 16))
    for start in range(0, len(values), 256):
        part = values[start : start + 256]
        text += f"010{len(part) - 1:08b}" + "".join(f"{v:08b}" for v in part)
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


def studio(source, *tasks):
    (source / "export.json").write_text(json.dumps(list(tasks)))


def task(*results, image="/data/upload/3/0a1b2c3d-a0.png", **more):
    return {"data": {"image": image}, "annotations": [{"result": list(results), **more}]}


def test_label_studio(source, tmp_path):
    blob = np.zeros((H, W), int)
    blob[15:18, 3:9] = 1
    first = task(
        region("polygon", {"points": percent(SQUARE), "closed": True}),
        region("rectangle", {"x": 100 * 15 / W, "y": 10, "width": 20, "height": 20, "rotation": 0}, ["box"]),
        region("brush", {"format": "rle", "rle": brush(blob)}, ["paint"]),
        region("ellipse", {"x": 70, "y": 75, "radiusX": 10, "radiusY": 15}, ["cell"]),
        {"type": "choices", "value": {"choices": ["x"]}},
    )
    cancelled = {"result": [region("polygon", {"points": percent(SQUARE)}, ["wrong"])], "was_cancelled": True}
    first["annotations"].append(cancelled)
    second = task(image="s3://bucket/a1.png?d=1")
    none = {"data": {"image": "a2.png"}, "annotations": []}
    studio(source, first, second, none)
    done = convert(source, tmp_path / "out")
    assert (done.images, done.classes) == (2, ("background", "box", "cell", "paint"))
    assert done.notes == {"tasks have no annotation": 1, "choices regions have no area": 1}
    wanted = np.zeros((H, W), np.uint8)
    wanted[2:8, 2:8], wanted[2:6, 15:21], wanted[blob > 0] = 2, 1, 3
    rows, columns = np.indices((H, W)) + 0.5
    wanted[((columns - 21) / 3) ** 2 + ((rows - 15) / 3) ** 2 < 1] = 2
    assert (read_mask(tmp_path / "out/masks/a0.png") == wanted).all()


def test_label_studio_minimal_and_with_separate_labels(source, tmp_path):
    row = {"points": percent(SQUARE), "polygonlabels": ["cell"], "original_width": W, "original_height": H}
    separate = {
        "type": "labels",
        "original_width": W,
        "original_height": H,
        "value": {"points": percent(SQUARE), "labels": ["cell"]},
    }
    studio(source, {"image": "/data/local-files/?d=some/a0.png", "label": [row], "id": 1})
    convert(source, tmp_path / "one")
    studio(source, task(separate))
    convert(source, tmp_path / "two")
    masks = [read_mask(tmp_path / name / "masks/a0.png") for name in ("one", "two")]
    assert (masks[0] == masks[1]).all()
    assert masks[0].sum() == 36


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([task({"type": "polygonlabels", "value": {"polygonlabels": ["a"]}})],
         r"export\.json \[0\]\.annotations\[0\]\.result\[0\]\.value: has no key 'points'"),
        ([task(region("polygon", {}))], r"result\[0\]\.value: has no key 'points'"),
        ([task(region("polygon", {"points": [[1, 2]]}))], r"result\[0\]\.value\.points: has 1 points"),
        ([task({"type": "polygonlabels", "value": {"points": []}})], r"result\[0\]\.value: has no key 'labels'"),
        ([task(region("brush", {"rle": [0, 0, 1]}))], r"value\.rle: cannot be decoded: its brush data are cut off"),
        ([task(region("brush", {"rle": brush(np.zeros((2, 2), int))}))], r"rle: cannot be decoded: cannot reshape"),
        ([task(region("rectangle", {"x": 1, "y": 2, "width": "w", "height": 3}))], r"value, width: is \"w\", and"),
        ([task(image="b.png")], r"export\.json \[0\], data: names the image b\.png"),
        ([task(image="no image")], r"export\.json \[0\], data: names no image"),
        ([{"annotations": 3, "data": {}}], r"export\.json \[0\], annotations: is 3, and a list is needed"),
        ([7], r"export\.json \[0\]: is no task"),
    ],
)  # fmt: skip
def test_broken_label_studio(source, tmp_path, content, message):
    studio(source, *content)
    with pytest.raises(DataError, match=message):
        convert(source / "export.json", tmp_path / "out", format="label_studio")


def test_coco_json(source, tmp_path):
    bar = np.zeros((H, W), bool)
    bar[:, 20:22] = True
    rows = [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 5,
            "segmentation": [np.ravel(SQUARE).tolist()],
            "area": 36,
            "iscrowd": 0,
        },
        {"id": 2, "image_id": 1, "category_id": 9, "segmentation": {"size": [H, W], "counts": mask_to_counts(bar)}},
    ]
    images = [{"id": n + 1, "file_name": f"a{n}.png", "height": H, "width": W} for n in range(2)]
    table = {"images": images, "annotations": rows, "categories": [{"id": 5, "name": "b"}, {"id": 9, "name": "a"}]}
    (source / "coco.json").write_text(json.dumps(table))
    done = convert(source / "coco.json", tmp_path / "out")
    assert done.classes == ("background", "b", "a")
    mask = read_mask(tmp_path / "out/masks/a0.png")
    assert (mask[2:8, 2:8] == 1).all()
    assert (mask[bar] == 2).all()
    assert (mask > 0).sum() == 36 + bar.sum()
    assert (read_mask(tmp_path / "out/masks/a1.png") == 0).all()


def made(root, masks, instances=None, names=("background", "cell", "ring")):
    """A data folder of these masks."""
    for folder in ("images", "masks") + (("instances",) if instances else ()):
        (root / folder).mkdir(parents=True)
    for number, mask in enumerate(masks):
        pixels = np.random.default_rng(number).integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
        cv2.imwrite(str(root / "images" / f"m{number}.png"), pixels)
        cv2.imwrite(str(root / "masks" / f"m{number}.png"), mask)
        if instances:
            cv2.imwrite(str(root / "instances" / f"m{number}.png"), instances[number].astype(np.uint16))
    rows = ", ".join(f"{{name: {name}, value: {value}}}" for value, name in enumerate(names))
    (root / "classes.yaml").write_text(f"classes: [{rows}]\nignore: [255]")
    return root


def rich_mask(seed):
    """Blobs with holes, islands in the holes, an ignored corner, single pixels and diagonal neighbours."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((60, 70)), (0, 0), 2)
    mask = (noise > np.quantile(noise, 0.6)).astype(np.uint8)
    cv2.circle(mask, (35, 30), 20, 2, 5)
    mask[:6, :9] = 255
    mask[50, 60] = mask[51, 61] = mask[55, 5] = 1
    return mask


@pytest.mark.parametrize("to", ["coco", "labelme"])
def test_masks_to_annotations_and_back(tmp_path, to):
    masks = [rich_mask(seed) for seed in range(3)]
    made(tmp_path / "data", masks)
    write_annotations(tmp_path / "data", tmp_path / to, to=to)
    if to == "coco":
        assert [path.name for path in (tmp_path / "coco/annotations").iterdir()] == ["instances_train.json"]
        assert len(open_folder(tmp_path / "coco").splits["val"]) == 1
    classes = tmp_path / "data/classes.yaml"
    done = convert(tmp_path / to, tmp_path / "back", classes=classes)
    assert done.images == 3
    for number, mask in enumerate(masks):
        assert (read_mask(tmp_path / f"back/masks/m{number}.png") == mask).all()
    again = cv2.imread(str(tmp_path / "back/images/m0.png"))
    assert (again == cv2.imread(str(tmp_path / "data/images/m0.png"))).all()


@pytest.mark.parametrize("to", ["coco", "labelme"])
def test_objects_to_annotations_and_back(tmp_path, to):
    mask, objects = np.zeros((H, W), np.uint8), np.zeros((H, W), int)
    mask[2:12, 2:12] = 1
    objects[2:12, 2:7], objects[2:12, 7:12] = 500, 7  # neighbours
    mask[4:6, 3:5] = objects[4:6, 3:5] = 0  # a hole
    mask[15:18, 2:5] = mask[15:18, 20:23] = 1
    objects[15:18, 2:5] = objects[15:18, 20:23] = 9  # two parts
    mask[2:5, 20:25] = 2  # a class without objects
    made(tmp_path / "data", [mask], [objects])
    write_annotations(tmp_path / "data", tmp_path / to, to=to)
    convert(tmp_path / to, tmp_path / "back", classes=tmp_path / "data/classes.yaml")
    assert (read_mask(tmp_path / "back/masks/m0.png") == mask).all()
    back = read_mask(tmp_path / "back/instances/m0.png")
    for number in (500, 7, 9):
        assert len(np.unique(back[objects == number])) == 1
    assert len(np.unique(back)) == 5
    # What COCO's adapter reads is what was written, too.
    if to == "coco":
        folder = open_folder(tmp_path / "coco", val_fraction=0)
        sample = FolderDataset(folder, "train")[0]
        assert (sample["mask"].numpy() == mask).all()
        outlines = json.loads((tmp_path / "coco/annotations/instances_train.json").read_text())["annotations"]
        assert sorted(type(row["segmentation"]).__name__ for row in outlines) == ["dict", "list", "list", "list"]
        assert {row["area"] for row in outlines} == {46, 50, 18, 15}


def test_simplified_polygons_stay_within_a_pixel(tmp_path):
    mask = cv2.ellipse(np.zeros((80, 90), np.uint8), (45, 40), (34, 21), 20, 0, 360, 1, -1)
    cv2.circle(mask, (45, 40), 8, 0, -1)
    made(tmp_path / "data", [mask])
    for to in ("coco", "labelme"):
        write_annotations(tmp_path / "data", tmp_path / to, to=to, tolerance=1.0)
        convert(tmp_path / to, tmp_path / f"{to}_back")
        again = read_mask(tmp_path / f"{to}_back/masks/m0.png")
        inside, outside = (cv2.distanceTransform(m, cv2.DIST_C, 3) for m in (mask, 1 - mask))
        assert np.maximum(inside, outside)[again != mask].max(initial=0) <= 1


def test_what_convert_and_write_annotations_refuse(source, tmp_path):
    labelme(source, 0, [shape()])
    with pytest.raises(DataError, match=r"there is no format 'labelmi'\. Did you mean 'labelme'\?"):
        convert(source, tmp_path / "out", format="labelmi")
    with pytest.raises(DataError, match="nowhere: there is no such file or folder"):
        convert(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(UsageError, match="is there already and not empty; choose another place with -o"):
        convert(source, source)
    with pytest.raises(UsageError, match="there is no such folder of images"):
        convert(source, tmp_path / "out", images=tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"of no format that is read\. It needs to be one of: landmark table"):
        convert(empty, tmp_path / "out")
    made(tmp_path / "data", [rich_mask(0)])
    with pytest.raises(UsageError, match=r"there is no format 'cocoo' to write\. Did you mean 'coco'\?"):
        write_annotations(tmp_path / "data", tmp_path / "out", to="cocoo")
    with pytest.raises(UsageError, match="tolerance is in pixels"):
        write_annotations(tmp_path / "data", tmp_path / "out", to="coco", tolerance=-1)
    assert [name for name, one in FORMATS.items() if one.fits(source)] == ["labelme"]
    assert choose_format(source, None).title == "labelme JSON"


def test_a_second_image_of_one_name(source, tmp_path):
    (source / "sub").mkdir()
    labelme(source, 0, [shape()])
    body = f'<image name="a0.png" width="{W}" height="{H}"/><image name="a0.jpg" width="{W}" height="{H}"/>'
    cv2.imwrite(str(source / "a0.jpg"), np.zeros((H, W, 3), np.uint8))
    cvat(source, body)
    convert(source / "annotations.xml", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out/images").iterdir()} == {"a0.png", "a0_jpg.jpg"}
    assert {path.name for path in (tmp_path / "out/masks").iterdir()} == {"a0.png", "a0_jpg.png"}
    cvat(source, body[: body.index("/>") + 2] * 2)
    with pytest.raises(DataError, match=r"image\[1\]: has annotations of .*a0\.png, and .*image\[0\] has some too"):
        convert(source / "annotations.xml", tmp_path / "again")


@pytest.mark.shared
def test_real_masks_to_annotations_and_back(shared, tmp_path):
    write_annotations(shared / "cwfid", tmp_path / "coco", to="coco")
    convert(tmp_path / "coco", tmp_path / "back")
    before, after = open_folder(shared / "cwfid", val_fraction=0), open_folder(tmp_path / "back", val_fraction=0)
    for old, new in zip(before.pairs[:3], after.pairs[:3], strict=True):
        # "class 0" is drawn like the others, after a background that nothing is left for
        assert (read_mask(old.mask) + 1 == read_mask(new.mask)).all()
