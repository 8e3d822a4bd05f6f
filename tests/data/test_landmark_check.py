"""What the doctor says of landmarks: the counts, and whatever is odd, by the set's own statistics."""

import csv
from pathlib import Path

import numpy as np
import pytest

from atrous.cli import main
from atrous.data import FolderDataset, check_folder, open_folder
from atrous.data.landmark_sides import swapped_sides
from atrous.data.reading import read_truth
from atrous.errors import DataError
from atrous.images.files import write_image

H, W = 40, 60
NAMES = ("nose", "left ear", "right ear", "tail")
SHAPE = np.array([[0, -8], [-5, -5], [5, -5], [1, 9]], float)


def figures(root: Path, count: int = 30, **more) -> np.ndarray:
    """A folder of turned figures and their points (count, 4, 2)."""
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 2 * np.pi, count)
    turns = np.stack([np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)], 1).reshape(-1, 2, 2)
    points = SHAPE @ turns.transpose(0, 2, 1) + rng.uniform([15, 15], [45, 25], (count, 1, 2))
    for number in range(count):
        (root / "images").mkdir(parents=True, exist_ok=True)
        write_image(root / f"images/{number:02}.png", rng.integers(0, 255, (H, W, 3), dtype=np.uint8))
    put(root, points, **more)
    return points


def put(root: Path, points: np.ndarray, names=NAMES, file: str = "landmarks.csv", first: int = 0) -> None:
    with (root / file).open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", *(f"{name}_{axis}" for name in names for axis in "xy")])
        for number, some in enumerate(points):
            cells = ["" if np.isnan(value) else f"{value:.6g}" for value in some.ravel()]
            writer.writerow([f"{number + first:02}.png", *cells])


def codes(root: Path) -> list[str]:
    return sorted(f"{finding.severity} {finding.code}" for finding in check_folder(root).findings)


def test_a_sound_folder_says_how_often_each_landmark_was_labelled(tmp_path):
    points = figures(tmp_path)
    points[3, 3] = np.nan
    put(tmp_path, points)
    report = check_folder(tmp_path)
    assert report.findings == ()
    assert report.summary["layout"] == "landmarks"
    rows = {row["name"]: row for row in report.summary["landmarks"]}
    assert rows["left ear"]["mirror"] == "right ear"
    train = report.summary["splits"]["train"]
    names = [pair.name for pair in open_folder(tmp_path).splits["train"]]
    assert rows["tail"]["absent"] == ("03" in names)
    assert rows["tail"]["visible"] + rows["tail"]["absent"] == train
    assert "landmark    visible" in str(report)


def test_samples_hold_points_that_move_with_a_window(tmp_path):
    points = figures(tmp_path)
    folder = open_folder(tmp_path)
    dataset = FolderDataset(folder, "train")
    number = int(folder.splits["train"][0].name)
    whole, part = dataset[0], dataset.window(0, slice(10, 30), slice(20, 50))
    np.testing.assert_allclose(whole["keypoints"].numpy(), points[number], atol=1e-4)
    np.testing.assert_allclose(part["keypoints"].numpy(), points[number] - [20, 10], atol=1e-4)
    assert whole["visible"].tolist() == [2, 2, 2, 2]
    assert whole["flip_pairs"].tolist() == [[1, 2]]
    assert {"mask", "center", "box"}.isdisjoint(whole)
    _, truth = read_truth(folder.splits["train"][0], folder)
    np.testing.assert_array_equal(truth["keypoints"], whole["keypoints"].numpy())


@pytest.mark.parametrize("wrong", [[4], [4, 20]])
def test_exchanged_sides_are_found_whichever_way_figures_face(tmp_path, wrong):
    points = figures(tmp_path)
    points[wrong] = points[wrong][:, [0, 2, 1, 3]]
    assert swapped_sides(points, [(1, 2)]) == {number: [0] for number in wrong}
    put(tmp_path, points)
    report = check_folder(tmp_path)
    assert [Path(f.file).name for f in report.findings] == [f"{n:02}.png" for n in wrong]
    assert report.findings[0].message.startswith("has 'left ear' and 'right ear' the other way round")


def test_sides_that_follow_no_rule_are_left_alone():
    points = np.random.default_rng(1).uniform(0, 50, (40, 6, 2))
    assert swapped_sides(points, [(1, 2), (3, 4)]) == {}
    points[:, 2] = np.nan
    assert swapped_sides(points, [(1, 2)]) == {}


def test_a_point_outside_is_a_warning_and_all_of_them_an_error(tmp_path):
    points = figures(tmp_path)
    points[2, 0] = (-0.6, 3)
    points[3, 0] = (-0.5, H - 0.5)  # the outermost rim of the image
    points[4] += 100
    put(tmp_path, points)
    assert codes(tmp_path) == ["error outside_image", "warning outside_image"]
    first, second = check_folder(tmp_path).findings
    assert {first.message, second.message} == {
        "has 60 x 40 pixels (width x height), and landmarks outside: nose (-0.6, 3)",
        next(f.message for f in (first, second) if "none of its landmarks" in f.message),
    }


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda p: p / [W, H], "error landmark_units"),
        (lambda p: p[..., ::-1] + [0, 12], "error landmark_units"),
        (lambda p: p * 3, "error landmark_units"),
        (lambda p: np.where(np.arange(4)[:, None] == 3, np.where(np.arange(30)[:, None, None] < 3, -1, p), p),
         "error placeholder"),
        (lambda p: np.where(np.arange(4)[:, None] == 3, np.where(np.arange(30)[:, None, None] < 3, 0, p), p),
         "warning placeholder"),
        (lambda p: np.concatenate([p[:-1], p[:1]]), "warning copied_landmarks"),
        (lambda p: np.where(np.arange(4)[:, None] == 3, np.nan, p), "warning landmark_never_seen"),
        (lambda p: p[:, [0, 1, 1, 3]], "warning same_place"),
    ],
)  # fmt: skip
def test_what_is_odd_in_a_whole_set(tmp_path, spoil, code):
    points = figures(tmp_path)
    put(tmp_path, spoil(points))
    assert code in codes(tmp_path)


def test_names_without_left_and_right_are_asked_about_until_somebody_says(tmp_path):
    figures(tmp_path, names=("a", "b", "c", "d"))
    assert codes(tmp_path) == ["warning unpaired_sides"]
    (tmp_path / "landmarks.yaml").write_text("flip_pairs: []\n")
    assert codes(tmp_path) == []
    (tmp_path / "landmarks.yaml").write_text("landmarks: [d, b, c]\nflip_pairs: [[b, c]]\n")
    folder = open_folder(tmp_path)
    assert folder.classes.names == ("d", "b", "c")
    assert folder.classes.flip_pairs == ((1, 2),)
    assert folder.splits["train"][0].landmarks.points.shape == (3, 2)


def test_lists_tables_and_shares_make_the_splits(tmp_path):
    points = figures(tmp_path, 12)
    assert {split: len(pairs) for split, pairs in open_folder(tmp_path).splits.items()} == {"train": 10, "val": 2}
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits/train.txt").write_text("".join(f"{n:02}\n" for n in range(8)))
    (tmp_path / "splits/val.txt").write_text("images/08.png\n09.png\n")
    assert [pair.name for pair in open_folder(tmp_path).splits["val"]] == ["08", "09"]
    assert codes(tmp_path) == ["warning left_out"]
    (tmp_path / "landmarks.csv").unlink()
    put(tmp_path, points[:9], file="train.csv")
    put(tmp_path, points[9:][:, [3, 2, 1, 0]], NAMES[::-1], "val.csv", first=9)
    folder = open_folder(tmp_path)
    assert [pair.name for pair in folder.splits["val"]] == ["09", "10", "11"]
    np.testing.assert_allclose(folder.splits["val"][0].landmarks.points, points[9], atol=1e-4)


def test_listed_images_without_landmarks_are_left_out_where_that_is_asked_for(tmp_path):
    points = figures(tmp_path, 8)
    points[5] = np.nan
    put(tmp_path, points)
    (tmp_path / "train.txt").write_text("0" + "\n0".join("0123567") + "\n")
    (tmp_path / "val.txt").write_text("04\n")
    with pytest.raises(DataError, match="line 5: names '05', which has no landmarks"):
        open_folder(tmp_path)
    folder = open_folder(tmp_path, unlabelled="skip")
    assert len(folder.splits["train"]) == 6
    assert [
        finding.severity for finding in folder.findings if "has no landmarks, and is left out" in finding.message
    ] == ["warning"]


def test_persons_of_one_image_stay_in_one_split(tmp_path):
    figures(tmp_path, 8)
    rows = [f"{n:02}.png,{who},{3 + n},4,0,0,{9 + who},9" for n in range(8) for who in range(3)]
    head = "file,individual,nose_x,nose_y,box_x,box_y,box_width,box_height"
    (tmp_path / "landmarks.csv").write_text("\n".join([head, *rows]))
    folder = open_folder(tmp_path)
    images = {split: {pair.image for pair in pairs} for split, pairs in folder.splits.items()}
    assert {split: len(pairs) for split, pairs in folder.splits.items()} == {"train": 18, "val": 6}
    assert not images["train"] & images["val"]
    for number in (1, 2, 3):
        fold = open_folder(tmp_path, fold=(number, 3)).splits
        assert not {pair.image for pair in fold["train"]} & {pair.image for pair in fold["val"]}
    sample = FolderDataset(folder, "train")[1]
    assert sample["center"].tolist() == [4.5, 4]
    assert sample["box"].tolist() == [0, 0, 10, 9]


@pytest.mark.shared
def test_real_folders_open_and_one_mislabelled_mouse_is_found(shared):
    root = shared / "openfield_mouse"
    folder = open_folder(root)
    assert {split: len(pairs) for split, pairs in folder.splits.items()} == {"train": 47, "val": 12}
    assert folder.classes.names == ("snout", "leftear", "rightear", "tailbase")
    as_dlc = open_folder(root, layout="deeplabcut")
    for one, other in zip(folder.pairs, as_dlc.pairs, strict=True):
        assert one.landmarks == other.landmarks
    report = check_folder(folder)
    # Seen with the eye: in this image its annotator exchanged the ears.
    assert [(f.code, Path(f.file).name) for f in report.findings] == [("swapped_sides", "img0102.png")]


@pytest.mark.shared
def test_real_faces_have_two_points_outside_of_one_image(shared):
    report = check_folder(shared / "faces68")
    assert report.summary["splits"] == {"train": 240, "val": 60}
    assert sorted(f.code for f in report.findings) == ["outside_image", "unpaired_sides"]
    assert report.findings[0].message == (
        "has 264 x 200 pixels (width x height), and landmarks outside: 8 (133, 203), 9 (151, 200)"
    )
    assert not report.errors


def test_a_task_of_masks_refuses_landmarks(tmp_path, capsys):
    figures(tmp_path / "data", 8)
    assert main(["train", str(tmp_path / "data"), "--recipe", "unet2015", "-o", str(tmp_path / "run")]) == 2
    assert "its images have landmarks and no masks: train with task=landmarks" in capsys.readouterr().err
