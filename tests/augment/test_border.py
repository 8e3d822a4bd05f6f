"""U-Net's weight map: the vectors of specs/losses.md, exact distances by brute force, and what separates cells."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from atrous.augment import BorderWeights, SeparateTouching
from atrous.augment.border_weights import border_term, class_balance, touching
from atrous.augment.borders import separate_touching, weigh_borders
from atrous.errors import RecipeError

ROW = torch.tensor([[1, 1, 1, 0, 0, 0, 2, 2, 0, 0, 0]])


def by_brute_force(instances, w0, sigma):
    """The formula with one distance transform for every cell."""
    array = instances.numpy()
    numbers = np.unique(array[array > 0])
    if len(numbers) < 2:
        return np.zeros(array.shape)
    distances = np.sort([ndimage.distance_transform_edt(array != number) for number in numbers], axis=0)
    return w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))


def blobs(seed, height, width, count):
    """Rectangles over one another, so that cells touch, hide and fall into parts."""
    rng, out = np.random.default_rng(seed), np.zeros((height, width), int)
    for number in range(1, count + 1):
        y, x = rng.integers(0, height), rng.integers(0, width)
        out[y : y + rng.integers(1, 14), x : x + rng.integers(1, 14)] = number
    return torch.from_numpy(out)


def two_cells():
    """The 7x7 map of the specification: rows 1 to 5, columns 1 and 2, columns 4 and 5."""
    cells = torch.zeros(7, 7, dtype=torch.int64)
    cells[1:6, 1:3], cells[1:6, 4:6] = 1, 2
    return cells


# The second term


def test_the_row_of_the_specification():
    expected = [4.8675, 6.0653, 7.2615, 7.2615, 7.2615, 7.2615, 7.2615, 6.0653, 3.7531, 1.9790, 0.8892]
    assert border_term(ROW)[0].tolist() == pytest.approx(expected, abs=5e-5)
    assert border_term(ROW.T)[:, 0].tolist() == pytest.approx(expected, abs=5e-5)


def test_the_square_of_the_specification():
    term = border_term(two_cells())
    assert term[1:6, 3].tolist() == pytest.approx([9.2312] * 5, abs=5e-5)
    assert term[0].tolist() == pytest.approx([5.4159, 7.0717, 8.1104, 8.5214, 8.1104, 7.0717, 5.4159], abs=5e-5)


@pytest.mark.parametrize("seed", range(12))
def test_distances_are_exact(seed):
    rng = np.random.default_rng(seed)
    height, width, count = (int(number) for number in rng.integers([1, 1, 0], [70, 70, 12]))
    instances = blobs(seed, height, width, count)
    for w0, sigma in ((10.0, 5.0), (3.0, 1.3), (10.0, 20.0)):
        ours = border_term(instances, w0=w0, sigma=sigma)
        np.testing.assert_allclose(ours, by_brute_force(instances, w0, sigma), atol=3e-6)


@pytest.mark.parametrize("factor", [1, 7000, 100_000])
def test_the_numbers_of_cells_do_not_matter(factor):
    instances = blobs(3, 50, 60, 9)
    assert torch.allclose(border_term(instances * factor), border_term(instances), atol=1e-6)


def test_a_cell_of_two_parts_is_one_cell():
    assert not border_term(torch.tensor([[5, 0, 0, 5]])).any()
    assert not border_term(torch.zeros(4, 4, dtype=torch.int64)).any()
    assert border_term(torch.tensor([[5, 0, 0, 5, 0, 6]])).all()


def test_no_extra_weight_without_w0():
    assert not border_term(ROW, w0=0.0).any()


# The first term


def test_classes_weigh_alike_in_total_and_one_on_average():
    mask = torch.from_numpy(np.random.default_rng(0).choice([0, 1, 4, 255], (40, 50), p=[0.5, 0.3, 0.1, 0.1]))
    weight = class_balance(mask)
    totals = [weight[mask == number].sum().item() for number in (0, 1, 4)]
    assert totals == pytest.approx([totals[0]] * 3, rel=1e-5)
    assert weight[mask != 255].mean().item() == pytest.approx(1, rel=1e-5)
    assert not weight[mask == 255].any()


def test_a_class_of_few_pixels_weighs_at_most_ten():
    mask = torch.zeros(50, 50, dtype=torch.int64)
    mask[0, 0] = 1
    assert class_balance(mask)[0, 0] == 10
    assert not class_balance(torch.full((3, 3), 255)).any()


# Separation


@pytest.mark.parametrize("seed", range(5))
def test_no_two_cells_touch_once_separated_and_only_contact_is_lost(seed):
    instances = blobs(seed, 40, 50, 10)
    gap = touching(instances)
    array = instances.numpy()
    lone = np.zeros(array.shape, bool)  # by loops: pixels with no other cell around them
    for y, x in np.ndindex(array.shape):
        around = array[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        lone[y, x] = not ((around > 0) & (around != array[y, x])).any()
    assert not (gap.numpy() & lone).any()
    kept = instances.masked_fill(gap, 0)
    assert not touching(kept).any()
    assert not touching(torch.where(kept > 0, 100 - kept, 0)).any()
    assert gap.any()


def test_separation_makes_background_of_mask_and_instances():
    instances = torch.tensor([[3, 3, 8, 8, 0, 9]])
    sample = {"image": torch.zeros(1, 1, 6), "mask": (instances > 0).long(), "instances": instances}
    out = SeparateTouching()(sample, np.random.default_rng(0))
    assert out["instances"].tolist() == [[3, 3, 0, 8, 0, 9]]
    assert out["mask"].tolist() == [[1, 1, 0, 1, 0, 1]]
    assert sample["instances"].tolist() == [[3, 3, 8, 8, 0, 9]]
    assert separate_touching({**sample, "mask": 1 - sample["mask"]}, background=1)["mask"].tolist() == [
        [0, 0, 1, 0, 1, 0]
    ]


def test_ignored_pixels_stay_ignored_between_cells():
    sample = {"mask": torch.tensor([[1, 255, 1]]), "instances": torch.tensor([[1, 2, 2]])}
    assert separate_touching(sample)["mask"].tolist() == [[1, 255, 1]]


def test_without_instances_parts_that_meet_by_a_corner_are_pulled_apart():
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
    assert separate_touching({"mask": mask})["mask"].tolist() == [
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 0, 1],
        [0, 0, 1, 1],
    ]


# Together


def test_the_map_is_the_sum_of_both_terms_with_nothing_where_ignored():
    cells = two_cells()
    mask = (cells > 0).long()
    mask[6] = 255
    out = weigh_borders({"mask": mask, "instances": cells})
    expected = (class_balance(mask) + border_term(cells)) * (mask != 255)
    assert torch.equal(out["weight"], expected)
    assert out["weight"].dtype == torch.float32
    flat = weigh_borders({"mask": mask, "instances": cells}, balance=False)
    assert torch.allclose(flat["weight"][:6], 1 + border_term(cells)[:6])


def test_cells_are_instances_or_the_connected_parts_of_classes():
    cells = two_cells()
    by_instances = BorderWeights()({"mask": (cells > 0).long(), "instances": cells}, np.random.default_rng(0))
    by_parts = BorderWeights()({"mask": (cells > 0).long()}, np.random.default_rng(0))
    assert torch.equal(by_instances["weight"], by_parts["weight"])
    kinds = {"mask": torch.where(cells == 1, 3, cells)}
    chosen = BorderWeights(balance=False, classes=(3,))(kinds, np.random.default_rng(0))
    assert torch.equal(chosen["weight"], torch.ones(7, 7))
    both = BorderWeights(balance=False, classes=(2, 3))(kinds, np.random.default_rng(0))
    assert torch.allclose(both["weight"], 1 + border_term(cells))


def test_touching_cells_are_separated_before_they_are_weighed():
    instances = torch.tensor([[1, 1, 1, 2, 2, 2]])
    sample = {"mask": torch.ones(1, 6, dtype=torch.int64), "instances": instances}
    out = BorderWeights(balance=False)(sample, np.random.default_rng(0))
    assert out["mask"].tolist() == [[1, 1, 1, 0, 1, 1]]
    assert torch.allclose(out["weight"], 1 + border_term(torch.tensor([[1, 1, 1, 0, 2, 2]])))
    kept = BorderWeights(balance=False, separate=False)(sample, np.random.default_rng(0))
    assert torch.equal(kept["mask"], sample["mask"])
    assert torch.allclose(kept["weight"], 1 + border_term(instances))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BorderWeights(w0=-1), "border_weights: w0 is -1, but must be at least 0"),
        (lambda: BorderWeights(sigma=0), "border_weights: sigma is 0, but must be greater than 0"),
        (lambda: BorderWeights(classes=()), "border_weights: classes is empty: name one or more"),
        (lambda: BorderWeights(classes=(0, 1)), "border_weights: classes names the background, 0: take it out"),
        (lambda: BorderWeights(background=255), "border_weights: there is no class 255: classes are numbered 0 to 254"),
        (lambda: SeparateTouching(classes=(-1,)), "separate_touching: there is no class -1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(build, message):
    with pytest.raises(RecipeError) as caught:
        build()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("transform", [BorderWeights(), SeparateTouching()])
def test_a_sample_without_a_mask_is_refused(transform):
    with pytest.raises(RecipeError, match="the sample has no mask: remove it from augment"):
        transform({"image": torch.zeros(1, 4, 4)}, np.random.default_rng(0))
