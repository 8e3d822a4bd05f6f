"""Upsampling inside a network, and the ways in which an earlier map comes back.

Pooling keeps *what* and gives up *where*. These functions bring a coarse map back to a finer grid: by repeating, by
zeros, at remembered places, by a fixed interpolation, or by a learned filter. The numbers of the examples are those of
the lectures: [[1, 2], [3, 4]] becomes 4x4.

Four ways to bring back an earlier map: `skip` (U-Net), `shortcut` (FCN, ResNet, RefineNet), `gate` (attention-gated
U-Net), and its positions alone (`max_unpool`: SegNet, DeconvNet, ENet). All but the last keep the map itself in memory.

Sources: Zeiler, Taylor, Fergus, "Adaptive Deconvolutional Networks for Mid and High Level Feature Learning", ICCV 2011
(max pooling with switches); Long, Shelhamer, Darrell, CVPR 2015, https://arxiv.org/abs/1411.4038 (bilinear transposed
convolution); Odena, Dumoulin, Olah, "Deconvolution and Checkerboard Artifacts", Distill 2016,
https://distill.pub/2016/deconv-checkerboard.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = [
    "BilinearUpsample",
    "bed_of_nails",
    "bilinear_kernel",
    "cut",
    "gate",
    "max_pool",
    "max_unpool",
    "nearest_neighbour",
    "overlaps",
    "shortcut",
    "skip",
    "zeros_then_filter",
]


def nearest_neighbour(x: Float[Tensor, "B C H W"], factor: int = 2) -> Float[Tensor, "B C H2 W2"]:
    """Each value fills a cell of `factor` x `factor`: out[i, j] = x[i // factor, j // factor].

    Example:
        >>> nearest_neighbour(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))[0, 0]
        tensor([[1., 1., 2., 2.],
                [1., 1., 2., 2.],
                [3., 3., 4., 4.],
                [3., 3., 4., 4.]])
    """
    return F.interpolate(x, scale_factor=factor, mode="nearest")


def bed_of_nails(x: Float[Tensor, "B C H W"], factor: int = 2) -> Float[Tensor, "B C H2 W2"]:
    """Each value stands in the upper left corner of its cell among zeros: out[factor i, factor j] = x[i, j].

    Example:
        >>> bed_of_nails(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))[0, 0]
        tensor([[1., 0., 2., 0.],
                [0., 0., 0., 0.],
                [3., 0., 4., 0.],
                [0., 0., 0., 0.]])
    """
    batch, channels, height, width = x.shape
    # (B, C, H, W) -> (B, C, H, factor, W, factor)
    cells = F.pad(x[:, :, :, None, :, None], (0, factor - 1, 0, 0, 0, factor - 1))
    return cells.reshape(batch, channels, height * factor, width * factor)


def max_pool(
    x: Float[Tensor, "B C H W"], factor: int = 2
) -> tuple[Float[Tensor, "B C H2 W2"], Int[Tensor, "B C H2 W2"]]:
    """Max pooling that remembers: the largest value of each `factor` x `factor` cell, and where it stood.

    Maps of every size are pooled: the last cells are smaller where `factor` does not divide it, H2 = ceil(H / factor).

    Args:
        x: a map.
        factor: side and stride of the cells; they do not overlap.

    Returns:
        The pooled map, and the positions y * W + x in the map that was pooled ("switches" in DeconvNet, "indices" in
        SegNet). Of equal values the first in reading order is taken.

    Example:
        >>> x = torch.tensor([[[[1.0, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]]]])
        >>> pooled, positions = max_pool(x)
        >>> pooled[0, 0]
        tensor([[5., 6.],
                [7., 8.]])
        >>> [divmod(position, 4) for position in positions.flatten().tolist()]
        [(1, 1), (0, 2), (3, 0), (3, 3)]
    """
    return F.max_pool2d(x, factor, ceil_mode=True, return_indices=True)


def max_unpool(
    x: Float[Tensor, "B C H2 W2"], positions: Int[Tensor, "B C H2 W2"], size: tuple[int, int]
) -> Float[Tensor, "B C H W"]:
    """Put each value back where the largest of its cell stood, among zeros: out.flat[positions] = x.

    Args:
        x: a map of the pooled size.
        positions: from the `max_pool` that this mirrors.
        size: height and width of the map that was pooled; an odd size cannot be told from the pooled one.

    Example:
        >>> earlier = torch.tensor([[[[1.0, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]]]])
        >>> positions = max_pool(earlier)[1]
        >>> max_unpool(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), positions, (4, 4))[0, 0]
        tensor([[0., 0., 2., 0.],
                [0., 1., 0., 0.],
                [0., 0., 0., 0.],
                [3., 0., 0., 4.]])
    """
    # The operation itself: `F.max_unpool2d` asks for the pooling's kernel only to check the size by comparisons.
    return torch.ops.aten.max_unpool2d(x, positions, size)


def bilinear_kernel(size: int) -> Float[Tensor, "size size"]:
    """Interpolation as a filter: the outer product of w[i] = 1 - |i - c| / f with itself.

    f = (size + 1) // 2 is the factor, c = f - 1 the centre of an odd size and f - 0.5 that of an even one. For a factor
    f the transposed convolution has size 2 f - f % 2, stride f and padding ceil((f - 1) / 2).

    Example:
        >>> bilinear_kernel(4)[0] / bilinear_kernel(4)[0].sum() * 2
        tensor([0.2500, 0.7500, 0.7500, 0.2500])
        >>> bilinear_kernel(3)
        tensor([[0.2500, 0.5000, 0.2500],
                [0.5000, 1.0000, 0.5000],
                [0.2500, 0.5000, 0.2500]])
    """
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    line = 1 - (torch.arange(size) - centre).abs() / factor
    return torch.outer(line, line)


class BilinearUpsample(nn.Module):
    """Transposed convolution from each channel to itself that starts as bilinear interpolation, fixed or learned.

    The weight is that of the papers, (channels, channels, k, k) with the kernel on the diagonal and zeros beside it. A
    fixed one is run channel by channel, which gives the same numbers at a fraction of the multiplications.

    Args:
        channels: of the map, before and after.
        kernel_size: side of the kernel, by default 2 factor - factor % 2.
        factor: stride.
        padding: rows and columns taken off each side, by default ceil((factor - 1) / 2), which gives factor x size.
        learned: whether training changes the kernel, the zeros beside the diagonal too.

    Example:
        >>> BilinearUpsample(1, 2)(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))[0, 0, 1:3, 1:3]
        tensor([[1.7500, 2.2500],
                [2.7500, 3.2500]])
        >>> BilinearUpsample(21, 32, kernel_size=64, padding=0)(torch.ones(1, 21, 16, 16)).shape
        torch.Size([1, 21, 544, 544])
    """

    def __init__(
        self,
        channels: int,
        factor: int,
        *,
        kernel_size: int | None = None,
        padding: int | None = None,
        learned: bool = False,
    ) -> None:
        super().__init__()
        size = 2 * factor - factor % 2 if kernel_size is None else kernel_size
        self.factor = factor
        self.padding = factor // 2 if padding is None else padding  # factor // 2 = ceil((factor - 1) / 2)
        self.learned = learned
        self.weight = nn.Parameter(torch.zeros(channels, channels, size, size), requires_grad=learned)
        with torch.no_grad():
            self.weight.diagonal().copy_(bilinear_kernel(size)[..., None])

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H2 W2"]:
        """A map of (size - 1) factor + kernel_size - 2 padding pixels."""
        if self.learned:
            return F.conv_transpose2d(x, self.weight, None, self.factor, self.padding)
        # (C, C, k, k) -> (C, 1, k, k), by indices: OpenVINO's converter knows no `diagonal`
        channels = torch.arange(x.shape[1], device=x.device)
        kernels = self.weight[channels, channels][:, None]
        return F.conv_transpose2d(x, kernels, None, self.factor, self.padding, groups=x.shape[1])

    def extra_repr(self) -> str:
        """What `print` shows."""
        channels, _, size, _ = self.weight.shape
        return f"{channels}, factor={self.factor}, kernel_size={size}, padding={self.padding}, learned={self.learned}"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Refuse, for a fixed one, a kernel that joins channels: the forward would not see it."""
        weight = state_dict.get(f"{prefix}weight")
        if not self.learned and weight is not None and weight.ndim == 4 and weight.shape[0] == weight.shape[1]:
            beside = weight.abs().sum((2, 3)).fill_diagonal_(0)
            if beside.any():
                errors: list[str] = args[4]
                errors.append(f"{prefix}weight joins channels, but the up-sampling is fixed: build it as a learned one")
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def cut(x: Float[Tensor, "B C H W"], offset: int, like: Tensor) -> Float[Tensor, "B C H2 W2"]:
    """The part of a map that begins `offset` pixels inside and has the size of another: x[offset:offset + size].

    Args:
        x: an up-sampled map, larger than needed.
        offset: rows and columns taken off at the top and on the left.
        like: any map of the wanted height and width.

    Example:
        >>> cut(torch.arange(5.0)[None, None, None], 0, torch.zeros(1, 1, 1, 2))
        tensor([[[[0., 1.]]]])
        >>> cut(torch.zeros(1, 2, 34, 34), 5, torch.zeros(1, 7, 22, 23)).shape
        torch.Size([1, 2, 22, 23])
    """
    # A negative pad: a slice to the size of another map would be frozen when the model is exported.
    below, right = offset + like.shape[-2] - x.shape[-2], offset + like.shape[-1] - x.shape[-1]
    return F.pad(x, (-offset, right, -offset, below))


def zeros_then_filter(
    x: Float[Tensor, "B C H W"],
    weight: Float[Tensor, "C K k k"],
    stride: int = 2,
    padding: int = 1,
    output_padding: int = 1,
) -> Float[Tensor, "B K H2 W2"]:
    """Transposed convolution in the words of signal processing: insert zeros, then filter.

    Each value weighs a copy of the kernel, `stride` pixels from the last; where copies overlap they are summed. The
    same linear map is the transpose of the convolution with that stride and kernel, <conv(x), y> = <x, convT(y)>, which
    is its gradient. It is what `F.conv_transpose2d` computes without the zeros: other names are up-convolution and
    fractionally or backward strided convolution. H2 = (H - 1) stride - 2 padding + k + output_padding.

    Args:
        x: a map.
        weight: kernels in the order of `nn.ConvTranspose2d`: channels of `x` first.
        stride: output pixels per input pixel.
        padding: what the convolution that is transposed has, at most k - 1.
        output_padding: rows and columns more at the end, for the sizes that the convolution takes to one.

    Example:
        >>> x, weight = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), torch.ones(1, 1, 3, 3)
        >>> zeros_then_filter(x, weight)[0, 0]
        tensor([[ 1.,  3.,  2.,  2.],
                [ 4., 10.,  6.,  6.],
                [ 3.,  7.,  4.,  4.],
                [ 3.,  7.,  4.,  4.]])
        >>> torch.equal(zeros_then_filter(x, weight), F.conv_transpose2d(x, weight, None, 2, 1, 1))
        True
        >>> image = torch.zeros(1, 1, 4, 4)                         # the convolution that it transposes: 4x4 -> 2x2
        >>> F.conv2d(image, weight, None, 2, 1).shape, F.conv2d(image, weight, None, 1, 1).shape
        (torch.Size([1, 1, 2, 2]), torch.Size([1, 1, 4, 4]))
    """
    around = weight.shape[-1] - 1 - padding
    end = around + output_padding - (stride - 1)  # the last cell brings stride - 1 zeros of its own
    nails = F.pad(bed_of_nails(x, stride), (around, end, around, end))
    return F.conv2d(nails, weight.flip(2, 3).transpose(0, 1))


def overlaps(size: int, kernel_size: int, stride: int) -> Int[Tensor, " out"]:
    """How many copies of the kernel overlap at each output position of a transposed convolution, along one axis.

    A stride that divides the kernel gives one number everywhere but at the borders; any other gives a pattern that
    shows in the output as a checkerboard. In two dimensions the numbers of the axes are multiplied.

    Args:
        size: input positions.
        kernel_size: of the transposed convolution.
        stride: of the transposed convolution.

    Example:
        >>> overlaps(4, 3, 2)
        tensor([1, 1, 2, 1, 2, 1, 2, 1, 1])
        >>> overlaps(4, 4, 2)
        tensor([1, 1, 2, 2, 2, 2, 2, 2, 1, 1])
    """
    copies = F.conv_transpose1d(torch.ones(1, 1, size), torch.ones(1, 1, kernel_size), stride=stride)
    return copies.flatten().round().long()


def skip(x: Float[Tensor, "B C H W"], earlier: Float[Tensor, "B D H W"]) -> Float[Tensor, "B C_plus_D H W"]:
    """Concatenation with an earlier map, [x, earlier]: the next layer weighs both (U-Net).

    Example:
        >>> skip(torch.zeros(1, 2, 4, 4), torch.ones(1, 3, 4, 4)).shape
        torch.Size([1, 5, 4, 4])
    """
    return torch.cat([x, earlier], dim=1)


def shortcut(x: Float[Tensor, "B C H W"], earlier: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Sum with an earlier map, x + earlier: the gradient reaches it undiminished (FCN, ResNet, RefineNet, LinkNet).

    Example:
        >>> shortcut(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[3.0, 4.0]]]]))
        tensor([[[[4., 6.]]]])
    """
    return x + earlier


def gate(earlier: Float[Tensor, "B C H W"], logits: Float[Tensor, "B D H W"]) -> Float[Tensor, "B C H W"]:
    """Product of an earlier map with weights in 0..1, earlier * sigmoid(logits) (attention-gated U-Net).

    Args:
        earlier: a map.
        logits: one channel for all channels of the map, or one for each.

    Example:
        >>> gate(torch.tensor([[[[2.0, 2.0]]]]), torch.tensor([[[[0.0, 100.0]]]]))
        tensor([[[[1., 2.]]]])
    """
    return earlier * logits.sigmoid()
