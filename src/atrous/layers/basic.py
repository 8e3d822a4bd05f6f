"""Any-size arithmetic (`fit`, `unfit`, `mirror`, `resize`, `shrink`), and the convolution of most decoders.

Padding to a size and cropping back happen here and nowhere else, so that one set of rules holds for every model: pad
on the right and at the bottom, crop with a negative pad. A slice of `h, w` would be frozen when the model is exported.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import lcm

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from atrous.types import CellGrid

__all__ = ["BatchNorm", "conv_bn_relu", "fit", "mirror", "resize", "shrink", "unfit", "unfit_grid"]


def fit(
    x: Float[Tensor, "B C H W"], multiple: int, extra: int = 0, *, twice: bool = False
) -> Float[Tensor, "B C H2 W2"]:
    """Pad right and bottom with the edge value until height and width are multiples of `multiple`, plus `extra`.

    Networks that interpolate with aligned corners are made for sizes such as 321 = 40 x 8 + 1: there `extra` is 1.

    Args:
        x: a map.
        multiple: the least common size.
        extra: pixels beyond.
        twice: at least two multiples along each axis, for a network whose coarsest map would have a single cell on
            images that are common: an export cannot run on one.

    Example:
        >>> fit(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 2)[0, 0]
        tensor([[1., 2., 3., 3.],
                [1., 2., 3., 3.]])
        >>> fit(torch.ones(1, 1, 5, 7), 4, extra=1).shape
        torch.Size([1, 1, 5, 9])
        >>> [fit(torch.ones(1, 1, 5, size), 4, twice=True).shape[3] for size in (1, 4, 5, 8, 9)]
        [8, 8, 8, 8, 12]
    """
    height, width = x.shape[-2:]
    right, below = _missing(width, multiple, extra, twice), _missing(height, multiple, extra, twice)
    return F.pad(x, (0, right, 0, below), mode="replicate")


def _missing(size: int, multiple: int, extra: int, twice: bool) -> int:
    """Pixels that `fit` adds along an axis."""
    # Rounded up by a floor division: a symbolic remainder of a negative number is more than torch.compile can take.
    cells = (size - extra + multiple - 1) // multiple
    if twice:
        cells = cells + 2 * multiple // (size - extra + multiple)  # one more where it is one
    return cells * multiple + extra - size


def unfit(x: Float[Tensor, "B C H2 W2"], height: int, width: int) -> Float[Tensor, "B C H W"]:
    """Crop right and bottom to `height` and `width`: what takes back `fit`.

    Example:
        >>> unfit(fit(torch.ones(1, 1, 5, 7), 4), 5, 7).shape
        torch.Size([1, 1, 5, 7])
    """
    return F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]))


def unfit_grid(
    x: Float[Tensor, "B C h w"], height: int, width: int, grid: CellGrid | None
) -> Float[Tensor, "B C h2 w2"]:
    """What `unfit` does, on a coarser grid: the cells that stand on an image of `height` and `width`; all where None.

    A training output that still covered what `fit` added would have cells without a label.

    Example:
        >>> unfit_grid(torch.ones(1, 1, 8, 8), 33, 47, CellGrid.centred(8)).shape
        torch.Size([1, 1, 5, 6])
    """
    return x if grid is None else unfit(x, grid.cells(height), grid.cells(width))


def mirror(x: Float[Tensor, "B C H W"], left: int, right: int, top: int, bottom: int) -> Float[Tensor, "B C H2 W2"]:
    """Extend an image by its own reflection, the edge pixel not repeated; a margin may exceed the image.

    The reflection of n pixels has the period max(2 (n - 1), 1). `F.pad(mode="reflect")` refuses margins of n and more.

    Example:
        >>> mirror(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 4, 3, 0, 0)[0, 0]
        tensor([[1., 2., 3., 2., 1., 2., 3., 2., 1., 2.]])
    """
    rows = _reflection(x.shape[-2], top, bottom, x.device)
    columns = _reflection(x.shape[-1], left, right, x.device)
    return x.index_select(-2, rows).index_select(-1, columns)


def _reflection(size: int, before: int, after: int, device: torch.device) -> Tensor:
    """Where each position of the extended axis looks in the original one."""
    period = max(2 * (size - 1), 1)
    # Reflected about 0 first: inductor (torch 2.15) fails on the remainder of a negative number inside an index. By a
    # division, because the exporter to ONNX (torch 2.15) fails on the remainder by a size that is open.
    place = torch.arange(-before, size + after, device=device).abs()
    place = place - place // period * period
    return torch.minimum(place, period - place)


def resize(
    x: Float[Tensor, "B C H W"], size: tuple[int, int], *, align_corners: bool = False
) -> Float[Tensor, "B C H2 W2"]:
    """Bilinear interpolation to `size` (height, width); a map that has that size already comes back as it is.

    Example:
        >>> resize(torch.tensor([[[[0.0, 4.0]]]]), (1, 4))[0, 0]
        tensor([[0., 1., 3., 4.]])
    """
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)


def shrink(
    mask: Shaped[Tensor, "*B H W"], size: Sequence[int], grid: CellGrid | None = None
) -> Shaped[Tensor, "*B h w"]:
    """A mask, or a map of weights, on another grid: of each cell the pixel nearest to its centre, in exact integers.

    Args:
        mask: at the image's size.
        size: rows and columns of the other grid.
        grid: where its cells stand, the last at most half a cell beyond the image; evenly over the image where None.

    Example:
        >>> shrink(torch.tensor([[[0, 1, 2, 3, 4, 5]]]), (1, 2))
        tensor([[[1, 4]]])
        >>> shrink(torch.arange(17)[None, None], (1, 3), CellGrid.cornered(8))
        tensor([[[ 0,  8, 16]]])
    """
    for axis, target in zip((-2, -1), size, strict=True):
        source = mask.shape[axis]
        if source != target:
            stride, start = grid or CellGrid.centred(Fraction(source, target))
            # floor(start + i stride + 1/2)
            first, whole = start + Fraction(1, 2), lcm(start.denominator, stride.denominator, 2)
            cells = torch.arange(target, device=mask.device)
            pixels = (cells * int(stride * whole) + int(first * whole)) // whole
            mask = mask.index_select(axis, pixels.clamp(max=source - 1))
    return mask


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that trains on a batch of one.

    Where a channel has a single value its variance is zero and the batch says nothing: the running statistics are used
    instead, and left as they are. `nn.BatchNorm2d` raises there.

    Attributes:
        frozen: use the running statistics in training too, and leave them as they are.
    """

    frozen: bool = False

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Normalise with the batch in training, with the running statistics otherwise."""
        if self.training and (self.frozen or x.numel() == x.shape[1]):
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


def conv_bn_relu(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    *,
    stride: int = 1,
    dilation: int = 1,
    norm: type[nn.Module] = BatchNorm,
    act: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Convolution without bias, normalisation, activation; at stride 1 an odd kernel keeps height and width.

    The kernel starts Gaussian with variance 2 / (incoming connections), after He et al., ICCV 2015,
    https://arxiv.org/abs/1502.01852.

    Example:
        >>> conv_bn_relu(3, 8, dilation=2)(torch.ones(1, 3, 5, 7)).shape
        torch.Size([1, 8, 5, 7])
    """
    padding = dilation * (kernel_size - 1) // 2
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return nn.Sequential(conv, norm(out_channels), act())
