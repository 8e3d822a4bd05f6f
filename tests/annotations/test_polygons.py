"""Polygons and run lengths against masks: exact along the edges of pixels, within a pixel where corners are dropped."""

import cv2
import numpy as np
import pytest

from atrous.annotations.drawn import Drawn, paint
from atrous.annotations.polygons import Patch, area, bridge, fill, simplify, trace
from atrous.annotations.rle import (
    brush_to_values,
    counts_to_mask,
    counts_to_text,
    mask_to_counts,
    rows_to_mask,
    text_to_counts,
)


def whole(patch, size):
    mask = np.zeros(size, bool)
    mask[patch.top : patch.top + patch.pixels.shape[0], patch.left : patch.left + patch.pixels.shape[1]] = patch.pixels
    return mask


def by_loops(ring, size):
    """Even-odd, pixel by pixel."""
    mask = np.zeros(size, bool)
    for i in range(size[0]):
        for j in range(size[1]):
            x, y, inside = j + 0.5, i + 0.5, False
            for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
                if (y0 <= y) != (y1 <= y) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x:
                    inside = not inside
            mask[i, j] = inside
    return mask


def blobs(seed, size=(40, 53), threshold=0.5):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random(size), (0, 0), 1.5)
    return noise > np.quantile(noise, threshold)


def test_a_rectangle_of_whole_numbers_is_exact():
    ring = np.array([[2, 1], [7, 1], [7, 4], [2, 4]])
    wanted = np.zeros((6, 9), bool)
    wanted[1:4, 2:7] = True
    for turned in (ring, ring[::-1]):
        assert (whole(fill([(turned,)], (6, 9)), (6, 9)) == wanted).all()


@pytest.mark.parametrize("seed", range(5))
def test_filling_is_the_even_odd_rule_at_pixel_centres(seed):
    ring = np.random.default_rng(seed).uniform(-4, 20, (7, 2))
    assert (whole(fill([(ring,)], (15, 17)), (15, 17)) == by_loops(ring, (15, 17))).all()


def test_neighbours_share_no_pixel_and_leave_none():
    points = np.random.default_rng(0).uniform(0, 30, 2)
    corners = np.array([[0, 0], [30, 0], [30, 30], [0, 30]], float)
    triangles = [np.array([points, corners[i], corners[(i + 1) % 4]]) for i in range(4)]
    total = sum(whole(fill([(t,)], (30, 30)), (30, 30)).astype(int) for t in triangles)
    assert (total == 1).all()


def test_what_lies_outside_is_cut_and_nothing_is_nothing():
    assert whole(fill([(np.array([[-5, -5], [3, -5], [3, 3], [-5, 3]]),)], (4, 4)), (4, 4)).sum() == 9
    assert fill([(np.array([[9, 9], [12, 9], [12, 12]]),)], (4, 4)).pixels.size == 0
    assert fill([], (4, 4)).pixels.size == 0


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_tracing_and_filling_give_the_mask_again(seed, threshold):
    mask = blobs(seed, threshold=threshold)
    parts = trace(mask)
    assert (whole(fill(parts, mask.shape), mask.shape) == mask).all()
    count, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    assert len(parts) == count - 1
    assert all(area(part[0]) > 0 and all(area(hole) < 0 for hole in part[1:]) for part in parts)
    assert sum(area(ring) for part in parts for ring in part) == mask.sum()


def test_noise_checkerboards_and_frames_are_traced():
    for mask in (
        np.random.default_rng(1).random((20, 21)) > 0.5,
        np.indices((6, 7)).sum(0) % 2 == 0,
        np.ones((3, 4), bool),
    ):
        assert (whole(fill(trace(mask), mask.shape), mask.shape) == mask).all()
    assert trace(np.zeros((4, 4), bool)) == []


def test_a_bridge_to_every_hole_keeps_the_mask():
    for seed in range(4):
        mask = blobs(seed, threshold=0.2)
        parts = [(bridge(part),) for part in trace(mask)]
        assert (whole(fill(parts, mask.shape), mask.shape) == mask).all()
    slanted = (np.array([[0.3, 0.2], [20.1, 1.7], [17.3, 18.9]]), np.array([[10.1, 5.2], [13.4, 6.1], [12.2, 9.3]]))
    assert (whole(fill([(bridge(slanted),)], (20, 22)), (20, 22)) == whole(fill([slanted], (20, 22)), (20, 22))).all()


@pytest.mark.parametrize(("tolerance", "share"), [(0.5, 0.9), (1.0, 0.6)])
def test_fewer_corners_change_pixels_at_the_boundary_only(tolerance, share):
    mask = cv2.ellipse(np.zeros((80, 90), np.uint8), (45, 40), (34, 21), 20, 0, 360, 1, -1).astype(bool)
    mask[35:45, 40:50] = False
    parts = trace(mask)
    simple = [simplify(part, tolerance) for part in parts]
    again = whole(fill(simple, mask.shape), mask.shape)
    distance = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_C, 3)[1:-1, 1:-1]
    outside = cv2.distanceTransform(np.pad(~mask, 1).astype(np.uint8), cv2.DIST_C, 3)[1:-1, 1:-1]
    assert np.maximum(distance, outside)[again != mask].max(initial=0) <= 1
    assert sum(len(r) for p in simple for r in p) < share * sum(len(r) for p in parts for r in p)
    assert len(simple[0]) == 2


def test_run_lengths_and_their_text():
    for seed in range(3):
        mask = blobs(seed)
        counts = mask_to_counts(mask)
        assert (counts_to_mask(counts, mask.shape) == mask).all()
        assert text_to_counts(counts_to_text(counts)) == counts
        assert sum(counts[1::2]) == mask.sum()
    # A fact of pycocotools: the 3 x 3 mask whose middle column is set.
    column = np.array([[0, 1, 0]] * 3)
    assert mask_to_counts(column) == [3, 3, 3]
    assert counts_to_text([3, 3, 3]) == "333"
    assert text_to_counts(counts_to_text([0, 100, 3, 1, 7000])) == [0, 100, 3, 1, 7000]
    assert (rows_to_mask([1, 2, 1], (2, 2)) == [[False, True], [True, False]]).all()
    with pytest.raises(ValueError, match="its runs cover 3 pixels, and the mask has 4"):
        counts_to_mask([1, 2], (2, 2))
    with pytest.raises(ValueError, match="cut off"):
        text_to_counts("P")


def pack(values):
    """The brush's format, with runs and single values, written from its description."""
    bits = [f"{len(values):032b}", f"{7:05b}", *(f"{n - 1:04b}" for n in (3, 4, 8, 16))]
    start = 0
    while start < len(values):
        end = start
        while end < len(values) and values[end] == values[start] and end - start < 65536:
            end += 1
        if end - start > 3:
            which, width = next((k, w) for k, w in enumerate((3, 4, 8, 16)) if end - start <= 1 << w)
            bits += ["1", f"{which:02b}", f"{end - start - 1:0{width}b}", f"{values[start]:08b}"]
        else:
            end = min(start + 5, len(values))
            bits += ["0", "00", f"{end - start - 1:03b}", *(f"{v:08b}" for v in values[start:end])]
        start = end
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


def test_brush_data():
    mask = blobs(0, (19, 23))
    values = np.repeat(mask.ravel() * np.uint8(255), 4)
    assert (brush_to_values(pack(values)) == values).all()
    with pytest.raises(ValueError, match="cut off"):
        brush_to_values(pack(values)[:-3])


def test_painting_in_order_with_groups_and_regions():
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4]])
    drawings = [
        Drawn("cell", ((square,),), group=7),
        Drawn("cell", ((square + 6,),), group=7),
        Drawn("cell", ((square + np.array([6, 0]),),)),
        Drawn("void", ((square + 3,),)),
        Drawn("sky", patch=Patch(8, -1, np.ones((9, 3), bool)), single=False),
        Drawn("unknown", ((square * 3,),)),
    ]
    painted = paint(drawings, (10, 11), {"cell": 1, "void": 255, "sky": 2})
    assert painted.mask[0, 0] == 1
    assert painted.mask[3, 3] == 255
    assert painted.instances[3, 3] == 0
    assert painted.instances[0, 0] == painted.instances[8, 8] == 1
    assert painted.instances[0, 7] == 2
    assert (painted.mask[8:, :2] == 2).all()
    assert (painted.instances[8:, :2] == 0).all()
    assert set(np.unique(painted.mask)) == {0, 1, 2, 255}
