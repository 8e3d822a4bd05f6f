"""Made figures: the same from the same seed, sound as data, and with every kind of visibility."""

import numpy as np

from atrous.data import check_folder, open_folder
from atrous.made import draw_figure, make_figures
from atrous.made.figures import FIGURE_LANDMARKS
from atrous.workflows.samples import sample


def draw(number: int, height: int = 96, width: int = 96):
    return draw_figure(np.random.default_rng((3, number)), height, width)


def test_the_same_seed_makes_the_same_folder_and_more_continue_fewer(tmp_path):
    few = make_figures(tmp_path / "few", count=3, size=(64, 48), seed=5)
    many = sample("figures", tmp_path / "many", count=5, size=(64, 48), seed=5)
    for file in ("images/figure_00000.png", "images/figure_00002.png"):
        assert (few / file).read_bytes() == (many / file).read_bytes()
    assert (many / "landmarks.csv").read_text().startswith((few / "landmarks.csv").read_text())
    other = make_figures(tmp_path / "other", count=3, size=(64, 48), seed=6)
    assert (few / "landmarks.csv").read_text() != (other / "landmarks.csv").read_text()


def test_the_folder_is_sound_and_knows_its_sides(tmp_path):
    root = make_figures(tmp_path / "figures", count=40, size=64)
    folder = open_folder(root)
    assert {split: len(pairs) for split, pairs in folder.splits.items()} == {"train": 28, "val": 6, "test": 6}
    assert folder.classes.names == FIGURE_LANDMARKS
    assert [tuple(folder.classes.names[k] for k in pair) for pair in folder.classes.flip_pairs] == [
        (f"left {joint}", f"right {joint}") for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    ]
    assert not check_folder(folder).errors


def test_landmarks_are_seen_covered_and_outside():
    states = np.concatenate([draw(number)[2] for number in range(40)])
    shares = np.bincount(states, minlength=3) / len(states)
    assert 0.002 < shares[0] < 0.1
    assert 0.1 < shares[1] < 0.4
    for number in range(10):
        _, points, visibility = draw(number)
        assert (np.isnan(points).any(axis=1) == (visibility == 0)).all()
        known = points[visibility > 0]
        assert (known >= -0.5).all()
        assert (known <= 95.5).all()


def test_left_is_on_either_side_as_the_figure_turns():
    sides = []
    for number in range(60):
        _, points, visibility = draw(number, 64, 64)
        if visibility[2] and visibility[3]:
            sides.append(points[2, 0] < points[3, 0])
    assert 0.3 < np.mean(sides) < 0.7
