"""Ensemble: several networks look at the same image, and their probabilities are averaged.

Noh, Hong, Han, "Learning Deconvolution Network for Semantic Segmentation", ICCV 2015, https://arxiv.org/abs/1505.04366,
whose EDeconvNet is the mean of DeconvNet and FCN-8s. For networks that differ by their random start alone see
Lakshminarayanan, Pritzel, Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles", NIPS
2017, https://arxiv.org/abs/1612.01474.

As in the paper
    - The mean of the members' class probabilities, every member with the same weight; DeconvNet and FCN-8s by default.

Different from the paper
    - The authors' code multiplies scores, the text takes the mean of probabilities, as here.
    - Members see the whole image. DeconvNet's proposals are `atrous.inference.proposals`.
    - Any networks may be members, an ensemble among them; they are one network, which is exported, tiled and refined as
      one. Usually they are trained apart (`atrous train --folds 5`, `atrous ensemble`); all at once goes too.
    - In training each member's own logits are outputs as well, so that none of them leaves the work to the others.
"""

from collections.abc import Callable, Sequence
from math import lcm, log
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from annotated_types import MinLen
from jaxtyping import Float
from torch import Tensor, nn

from atrous.errors import ModelError
from atrous.models.base import DenseModel, Paper
from atrous.types import CellGrid, Outputs

__all__ = ["PAPERS", "Ensemble", "ensemble", "mean_binary_logits", "mean_logits"]

PAPERS = {
    "ensemble": Paper(
        year=2015,
        title="Learning Deconvolution Network for Semantic Segmentation (EDeconvNet)",
        url="https://arxiv.org/abs/1505.04366",
        idea="Networks that err differently are averaged: a deconvolution network and an FCN, or any others.",
        num_classes=21,
        facts=("mean of the class probabilities", "VOC 2012 test mean IoU 71.7 (DeconvNet alone 69.6), with CRF 72.5"),
    )
}

Members = Annotated[Sequence[DenseModel | str | dict[str, Any]], MinLen(1)]


def ensemble(
    num_classes: int,
    in_channels: int = 3,
    *,
    members: Members = ("deconvnet", "fcn8s"),
    probabilities: Literal["softmax", "sigmoid"] = "softmax",
) -> DenseModel:
    """The mean of the members' class probabilities.

    Args:
        num_classes: maps in `out`, at least 2.
        in_channels: channels of the image.
        members: names or sections such as `{name: unet, encoder: resnet34}`, which `create_model` builds; or models
            that are there already, trained or not.
        probabilities: of classes that exclude each other (softmax), or of each map by itself (sigmoid), as the task
            takes them.

    Raises:
        ModelError: if a member is not built, or of other classes or channels; or with less than two classes that
            exclude each other.
    """
    for number, member in enumerate(members):
        if not isinstance(member, DenseModel):
            raise ModelError(f"ensemble was handed the member {member!r}: build it by create_model, or give a model")
        if (member.num_classes, member.in_channels) != (num_classes, in_channels):
            raise ModelError(
                f"ensemble has {num_classes} classes and {in_channels} channels, its member {number} "
                f"{member.num_classes} and {member.in_channels}: give all the same"
            )
    if num_classes < 2 and probabilities == "softmax":
        raise ModelError("ensemble has 1 class: probabilities are averaged over classes, give at least 2")
    mean = mean_logits if probabilities == "softmax" else mean_binary_logits
    return Ensemble([member for member in members if isinstance(member, DenseModel)], mean)


class Ensemble(DenseModel):
    """Networks beside each other. Each normalises the image by its own mean and deviation.

    `mean` and `std` of the ensemble are the means of the members', which is what stands in for pixels without data.

    Args:
        members: networks of the same classes and channels.
        mean: makes one map of logits of those of the members.
    """

    def __init__(self, members: Sequence[DenseModel], mean: Callable[[Sequence[Tensor]], Tensor]) -> None:
        first = members[0]
        super().__init__(first.num_classes, first.in_channels, lcm(*(member.alignment for member in members)))
        self.members, self.mean_of = nn.ModuleList(members), mean
        grids: dict[str, CellGrid | None] = {}
        for number, member in enumerate(members):
            own = {f"member{number}.{name}": grid for name, grid in member.grids.items()}
            grids |= {f"member{number}": CellGrid.centred(1), **own}
        self.grids = grids
        self.mean.copy_(torch.stack([member.mean for member in members]).mean(0))
        self.std.copy_(torch.stack([member.std for member in members]).mean(0))

    def set_normalization(self, mean: Any, std: Any) -> None:
        """Set what is taken off and divided by, in every member, which is where it happens."""
        super().set_normalization(mean, std)
        for member in self.members:
            member.set_normalization(mean, std)  # type: ignore[operator]

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of the mean probabilities as `out`; in training also all that the members put out.

        Those of the first member are `member0`, and `member0.NAME` where it has auxiliary outputs.
        """
        found = [member(image) for member in self.members]
        outputs = {"out": self.mean_of([each["out"] for each in found])}
        if self.training:
            for number, each in enumerate(found):
                own = {name: f"member{number}" if name == "out" else f"member{number}.{name}" for name in each}
                outputs |= {own[name]: maps for name, maps in each.items()}
        return outputs


def mean_logits(logits: Sequence[Float[Tensor, "B K H W"]]) -> Float[Tensor, "B K H W"]:
    r"""Logits whose softmax is the mean of the members' softmaxes.

    .. math::
        \log \frac{1}{M} \sum_m \mathrm{softmax}(x_m) = \mathrm{logsumexp}_m \log\mathrm{softmax}(x_m) - \log M

    In this form no probability is so small that its logarithm is lost. Computed in float32.

    Example:
        >>> sure, unsure = torch.tensor([[[[20.0]], [[-20.0]]]]), torch.tensor([[[[0.0]], [[0.0]]]])
        >>> mean_logits([sure, unsure]).softmax(1).flatten()
        tensor([0.7500, 0.2500])
    """
    each = torch.stack([x.float().log_softmax(1) for x in logits])
    return each.logsumexp(0) - log(len(logits))


def mean_binary_logits(logits: Sequence[Float[Tensor, "B K H W"]]) -> Float[Tensor, "B K H W"]:
    r"""Logits whose sigmoid is the mean of the members' sigmoids.

    .. math::
        \log \frac{\sum_m \sigma(x_m)}{\sum_m \sigma(-x_m)}

    Computed in float32, by logarithms: no probability is so near to 0 or 1 that it is lost.

    Example:
        >>> sure, unsure = torch.tensor([[[[20.0]]]]), torch.tensor([[[[0.0]]]])
        >>> mean_binary_logits([sure, unsure]).sigmoid().flatten()
        tensor([0.7500])
    """
    each = torch.stack([x.float() for x in logits])
    return F.logsigmoid(each).logsumexp(0) - F.logsigmoid(-each).logsumexp(0)
