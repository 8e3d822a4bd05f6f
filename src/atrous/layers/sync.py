"""Batch normalisation over the batches of all processes that train together, on any device.

torch's own `SyncBatchNorm` refuses processors. The mean and the variance of a channel come from sums over all
processes; their gradients flow back through the same sums, so that two processes with half a batch each compute what
one computes with the whole.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from atrous.layers.basic import BatchNorm

__all__ = ["SyncBatchNorm", "synchronized"]


class SyncBatchNorm(BatchNorm):
    """`BatchNorm` whose batch is that of all processes."""

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Normalise with the batches of all processes in training, with the running statistics otherwise."""
        if not self.training or self.frozen or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(x)
        exact, channels = x.float(), x.shape[1]
        here = torch.full((1,), x.numel() / channels, device=x.device)
        total, count = _sum(torch.cat([exact.sum((0, 2, 3)), here])).tensor_split([channels])
        mean = total / count
        # A second pass over the centred values: a difference of large sums would lose small variances.
        variance = _sum((exact - mean[:, None, None]).square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count.detach() / (count.detach() - 1).clamp_min(1))
        scale = torch.rsqrt(variance + self.eps)
        shift = -mean * scale
        if self.affine:
            scale, shift = scale * self.weight, shift * self.weight + self.bias
        return (exact * scale[:, None, None] + shift[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(variance.to(self.running_var), share)


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient."""

    @staticmethod
    def forward(context: object, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


def _sum(values: Tensor) -> Tensor:
    result: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return result


@contextmanager
def synchronized(model: nn.Module) -> Iterator[list[str]]:
    """Let the batch normalisations of a model see the batches of all processes, as long as the block runs.

    Their kind is exchanged in place, so that weights, names and optimisers stay what they were. Layers of another kind
    that normalise by their batch (such as those that timm fuses with an activation) are left alone.

    Yields:
        The names of those.
    """
    changed: dict[nn.Module, type[nn.Module]] = {}
    left = []
    for name, part in model.named_modules():
        if type(part) in (nn.BatchNorm2d, BatchNorm):
            changed[part] = type(part)
            part.__class__ = SyncBatchNorm
        elif isinstance(part, nn.BatchNorm2d):
            left.append(name)
    try:
        yield left
    finally:
        for part, kind in changed.items():
            part.__class__ = kind
