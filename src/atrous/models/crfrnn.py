"""CRF-RNN: mean field in a fully connected CRF as layers of the network, learnt with it from end to end.

Zheng, Jayasumana, Romera-Paredes, Vineet, Su, Du, Huang, Torr, "Conditional Random Fields as Recurrent Neural
Networks", ICCV 2015, https://arxiv.org/abs/1502.03240.

As in the paper
    - One update is five layers: two Gaussian filters of the scores of all pixels (message passing), a weighting of the
      classes for each, a compatibility between classes, the addition of the network's logits, a softmax. The softmax
      of the last update is left to the loss.
    - Weights and compatibility are classes x classes matrices that all updates share; 1,323 numbers at 21 classes.
    - Bandwidths are fixed; 5 updates in training, 10 in evaluation; the network beneath is FCN-8s.

As in the authors' code
    - Filters run on the permutohedral lattice, divided by what they make of ones (`after`); a pixel hears itself.
    - Weights start at 3 and 5 times the identity; bandwidths are 3, and 160 with 3 for colours.

Different from them
    - Messages are added and the compatibility starts at the identity, where Caffe has them subtracted and starts at its
      negative: the same arithmetic.
    - Colours are the image's own numbers, RGB, not padded; the code takes a padded BGR image less its mean, which moves
      the lattice and nothing else.
    - Any network stands beneath, batches have any size, lattices are built once for an image, and the GPU has them too.
"""

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from jaxtyping import Float
from torch import Tensor, nn

from atrous.crf.unrolled import unroll
from atrous.errors import ModelError
from atrous.models.base import DenseModel, NetworkSection, Paper
from atrous.types import Outputs

__all__ = ["CRFRNN", "PAPERS", "MeanFieldLayer", "crfrnn"]

PAPERS = {
    "crfrnn": Paper(
        year=2015,
        title="Conditional Random Fields as Recurrent Neural Networks",
        url="https://arxiv.org/abs/1502.03240",
        idea="The refinement of a fully connected CRF is written as layers, and trained with the network beneath it.",
        parameters=134_489_759 + 3 * 21 * 21,
        facts=(
            "5 mean-field updates in training, 10 at test",
            "VOC 2012 reduced val mean IoU 69.6 (FCN-8s alone 61.3, CRF put on afterwards 63.7)",
            "VOC 2012 test 72.0, with COCO 74.7",
        ),
    )
}

Bandwidth = Annotated[float, Gt(0)]


def crfrnn(
    num_classes: int,
    in_channels: int = 3,
    *,
    network: NetworkSection = "fcn8s",
    iterations: Annotated[int, Ge(1)] = 5,
    test_iterations: Annotated[int, Ge(1)] = 10,
    weights: tuple[float, float] = (3.0, 5.0),
    gamma: Bandwidth = 3.0,
    alpha: Bandwidth = 160.0,
    beta: Bandwidth = 3.0,
) -> DenseModel:
    """A CRF, unrolled, on top of any network.

    Args:
        num_classes: maps in `out`, at least 2.
        in_channels: channels of the image.
        network: a name or a section such as `{name: fcn8s, fc_width: 512}`, which `create_model` builds; or a model
            that is there already, trained or not.
        iterations: updates in training.
        test_iterations: updates in evaluation.
        weights: of the spatial and the bilateral messages, before training.
        gamma: standard deviation of the spatial filter, in pixels.
        alpha: standard deviation of the bilateral filter's positions, in pixels.
        beta: and of its colours, in the image's own numbers. 3 is meant for 0..255; the like for 16 bits is 771, for
            floats in 0..1 it is 0.0118.

    Raises:
        ModelError: if the network is not built, or of other classes or channels; or with less than two classes.
    """
    if not isinstance(network, DenseModel):
        raise ModelError(f"crfrnn was handed the network {network!r}: build it by create_model, or give a model")
    if (network.num_classes, network.in_channels) != (num_classes, in_channels):
        raise ModelError(
            f"crfrnn has {num_classes} classes and {in_channels} channels, its network {network.num_classes} and "
            f"{network.in_channels}: give both the same"
        )
    if num_classes < 2:
        raise ModelError("crfrnn has 1 class: a CRF weighs classes against each other, give at least 2")
    crf = MeanFieldLayer(num_classes, weights=weights, gamma=gamma, alpha=alpha, beta=beta)
    return CRFRNN(network, crf, iterations=iterations, test_iterations=test_iterations)


class CRFRNN(DenseModel):
    """A network and the mean field on its logits. Auxiliary outputs are the network's own.

    Args:
        network: gives the logits.
        crf: refines them.
        iterations: updates in training.
        test_iterations: updates in evaluation.
    """

    def __init__(self, network: DenseModel, crf: "MeanFieldLayer", *, iterations: int, test_iterations: int) -> None:
        super().__init__(network.num_classes, network.in_channels, network.alignment)
        self.network = network
        self.crf = crf
        self.grids = network.grids
        self.iterations = iterations
        self.test_iterations = test_iterations
        self.mean.copy_(network.mean)
        self.std.copy_(network.std)

    def set_normalization(self, mean: Any, std: Any) -> None:
        """Set what is taken off and divided by, here and in the network, which is where it happens."""
        super().set_normalization(mean, std)
        self.network.set_normalization(mean, std)

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Refined logits of every pixel as `out`."""
        outputs = self.network(image)
        iterations = self.iterations if self.training else self.test_iterations
        return {**outputs, "out": self.crf(outputs["out"], image, iterations)}


class MeanFieldLayer(nn.Module):
    """Updates of mean field, in float32 whatever autocast says.

    Args:
        num_classes: K.
        weights: of the spatial and the bilateral messages.
        gamma: standard deviation of the spatial filter, in pixels.
        alpha: standard deviation of the bilateral filter's positions, in pixels.
        beta: and of its colours, in the image's own numbers.
    """

    def __init__(
        self, num_classes: int, *, weights: tuple[float, float], gamma: float, alpha: float, beta: float
    ) -> None:
        super().__init__()
        self.spatial = ClassMixing(num_classes, weights[0])
        self.bilateral = ClassMixing(num_classes, weights[1])
        self.compatibility = ClassMixing(num_classes, 1.0)
        self.gamma, self.alpha, self.beta = gamma, alpha, beta

    def forward(
        self, logits: Float[Tensor, "B K H W"], image: Float[Tensor, "B C H W"], iterations: int
    ) -> Float[Tensor, "B K H W"]:
        """Logits after so many updates."""
        colours = image.float() / self.beta
        return unroll(logits, colours, self._mix, gamma=self.gamma, alpha=self.alpha, iterations=iterations)

    def _mix(self, spatial: Float[Tensor, "B H W K"], bilateral: Float[Tensor, "B H W K"]) -> Float[Tensor, "B H W K"]:
        """Weigh the messages of both filters, and say what they mean for every class."""
        weighed: Tensor = self.compatibility(self.spatial(spatial) + self.bilateral(bilateral))
        return weighed


class ClassMixing(nn.Module):
    """A matrix on the classes of each pixel, the paper's 1x1 convolution; it starts at a multiple of the identity."""

    def __init__(self, num_classes: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(scale * torch.eye(num_classes))

    def forward(self, maps: Float[Tensor, "B H W K"]) -> Float[Tensor, "B H W K"]:
        return F.linear(maps, self.weight.to(maps.dtype))
