"""Label Studio's newer regions, and tasks of several images."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from atrous.errors import DataError
from atrous.workflows.conversion import convert
from tests.labelled import SQUARE, H, W, picture, put, read_mask


@pytest.fixture
def source(tmp_path):
    for number in range(2):
        put(tmp_path / f"in/a{number}.png", picture(number))
    return tmp_path / "in"


def region(kind, value, labels=("cell",), **more):
    sizes = {"original_width": W, "original_height": H}
    return {"type": f"{kind}labels", **sizes, "value": {**value, f"{kind}labels": list(labels)}, **more}


def data_url(alpha):
    """As the tool writes it: black, and transparent elsewhere."""
    pixels = np.zeros((*alpha.shape, 4), np.uint8)
    pixels[..., 3] = alpha * 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def percent(points):
    return [{"x": 100 * x / W, "y": 100 * y / H, "id": str(n), "prevPointId": str(n - 1) if n else None}
            for n, (x, y) in enumerate(points)]  # fmt: skip


def studio(source, *results, data=None):
    task = {"data": data or {"image": "/data/upload/1/0a1b2c3d-a0.png"}, "annotations": [{"result": list(results)}]}
    put(source / "export.json", [task])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_bitmasks(source, tmp_path, share):
    blob = np.random.default_rng(0).random((H, W)) < share  # nothing, something, everything
    studio(source, region("bitmask", {"imageDataURL": data_url(blob)}))
    convert(source, tmp_path / "out")
    assert (read_mask(tmp_path / "out/masks/a0.png") == blob).all()


def test_closed_vectors(source, tmp_path):
    studio(source, region("vector", {"vertices": percent(SQUARE), "closed": True}),
           region("vector", {"vertices": percent(SQUARE), "closed": False}, ["line"]),
           region("vector", {"vertices": percent(SQUARE)}, ["line"]))  # fmt: skip
    done = convert(source, tmp_path / "out")
    assert (done.classes, done.notes) == (("background", "cell"), {"vectorlabels regions have no area": 2})
    assert read_mask(tmp_path / "out/masks/a0.png")[2:8, 2:8].all()
    assert read_mask(tmp_path / "out/masks/a0.png").sum() == 36


def test_curves_of_vectors(source, tmp_path):
    """Four quarters of a circle of radius 8, by the usual handles."""
    k, r, c = 0.5522847, 8, np.array([15, 10])
    corners = [(1, 0), (0, 1), (-1, 0), (0, -1)]
    vertices = percent([c + r * np.array(v) for v in corners])
    for vertex, (x, y) in zip(vertices, corners, strict=True):
        ahead, here = np.array([-y, x]), c + r * np.array([x, y])
        for key, point in (("controlPoint1", here - k * r * ahead), ("controlPoint2", here + k * r * ahead)):
            vertex[key] = {"x": 100 * point[0] / W, "y": 100 * point[1] / H}
        vertex["isBezier"] = True
    studio(source, region("vector", {"vertices": vertices, "closed": True}))
    convert(source, tmp_path / "out")
    rows, columns = np.indices((H, W)) + 0.5
    disc = (columns - 15) ** 2 + (rows - 10) ** 2 < 64
    assert (read_mask(tmp_path / "out/masks/a0.png") == disc).mean() > 0.99


def test_branches_of_vectors_are_told(source, tmp_path):
    vertices = percent(SQUARE)
    vertices[3]["prevPointId"] = "1"
    studio(source, region("vector", {"vertices": vertices, "closed": True}))
    assert convert(source, tmp_path / "out").notes == {"vector regions have branches": 1}


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("bitmask", {"imageDataURL": data_url(np.ones((3, 3)))}, "imageDataURL: has 3 x 3 pixels"),
        ("bitmask", {"imageDataURL": data_url(np.ones((H + 1, W)))}, "imageDataURL: has 21 x 30 pixels"),
        ("bitmask", {"imageDataURL": "data:image/png;base64,aGVsbG8="}, "imageDataURL: is no image that can be read"),
        ("bitmask", {"imageDataURL": "data:image/png;base64,?"}, "imageDataURL: is not Base64"),
        ("bitmask", {}, "has no key 'imageDataURL'"),
        ("vector", {"closed": True, "vertices": percent(SQUARE[:2])}, "vertices: has 2 points"),
        ("vector", {"closed": True, "vertices": [{"x": 1}] * 3}, r"vertices\[0\]: has no key 'y'"),
    ],
)
def test_broken_regions(source, tmp_path, kind, value, message):
    studio(source, region(kind, value))
    with pytest.raises(DataError, match=message):
        convert(source, tmp_path / "out")


def squares(**where):
    return [region("polygon", {"points": [[100 * x / W, 100 * y / H] for x, y in SQUARE]}, [name], **{key: value})
            for name, (key, value) in where.items()]  # fmt: skip


def masks(root):
    return [int(read_mask(root / f"masks/a{number}.png")[4, 4]) for number in range(2)]


def test_pages_of_one_control(source, tmp_path):
    first, second = squares(x=("item_index", 0), y=("item_index", 1))
    del first["item_index"]
    studio(source, second, first, data={"images": ["/x/a0.png", "/x/a1.png"]})
    assert convert(source, tmp_path / "out").images == 2
    assert masks(tmp_path / "out") == [1, 2]


@pytest.mark.parametrize("key", ["to_name", "source"])
def test_several_controls(source, tmp_path, key):
    given = {"to_name": ("left", "right"), "source": ("$left", "$right")}[key]
    regions = squares(x=(key, given[1]), y=(key, given[0]))
    for number, one in enumerate(regions):
        one.setdefault("to_name", f"img{number}")
    studio(source, *regions, data={"left": "a0.png", "right": "a1.png", "note": "text"})
    assert convert(source, tmp_path / "out").images == 2
    assert masks(tmp_path / "out") == [2, 1]


def test_regions_that_do_not_say_on_which_image(source, tmp_path):
    studio(source, *squares(x=("to_name", "img-1"), y=("to_name", "img-2")), data={"l": "a0.png", "r": "a1.png"})
    message = r"result\[0\]: is drawn on one of the images l, r, and does not say on which. Name each Image"
    with pytest.raises(DataError, match=message):
        convert(source, tmp_path / "out")
    studio(source, *squares(x=("item_index", 2)), data={"l": ["a0.png", "a1.png"]})
    with pytest.raises(DataError, match="item_index: is 2, and the task has 2 images"):
        convert(source, tmp_path / "out")


def test_uploads_of_one_name_are_not_taken_for_each_other(source, tmp_path):
    one = [region("polygon", {"points": [[1, 1], [9, 1], [9, 9]]})]
    tasks = [{"data": {"image": f"/data/upload/1/0000000{n}-a0.png"}, "annotations": [{"result": one}]} for n in (1, 2)]
    (source / "export.json").write_text(json.dumps(tasks))
    with pytest.raises(DataError, match=r"2 entries cannot be converted:\n.*\[0\], data: names the image"):
        convert(source, tmp_path / "out")
    for n in (1, 2):
        put(source / f"0000000{n}-a0.png", picture(n))
    assert convert(source, tmp_path / "out").images == 2


def test_regions_without_the_size_of_the_image(source, tmp_path):
    (one,) = squares(x=("to_name", "img"))
    studio(source, {key: value for key, value in one.items() if not key.startswith("original")})
    convert(source, tmp_path / "out")
    assert read_mask(tmp_path / "out/masks/a0.png").sum() == 36


def test_a_region_of_a_turned_image_is_refused(source, tmp_path):
    studio(source, region("polygon", {"points": [[0, 0], [50, 0], [50, 50]]}, image_rotation=90))
    with pytest.raises(DataError, match=r"result\[0\]: was drawn while Label Studio showed the image turned by 90 deg"):
        convert(source, tmp_path / "out")
    studio(source, region("polygon", {"points": [[0, 0], [50, 0], [50, 50]]}, image_rotation=0))
    assert convert(source, tmp_path / "out").classes == ("background", "cell")
