"""Networks that learn to tell ground truth from a segmenter's output, what they look at, and what both sides minimise.

A discriminator looks at whole arrangements of labels, so its judgement is a loss on what a loss per pixel cannot see:
holes, ragged borders, parts that never occur side by side. It is needed in training only. `atrous.training.adversary`
sets it beside a segmenter.
"""

from collections.abc import Callable
from typing import NamedTuple

from atrous.adversarial.base import Discriminator
from atrous.adversarial.hung2018 import hung2018
from atrous.adversarial.inputs import INPUTS, InputForm
from atrous.adversarial.losses import SEGMENTER_LOSSES, adversary_loss, mean_probability, pix2pix_loss
from atrous.adversarial.luc2016 import large_fov, large_fov_light, small_fov, small_fov_light, two_branch
from atrous.adversarial.patchgan import patchgan

__all__ = [
    "DISCRIMINATORS",
    "INPUTS",
    "SEGMENTER_LOSSES",
    "USUAL",
    "Discriminator",
    "InputForm",
    "Usual",
    "adversary_loss",
    "mean_probability",
    "pix2pix_loss",
]

DISCRIMINATORS: dict[str, Callable[..., Discriminator]] = {
    "large_fov": large_fov,
    "large_fov_light": large_fov_light,
    "small_fov": small_fov,
    "small_fov_light": small_fov_light,
    "two_branch": two_branch,
    "hung2018": hung2018,
    "patchgan": patchgan,
}


class Usual(NamedTuple):
    """What a discriminator is given where a recipe does not say: a name in `INPUTS`, and image pixels per cell."""

    input: str
    stride: int


USUAL: dict[str, Usual] = {
    # Luc's segmenter gives one score for 8 x 8 pixels; at full resolution these networks are the costliest of all.
    "large_fov": Usual("product", 8),
    "large_fov_light": Usual("product", 8),
    "small_fov": Usual("product", 8),
    "small_fov_light": Usual("product", 8),
    "two_branch": Usual("conditioned", 8),
    "hung2018": Usual("basic", 1),
    "patchgan": Usual("conditioned", 1),
}
