"""The boundary loss: how far from the true boundary a network's probability lies, on either side."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from atrous.errors import UsageError
from atrous.losses.base import softmax_probabilities
from atrous.types import IGNORE_INDEX

__all__ = ["boundary_loss", "signed_distances"]


def boundary_loss(
    logits: Float[Tensor, "B K H W"],
    mask: Integer[Tensor, "B H W"],
    *,
    ignore_index: int = IGNORE_INDEX,
    classes: Sequence[int] | None = None,
) -> Float[Tensor, ""]:
    r"""The mean of probability times signed distance to the true boundary, over labelled pixels and classes.

    .. math:: \frac{1}{n |C|} \sum_{k \in C} \sum_i \varphi_{ik} p_{ik}

    with :math:`\varphi` of `signed_distances`: probability far outside costs much, and inside it earns. The loss is
    therefore below 0 where the network is right, and least where it is the truth. It says little about objects that
    are missed altogether, so it stands beside a loss of regions and grows over the run, as the paper's does:
    `loss: [dice, {name: boundary, weight: [0, 1]}]`.

    The distances are computed from the mask on the CPU, with two exact transforms for each class in each image: about
    1 ms each for 256 x 256 pixels, in time linear in the pixels. A mask on an accelerator is waited for.

    Args:
        logits: unnormalised scores of any floating type; their softmax `p` is computed in float32 at least.
        mask: class of every pixel, 0 to K - 1, or `ignore_index`.
        ignore_index: pixels of this value count neither above nor below the line, nor does a boundary run along them.
        classes: C above; all classes where None. The authors leave the background out. With it, two classes see their
            distances from the boundary itself instead of the outermost pixels of the foreground, half a pixel inwards.

    Returns:
        The loss in pixels; 0 with a zero gradient if no pixel is labelled.

    Raises:
        UsageError: if one of `classes` is not 0 to K - 1.

    Reference:
        Kervadec et al., MIDL 2019, https://arxiv.org/abs/1812.07032.

    Example:
        >>> mask = torch.tensor([[[0, 0, 1, 1, 1]]])
        >>> signed_distances(mask, 2)[0, 1, 0]
        tensor([ 2.,  1.,  0., -1., -2.])
        >>> boundary_loss(torch.zeros(1, 2, 1, 5), mask, classes=[1])         # 1/2 everywhere: .5 * (2 + 1 - 1 - 2) / 5
        tensor(0.)
        >>> right = torch.tensor([[9.0, 9.0, -9.0, -9.0, -9.0], [0.0] * 5])[None, :, None]
        >>> boundary_loss(right, mask, classes=[1])                           # (-1 - 2) / 5
        tensor(-0.5999)
    """
    K = logits.shape[1]
    chosen = list(range(K)) if classes is None else list(classes)
    if not chosen or not set(chosen) <= set(range(K)):
        raise UsageError(
            f"boundary_loss: classes is {chosen}, but it names some of the classes 0 to {K - 1}; change it."
        )
    probability, _ = softmax_probabilities(logits, mask, ignore_index)
    if classes is not None:
        probability = probability[:, chosen]
    distances = _distances(mask, chosen, ignore_index).to(probability)
    return (distances * probability).sum() / ((mask != ignore_index).sum().clamp(min=1) * len(chosen))


def signed_distances(
    mask: Integer[Tensor, "B H W"], num_classes: int, *, ignore_index: int = IGNORE_INDEX
) -> Float[Tensor, "B K H W"]:
    """Distance of every pixel to the boundary of every class, in pixels: above 0 outside, at most 0 inside.

    Outside, it is the distance to the nearest pixel of the class; inside, 1 less the distance to the nearest labelled
    pixel of another, so that the outermost pixels of the class have 0. A class that an image has not, or has nothing
    else than, has no boundary there and distance 0 everywhere.

    Args:
        mask: class of every pixel, 0 to K - 1, or `ignore_index`.
        num_classes: K.
        ignore_index: pixels that belong to no class and bound none.

    Returns:
        Float32 on the device of the mask.

    Example:
        >>> mask = torch.zeros(1, 5, 5, dtype=torch.uint8)
        >>> mask[:, 1:4, 1:4] = 1
        >>> signed_distances(mask, 2)[0, 1, :3]
        tensor([[ 1.4142,  1.0000,  1.0000,  1.0000,  1.4142],
                [ 1.0000,  0.0000,  0.0000,  0.0000,  1.0000],
                [ 1.0000,  0.0000, -1.0000,  0.0000,  1.0000]])
    """
    return _distances(mask, range(num_classes), ignore_index)


def _distances(mask: Integer[Tensor, "B H W"], classes: Sequence[int], ignore_index: int) -> Float[Tensor, "B C H W"]:

    labels = mask.detach().cpu().numpy()
    result = np.zeros((len(labels), len(classes), *labels.shape[1:]), np.float32)
    for image, maps in zip(labels, result, strict=True):
        for k, distance in zip(classes, maps, strict=True):
            inside = (image == k) & (image != ignore_index)
            outside = (image != k) & (image != ignore_index)
            if not inside.any() or not outside.any():
                continue
            # The transform is the distance to the nearest 0.
            away, deep = (
                cv2.distanceTransform((~others).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
                for others in (inside, outside)
            )
            np.copyto(distance, np.where(inside, 1 - deep, away))
    return torch.from_numpy(result).to(mask.device)
