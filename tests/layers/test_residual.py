"""Residual units, chained pooling, global convolution, boundary refinement: against the formulas, written out."""

import pytest
import torch
import torch.nn.functional as F

from atrous.errors import ModelError
from atrous.layers.residual import BoundaryRefinement, ChainedResidualPooling, GlobalConvolution, ResidualConvUnit


def test_a_residual_unit_activates_first_and_leaves_its_input_alone():
    unit, x = ResidualConvUnit(3), torch.randn(2, 3, 5, 6)
    before = x.clone()
    inner = F.conv2d(x.clamp(min=0), unit.conv1.weight, unit.conv1.bias, padding=1)
    expected = x + F.conv2d(inner.clamp(min=0), unit.conv2.weight, padding=1)
    assert torch.allclose(unit(x), expected, atol=1e-6)
    assert torch.equal(x, before)


def test_a_residual_unit_has_the_weights_of_two_convolutions_and_one_bias():
    assert sum(p.numel() for p in ResidualConvUnit(512).parameters()) == 4_719_104
    assert ResidualConvUnit(2).conv2.bias is None


@pytest.mark.parametrize("improved", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 2, 4])
def test_the_chain_adds_every_step_in_its_order(steps, improved):
    chain, x = ChainedResidualPooling(2, steps, improved=improved), torch.randn(1, 2, 9, 7)
    step = x.clamp(min=0)
    maps = [step]
    for conv in chain.convs:
        if improved:
            step = F.max_pool2d(F.conv2d(step, conv.weight, padding=1), 5, stride=1, padding=2)
        else:
            step = F.conv2d(F.max_pool2d(step, 5, stride=1, padding=2), conv.weight, padding=1)
        maps.append(step)
    assert len(maps) == steps + 1
    assert torch.allclose(chain(x), sum(maps), atol=1e-6)


def test_the_order_of_the_chain_makes_a_difference():
    first, second = ChainedResidualPooling(2, 1), ChainedResidualPooling(2, 1, improved=True)
    second.load_state_dict(first.state_dict())
    x = torch.randn(1, 2, 9, 9)
    assert not torch.allclose(first(x), second(x), atol=1e-3)


def test_a_chain_sees_three_pixels_more_with_every_step():
    chain = ChainedResidualPooling(1, 3)
    for conv in chain.convs:
        torch.nn.init.ones_(conv.weight)
    x = torch.zeros(1, 1, 1, 31)
    x[..., 15] = 1.0
    assert chain(x)[0, 0, 0].nonzero().flatten().tolist() == list(range(6, 25))


def test_a_global_convolution_is_a_dense_kernel_of_low_rank():
    block = GlobalConvolution(3, 2, 5)
    for name, parameter in block.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
    column, row = (block.left[0].weight[..., 0], block.left[1].weight[:, :, 0])
    kernel = torch.einsum("miy,omx->oiyx", column, row)
    row, column = (block.right[0].weight[:, :, 0], block.right[1].weight[..., 0])
    kernel = kernel + torch.einsum("mix,omy->oiyx", row, column)
    for size in [(9, 8), (2, 3), (1, 1)]:  # also where the kernel is larger than the map
        x = torch.randn(1, 3, *size)
        assert torch.allclose(block(x), F.conv2d(x, kernel, padding=2), atol=1e-5)


@pytest.mark.parametrize("k", [7, 15])
def test_a_global_convolution_costs_lines_instead_of_squares(k):
    kernels = [p for p in GlobalConvolution(64, 21, k).parameters() if p.ndim > 1]
    assert sum(p.numel() for p in kernels) == 2 * k * (64 + 21) * 21


@pytest.mark.parametrize("k", [0, 2, 14, -1])
def test_an_even_kernel_is_refused(k):
    with pytest.raises(ModelError, match=f"k = {k}, but only an odd k"):
        GlobalConvolution(4, 2, k)


def test_a_refinement_is_a_correction_without_a_last_activation():
    block, x = BoundaryRefinement(3), torch.randn(1, 3, 6, 5) - 3
    inner = F.conv2d(x, block.conv1.weight, block.conv1.bias, padding=1).clamp(min=0)
    expected = x + F.conv2d(inner, block.conv2.weight, block.conv2.bias, padding=1)
    assert torch.allclose(block(x), expected, atol=1e-6)
    assert expected.min() < 0
