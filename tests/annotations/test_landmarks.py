"""Landmarks as plain data: what goes together, what equals what, and which names are each other's mirror image."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from atrous.annotations.landmarks import LandmarkEntry, LandmarkTable, mirrored_names
from atrous.errors import DataError


def test_an_entry_equals_its_copy_in_another_process_and_cannot_be_written_to() -> None:
    entry = LandmarkEntry(Path("a.png"), [[1, 2], [np.nan, np.nan]], [2, 0], box=[0, 0, 4, 6])
    assert entry == pickle.loads(pickle.dumps(entry))
    assert len({entry, pickle.loads(pickle.dumps(entry))}) == 1
    assert entry != LandmarkEntry(Path("a.png"), [[1, 2], [np.nan, np.nan]], [1, 0], box=[0, 0, 4, 6])
    with pytest.raises(ValueError, match="read-only"):
        entry.points[0] = 0


def test_the_middle_of_a_box_of_pixels_is_between_their_centres() -> None:
    points = np.zeros((1, 2))
    assert LandmarkEntry(Path("a"), points, [2], box=[2, 4, 5, 1]).middle.tolist() == [4, 4]
    assert LandmarkEntry(Path("a"), points, [2], box=[2, 4, 5, 1], center=[9, 8]).middle.tolist() == [9, 8]
    assert LandmarkEntry(Path("a"), points, [2]).middle is None


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"points": [[1, 2, 3]], "visibility": [2]}, r"points \(1, 3\) and visibility \(1,\) do not go together"),
        ({"points": [[1, 2]], "visibility": [2, 2]}, "do not go together"),
        ({"points": [[1, 2]], "visibility": [3]}, "visibility 3 is none of 0, 1, 2"),
        ({"points": [[1, 2]], "visibility": [0]}, "landmark 0 has a place and visibility 0"),
        ({"points": [[1, np.nan]], "visibility": [1]}, "landmark 0 is NaN and has a visibility above 0"),
        ({"points": [[1, 2]], "visibility": [1], "box": [0, 0, 1]}, "box must be 4 finite numbers"),
        ({"points": [[1, 2]], "visibility": [1], "center": [0, np.inf]}, "center must be 2 finite numbers"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict, text: str) -> None:
    with pytest.raises(DataError, match=text):
        LandmarkEntry(Path("a.png"), **given)


@pytest.mark.parametrize(
    ("names", "pairs", "text"),
    [
        ((), (), "at least one name"),
        (("a", "a"), (), "'a' stands twice"),
        (("a", " "), (), "is blank"),
        (("a", "b"), ((0, 2),), "must be different numbers"),
        (("a", "b"), ((0, 0),), "must be different numbers"),
        (("a", "b"), (), "has 1 landmarks, and the table names 2"),
    ],
)
def test_a_table_names_every_landmark_once(names: tuple, pairs: tuple, text: str) -> None:
    with pytest.raises(DataError, match=text):
        LandmarkTable(names, pairs, (LandmarkEntry(Path("a.png"), [[1, 2]], [2]),))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left_eye", "right_eye"), ("leftear", "rightear"), ("ear left", "ear right"), ("EarLeft", "EarRight"),
        ("LEFT HIP", "RIGHT HIP"), ("l_hip", "r_hip"), ("hip_l", "hip_r"), ("hip.L", "hip.R"), ("hip-L-2", "hip-R-2"),
        ("LWrist", "RWrist"), ("lwrist", "rwrist"), ("wristL", "wristR"), ("upper_left_lip", "upper_right_lip"),
        ("l1", "r1"), ("thigh_L_distal", "thigh_R_distal"), ("left", "right"), ("L", "R"),
    ],
)  # fmt: skip
def test_left_and_right_are_found_in_names(left: str, right: str) -> None:
    assert mirrored_names(["nose", right, left, "tail"]) == ((2, 1),)


def test_names_without_a_partner_have_none() -> None:
    assert mirrored_names(["lower lip", "left_eye", "x0", "x1", "tail", "cleft", "Right_eye"]) == ()
