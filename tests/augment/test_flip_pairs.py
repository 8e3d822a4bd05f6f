"""Classes that are each other's mirror image: every act that mirrors exchanges them, and none that turns does.

The image of these samples shows which side of an object a pixel lies on: the handedness of the picture itself. A small
pattern, 3 beside 1 in reading direction, is a left hand; mirrored, it is a right one.
"""

import numpy as np
import pytest
import torch

from atrous.augment import TRANSFORMS, Compose, CopyPaste, HorizontalFlip, VerticalFlip, compose
from atrous.augment.base import exchange_pairs
from atrous.augment.elastic import Positions
from atrous.augment.geometry import flip_horizontally, flip_vertically, quarter_turns
from atrous.augment.warps import rotate, shift, warp
from atrous.training.stream import collate

LEFT, RIGHT = 1, 2
L = np.array([[3, 0, 0], [3, 0, 0], [3, 3, 1]])
"""A shape that no turn takes into its mirror image."""


def hands(planes=False):
    """A left hand (the letter L), its mirror image as a right hand, and a class that has no side."""
    image, mask = np.zeros((24, 24), np.float32), np.zeros((24, 24), np.int64)
    for top, left, shape, number in ((3, 4, L, LEFT), (14, 15, L[:, ::-1], RIGHT)):
        image[top : top + 3, left : left + 3] = shape
        mask[top : top + 3, left : left + 3][shape > 0] = number
    image[10, 10], mask[10, 10], mask[0, 0] = 5, 3, 255
    sample = {"image": torch.from_numpy(image)[None], "mask": torch.from_numpy(mask)}
    if planes:
        sample["mask"] = torch.stack([(sample["mask"] == number).float() for number in range(4)])
    return {**sample, "flip_pairs": torch.tensor([[LEFT, RIGHT]])}


def handedness(image):
    """The mask that an image of hands asks for, from nothing but its pixels."""
    found, picture = np.zeros(image.shape[-2:], np.int64), image[0].numpy()
    for number, shape in ((LEFT, L), (RIGHT, L[:, ::-1])):
        for turned in (np.rot90(shape, k) for k in range(4)):
            for top in range(picture.shape[0] - 2):
                for left in range(picture.shape[1] - 2):
                    part = slice(top, top + 3), slice(left, left + 3)
                    if np.array_equal(picture[part], turned):
                        found[part][turned > 0] = number
    found[picture == 5] = 3
    return found


def fits(sample):
    """Whether all that is labelled as a hand is labelled as the hand that the image shows."""
    mask = sample["mask"]
    if mask.ndim == 3:
        mask = (mask * torch.arange(4)[:, None, None]).sum(0).long()
    mask = mask.numpy()
    return bool((handedness(sample["image"])[mask != 255] == mask[mask != 255]).all())


@pytest.mark.parametrize("planes", [False, True])
def test_mirrors_exchange_and_turns_do_not(planes):
    sample = hands(planes)
    before = sample["mask"].clone()
    assert fits(sample)
    for act in (flip_horizontally, flip_vertically, *(lambda s, k=k: quarter_turns(s, k) for k in range(1, 4))):
        assert fits(act(sample))
    assert fits(quarter_turns(flip_horizontally(sample), 1))
    for twice in (flip_horizontally, flip_vertically):
        assert torch.equal(twice(twice(sample))["mask"], before)
    upside_down = quarter_turns(flip_horizontally(sample), 2)
    assert torch.equal(upside_down["mask"], flip_vertically(sample)["mask"])
    assert torch.equal(sample["mask"], before)


def test_without_pairs_a_mask_is_mirrored_as_it_is():
    sample = hands()
    del sample["flip_pairs"]
    assert torch.equal(flip_horizontally(sample)["mask"], sample["mask"].flip(-1))
    assert not fits(flip_horizontally(sample))


WHOLE_PIXELS = {
    "horizontal_flip": {}, "vertical_flip": {}, "rotate90": {}, "shift": {"pixels": 12}, "random_crop": {"size": 20},
    "center_crop": {"size": 40}, "balanced_crop": {"size": 18}, "foreground_crop": {"size": 18}, "cutmix": {},
    "copy_paste": {"share": 1.0, "smallest": 0}, "separate_touching": {}, "border_weights": {},
}  # fmt: skip
"""Transforms after which an image still shows whole hands, so that handedness can be read from it."""


@pytest.mark.parametrize("name", WHOLE_PIXELS)
def test_no_transform_leaves_a_hand_on_the_wrong_side(name):
    class Second:
        def __call__(self, index):
            return quarter_turns(hands(), index)

        def __len__(self):
            return 4

    chain = compose([TRANSFORMS[name](**WHOLE_PIXELS[name])]).bound(Second())
    for seed in range(12):
        out = chain(hands(), np.random.default_rng(seed))
        labelled = (out["mask"] == LEFT) | (out["mask"] == RIGHT)
        seen = torch.from_numpy(handedness(out["image"]))
        whole = labelled & (seen > 0)  # hands that a border cuts are no pattern any more
        assert torch.equal(out["mask"][whole], seen[whole])


def test_pasted_hands_are_on_their_own_side():
    """The share of pasted object pixels of the wrong class: 0, where half of all pasted images were mirrored."""
    wrong = total = 0
    for seed in range(40):
        target = {"image": torch.zeros(1, 24, 24), "mask": torch.zeros(24, 24, dtype=torch.int64)}
        out = CopyPaste(share=1.0, smallest=0, p=1.0).mix(target, hands, np.random.default_rng(seed))
        objects = (out["mask"] == LEFT) | (out["mask"] == RIGHT)
        total += int(objects.sum())
        wrong += int((out["mask"][objects] != torch.from_numpy(handedness(out["image"]))[objects]).sum())
    assert total > 300
    assert wrong == 0


@pytest.mark.parametrize(("dy", "dx"), [(0, -11), (-12, 0), (-12, -11), (9, 14), (0, -46)])
def test_a_strip_that_the_border_mirrors_is_exchanged_too(dy, dx):
    """Beyond one border an image is its mirror image; beyond two, or twice beyond one, it is turned or itself."""
    sample = hands()
    out = shift(sample, dy, dx)
    assert fits_whole(out)
    grid = np.mgrid[dy : dy + 24, dx : dx + 24].astype(np.float32)
    assert torch.equal(warp(sample, Positions(*grid))["mask"], out["mask"])
    plain = shift({key: value for key, value in sample.items() if key != "flip_pairs"}, dy, dx)
    beyond = [(at < 0) | (at > 23) for at in (np.arange(dy, dy + 24), np.arange(dx, dx + 24) % 46)]
    mirrored = torch.from_numpy(beyond[0][:, None] ^ beyond[1][None])
    assert torch.equal(exchange_pairs({**plain, "flip_pairs": sample["flip_pairs"]}, mirrored)["mask"], out["mask"])
    assert torch.equal(out["image"], plain["image"])


def fits_whole(sample):
    seen = handedness(sample["image"])
    mask = sample["mask"].numpy()
    whole = (seen > 0) & (mask != 255)
    return bool((seen[whole] == mask[whole]).all()) and bool(whole.any())


def test_a_turn_by_any_angle_exchanges_in_its_mirrored_corners_alone():
    sample = {"image": torch.zeros(1, 21, 21), "mask": torch.full((21, 21), LEFT), "flip_pairs": torch.tensor([[1, 2]])}
    out = rotate(sample, 45)["mask"]
    assert (out[6:15, 6:15] == LEFT).all()
    assert out[0, 0] == out[0, -1] == out[-1, 0] == out[-1, -1] == RIGHT


def test_several_pairs_and_classes_without_one():
    sample = {
        "image": torch.arange(6.0).reshape(1, 1, 6),
        "mask": torch.tensor([[0, 1, 2, 3, 4, 255]]),
        "flip_pairs": torch.tensor([[1, 2], [4, 3]]),
    }
    assert HorizontalFlip(1.0)(sample, np.random.default_rng(0))["mask"].tolist() == [[255, 3, 4, 1, 2, 0]]
    assert VerticalFlip(1.0)(sample, np.random.default_rng(0))["mask"].tolist() == [[0, 2, 1, 4, 3, 255]]
    assert HorizontalFlip(0.0)(sample, np.random.default_rng(0)) is sample


def test_the_pairs_go_along_to_the_last_transform_and_not_into_the_batch():
    chain = compose([TRANSFORMS[name]() for name in ("elastic", "rotation", "random_scale", "intensity")])
    assert isinstance(chain, Compose)
    out = chain(hands(), np.random.default_rng(0))
    assert out["flip_pairs"].tolist() == [[LEFT, RIGHT]]
    assert set(collate([hands(), hands()])) == {"image", "mask"}
