"""Which network: candidates for the kind of objects, and the richest of them that the time is enough for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from atrous.configure.facts import Facts
from atrous.configure.machine import Machine

__all__ = [
    "Candidate",
    "PickedNetwork",
    "batch_for",
    "candidates",
    "crop_for",
    "downscaled",
    "factor_for",
    "pick",
    "quick_candidate",
]

THIN = 9.0
"""Parts narrower than this many pixels are lost by a network whose finest joined map has half the resolution."""
PIXELS_WANTED = 2e9
"""Training pixels that a network should see at least, for its width to pay: about 30,000 crops of 256 pixels."""
NARROW = 6.0
"""Images are made smaller as long as their narrowest parts keep this many pixels of width."""
LEAST_SIDE = 256
"""And as long as their shorter side keeps this many."""
STEPS_WANTED = 300
"""With fewer steps than this a network is not trained, however well it would suit: another one, or smaller batches."""
FACTORS = (8, 4, 3, 2)
MEMORY_SHARE = 0.5
"""Of the free memory, at most this much for one training step."""
WORKING = 3.0
"""A step's peak against the activations that it keeps: gradients, work space, the optimiser's state."""


@dataclass(frozen=True)
class Candidate:
    """A network that might do.

    Attributes:
        model: its section in a recipe.
        words: what it is, for people.
    """

    model: Mapping[str, Any]
    words: str


@dataclass(frozen=True)
class PickedNetwork:
    """The network that was picked, and what it needs.

    Attributes:
        model: its section in a recipe.
        why: this one.
        crop: height and width.
        batch: crops in a batch.
        pace: seconds of a step.
        small_batch: whether the batch was made smaller than it could be, so that there are more steps.
    """

    model: Mapping[str, Any]
    why: str
    crop: tuple[int, int]
    batch: int
    pace: float
    small_batch: bool = False


def candidates(facts: Facts, device: str = "cpu") -> list[Candidate]:
    """Networks for these images, the cheapest first.

    Encoders made for classification begin by halving the image twice and spend their time on coarse maps: much for
    little time, and they start from ImageNet. Where what is sought is only a few pixels wide, networks that keep the
    full resolution see it better: in grey pictures, of microscopes and scanners, from the first minutes on. In colour
    ones, where what a thing is shows in its wide surroundings, they need the hours of an accelerator to overtake.

    Args:
        facts: of the data.
        device: cpu, cuda or mps.
    """
    if facts.thinnest.width >= THIN and not facts.apart:
        return [_PRETRAINED] if device == "cpu" else [_PRETRAINED, _ON_RESNET]
    fine = [
        Candidate(
            {"name": "attention_unet", "width": width},
            f"a U-Net with gates that keeps the full resolution, {width} channels wide",
        )
        for width in (16, 32)
    ]
    if facts.channels < 3 or facts.apart:
        return fine
    return [_PRETRAINED] if device == "cpu" else [_PRETRAINED, *fine]


def quick_candidate(facts: Facts, device: str = "cpu") -> Candidate | None:
    """A network that may do where the candidates are all too slow for the time; None where it is one of them."""
    return _PRETRAINED if _PRETRAINED not in candidates(facts, device) else None


_PRETRAINED = Candidate(
    {"name": "unet", "encoder": "tf_efficientnet_lite0", "pretrained": "auto"},
    "a U-Net on EfficientNet-Lite0, which starts from ImageNet",
)
_ON_RESNET = Candidate({"name": "unet", "encoder": "resnet34", "pretrained": "auto"}, "a U-Net on a ResNet-34")


def factor_for(facts: Facts) -> int:
    """How many pixels, across and down, may become one before the network: 1 where the images are seen as they are.

    What is wide enough to be seen in a smaller image is found there in less time, and with more around it.
    """
    if facts.apart:  # the border between two objects is as narrow as it was
        return 1
    fits = (f for f in FACTORS if facts.thinnest.width / f >= NARROW and min(facts.size) / f >= LEAST_SIDE)
    return next(fits, 1)


def downscaled(facts: Facts, factor: int) -> Facts:
    """The facts as a network sees them for which so many pixels become one, across and down."""
    classes = tuple(replace(each, width=each.width / factor) for each in facts.classes)
    return replace(facts, size=(-(-facts.size[0] // factor), -(-facts.size[1] // factor)), classes=classes)


def crop_for(facts: Facts, machine: Machine) -> tuple[int, int]:
    """Height and width of the crops: whole images where they are small, else room for several objects.

    A crop shows at least about eight widths of what is widest besides the commonest class; more costs time that many
    different crops use better, which on a processor is scarce.
    """
    commonest = max(facts.classes, key=lambda each: each.share)
    widest = max((each.width for each in facts.classes if each is not commonest), default=0.0)
    least, most = (192, 320) if machine.device == "cpu" else (256, 512)
    side = min(max(round(8 * widest / 32) * 32, 256), most)
    height, width = (min(side, _multiple(length)) for length in facts.size)
    if max(facts.size) <= most:  # the whole image
        height, width = (_multiple(length) for length in facts.size)
    return max(height, min(least, _multiple(facts.size[0]))), max(width, min(least, _multiple(facts.size[1])))


def batch_for(facts: Facts, machine: Machine, crop: tuple[int, int], memory: int) -> int:
    """Crops in a batch: about as many pixels as eight crops of 256 have, fewer where the memory is short.

    Args:
        facts: of the data.
        machine: of the training.
        crop: height and width.
        memory: bytes that one crop keeps between forward and backward.
    """
    wanted = 8 * 256 * 256 if machine.device == "cpu" else 16 * 256 * 256
    most = int(MEMORY_SHARE * machine.memory / max(WORKING * memory, 1))
    batch = min(round(wanted / (crop[0] * crop[1])), most, max(2 * facts.train, 2), 32)
    return max(batch, 1)


def pick(
    measured: Sequence[tuple[Candidate, float, int]], *, seconds: float, fewest: float = PIXELS_WANTED
) -> tuple[int, str]:
    """The richest network that still sees enough pixels in the time, and why.

    Args:
        measured: candidates, the cheapest first, with the seconds of a step and the pixels of its batch.
        seconds: that there are to train.
        fewest: pixels that it should see.

    Returns:
        Its position, and a reason in words.

    Example:
        >>> small, large = Candidate({"name": "unet"}, "small"), Candidate({"name": "hrnet"}, "large")
        >>> pick([(small, 0.1, 1000), (large, 1.0, 1000)], seconds=100, fewest=5e5)
        (0, '1000 steps in the time; large would take 100')
        >>> pick([(small, 0.1, 1000), (large, 1.0, 1000)], seconds=600, fewest=5e5)
        (1, '600 steps in the time')
    """
    enough = [at for at, (_, pace, pixels) in enumerate(measured) if seconds / pace * pixels >= fewest]
    chosen = max(enough, default=0)
    words = f"{seconds / measured[chosen][1]:.0f} steps in the time"
    if chosen + 1 < len(measured):
        richer, pace, _ = measured[chosen + 1]
        words += f"; {richer.words} would take {seconds / pace:.0f}"
    return chosen, words


def _multiple(length: int) -> int:
    """The next multiple of 32."""
    return -(-length // 32) * 32
