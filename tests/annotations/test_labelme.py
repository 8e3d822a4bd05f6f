"""labelme's files as they are found: without sizes, with an image inside, among others."""

import base64

import cv2
import numpy as np
import pytest

from atrous.errors import DataError
from atrous.workflows.conversion import convert
from tests.labelled import SQUARE, H, W, picture, put, read_mask


def encoded(pixels, suffix=".png"):
    return base64.b64encode(cv2.imencode(suffix, pixels)[1].tobytes()).decode()


def labelme(path, label="cell", **more):
    shapes = [{"label": label, "points": SQUARE, "shape_type": "polygon"}]
    put(path, {"shapes": shapes, "imagePath": "a.png", "imageData": None, "imageHeight": H, "imageWidth": W, **more})


def test_sizes_come_from_the_image_where_a_file_has_none(tmp_path):
    put(tmp_path / "in/a.png", picture(0))
    for sizes in ({"imageHeight": None}, {"imageHeight": None, "imageWidth": None}):
        labelme(tmp_path / "in/a.json", **sizes)
        name = f"out{len(sizes)}"
        convert(tmp_path / "in", tmp_path / name)
        assert read_mask(tmp_path / f"{name}/masks/a.png").sum() == 36


def test_the_image_inside_is_the_one_that_was_labelled(tmp_path):
    put(tmp_path / "in/a.png", picture(0))
    labelme(tmp_path / "in/a.json", imageData=encoded(picture(1)))
    convert(tmp_path / "in", tmp_path / "out")
    assert (cv2.imread(str(tmp_path / "out/images/a.png")) == picture(1)).all()
    # The same pixels in another file: the file is taken as it is.
    cv2.imwrite(str(tmp_path / "in/a.png"), picture(1), [cv2.IMWRITE_PNG_COMPRESSION, 0])
    convert(tmp_path / "in", tmp_path / "again")
    assert (tmp_path / "again/images/a.png").read_bytes() == (tmp_path / "in/a.png").read_bytes()


def test_a_picture_of_another_size_beside_an_image_inside(tmp_path):
    put(tmp_path / "in/a.png", picture(0, H + 1, W))
    labelme(tmp_path / "in/a.json", imageData=encoded(picture(1)))
    convert(tmp_path / "in", tmp_path / "out")
    assert (cv2.imread(str(tmp_path / "out/images/a.png")) == picture(1)).all()


@pytest.mark.parametrize("foreign", [{"name": "x"}, [], {"images": [], "annotations": []}, "text"])
@pytest.mark.parametrize("name", ["0.json", "z.json", ".vscode/settings.json"])
def test_foreign_files_among_others(tmp_path, foreign, name):
    put(tmp_path / "in/a.png", picture(0))
    labelme(tmp_path / "in/a.json")
    put(tmp_path / "in" / name, foreign if foreign != "text" else '"text"')
    done = convert(tmp_path / "in", tmp_path / "out")
    assert (done.images, done.notes) == (1, {"JSON files are not labelme's": 1})


def test_a_file_that_is_named_is_not_foreign(tmp_path):
    put(tmp_path / "a.json", {"name": "x"})
    with pytest.raises(DataError, match=r"a\.json: has no key 'shapes'"):
        convert(tmp_path / "a.json", tmp_path / "out", format="labelme")


def test_a_list_of_labels_says_their_order(tmp_path):
    put(tmp_path / "in/a.png", picture(0))
    labelme(tmp_path / "in/a.json", label="b")
    put(tmp_path / "in/labels.txt", "__ignore__\n_background_\nz\nb\n")
    assert convert(tmp_path / "in", tmp_path / "out").classes == ("background", "z", "b")


def test_images_of_one_name_in_folders_of_days(tmp_path):
    for number, day in enumerate(("day 1", "day 2")):
        put(tmp_path / f"in/{day}/a.png", picture(number))
        labelme(tmp_path / f"in/{day}/a.json", imagePath="C:\\scans\\a.png")
    assert convert(tmp_path / "in", tmp_path / "out").images == 2
    for number, day in enumerate(("day 1", "day 2")):
        assert (cv2.imread(str(tmp_path / f"out/images/{day}/a.png")) == picture(number)).all()
    # In one folder of images, `a.png` could be either.
    for day in ("day 1", "day 2"):
        (tmp_path / f"in/{day}/a.png").rename(tmp_path / "a.png")
    (tmp_path / "photos").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "photos/a.png")
    with pytest.raises(DataError, match="2 entries cannot be converted"):
        convert(tmp_path / "in", tmp_path / "no", images=tmp_path / "photos")


def test_masks_of_other_kinds_of_pictures(tmp_path):
    put(tmp_path / "in/a.png", picture(0))
    blob = np.eye(6, dtype=np.uint8)
    for kind in (blob, blob * 255, np.stack([blob * 255] * 3, axis=2)):
        shape = {"label": "cell", "points": [[3, 4], [8, 9]], "shape_type": "mask", "mask": encoded(kind)}
        labelme(tmp_path / "in/a.json", shapes=[shape])
        name = f"out{kind.max()}{kind.ndim}"
        convert(tmp_path / "in", tmp_path / name)
        assert (read_mask(tmp_path / name / "masks/a.png")[4:10, 3:9] == blob).all()
