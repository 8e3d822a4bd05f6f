"""Every transform: what it does to a known sample, that all maps move together, and what it refuses."""

import numpy as np
import pytest
import torch

from atrous.augment import (
    TRANSFORMS,
    CenterCrop,
    ChannelGain,
    ColorJitter,
    DiscreteScale,
    Elastic,
    GaussianBlur,
    GaussianNoise,
    HorizontalFlip,
    Intensity,
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
from atrous.augment.geometry import quarter_turns, resize
from atrous.augment.warps import rotate, shift
from atrous.errors import RecipeError

GEOMETRIC = {
    "random_scale": {"low": 0.5, "high": 1.7},
    "discrete_scale": {},
    "random_crop": {"size": (40, 30)},
    "balanced_crop": {"size": (30, 60)},
    "foreground_crop": {"size": 28, "p": 1.0},
    "center_crop": {"size": 33},
    "resize": {"height": 50, "width": 41},
    "horizontal_flip": {"p": 1.0},
    "vertical_flip": {"p": 1.0},
    "rotate90": {},
    "rotation": {"degrees": 25},
    "shift": {"pixels": 9},
    "elastic": {"sigma": 4},
    "simard": {"alpha": 20, "sigma": 3},
    "object_crop": {"size": 30, "stage": 2},
}
INTENSITY = {
    "intensity": {},
    "channel_gain": {},
    "gaussian_noise": {},
    "gaussian_blur": {"p": 1.0},
    "color_jitter": {},
}
MIXING = {"copy_paste": {"p": 1.0, "share": 1.0}, "cutmix": {"p": 1.0}}
BORDERS = {"separate_touching": {}, "border_weights": {}}
EVERY = GEOMETRIC | INTENSITY | MIXING | BORDERS


def _sample(channels=1, height=37, width=52, seed=0):
    rng = np.random.default_rng(seed)
    mask = torch.from_numpy(rng.integers(0, 4, (height, width)))
    return {
        "image": torch.from_numpy(rng.uniform(0, 255, (channels, height, width))).float(),
        "mask": mask,
        "instances": mask * 1000,
        "weight": torch.from_numpy(rng.uniform(0.5, 2, (height, width))).float(),
        "index": torch.tensor(7),
    }


def test_the_table_names_every_transform():
    assert set(TRANSFORMS) == set(EVERY)


class _Others:
    """A source of three samples of one kind."""

    def __init__(self, make):
        self.make = make

    def __call__(self, index):
        return self.make(index + 100)

    def __len__(self):
        return 3


KINDS = {
    "grey": lambda seed: _sample(1, seed=seed),
    "RGB": lambda seed: _sample(3, seed=seed),
    "five channels": lambda seed: _sample(5, seed=seed),
    "16 bit": lambda seed: _times(_sample(3, seed=seed), 257.0),
    "floats": lambda seed: _times(_sample(3, seed=seed), 0.01, -1.2),
    "ignored": lambda seed: {**_sample(3, seed=seed), "mask": torch.full((37, 52), 255)},
}


def _times(sample, factor, shift=0.0):
    return {**sample, "image": sample["image"] * factor + shift}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_takes_every_kind_of_sample_and_only_the_generator_decides(name, kind):
    sample = KINDS[kind](0)
    channels = sample["image"].shape[0]
    before = {key: value.clone() for key, value in sample.items()}
    chain = compose([TRANSFORMS[name](**EVERY[name])]).bound(_Others(KINDS[kind]))
    if name == "color_jitter" and channels != 3:
        with pytest.raises(RecipeError, match="needs RGB images"):
            chain(sample, np.random.default_rng(0))
        return
    out, again = (chain(sample, np.random.default_rng(5)) for _ in range(2))
    assert set(out) >= {"image", "mask", "instances", "weight", "index"}
    assert out["image"].dtype == out["weight"].dtype == torch.float32
    assert out["mask"].dtype == out["instances"].dtype == torch.int64
    assert out["image"].shape[0] == channels
    assert out["image"].shape[1:] == out["mask"].shape == out["instances"].shape == out["weight"].shape
    assert all(torch.isfinite(value).all() for value in out.values())
    low, high = before["image"].aminmax()
    span = (high - low).item()
    assert low - 0.6 * span <= out["image"].min()
    assert out["image"].max() <= high + 0.6 * span
    assert out["image"].std() > 0.05 * span
    if kind == "ignored":
        assert (out["mask"] == 255).all()
    for key, value in before.items():
        assert torch.equal(sample[key], value), f"{name} changed the sample it was given"
        assert torch.equal(out[key], again[key]), f"{name} is not a function of the generator"


@pytest.mark.parametrize("name", [name for name in EVERY if name not in ("gaussian_noise", *INTENSITY)])
def test_a_constant_image_stays_constant_under_all_that_moves_pixels(name):
    def make(seed):
        return {**_sample(2, seed=seed), "image": torch.full((2, 37, 52), 41.5)}

    out = compose([TRANSFORMS[name](**EVERY[name])]).bound(_Others(make))(make(0), np.random.default_rng(1))
    torch.testing.assert_close(out["image"], torch.full_like(out["image"], 41.5), rtol=1e-5, atol=0)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_geometric_transforms_move_all_maps_together(name, channels):
    sample = _sample(channels)
    before = {key: value.clone() for key, value in sample.items()}
    transform = TRANSFORMS[name](**GEOMETRIC[name])
    out, again = (transform(sample, np.random.default_rng(3)) for _ in range(2))
    assert {key: value.dtype for key, value in out.items()} == {key: value.dtype for key, value in before.items()}
    assert out["image"].shape[0] == channels
    assert out["image"].shape[1:] == out["mask"].shape == out["instances"].shape == out["weight"].shape
    known = out["mask"] != 255
    assert torch.equal(out["instances"][known], 1000 * out["mask"][known])
    assert not out["instances"][~known].any()
    assert out["index"] == 7
    for key, value in before.items():
        assert torch.equal(sample[key], value), f"{name} changed the sample it was given"
        assert torch.equal(out[key], again[key]), f"{name} is not a function of the generator"


@pytest.mark.parametrize("name", INTENSITY)
def test_intensity_transforms_leave_all_but_the_image(name):
    sample = _sample(3)
    before = sample["image"].clone()
    transform = TRANSFORMS[name](**INTENSITY[name])
    out, again, other = (transform(sample, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(sample["image"], before)
    assert out["image"].shape == before.shape
    assert out["image"].dtype == torch.float32
    assert not torch.equal(out["image"], before)
    assert torch.equal(out["image"], again["image"])
    assert not torch.equal(out["image"], other["image"])
    assert all(out[key] is sample[key] for key in sample if key != "image")


@pytest.mark.parametrize("name", ["intensity", "channel_gain", "gaussian_noise", "gaussian_blur"])
@pytest.mark.parametrize("channels", [1, 5])
def test_intensity_transforms_take_any_channel_count(name, channels):
    sample = _sample(channels)
    assert TRANSFORMS[name]()(sample, np.random.default_rng(0))["image"].shape == sample["image"].shape


@pytest.mark.parametrize("name", sorted(set(GEOMETRIC) - {"balanced_crop", "foreground_crop", "object_crop"}))
def test_maps_of_classes_that_overlap_move_one_by_one(name):
    sample = _sample(1)
    maps = torch.stack([(sample["mask"] == number).float() for number in range(4)])
    maps[:, 3:5] = 255.0
    sample["mask"] = torch.where(maps[0] == 255, 255, sample["mask"])
    transform = TRANSFORMS[name](**GEOMETRIC[name])
    flat = transform(sample, np.random.default_rng(2))["mask"]
    out = transform({**sample, "mask": maps}, np.random.default_rng(2))["mask"]
    assert out.dtype == torch.float32
    for number in range(4):
        assert torch.equal(out[number], torch.where(flat == 255, 255.0, (flat == number).float()))


@pytest.mark.parametrize("name", ["balanced_crop", "foreground_crop", "object_crop", *MIXING, *BORDERS])
def test_what_needs_one_class_per_pixel_says_so(name):
    sample = {**_sample(1), "mask": torch.zeros(4, 37, 52)}
    chain = compose([TRANSFORMS[name](**EVERY[name])]).bound(_Others(lambda _: sample))
    with pytest.raises(RecipeError) as caught:
        chain(sample, np.random.default_rng(0))
    message = f"{name}: needs one class per pixel, but the classes of this mask may overlap: "
    assert str(caught.value).startswith(message)


# Sizes


@pytest.mark.parametrize(("height", "width"), [(74, 104), (18, 26), (60, 30), (37, 52), (1, 1)])
def test_resize_is_the_resize_of_torch(height, width):
    image = torch.rand(3, 37, 52) * 255
    mask = torch.randint(0, 300, (37, 52))
    out = resize({"image": image, "mask": mask}, height, width)
    expected = torch.nn.functional.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]
    torch.testing.assert_close(out["image"], expected, rtol=1e-4, atol=1e-3)
    nearest = torch.nn.functional.interpolate(mask[None, None].double(), (height, width), mode="nearest-exact")
    assert torch.equal(out["mask"], nearest[0, 0].long())


def test_random_scale_keeps_to_its_range_and_proportions():
    sample = _sample(1, 40, 80)
    rng = np.random.default_rng(0)
    sizes = [RandomScale(0.5, 2.0)(sample, rng)["mask"].shape for _ in range(60)]
    assert all(abs(width - 2 * height) <= 1 and 20 <= height <= 80 for height, width in sizes)
    assert min(sizes)[0] < 30
    assert max(sizes)[0] > 70


def test_scaling_a_tiny_image_leaves_a_pixel():
    assert RandomScale(0.1, 0.1)(_sample(1, 2, 3), np.random.default_rng(0))["mask"].shape == (1, 1)


def test_a_discrete_scale_is_one_of_the_list_each_as_often():
    sample = _sample(1, 40, 80)
    heights = [DiscreteScale()(sample, np.random.default_rng(seed))["mask"].shape[0] for seed in range(300)]
    assert set(heights) == {20, 30, 40, 50, 60}
    assert min(heights.count(height) for height in set(heights)) > 35
    assert torch.equal(DiscreteScale((1.0,))(sample, np.random.default_rng(0))["image"], sample["image"])


def test_an_aspect_stretches_either_way_at_the_same_area():
    sample = _sample(1, 100, 100)
    shapes = [RandomScale(1.0, 1.0, aspect=2.0)(sample, np.random.default_rng(s))["mask"].shape for s in range(60)]
    ratios = sorted(width / height for height, width in shapes)
    assert 0.5 <= ratios[0] < 0.6
    assert 1.7 < ratios[-1] <= 2.02
    assert abs(ratios[30] - 1) < 0.25
    assert all(9800 < height * width < 10200 for height, width in shapes)


# Flips and turns


def test_flips():
    sample = {"image": torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), "mask": torch.tensor([[1, 2], [3, 4]])}
    rng = np.random.default_rng(0)
    assert HorizontalFlip(1.0)(sample, rng)["mask"].tolist() == [[2, 1], [4, 3]]
    assert VerticalFlip(1.0)(sample, rng)["image"].tolist() == [[[3.0, 4.0], [1.0, 2.0]]]
    assert HorizontalFlip(0.0)(sample, rng) is sample


# Shifts


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (3, -5), (-7, 0), (36, 51), (-80, 120)])
def test_a_shift_is_a_roll_inside_and_a_mirror_outside_for_all_maps(dy, dx):
    sample = _sample(2)
    out = shift(sample, dy, dx)
    y = np.pad(np.arange(37), 200, mode="reflect")[200 + dy : 237 + dy]
    x = np.pad(np.arange(52), 200, mode="reflect")[200 + dx : 252 + dx]
    for key in ("image", "mask", "instances", "weight"):
        assert torch.equal(out[key], sample[key][..., y, :][..., x])
    if abs(dy) < 10 and abs(dx) < 10:
        rolled = np.roll(sample["image"].numpy(), (-dy, -dx), (1, 2))
        np.testing.assert_array_equal(out["image"][:, 10:-10, 10:-10], rolled[:, 10:-10, 10:-10])


def test_shifts_reach_every_distance():
    sample = {"image": torch.arange(100.0).reshape(1, 1, 100).expand(1, 100, 100)}
    found = {int(Shift(3)(sample, np.random.default_rng(seed))["image"][0, 50, 50]) - 50 for seed in range(100)}
    assert found == {-3, -2, -1, 0, 1, 2, 3}
    assert Shift(3, p=0.0)(sample, np.random.default_rng(0)) is sample


# Turns


def test_a_flip_happens_as_often_as_asked():
    sample = {"image": torch.tensor([[[1.0, 2.0]]])}
    rng = np.random.default_rng(0)
    flipped = sum(HorizontalFlip(0.3)(sample, rng)["image"][0, 0, 0].item() == 2.0 for _ in range(1000))
    assert 240 < flipped < 360


def test_a_quarter_turn_is_counter_clockwise_like_rotate():
    sample = _sample(1, 21, 21)
    turned, rotated = quarter_turns(sample, 1), rotate(sample, 90)
    assert torch.equal(turned["mask"], rotated["mask"])
    torch.testing.assert_close(turned["image"], rotated["image"], rtol=0, atol=0.1)
    assert turned["mask"][-1, 0] == sample["mask"][0, 0]


def test_rotate90_draws_all_four():
    sample = {"image": torch.arange(4.0).reshape(1, 2, 2)}
    rng = np.random.default_rng(0)
    assert {int(Rotate90()(sample, rng)["image"][0, 0, 0]) for _ in range(50)} == {0, 1, 2, 3}


def test_rotation_by_nothing_is_the_identity():
    sample = _sample(3, 30, 41)
    out = rotate(sample, 0.0)
    assert all(torch.equal(out[key], sample[key]) for key in sample)


def test_rotation_mirrors_at_the_corners():
    sample = {"image": torch.full((1, 32, 48), 9.0), "mask": torch.full((32, 48), 3)}
    out = Rotation(45)(sample, np.random.default_rng(1))
    assert torch.allclose(out["image"], sample["image"])
    assert torch.equal(out["mask"], sample["mask"])


# Together


def test_compose_applies_in_order_from_one_generator():
    sample = _sample(3, 60, 70)
    chain = compose(
        [RandomScale(0.7, 1.4), RandomCrop(48), HorizontalFlip(), Elastic(3.0), Intensity(), GaussianBlur()]
    )
    first, second = (chain(sample, np.random.default_rng([1, 2])) for _ in range(2))
    assert first["image"].shape == (3, 48, 48)
    assert all(torch.equal(first[key], second[key]) for key in first)
    unchanged = compose([])(sample, np.random.default_rng(0))
    assert all(unchanged[key] is sample[key] for key in sample)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: HorizontalFlip(1.5), "horizontal_flip: p is 1.5, but a probability lies between 0 and 1"),
        (lambda: VerticalFlip(-0.1), "vertical_flip: p is -0.1"),
        (lambda: HorizontalFlip(swap=((1, 2),)), "horizontal_flip: swap is known to this transform alone"),
        (lambda: Shift(-1), "shift: pixels is -1, but must be at least 0"),
        (lambda: Simard(alpha=-1), "simard: alpha is -1, but must be at least 0"),
        (lambda: Simard(sigma=0), "simard: sigma is 0, but must be greater than 0"),
        (lambda: DiscreteScale(()), "discrete_scale: scales is empty: give one factor or more"),
        (lambda: DiscreteScale((1.0, 0.0)), "discrete_scale: scales is 0, but must be greater than 0"),
        (lambda: RandomScale(aspect=0.5), "random_scale: aspect is 0.5, but the largest ratio of width to height is"),
        (lambda: ChannelGain(1.2, 0.8), "channel_gain: low 1.2 is greater than high 0.8: exchange them"),
        (lambda: Elastic(p=float("nan")), "elastic: p is nan"),
        (lambda: Elastic(sigma=-1), "elastic: sigma is -1, but must be at least 0"),
        (lambda: Elastic(points=1), "elastic: points is 1, but a grid needs at least 2"),
        (lambda: RandomCrop(0), "random_crop: the size is 0x0 pixels"),
        (lambda: RandomCrop((64, -2)), "random_crop: the size is 64x-2 pixels"),
        (lambda: CenterCrop(-1), "center_crop: the size is -1x-1"),
        (lambda: Resize(10, 0), "resize: the size is 10x0"),
        (lambda: RandomScale(2.0, 0.5), "random_scale: low 2 is greater than high 0.5: exchange them"),
        (lambda: RandomScale(0.0, 1.0), "random_scale: low is 0, but must be greater than 0"),
        (lambda: Rotation(float("inf")), "rotation: degrees is inf"),
        (lambda: Intensity(contrast=1.0), "intensity: contrast is 1, but must be less than 1"),
        (lambda: ColorJitter(hue=0.7), "color_jitter: hue is 0.7"),
        (lambda: GaussianNoise(-0.1), "gaussian_noise: sigma is -0.1"),
        (lambda: GaussianBlur(3.0, 1.0), "gaussian_blur: low 3 is greater than high 1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(build, message):
    with pytest.raises(RecipeError) as caught:
        build()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
