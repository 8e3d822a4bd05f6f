"""Cross-entropy, Dice and class weights against the vectors of specs/losses.md and against torch."""

import pytest
import torch
import torch.nn.functional as F

from atrous.losses import CLASS_WEIGHTS, LOSSES, cross_entropy, dice_loss, enet, median_frequency

LOGITS = torch.tensor(
    [[[2, 0, -1], [1, 0.5, 0]], [[0, 1, 0], [1, -0.5, 2]], [[-1, 0, 3], [0, 0.5, 1]]], dtype=torch.float32
)[None]
MASK = torch.tensor([[[0, 1, 2], [1, 0, 255]]])
WEIGHTS = torch.tensor([1.0, 2.0, 0.5])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0.502233),
        ({"reduction": "sum"}, 2.511164),
        ({"weights": WEIGHTS}, 0.598717),  # over the sum of the weights, not .778332 over their number
        ({"weights": 7 * WEIGHTS}, 0.598717),
        ({"weights": WEIGHTS, "reduction": "sum"}, 5 * 0.778332),
        ({"label_smoothing": 0.1}, 0.608900),
    ],
)
def test_cross_entropy_vectors(options, expected):
    assert cross_entropy(LOGITS, MASK, **options).item() == pytest.approx(expected, abs=2e-6)


def test_cross_entropy_of_each_pixel():
    per_pixel = [0.169846, 0.551445, 0.065884, 0.861995, 0.861995, 0.0]
    for position, expected in enumerate(per_pixel):
        alone = torch.full_like(MASK, 255)
        alone.view(-1)[position] = MASK.view(-1)[position]
        assert cross_entropy(LOGITS, alone).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_cross_entropy_is_torchs_with_its_gradient(weighted, smoothing, memory_format):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 9, 7, generator=generator).to(memory_format=memory_format).requires_grad_()
    mask = torch.randint(0, 5, (2, 9, 7), generator=generator)
    mask[:, :3] = 255
    weights = torch.rand(5, generator=generator) if weighted else None
    ours = cross_entropy(logits, mask, weights=weights, label_smoothing=smoothing)
    (gradient,) = torch.autograd.grad(ours, logits)
    theirs = F.cross_entropy(logits, mask, weights, ignore_index=255, label_smoothing=smoothing)
    (expected,) = torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient, expected)


def test_dice_vectors():
    assert dice_loss(LOGITS, MASK).item() == pytest.approx(0.358221, abs=1e-6)
    assert dice_loss(LOGITS, MASK, smooth=1.0).item() == pytest.approx(0.2749, abs=5e-5)


def test_dice_of_each_class():
    for label, overlap in enumerate([0.646385, 0.602446, 0.676505]):
        probability = LOGITS.softmax(1)[0, label][MASK[0] != 255]
        truth = (MASK[0] == label)[MASK[0] != 255].float()
        assert (2 * probability * truth).sum() / (probability + truth).sum() == pytest.approx(overlap, abs=1e-6)


def test_dice_skips_classes_that_are_not_in_the_mask():
    mask = torch.where(MASK == 2, 255, MASK)
    probability = LOGITS.softmax(1)[0] * (mask[0] != 255)
    expected = [
        1 - 2 * probability[label][mask[0] == label].sum() / (probability[label].sum() + (mask == label).sum())
        for label in (0, 1)
    ]
    torch.testing.assert_close(dice_loss(LOGITS, mask), torch.stack(expected).mean())


def test_dice_is_taken_over_the_batch_together():
    pair, masks = torch.cat([LOGITS, LOGITS.flip(1)]), torch.cat([MASK, torch.zeros_like(MASK)])
    wide = torch.cat([LOGITS, LOGITS.flip(1)], dim=3)
    torch.testing.assert_close(
        dice_loss(pair, masks), dice_loss(wide, torch.cat([MASK, torch.zeros_like(MASK)], dim=2))
    )


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_labelled_is_exactly_zero_with_a_zero_gradient(name):
    logits = LOGITS.clone().requires_grad_()
    loss = LOSSES[name](logits, torch.full_like(MASK, 255))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_weights_of_zero_are_zero_and_not_nan():
    logits = LOGITS.clone().requires_grad_()
    loss = cross_entropy(logits, MASK, weights=torch.zeros(3))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_pixels_change_nothing(name):
    changed = LOGITS.clone().requires_grad_()
    with torch.no_grad():
        changed[0, :, 1, 2] = torch.tensor([50.0, -50.0, 3.0])  # the one ignored pixel
    loss = LOSSES[name](changed, MASK)
    loss.backward()
    torch.testing.assert_close(loss, LOSSES[name](LOGITS, MASK))
    assert torch.equal(changed.grad[0, :, 1, 2], torch.zeros(3))
    assert (changed.grad[0, :, 0, 0] != 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_another_ignore_index(name):
    mask = torch.where(MASK == 255, 2, torch.where(MASK == 2, 255, MASK))  # 255 and 2 exchanged
    again = torch.where(mask == 255, -1, mask)
    assert LOSSES[name](LOGITS, again, ignore_index=-1) == LOSSES[name](LOGITS, mask)
    assert LOSSES[name](LOGITS, MASK) != LOSSES[name](LOGITS, mask)


@pytest.mark.parametrize("name", LOSSES)
def test_low_precision_logits_are_computed_in_float32(name):
    low = LOGITS.bfloat16()
    loss = LOSSES[name](low, MASK)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, LOSSES[name](low.float(), MASK))


@pytest.mark.parametrize("name", LOSSES)
def test_small_integer_masks_are_masks_too(name):
    assert LOSSES[name](LOGITS, MASK.to(torch.uint8)) == LOSSES[name](LOGITS, MASK)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_against_finite_differences(name):
    assert torch.autograd.gradcheck(lambda logits: LOSSES[name](logits, MASK), LOGITS.double().requires_grad_())


def test_median_frequency_vectors():
    torch.testing.assert_close(median_frequency([11, 3, 2], [16, 8, 8]), torch.tensor([0.545455, 1, 1.5]))


def test_absent_classes_weigh_nothing_and_leave_the_median_alone():
    torch.testing.assert_close(median_frequency([11, 0, 3, 2], [16, 0, 8, 8]), torch.tensor([0.545455, 0, 1, 1.5]))
    assert torch.equal(median_frequency([0, 0], [0, 0]), torch.zeros(2))


def test_the_median_of_an_even_number_is_between_the_middle_two():
    torch.testing.assert_close(median_frequency([1, 3], [4, 4]), torch.tensor([2.0, 2 / 3]))


def test_enet_vectors():
    torch.testing.assert_close(enet([11, 3, 2]), torch.tensor([1.869053, 5.303574, 7.385271]))
    torch.testing.assert_close(enet([11, 3, 2], constant=1.2), torch.tensor([1.574175, 3.053402, 3.553503]))
    torch.testing.assert_close(enet([1, 0]), torch.tensor([1.4223, 0]), atol=1e-4, rtol=0)
    assert enet([10**12, 1])[1] == pytest.approx(50.498, abs=1e-3)
    assert torch.equal(enet([0, 0]), torch.zeros(2))


def test_weightings_read_the_frequencies_of_a_data_set():
    frequencies = {"pixels": [11, 3, 2], "totals": [16, 8, 8]}
    assert torch.equal(CLASS_WEIGHTS["median_frequency"](frequencies), median_frequency([11, 3, 2], [16, 8, 8]))
    assert torch.equal(CLASS_WEIGHTS["enet"](frequencies), enet([11, 3, 2]))
    assert torch.equal(CLASS_WEIGHTS["enet_encoder"](frequencies), enet([11, 3, 2], constant=1.2))
