"""A recipe from the data and the machine, where none is named: `atrous train DATA` writes it and follows it."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from atrous.configure import Candidate, Facts, choose, describe, look
from atrous.configure.rules import folds
from atrous.configure.trial import pick_network
from atrous.configure.write import header, keys_of, recipe_with_reasons
from atrous.data import DataOptions, Folder, examine_folder, open_folder
from atrous.errors import AtrousError, RecipeError
from atrous.models import create_model
from atrous.recipe import Recipe, make_recipe, without_pretrained
from atrous.tasks import TASKS, build_task, propose
from atrous.training.budget import measure_pace
from atrous.training.fitting import make_plan
from atrous.training.resolved import FROM_MASKS, resolve

__all__ = ["DEFAULT_BUDGET", "Configured", "configure"]

LOG = logging.getLogger(__name__)
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

    recipe: Recipe
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
    begin = time.perf_counter()
    counted = {"training.max_steps", "training.max_epochs"} & set(keys_of(overrides))
    if budget is None and counted:
        overrides = [*overrides, "training.budget=null"]  # a length in steps takes the place of a time
    given = _given(overrides)
    options = make_recipe(dict(given), source="command line").options("data", DataOptions).splitting
    seed = int(given.get("seed") or 0)
    folder = open_folder(data, classes=classes, seed=seed, **options)
    device = (given.get("training") or {}).get("device", "auto")
    machine, facts = describe(device), replace(look(folder), task=_task(given))
    seconds = budget or DEFAULT_BUDGET[machine.device]
    pace_of = partial(_pace, folder, facts)
    network = pick_network(folder, facts, machine, given, seconds=seconds, pace_of=pace_of)
    usable = max((seconds - (time.perf_counter() - begin)) * (1 - SPARE), seconds / 2)
    steps = int(usable / network.pace)
    choices = choose(facts, machine, network, steps=steps, budget=f"{usable:.0f}s")
    recipe = recipe_with_reasons(choices, header(folder, facts, budget, seconds), overrides, seed)
    count = None
    if not counted:  # a number of steps is meant for one network
        count = folds(facts, steps=steps, own_split=_own_split(data, classes, options))
    spent = time.perf_counter() - begin
    LOG.info("no recipe was named; this one was made from the data in %.0f s:\n\n%s", spent, recipe.text)
    return Configured(recipe, count, seconds)


def _pace(folder: Folder, facts: Facts, candidate: Candidate, crop: tuple[int, int], batch: int) -> float:
    """Seconds of a training step of the task that the data asks for."""
    pixels = [round(each.share * 1_000_000) for each in facts.classes]  # weights by class cost what they cost
    counts = {"pixels": pixels, "totals": [sum(pixels)] * len(pixels)}
    task = build_task(propose(facts).section, len(folder.classes.names), frequencies=counts)
    with torch.random.fork_rng(devices=[]):
        arguments = without_pretrained(candidate.model)
        model = create_model(num_classes=task.num_classes, in_channels=folder.channels, **arguments)
    values = {"model": dict(candidate.model), "data": {"crop": list(crop), "batch_size": batch}}
    recipe = make_recipe(values, source="the recipe that is being tried")
    return measure_pace(make_plan(model, task, folder, resolve(recipe)))[0]


def _given(overrides: Sequence[str]) -> dict[str, Any]:
    """What the command line says, as sections of a recipe.

    Raises:
        RecipeError: if it sets an argument of a network and does not name the network, or a task that there is not.
    """
    recipe = make_recipe({}, source="command line", overrides=overrides)
    model = recipe.section("model")
    if isinstance(model, Mapping) and "name" not in model:
        key = next(iter(model), "name")
        raise RecipeError(
            f"{recipe.place / 'model' / key}: without a recipe the data decides which network is trained, so its "
            "arguments are not known; name the network too, such as model=unet, or give --recipe unet."
        )
    if _task(recipe.values) is not None:
        recipe.named("task", TASKS, kind="task", given=FROM_MASKS)
    return recipe.values


def _task(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """The section of the task, if it names one; arguments alone belong to the task that the data asks for."""
    section = given.get("task")
    section = {"name": section} if isinstance(section, str) else section
    return dict(section) if isinstance(section, Mapping) and "name" in section else None


def _own_split(data: str | Path, classes: str | Path | None, options: Mapping[str, Any]) -> bool:
    """Whether the folder itself says which images are for validation."""
    try:
        found = examine_folder(data, val_fraction=0.0, classes=classes, layout=options.get("layout"))
    except AtrousError:
        return True
    return bool(found.splits.get("val"))
