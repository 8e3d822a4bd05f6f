"""COCO's JSON and COCO-Stuff: outlines become masks, and every broken entry is told with its place."""

import json
import pickle

import numpy as np
import pytest

from atrous.annotations.rle import counts_to_text, mask_to_counts
from atrous.data import FolderDataset, check_folder, open_folder
from atrous.data.datasets.coco_stuff import STUFF, THINGS
from atrous.errors import DataError

SQUARE = [2, 2, 8, 2, 8, 8, 2, 8]
INNER = [4, 4, 6, 4, 6, 6, 4, 6]
BAR = np.zeros((12, 16), bool)
BAR[:, 12:15] = True


def annotation(number, image, category, segmentation, **more):
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "iscrowd": 0,
        **more,
    }


def table(image=1, **changes):
    return {
        "images": [{"id": image, "file_name": f"{image:012}.jpg", "height": 12, "width": 16}],
        "categories": [{"id": 7, "name": "train"}, {"id": 3, "name": "car"}],
        "annotations": [
            annotation(11, image, 7, [INNER], area=4),  # smaller, so it stands before the square
            annotation(10, image, 3, [SQUARE], area=36),
            annotation(12, image, 3, {"size": [12, 16], "counts": mask_to_counts(BAR)}, area=36, iscrowd=1),
        ],
        **changes,
    }


@pytest.fixture
def coco(put, photo, tmp_path):
    for image, split in ((1, "train"), (2, "val")):
        put(f"{split}2017/{image:012}.jpg", photo(image))
        put(f"annotations/instances_{split}2017.json", json.dumps(table(image)))
    return tmp_path


def test_coco(coco):
    folder = open_folder(coco)
    assert folder.layout == "coco"
    assert folder.classes.names == ("background", "car", "train")
    assert {split: len(pairs) for split, pairs in folder.splits.items()} == {"train": 1, "val": 1}
    sample = FolderDataset(folder, "train")[0]
    wanted = np.zeros((12, 16), int)
    wanted[2:8, 2:8], wanted[4:6, 4:6], wanted[:, 12:15] = 1, 2, 1
    assert (sample["mask"].numpy() == wanted).all()
    objects = sample["instances"].numpy()
    assert (objects[BAR] == 0).all()  # a crowd is no object
    assert len(np.unique(objects)) == 3
    assert len(np.unique(objects[wanted == 2])) == 1
    assert not check_folder(coco).errors
    assert pickle.loads(pickle.dumps(folder)) == folder
    assert str(folder.splits["val"][0].mask).endswith("instances_val2017.json 000000000002.jpg")


def test_compressed_run_lengths_and_one_file_for_all(put, photo, tmp_path):
    packed = {"size": [12, 16], "counts": counts_to_text(mask_to_counts(BAR))}
    images = [{"id": n, "file_name": f"a{n}.png", "height": 12, "width": 16} for n in range(4)]
    rows = [annotation(n, n, 3, packed) for n in range(3)]
    put("labels.json", json.dumps(table(images=images, annotations=rows)))
    for n in range(4):
        put(f"images/a{n}.png", photo(n))
    folder = open_folder(tmp_path)
    assert (folder.layout, len(folder.pairs)) == ("coco", 4)
    dataset = FolderDataset(folder, "train")
    shown = {name: dataset[i]["mask"].numpy() for i, name in enumerate(dataset.names)}
    assert all((mask == (BAR if name != "a3" else 0 * BAR)).all() for name, mask in shown.items())


def test_a_file_beside_the_images_of_each_split(put, photo, tmp_path):
    categories = [{"id": 0, "name": "my-project", "supercategory": "none"}, {"id": 1, "name": "cell"}]
    for n, split in enumerate(("train", "valid", "test")):
        put(f"{split}/a{n}.png", photo(n))
        images = [{"id": 5, "file_name": f"a{n}.png", "height": 12, "width": 16}]
        rows = [annotation(1, 5, 1, [SQUARE])]
        content = {"images": images, "annotations": rows, "categories": categories}
        put(f"{split}/_annotations.coco.json", json.dumps(content))
    folder = open_folder(tmp_path)
    assert (folder.layout, folder.classes.names) == ("coco", ("background", "cell"))
    assert {split: len(pairs) for split, pairs in folder.splits.items()} == {"train": 1, "val": 1, "test": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, r"instances_train2017\.json: has no key 'images'"),
        ({"images": [{"id": 1}]}, r"instances_train2017\.json images\[0\]: has no key 'height'"),
        ({"images": [{"id": 1, "height": "12"}]}, r"images\[0\], height: is \"12\", and a whole number is needed"),
        (
            {"annotations": [{"image_id": 9, "category_id": 3}]},
            r"annotations\[0\]: names image_id 9, which is no image",
        ),
        (
            {"annotations": [{"image_id": 1, "category_id": 5}]},
            r"annotations\[0\]: names category_id 5, which is no cat",
        ),
        ({"annotations": [{"image_id": 1}]}, r"annotations\[0\]: has no key 'category_id'"),
        (
            {"categories": [{"id": 3, "name": "a"}, {"id": 3, "name": "b"}]},
            r"categories\[1\]: gives the id 3 to 'b', and it is 'a'",
        ),
        ({"categories": [{"id": 3}]}, r"categories\[0\]: has no key 'name'"),
    ],
)
def test_a_broken_file(coco, changes, message):
    (coco / "annotations/instances_train2017.json").write_text(json.dumps(table(**changes)))
    with pytest.raises(DataError, match=message):
        open_folder(coco)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3, 4, 5]], "segmentation[0]: is no list of points"),
        ([[1, 2, "a", 4, 5, 6]], "segmentation[0]: is no list of points"),
        (
            {"size": [16, 12], "counts": [192]},
            "segmentation: has run lengths for a size of [16, 12], and its image has [12, 16]",
        ),
        (
            {"size": [12, 16], "counts": [100]},
            "segmentation: cannot be decoded: its runs cover 100 pixels, and the mask has 192",
        ),
        ({"size": [12, 16], "counts": "\x01"}, "belongs to no run length"),
        ({"size": [12, 16]}, "has no run lengths"),
    ],
)
def test_a_broken_outline(coco, segmentation, message):
    rows = [annotation(10, 1, 3, segmentation)]
    (coco / "annotations/instances_train2017.json").write_text(json.dumps(table(annotations=rows)))
    (finding, *_) = check_folder(coco).errors
    assert message in str(finding)
    assert "instances_train2017.json annotation 10" in str(finding)


def shown(folder, split="train", index=0):
    return FolderDataset(folder, split)[index]["mask"].numpy()


def test_objects_of_fewer_pixels_stand_before_others_whatever_area_the_file_gives(coco):
    for areas in ({}, {"area": 0}, {"area": 100}):  # none, zero, and a box's for all
        rows = [annotation(1, 1, 7, [INNER], **areas), annotation(2, 1, 3, [SQUARE], **areas)]
        (coco / "annotations/instances_train2017.json").write_text(json.dumps(table(annotations=rows)))
        mask = shown(open_folder(coco))
        assert ((mask == 2).sum(), (mask == 1).sum()) == (4, 32)


def test_annotations_without_an_outline_are_left_out_and_told(coco):
    outlines = ([INNER], None, [], [[1, 2, 3, 4]], [[], [1, 2]], [[1, 2, 3, 4], SQUARE])
    rows = [annotation(n, 1, 3, outline) for n, outline in enumerate(outlines)]
    (coco / "annotations/instances_train2017.json").write_text(json.dumps(table(annotations=rows)))
    assert (shown(open_folder(coco)) == 1).sum() == 36
    told = [str(finding) for finding in check_folder(coco).warnings if finding.code == "annotation"]
    assert len(told) == 2
    assert "instances_train2017.json: 2 annotations have a box at most, and no outline. They are left out" in told[0]
    assert "instances_train2017.json: 2 annotations have fewer than three points. They are left out" in told[1]


@pytest.mark.parametrize(
    "name", ["train2017/000000000001.jpg", "../upload/1/000000000001.jpg", "C:\\data\\000000000001.jpg"]
)
def test_file_names_with_folders(coco, name):
    image = {"id": 1, "file_name": name, "height": 12, "width": 16}
    (coco / "annotations/instances_train2017.json").write_text(json.dumps(table(images=[image])))
    folder = open_folder(coco)
    assert folder.splits["train"][0].image == coco / "train2017/000000000001.jpg"
    assert (shown(folder) == 1).sum() > 0
    assert not check_folder(coco).errors


def test_a_last_name_that_two_images_share_is_not_guessed(coco):
    images = [{"id": n, "file_name": f"{n}/000000000001.jpg", "height": 12, "width": 16} for n in (1, 2)]
    (coco / "annotations/instances_train2017.json").write_text(json.dumps(table(images=images)))
    with pytest.raises(DataError, match=r"images\[0\]: names .*1/000000000001\.jpg, and there is no such file"):
        open_folder(coco)


def test_what_stands_beside_the_official_instances(coco):
    people = {"categories": [{"id": 1, "name": "person", "keypoints": ["nose"]}]}
    rows = [annotation(1, 1, 1, [SQUARE], keypoints=[1, 1, 2])]
    (coco / "annotations/person_keypoints_train2017.json").write_text(json.dumps(table(annotations=rows, **people)))
    (coco / "annotations/captions_train2017.json").write_text(json.dumps({"images": [], "annotations": []}))
    assert open_folder(coco).classes.names == ("background", "car", "train")
    assert len(open_folder(coco).splits["train"]) == 1


def test_whole_words_name_a_split(put, photo, tmp_path):
    images = [{"id": n, "file_name": f"a{n}.png", "height": 12, "width": 16} for n in range(4)]
    rows = [annotation(n, n, 3, [SQUARE]) for n in range(4)]
    put("annotations/latest_labels.json", json.dumps(table(images=images, annotations=rows)))
    for n in range(4):
        put(f"images/a{n}.png", photo(n))
    assert {split: len(pairs) for split, pairs in open_folder(tmp_path).splits.items()} == {"train": 3, "val": 1}


CATEGORIES = [
    ([{"id": 0, "name": "cell"}, {"id": 1, "name": "dirt"}], (0, 1), ("cell", "dirt")),  # ids from 0
    ([{"id": 1, "name": "cell"}, {"id": 2, "name": "never"}], (1,), ("cell", "never")),
    ([{"id": 0, "name": "cell", "supercategory": "none"}, {"id": 1, "name": "cell", "supercategory": "cell"}],
     (1,), ("cell",)),  # Roboflow's
    ([{"id": 0, "name": "cell", "supercategory": "none"}, {"id": 1, "name": "cell", "supercategory": "cell"}],
     (0, 1), ("cell",)),
    ([{"id": 0, "name": "project", "supercategory": "none"}, {"id": 1, "name": "cell", "supercategory": "project"}],
     (1,), ("cell",)),
    ([{"id": 0, "name": "cell", "supercategory": "none"}], (0,), ("cell",)),
]  # fmt: skip


@pytest.mark.parametrize(("categories", "used", "names"), CATEGORIES)
def test_categories_as_tools_write_them(coco, categories, used, names):
    for image, split in ((1, "train"), (2, "val")):  # the second split need not show them all
        rows = [annotation(n, image, key, [SQUARE]) for n, key in enumerate(used[: 3 - image])]
        content = table(image, categories=categories, annotations=rows)
        (coco / f"annotations/instances_{split}2017.json").write_text(json.dumps(content))
    folder = open_folder(coco)
    assert folder.classes.names == ("background", *names)
    assert (shown(folder) == 1).sum() + (shown(folder) == len(names)).sum() >= 36


def test_files_of_different_categories_have_the_classes_of_all(coco):
    other = table(2, categories=[{"id": 7, "name": "car"}, {"id": 1, "name": "bus"}])
    other["annotations"] = [annotation(1, 2, 7, [SQUARE])]
    (coco / "annotations/instances_val2017.json").write_text(json.dumps(other))
    folder = open_folder(coco)
    assert folder.classes.names == ("background", "car", "train", "bus")
    assert (shown(folder, "val") == 1).sum() == 36


def test_files_that_are_not_there_or_no_json(coco):
    (coco / "val2017/000000000002.jpg").unlink()
    with pytest.raises(
        DataError, match=r"instances_val2017\.json images\[0\]: names .*000000000002\.jpg, and there is no"
    ):
        open_folder(coco)
    (coco / "annotations/instances_val2017.json").write_text('{"images": [\n{"id": 1,}]}')
    with pytest.raises(DataError, match=r"instances_val2017\.json line 2: is not JSON \(.*\)\. Export it again"):
        open_folder(coco)


def test_coco_stuff(put, photo, columns, tmp_path):
    assert (len(THINGS), len(STUFF), sum(map(bool, THINGS))) == (91, 91, 80)
    for seed, split in enumerate(("train2017", "val2017")):
        put(f"images/{split}/{seed:012}.jpg", photo(seed))
        put(f"stuffthingmaps/{split}/{seed:012}.png", columns(0, 89, 91, 181, 255))
    folder = open_folder(tmp_path)
    assert (folder.layout, len(folder.classes)) == ("coco_stuff", 171)
    shown = [folder.classes.names[k] for k in FolderDataset(folder, "train")[0]["mask"].unique().tolist() if k < 255]
    assert shown == ["person", "toothbrush", "banner", "wood"]
    put("stuffthingmaps/val2017/000000000001.png", columns(11, 0))  # "street sign" was never drawn
    assert "label 11" in str(check_folder(tmp_path).errors[0])


def test_coco_stuff_renumbered(put, photo, columns, tmp_path):
    for seed, split in enumerate(("train2017", "val2017")):
        put(f"images/{split}/{seed:012}.jpg", photo(seed))
        put(f"annotations/{split}/{seed:012}_labelTrainIds.png", columns(0, 79, 80, 170, 255))
    folder = open_folder(tmp_path)
    shown = [folder.classes.names[k] for k in FolderDataset(folder, "train")[0]["mask"].unique().tolist() if k < 255]
    assert (folder.layout, shown) == ("coco_stuff", ["person", "toothbrush", "banner", "wood"])
