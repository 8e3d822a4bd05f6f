"""What is no data folder is called by its name: annotations of a tool, an archive, images of other formats."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from atrous.data import check_folder, open_folder
from atrous.errors import DataError

SHAPE = {"label": "cell", "points": [[1, 1], [9, 1], [5, 9]], "shape_type": "polygon", "group_id": None, "flags": {}}
LABELME = {"version": "5.0", "flags": {}, "shapes": [SHAPE], "imagePath": "a.png", "imageData": None}
CVAT = '<annotations><version>1.1</version><image id="0" name="a.png" width="16" height="12"></image></annotations>'
TASK = [{"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": []}]}]


@pytest.mark.parametrize("place", ["", "images/", "labels/", "annotations/"])
@pytest.mark.parametrize(
    ("name", "content", "title"),
    [
        ("a.json", json.dumps({**LABELME, "imageHeight": 12, "imageWidth": 16}), "labelme"),
        ("annotations.xml", CVAT, "CVAT"),
        ("export.json", json.dumps(TASK), "Label Studio"),
    ],
)
def test_annotations_are_to_be_converted(put, photo, tmp_path, place, name, content, title):
    put("images/a.png", photo())
    put(f"{place}{name}", content)
    with pytest.raises(DataError) as caught:
        check_folder(tmp_path).raise_errors()
    assert re.search(
        rf"holds annotations of a labelling tool \({title}.*\): `atrous convert \S+ -o DATA`", str(caught.value)
    )
    with pytest.raises(DataError, match=r": `atrous convert \S+ -o DATA`"):
        open_folder(tmp_path)


def test_a_file_of_annotations_is_to_be_converted(put):
    path = put("annotations.xml", CVAT)
    with pytest.raises(
        DataError, match=r"is a file, and a data folder is needed\. It holds annotations .*atrous convert"
    ):
        check_folder(path)


def test_archives_are_to_be_unpacked(put, photo, tmp_path):
    put("images/a.png", photo())
    shutil.make_archive(str(tmp_path / "data"), "zip", tmp_path / "images")
    with pytest.raises(DataError, match=r"data\.zip: is a file, .* It is an archive: unpack it, and name the folder"):
        check_folder(tmp_path / "data.zip")
    with pytest.raises(DataError, match=r"has no folder masks/; .*It holds the archive data\.zip: unpack it first"):
        check_folder(tmp_path)


def test_text_in_the_place_of_masks_is_told(put, photo, tmp_path):
    put("images/a.png", photo())
    put("labels/a.txt", "0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    with pytest.raises(DataError, match=r"holds no image with a mask\. "):
        open_folder(tmp_path)


def test_what_is_neither_says_how_to_arrange_it(tmp_path):
    (tmp_path / "notes.md").write_text("nothing")
    with pytest.raises(
        DataError, match=r"has no folder images/; it holds notes\.md\. Arrange it as images/ and masks/"
    ):
        check_folder(tmp_path)


def test_images_that_end_in_jfif_are_images(make_folder, picture):
    root = make_folder(4)
    (root / "images" / "000.png").unlink()
    Image.fromarray(picture()).save(root / "images" / "000.jfif", "JPEG")
    assert len(open_folder(root).pairs) == 4
    assert not check_folder(root).findings


def test_a_mask_whose_image_is_of_another_format_says_so(make_folder):
    root = make_folder(4)
    (root / "images" / "000.png").rename(root / "images" / "000.heic")
    (finding,) = check_folder(root).findings
    assert str(finding).startswith(
        f"{root}/masks/000.png: is a mask, and images/000.heic beside it is not taken for an i"
    )
    assert "Convert it to one of .png, .jpg" in finding.fix


@pytest.mark.parametrize("suffix", ["png", "jpg", "npy"])
def test_swapped_height_and_width_blame_exif_only_where_it_is(make_folder, picture, suffix):
    root = make_folder(2)
    for path in list((root / "images").iterdir()):
        path.unlink()
        turned = np.ascontiguousarray(picture().transpose(1, 0, 2))
        if suffix == "npy":
            np.save(path.with_suffix(".npy"), turned)
        else:
            Image.fromarray(turned).save(path.with_suffix(f".{suffix}"))
    assert "Height and width are swapped: transpose the mask, if it is that of this image" in str(check_folder(root))
    assert "EXIF" not in str(check_folder(root))


def test_masks_that_json_draws_on_jpeg_images_are_not_lossy(put, photo, tmp_path):
    for n in range(2):
        Image.fromarray(photo(n)).save(put(f"images/a{n}.jpg", b""), "JPEG")
    images = [{"id": n, "file_name": f"a{n}.jpg", "height": 12, "width": 16} for n in range(2)]
    rows = [
        {"id": n, "image_id": n, "category_id": 1, "segmentation": [[2, 2, 8, 2, 8, 8]], "area": 18} for n in range(2)
    ]
    put("labels.json", json.dumps({"images": images, "annotations": rows, "categories": [{"id": 1, "name": "cell"}]}))
    report = check_folder(tmp_path)
    assert report.summary["layout"] == "coco"
    assert not report.findings
