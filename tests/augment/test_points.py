"""Landmarks go where the pixels go: the image of these samples says at each pixel which x and y it had at first."""

import numpy as np
import pytest
import torch

from atrous.augment import (
    TRANSFORMS,
    CenterCrop,
    CopyPaste,
    CutMix,
    Elastic,
    HorizontalFlip,
    RandomCrop,
    RandomScale,
    Resize,
    Rotate90,
    Rotation,
    Shift,
    Simard,
    VerticalFlip,
    compose,
)
from atrous.augment.crops import crop
from atrous.augment.geometry import flip_horizontally, flip_vertically, quarter_turns, resize
from atrous.augment.warps import rotate, shift
from atrous.errors import RecipeError

HEIGHT, WIDTH = 62, 84
ACTS = {
    "flip_horizontally": flip_horizontally,
    "flip_vertically": flip_vertically,
    "turn_1": lambda sample: quarter_turns(sample, 1),
    "turn_2": lambda sample: quarter_turns(sample, 2),
    "turn_3": lambda sample: quarter_turns(sample, -1),
    "enlarge": lambda sample: resize(sample, 111, 97),
    "shrink": lambda sample: resize(sample, 31, 28),
    "crop": lambda sample: crop(sample, 7, -5, 40, 70),
    "rotate": lambda sample: rotate(sample, 33.0),
    "shift": lambda sample: shift(sample, 5, -7),
}
DRAWN = {
    "random_scale": RandomScale(1.0, 1.6),
    "random_crop": RandomCrop((33, 90)),
    "center_crop": CenterCrop(48),
    "resize": Resize(70, 42),
    "horizontal_flip": HorizontalFlip(0.5),
    "vertical_flip": VerticalFlip(0.5),
    "rotate90": Rotate90(),
    "rotation": Rotation(40.0),
    "shift": Shift(9),
    "elastic": Elastic(2.0),
    "simard": Simard(8.0, 4.0),
}


def sample(points=24, seed=0):
    y, x = torch.meshgrid(torch.arange(float(HEIGHT)), torch.arange(float(WIDTH)), indexing="ij")
    rng = np.random.default_rng(seed)
    places = np.stack([rng.uniform(1.5, side - 2.5, points) for side in (WIDTH, HEIGHT)], 1)
    places[0] = np.nan
    visible = torch.tensor([0] + [1 + number % 2 for number in range(points - 1)], dtype=torch.uint8)
    return {"image": torch.stack([x, y]), "keypoints": torch.from_numpy(places).float(), "visible": visible}


def shown_at(image, points):
    """(N, 2) what the image says at points, bilinearly; NaN at its border and beyond."""
    height, width = image.shape[-2:]
    result = np.full((len(points), 2), np.nan)
    for number, (x, y) in enumerate(points.double().tolist()):
        if not (1 <= x < width - 2 and 1 <= y < height - 2):
            continue
        row, column = int(y), int(x)
        (a, b), (c, d) = image[:, row : row + 2, column : column + 2].double().permute(1, 2, 0)
        down, right = y - row, x - column
        result[number] = (a + (b - a) * right) * (1 - down) + (c + (d - c) * right) * down
    return result


def agrees(moved, first, least=3):
    """The image shows at the moved points what it showed at the first."""
    shown = shown_at(moved["image"], moved["keypoints"])
    seen = np.isfinite(shown).all(1)
    assert seen.sum() >= least
    np.testing.assert_allclose(shown[seen], first["keypoints"].numpy()[seen], atol=1e-3)
    assert torch.isnan(moved["keypoints"][0]).all()


@pytest.mark.parametrize("name", ACTS)
def test_acts_move_image_and_points_alike(name):
    first = sample()
    kept = first["keypoints"].clone()
    moved = ACTS[name](first)
    agrees(moved, first)
    assert moved["keypoints"].dtype == torch.float32
    assert torch.equal(moved["visible"], first["visible"])
    assert torch.equal(first["keypoints"].nan_to_num(-1), kept.nan_to_num(-1))


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("seed", range(4))
def test_transforms_move_image_and_points_alike(name, seed):
    first = sample(seed=seed)
    agrees(DRAWN[name](first, np.random.default_rng(seed)), first)


def test_a_size_that_does_not_divide_moves_image_and_points_alike_on_the_whole():
    """The triangle that shrinks without aliases says each pixel's place to a tenth, and that of all of them exactly."""
    first = sample(400)
    moved = resize(first, 47, 59)
    shown = shown_at(moved["image"], moved["keypoints"])
    off = shown - first["keypoints"].numpy()
    assert np.nanmax(np.abs(off)) < 0.1
    assert np.abs(np.nanmean(off, axis=0)).max() < 5e-3


@pytest.mark.parametrize("seed", range(6))
def test_chains_and_windows_move_image_and_points_alike(seed):
    """A crop after a change of size or a warp computes its window alone."""
    first = sample(40, seed)
    for step in (RandomScale(1.0, 1.4), Rotation(40.0), Elastic(2.0), Simard(8.0, 4.0)):
        chain = compose([step, RandomCrop(32), HorizontalFlip(0.5)])
        agrees(chain(first, np.random.default_rng(seed)), first)


def test_every_transform_that_takes_samples_without_a_mask_takes_points():
    """A new transform has to be listed here, or to refuse."""
    mixing_or_masks = {
        "balanced_crop", "foreground_crop", "object_crop", "copy_paste", "cutmix", "separate_touching", "border_weights"
    }  # fmt: skip
    numbers = {"intensity", "channel_gain", "color_jitter", "gaussian_noise", "gaussian_blur"}
    assert set(TRANSFORMS) == set(DRAWN) | mixing_or_masks | numbers | {"discrete_scale"}
    for name in mixing_or_masks - {"copy_paste", "cutmix"}:
        step = TRANSFORMS[name](8) if name.endswith("crop") else TRANSFORMS[name]()
        with pytest.raises(RecipeError, match="has no mask"):
            step(sample(), np.random.default_rng(0))


def test_points_go_with_a_quarter_turn_as_the_corners_do():
    """Counter-clockwise: what was at the upper right is at the upper left."""
    first = {"image": torch.zeros(1, 4, 6), "keypoints": torch.tensor([[5.0, 0.0], [0.0, 0.0]])}
    assert quarter_turns(first, 1)["keypoints"].tolist() == [[0.0, 0.0], [0.0, 5.0]]


@pytest.mark.parametrize("flip", [flip_horizontally, flip_vertically])
def test_mirrors_exchange_pairs_of_points_with_their_visibility(flip):
    first = sample() | {"flip_pairs": torch.tensor([[1, 2]])}
    plain, paired = flip(sample()), flip(first)
    assert torch.equal(paired["keypoints"][[2, 1, 3]], plain["keypoints"][[1, 2, 3]])
    assert paired["visible"][1:4].tolist() == [2, 1, 1]
    torch.testing.assert_close(flip(paired)["keypoints"], first["keypoints"], equal_nan=True)


@pytest.mark.parametrize("act", [lambda s: quarter_turns(s, 1), lambda s: rotate(s, 40.0), lambda s: shift(s, 30, 0)])
def test_what_does_not_mirror_exchanges_nothing(act):
    paired = act(sample() | {"flip_pairs": torch.tensor([[1, 2]])})
    assert torch.equal(paired["keypoints"][1:], act(sample())["keypoints"][1:])


def test_centre_and_box_move_too():
    first = sample() | {"center": torch.tensor([10.0, 20.0]), "box": torch.tensor([0.0, 10.0, 21.0, 21.0])}
    flipped = flip_horizontally(first)
    assert flipped["center"].tolist() == [WIDTH - 1 - 10.0, 20.0]
    assert flipped["box"].tolist() == [WIDTH - 21.0, 10.0, 21.0, 21.0]
    assert resize(first, 2 * HEIGHT, 2 * WIDTH)["box"].tolist() == [0.0, 20.0, 42.0, 42.0]
    assert crop(first, 5, 6, 30, 30)["box"].tolist() == [-6.0, 5.0, 21.0, 21.0]


def test_what_is_mirrored_at_the_border_weighs_nothing():
    """The mirror shows landmarks a second time, and nobody labels those."""
    first = sample()
    moved = compose([Shift(20), RandomCrop((HEIGHT + 20, WIDTH))])(first, np.random.default_rng(3))
    image, weight = moved["image"], moved["weight"]
    assert weight.shape == image.shape[-2:]
    assert set(weight.unique().tolist()) == {0.0, 1.0}
    known = image[:, weight > 0]
    assert len({tuple(pixel) for pixel in known.T.tolist()}) == known.shape[1]  # each pixel of the image at most once
    turned = compose([Rotation(45.0)])(first, np.random.default_rng(1))
    assert 0.5 < turned["weight"].mean() < 0.95
    plain = compose([HorizontalFlip(0.5)])(first, np.random.default_rng(0))
    assert plain["weight"].eq(1).all()


def test_a_random_crop_looks_for_a_landmark():
    first = {"image": torch.zeros(1, 60, 60), "keypoints": torch.tensor([[torch.nan, torch.nan], [50.0, 50.0]])}
    held = 0
    for seed in range(40):
        x, y = RandomCrop(30)(first, np.random.default_rng(seed))["keypoints"][1].tolist()
        held += -0.5 <= x <= 29.5 and -0.5 <= y <= 29.5
    assert held >= 20  # of single draws, about 4


@pytest.mark.parametrize("step", [CopyPaste(p=0.0), CutMix(p=0.0)])
def test_what_mixes_pixels_refuses_points(step):
    with pytest.raises(RecipeError, match=f"{step.name}: the sample has landmarks, and what is pasted would hide"):
        step.mix(sample(), sample, np.random.default_rng(0))
