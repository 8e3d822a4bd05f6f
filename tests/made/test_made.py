"""Made data: exact masks, deterministic files, any size, and a folder that the rest of the package reads."""

import hashlib

import cv2
import numpy as np
import pytest
import yaml

from atrous.errors import DataError, UsageError
from atrous.images.files import read_image, read_info, read_mask
from atrous.made import draw_cells, draw_scene, make_cells, make_scenes
from atrous.made.canvas import fractal, smooth_noise, split_of

SIZES = [(32, 32), (33, 90), (120, 47), (256, 256)]


def _digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _mean_iou(classes, mask):
    both = [((classes == k) & (mask == k), (classes == k) | (mask == k)) for k in (0, 1)]
    return np.mean([a.sum() / max(b.sum(), 1) for a, b in both])


# The folder


@pytest.mark.parametrize(
    ("make", "kinds"), [(make_cells, ("images", "masks", "instances")), (make_scenes, ("images", "masks"))]
)
def test_a_made_folder_is_complete(tmp_path, make, kinds):
    out = make(tmp_path / "new" / "data", count=7, size=(40, 64), seed=1)
    assert out == tmp_path / "new" / "data"
    assert {path.name for path in out.iterdir()} == {*kinds, "classes.yaml", "train.txt", "val.txt", "test.txt"}
    listed = {split: (out / f"{split}.txt").read_text().split() for split in ("train", "val", "test")}
    assert all(listed.values())
    stems = sorted(stem for part in listed.values() for stem in part)
    assert len(set(stems)) == 7
    for kind in kinds:
        assert sorted(path.stem for path in (out / kind).iterdir()) == stems
        assert all(read_info(path)[:2] == (40, 64) for path in (out / kind).iterdir())
    assert [path.name for path in out.parent.iterdir()] == ["data"], "something was left beside the folder"


@pytest.mark.parametrize("make", [make_cells, make_scenes])
def test_files_are_the_same_every_time_and_a_larger_count_continues_a_smaller_one(tmp_path, make):
    few, again, more, other = (
        _digests(make(tmp_path / name, count=count, size=48, seed=seed))
        for name, count, seed in (("a", 3, 5), ("b", 3, 5), ("c", 5, 5), ("d", 3, 6))
    )
    assert few == again
    pictures = {name: digest for name, digest in few.items() if "/" in name}
    assert all(more[name] == digest for name, digest in pictures.items())
    assert all(other[name] != digest for name, digest in pictures.items() if name.startswith("images"))


def test_files_do_not_depend_on_the_number_of_threads(tmp_path):
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = _digests(make_scenes(tmp_path / "one", count=2, size=96))
        cv2.setNumThreads(4)
        assert _digests(make_scenes(tmp_path / "four", count=2, size=96)) == one
    finally:
        cv2.setNumThreads(threads)


def test_splits_are_about_70_15_15_and_continue():
    parts = [split_of(index) for index in range(60)]
    assert [parts.count(split) for split in ("train", "val", "test")] == [42, 9, 9]
    assert parts[:3] == ["train", "val", "test"]


def test_the_class_table_says_what_is_in_the_masks(tmp_path):
    cells = yaml.safe_load((make_cells(tmp_path / "c", count=1, size=64) / "classes.yaml").read_text())
    assert [(c["name"], c["value"]) for c in cells["classes"]] == [("background", 0), ("cell", 1)]
    assert "ignore" not in cells
    scenes = yaml.safe_load((make_scenes(tmp_path / "s", count=1, size=64) / "classes.yaml").read_text())
    assert [c["name"] for c in scenes["classes"]] == ["sky", "building", "road", "tree", "car", "pole"]
    assert scenes["ignore"] == [255]


def test_the_package_reads_what_it_made(tmp_path):
    from atrous.data.folder import open_folder

    cells = open_folder(make_cells(tmp_path / "c", count=8, size=64))
    assert {split: len(pairs) for split, pairs in cells.splits.items()} == {"train": 6, "val": 1, "test": 1}
    assert (cells.channels, cells.dtype, cells.classes.names) == (1, "uint8", ("background", "cell"))
    scenes = open_folder(make_scenes(tmp_path / "s", count=4, size=64))
    assert (scenes.channels, scenes.dtype, len(scenes.classes.names)) == (3, "uint8", 6)
    assert scenes.classes.ignore == (255,)


def test_files_hold_what_was_drawn(tmp_path):
    out = make_cells(tmp_path / "c", count=1, size=(50, 70), seed=3)
    drawn = draw_cells(np.random.default_rng((3, 0)), 50, 70)
    assert np.array_equal(read_image(out / "images" / "cells_00000.png").array[..., 0], drawn["images"])
    assert np.array_equal(read_mask(out / "masks" / "cells_00000.png"), drawn["masks"])
    assert np.array_equal(read_mask(out / "instances" / "cells_00000.png"), drawn["instances"])


@pytest.mark.parametrize("make", [make_cells, make_scenes])
def test_a_folder_with_files_is_left_alone(tmp_path, make):
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=r"keep: is a folder with files in it; .* choose another name"):
        make(tmp_path / "keep", count=1, size=32)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match=r"file: is a file"):
        make(tmp_path / "file", count=1, size=32)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "keep", "mine.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    assert (make_cells(tmp_path / "empty", count=1, size=32) / "images" / "cells_00000.png").is_file()


def test_what_is_interrupted_leaves_nothing(tmp_path, monkeypatch):
    import atrous.made.cells as module

    def draw(rng, height, width):
        if draw.calls:
            raise KeyboardInterrupt
        draw.calls += 1
        return draw_cells(rng, height, width)

    draw.calls = 0
    monkeypatch.setattr(module, "draw_cells", draw)
    with pytest.raises(KeyboardInterrupt):
        make_cells(tmp_path / "out", count=3, size=32)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", [make_cells, make_scenes])
def test_counts_and_sizes_that_cannot_be(tmp_path, make):
    with pytest.raises(UsageError, match="count is 0, but at least 1"):
        make(tmp_path / "a", count=0)
    with pytest.raises(UsageError, match="size is 64x31 pixels, but made pictures need at least 32"):
        make(tmp_path / "a", size=(64, 31))
    assert not list(tmp_path.iterdir())


# Cells


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_cells_have_masks_and_instances_that_agree(height, width):
    for index in range(3):
        drawn = draw_cells(np.random.default_rng((0, index)), height, width)
        assert {key: (value.shape, value.dtype.name) for key, value in drawn.items()} == {
            "images": ((height, width), "uint8"),
            "masks": ((height, width), "uint8"),
            "instances": ((height, width), "uint16"),
        }
        assert np.array_equal(drawn["masks"], drawn["instances"] > 0)
        numbers = np.unique(drawn["instances"])
        assert numbers[-1] == np.count_nonzero(numbers), "instances are numbered with gaps"
        assert drawn["images"].std() > 4


def test_cells_cover_part_of_the_picture_and_touch():
    touching = 0
    for index in range(8):
        instances = draw_cells(np.random.default_rng((0, index)), 256, 256)["instances"].astype(int)
        assert 0.1 < (instances > 0).mean() < 0.75
        assert instances.max() >= 10
        left, right = instances[:, :-1], instances[:, 1:]
        touching += ((left != right) & (left > 0) & (right > 0)).sum()
    assert touching > 500


def test_each_cell_is_mostly_one_piece():
    instances = draw_cells(np.random.default_rng((0, 2)), 256, 256)["instances"]
    pieces = [cv2.connectedComponents((instances == i).astype(np.uint8))[0] - 1 for i in range(1, instances.max() + 1)]
    assert np.mean(np.array(pieces) == 1) > 0.95


def test_the_edge_of_the_mask_is_where_the_picture_changes():
    # The picture is steepest along the outline: in the pixels on either side of it, and nowhere further in or out.
    layers = np.arange(-5.5, 6)
    curves = []
    for index in range(12):
        drawn = draw_cells(np.random.default_rng((0, index)), 256, 256)
        image, mask = drawn["images"].astype(np.float32), drawn["masks"]
        slope = np.hypot(cv2.Sobel(image, cv2.CV_32F, 1, 0), cv2.Sobel(image, cv2.CV_32F, 0, 1))
        inward, outward = (cv2.distanceTransform(part, cv2.DIST_L2, 5) for part in (mask, 1 - mask))
        signed = np.where(mask > 0, inward - 0.5, 0.5 - outward)
        curves.append([slope[np.abs(signed - layer) <= 0.5].mean() / slope.mean() for layer in layers])
    curve = np.mean(curves, 0)
    assert abs(layers[curve.argmax()]) <= 1, curve
    assert curve.max() > 1.5 * curve[0]


def test_a_threshold_does_not_find_the_cells():
    scores = []
    for index in range(10):
        drawn = draw_cells(np.random.default_rng((0, index)), 256, 256)
        _, bright = cv2.threshold(drawn["images"], 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        scores.append(max(_mean_iou(bright, drawn["masks"]), _mean_iou(1 - bright, drawn["masks"])))
    assert np.mean(scores) < 0.75


# Scenes


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_scenes_have_the_promised_shapes_and_values(height, width):
    for index in range(3):
        drawn = draw_scene(np.random.default_rng((0, index)), height, width)
        assert drawn["images"].shape == (height, width, 3)
        assert drawn["masks"].shape == (height, width)
        assert drawn["images"].dtype == drawn["masks"].dtype == np.uint8
        assert set(np.unique(drawn["masks"])) <= {0, 1, 2, 3, 4, 5, 255}


def test_scenes_are_unbalanced_with_thin_rare_poles_and_ignored_pixels():
    counts, thickness = np.zeros(256), []
    for index in range(16):
        mask = draw_scene(np.random.default_rng((0, index)), 256, 256)["masks"]
        counts += np.bincount(mask.ravel(), minlength=256)
        assert (mask == 255).any(), "every picture has an ignored region"
        runs = np.diff(np.flatnonzero(np.diff(np.pad((mask == 5).astype(int), ((0, 0), (1, 1))).ravel())))[::2]
        thickness += runs.tolist()
    share = counts / counts.sum()
    assert share[2] > 0.25
    assert 0.002 < share[5] < 0.02
    assert all(share[k] > 0.02 for k in (0, 1, 3, 4))
    assert 0.02 < share[255] < 0.2
    assert np.median(thickness) <= 3


def test_scenes_vary_in_light():
    means = [draw_scene(np.random.default_rng((0, index)), 64, 64)["images"].mean((0, 1)) for index in range(12)]
    assert np.std(means, axis=0).min() > 8


# Noise


def test_noise_has_about_unit_spread_at_every_grain():
    for grain in (1.0, 2.5, 8.0):
        field = smooth_noise(np.random.default_rng(0), 200, 300, grain)
        assert field.shape == (200, 300)
        assert 0.8 < field.std() < 1.4
    assert 0.6 < fractal(np.random.default_rng(0), 200, 300, 12.0).std() < 1.4
