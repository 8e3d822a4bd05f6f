"""Landmarks of a folder to COCO and labelme and back: the same points, visibility, boxes and splits."""

import json
from pathlib import Path

import numpy as np
import pytest

from atrous.annotations.landmarks import LandmarkEntry
from atrous.cli import main
from atrous.data import open_folder
from atrous.data.convert import choose_format
from atrous.errors import UsageError
from atrous.workflows.conversion import convert, write_annotations
from tests.labelled import picture as noise
from tests.labelled import put

NAMES = ("nose", "left ear", "right ear")


def folder(root: Path, boxes: bool) -> Path:
    """Three images of two splits; with boxes, the first shows two animals."""
    columns = ",".join(f"{name}_{axis}" for name in NAMES for axis in ("x", "y", "visible"))
    points = ["1.25,2,2,3,4,1,,,0", "5,6,2,7.125,8,2,9,10,2", "2,3,1,,,0,4.5,5,2"]
    for number in range(3):
        put(root / f"images/m{number}.png", noise(number))
    if boxes:
        rows = ["m0.png,a", "m0.png,b", "m1.png,a"]
        lines = [f"{row},{some},{n},1,9.5,8" for n, (row, some) in enumerate(zip(rows, points, strict=True))]
        head = f"file,individual,{columns},box_x,box_y,box_width,box_height"
        put(root / "train.csv", "\n".join([head, *lines]) + "\n")
        put(root / "val.csv", "\n".join([head, f"m2.png,a,{points[0]},0,0,30,20"]) + "\n")
        return root
    lines = [f"m{n}.png,{some}" for n, some in enumerate(points)]
    put(root / "train.csv", "\n".join([f"file,{columns}", *lines[:2]]) + "\n")
    put(root / "val.csv", "\n".join([f"file,{columns}", lines[2]]) + "\n")
    return root


def content(root: Path, *, boxes: bool = True) -> dict:
    """What a folder says, by split: image bytes, points, visibility, boxes."""
    opened = open_folder(root)
    assert set(opened.classes.names) == set(NAMES)
    order = [opened.classes.names.index(name) for name in NAMES]

    def one(entry: LandmarkEntry) -> tuple:
        box = None if entry.box is None or not boxes else entry.box.tolist()
        points = np.nan_to_num(entry.points[order], nan=-9).tolist()
        return entry.file.read_bytes(), points, entry.visibility[order].tolist(), box

    return {split: sorted(one(pair.landmarks) for pair in pairs) for split, pairs in opened.splits.items()}


@pytest.mark.parametrize("to", ["coco", "labelme"])
@pytest.mark.parametrize("boxes", [False, True])
def test_there_and_back(tmp_path, to, boxes):
    root = folder(tmp_path / "data", boxes)
    done = write_annotations(root, tmp_path / "out", to=to)
    assert str(done) == f"{tmp_path / 'out'}: 3 images, 3 landmarks: nose, left ear, right ear"
    assert choose_format(tmp_path / "out", None).title == {"coco": "COCO key points", "labelme": "labelme points"}[to]
    back = convert(tmp_path / "out", tmp_path / "back")
    assert (back.images, back.named) == (3, "landmarks")
    assert content(tmp_path / "back", boxes=boxes) == content(root)


def test_coco_is_opened_as_it_is_written(tmp_path):
    root = folder(tmp_path / "data", True)
    write_annotations(root, tmp_path / "out", to="coco")
    assert open_folder(tmp_path / "out").layout == "coco_keypoints"
    assert content(tmp_path / "out") == content(root)


def test_a_box_round_the_landmarks_has_their_middle(tmp_path):
    write_annotations(folder(tmp_path / "data", False), tmp_path / "out", to="coco")
    table = json.loads((tmp_path / "out/annotations/person_keypoints_val.json").read_text())
    assert table["annotations"][0]["bbox"] == [2, 3, 3.5, 3]
    assert open_folder(tmp_path / "out").splits["val"][0].landmarks.middle.tolist() == [3.25, 4]


def test_pairs_that_names_do_not_tell_are_kept_in_a_file_and_missed_in_annotations(tmp_path):
    root = folder(tmp_path / "data", False)
    put(root / "landmarks.yaml", "flip_pairs: [[nose, left ear]]\n")
    assert open_folder(root).classes.flip_pairs == ((0, 1),)
    done = write_annotations(root, tmp_path / "out", to="labelme")
    assert list(done.notes) == ["flip_pairs of landmarks.yaml, which annotations do not hold"]


def test_the_command_converts_points_and_refuses_what_is_for_masks(tmp_path, capsys):
    write_annotations(folder(tmp_path / "data", False), tmp_path / "out", to="labelme")
    assert main(["convert", str(tmp_path / "out"), "-o", str(tmp_path / "back")]) == 0
    assert "3 images, 3 landmarks: nose, left ear, right ear" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--classes and --ignore are for masks"):
        convert(tmp_path / "out", tmp_path / "more", ignore=["nose"])


def test_frames_of_one_name_from_two_videos_keep_apart(tmp_path):
    head = "scorer,,,A,A\nbodyparts,,,snout,snout\ncoords,,,x,y\n"
    for number, video in enumerate(("day1", "day2")):
        put(tmp_path / f"in/labeled-data/{video}/img0.png", noise(number))
        put(
            tmp_path / f"in/labeled-data/{video}/CollectedData_A.csv",
            f"{head}labeled-data,{video},img0.png,{number},3\n",
        )
    assert open_folder(tmp_path / "in").layout == "deeplabcut"
    convert(tmp_path / "in", tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out/images").iterdir()) == ["day2_img0.png", "img0.png"]
    found = {pair.name: pair.landmarks.points.tolist() for pair in open_folder(tmp_path / "out").pairs}
    assert found == {"img0": [[0, 3]], "day2_img0": [[1, 3]]}
