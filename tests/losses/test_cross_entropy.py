"""Cross-entropy, of all pixels and of the hardest, against the vectors of specs/losses.md, torch and loops."""

import pytest
import torch
import torch.nn.functional as F

from atrous.losses import cross_entropy, ohem_cross_entropy, topk_cross_entropy
from tests.losses.common import LOGITS, MASK, WEIGHTS, scene

PER_PIXEL = [0.169846, 0.551445, 0.065884, 0.861995, 0.861995, 0.0]


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
def test_vectors(options, expected):
    assert cross_entropy(LOGITS, MASK, **options).item() == pytest.approx(expected, abs=2e-6)
    ones = torch.ones(1, 2, 3)
    assert cross_entropy(LOGITS, MASK, pixel_weights=ones, **options).item() == pytest.approx(expected, abs=2e-6)


def test_each_pixel():
    for position, expected in enumerate(PER_PIXEL):
        alone = torch.full_like(MASK, 255)
        alone.view(-1)[position] = MASK.view(-1)[position]
        assert cross_entropy(LOGITS, alone).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_it_is_torchs_with_its_gradient(weighted, smoothing, memory_format):
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


def test_weights_of_zero_are_zero_and_not_nan():
    for loss in (cross_entropy, ohem_cross_entropy, topk_cross_entropy):
        logits = LOGITS.clone().requires_grad_()
        value = loss(logits, MASK, weights=torch.zeros(3))
        value.backward()
        assert value.item() == 0
        assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_pixel_weights_multiply_and_do_not_divide(weights):
    """U-Net's energy: the sum of w(x) times each pixel's loss; the mean is over what the classes weigh."""
    pixels = torch.tensor([[[1.0, 10.0, 0.5], [0.0, 2.0, 99.0]]])
    of_class = [1.0] * 3 if weights is None else weights.tolist()
    labels, factors = MASK.flatten().tolist()[:5], pixels.flatten().tolist()[:5]
    above = sum(of_class[t] * v * e for t, v, e in zip(labels, factors, PER_PIXEL[:5], strict=True))
    below = sum(of_class[t] for t in labels)
    total = cross_entropy(LOGITS, MASK, weights=weights, pixel_weights=pixels, reduction="sum")
    assert total.item() == pytest.approx(above, rel=1e-5)
    mean = cross_entropy(LOGITS, MASK, weights=weights, pixel_weights=pixels)
    assert mean.item() == pytest.approx(above / below, rel=1e-5)


def test_pixel_weights_at_ignored_pixels_are_not_looked_at():
    pixels = torch.ones(1, 2, 3)
    pixels[0, 1, 2] = torch.nan
    logits = LOGITS.clone().requires_grad_()
    value = cross_entropy(logits, MASK, pixel_weights=pixels)
    value.backward()
    assert value.item() == pytest.approx(0.502233, abs=1e-6)
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("threshold", "min_kept", "expected", "kept"),
    [
        (0.7, 2, 0.758478, [1, 3, 4]),  # three below .7
        (0.3, 2, 0.861995, [3, 4]),  # none below .3: the threshold rises to .576117
        (0.7, 100, 0.611320, [0, 1, 3, 4]),  # too few: to the largest, .936240, which is left out
    ],
)
def test_ohem_vectors(threshold, min_kept, expected, kept):
    logits = LOGITS.clone().requires_grad_()
    loss = ohem_cross_entropy(logits, MASK, threshold=threshold, min_kept=min_kept)
    loss.backward()
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert torch.nonzero(logits.grad.abs().sum(1).flatten()).flatten().tolist() == kept


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(("threshold", "min_kept"), [(0.5, 10), (0.1, 200), (0.9, 10**6), (0.01, 1)])
def test_ohem_is_the_loop_over_sorted_pixels(weights, threshold, min_kept):
    logits, mask = scene(3)
    labelled = mask != 255
    probability = logits.softmax(1).gather(1, mask.where(labelled, 0)[:, None])[:, 0][labelled]
    ranked = sorted(probability.tolist())
    bound = max(ranked[min(min_kept, len(ranked) - 1)], threshold)
    factors = torch.ones(3) if weights is None else weights
    above = below = 0.0
    for p, label in zip(probability.tolist(), mask[labelled].tolist(), strict=True):
        if p < bound:
            above -= factors[label].item() * torch.tensor(p).log().item()
            below += factors[label].item()
    loss = ohem_cross_entropy(logits, mask, weights=weights, threshold=threshold, min_kept=min_kept)
    assert loss.item() == pytest.approx(above / below, rel=1e-4)


def test_ohem_of_equal_pixels_above_the_threshold_is_zero():
    logits = torch.tensor([8.0, 0.0])[None, :, None, None].expand(1, 2, 4, 4).clone().requires_grad_()
    loss = ohem_cross_entropy(logits, torch.zeros(1, 4, 4, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        (0.2, 0.861995),
        (0.4, 0.861995),
        (0.6, 0.758478),
        (0.5, 0.861995),  # 2.5 pixels are 2
        (0.01, 0.861995),  # never fewer than one
        (1.0, 0.502233),
    ],
)
def test_topk_vectors(fraction, expected):
    assert topk_cross_entropy(LOGITS, MASK, fraction=fraction).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_topk_is_the_mean_of_the_largest(weights):
    logits, mask = scene(4)
    losses = F.cross_entropy(logits, mask, ignore_index=255, reduction="none")[mask != 255]
    factors = (torch.ones(3) if weights is None else weights)[mask[mask != 255]]
    count = round(0.3 * len(losses))
    top = (losses * factors).argsort(descending=True)[:count]
    expected = (losses * factors)[top].sum() / factors[top].sum()
    torch.testing.assert_close(topk_cross_entropy(logits, mask, weights=weights, fraction=0.3), expected)
    whole = topk_cross_entropy(logits, mask, weights=weights, fraction=1.0)
    torch.testing.assert_close(whole, cross_entropy(logits, mask, weights=weights))
