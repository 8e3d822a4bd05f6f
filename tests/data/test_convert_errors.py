"""Conversion names everything that is wrong, each with its file and key, and leaves nothing behind."""

import numpy as np
import pytest

from atrous.class_names import folder_names
from atrous.cli import main
from atrous.data import open_folder
from atrous.data.class_table import load_classes
from atrous.data.datasets.coco import coco_files
from atrous.errors import DataError
from atrous.workflows.conversion import convert, write_annotations
from tests.labelled import SQUARE, H, W, blobs, made_folder, picture, put


def refused(source, out, *parts, **more):
    """The lines of the error, after it is sure that nothing was left behind."""
    with pytest.raises(DataError) as caught:
        convert(source, out, **more)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{len(parts)} entries cannot be converted:"
    assert len(lines) == len(parts) + 1
    for line, part in zip(lines[1:], parts, strict=True):
        assert part in line
        assert line.startswith(str(source.parent if source.is_file() else source))
    assert not out.exists()
    assert not list(out.parent.glob(".*.part"))


def labelme(path, *shapes, image=None, **more):
    rows = [{"label": "cell", "points": SQUARE, "shape_type": "polygon", **row} for row in shapes]
    sizes = {"imageHeight": H, "imageWidth": W}
    put(path, {"shapes": rows, "imagePath": image or f"{path.stem}.png", "imageData": None, **sizes, **more})


def test_every_bad_entry_of_labelme(tmp_path):
    source = tmp_path / "in"
    for number in range(4):
        put(source / f"a{number}.png", picture(number))
    labelme(source / "a0.json", {"points": [[1, 2]]}, {}, {"shape_type": "star"}, {"label": None})
    labelme(source / "a1.json", {}, image="gone.png")
    labelme(source / "a2.json", {}, imageWidth=7)
    put(source / "a3.json", '{"shapes": [')
    parts = ["a0.json shapes[3]: has no key 'label'", "a3.json line 1: is not JSON",
             "a0.json shapes[0], points: has 1 points", "a0.json shapes[2], shape_type: is 'star'",
             "a1.json, imagePath: names the image gone.png", "a2.json: was drawn on 20 x 7 pixels"]  # fmt: skip
    refused(source, tmp_path / "out", *parts)


def test_the_command_prints_a_line_for_each(tmp_path, capsys):
    for number in range(2):
        labelme(tmp_path / f"in/a{number}.json", {}, image="gone\n.png")
    assert main(["convert", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "convert" in line] == ["error: 2 entries cannot be converted:"]
    assert [line.partition(": names")[0] for line in lines[-2:]] == [
        f"{tmp_path}/in/a{n}.json, imagePath" for n in (0, 1)
    ]


def test_every_bad_entry_of_coco(tmp_path):
    source = tmp_path / "in"
    put(source / "a.png", picture(0))
    good = {"image_id": 1, "category_id": 1, "segmentation": [np.ravel(SQUARE).tolist()]}
    size = {"height": H, "width": W}
    images = [{"id": 1, "file_name": "a.png", **size}, {"id": 2, "file_name": "b.png", **size}, {"id": 3}]
    rows = [good, {**good, "image_id": 9}, {**good, "category_id": 9}, {**good, "segmentation": [[1, 2, 3, 4, 5]]}]
    put(source / "c.json", {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "x"}]})
    parts = ["c.json images[2]: has no key 'height'", "c.json annotations[1]: names image_id 9",
             "c.json annotations[2]: names category_id 9", "annotation 3 of a.png, segmentation[0]: is no list of",
             "c.json images[1], file_name: names the image b.png"]  # fmt: skip
    refused(source / "c.json", tmp_path / "out", *parts)


def test_every_bad_entry_of_cvat(tmp_path):
    source = tmp_path / "in"
    put(source / "a.png", picture(0))
    shapes = '<box label="x" xtl="nan" ytl="0" xbr="1" ybr="1"/><polygon label="x" points="1,2"/><mask label="x"/>'
    head = f'width="{W}" height="{H}"'
    body = f'<image name="a.png" {head}>{shapes}</image><image {head}/><image name="b.png" {head}/>'
    put(source / "annotations.xml", f"<annotations>{body}</annotations>")
    parts = ["image[0] (a.png) box[0], xtl: is 'nan', and a number is needed",
             "image[0] (a.png) polygon[0], points: has 1 points", "image[0] (a.png) mask[0]: has no attribute 'left'",
             "image[1]: has no attribute 'name'", "image[2], name: names the image b.png"]  # fmt: skip
    refused(source, tmp_path / "out", *parts)


def test_every_bad_entry_of_label_studio(tmp_path):
    source = tmp_path / "in"
    put(source / "a.png", picture(0))
    region = {"type": "polygonlabels", "original_width": W, "original_height": H}
    results = [{**region, "value": {"points": [[1, 2]], "polygonlabels": ["x"]}}, {**region, "value": {}}]
    tasks = [{"data": {"image": "a.png"}, "annotations": [{"result": results}]}, 7,
             {"data": {"image": "b.png"}, "annotations": [{"result": []}]}]  # fmt: skip
    put(source / "export.json", tasks)
    place = "[0].annotations[0].result"
    parts = [f"{place}[1].value: has no key 'labels'", "[1]: is no task",
             f"{place}[0].value.points: has 1 points", f"{place}[1].value: has no key 'points'",
             "[2], data: names the image b.png"]  # fmt: skip
    refused(source, tmp_path / "out", *parts)


def test_every_label_that_is_no_class(tmp_path):
    source = tmp_path / "in"
    for number in range(2):
        put(source / f"a{number}.png", picture(number))
        labelme(source / f"a{number}.json", {"label": "cell"}, {"label": f"x{number}"}, {"label": f"x{number}"})
    put(tmp_path / "classes.yaml", "classes: [{name: background, value: 0}, {name: cell, value: 1}]")
    parts = ["a0.json: has the label 'x0', which is no class", "a1.json: has the label 'x1', which is no class"]
    refused(source, tmp_path / "out", *parts, classes=tmp_path / "classes.yaml")


@pytest.mark.parametrize("to", ["coco", "labelme"])
def test_every_bad_mask(tmp_path, to):
    root = made_folder(tmp_path / "data", {"train": {f"m{n}": blobs(n) for n in range(3)}}, ("a", "b", "c"))
    put(root / "train/masks/m0.png", np.full((H, W), 7, np.uint8))
    put(root / "train/masks/m2.png", np.zeros((H, W + 1), np.uint8))
    with pytest.raises(DataError, match=r"(?s)2 entries cannot be converted:\n.*m0\.png.*7.*\n.*m2\.png") as caught:
        write_annotations(root, tmp_path / "out", to=to)
    assert len(str(caught.value).splitlines()) == 3
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("label", ["", "  ", "a\nb", "a\x1b[31m", "a\u2028b", "\ud800"])
def test_labels_that_cannot_be_printed_are_refused(tmp_path, label):
    put(tmp_path / "in/a.png", picture(0))
    labelme(tmp_path / "in/a.json", {"label": label})
    with pytest.raises(
        DataError, match=r"in: has the label .*, which is blank or holds control characters\."
    ) as caught:
        convert(tmp_path / "in", tmp_path / "out")
    assert repr(label) in str(caught.value)


@pytest.mark.parametrize("to", ["coco", "labelme"])
@pytest.mark.parametrize("names", [("bg", "a", " a"), ("bg", "a\nb")])
def test_class_names_that_would_not_come_back_are_refused(tmp_path, to, names):
    root = made_folder(tmp_path / "data", {"train": {"m": blobs(0, 2)}}, names)
    with pytest.raises(DataError, match=r"(two classes are called 'a'|control characters)"):
        write_annotations(root, tmp_path / "out", to=to)


@pytest.mark.parametrize("to", ["coco", "labelme"])
def test_class_names_that_are_no_file_names_come_back(tmp_path, to):
    names = ("background", "a/b", "a:b", "<5 mm", "..", "CON", "Ä", "yes", "1", "train")
    root = made_folder(tmp_path / "data", {"train": {"m": blobs(0, 10)}}, names)
    write_annotations(root, tmp_path / to, to=to)
    assert convert(tmp_path / to, tmp_path / "back").classes == names


def test_folders_of_class_names_are_distinct_and_stay_within():
    names = ["a/b", "a:b", "a_b", "A_B", "..", ".", "", "<5 mm", ">5 mm", "con", "x" * 300, "x" * 301, "..\\up", ".git"]
    found = folder_names(names)
    assert len({name.casefold() for name in found}) == len(names)
    assert not [name for name in found if "/" in name or "\\" in name or name.startswith(".") or name.endswith(".")]
    assert found[:4] == ("a_b", "a_b_2", "a_b_3", "A_B_4")
    assert max(map(len, found)) < 100


def test_a_file_of_latest_labels_is_no_test_split(tmp_path):
    rows = [{"image_id": 1, "category_id": 1, "segmentation": [np.ravel(SQUARE).tolist()]}]
    images = [{"id": 1, "file_name": "a.png", "height": H, "width": W}]
    table = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "x"}]}
    for name in ("latest_labels", "contest", "interval", "instances_training"):
        put(tmp_path / f"annotations/{name}.json", table)
        assert [split for split, _ in coco_files(tmp_path)] == ["train"]
        (tmp_path / f"annotations/{name}.json").unlink()


def test_names_that_are_no_text_are_told(tmp_path):
    put(tmp_path / "in/a.png", picture(0))
    labelme(tmp_path / "in/a.json", {}, image="\ud800.png")
    with pytest.raises(DataError, match=r"names the image \\ud800\.png, and there is no such file"):
        convert(tmp_path / "in", tmp_path / "out")


def test_an_image_inside_that_cannot_be_read(tmp_path):
    put(tmp_path / "in/a.png", picture(0))
    (tmp_path / "in/a.png").unlink()
    labelme(tmp_path / "in/a.json", {}, imageData="aGVsbG8=")
    with pytest.raises(
        DataError, match=r"a\.json: holds an image that cannot be read as an image: its bytes are those"
    ):
        convert(tmp_path / "in", tmp_path / "out")


def test_pairs_of_mirrored_classes_are_kept_or_told(tmp_path):
    put(tmp_path / "in/a.png", picture(0))
    labelme(tmp_path / "in/a.json", {"label": "left"}, {"label": "right"})
    rows = [{"name": name, "value": value} for value, name in enumerate(("background", "left", "right"))]
    put(tmp_path / "classes.yaml", {"classes": rows, "flip_pairs": [["left", "right"]]})
    convert(tmp_path / "in", tmp_path / "out", classes=tmp_path / "classes.yaml")
    assert open_folder(tmp_path / "out", val_fraction=0).classes.flip_pairs == ((1, 2),)
    done = write_annotations(tmp_path / "out", tmp_path / "coco", to="coco")
    assert done.notes == {"flip_pairs of classes.yaml, which annotations do not hold": 1}


def test_class_names_with_control_characters_are_refused_with_their_file(tmp_path):
    put(tmp_path / "classes.yaml", 'classes: [{name: "a\\e[31m", value: 0}]')
    with pytest.raises(DataError, match=r"classes.yaml: the class name 'a\\x1b\[31m' is blank or holds control"):
        load_classes(tmp_path / "classes.yaml")
