"""Instance maps and masks are looked into: masks in place of maps, resampled numbers and classes, shifts."""

import cv2
import numpy as np
import pytest

from atrous.data import check_folder, open_folder
from atrous.data.instance_maps import invented_values, look_at_map
from atrous.errors import DataError
from atrous.images import read_mask, write_image


def circles(count=9, seed=0, size=(96, 128)):
    """A map of numbered discs that do not touch."""
    rng = np.random.default_rng(seed)
    numbers = np.zeros(size, np.uint16)
    for k in range(count):
        center = (18 + 34 * (k % 3) + int(rng.integers(0, 6)), 16 + 30 * (k // 3))
        cv2.circle(numbers, center, 9 + k % 4, k + 1, -1)
    return numbers


@pytest.fixture
def folder(tmp_path, picture):
    """Makes four pairs with maps: folder(instances, mask), each a function of a number; no masks where mask is None."""

    def make(instances, mask=None):
        for number in range(4):
            for side, make in (("images", None), ("instances", instances), ("masks", mask)):
                if side != "images" and make is None:
                    continue
                (tmp_path / side).mkdir(exist_ok=True)
                array = picture(96, 128, seed=number) if side == "images" else make(number)
                write_image(tmp_path / side / f"{number}.png", array)
        return tmp_path

    return make


def codes(root, severity="error"):
    return [finding.code for finding in check_folder(root).findings if finding.severity == severity]


def test_sound_maps_are_not_complained_about(folder):
    root = folder(lambda n: circles(seed=n), lambda n: (circles(seed=n) > 0).astype(np.uint8))
    assert check_folder(root).findings == ()


@pytest.mark.parametrize("value", [1, 255])
def test_masks_in_the_place_of_maps_are_refused(folder, value):
    root = folder(lambda n: (circles(seed=n) > 0).astype(np.uint8) * value)
    (finding,) = check_folder(root).errors
    assert finding.message == f"holds 0 and {value} alone, in 9 pieces, and no map has a second number: these are masks"
    assert finding.fix.startswith("Move them to masks/, or number the objects: 1, 2, 3, ...")


def test_one_object_in_every_image_is_an_object(folder):
    assert not codes(folder(lambda n: (circles(1, seed=n) > 0).astype(np.uint8)))
    assert not codes(
        folder(lambda n: np.where(circles(seed=n) == 3, 1, n % 2 * (circles(seed=n) == 5)).astype(np.uint8))
    )


@pytest.mark.parametrize("factor", [0.6, 1.7])
def test_maps_resized_by_interpolation_are_refused(folder, factor):
    def resized(number, how):
        return cv2.resize(cv2.resize(circles(seed=number), None, fx=factor, fy=factor), (128, 96), interpolation=how)

    root = folder(lambda n: resized(n, cv2.INTER_LINEAR))
    report = check_folder(root)
    assert [finding.code for finding in report.errors] == ["resampled_map"] * 4
    assert "of them have specks along the rims of others: it was resized by interpolation" in str(report)
    again = cv2.resize(circles(), None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    assert look_at_map(again, None, "map", findings := []) is not None
    assert findings == []


def test_a_map_of_one_object_resized_by_interpolation_is_refused(folder):
    def far(number):
        return cv2.GaussianBlur((circles(1, seed=number) > 0).astype(np.uint8) * 200, (5, 5), 0)

    assert codes(folder(far)) == ["resampled_map"] * 4


def test_classes_that_resampling_invented_are_refused(folder):
    def classes(number):
        mask = np.zeros((96, 128), np.uint8)
        mask[circles(seed=number) > 0] = 15
        return mask

    def smooth(number):
        return cv2.resize(cv2.resize(classes(number), None, fx=0.6, fy=0.6), (128, 96))

    root = folder(lambda n: circles(seed=n), classes)
    assert open_folder(root).classes.names == ("background", "foreground")
    root = folder(lambda n: circles(seed=n), smooth)
    with pytest.raises(
        DataError, match=r"in thin pieces between other values alone, as all masks do: it was resized by"
    ):
        open_folder(root)
    rows = ", ".join(f"{{name: c{value}, value: {value}}}" for value in range(16))
    (root / "classes.yaml").write_text(f"classes: [{rows}]")
    assert codes(root, "warning").count("resampled_mask") == 4


@pytest.mark.parametrize("by", [(0, 7), (-6, 3), (5, 0)])
def test_a_map_that_is_shifted_against_its_mask_is_refused_with_the_shift(folder, by):
    root = folder(
        lambda n: np.roll(circles(seed=n), (-by[0], -by[1]), (0, 1)), lambda n: (circles(seed=n) > 0).astype(np.uint8)
    )
    report = check_folder(root)
    assert [finding.code for finding in report.errors] == ["shifted_map"] * 4
    assert f"and 0 % if it is moved by {by[0]} rows and {by[1]} columns. Export mask and map again" in str(report)


def test_a_map_that_does_not_fit_its_mask_is_told(folder):
    def other(number):
        mask = (circles(seed=number) > 0).astype(np.uint8)
        mask[:, :40] = 0
        return mask

    assert codes(folder(lambda n: circles(seed=n), other), "warning") == ["map_off_mask"] * 4


def test_ignored_rims_and_several_classes_fit(folder):
    def mask(number):
        numbers = circles(seed=number)
        classes = np.where(numbers > 0, 1 + numbers % 3, 0).astype(np.uint8)
        rims = cv2.dilate(numbers, np.ones((3, 3))) != cv2.erode(numbers, np.ones((3, 3)))
        classes[rims] = 255
        return classes

    assert not codes(folder(lambda n: circles(seed=n), mask))


def test_the_background_is_what_lies_beside_objects_whatever_its_number(folder):
    assert not codes(folder(lambda n: circles(seed=n), lambda n: (circles(seed=n) == 0).astype(np.uint8)), "warning")


def test_negative_numbers_are_told(tmp_path):
    numbers = circles().astype(np.int32)
    numbers[:3] = -1
    findings = []
    look_at_map(numbers, None, "map.tif", findings)
    assert [f.code for f in findings] == ["negative_objects"]
    assert findings[0].message == "holds -1, and numbers of objects begin at 1: read as no object"


@pytest.mark.shared
def test_real_maps_and_masks_are_sound_and_the_same_resized_are_not(shared):
    maps = sorted((shared / "dsb2018_nuclei" / "instances").iterdir())[:12]
    resized = 0
    for path in maps:
        numbers = read_mask(path)
        look_at_map(numbers, (numbers > 0).astype(np.uint8), path, findings := [])
        assert findings == []
        look_at_map(cv2.resize(numbers, None, fx=0.7, fy=0.7), None, path, findings)
        resized += len(findings)
    assert resized == len(maps)
    masks = sorted((shared / "voc2012" / "SegmentationClass").iterdir())[:12]
    assert not any(invented_values(read_mask(path)) for path in masks)
    assert all(len(invented_values(cv2.resize(read_mask(path), None, fx=0.7, fy=0.7))) >= 3 for path in masks)
