"""Masks as they are written say the same when they are read."""

import numpy as np
import pytest

from atrous.data.classes import Classes
from atrous.inference.coding import value_coding

BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (255, 0, 0)


@pytest.mark.parametrize("colors", [(BLACK, RED), (WHITE, BLACK), (BLACK, WHITE), (RED, WHITE)])
@pytest.mark.parametrize("coded", [True, False])
def test_pixels_without_data_come_back_whatever_colours_the_classes_have(colors, coded):
    """Classes with colours are read by the palette: the colour of what is ignored must be that of no class."""
    classes = Classes(("soil", "crop"), colors, ((0,), (1,)), (255,), (), coded)
    coding = value_coding(classes)
    raw = np.array([[0, 1, coding.nodata]], np.uint8)
    assert classes.encode(raw, file="mask.png", palette=coding.palette).tolist() == [[0, 1, 255]]
