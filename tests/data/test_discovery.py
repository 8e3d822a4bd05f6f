"""Masks whose values could mean two things are refused, with the way out."""

import cv2
import numpy as np
import pytest
from PIL import Image

from atrous.data import FolderDataset, check_folder, open_folder
from atrous.data.discovery import discover_classes
from atrous.errors import DataError
from atrous.images import write_image

SHAPE = np.zeros((24, 32), bool)
SHAPE[6:18, 8:20] = True


@pytest.fixture
def folder(tmp_path, picture):
    """Makes images, and masks by a function of their number: folder(mask)."""

    def make(mask, count=6):
        for name in ("images", "masks"):
            (tmp_path / name).mkdir()
        for number in range(count):
            cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), picture(seed=number))
            value = mask(number)
            target = tmp_path / "masks" / f"{number}.png"
            value.save(target) if isinstance(value, Image.Image) else write_image(target, value)
        return tmp_path

    return make


def palette_mask(*colors, flipped=False):
    """A palette image of SHAPE: index 1 inside, or 0 where `flipped`."""
    image = Image.fromarray((SHAPE ^ flipped).astype(np.uint8), "P")
    image.putpalette([part for color in (colors[::-1] if flipped else colors) for part in color])
    return image


BLACK, RED, GREEN = (0, 0, 0), (255, 0, 0), (0, 255, 0)


def test_palettes_that_differ_between_files_are_refused_by_both_names(folder):
    root = folder(lambda n: palette_mask(BLACK, RED if n < 3 else GREEN))
    with pytest.raises(DataError, match=r"3\.png: gives palette index 1 the colour #00ff00.*0\.png gives it #ff00"):
        open_folder(root)
    report = check_folder(root)
    assert [finding.code for finding in report.errors] == ["mixed_palettes"]


def test_palettes_with_black_and_white_in_other_places_are_refused(folder):
    root = folder(lambda n: palette_mask(BLACK, (255, 255, 255), flipped=n % 2 == 1))
    with pytest.raises(DataError, match="palettes of their own"):
        open_folder(root)


def test_equal_palettes_are_read_by_index_although_unused_entries_differ(folder):
    root = folder(lambda n: palette_mask(BLACK, RED, (n, n, n)))
    opened = open_folder(root)
    assert opened.classes.colors == (BLACK, RED)
    assert not check_folder(root).errors


def test_a_table_with_colours_reads_palettes_by_colour(folder):
    root = folder(lambda n: palette_mask(BLACK, (255, 255, 255), flipped=n % 2 == 1))
    (root / "classes.yaml").write_text(
        'classes: [{name: ground, value: 0, color: "#000000"}, {name: cell, value: 1, color: "#ffffff"}]\n'
    )
    opened = open_folder(root, val_fraction=0)
    for sample in FolderDataset(opened, "train"):
        np.testing.assert_array_equal(sample["mask"].numpy() == 1, SHAPE)
    assert not check_folder(root).errors


def test_a_table_whose_colours_are_not_the_palettes_reads_by_index_and_refuses_mixed_ones(folder):
    root = folder(lambda n: palette_mask(BLACK, RED if n < 3 else GREEN))
    (root / "classes.yaml").write_text("classes: [{name: a, value: 0}, {name: b, value: 1}]\n")
    assert [finding.code for finding in check_folder(root).errors] == ["mixed_palettes"]


@pytest.mark.parametrize("bits", [True, False])
def test_masks_of_0_and_255_among_masks_of_0_and_1_are_refused(folder, bits):
    def mask(number):
        if number < 3:
            return (SHAPE * 255).astype(np.uint8)
        return Image.fromarray(SHAPE) if bits else SHAPE.astype(np.uint8)

    root = folder(mask)
    with pytest.raises(DataError, match=r"0\.png: holds 0 and 255 alone.*3\.png holds 0 and 1.*value: \[1, 255\]"):
        open_folder(root)


def test_the_doctor_finds_a_mask_of_0_and_255_beyond_those_that_were_sampled(folder, monkeypatch):
    from atrous.data import folder as module

    monkeypatch.setattr(module, "SAMPLED", 2)  # masks 0 and 3 of 6
    root = folder(lambda n: (SHAPE * (255 if n == 1 else 1)).astype(np.uint8))
    assert open_folder(root).classes.values == ((0,), (1,))
    assert [finding.code for finding in check_folder(root).errors] == ["ambiguous_255"]


def test_ignored_rims_beside_the_object_are_no_riddle(folder):
    def mask(number):
        values = SHAPE.astype(np.uint8)
        values[5] = 255
        return values

    assert open_folder(folder(mask)).classes.ignore == (255,)


@pytest.mark.parametrize("levels", [(0, 128, 255), (0, 85, 170, 255), (0, 127, 255)])
def test_grey_levels_up_to_255_are_refused(folder, levels):
    root = folder(lambda n: np.array(levels, np.uint8)[np.arange(32) * len(levels) // 32][None].repeat(24, 0))
    listed = ", ".join(map(str, levels))
    with pytest.raises(DataError, match=rf"masks hold {listed}: 255 may be a class.*value: 255}}"):
        open_folder(root)


def test_much_under_255_is_asked_about(folder):
    root = folder(lambda n: np.array((0, 15, 255), np.uint8)[np.arange(32) * 3 // 32][None].repeat(24, 0))
    assert open_folder(root).classes.ignore == (255,)
    found = {finding.code: str(finding) for finding in check_folder(root).warnings}
    assert "leaves out 31 % of the pixels" in found["much_ignored"]
    (root / "classes.yaml").write_text("classes: [{name: a, value: 0}, {name: b, value: 15}]\nignore: [255]\n")
    assert "much_ignored" not in {finding.code for finding in check_folder(root).warnings}


def test_smoothed_masks_are_refused(folder):
    def mask(number):
        large = np.zeros((96, 128), np.uint8)
        cv2.circle(large, (60 + number, 50), 27, 255, -1)
        return cv2.resize(large, (32, 24), interpolation=cv2.INTER_AREA)

    with pytest.raises(DataError, match=r"\.png: holds 0, 255 and \d+ greys between: it was smoothed.*from 128 on"):
        open_folder(folder(mask))


def test_numbered_objects_are_refused_and_classes_in_pieces_are_not(folder):
    def numbered(number):
        values = np.zeros((24, 32), np.uint16)
        for k in range(10 + number):
            values[(k // 5) * 6 : (k // 5) * 6 + 4, (k % 5) * 6 : (k % 5) * 6 + 4] = k + 1
        return values

    with pytest.raises(DataError, match=r"5\.png: holds the values 1 to 15, each in one piece.*Rename masks/ to inst"):
        open_folder(folder(numbered))


def squares(count):
    values = np.zeros((24, 32), np.uint8)
    for k in range(count):
        values[(k // 4) * 12 : (k // 4) * 12 + 8, (k % 4) * 8 : (k % 4) * 8 + 6] = k + 1
    return values


def test_a_few_numbered_objects_in_each_mask_are_refused_too(folder):
    root = folder(lambda n: squares((3, 5, 1, 2, 4, 6, 2, 0)[n]), 8)
    with pytest.raises(DataError, match=r"5\.png: holds the values 1 to 6, each in one piece.* as in 7 of 8 masks"):
        open_folder(root)


@pytest.mark.parametrize(
    "mask",
    [
        lambda n: squares(5),  # five classes, all in every image
        lambda n: np.where(squares(6) == n % 3 + 2, 0, squares(6)).astype(np.uint8),  # one of them is missing
        lambda n: np.hstack([squares(1 + n % 5), squares(1 + n % 5)]),  # each in two pieces
        lambda n: squares(1 + n % 3),  # one, two or three: as in the slices of a scan
    ],
)
def test_a_few_classes_in_one_piece_are_classes(folder, mask, picture):
    root = folder(mask, 8)
    assert len(discover_classes(sorted((root / "masks").iterdir()), file=root)) >= 4


def test_many_classes_in_pieces_are_classes(tmp_path):
    values = np.arange(12, dtype=np.uint8).repeat(4).reshape(4, 12).repeat(6, 0)
    values = np.hstack([values, values[::-1], values])
    write_image(tmp_path / "m.png", values)
    assert len(discover_classes([tmp_path / "m.png"], file=tmp_path)) == 12
