"""Class weights against the vectors of specs/losses.md and by hand."""

import math

import pytest
import torch

from atrous.errors import UsageError
from atrous.losses import CLASS_WEIGHTS, effective_number, enet, inverse, median_frequency


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


def test_inverse_frequency_by_hand():
    torch.testing.assert_close(inverse([11, 3, 2]), 3 * torch.tensor([6, 22, 33]) / 61)
    torch.testing.assert_close(inverse([11, 0, 3, 2]), 3 * torch.tensor([6, 0, 22, 33]) / 61)
    assert torch.equal(inverse([0, 0]), torch.zeros(2))
    assert torch.equal(inverse([5]), torch.ones(1))


@pytest.mark.parametrize("beta", [0.9, 0.99, 0.9999])
def test_effective_numbers_are_the_papers_formula(beta):
    counts = [500, 40, 3]
    raw = [(1 - beta) / (1 - beta**n) for n in counts]
    expected = [3 * w / sum(raw) for w in raw]
    torch.testing.assert_close(effective_number(counts, beta=beta), torch.tensor(expected))
    assert effective_number([*counts, 0], beta=beta).tolist() == [*effective_number(counts, beta=beta).tolist(), 0.0]


def test_effective_numbers_lie_between_equal_weights_and_inverse_frequency():
    counts = [500, 40, 3]
    torch.testing.assert_close(effective_number(counts, beta=0.0), torch.ones(3))
    torch.testing.assert_close(effective_number(counts, beta=1 - 1e-9), inverse(counts))
    assert torch.equal(effective_number([10**8, 10**6], beta=0.9999), torch.ones(2))  # why the default is another


def test_by_default_the_effective_number_belongs_to_counts_of_pixels():
    counts = [9_000_000, 900_000, 100_000]
    raw = [1 / -math.expm1(-n * 3 / 10_000_000) for n in counts]
    expected = torch.tensor([3 * w / sum(raw) for w in raw])
    torch.testing.assert_close(effective_number(counts), expected, rtol=1e-5, atol=0)
    # Images of twice the side have the same weights, and absent classes do not move the mean.
    torch.testing.assert_close(effective_number([4 * n for n in counts]), effective_number(counts), rtol=1e-5, atol=0)
    torch.testing.assert_close(effective_number([*counts, 0])[:3], effective_number(counts))
    rarer, plain = effective_number(counts), inverse(counts)
    assert rarer[2] / rarer[1] == pytest.approx(9, rel=0.15)  # inverse far below the mean
    assert rarer[1] / rarer[0] < 0.5 * plain[1] / plain[0]  # and held back above it


def test_effective_numbers_of_nothing():
    assert torch.equal(effective_number([0, 0]), torch.zeros(2))
    assert torch.equal(effective_number([1, 0]), torch.tensor([1.0, 0]))


@pytest.mark.parametrize("beta", [1.0, -0.1, 2.0])
def test_an_impossible_beta(beta):
    with pytest.raises(UsageError) as caught:
        effective_number([1, 2], beta=beta)
    assert str(caught.value) == (
        f"effective_number: beta is {beta}, but it must be at least 0 and below 1; choose another."
    )


def test_weightings_read_the_frequencies_of_a_data_set():
    frequencies = {"pixels": [11, 3, 2], "totals": [16, 8, 8]}
    expected = {
        "median_frequency": median_frequency([11, 3, 2], [16, 8, 8]),
        "enet": enet([11, 3, 2]),
        "enet_encoder": enet([11, 3, 2], constant=1.2),
        "inverse": inverse([11, 3, 2]),
        "effective_number": effective_number([11, 3, 2]),
    }
    assert list(CLASS_WEIGHTS) == list(expected)
    for name, weights in expected.items():
        assert torch.equal(CLASS_WEIGHTS[name](frequencies), weights)
