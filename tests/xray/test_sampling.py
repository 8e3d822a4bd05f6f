"""A folder of made radiographs, and its tables read back."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from atrous.data import open_folder
from atrous.errors import DataError, UsageError
from atrous.workflows import sample
from atrous.xray import c_arm
from atrous.xray.anatomy import LANDMARK_PAIRS, LANDMARKS
from atrous.xray.sampling import is_test_view, make_xray, split_of_phantom
from atrous.xray.tables import read_places, read_views, write_places, write_views


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_xray(tmp_path_factory.mktemp("xray") / "data", count=22, size=(96, 80))


def test_the_folder_is_read_as_data_with_landmarks(made: Path) -> None:
    data = open_folder(made)
    assert data.classes.names == LANDMARKS
    assert data.classes.flip_pairs == LANDMARK_PAIRS
    assert {split: len(pairs) for split, pairs in data.splits.items()} == {"train": 10, "val": 10, "test": 2}
    views, places = read_views(made / "views.csv"), read_places(made / "landmarks_3d.csv")
    seen = 0
    for split, pairs in data.splits.items():
        for pair in pairs:
            view = views[pair.image.relative_to(made).as_posix()]
            assert view.body.startswith("phantom_")
            assert is_test_view(*view.angles) == (split == "test")
            true = view.beam.project(np.stack([places[view.body][name] for name in LANDMARKS]))
            known = pair.landmarks.visibility == 2
            np.testing.assert_allclose(pair.landmarks.points[known], true[known], atol=2e-3)
            outside = (true < -0.5).any(1) | (true[:, 0] >= 79.5) | (true[:, 1] >= 95.5)
            np.testing.assert_array_equal(known, ~outside)
            seen += known.mean()
            image = cv2.imread(str(pair.image), cv2.IMREAD_UNCHANGED)
            assert image.shape == (96, 80)
            assert image.std() > 20
    assert 0.75 * 22 < seen < 22


def test_more_images_continue_fewer_and_a_seed_repeats(made: Path, tmp_path: Path) -> None:
    again = make_xray(tmp_path / "again", count=2, size=(96, 80))
    for name in ("xray_0000_00.png", "xray_0000_01.png"):
        assert (again / "images" / name).read_bytes() == (made / "images" / name).read_bytes()
    rows = [list(csv.reader((folder / "landmarks.csv").open()))[:3] for folder in (made, again)]
    assert rows[0] == rows[1]


def test_the_command_makes_it(tmp_path: Path) -> None:
    made = sample("xray", tmp_path / "made", count=1, size=32, seed=3)
    assert len(list((made / "images").iterdir())) == 1
    assert (made / "train.txt").read_text() == "xray_0000_00\n"


def test_phantoms_and_views_are_shared_out() -> None:
    splits = [split_of_phantom(number) for number in range(20)]
    assert {split: splits.count(split) for split in set(splits)} == {"train": 14, "val": 2, "test": 4}
    lao, cranial = np.meshgrid(np.arange(-59.5, 60), np.arange(-44.5, 45))
    held = np.array([is_test_view(*each) for each in zip(lao.ravel(), cranial.ravel(), strict=True)])
    assert held.mean() == pytest.approx(0.2, abs=0.03)


def test_a_bad_folder_count_or_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a folder with files in it"):
        make_xray(tmp_path)
    with pytest.raises(DataError, match="is a file"):
        make_xray(tmp_path / "file")
    with pytest.raises(UsageError, match="at least 1 picture"):
        make_xray(tmp_path / "new", count=0)
    with pytest.raises(UsageError, match="at least 32 on each side"):
        make_xray(tmp_path / "new", size=16)


def test_tables_of_views_are_exact(tmp_path: Path) -> None:
    beam = c_arm(13.7, -20.1, roll=3.3, size=(50, 70), centre=(1.5, 2.5, -3.5))
    write_views(tmp_path / "views.csv", [("a.png", "one", (13.7, -20.1), beam)])
    found = read_views(tmp_path / "views.csv")["a.png"]
    np.testing.assert_array_equal(found.beam.matrix, beam.matrix)
    assert (found.body, found.angles, found.beam.height, found.beam.width) == ("one", (13.7, -20.1), 50, 70)
    write_places(tmp_path / "places.csv", {"one": np.array([[1.0, 2.0, 3.0]])}, ["tip"])
    assert read_places(tmp_path / "places.csv")["one"]["tip"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,x,y\na,1,2\n", "has no column 'z'"),
        ("name,x,y,z\na,1,2,north\n", "line 2, z: is 'north'"),
        ("name,x,y,z\na,1,2\n", "line 2: has not as many cells"),
        ("name,x,y,z\na,1,2,3\na,1,2,3\n", "line 3: a has a place already"),
    ],
)
def test_bad_tables_of_places_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "places.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_places(tmp_path / "places.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_views(tmp_path / "none.csv")
