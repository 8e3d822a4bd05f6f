"""Which network: the candidates are tried on this machine, until one is too slow for the time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from atrous.analysis import activation_memory
from atrous.configure.facts import Facts
from atrous.configure.machine import Machine
from atrous.configure.network import (
    PIXELS_WANTED,
    STEPS_WANTED,
    Candidate,
    PickedNetwork,
    batch_for,
    candidates,
    crop_for,
    downscaled,
    factor_for,
    pick,
    quick_candidate,
)
from atrous.data import Folder
from atrous.errors import RecipeError
from atrous.models import create_model
from atrous.recipe import without_pretrained

__all__ = ["Pace", "pick_network"]

FEWEST_CROPS = 2
"""In a batch: batch normalisation needs several values, and one image says little of where to go."""
Pace = Callable[[Candidate, tuple[int, int], int], float]
"""Seconds of a training step of a network, at (height, width) of the crops and so many of them."""


def pick_network(
    folder: Folder, facts: Facts, machine: Machine, given: Mapping[str, Any], *, seconds: float, pace_of: Pace
) -> PickedNetwork:
    """Try the candidates, the cheapest first, until one is too slow for the time.

    Args:
        folder: the data.
        facts: of the data.
        machine: that trains.
        given: sections of a recipe that are given; what they say is not chosen.
        seconds: that the training may take.
        pace_of: measures a candidate.

    Raises:
        RecipeError: if the crop that is given is none.
    """
    data, wanted = given.get("data") or {}, given.get("model")
    factor = 1 if wanted else factor_for(facts)
    seen = downscaled(facts, factor)
    height, width = _sides(data.get("crop")) or tuple(factor * side for side in crop_for(seen, machine))
    inner = (-(-height // factor), -(-width // factor))  # what the network sees of a crop
    options = [Candidate(wanted, "as the command line says")] if wanted else candidates(seen, machine.device)
    tryout = _Tryout(folder, machine, (height, width), inner, factor, seen, data.get("batch_size"), pace_of)
    tried: list[tuple[Candidate, float, int]] = []
    for option in options:
        tried.append(tryout.run(option))
        _, pace, batch = tried[-1]
        if seconds / pace * batch * inner[0] * inner[1] < PIXELS_WANTED:
            break
    measured = [(candidate, pace, batch * inner[0] * inner[1]) for candidate, pace, batch in tried]
    at, words = pick(measured, seconds=seconds)
    option, (candidate, pace, batch), small = options[at], tried[at], False
    quick = None if wanted else quick_candidate(seen, machine.device)
    if quick is not None and seconds / pace < STEPS_WANTED:
        slow, option, (candidate, pace, batch) = candidate, quick, tryout.run(quick)
        words = f"{seconds / pace:.0f} steps in the time; {slow.words} would suit better, but take too few"
    if seconds / pace < STEPS_WANTED and batch > FEWEST_CROPS and not data.get("batch_size"):
        batch, small = max(int(batch * seconds / pace / STEPS_WANTED), FEWEST_CROPS), True
        _, pace, _ = tryout.run(option, batch)
        words = f"{seconds / pace:.0f} steps of small batches in the time"
    why, thin = f"{candidate.words}: {words}", facts.thinnest
    fine = not wanted and option.model["name"] != "unet"
    if fine and facts.apart:
        why += "; the borders between objects are a pixel wide, and would be lost on coarser maps"
    elif fine:
        why += f"; {thin.name}, {thin.width:.0f} pixels wide, would be lost on coarser maps"
    if factor > 1:
        why += f"; {thin.name}, {thin.width:.0f} pixels wide, is still seen in images {factor} times smaller"
    return PickedNetwork(candidate.model, why, (height, width), batch, pace, small)


@dataclass(frozen=True)
class _Tryout:
    """What all candidates are tried with."""

    folder: Folder
    machine: Machine
    crop: tuple[int, int]
    inner: tuple[int, int]
    factor: int
    seen: Facts
    given: int | None
    pace_of: Pace

    def run(self, option: Candidate, batch: int | None = None) -> tuple[Candidate, float, int]:
        """The candidate as it is trained, the seconds of its step, and the crops in a batch."""
        candidate = _behind(self.factor, option)
        memory = _activations(self.folder, candidate, self.crop)
        batch = batch or self.given or batch_for(self.seen, self.machine, self.inner, memory)
        return candidate, self.pace_of(candidate, self.crop, batch), batch


def _behind(factor: int, candidate: Candidate) -> Candidate:
    """A candidate for which so many pixels of the image, across and down, become one."""
    if factor == 1:
        return candidate
    model = {"name": "downscaled", "factor": factor, "network": candidate.model}
    return replace(candidate, model=model)


def _activations(folder: Folder, candidate: Candidate, crop: tuple[int, int]) -> int:
    """Bytes that one crop keeps for the way back."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        arguments = without_pretrained(candidate.model)
        model = create_model(num_classes=len(folder.classes.names), in_channels=folder.channels, **arguments)
        return activation_memory(model, crop, in_channels=folder.channels)


def _sides(crop: Any) -> tuple[int, int] | None:
    if crop is None:
        return None
    if isinstance(crop, int) and crop > 0:
        return crop, crop
    if isinstance(crop, list | tuple) and len(crop) == 2 and all(isinstance(side, int) and side > 0 for side in crop):
        return crop[0], crop[1]
    raise RecipeError(f"command line, data.crop: got {crop!r}, but a crop is a side in pixels, or [height, width].")
