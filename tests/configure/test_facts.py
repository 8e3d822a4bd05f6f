"""What is seen in a folder."""

import cv2
import numpy as np
import pytest

from atrous.configure import look
from atrous.configure.facts import _touching, object_width, vertical_asymmetry
from atrous.data import open_folder
from atrous.made import make_cells, make_scenes


def disc(radius: int, size: int = 200) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size / 2
    return x**2 + y**2 <= radius**2


def test_width_of_simple_shapes():
    line = np.zeros((100, 100), bool)
    line[:, 40:47] = True
    square = np.zeros((100, 100), bool)
    square[20:60, 30:70] = True
    assert object_width(line) == 7
    assert object_width(square) == 20
    # On the grid of pixels the outline of a disc is that of its square, 8 r: half of pi r squared over r.
    assert object_width(disc(40)) == pytest.approx(np.pi * 40 / 4, rel=0.03)


def test_width_of_nothing_and_of_everything():
    assert object_width(np.zeros((5, 9), bool)) == 0
    assert object_width(np.ones((5, 9), bool)) == 5


def test_vertical_asymmetry_tells_streets_from_noise():
    street = np.zeros((90, 60), int)
    street[60:] = 1
    rng = np.random.default_rng(0)
    assert vertical_asymmetry([street], 2) == 1
    assert vertical_asymmetry([np.full((9, 9), 255)], 2) == 0
    assert vertical_asymmetry([rng.integers(0, 2, (90, 60)) for _ in range(4)], 2) < 0.05


def test_touching_objects_are_counted_from_both_sides():
    instances = np.zeros((40, 40), np.uint16)
    instances[5:10, 5:10], instances[5:10, 10:15], instances[30:35, 30:35] = 3, 900, 7
    assert _touching(instances) == (3, 2)
    assert _touching(np.zeros((4, 4), np.uint8)) == (0, 0)


def test_cells_have_no_up(tmp_path):
    facts = look(open_folder(make_cells(tmp_path / "cells", count=10, size=(96, 128))))
    assert (facts.channels, facts.size, facts.sizes) == (1, (96, 128), 1)
    assert facts.vertical_asymmetry < 0.25
    assert sum(each.share for each in facts.classes) == pytest.approx(1)
    assert (facts.train, facts.val) == (6, 2)  # and two test images


def test_scenes_have_an_up(tmp_path):
    facts = look(open_folder(make_scenes(tmp_path / "scenes", count=8, size=(96, 128))))
    assert facts.channels == 3
    assert facts.vertical_asymmetry > 0.25
    assert facts.imbalance > 1


def test_large_masks_are_thinned_out_and_widths_stay(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    mask = np.zeros((1500, 1200), np.uint8)
    mask[:, 400:480] = 1
    for name in ("a", "b"):
        noise = np.random.default_rng(len(name)).integers(0, 255, mask.shape, np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), noise)
        cv2.imwrite(str(tmp_path / "masks" / f"{name}.png"), mask)
    facts = look(open_folder(tmp_path))
    assert facts.classes[1].width == pytest.approx(80, rel=0.05)
    assert facts.classes[1].share == pytest.approx(80 / 1200, rel=0.05)
