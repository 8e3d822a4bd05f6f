"""Conversion keeps splits, and images of one name in several of them."""

import cv2
import numpy as np
import pytest

from atrous.data import open_folder
from atrous.errors import DataError
from atrous.workflows.conversion import convert, write_annotations
from tests.labelled import SQUARE, H, W, blobs, content, made_folder, picture, put, read_mask

NAMES = ("background", "cell", "edge")


@pytest.fixture
def divided(tmp_path):
    """Three splits, all with an image `a`; one more in train and one in a folder."""
    splits = {
        "train": {"a": blobs(1), "sub/b": blobs(2)},
        "val": {"a": blobs(3)},
        "test": {"a": blobs(4), "c.d": blobs(5)},
    }
    return made_folder(tmp_path / "data", splits, NAMES)


@pytest.mark.parametrize("to", ["coco", "labelme"])
def test_splits_that_share_names_come_back_as_they_were(divided, tmp_path, to):
    done = write_annotations(divided, tmp_path / to, to=to)
    assert done.images == 5
    assert len([p for p in (tmp_path / to).rglob("*.png") if p.suffix == ".png"]) == 5
    back = convert(tmp_path / to, tmp_path / "back")
    assert (back.images, back.classes) == (5, NAMES)
    assert content(tmp_path / "back") == content(divided)


@pytest.mark.parametrize("to", ["coco", "labelme"])
def test_objects_of_splits_that_share_names_come_back(tmp_path, to):
    root, shown = tmp_path / "data", {}
    for number, split in enumerate(("train", "val")):
        mask, objects = np.zeros((H, W), np.uint8), np.zeros((H, W), np.uint16)
        for place in range(2 + number):  # neighbours that touch
            area = (slice(3, 9), slice(4 * place + number, 4 * place + 4 + number))
            mask[area], objects[area] = 1, 700 + place
        shown[split] = objects
        put(root / split / "images/a.png", picture(number))
        put(root / split / "masks/a.png", mask)
        put(root / split / "instances/a.png", objects)
    put(root / "classes.yaml", {"classes": [{"name": name, "value": k} for k, name in enumerate(NAMES)]})
    write_annotations(root, tmp_path / to, to=to)
    convert(tmp_path / to, tmp_path / "back")
    for split, objects in shown.items():
        back = read_mask(tmp_path / "back" / split / "instances/a.png")
        pairs = np.unique(np.stack([objects.ravel(), back.ravel()]), axis=1)
        assert pairs.shape[1] == len(np.unique(objects)) == len(np.unique(back))
        assert ((back > 0) == (objects > 0)).all()


def test_coco_as_written_is_read_as_a_layout_too(divided, tmp_path):
    write_annotations(divided, tmp_path / "coco", to="coco")
    assert open_folder(tmp_path / "coco").layout == "coco"
    assert content(tmp_path / "coco") == content(divided)


@pytest.mark.parametrize("to", ["coco", "labelme"])
def test_test_images_without_masks_do_not_become_background(divided, tmp_path, to):
    for path in (divided / "test/masks").iterdir():
        path.unlink()
    write_annotations(divided, tmp_path / to, to=to)
    convert(tmp_path / to, tmp_path / "back")
    assert not (tmp_path / "back/test/masks").exists()
    found = content(tmp_path / "back")
    assert found["train"] == content(divided)["train"]
    if to == "coco":
        assert found["test"] == content(divided)["test"]
    assert len(list((tmp_path / to).rglob("*.png"))) == 5


def coco_file(names, category=1, **more):
    images = [{"id": n, "file_name": name, "height": H, "width": W} for n, name in enumerate(names)]
    rows = [{"id": n, "image_id": n, "category_id": category, "segmentation": [np.ravel(SQUARE).tolist()]}
            for n in range(len(names))]  # fmt: skip
    return {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "cell"}], **more}


def test_coco_files_of_several_splits(tmp_path):
    for number, split in enumerate(("train", "val")):
        put(tmp_path / f"in/annotations/instances_{split}2017.json", coco_file(["a.png"]))
        put(tmp_path / f"in/{split}2017/a.png", picture(number))
    info = coco_file(["a.png"])
    del info["annotations"]
    put(tmp_path / "in/annotations/image_info_test2017.json", info)
    put(tmp_path / "in/test2017/a.png", picture(2))
    put(tmp_path / "in/annotations/captions_train2017.json", {"images": [], "annotations": [{"caption": "x"}]})
    done = convert(tmp_path / "in", tmp_path / "out")
    assert done.images == 3
    folder = open_folder(tmp_path / "out")
    assert {split: len(pairs) for split, pairs in folder.splits.items()} == {"train": 1, "val": 1, "test": 1}
    for number, split in enumerate(("train", "val", "test")):
        assert (cv2.imread(str(tmp_path / f"out/{split}/images/a.png")) == picture(number)).all()
    assert not (tmp_path / "out/test/masks").exists()
    convert(tmp_path / "in/annotations", tmp_path / "again")  # the folder as it is unpacked
    assert content(tmp_path / "again") == content(tmp_path / "out")
    convert(tmp_path / "in/annotations/instances_val2017.json", tmp_path / "one")
    assert (tmp_path / "one/images/a.png").is_file()


def test_a_folder_of_images_with_a_folder_for_each_split(tmp_path):
    for number, split in enumerate(("train2017", "val2017")):
        put(tmp_path / f"in/instances_{split}.json", coco_file(["a.png"]))
        put(tmp_path / f"photos/{split}/a.png", picture(number))
    convert(tmp_path / "in", tmp_path / "out", images=tmp_path / "photos")
    for number, split in enumerate(("train", "val")):
        assert (cv2.imread(str(tmp_path / f"out/{split}/images/a.png")) == picture(number)).all()


def test_coco_files_of_no_split_that_repeat_a_name(tmp_path):
    for number, batch in enumerate(("first", "second")):
        put(tmp_path / f"in/annotations/instances_{batch}.json", coco_file(["a.png"]))
        put(tmp_path / f"in/{batch}/a.png", picture(number))
    assert convert(tmp_path / "in", tmp_path / "out").images == 2
    for number, name in enumerate(("a", "instances_second/a")):
        assert (cv2.imread(str(tmp_path / f"out/images/{name}.png")) == picture(number)).all()
        assert read_mask(tmp_path / f"out/masks/{name}.png").sum() == 36


def test_subsets_of_cvat(tmp_path):
    body = ""
    for number, subset in enumerate(("Train", "Validation", "batch 1", "Test")):
        put(tmp_path / f"in/images/{subset}/a.png", picture(number))
        shape = f'<box label="cell" xtl="0" ytl="0" xbr="{number + 1}" ybr="1"/>'
        body += f'<image name="a.png" subset="{subset}" width="{W}" height="{H}">{shape}</image>'
    put(tmp_path / "in/annotations.xml", f"<annotations>{body}</annotations>")
    assert convert(tmp_path / "in", tmp_path / "out").images == 4
    for number, place in enumerate(("train/{}/a", "val/{}/a", "train/{}/batch 1/a", "test/{}/a")):
        image = cv2.imread(str(tmp_path / "out" / f"{place.format('images')}.png"))
        assert (image == picture(number)).all()
        assert read_mask(tmp_path / "out" / f"{place.format('masks')}.png").sum() == number + 1
    # A flat folder does not tell which of four images `a.png` is.
    put(tmp_path / "flat/annotations.xml", f"<annotations>{body}</annotations>")
    put(tmp_path / "flat/images/a.png", picture(0))
    with pytest.raises(DataError, match=r"4 entries cannot be converted:\n.*image\[0\], name: names the image a\.png"):
        convert(tmp_path / "flat", tmp_path / "no")


def test_one_subset_alone_has_no_folder(tmp_path):
    put(tmp_path / "in/a.png", picture(0))
    image = (
        f'<image name="a.png" subset="Test" width="{W}" height="{H}"><box label="c" xtl="0" ytl="0" xbr="1" ybr="1"/>'
    )
    put(tmp_path / "in/annotations.xml", f"<annotations>{image}</image></annotations>")
    convert(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out/masks/a.png").is_file()


def test_images_are_written_within_the_folder(tmp_path):
    """Names with `..` or a drive lead nowhere else."""
    for number, name in enumerate(("../up/a.png", "C:\\scans\\b.png", "/etc/c.png")):
        put(tmp_path / f"in/{name.replace(chr(92), '/').rpartition('/')[2]}", picture(number))
        put(tmp_path / f"in/{number}.json", coco_file([name]))
        convert(tmp_path / f"in/{number}.json", tmp_path / f"out{number}")
    found = [next((tmp_path / f"out{n}/images").rglob("*.png")).relative_to(tmp_path).as_posix() for n in range(3)]
    assert found == ["out0/images/up/a.png", "out1/images/scans/b.png", "out2/images/etc/c.png"]


def test_an_image_of_two_files_is_refused(tmp_path):
    """Each of its masks would lack the other's objects."""
    put(tmp_path / "in/a.png", picture(0))
    for name in ("first", "second"):
        put(tmp_path / f"in/annotations/instances_{name}.json", coco_file(["a.png"]))
    message = (
        r"instances_second\.json images\[0\]: has annotations of .*a\.png, and .*instances_first\.json images\[0\] has"
    )
    with pytest.raises(DataError, match=message):
        convert(tmp_path / "in", tmp_path / "out")


def test_two_entries_of_one_image_are_joined(tmp_path):
    """As when exports are merged: the annotations belong together, unless the sizes say otherwise."""
    table = coco_file(["a.png", "a.png"])
    table["annotations"][1]["segmentation"] = [[10, 2, 16, 2, 16, 8, 10, 8]]
    put(tmp_path / "in/a.png", picture(0))
    put(tmp_path / "in/c.json", table)
    assert convert(tmp_path / "in/c.json", tmp_path / "out").images == 1
    assert read_mask(tmp_path / "out/masks/a.png").sum() == 72
    table["images"][1]["width"] = W + 1
    put(tmp_path / "in/c.json", table)
    with pytest.raises(DataError, match=r"images\[1\]: names a\.png a second time, and with another size"):
        convert(tmp_path / "in/c.json", tmp_path / "no")
    table["images"][1] |= {"width": W, "file_name": "b.png", "id": 0}
    put(tmp_path / "in/c.json", table)
    with pytest.raises(DataError, match=r"images\[1\]: gives the id 0 a second time, to b\.png"):
        convert(tmp_path / "in/c.json", tmp_path / "no")
