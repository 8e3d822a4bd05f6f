"""Speckles and holes."""

import numpy as np
import pytest
from scipy import ndimage

from atrous.errors import BundleError, UsageError
from atrous.inference import Predictor
from atrous.postprocess import part_areas, read_clean, remove_small


def sizes(classes):
    found = []
    for value in np.unique(classes):
        parts, count = ndimage.label(classes == value)
        found += ndimage.sum(classes == value, parts, range(1, count + 1)).tolist()
    return found


@pytest.mark.parametrize("seed", range(5))
def test_small_parts_are_gone_and_large_ones_stay(seed):
    rng = np.random.default_rng(seed)
    classes = ndimage.median_filter(rng.integers(0, 4, (60, 70)).astype(np.uint8), 3)
    cleaned = remove_small(classes, 12)
    assert cleaned.dtype == classes.dtype
    for value in np.unique(classes):
        parts, count = ndimage.label(classes == value)
        for part in range(1, count + 1):
            own = parts == part
            if own.sum() >= 12:
                assert (cleaned[own] == value).all()
    taken = cleaned != classes
    small = _small(classes, 12)
    distance = ndimage.distance_transform_edt(small)
    for at in np.argwhere(taken):  # the class is that of a pixel that stays, at most a pixel farther than the nearest
        reach = int(np.ceil(distance[tuple(at)])) + 1
        box = tuple(slice(max(c - reach, 0), c + reach + 1) for c in at)
        assert cleaned[tuple(at)] in classes[box][~small[box]]


def _small(classes, least):
    small = np.zeros(classes.shape, bool)
    for value in np.unique(classes):
        parts, count = ndimage.label(classes == value)
        areas = ndimage.sum(classes == value, parts, range(count + 1))
        small |= (parts > 0) & (np.asarray(areas)[parts] < least)
    return small


def test_a_hole_is_filled_and_a_speckle_goes():
    classes = np.zeros((30, 30), np.uint16)
    classes[5:20, 5:20] = 300
    classes[10:12, 10:12] = 0
    classes[25, 25] = 300
    cleaned = remove_small(classes, 5)
    assert (cleaned[5:20, 5:20] == 300).all()
    assert cleaned[25, 25] == 0
    assert sorted(sizes(cleaned)) == [225, 675]


def test_each_class_has_a_size_of_its_own():
    rng = np.random.default_rng(0)
    classes = ndimage.median_filter(rng.integers(0, 3, (50, 50)).astype(np.uint8), 3)
    cleaned = remove_small(classes, (0, 0, 20))
    assert (cleaned[classes < 2] == classes[classes < 2]).all()
    assert (remove_small(classes, [6, 6, 6]) == remove_small(classes, 6)).all()
    areas = part_areas(classes)
    assert sorted(areas) == [0, 1, 2]
    assert sorted(np.concatenate(list(areas.values())).tolist()) == sorted(sizes(classes))
    gone = (classes == 2) & (cleaned != 2)
    assert gone.sum() == areas[2][areas[2] < 20].sum() > 0


def test_pixels_of_no_class_have_no_size():
    classes = np.zeros((6, 8), np.uint8)
    classes[2, 3], classes[4, 4:6] = 255, 1
    cleaned = remove_small(classes, (0, 3))
    assert cleaned[2, 3] == 255
    assert not (cleaned == 1).any()


def test_nothing_changes_without_a_size_or_without_a_large_part():
    checks = (np.indices((8, 8)).sum(0) % 2).astype(np.uint8)
    assert remove_small(checks, 0) is checks
    assert (remove_small(checks, 5) == checks).all()


def test_a_section_is_checked():
    assert read_clean(None) is None
    assert read_clean({"min_size": 7}).min_size == 7
    assert read_clean({"min_size": [0, 7]}, classes=2).min_size == (0, 7)
    with pytest.raises(UsageError, match=r"clean, min_size: got 2 sizes for 3 classes; give one for each"):
        read_clean({"min_size": [0, 7]}, classes=3)
    for wrong in ({"min_siz": 7}, {"min_size": -1}, {"min_size": "7"}, {"min_size": [-1]}, 7):
        with pytest.raises(UsageError, match="clean"):
            read_clean(wrong)


def test_a_bundle_says_what_is_cleaned(tmp_path):
    from atrous import create_model, save_bundle
    from atrous.bundle import update_bundle

    model = create_model("unet2015", num_classes=3, in_channels=1, width=2).eval()
    place = save_bundle(tmp_path / "x.bundle", model, class_names=["a", "b", "c"])
    image = np.random.default_rng(0).integers(0, 255, (40, 50), np.uint8)
    plain = Predictor.load(place, device="cpu")(image)
    update_bundle(place, sections={"clean": {"min_size": 30}})
    cleaned = Predictor.load(place, device="cpu")(image)
    assert (cleaned.classes == remove_small(plain.classes, 30)).all()
    assert (cleaned.scores == plain.scores).all()
    update_bundle(place, sections={"clean": {"min_size": [0, 30, 5]}})
    cleaned = Predictor.load(place, device="cpu")(image)
    assert (cleaned.classes == remove_small(plain.classes, [0, 30, 5])).all()
    update_bundle(place, sections={"clean": {"min_size": [0, 30]}})
    with pytest.raises(BundleError, match="2 sizes for 3 classes"):
        Predictor.load(place, device="cpu")
    update_bundle(place, sections={"clean": {"size": 30}})
    with pytest.raises(BundleError, match="clean"):
        Predictor.load(place, device="cpu")
