"""Every transform: what it does to a known sample, that all maps move together, and what it refuses."""

import numpy as np
import pytest
import torch

from atrous.data.transforms import (
    TRANSFORMS,
    CenterCrop,
    ColorJitter,
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
    VerticalFlip,
    compose,
)
from atrous.data.transforms.geometry import crop, quarter_turns, resize, rotate
from atrous.data.transforms.intensity import adjust_color, adjust_intensity, blur, robust_range
from atrous.errors import RecipeError

GEOMETRIC = {
    "random_scale": {"low": 0.5, "high": 1.7},
    "random_crop": {"size": (40, 30)},
    "center_crop": {"size": 33},
    "resize": {"height": 50, "width": 41},
    "horizontal_flip": {"p": 1.0},
    "vertical_flip": {"p": 1.0},
    "rotate90": {},
    "rotation": {"degrees": 25},
    "elastic": {"sigma": 4},
    "object_crop": {"size": 30, "stage": 2},
}
INTENSITY = {"intensity": {}, "gaussian_noise": {}, "gaussian_blur": {"p": 1.0}, "color_jitter": {}}


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
    assert set(TRANSFORMS) == {*GEOMETRIC, *INTENSITY}


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


@pytest.mark.parametrize("name", ["intensity", "gaussian_noise", "gaussian_blur"])
@pytest.mark.parametrize("channels", [1, 5])
def test_intensity_transforms_take_any_channel_count(name, channels):
    sample = _sample(channels)
    assert TRANSFORMS[name]()(sample, np.random.default_rng(0))["image"].shape == sample["image"].shape


# Crops


def test_a_crop_inside_is_a_slice():
    sample = _sample(2)
    cut = crop(sample, 5, 9, 20, 30)
    assert torch.equal(cut["image"], sample["image"][:, 5:25, 9:39])
    assert torch.equal(cut["mask"], sample["mask"][5:25, 9:39])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (5, 40), (40, 5)])
def test_a_crop_larger_than_the_image_mirrors_it_and_ignores_the_rest(height, width):
    sample = _sample(1, height, width)
    size = 31
    seen = set()
    for seed in range(20):
        cut = RandomCrop(size)(sample, np.random.default_rng(seed))
        assert cut["image"].shape == (1, size, size)
        labelled = cut["mask"] != 255
        assert labelled.sum() == min(height, size) * min(width, size)
        rows, columns = (torch.nonzero(labelled.any(dim)).flatten() for dim in (1, 0))
        if height <= size and width <= size:
            top, left = int(rows[0]), int(columns[0])
            seen.add((top, left))
            pads = ((top, size - top - height), (left, size - left - width))
            expected = np.pad(sample["image"][0].numpy(), pads, mode="reflect")
            np.testing.assert_array_equal(cut["image"][0].numpy(), expected)
            assert not cut["weight"][~labelled].any()
    assert len(seen) > 5 or height > size or width > size


def test_random_crops_reach_every_place():
    sample = {"image": torch.arange(12.0).reshape(1, 3, 4)}
    rng = np.random.default_rng(0)
    corners = {int(RandomCrop(2)(sample, rng)["image"][0, 0, 0]) for _ in range(200)}
    assert corners == {0, 1, 2, 4, 5, 6}


def test_a_random_crop_avoids_windows_without_a_label():
    mask = torch.full((64, 64), 255)
    mask[:32] = 1
    sample = {"image": torch.zeros(1, 64, 64), "mask": mask}
    rng = np.random.default_rng(0)
    assert all((RandomCrop(16)(sample, rng)["mask"] != 255).any() for _ in range(200))


def test_an_ignored_image_is_still_cropped():
    sample = {"image": torch.zeros(1, 20, 20), "mask": torch.full((20, 20), 255)}
    assert RandomCrop(8)(sample, np.random.default_rng(0))["mask"].shape == (8, 8)


def test_a_centre_crop_is_in_the_centre():
    cut = CenterCrop(2)({"image": torch.arange(16.0).reshape(1, 4, 4)}, np.random.default_rng(0))
    assert cut["image"][0].tolist() == [[5.0, 6.0], [9.0, 10.0]]


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


# Flips and turns


def test_flips():
    sample = {"image": torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), "mask": torch.tensor([[1, 2], [3, 4]])}
    rng = np.random.default_rng(0)
    assert HorizontalFlip(1.0)(sample, rng)["mask"].tolist() == [[2, 1], [4, 3]]
    assert VerticalFlip(1.0)(sample, rng)["image"].tolist() == [[[3.0, 4.0], [1.0, 2.0]]]
    assert HorizontalFlip(0.0)(sample, rng) is sample


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


# Numbers


@pytest.mark.parametrize("scale", [1.0, 257.0, 1 / 255])
def test_intensity_follows_the_range_of_the_image(scale):
    image = torch.from_numpy(np.random.default_rng(0).uniform(20, 230, (1, 64, 64))).float()
    changed = Intensity()({"image": image}, np.random.default_rng(8))["image"]
    scaled = Intensity()({"image": image * scale}, np.random.default_rng(8))["image"]
    torch.testing.assert_close(scaled / scale, changed, rtol=1e-3, atol=1e-2)


def test_brightness_contrast_and_gamma_do_what_they_say():
    image = torch.linspace(100, 200, 101).reshape(1, 1, 101)
    span = robust_range(image)
    assert span == 98.0
    torch.testing.assert_close(adjust_intensity(image, brightness=0.1), image + 0.1 * span)
    torch.testing.assert_close(adjust_intensity(image, contrast=1.5), 150 + 1.5 * (image - 150))
    torch.testing.assert_close(adjust_intensity(image, gamma=2.0), 100 + span * ((image - 100) / span) ** 2)


def test_numbers_below_zero_come_only_from_numbers_below_zero():
    image = torch.linspace(0, 100, 101).reshape(1, 1, 101)
    assert adjust_intensity(image, brightness=-0.5).min() == 0
    assert adjust_intensity(image - 50, brightness=-0.5).min() < -90


def test_a_flat_image_stays_flat_and_finite():
    sample = {"image": torch.full((3, 8, 8), 12.0)}
    for name in ("intensity", "gaussian_noise", "gaussian_blur"):
        out = TRANSFORMS[name]()(sample, np.random.default_rng(0))["image"]
        torch.testing.assert_close(out, sample["image"])


def test_color_of_grey_is_grey_and_saturation_zero_is_grey():
    image = torch.rand(3, 9, 9) * 255
    grey = adjust_color(image, saturation=0.0)
    torch.testing.assert_close(grey[0], grey[1])
    torch.testing.assert_close(grey[0], 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2])
    torch.testing.assert_close(adjust_color(grey, hue=0.25, saturation=1.7), grey, rtol=1e-4, atol=1e-3)


def test_a_third_of_a_turn_exchanges_the_colours():
    image = torch.rand(3, 5, 5) * 255
    turned = adjust_color(image, hue=1 / 3)
    torch.testing.assert_close(turned, image[[2, 0, 1]], rtol=1e-4, atol=1e-3)


def test_color_jitter_refuses_grey_images():
    with pytest.raises(RecipeError, match=r"needs RGB images, but these have 1 channel.*use intensity"):
        ColorJitter()(_sample(1), np.random.default_rng(0))


def test_noise_has_the_drawn_strength():
    image = torch.from_numpy(np.random.default_rng(0).uniform(-500, 500, (1, 128, 128))).float()
    strengths = [
        (GaussianNoise(0.1)({"image": image}, np.random.default_rng(s))["image"] - image).std() for s in range(30)
    ]
    assert 0.08 < max(strengths) / robust_range(image) < 0.11
    assert min(strengths) < 0.3 * max(strengths)


def test_blur_keeps_the_mean_and_takes_the_detail():
    image = torch.zeros(2, 41, 41)
    image[:, 20, 20] = 100.0
    out = blur(image, 2.0)
    torch.testing.assert_close(out.sum((1, 2)), torch.full((2,), 100.0), rtol=1e-3, atol=0.1)
    assert abs(out[0, 20, 20].item() - 100 / (2 * np.pi * 4)) < 0.1


# Together


def test_compose_applies_in_order_from_one_generator():
    sample = _sample(3, 60, 70)
    chain = compose(
        [RandomScale(0.7, 1.4), RandomCrop(48), HorizontalFlip(), Elastic(3.0), Intensity(), GaussianBlur()]
    )
    first, second = (chain(sample, np.random.default_rng([1, 2])) for _ in range(2))
    assert first["image"].shape == (3, 48, 48)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert compose([])(sample, np.random.default_rng(0)) is sample


def test_key_points_are_refused_by_what_would_leave_them_behind():
    sample = {"image": torch.zeros(1, 8, 8), "keypoints": torch.zeros(2, 2)}
    with pytest.raises(RecipeError, match="key points"):
        HorizontalFlip(1.0)(sample, np.random.default_rng(0))
    assert "keypoints" in GaussianNoise()(sample, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: HorizontalFlip(1.5), "horizontal_flip: p is 1.5, but a probability lies between 0 and 1"),
        (lambda: VerticalFlip(-0.1), "vertical_flip: p is -0.1"),
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
