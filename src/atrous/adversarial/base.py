"""What every discriminator promises."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from atrous.adversarial.losses import adversary_loss
from atrous.layers import fit

__all__ = ["Discriminator", "large_enough"]


class Discriminator(nn.Module):
    """Maps (B, C, H, W) become logits (B, 1, h, w): above 0 where they look like ground truth.

    Attributes:
        pixelwise: whether h and w are H and W, so that ignored pixels can be left out of the loss one by one.
        loss: what the discriminator minimises, from logits of ground truth, of outputs, and the places that count.
    """

    pixelwise: bool = False
    loss: Callable[..., Tensor] = staticmethod(adversary_loss)

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 h w"]:
        """Logits of being ground truth: of the whole, of patches or of pixels."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")


def large_enough(maps: Float[Tensor, "B C H W"], least: int) -> Float[Tensor, "B C H2 W2"]:
    """The maps, or where a side is below `least` both sides filled up to a multiple of it.

    Example:
        >>> import torch
        >>> large_enough(torch.ones(1, 1, 5, 9), 4).shape, large_enough(torch.ones(1, 1, 3, 9), 4).shape
        (torch.Size([1, 1, 5, 9]), torch.Size([1, 1, 4, 12]))
    """
    return maps if min(maps.shape[-2:]) >= least else fit(maps, least)
