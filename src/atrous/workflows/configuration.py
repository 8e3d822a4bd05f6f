"""A recipe from the data and the machine, where none is named: `atrous train DATA` writes it and follows it."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atrous.errors import AtrousError, RecipeError

if TYPE_CHECKING:
    from atrous.configure import Candidate, Choice, Facts, Machine
    from atrous.data import Folder
    from atrous.recipe import Recipe

__all__ = ["DEFAULT_BUDGET", "Configured", "configure"]

DEFAULT_BUDGET = {"cpu": 1800.0, "cuda": 600.0, "mps": 1200.0}
"""Seconds to train for where nobody says how long."""
SPARE = 0.02
"""Share of the time that choosing after the training takes."""


@dataclass(frozen=True)
class Configured:
    """What was found and chosen.

    Attributes:
        recipe: with the reasons in its text.
        folds: networks to train, or None for one.
        seconds: that all of it may take.
    """

    recipe: "Recipe"
    folds: int | None
    seconds: float


def configure(
    data: str | Path,
    *,
    overrides: Sequence[str] = (),
    budget: float | None = None,
    classes: str | Path | None = None,
) -> Configured:
    """Look at a folder, try how fast the machine is, and write a recipe that says why.

    The time that this takes is taken from the budget.

    Args:
        data: a data folder.
        overrides: "KEY=VALUE" entries that replace what would have been chosen.
        budget: seconds that the training may take; half an hour on a processor where None, ten minutes on a CUDA
            device.
        classes: a classes.yaml to use instead of the folder's own.

    Raises:
        DataError: if the folder has an error.
        RecipeError: if an override does not fit.
    """
    from atrous.configure import choose, describe, look
    from atrous.configure.rules import folds
    from atrous.data import open_folder

    begin = time.perf_counter()
    counted = {"training.max_steps", "training.max_epochs"} & set(_keys(overrides))
    if budget is None and counted:
        overrides = [*overrides, "training.budget=null"]  # who counts steps does not count minutes
    given = _given(overrides)
    options = {key: value for key, value in (given.get("data") or {}).items() if key in ("val_fraction", "layout")}
    seed = int(given.get("seed") or 0)
    folder = open_folder(data, classes=classes, seed=seed, **options)
    device = (given.get("training") or {}).get("device", "auto")
    machine, facts = describe(device), look(folder)
    seconds = budget or DEFAULT_BUDGET[machine.device]
    network = _network(folder, facts, machine, given, seconds)
    usable = max((seconds - (time.perf_counter() - begin)) * (1 - SPARE), seconds / 2)
    choices = choose(
        facts,
        machine,
        model=network.model,
        model_why=network.why,
        crop=network.crop,
        batch=network.batch,
        steps=int(usable / network.pace),
        budget=f"{usable:.0f}s",
    )
    recipe = _recipe(choices, _head(folder, facts, budget, seconds), overrides, seed)
    count = None
    if not counted:  # who says how many steps means those of one network
        count = folds(facts, steps=int(usable / network.pace), own_split=_own_split(data, classes, options))
    _tell(recipe, time.perf_counter() - begin)
    return Configured(recipe, count, seconds)


@dataclass(frozen=True)
class _Network:
    """The network that was picked, and what it needs."""

    model: Mapping[str, Any]
    why: str
    crop: tuple[int, int]
    batch: int
    pace: float


def _network(
    folder: "Folder", facts: "Facts", machine: "Machine", given: Mapping[str, Any], seconds: float
) -> _Network:
    """Try the candidates, the cheapest first, until one is too slow for the time."""
    from atrous.configure import Candidate, candidates, pick
    from atrous.configure.network import PIXELS_WANTED, batch_for, crop_for, downscaled, factor_for

    data, wanted = given.get("data") or {}, given.get("model")
    factor = 1 if wanted else factor_for(facts)
    seen = downscaled(facts, factor)
    height, width = _sides(data.get("crop")) or tuple(factor * side for side in crop_for(seen, machine))
    inner = (-(-height // factor), -(-width // factor))  # what the network sees of a crop
    options = [Candidate(wanted, "as the command line says")] if wanted else candidates(seen)
    tried: list[tuple[Candidate, float, int]] = []
    for option in options:
        candidate = _behind(factor, option)
        memory = _activations(folder, candidate, (height, width))
        batch = data.get("batch_size") or batch_for(seen, machine, inner, memory)
        pace = _pace(folder, facts, candidate, (height, width), batch)
        tried.append((candidate, pace, batch))
        if seconds / pace * batch * inner[0] * inner[1] < PIXELS_WANTED:
            break
    measured = [(candidate, pace, batch * inner[0] * inner[1]) for candidate, pace, batch in tried]
    at, words = pick(measured, seconds=seconds)
    candidate, pace, batch = tried[at]
    why, thin = f"{candidate.words}: {words}", facts.thinnest
    if not wanted and facts.apart:
        why += "; the borders between objects are a pixel wide, and would be lost on coarser maps"
    elif not wanted and options[at].model["name"] != "unet":
        why += f"; {thin.name}, {thin.width:.0f} pixels wide, would be lost on coarser maps"
    if factor > 1:
        why += f"; {thin.name}, {thin.width:.0f} pixels wide, is still seen in images {factor} times smaller"
    return _Network(candidate.model, why, (height, width), batch, pace)


def _behind(factor: int, candidate: "Candidate") -> "Candidate":
    """A candidate for which so many pixels of the image, across and down, become one."""
    if factor == 1:
        return candidate
    model = {"name": "downscaled", "factor": factor, "network": candidate.model}
    return replace(candidate, model=model)


def _activations(folder: "Folder", candidate: "Candidate", crop: tuple[int, int]) -> int:
    """Bytes that one crop keeps for the way back."""
    import torch

    from atrous.analysis import activation_memory
    from atrous.models import create_model

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = create_model(num_classes=len(folder.classes.names), in_channels=folder.channels, **candidate.model)
        return activation_memory(model, crop, in_channels=folder.channels)


def _pace(folder: "Folder", facts: "Facts", candidate: "Candidate", crop: tuple[int, int], batch: int) -> float:
    """Seconds of a training step of the task that the data asks for."""
    import torch

    from atrous.models import create_model
    from atrous.recipe import make_recipe
    from atrous.tasks import build_task, propose
    from atrous.training.budget import measure_pace
    from atrous.training.fitting import make_plan

    pixels = [round(each.share * 1_000_000) for each in facts.classes]  # weights by class cost what they cost
    counts = {"pixels": pixels, "totals": [sum(pixels)] * len(pixels)}
    task = build_task(propose(facts).section, len(folder.classes.names), frequencies=counts)
    with torch.random.fork_rng(devices=[]):
        model = create_model(num_classes=task.num_classes, in_channels=folder.channels, **candidate.model)
    values = {"model": dict(candidate.model), "data": {"crop": list(crop), "batch_size": batch}}
    recipe = make_recipe(values, source="the recipe that is being tried")
    return measure_pace(make_plan(model, task, folder, recipe))[0]


def _recipe(choices: "Sequence[Choice]", head: Sequence[str], overrides: Sequence[str], seed: int) -> "Recipe":
    """The recipe with its text; what the command line says takes the place of what was chosen."""
    from atrous.configure import Choice, to_yaml, values
    from atrous.recipe import make_recipe

    recipe = make_recipe(values(choices, seed), source="the recipe for this data", overrides=overrides)
    parts = {choice.key.partition(".")[0] for choice in choices if "." in choice.key}
    asked = {".".join(key.split(".")[: 1 + (key.split(".")[0] in parts)]) for key in _keys(overrides)}
    whole = {choice.key for choice in choices}
    for key in sorted(asked - whole):  # a section that is given as a whole counts for each of its entries
        section = recipe.section(key)
        if key in parts and isinstance(section, Mapping):
            asked |= {f"{key}.{inner}" for inner in section}
    kept = []
    for key in [*(choice.key for choice in choices), *sorted(asked - whole - parts - {"seed"})]:
        section, _, inner = key.partition(".")
        value = recipe.section(section)
        value = value.get(inner) if inner and isinstance(value, Mapping) else value
        why = next(
            (choice.why for choice in choices if choice.key == key and key not in asked), "as the command line says"
        )
        if value is not None or key in asked:
            kept.append(Choice(key, value, why))
    order = list(dict.fromkeys(choice.key.partition(".")[0] for choice in kept))
    kept.sort(key=lambda choice: order.index(choice.key.partition(".")[0]))
    return replace(recipe, text=to_yaml(kept, head, recipe.seed))


def _keys(overrides: Sequence[str]) -> list[str]:
    return [text.partition("=")[0].strip() for text in overrides]


def _head(folder: "Folder", facts: "Facts", budget: float | None, seconds: float) -> list[str]:
    """What was seen, and how to go on from here."""
    classes = ", ".join(f"{each.name} {each.share:.1%}" for each in facts.classes[:12])
    lines = [
        f"A recipe for {folder.root}, made by atrous from what is there: {facts.train} training and {facts.val} "
        f"validation images of about {facts.size[0]} x {facts.size[1]} pixels, {facts.channels} "
        f"{'channel' if facts.channels == 1 else 'channels'} of {facts.kind}.",
        f"Of {facts.looked} images looked at: {classes}.",
        "Change what you know better, and train again with --recipe and this file.",
    ]
    if budget is None:
        lines.append(
            f"Nobody said how long to train: {seconds / 60:.0f} minutes here; say --budget 2h for another time."
        )
    return lines


def _tell(recipe: "Recipe", seconds: float) -> None:
    """The recipe for the people at the terminal, before the first step."""
    print(f"no recipe was named; this one was made from the data in {seconds:.0f} s:\n\n{recipe.text}", file=sys.stderr)


def _given(overrides: Sequence[str]) -> dict[str, Any]:
    """What the command line says, as sections of a recipe."""
    from atrous.recipe import make_recipe

    return make_recipe({}, source="command line", overrides=overrides).values


def _sides(crop: Any) -> tuple[int, int] | None:
    if crop is None:
        return None
    if isinstance(crop, int) and crop > 0:
        return crop, crop
    if isinstance(crop, list | tuple) and len(crop) == 2 and all(isinstance(side, int) and side > 0 for side in crop):
        return crop[0], crop[1]
    raise RecipeError(f"command line, data.crop: got {crop!r}, but a crop is a side in pixels, or [height, width].")


def _own_split(data: str | Path, classes: str | Path | None, options: Mapping[str, Any]) -> bool:
    """Whether the folder itself says which images are for validation."""
    from atrous.data.folder import examine_folder

    try:
        found = examine_folder(data, val_fraction=0.0, classes=classes, layout=options.get("layout"))
    except AtrousError:
        return True
    return bool(found.splits.get("val"))
