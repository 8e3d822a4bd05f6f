"""Masks with a palette, in every format that has one: by colour where a table has colours, and never by an index that
means something else in the next file."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from atrous.data import FolderDataset, check_folder, open_folder
from atrous.errors import DataError
from atrous.images.files import read_mask, read_palette
from tests.networks import made_image

BLACK, RED, GREEN = (0, 0, 0), (255, 0, 0), (0, 255, 0)
FORMATS = ("png", "tif", "gif", "bmp", "stack")
TABLE = 'classes: [{name: background, color: "#000000"}, {name: a, color: "#ff0000"}, {name: b, color: "#00ff00"}]\n'


def truth(number: int) -> np.ndarray:
    """A tenth of the pixels is an object: class 1 in even masks, class 2 in odd ones."""
    mask = np.zeros((20, 30), np.uint8)
    mask[5:11, 5:15] = 1 + number % 2
    return mask


def write(path, mask: np.ndarray, palette: list) -> None:
    image = Image.fromarray(mask)
    image.putpalette([value for color in palette for value in color])
    image.save(path, "TIFF" if path.suffix == ".tif" else None)


def make(root, form: str, *, own: bool, count=4):
    """A folder whose masks have palettes of their own, index 1 the object and index 0 not; or one palette for all."""
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    masks = [truth(number) for number in range(count)]
    for number, mask in enumerate(masks):
        picture = made_image(20, 30, 3) // (number + 1)
        if form == "stack":
            break
        Image.fromarray(picture).save(root / f"images/{number}.png")
        palette = [BLACK, (RED, GREEN)[number % 2]] if own else [BLACK, RED, GREEN]
        write(root / f"masks/{number}.{form}", np.minimum(mask, 1) if own else mask, palette)
    if form == "stack":  # one palette for all pages, as TIFF writers have it
        pictures = np.stack([made_image(20, 30, 3) // (number + 1) for number in range(count)])
        tifffile.imwrite(root / "images/a.tif", pictures, photometric="rgb")
        colors = np.zeros((3, 256), np.uint16)
        colors[:, :3] = np.array([BLACK, GREEN, RED]).T * 257  # class 2 is index 1
        swapped = np.array([0, 2, 1], np.uint8)
        pages = np.stack([swapped[mask] for mask in masks])
        tifffile.imwrite(root / "masks/a.tif", pages, photometric="palette", colormap=colors)
    return root


@pytest.mark.parametrize("form", FORMATS)
def test_colours_of_the_table_are_followed(tmp_path, form):
    """Once only PNG's were: 90.2 % of the pixels of a TIFF mask became foreground where 9.8 % is true."""
    root = make(tmp_path / "set", form, own=form != "stack")
    (root / "classes.yaml").write_text(TABLE)
    report = check_folder(root)
    assert not report.errors
    data = FolderDataset(open_folder(root, val_fraction=0), "train")
    seen = [data[index]["mask"].numpy() for index in range(len(data))]
    for name, mask in zip(data.names, seen, strict=True):
        np.testing.assert_array_equal(mask, truth(int(name.rsplit("_", 1)[-1]) if "_" in name else int(name)))


@pytest.mark.parametrize("form", ["png", "tif", "gif", "bmp"])
def test_palettes_that_differ_are_refused_and_two_files_named(tmp_path, form):
    root = make(tmp_path / "set", form, own=True)
    for read in (lambda: open_folder(root), lambda: check_folder(root).raise_errors()):
        with pytest.raises(
            DataError, match=rf"masks/\d\.{form}: gives palette index 1 the colour #.*, and .*masks/\d\.{form}"
        ):
            read()


@pytest.mark.parametrize("form", ["png", "tif", "bmp"])
def test_indices_are_read_where_all_palettes_agree(tmp_path, form):
    root = make(tmp_path / "set", form, own=False)
    folder = open_folder(root)
    assert folder.classes.colors == (BLACK, RED, GREEN)
    assert read_palette(root / f"masks/0.{form}")[:3] == [BLACK, RED, GREEN]
    np.testing.assert_array_equal(read_mask(root / f"masks/1.{form}"), truth(1))
    assert not check_folder(root).errors


@pytest.mark.parametrize("values", [(0, 2), (0, 255), (3, 7, 200)])
def test_a_gif_of_greys_holds_their_levels(tmp_path, values):
    """Pillow 13 numbers the greys that occur anew: a mask of 0 and 2 became one of 0 and 1."""
    mask = np.array(values, np.uint8)[np.arange(600).reshape(20, 30) % len(values)]
    Image.fromarray(mask).save(tmp_path / "a.gif")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.gif"), mask)


def test_files_without_a_palette_have_none(tmp_path):
    grey = Image.fromarray(truth(1))
    for suffix in ("png", "tif", "gif", "bmp", "webp"):
        grey.save(tmp_path / f"a.{suffix}")
        assert read_palette(tmp_path / f"a.{suffix}") is None
        if suffix != "webp":
            np.testing.assert_array_equal(read_mask(tmp_path / f"a.{suffix}"), truth(1))
    np.save(tmp_path / "a.npy", truth(1))
    assert read_palette(tmp_path / "a.npy") is None
