"""Landmarks as other programs write them: the right points, in pixels whose centres are integers."""

import json
from pathlib import Path

import numpy as np
import pytest

from atrous.annotations.coco_keypoints import COCO_KEYPOINTS
from atrous.annotations.cvat_points import CVAT_POINTS
from atrous.annotations.deeplabcut import DEEPLABCUT
from atrous.annotations.label_studio_points import LABEL_STUDIO_POINTS
from atrous.annotations.labelme_points import LABELME_POINTS
from atrous.annotations.landmark_csv import LANDMARK_CSV, write_landmark_csv
from atrous.annotations.parsing import Gathered
from atrous.images.files import write_image

H, W = 20, 40


def images(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(root / name, np.random.default_rng(number).integers(0, 255, (H, W, 3), dtype=np.uint8))


def read(format, path: Path, **left_out: int):
    """The only table, after it is sure that nothing was wrong."""
    assert format.fits(path)
    gathered = Gathered()
    tables = format.read(path, None, gathered)
    assert not gathered.findings, list(map(str, gathered.findings))
    assert sum(gathered.left_out.values()) == sum(left_out.values())
    return next(iter(tables.values())) if len(tables) == 1 else tables


def shown(table, number: int = 0) -> dict:
    """name -> [x, y, visibility] of an entry."""
    entry = table.entries[number]
    rows = zip(table.names, entry.points.tolist(), entry.visibility.tolist(), strict=True)
    return {name: [*point, seen] for name, point, seen in rows if seen}


TABLES = {
    "wide": "file,nose_x,nose_y,nose_visible,left_ear_x,left_ear_y\na.png,1.5,2,1,,\nb.png,3,4,,5,6\n",
    "long": "image,bodypart,x,y,visible\na.png,nose,1.5,2,1\nb.png,nose,3,4,\nb.png,left_ear,5,6,2\n"
    "a.png,left_ear,,,0\n",
    "semicolons and decimal commas": "file;nose_x;nose_y;nose_v;left_ear_x;left_ear_y\n"
    "a.png;1,5;2;1;nan;NA\nb.png;3;4;2;5;6",
    "prefix": "img,x_nose,y_nose,v_nose,x_left_ear,y_left_ear\na.png,1.5,2,1,,\nb.png,3,4,2,5,6\n",
    "capitals and a byte order mark": "\ufefffile,noseX,noseY,nose_vis,left_earX,left_earY\r\n"
    "a.png,1.5,2,1,,\r\nb.png,3,4,2,5,6\r\n",
    "no suffix": "file\tnose.x\tnose.y\tnose.visible\tleft_ear.x\tleft_ear.y\n"
    "a\t1.5\t2\tfalse\t\t\nb\t3\t4\ttrue\t5\t6\n",
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_say_the_same_in_many_forms(tmp_path, kind):
    images(tmp_path, "images/a.png", "images/b.png")
    (tmp_path / "landmarks.csv").write_text(TABLES[kind], encoding="utf-8")
    table = read(LANDMARK_CSV, tmp_path)
    assert table.names == ("nose", "left_ear")
    assert [entry.file.name for entry in table.entries] == ["a.png", "b.png"]
    assert shown(table, 0) == {"nose": [1.5, 2, 1]}
    assert shown(table, 1) == {"nose": [3, 4, 2], "left_ear": [5, 6, 2]}


def test_a_table_tells_individuals_apart_by_their_boxes_and_is_written_as_it_was(tmp_path):
    images(tmp_path, "images/a.png")
    text = ("file,individual,snout_x,snout_y,box_x,box_y,box_width,box_height,remark\n"
            "a.png,one,1.25,2,0,0,9,9,old\na.png,two,11,2,10,0,9,9,\n")  # fmt: skip
    (tmp_path / "landmarks.csv").write_text(text)
    table = read(LANDMARK_CSV, tmp_path, remark=1)
    assert [(e.individual, e.box.tolist(), e.middle.tolist()) for e in table.entries] == [
        ("one", [0, 0, 9, 9], [4, 4]), ("two", [10, 0, 9, 9], [14, 4])]  # fmt: skip
    write_landmark_csv(tmp_path / "landmarks.csv", table, {entry.file: entry.file.name for entry in table.entries})
    assert read(LANDMARK_CSV, tmp_path) == table


def test_coco_gives_each_person_with_its_box(tmp_path):
    images(tmp_path, "train2017/a.png", "val2017/b.png")
    category = {"id": 1, "name": "person", "keypoints": ["nose", "left_eye", "right_eye"]}
    ball = {"id": 2, "name": "ball"}
    good = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 5], "keypoints": [1, 2, 2, 3, 4, 1, 0, 0, 0]}
    rows = [good, {**good, "bbox": [9, 0, 9, 5]}, {**good, "iscrowd": 1}, {**good, "keypoints": [0] * 9},
            {**good, "category_id": 2, "keypoints": [7]}]  # fmt: skip
    for split, name in (("train", "a"), ("val", "b")):
        image = {"id": 1, "file_name": f"{name}.png", "height": H, "width": W}
        file = tmp_path / f"annotations/person_keypoints_{split}2017.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"images": [image], "annotations": rows, "categories": [category, ball]}))
    tables = read(COCO_KEYPOINTS, tmp_path, crowd=2, empty=2, ball=2)
    assert list(tables) == ["train2017", "val2017"]
    table = tables["train2017"]
    assert table.pairs == ((1, 2),)
    assert shown(table) == {"nose": [1, 2, 2], "left_eye": [3, 4, 1]}
    assert [entry.middle.tolist() for entry in table.entries] == [[4, 2], [13, 2]]
    assert table.entries[0].size == (H, W)


DLC = {
    "one index column": "scorer,Ann,Ann,Ann,Ann\nbodyparts,snout,snout,tail,tail\ncoords,x,y,x,y\n"
    "labeled-data/vid/a.png,1.5,2,,\nlabeled-data\\vid\\b.png,3,4,5,6\n",
    "three index columns": "scorer,,,Ann,Ann,Ann,Ann\nbodyparts,,,snout,snout,tail,tail\ncoords,,,x,y,x,y\n"
    "labeled-data,vid,a.png,1.5,2,,\nlabeled-data,vid,b.png,3,4,5,6\nlabeled-data,vid,gone.png,,,,\n",
    "several animals, one in each": "scorer,,,A,A,A,A,A,A,A,A\nindividuals,,,m1,m1,m1,m1,m2,m2,m2,m2\n"
    "bodyparts,,,snout,snout,tail,tail,snout,snout,tail,tail\ncoords,,,x,y,x,y,x,y,x,y\n"
    "labeled-data,vid,a.png,1.5,2,,,,,,\nlabeled-data,vid,b.png,,,,,3,4,5,6\n",
}


@pytest.mark.parametrize("kind", DLC)
def test_deeplabcut_as_a_project(tmp_path, kind):
    images(tmp_path, "labeled-data/vid/a.png", "labeled-data/vid/b.png")
    (tmp_path / "labeled-data/vid/CollectedData_Ann.csv").write_text(DLC[kind])
    table = read(DEEPLABCUT, tmp_path, empty=kind.startswith("three"))
    assert table.names == ("snout", "tail")
    assert shown(table, 0) == {"snout": [1.5, 2, 2]}
    assert shown(table, 1) == {"snout": [3, 4, 2], "tail": [5, 6, 2]}


def test_body_parts_of_the_scene_belong_to_every_animal(tmp_path):
    images(tmp_path, "labeled-data/vid/a.png")
    text = ("scorer,,,A,A,A,A\nindividuals,,,m1,m1,single,single\nbodyparts,,,snout,snout,corner,corner\n"
            "coords,,,x,y,x,y\nlabeled-data,vid,a.png,1,2,3,4\n")  # fmt: skip
    (tmp_path / "labeled-data/vid/CollectedData_A.csv").write_text(text)
    table = read(DEEPLABCUT, tmp_path)
    assert shown(table) == {"snout": [1, 2, 2], "corner": [3, 4, 2]}


def test_labelme_counts_from_the_corner_of_the_image(tmp_path):
    images(tmp_path, "a.png")
    shapes = [
        {"label": "tail", "points": [[0.5, 0.5]], "shape_type": "point", "group_id": 1, "flags": {"hidden": True}},
        {"label": "nose", "points": [[10, 4]], "shape_type": "point", "group_id": 1},
        {"label": "mouse", "points": [[12, 8], [2, 3]], "shape_type": "rectangle", "group_id": 1},
        {"label": "path", "points": [[1, 1], [2, 2]], "shape_type": "line"},
    ]
    table = {"shapes": shapes, "imagePath": "a.png", "imageHeight": H, "imageWidth": W}
    (tmp_path / "a.json").write_text(json.dumps(table))
    (tmp_path / "labels.txt").write_text("__ignore__\ntail\nnose\n")
    found = read(LABELME_POINTS, tmp_path, line=1)
    assert found.names == ("tail", "nose")
    assert shown(found) == {"tail": [0, 0, 1], "nose": [9.5, 3.5, 2]}
    assert found.entries[0].box.tolist() == [2, 3, 10, 5]


def test_cvat_skeletons_and_points(tmp_path):
    images(tmp_path, "images/a.png", "images/b.png")
    head = f'width="{W}" height="{H}"'
    labels = "".join(f"<label><name>{name}</name></label>" for name in ("mouse", "tail", "nose"))
    text = f"""<annotations><meta><job><labels>{labels}</labels></job></meta>
<image id="0" name="a.png" {head}><skeleton label="mouse">
<points label="nose" outside="0" occluded="1" points="3.00,4.00"/>
<points label="tail" outside="1" occluded="0" points="9.00,9.00"/></skeleton></image>
<image id="1" name="b.png" {head}><points label="tail" occluded="0" points="0.50,0.50" group_id="0"/>
<tag label="mouse"/></image></annotations>"""
    (tmp_path / "annotations.xml").write_text(text)
    table = read(CVAT_POINTS, tmp_path, tag=1)
    assert table.names == ("tail", "nose")
    assert shown(table, 0) == {"nose": [2.5, 3.5, 1]}
    assert shown(table, 1) == {"tail": [0, 0, 2]}


def test_label_studio_key_points_of_two_parents(tmp_path):
    images(tmp_path, "a.png")
    sides = {"original_width": W, "original_height": H, "image_rotation": 0}

    def point(number: int, label: str, x: float, y: float, parent: str) -> dict:
        value = {"x": x, "y": y, "width": 0.5, "keypointlabels": [label]}
        return {
            "id": f"p{number}",
            "type": "keypointlabels",
            "value": value,
            "parentID": parent,
            "hidden": True,
            **sides,
        }

    def box(number: int, x: float) -> dict:
        value = {"x": x, "y": 0, "width": 25, "height": 50, "rotation": 0, "rectanglelabels": ["mouse"]}
        return {"id": f"r{number}", "type": "rectanglelabels", "value": value, **sides}

    covered = {"id": "p1", "type": "choices", "value": {"choices": ["occluded"]}, **sides}
    result = [box(0, 0), box(1, 50), point(0, "nose", 10, 10, "r0"), point(1, "tail", 20, 20, "r0"),
              point(2, "nose", 60, 10, "r1"), covered]  # fmt: skip
    task = {"data": {"image": "/data/upload/1/deadbeef-a.png"}, "annotations": [{"result": result}]}
    (tmp_path / "export.json").write_text(json.dumps([task]))
    table = read(LABEL_STUDIO_POINTS, tmp_path / "export.json")
    assert table.names == ("nose", "tail")
    assert shown(table, 0) == {"nose": [3.5, 1.5, 2], "tail": [7.5, 3.5, 1]}
    assert [entry.box.tolist() for entry in table.entries] == [[0, 0, 10, 10], [20, 0, 10, 10]]
