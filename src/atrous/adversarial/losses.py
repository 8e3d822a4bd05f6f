"""What a discriminator minimises, and what it tells the segmenter to minimise. All from logits.

With the logit `z`, the probability of being ground truth is `sigmoid(z)`, and the binary cross-entropies are
`-ln sigmoid(z)` against 1 and `-ln sigmoid(-z)` against 0: a softplus each, which neither overflows nor loses digits.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["SEGMENTER_LOSSES", "adversary_loss", "mean_probability", "modified", "original", "pix2pix_loss"]

Logits = Float[Tensor, "B 1 h w"]
Labelled = Bool[Tensor, "B 1 h w"]


def adversary_loss(real: Logits, fake: Logits, labelled: Labelled | None = None) -> Float[Tensor, ""]:
    r"""Ground truth is to be called 1 and outputs 0.

    .. math:: \frac{1}{N} \sum_i \ln(1 + e^{-z_i}) + \ln(1 + e^{z'_i})

    Args:
        real: logits `z` of ground truth, of any floating type.
        fake: logits `z'` of outputs.
        labelled: places that count; all where None.

    Returns:
        The sum of both means, in nats; 2 ln 2 for a discriminator that knows nothing, 0 where no place counts.

    Reference:
        Luc et al., 2016, https://arxiv.org/abs/1611.08408.

    Example:
        >>> adversary_loss(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))
        tensor(1.3863)
        >>> adversary_loss(torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), -2.0))    # twice ln(1 + e^-2)
        tensor(0.2539)
    """
    return _mean(F.softplus(-_exact(real)), labelled) + _mean(F.softplus(_exact(fake)), labelled)


def pix2pix_loss(real: Logits, fake: Logits, labelled: Labelled | None = None) -> Float[Tensor, ""]:
    """Half of `adversary_loss`: the mean over ground truth and outputs, as in pix2pix and in Hung et al.

    Example:
        >>> pix2pix_loss(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))
        tensor(0.6931)
    """
    return 0.5 * adversary_loss(real, fake, labelled)


def modified(fake: Logits, labelled: Labelled | None = None) -> Float[Tensor, ""]:
    r"""The segmenter's outputs are to be called 1: the form that does not saturate.

    .. math:: \frac{1}{N} \sum_i \ln(1 + e^{-z'_i})

    Its gradient by a logit is `sigmoid(z') - 1`: strong where the discriminator sees through the output.

    Args:
        fake: logits `z'` of outputs, of any floating type.
        labelled: places that count; all where None.

    Example:
        >>> modified(torch.full((1, 1, 1, 1), -2.0))
        tensor(2.1269)
    """
    return _mean(F.softplus(-_exact(fake)), labelled)


def original(fake: Logits, labelled: Labelled | None = None) -> Float[Tensor, ""]:
    r"""The discriminator is not to call the outputs 0: the game as it is derived, minus its cross-entropy.

    .. math:: -\frac{1}{N} \sum_i \ln(1 + e^{z'_i})

    Its gradient by a logit is `-sigmoid(z')`: it fades where the discriminator is sure, early in training.

    Args:
        fake: logits `z'` of outputs, of any floating type.
        labelled: places that count; all where None.

    Example:
        >>> original(torch.full((1, 1, 1, 1), -2.0))
        tensor(-0.1269)
    """
    return -_mean(F.softplus(_exact(fake)), labelled)


def mean_probability(logits: Logits, labelled: Labelled | None = None) -> Float[Tensor, ""]:
    """How likely ground truth the places are on average, 0..1.

    Example:
        >>> mean_probability(torch.zeros(2, 1, 1, 1))
        tensor(0.5000)
    """
    return _mean(_exact(logits).sigmoid(), labelled)


def _exact(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _mean(values: Tensor, labelled: Tensor | None) -> Tensor:
    """The mean over the places that count; 0 with a zero gradient where none does."""
    if labelled is None:
        return values.mean()
    return torch.where(labelled, values, 0.0).sum() / labelled.sum().clamp(min=1)


SEGMENTER_LOSSES: dict[str, Callable[..., Tensor]] = {"modified": modified, "original": original}
