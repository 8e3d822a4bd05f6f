"""Pictures: what an eye is shown is what the numbers say."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from atrous.drawing import NEAR, PALETTE, bare_class, color_distance, default_colors, former_colors
from atrous.reports import errors
from atrous.reports.errors import class_errors, label_errors, object_errors
from atrous.reports.pictures import (
    CONFUSED,
    FALSE_ALARM,
    IGNORED,
    MENDED,
    MISSED,
    SPOILT,
    change_map,
    data_uri,
    error_map,
    overlay,
    paint,
    painted,
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


def test_errors_of_classes_are_told_apart() -> None:
    truth = np.array([[0, 1, 0, 1, 255, 1]], np.uint8)
    predicted = np.array([[0, 0, 2, 2, 1, 1]], np.uint8)
    found = class_errors(truth, predicted, 0)
    assert found.tolist() == [
        [errors.RIGHT, errors.MISSED, errors.FALSE_ALARM, errors.CONFUSED, errors.IGNORED, errors.RIGHT]
    ]
    shown = error_map(np.full((1, 6, 3), 200, np.uint8), found)[0].tolist()
    assert [tuple(color) for color in shown[1:5]] == [MISSED, FALSE_ALARM, CONFUSED, IGNORED]
    assert shown[0] == shown[5]
    assert len(set(shown[0])) == 1
    alike = class_errors(truth, predicted, None)  # without a background, and not knowing which class is the rarer one
    assert set(alike.ravel()) == {errors.RIGHT, errors.CONFUSED, errors.IGNORED}


def test_without_a_background_the_rarer_class_is_the_one_missed_or_falsely_found() -> None:
    """A pole given to the building behind it is missed; a building given to a pole is a false alarm of poles."""
    building, pole, tree = 0, 1, 2
    truth = np.array([[pole, building, pole, tree, tree, 255]], np.uint8)
    predicted = np.array([[building, pole, tree, pole, tree, pole]], np.uint8)
    found = class_errors(truth, predicted, None, [0.6, 0.01, 0.39])
    assert found.tolist() == [
        [errors.MISSED, errors.FALSE_ALARM, errors.MISSED, errors.FALSE_ALARM, errors.RIGHT, errors.IGNORED]
    ]
    equals = class_errors(truth, predicted, None, [0.4, 0.2, 0.4])
    assert equals[0, 0] == errors.MISSED
    assert class_errors(np.array([[0]]), np.array([[2]]), None, [0.4, 0.2, 0.4]).tolist() == [[errors.CONFUSED]]


def test_errors_of_classes_that_overlap_count_each_class() -> None:
    truth = np.array([[[1, 1, 0, 0, 255, 1]], [[0, 1, 0, 1, 255, 255]]], np.uint8)
    decided = np.array([[[1, 1, 1, 1, 1, 0]], [[0, 0, 0, 0, 0, 1]]], bool)
    wanted = [errors.RIGHT, errors.MISSED, errors.FALSE_ALARM, errors.CONFUSED, errors.IGNORED, errors.MISSED]
    assert label_errors(truth, decided)[0].tolist() == wanted


def test_objects_that_were_joined_are_errors_although_every_pixel_is_right() -> None:
    truth = np.array([[1, 1, 2, 2, 0, 3, 0, 0]])
    found = np.array([[5, 5, 5, 5, 0, 0, 0, 6]])
    mask = (truth > 0).astype(np.uint8)
    both, missed, extra = errors.CONFUSED, errors.MISSED, errors.FALSE_ALARM
    assert object_errors(truth, found, mask)[0].tolist() == [both, both, both, both, 0, missed, 0, extra]
    assert not object_errors(truth, truth + 7 * (truth > 0), mask).any()
    unknown = np.where(truth == 3, 255, mask)
    assert object_errors(truth, found, unknown)[0, 5] == errors.IGNORED
    crowd = mask.copy()
    crowd[0, 7] = 1  # objects that nobody has told apart: what is found there is no false alarm
    assert object_errors(truth, found, crowd)[0, 7] == errors.IGNORED


def test_no_class_has_a_color_near_those_of_errors_or_of_another_class() -> None:
    colors = default_colors([f"class {k}" for k in range(255)])
    for error in (MISSED, FALSE_ALARM, CONFUSED, IGNORED):
        assert min(color_distance(color, error) for color in colors) >= (NEAR if error != IGNORED else 15)
    assert colors[: len(PALETTE)] == PALETTE
    first = default_colors(["background", *map(str, range(1, 12))])
    assert first[0] == (0, 0, 0)
    assert min(color_distance(a, b) for i, a in enumerate(first) for b in first[:i]) >= 25


# What people without the long- or the middle-wavelength receptor see, in linear light.
# Machado, Oliveira and Fernandes, IEEE TVCG 15 (2009), https://doi.org/10.1109/TVCG.2009.113, severity 1.
BLINDNESS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


@pytest.mark.parametrize("kind", BLINDNESS)
def test_errors_are_told_apart_by_every_kind_of_color_vision(kind: str) -> None:
    def seen(color: tuple[int, int, int]) -> tuple[int, int, int]:
        share = np.asarray(color) / 255
        light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        light = (np.asarray(BLINDNESS[kind]) @ light).clip(0, 1)
        share = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        red, green, blue = (round(float(255 * value)) for value in share)
        return red, green, blue

    kinds = [seen(color) for color in (MISSED, FALSE_ALARM, CONFUSED, (165, 165, 165), (255, 255, 255))]
    assert min(color_distance(a, b) for i, a in enumerate(kinds) for b in kinds[:i]) > NEAR
    crack = seen(default_colors(["road", "crack"])[1])  # the class that most pictures show
    assert min(color_distance(crack, color) for color in kinds) > 20


def test_former_colors_are_those_of_older_bundles() -> None:
    assert former_colors(["background", "cell"]) == ((0, 0, 0), (242, 110, 61))


def test_the_commonest_class_is_not_painted() -> None:
    assert bare_class(["road", "crack"], [0.99, 0.01]) == 0
    assert bare_class(["crack", "road"], [0.2, 0.8]) == 1
    assert bare_class(["a", "b", "c"], [0.5, 0.3, 0.2]) is None
    assert bare_class(["cell", "background"], [0.9, 0.1]) == 1
    assert bare_class(["all"], [1.0]) is None
    image = np.full((6, 8, 3), (100, 120, 140), np.uint8)
    classes = np.zeros((6, 8), np.uint8)
    classes[2:4, 2:6] = 1
    mixed = overlay(image, classes, COLORS, bare=0)
    assert (mixed[classes == 0] == image[0, 0]).all()
    assert (mixed[classes == 1] == COLORS[1]).all()  # the outline is all there is of so small a part
    flat = painted(image, classes, COLORS, bare=0)
    assert (flat[classes == 1] == COLORS[1]).all()
    assert len(set(flat[0, 0].tolist())) == 1
    assert flat[0, 0, 0] >= 165


def test_objects_are_outlined_and_numbered() -> None:
    image, objects = np.zeros((60, 90, 3), np.uint8), np.zeros((60, 90), np.int32)
    objects[10:50, 10:45], objects[10:50, 45:80] = 7, 8  # they touch
    objects[2:4, 2:4] = 9
    classes = (objects > 0).astype(np.uint8)
    shown = overlay(image, classes, COLORS, opacity=0.2, objects=objects, bare=0)
    assert (shown[30, 44] == COLORS[1]).all()
    assert (shown[30, 45] == COLORS[1]).all()
    assert (shown[12, 12] == [40, 20, 0]).all()
    white = (shown > 150).all(-1)
    for number in (7, 8):
        assert white[objects == number].sum() > 5
    assert not white[objects == 9].any()  # too small for a number
    for y, x in np.argwhere(white):
        assert objects[y, x] in (7, 8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_each_channel_of_a_dim_image_is_stretched_by_itself(dtype: type) -> None:
    ramp = np.linspace(0, 1, 10_000).reshape(100, 100)
    dim = np.stack([10 + 60 * ramp, 3 + 30 * ramp, 0 * ramp + 5], -1).astype(dtype)
    shown = to_display(dim)
    assert shown[-1, -1, :2].tolist() == [255, 255]
    assert shown[0, 0].tolist() == [0, 0, 0]
    assert not shown[..., 2].any()  # of nothing, nothing is made


def test_few_bright_pixels_are_seen() -> None:
    image = np.full((100, 100), 300, np.uint16)
    image[:5, :10] = 4000  # half a per cent
    shown = to_display(image)[..., 0]
    assert shown[0, 0] == 255
    assert shown[50, 50] == 0
    assert to_display(np.full((50, 50), 6, np.uint8) + (np.arange(50) % 2).astype(np.uint8)).max() < 40  # mere noise


def test_change_map_tells_mended_from_spoilt() -> None:
    image = np.full((1, 6, 3), 200, np.uint8)
    truth = np.array([[0, 1, 1, 2, 255, 1]], np.uint8)
    before = np.array([[0, 0, 1, 0, 0, 0]], np.uint8)
    after = np.array([[0, 1, 0, 1, 1, 0]], np.uint8)
    shown = change_map(image, truth, before, after)[0].tolist()
    assert shown[1] == list(MENDED)
    assert shown[2] == list(SPOILT)
    assert shown[3] == shown[4] == list(IGNORED)
    assert shown[0] == shown[5]
    assert shown[0] not in ([200] * 3, list(MENDED), list(SPOILT), list(IGNORED))
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
