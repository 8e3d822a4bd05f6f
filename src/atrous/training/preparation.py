"""From a checked recipe and its data to a plan: the task and the network are built, and get their first weights."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from atrous.data import Folder, check_folder
from atrous.errors import BundleError, ModelError, RecipeError
from atrous.models import DenseModel, create_model
from atrous.recipe import without_pretrained
from atrous.tasks import Task
from atrous.training.engine import TrainingPlan
from atrous.training.finetune import load_matching
from atrous.training.fitting import make_plan
from atrous.training.inputs import Inputs
from atrous.training.resolved import ResolvedRecipe, ResolvedStage
from atrous.training.start import initialize

__all__ = ["Job", "blank_plan", "check_stages", "prepare"]

LOG = logging.getLogger(__name__)


@dataclass
class Job:
    """A training that is ready to begin; nothing of it is on the disk yet."""

    recipe: ResolvedRecipe
    plan: TrainingPlan
    model: DenseModel


def prepare(recipe: ResolvedRecipe, inputs: Inputs, out: Path, start: str | Path | None) -> Job:
    """Build what trains.

    Args:
        recipe: of this training.
        inputs: its data.
        out: its folder; where it has a checkpoint, that has all weights and nothing is fetched.
        start: a bundle, run, Hub id, or file of weights to start from, or None.

    Raises:
        RecipeError: if an entry of the recipe does not fit.
        BundleError: if not one weight of `start` fits.
    """
    task = _task(recipe, inputs)
    begun = _has_begun(out)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = _model(recipe, inputs.folder, pretrained=not begun)
    if not begun:
        initialize(model, inputs.folder, start, named=not _is_stage(start, out))
    return Job(recipe, make_plan(model, task, inputs.folder, recipe), model)


def _is_stage(start: str | Path | None, out: Path) -> bool:
    """Whether weights come from an earlier stage of the same run."""
    folder = Path(start).parent if start is not None else out
    return folder.name == "stages" and folder in (out / "stages", out.parent)


def blank_plan(recipe: ResolvedRecipe, folder: Folder) -> TrainingPlan:
    """The plan of a training whose model has no numbers: whether all of it fits the data, at almost no cost.

    Raises:
        RecipeError: naming the entry that does not fit.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = _model(recipe, folder, pretrained=False)
    return make_plan(model, recipe.task(_maps(recipe, folder)), folder, recipe)


def check_stages(stages: Sequence[ResolvedStage], folder: Folder, out: Path | None = None) -> None:
    """Check that each stage fits the data, and the weights of the one before it.

    No weights are built for that, but those of later stages that fetch pretrained ones: now, and not after the first.

    Args:
        stages: of a run.
        folder: its data.
        out: folder of the run, if it is about to begin.

    Raises:
        RecipeError: naming the line of the first thing that does not fit.
    """
    before: Any = None
    for number, stage in enumerate(stages):
        place = out and (out if stage is stages[-1] else out / "stages" / stage.name)
        if number and place and _asks(stage.recipe.model.arguments) and not _has_begun(place):
            with torch.random.fork_rng(devices=[]):
                _model(stage.recipe, folder, pretrained=True)
        model = blank_plan(stage.recipe, folder).model
        if before is not None:
            try:
                load_matching(model, before.state_dict(), source="the stage before")
            except BundleError as error:
                raise RecipeError(f"{stage.recipe.recipe.place / 'model'}: {error}") from None
        before = model


def _has_begun(out: Path) -> bool:
    return (out / "checkpoints" / "last.ckpt").exists()


def _asks(arguments: Any) -> bool:
    """Whether pretrained weights are asked for, however deep in the arguments of a model."""
    return without_pretrained(arguments) != arguments


def _maps(recipe: ResolvedRecipe, folder: Folder) -> int:
    """How many maps the network has: one for each class, and those that the task needs beside them."""
    return len(folder.classes.names) + recipe.extra_maps


def _task(recipe: ResolvedRecipe, inputs: Inputs) -> Task:
    """The task; where its loss weighs classes by how often they occur, all training masks are read first."""
    num_classes = _maps(recipe, inputs.folder)
    task: Task = recipe.task(num_classes)
    if not task.needs_frequencies:
        return task
    if inputs.report is None:
        LOG.info("reading all training masks: the loss weighs classes by how often they occur")
        inputs.report = check_folder(inputs.folder)
        inputs.report.raise_errors()
        inputs.check.take(inputs.report)
    weighted: Task = recipe.task(num_classes, frequencies=inputs.report.frequencies())
    return weighted


def _model(recipe: ResolvedRecipe, folder: Folder, *, pretrained: bool) -> DenseModel:
    arguments = recipe.model.arguments if pretrained else without_pretrained(recipe.model.arguments)
    try:
        return create_model(
            recipe.model_name, num_classes=_maps(recipe, folder), in_channels=folder.channels, **arguments
        )
    except ModelError as error:
        raise RecipeError(f"{recipe.recipe.place / 'model'}: {error}") from error
