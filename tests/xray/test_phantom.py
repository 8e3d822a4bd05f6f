"""Made bodies: bones lie where the landmarks say, and what varies varies."""

import numpy as np
import pytest

from atrous.errors import UsageError
from atrous.xray.anatomy import LANDMARK_PAIRS, LANDMARKS, bones, template
from atrous.xray.phantom import make_phantom
from atrous.xray.volume import WATER

COARSE = 5.0


def hounsfield(phantom: object, place: np.ndarray, reach: float) -> np.ndarray:
    """Of the voxels around a place."""
    into = np.linalg.inv(phantom.volume.affine)
    at = into[:3, :3] @ place + into[:3, 3]
    low, high = np.floor(at - reach / COARSE).astype(int), np.ceil(at + reach / COARSE).astype(int) + 1
    window = phantom.volume.values[low[2] : high[2], low[1] : high[1], low[0] : high[0]]
    return 1000 * (window / WATER - 1)


def test_names_and_pairs() -> None:
    assert len(LANDMARKS) == len(set(LANDMARKS)) == 23
    assert [LANDMARKS[n] for n in LANDMARK_PAIRS[0]] == ["left_asis", "right_asis"]
    assert len(LANDMARK_PAIRS) == 10
    places = template()
    for left, right in LANDMARK_PAIRS:
        assert LANDMARKS[left].replace("left", "right") == LANDMARKS[right]
        np.testing.assert_array_equal(places[left], places[right] * [-1, 1, 1])
        assert places[left, 0] > 0  # the patient's left
    assert not places[20:, 0].any()


def test_the_plan_is_symmetric_and_its_landmarks_lie_on_bones() -> None:
    parts = bones()
    for side in ("hip", "femur"):
        np.testing.assert_array_equal(parts[f"left_{side}"].centres, parts[f"right_{side}"].centres * [-1, 1, 1])
    centres = np.concatenate([bone.centres for bone in parts.values()])
    radii = np.concatenate([bone.radii for bone in parts.values()])
    for name, place in zip(LANDMARKS, template(), strict=True):
        off = (np.linalg.norm(centres - place, axis=1) - radii).min()
        if "hip_centre" in name:
            assert off == pytest.approx(-24)
        elif name == "pubic_symphysis":
            assert 0 < off < 4  # in the gap between two bones
        else:
            assert abs(off) < 4, name


@pytest.fixture(scope="module")
def three() -> list:
    return [make_phantom(seed, spacing=COARSE) for seed in range(3)]


def test_landmarks_move_with_their_bones(three: list) -> None:
    for phantom in three:
        for name, place in zip(LANDMARKS, phantom.landmarks, strict=True):
            assert hounsfield(phantom, place, 6.0).max() > 180, name
        head = phantom.landmarks[LANDMARKS.index("left_hip_centre")]
        assert hounsfield(phantom, head, 6.0).min() > 90  # in the middle of the head is bone all around


def test_bodies_differ_in_size_and_shape_and_are_not_symmetric(three: list) -> None:
    places = np.stack([phantom.landmarks for phantom in three])
    spread = places.std(0)
    assert spread.mean() > 2
    middle = (places[:, 0::2][:, :10] * [-1, 1, 1] + [0, 0, 0]) - places[:, 1::2][:, :10]
    assert 0.3 < np.abs(middle[..., 1:]).mean() < 12  # the legs turn each for itself
    assert len({phantom.volume.values.sum() for phantom in three}) == 3


def test_a_body_has_air_fat_muscle_and_bone(three: list) -> None:
    values = 1000 * (three[0].volume.values / WATER - 1)
    assert values.min() == pytest.approx(-1000, abs=1)
    for low, high, least in ((-1001, -900, 0.2), (-160, -40, 0.03), (10, 100, 0.1), (150, 2500, 0.01)):
        assert ((values > low) & (values < high)).mean() > least
    assert 700 < values.max() < 2200
    np.testing.assert_allclose(np.diag(three[0].volume.affine)[:3], COARSE)


def test_a_seed_makes_one_body_at_every_spacing(three: list) -> None:
    again = make_phantom(0, spacing=COARSE)
    np.testing.assert_array_equal(again.volume.values, three[0].volume.values)
    coarser = make_phantom(0, spacing=10.0)
    np.testing.assert_array_equal(coarser.landmarks, three[0].landmarks)
    mean = three[0].volume.values.mean()
    assert coarser.volume.values.mean() == pytest.approx(mean, rel=0.03)
    with pytest.raises(UsageError, match="voxels of 1 to 10 mm"):
        make_phantom(0, spacing=0.5)
