"""Sixty kinds of bad landmark data: each ends as one line that names the place and the fix, and with code 2.

Every case writes a small data folder or annotations, wrong in one thing, and runs `atrous check` or `atrous convert` in
this process. Nothing is left where something was to be written.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from atrous.cli import main
from atrous.images.files import write_image

H, W, COUNT = 24, 32, 8
HEAD = "file,nose_x,nose_y,left ear_x,left ear_y"
CATEGORY = {"id": 1, "name": "mouse", "keypoints": ["nose", "left_ear"]}
Spoil = Callable[[Path], object]
CASES: dict[str, tuple[str, str, Spoil]] = {}


def case(text: str, *command: str) -> Callable[[Spoil], Spoil]:
    """A case of `check`, or of a named format that `convert` reads."""

    def add(spoil: Spoil) -> Spoil:
        CASES[spoil.__name__] = (text, command[0] if command else "", spoil)
        return spoil

    return add


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for number in range(COUNT):
        array = np.random.default_rng(number).integers(0, 255, (H, W, 3), dtype=np.uint8)
        write_image(root / f"{number}.png", array)
    return root


@pytest.mark.parametrize("name", CASES)
def test_bad_landmarks_end_as_one_line(name, tmp_path, pictures, capsys):
    text, kind, spoil = CASES[name]
    data = tmp_path / "data"
    shutil.copytree(pictures, data / "images")
    spoil(data)
    if kind:
        command = ["convert", str(data), "--from", kind, "--images", str(data / "images"), "-o", str(tmp_path / "out")]
    else:
        command = ["check", str(data)]
    assert main(command) == 2
    out, err = capsys.readouterr()
    lines = [line for line in (out + err).splitlines() if "error" in line or re.search(text, line)]
    assert any(re.search(text, line) for line in lines), out + err
    assert "Traceback" not in out + err
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


def test_there_are_as_many_as_the_heading_says():
    assert len(CASES) == 60


# --- tables ----------------------------------------------------------------------------------------------------------


def rows(data: Path, changes: dict[int, str] | None = None, head: str = HEAD, file: str = "landmarks.csv") -> None:
    """A table with a sound row for each image but those that are changed."""
    lines = [(changes or {}).get(n, f"{n}.png,{3 + n},4,{9 + n},{11 - n}") for n in range(COUNT)]
    data.joinpath(file).write_text("\n".join([head, *lines]) + "\n")


def put(path: Path, text: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


@case(r"data: holds no table of landmarks\. Write landmarks\.csv: file,nose_x,nose_y", "landmarks")
def no_table(data: Path) -> None:
    put(data / "notes.txt", "none")


@case(r"landmarks\.csv line 1: has a column of x for 'left ear', and none of y\. Add it, or rename")
def x_without_y(data: Path) -> None:
    rows(data, head=HEAD.replace("left ear_y", "left eye"))


@case(r"landmarks\.csv line 1: names no landmark: file, a, b, c, d\. Write: file,nose_x,nose_y")
def no_landmark_columns(data: Path) -> None:
    rows(data, head="file,a,b,c,d")


@case(r"landmarks\.csv line 1: names the column 'nose_x' twice\. Give every column a name")
def column_twice(data: Path) -> None:
    rows(data, head=HEAD.replace("left ear_y", "Nose_X"))


@case(r"landmarks\.csv: has no row of landmarks\. Write a first line of names, then a row for each image")
def header_alone(data: Path) -> None:
    put(data / "landmarks.csv", HEAD)


@case(r"landmarks\.csv: is not UTF-8 text\. Save it as CSV, encoded as UTF-8")
def not_utf8(data: Path) -> None:
    rows(data, {COUNT - 1: "7.png,1,2,,\n"})
    with data.joinpath("landmarks.csv").open("ab") as file:
        file.write(b"caf\xe9.png,1,2,3,4\n" * 9000)


@case(r"landmarks\.csv: is no CSV \(.*\)\. Export it again; it may be cut off")
def cut_off_in_quotes(data: Path) -> None:
    rows(data, {7: '"7.png,1,2,3'})


@case(r"landmarks\.csv line 4: has 4 cells, and the first line 5\. Correct the line")
def ragged_row(data: Path) -> None:
    rows(data, {2: "2.png,1,2,3"})


@case(r"landmarks\.csv line 4, nose: is '1O', and a number of pixels is needed\. Correct it; leave it empty")
def letters_for_a_number(data: Path) -> None:
    rows(data, {2: "2.png,1O,2,3,4"})


@case(r"landmarks\.csv line 4, left ear: is 'inf', and a number of pixels is needed")
def infinite(data: Path) -> None:
    rows(data, {2: "2.png,1,2,inf,4"})


@case(r"landmarks\.csv line 4, nose: has no y\. Write both, or leave both empty")
def half_a_place(data: Path) -> None:
    rows(data, {2: "2.png,1,,3,4"})


def seen(data: Path, value: str, place: str = "3,4") -> None:
    """A column of visibility."""
    lines = [f"{n}.png,{place if n == 2 else f'{n},5'},{value if n == 2 else 2}" for n in range(COUNT)]
    put(data / "landmarks.csv", "\n".join(["file,nose_x,nose_y,nose_visible", *lines]))


@case(r"line 4, nose: has a visibility of '3'\. Write 0 where absent, 1 where hidden, 2 where visible")
def visibility_of_three(data: Path) -> None:
    seen(data, "3")


@case(r"line 4, nose: has a place and a visibility of 0\. Visibility is 0 absent, 1 hidden, 2 visible: write 1 where")
def visibility_of_zero_for_hidden(data: Path) -> None:
    seen(data, "0")


@case(r"line 4, nose: has a visibility of 2 and no place\. Write its x and y, or the visibility 0")
def visible_nowhere(data: Path) -> None:
    seen(data, "2", ",")


@case(r"landmarks\.csv line 4: names the image gone\.png, and there is no such file\. Put it beside")
def image_missing(data: Path) -> None:
    rows(data, {2: "gone.png,1,2,3,4"})


@case(r"landmarks\.csv line 4: names no image\. Write the image's file into the first column")
def image_not_named(data: Path) -> None:
    rows(data, {2: ",1,2,3,4"})


@case(r"landmarks\.csv line 4: is a second row of 1\.png, which line 3 has too\. Keep one row for each image")
def image_twice(data: Path) -> None:
    rows(data, {2: "1.png,1,2,3,4"})


@case(r"images/1\.png: shows 2 persons or animals, and nothing says where 2 of them are\. Give each a centre or a box")
def two_animals_without_a_box(data: Path) -> None:
    put(data / "landmarks.csv", "file,individual,nose_x,nose_y\n0.png,a,1,2\n1.png,a,3,4\n1.png,b,5,6\n")


@case(r"landmarks\.csv line 3, box: is there in part\. Fill all of its cells, or none")
def half_a_box(data: Path) -> None:
    head = "file,nose_x,nose_y,box_x,box_y,box_width,box_height"
    put(data / "landmarks.csv", f"{head}\n0.png,1,2,0,0,9,9\n1.png,1,2,0,0,9,\n")


@case(r"line 4: gives 'nose' of 0\.png a second place\. Keep one of the rows")
def landmark_twice(data: Path) -> None:
    put(data / "landmarks.csv", "file,name,x,y\n0.png,nose,1,2\n1.png,nose,1,2\n0.png,nose,3,4\n")


@case(r"line 3: names no landmark\. Write its name into the row")
def landmark_without_a_name(data: Path) -> None:
    put(data / "landmarks.csv", "file,name,x,y\n0.png,nose,1,2\n1.png,,1,2\n")


@case(r"val\.csv: names other landmarks than .*train\.csv: it lacks 'left ear' and adds 'left_ear'\. Give a landmark")
def names_that_differ_between_splits(data: Path) -> None:
    rows(data, file="train.csv")
    rows(data, head=HEAD.replace(" ear", "_ear"), file="val.csv")


@case(r"landmarks\.csv: .*256 landmarks|holds 1 to 255 classes, not 256")
def too_many_landmarks(data: Path) -> None:
    head = ",".join(f"x{n},y{n}" for n in range(256))
    body = [f"{n}.png," + ",".join(["1,2"] * 256) for n in range(2)]
    put(data / "landmarks.csv", "\n".join([f"file,{head}", *body]))


@case(r"data: has no training pair|holds no image of a table of landmarks")
def nothing_labelled(data: Path) -> None:
    rows(data, {n: f"{n}.png,,,," for n in range(COUNT)})


# --- lists and landmarks.yaml ----------------------------------------------------------------------------------------


@case(r"val\.txt line 1: names 'O', and there is no such image with landmarks\. ")
def list_names_no_image(data: Path) -> None:
    rows(data)
    put(data / "train.txt", "1\n2\n3\n")
    put(data / "val.txt", "O\n4\n")


@case(r"train\.txt line 2: names '5', which has no landmarks\. Set them, or take the line out, or")
def list_names_an_unlabelled_image(data: Path) -> None:
    rows(data, {5: ""})
    put(data / "splits/train.txt", "1\n5\n")
    put(data / "splits/val.txt", "2\n")


@case(r"images/2\.png: stands in train and in val\. Take it out of val")
def image_in_two_lists(data: Path) -> None:
    rows(data)
    put(data / "train.txt", "1\n2\n3\n")
    put(data / "val.txt", "2\n")


@case(r"landmarks\.yaml: names the landmark 'noes', which .*data has not\. Did you mean 'nose'\?")
def chooses_an_unknown_landmark(data: Path) -> None:
    rows(data)
    put(data / "landmarks.yaml", "landmarks: [noes]\n")


@case(r"landmarks\.yaml: unknown key 'flip_pair'\. Did you mean 'flip_pairs'\?")
def unknown_key(data: Path) -> None:
    rows(data)
    put(data / "landmarks.yaml", "flip_pair: [[nose, left ear]]\n")


@case(r"landmarks\.yaml line 2: is not YAML: .*\. Correct the line")
def not_yaml(data: Path) -> None:
    rows(data)
    put(data / "landmarks.yaml", "landmarks: [nose\n")


@case(r"landmarks\.yaml: 'flip_pairs' must be a list of pairs, each name once\. Write: landmarks:")
def three_in_a_pair(data: Path) -> None:
    rows(data)
    put(data / "landmarks.yaml", "flip_pairs: [[nose, left ear, nose]]\n")


# --- places that are wrong in the set --------------------------------------------------------------------------------


@case(r"data: has all landmarks between 0 and 1, .*\. Write x and y in pixels: multiply them by width and height")
def shares_of_the_sides(data: Path) -> None:
    rows(data, {n: f"{n}.png,0.{n},0.5,0.2,1" for n in range(COUNT)})


@case(r"data: has landmarks outside of 8 of 8 images, and none if x and y change places\. Write x, the column")
def rows_before_columns(data: Path) -> None:
    rows(data, {n: f"{n}.png,3,{24 + n},4,5" for n in range(COUNT)})


@case(r"data: has landmarks outside of 8 of 8 images\. They may have been set on larger images")
def of_larger_images(data: Path) -> None:
    rows(data, {n: f"{n}.png,{60 + n},50,4,5" for n in range(COUNT)})


@case(r"images/3\.png: has 32 x 24 pixels \(width x height\), and none of its landmarks lies in it: nose \(99, 4\)")
def of_another_image(data: Path) -> None:
    rows(data, {3: "3.png,99,4,99,9"})


@case(r"data: has 'left ear' at exactly \(-1, -1\) in 2 images\. If that stands for a landmark that is absent, leave")
def minus_one_for_absent(data: Path) -> None:
    rows(data, {n: f"{n}.png,{n},4,-1,-1" for n in (3, 5)})


# --- DeepLabCut ------------------------------------------------------------------------------------------------------


def dlc(data: Path, *lines: str, file: str = "CollectedData_A.csv") -> None:
    head = ["scorer,A,A,A,A", "bodyparts,nose,nose,tail,tail", "coords,x,y,x,y"]
    put(data / file, "\n".join(lines if lines[0].startswith("scorer") else [*head, *lines]))


@case(r"CollectedData_A\.csv line 1: begins with 'file', and no header of DeepLabCut\. Export it again")
def dlc_without_a_header(data: Path) -> None:
    rows(data, file="CollectedData_A.csv", head="file,a,b,c,d")


@case(r"CollectedData_A\.csv: holds predictions: it has a column 'likelihood'\. Name the table of the labelled frames")
def dlc_predictions(data: Path) -> None:
    dlc(data, "scorer,A,A,A", "bodyparts,nose,nose,nose", "coords,x,y,likelihood", "0.png,1,2,0.9")


@case(r"CollectedData_A\.csv: has one coordinate of 'nose' alone\. Export it again from DeepLabCut")
def dlc_half_a_body_part(data: Path) -> None:
    dlc(data, "scorer,A", "bodyparts,nose", "coords,x", "0.png,1")


@case(r"CollectedData_A\.csv: has two columns 'x' of 'nose'\. Give every body part a name of its own")
def dlc_body_part_twice(data: Path) -> None:
    dlc(data, "scorer,A,A,A", "bodyparts,nose,nose,nose", "coords,x,y,x", "0.png,1,2,3")


@case(r"CollectedData_A\.csv line 5, tail: has one coordinate and not the other\. Write both, or leave both empty")
def dlc_half_a_place(data: Path) -> None:
    dlc(data, "0.png,1,2,3,4", "1.png,1,2,3,")


@case(r"images/1\.png: shows 2 persons or animals, and nothing says where 2 of them are")
def dlc_two_animals(data: Path) -> None:
    dlc(data, "scorer,A,A,A,A", "individuals,m,m,n,n", "bodyparts,nose,nose,nose,nose", "coords,x,y,x,y",
        "0.png,1,2,,", "1.png,1,2,3,4")  # fmt: skip


@case(r"CollectedData_A\.h5: cannot be read as a table of pandas \(.*\)\. Use the CSV beside it, or export it again")
def dlc_damaged_h5(data: Path) -> None:
    put(data / "CollectedData_A.h5", "no such thing")


# --- COCO ------------------------------------------------------------------------------------------------------------


def coco(data: Path, *changes: dict, category: dict | None = None, size: tuple[int, int] = (H, W)) -> None:
    images = [{"id": n, "file_name": f"{n}.png", "height": size[0], "width": size[1]} for n in range(COUNT)]
    good = {"category_id": 1, "bbox": [0, 0, 9, 9], "keypoints": [3, 4, 2, 5, 6, 1]}
    found = [{**good, "image_id": n} for n in range(COUNT)]
    for number, change in enumerate(changes):
        found[number] |= change
    table = {"images": images, "annotations": found, "categories": [category or CATEGORY]}
    put(data / "annotations/person_keypoints_train.json", json.dumps(table))


@case(r"train\.json annotations\[0\], keypoints: has 5 numbers, and 2 key points need 6\. Give x, y, v of every")
def coco_too_few_numbers(data: Path) -> None:
    coco(data, {"keypoints": [1, 2, 2, 3, 4]})


@case(r"annotations\[0\], keypoints: has v = 3 for key point 1\. v is 0 where a key point is absent")
def coco_visibility_of_three(data: Path) -> None:
    coco(data, {"keypoints": [1, 2, 2, 3, 4, 3]})


@case(r"annotations\[0\], keypoints: has a place and v = 0 for key point 0\. v is 0 absent, 1 hidden, 2 visible: write")
def coco_zero_for_hidden(data: Path) -> None:
    coco(data, {"keypoints": [1, 2, 0, 3, 4, 1]})


@case(r"annotations\[0\], keypoints: holds something that is no number\. Correct it")
def coco_no_numbers(data: Path) -> None:
    coco(data, {"keypoints": [1, 2, 2, "x", 4, 1]})


@case(r"annotations\[0\]: names image_id 99, which is no image of this file\. Delete the annotation")
def coco_unknown_image(data: Path) -> None:
    coco(data, {"image_id": 99})


@case(r"images/1\.png: shows 2 persons or animals, and nothing says where 1 of them are")
def coco_two_persons_and_one_box(data: Path) -> None:
    coco(data, {"image_id": 1, "bbox": None})


@case(r"person_keypoints_train\.json categories\[0\], keypoints: names 'nose' twice\. Give every key point a name")
def coco_name_twice(data: Path) -> None:
    coco(data, category={**CATEGORY, "keypoints": ["nose", "nose"]})


@case(r"images/0\.png: has 24 x 32 pixels \(height x width\), and its landmarks were set on 48 x 64\. Use the images")
def coco_of_another_size(data: Path) -> None:
    coco(data, size=(2 * H, 2 * W))


# --- labelling tools -------------------------------------------------------------------------------------------------


def labelme(data: Path, *shapes: dict, **more: object) -> None:
    good = {"label": "nose", "points": [[3, 4]], "shape_type": "point", "group_id": None}
    table = {"shapes": [{**good, **shape} for shape in shapes], "imagePath": "0.png", **more}
    put(data / "0.json", json.dumps(table))


@case(
    r"0\.json shapes\[1\]: is a second 'nose' of the same person or animal\. Delete one; tell several", "labelme_points"
)
def labelme_landmark_twice(data: Path) -> None:
    labelme(data, {}, {})


@case(r"0\.json shapes\[1\], points: has 2 points, and a landmark is one\. Set one point for each", "labelme_points")
def labelme_two_places(data: Path) -> None:
    labelme(data, {}, {"label": "tail", "points": [[1, 2], [3, 4]]})


@case(r"0\.json: has 2 rectangles for the points of group_id 1\. Give each person or animal", "labelme_points")
def labelme_two_boxes(data: Path) -> None:
    box = {"shape_type": "rectangle", "points": [[1, 2], [3, 4]], "group_id": 1}
    labelme(data, {"group_id": 1}, box, box)


@case(r"0\.json: was drawn on 20 x 32 pixels \(height x width\), and the image has 24 x 32", "labelme_points")
def labelme_of_another_size(data: Path) -> None:
    labelme(data, {}, imageHeight=20, imageWidth=W)


@case(r"data: holds no labelled point\. Set a point for each landmark in labelme", "labelme_points")
def labelme_without_points(data: Path) -> None:
    labelme(data)


def cvat(data: Path, *shapes: str) -> None:
    image = f'<image name="0.png" width="{W}" height="{H}">{"".join(shapes)}</image>'
    put(data / "annotations.xml", f"<annotations>{image}</annotations>")


@case(r"image\[0\] \(0\.png\) points\[0\], nose, points: has 2 points, and a landmark is one", "cvat_points")
def cvat_two_places(data: Path) -> None:
    cvat(data, '<points label="nose" points="1,2;3,4"/>')


@case(r"skeleton\[0\], nose: is a second 'nose' of the same person or animal\. Delete one", "cvat_points")
def cvat_landmark_twice(data: Path) -> None:
    point = '<points label="nose" points="1,2" outside="0" occluded="0"/>'
    cvat(data, f'<skeleton label="mouse">{point}{point}</skeleton>')


def studio(data: Path, labels: tuple[str, ...] = ("nose",), **more: object) -> None:
    value = {"x": 10, "y": 10, "width": 1, "keypointlabels": list(labels)}
    region = {"id": "a", "type": "keypointlabels", "value": value, "original_width": W, "original_height": H, **more}
    task = {"data": {"image": "0.png"}, "annotations": [{"result": [region]}]}
    put(data / "export.json", json.dumps([task]))


@case(r"result\[0\]\.value: has 2 labels, and a landmark has one name\. Give it one label", "label_studio_points")
def studio_two_labels(data: Path) -> None:
    studio(data, ("nose", "tail"))


@case(r"result\[0\]: was set while Label Studio showed the image turned by 90 degrees\. Turn", "label_studio_points")
def studio_turned(data: Path) -> None:
    studio(data, image_rotation=90)
