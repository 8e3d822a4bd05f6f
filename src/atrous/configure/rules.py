"""What follows from the facts, entry by entry, each with its reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atrous.configure.facts import Facts
from atrous.configure.machine import Machine
from atrous.configure.network import PickedNetwork
from atrous.tasks import TASKS, propose

__all__ = ["Choice", "choose"]

SELDOM = 0.02
"""A class with a smaller share of the pixels than this is looked for when crops are drawn."""
SMALL_CROP = 0.1
"""But only where a crop is less than this share of an image: larger ones show something anyhow."""
FEW = 12
"""Images, up to which folds are worth their time, and training images that are changed more."""
FOLDS = 5
STEPS_PER_FOLD = 1500
"""Fewer than this, and a fold's network would be worse than one network of all the time."""
ENCODER_RATE = "x0.3"
"""The rate of an encoder that starts from pretrained weights, against that of the rest."""
LONG = 4000
"""Steps from which the average of the weights may reach further back."""


@dataclass(frozen=True)
class Choice:
    """One entry of a recipe.

    Attributes:
        key: where it stands, such as "data.crop".
        value: plain YAML.
        why: the reason, from the data.
    """

    key: str
    value: Any
    why: str


def choose(facts: Facts, machine: Machine, network: PickedNetwork, *, steps: int, budget: str) -> tuple[Choice, ...]:
    """All entries of a recipe, in their order.

    Args:
        facts: of the data.
        machine: of the training.
        network: that was picked, with its crops.
        steps: that are expected in the time.
        budget: the time, as a recipe says it.
    """
    model, crop, batch = network.model, network.crop, network.batch
    side: Any = crop[0] if crop[0] == crop[1] else list(crop)
    height, width = facts.size
    whole, task = crop[0] >= height and crop[1] >= width, propose(facts)
    parts = [
        Choice("model", dict(model), network.why),
        Choice(
            "data.crop",
            side,
            f"{'whole images' if whole else 'crops from images'} of {height} x {width} pixels; {_widths(facts)}",
        ),
        Choice(
            "data.batch_size",
            batch,
            "few crops, so that there are more steps in so short a time"
            if network.small_batch
            else f"{batch * crop[0] * crop[1] / 1e6:.1f} megapixels per step fit in memory",
        ),
        _augment(facts, crop),
        Choice("task", task.section, task.why),
        _optimizer(model),
        Choice("schedule", {"name": "one_cycle"}, "the rate rises and falls once, however long the run is"),
        Choice(
            "training.budget", budget, f"about {steps} steps, {_passes(facts, crop, batch, steps)} on {machine.name}"
        ),
        Choice("training.clip", 5.0, "limits the effect of a single bad batch"),
        Choice(
            "training.ema",
            0.998 if steps >= LONG else 0.99,
            f"the average over about the last {500 if steps >= LONG else 100} steps is validated and kept",
        ),
    ]
    if facts.val and TASKS[task.section["name"]].exclusive:
        parts.append(_tune(facts))
    if facts.train * facts.size[0] * facts.size[1] * facts.channels < machine.memory // 20:
        parts.insert(3, Choice("data.cache", "memory", "the images are small enough to stay in memory, decoded"))
    return tuple(parts)


def folds(facts: Facts, *, steps: int, own_split: bool) -> int | None:
    """How many networks to train on other divisions of the images; None for one network.

    Few images leave a validation that says little, and folds use each image for both. They cost as many trainings.
    """
    enough = steps / FOLDS >= STEPS_PER_FOLD
    return FOLDS if not own_split and FOLDS <= facts.train + facts.val <= FEW and enough else None


def _augment(facts: Facts, crop: tuple[int, int]) -> Choice:
    """Transforms: what may change in pictures like these without changing what they show."""
    steps: list[dict[str, Any]] = []
    why: list[str] = []
    up, few = facts.upright, facts.train <= FEW
    if up:
        low = min(max(round(0.85 * min(crop) / max(min(facts.size), 1), 1), 0.5), 0.9)
        steps.append({"name": "random_scale", "low": low, "high": 1.2 if low < 0.8 else 1.4})
        why.append(f"top and bottom differ by {facts.vertical_asymmetry:.2f}: kept upright, scaled for near and far")
    else:
        steps.append({"name": "random_scale", "low": 0.7 if few else 0.8, "high": 1.4 if few else 1.25})
        why.append(f"top and bottom are alike (they differ by {facts.vertical_asymmetry:.2f}): rotated and mirrored")
    if few:
        why.append(f"{facts.train} images are few and easily memorised: strong augmentation")
    if not up and facts.channels == 1:
        steps.append({"name": "elastic", "sigma": 10})
        why.append("tissue deforms")
    if _seldom(facts, crop):
        name = facts.rarest.name
        background = max(range(len(facts.classes)), key=lambda k: facts.classes[k].share)
        side: Any = crop[0] if crop[0] == crop[1] else list(crop)
        steps.append({"name": "foreground_crop", "size": side, "p": 0.5, "background": background})
        rare = f"{name} is {facts.rarest.share:.1%} of the pixels"
        why.append(f"half of the crops are drawn so that they show an object: {rare}")
    if not up:
        steps += [{"name": "rotate90"}] if crop[0] == crop[1] else [{"name": "vertical_flip"}]
    steps.append({"name": "horizontal_flip"})
    if facts.channels == 3 and facts.dtype == "uint8":
        steps.append({"name": "color_jitter", **({"brightness": 0.4, "contrast": 0.4} if few else {})})
    else:
        steps.append({"name": "intensity"})
    return Choice("data.augment", steps, "; ".join(why))


def _tune(facts: Facts) -> Choice:
    """What is chosen by the validation images after the training."""
    if facts.upright and facts.channels == 3:
        return Choice("tune", ["crf", "min_size"], "photographs: colour edges are often object edges")
    return Choice("tune", ["min_size"], "the validation images decide how small a region may be")


def _seldom(facts: Facts, crop: tuple[int, int]) -> bool:
    """Whether crops at random would often show the commonest class alone."""
    common = max(each.share for each in facts.classes)
    small = crop[0] * crop[1] < SMALL_CROP * facts.size[0] * facts.size[1]
    return small and common > 0.9 and facts.rarest.share < SELDOM and not facts.overlapping


def _optimizer(model: Mapping[str, Any]) -> Choice:
    """AdamW; what has learnt from ImageNet moves more slowly than what has not learnt anything."""
    network = model["network"] if model["name"] == "downscaled" else model
    rate = 2.0e-3 if network["name"] == "attention_unet" else 1.5e-3
    section: dict[str, Any] = {"name": "adamw", "lr": rate, "weight_decay": 0.01}
    if network.get("pretrained", False) is False:
        return Choice("optimizer", section, "from random weights")
    section["groups"] = {"encoder": {"lr": ENCODER_RATE}}
    return Choice("optimizer", section, "the encoder starts from pretrained weights and moves more slowly")


def _widths(facts: Facts) -> str:
    thin = facts.thinnest
    return f"the narrowest parts, {thin.name}, are about {thin.width:.0f} pixels wide"


def _passes(facts: Facts, crop: tuple[int, int], batch: int, steps: int) -> str:
    area: Sequence[int] = facts.size
    passes = steps * batch * crop[0] * crop[1] / max(facts.train * area[0] * area[1], 1)
    return f"{passes:.0f} passes over all training pixels"
