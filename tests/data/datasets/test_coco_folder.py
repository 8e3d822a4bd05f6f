"""COCO's folder as it is handed out: official annotations of several kinds beside each other, panoptic ones too."""

import json

import numpy as np
import pytest

from atrous.data import FolderDataset, check_folder, open_folder
from atrous.errors import DataError

SQUARE = [[2, 2, 8, 2, 8, 8, 2, 8]]


def images(n):
    return [{"id": n, "file_name": f"{n:012}.jpg", "height": 12, "width": 16}]


def outlines(n, **changes):
    row = {"id": n, "image_id": n, "category_id": 18, "segmentation": SQUARE, "area": 36, "iscrowd": 0, "bbox": []}
    categories = [
        {"id": 18, "name": "dog", "supercategory": "animal"},
        {"id": 1, "name": "animal", "supercategory": "animal"},  # repeats a supercategory; nothing belongs to it
        {"id": 0, "name": "person", "supercategory": "person"},
    ]
    return {"images": images(n), "annotations": [row], "categories": categories, **changes}


@pytest.fixture
def official(put, photo, tmp_path):
    """As `download("coco")` unpacks it: instances, captions and key points for both splits."""
    for n, split in ((1, "train2017"), (2, "val2017")):
        put(f"{split}/{n:012}.jpg", photo(n))
        put(f"annotations/instances_{split}.json", json.dumps(outlines(n)))
        caption = {"images": images(n), "annotations": [{"id": n, "image_id": n, "caption": "A dog."}]}
        put(f"annotations/captions_{split}.json", json.dumps(caption))
        persons = [{"id": 1, "name": "person", "supercategory": "person", "keypoints": ["nose"], "skeleton": []}]
        row = {"id": 9, "image_id": n, "category_id": 1, "segmentation": SQUARE, "area": 36, "keypoints": [3, 3, 2]}
        keypoints = {"images": images(n), "annotations": [row], "categories": persons}
        put(f"annotations/person_keypoints_{split}.json", json.dumps(keypoints))
    return tmp_path


def test_instances_are_read_beside_captions_and_key_points(official):
    folder = open_folder(official)
    assert (folder.layout, folder.classes.names) == ("coco", ("background", "person", "animal", "dog"))
    assert {split: len(pairs) for split, pairs in folder.splits.items()} == {"train": 1, "val": 1}
    mask = FolderDataset(folder, "train")[0]["mask"].numpy()
    assert (mask[2:8, 2:8] == 3).all()
    assert (mask == 3).sum() == 36
    report = check_folder(official)
    assert not report.errors
    assert {finding.code for finding in report.warnings} <= {"class_never_seen"}


def segments(numbers):
    """A picture of segments: red + 256 green + 65536 blue."""
    numbers = np.asarray(numbers)
    return np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=2).astype(np.uint8)


IDS = np.zeros((12, 16), int)
IDS[:4], IDS[4:8, :8], IDS[4:8, 8:], IDS[8:11] = 70000, 300, 301, 5


@pytest.fixture
def panoptic(put, photo, tmp_path):
    rows = [
        {"id": 70000, "category_id": 187, "iscrowd": 0},
        {"id": 300, "category_id": 18, "iscrowd": 0},
        {"id": 301, "category_id": 18, "iscrowd": 0},
        {"id": 5, "category_id": 1, "iscrowd": 1},
    ]
    categories = [
        {"id": 1, "name": "person", "isthing": 1},
        {"id": 18, "name": "dog", "isthing": 1},
        {"id": 187, "name": "sky", "isthing": 0},
    ]
    for n, split in ((1, "train2017"), (2, "val2017")):
        put(f"{split}/{n:012}.jpg", photo(n))
        put(f"annotations/panoptic_{split}/{n:012}.png", segments(IDS))
        row = {"image_id": n, "file_name": f"{n:012}.png", "segments_info": rows}
        table = {"images": images(n), "annotations": [row], "categories": categories}
        put(f"annotations/panoptic_{split}.json", json.dumps(table))
    return tmp_path


def test_panoptic(panoptic):
    folder = open_folder(panoptic)
    assert (folder.layout, folder.classes.names) == ("coco_panoptic", ("person", "dog", "sky"))
    sample = FolderDataset(folder, "val")[0]
    wanted = np.full((12, 16), 255)
    wanted[:4], wanted[4:8], wanted[8:11] = 2, 1, 0
    np.testing.assert_array_equal(sample["mask"].numpy(), wanted)
    objects = sample["instances"].numpy()
    assert sorted(np.unique(objects[4:8]).tolist()) == [1, 2]
    assert not objects[:4].any()  # stuff
    assert not objects[8:].any()  # a crowd, and no segment
    assert not check_folder(panoptic).errors


def test_panoptic_beside_instances_is_read_where_it_is_named(panoptic, put):
    for n, split in ((1, "train2017"), (2, "val2017")):
        put(f"annotations/instances_{split}.json", json.dumps(outlines(n)))
    assert open_folder(panoptic).layout == "coco"
    assert open_folder(panoptic, layout="coco_panoptic").classes.names == ("person", "dog", "sky")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda table: table["annotations"][0].update(image_id=7),
            r"annotations\[0\]: names image_id 7, which is no imag",
        ),
        (
            lambda table: table["annotations"][0].update(file_name="x.png"),
            r"annotations\[0\]: names .*x\.png, and there is",
        ),
        (
            lambda table: table["annotations"][0]["segments_info"].pop(),
            r"\.png.*: holds the segment 5, which its segments",
        ),
        (
            lambda table: table.update(categories=table["categories"][:2]),
            r"names category_id 187, which is no category",
        ),
        (
            lambda table: table["images"][0].update(height=13),
            r"\.png.*: is 12 x 16 x 3, and a colour for each of 13 x 16",
        ),
    ],
)
def test_what_may_be_wrong_with_panoptic(panoptic, spoil, message):
    path = panoptic / "annotations" / "panoptic_train2017.json"
    table = json.loads(path.read_text())
    spoil(table)
    path.write_text(json.dumps(table))
    with pytest.raises(DataError, match=message):
        check_folder(panoptic).raise_errors()
