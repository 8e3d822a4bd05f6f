"""Pictures: what an eye is shown is what the numbers say."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from atrous.reports.pictures import (
    IGNORED,
    MENDED,
    WRONG,
    change_map,
    data_uri,
    error_map,
    overlay,
    paint,
    shrink,
    to_display,
)

COLORS = [(10, 20, 30), (200, 100, 0)]


def test_display_of_8_bits_is_the_image() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert (to_display(rgb) == rgb).all()
    grey = rgb[..., :1]
    assert (to_display(grey) == grey).all()
    assert to_display(grey).shape == (5, 7, 3)
    assert (to_display(grey[..., 0]) == grey).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_display_stretches_other_kinds(channels: int, dtype: type) -> None:
    ramp = np.linspace(1000, 3000, 400).reshape(20, 20, 1).repeat(channels, 2).astype(dtype)
    shown = to_display(ramp)
    assert shown.shape == (20, 20, 3)
    assert shown.dtype == np.uint8
    assert shown[0, 0, 0] == 0
    assert shown[-1, -1, 0] == 255
    assert (np.diff(shown[..., 0].ravel().astype(int)) >= 0).all()


def test_display_shows_a_faint_channel_beside_a_bright_one() -> None:
    ramp = np.linspace(0, 1, 400).reshape(20, 20, 1)
    shown = to_display(np.concatenate([8000 + 24000 * ramp, 100 + 400 * ramp, 5 * ramp], 2).astype(np.float32))
    assert (abs(shown.astype(int) - shown[..., :1].astype(int)) <= 1).all()


def test_display_of_nothing_but_nan_is_black() -> None:
    assert not to_display(np.full((4, 4, 1), np.nan, np.float32)).any()


def test_display_of_a_constant() -> None:
    assert len(np.unique(to_display(np.full((4, 4, 1), 7, np.uint16)))) == 1


def test_paint_uses_the_class_colors_and_chequers_the_ignored() -> None:
    classes = np.array([[0, 1], [1, 255]], np.uint8)
    painted = paint(classes, COLORS)
    assert painted[0, 0].tolist() == [10, 20, 30]
    assert painted[0, 1].tolist() == [200, 100, 0]
    assert painted[1, 1].tolist() not in ([10, 20, 30], [200, 100, 0])


def test_paint_of_class_255_when_there_is_one() -> None:
    colors = [(k, 0, 0) for k in range(256)]
    assert paint(np.array([[255]], np.uint8), colors)[0, 0].tolist() == [255, 0, 0]


def test_overlay_mixes_inside_and_draws_borders() -> None:
    image = np.full((6, 8, 3), 100, np.uint8)
    classes = np.zeros((6, 8), np.uint8)
    classes[:, 4:] = 1
    mixed = overlay(image, classes, COLORS, opacity=0.5)
    assert mixed[0, 0].tolist() == [55, 60, 65]
    assert mixed[0, 6].tolist() == [150, 100, 50]
    assert mixed[0, 3].tolist() == [10, 20, 30]  # the last pixel before the border, at full strength
    assert overlay(image, classes, COLORS, opacity=0.5, outline=False)[0, 3].tolist() == [55, 60, 65]


def test_overlay_leaves_ignored_pixels_alone() -> None:
    image = np.full((4, 4, 3), 77, np.uint8)
    assert (overlay(image, np.full((4, 4), 255, np.uint8), COLORS) == 77).all()


def test_error_map_marks_wrong_and_ignored_pixels_alone() -> None:
    truth = np.array([[0, 1, 255, 1]], np.uint8)
    predicted = np.array([[0, 0, 1, 1]], np.uint8)
    shown = error_map(np.full((1, 4, 3), 200, np.uint8), truth, predicted)
    assert shown[0, 1].tolist() == list(WRONG)
    assert shown[0, 2].tolist() == list(IGNORED)
    assert shown[0, 0].tolist() == shown[0, 3].tolist()
    assert len(set(shown[0, 0].tolist())) == 1


def test_change_map_tells_mended_from_spoilt() -> None:
    image = np.full((1, 6, 3), 200, np.uint8)
    truth = np.array([[0, 1, 1, 2, 255, 1]], np.uint8)
    before = np.array([[0, 0, 1, 0, 0, 0]], np.uint8)
    after = np.array([[0, 1, 0, 1, 1, 0]], np.uint8)
    shown = change_map(image, truth, before, after)[0].tolist()
    assert shown[1] == list(MENDED)
    assert shown[2] == list(WRONG)
    assert shown[3] == shown[4] == list(IGNORED)
    assert shown[0] == shown[5]
    assert shown[0] not in ([200] * 3, list(MENDED), list(WRONG), list(IGNORED))
    unknown = change_map(image, None, before, after)[0].tolist()
    assert [pixel == list(IGNORED) for pixel in unknown] == [False, True, True, True, True, False]


def test_shrink_keeps_labels_and_small_images() -> None:
    labels = np.random.default_rng(0).choice([0, 5, 255], (100, 60)).astype(np.uint8)
    small = shrink(labels, 25, labels=True)
    assert small.shape == (25, 15)
    assert set(np.unique(small)) <= {0, 5, 255}
    assert shrink(labels, 100, labels=True) is labels


@pytest.mark.parametrize("flat", [True, False])
def test_data_uri_holds_the_picture(flat: bool) -> None:
    rgb = paint(np.arange(64, dtype=np.uint8).reshape(8, 8) % 2, COLORS)
    head, _, body = data_uri(rgb, flat=flat).partition(",")
    assert head == f"data:image/{'png' if flat else 'jpeg'};base64"
    again = np.asarray(Image.open(io.BytesIO(base64.b64decode(body))).convert("RGB")).astype(int)
    assert abs(again - rgb).max() <= (0 if flat else 60)
