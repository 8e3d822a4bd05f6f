"""A network that looks at a smaller image, and answers for every pixel of the large one.

No paper: what people do by hand with photographs that are larger than what they show needs, done inside the network, so
that training, tiles, evaluation, export and serving all take the images as they are. An image that is halved costs a
quarter of the work, and the same receptive field reaches twice as far.

The image is averaged over squares of `factor` x `factor` pixels (its right and lower border is repeated where the sides
are no multiples), the network inside sees the averages, and its logits are interpolated back.
"""

from typing import Annotated, Any

import torch.nn.functional as F
from annotated_types import Ge, Le
from jaxtyping import Float
from torch import Tensor

from atrous.errors import ModelError
from atrous.layers import fit, resize, unfit, unfit_grid
from atrous.models.base import DenseModel, NetworkSection
from atrous.types import Outputs

__all__ = ["Downscaled", "downscaled"]


def downscaled(
    num_classes: int,
    in_channels: int = 3,
    *,
    network: NetworkSection = "unet",
    factor: Annotated[int, Ge(2), Le(16)] = 2,
) -> DenseModel:
    """A network at a half, a third, ... of the size of its images.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        network: a name or a section such as `{name: unet, encoder: resnet18}`, which `create_model` builds; or a model
            that is there already.
        factor: how many pixels of the image, across and down, become one.

    Raises:
        ModelError: if the network is not built, or of other classes or channels.
    """
    if not isinstance(network, DenseModel):
        raise ModelError(f"downscaled was handed the network {network!r}: build it by create_model, or give a model")
    if (network.num_classes, network.in_channels) != (num_classes, in_channels):
        raise ModelError(
            f"downscaled has {num_classes} classes and {in_channels} channels, its network {network.num_classes} and "
            f"{network.in_channels}: give both the same"
        )
    return Downscaled(network, factor)


class Downscaled(DenseModel):
    """A network between an averaging and an interpolation. Auxiliary outputs are the network's own, on its grids.

    Args:
        network: sees the smaller image.
        factor: pixels that become one, across and down.
    """

    def __init__(self, network: DenseModel, factor: int) -> None:
        super().__init__(network.num_classes, network.in_channels, factor * network.alignment)
        self.network = network
        self.factor = factor
        self.grids = {name: grid and grid.within(factor) for name, grid in network.grids.items()}
        self.mean.copy_(network.mean)
        self.std.copy_(network.std)

    def set_normalization(self, mean: Any, std: Any) -> None:
        """Set what is taken off and divided by, here and in the network, which is where it happens."""
        super().set_normalization(mean, std)
        self.network.set_normalization(mean, std)

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel as `out`."""
        fitted = fit(image, self.factor)
        small = F.avg_pool2d(fitted.to(self.mean.dtype), self.factor)
        height, width = small.shape[-2:]
        if not self.training:  # two cells on the coarsest grid at least, because an export cannot run on a single one
            small = fit(small, 2 * self.network.alignment)
        outputs = self.network(small)
        logits = resize(unfit(outputs["out"], height, width), (fitted.shape[-2], fitted.shape[-1]))
        height, width = image.shape[-2:]
        found = {"out": unfit(logits, height, width)}
        for name, grid in self.grids.items() if self.training else ():
            found[name] = unfit_grid(outputs[name], height, width, grid)
        return found
