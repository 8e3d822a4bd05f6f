"""An image and a mask of georeferenced TIFF that lie elsewhere on the map."""

import shutil

import numpy as np
import pytest
import tifffile

from atrous.data import check_folder

SCALE = (33550, 12, 3)
TIE = (33922, 12, 6)
MATRIX = (34264, 12, 16)


def write(path, array, *tags):
    tifffile.imwrite(path, array, extratags=[(*tag, value, True) for tag, value in tags])


def at(x, y, size=0.5, column=0.0):
    return (SCALE, (size, size, 0.0)), (TIE, (column, 0.0, 0.0, x + column * size, y, 0.0))


@pytest.fixture
def folder(make_folder, picture):
    """Makes four pairs of TIFF: images at (100, 200) with pixels of 0.5; masks with the tags given."""

    def make(*tags):
        root = make_folder(4)
        for side in ("images", "masks"):
            shutil.rmtree(root / side)
            (root / side).mkdir()
        for n in range(4):
            write(root / "images" / f"{n}.tif", picture(channels=1, seed=n), *at(100.0, 200.0))
            mask = (np.arange(32)[None] // 16).repeat(24, 0).astype(np.uint8)
            write(root / "masks" / f"{n}.tif", mask, *(tags if n == 2 else at(100.0, 200.0)))
        return root

    return make


@pytest.mark.parametrize(
    "tags",
    [
        (),
        at(100.0, 200.0, column=7.0),
        at(100.25, 199.75),
        ((MATRIX, (0.5, 0, 0, 100.0, 0, -0.5, 0, 200.0, 0, 0, 0, 0, 0, 0, 0, 1)),),
        ((SCALE, (0.5, 0.5, 0.0)),),
    ],
)
def test_masks_at_the_place_of_their_image_or_at_none_are_sound(folder, tags):
    assert check_folder(folder(*tags)).findings == ()


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        (at(116.0, 200.0), "(116, 200) with pixels of 0.5 x 0.5"),
        (at(100.0, 212.0), "(100, 212) with pixels of 0.5 x 0.5"),
        (at(100.0, 200.0, size=1.0), "(100, 200) with pixels of 1 x 1"),
        (((MATRIX, (0.5, 0, 0, 100.0, 0, 0.5, 0, 188.0, 0, 0, 0, 0, 0, 0, 0, 1)),), "(100, 188) with pixels"),
    ],
)
def test_a_mask_elsewhere_on_the_map_is_refused_with_both_places(folder, tags, words):
    root = folder(*tags)
    (finding,) = check_folder(root).errors
    assert finding.code == "other_place"
    assert finding.message.startswith(f"lies at {words}")
    assert finding.message.endswith("on the map, and its image 2.tif at (100, 200) with pixels of 0.5 x 0.5")
