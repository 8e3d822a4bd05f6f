"""From a recipe, a model and a folder to a run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from torch import nn

from atrous.data.fingerprint import Fingerprint, fingerprint
from atrous.data.folder import Folder, FolderDataset
from atrous.data.options import DataOptions
from atrous.encoders import WeightsOrigin
from atrous.errors import RecipeError
from atrous.images.files import ImageFile, read_info
from atrous.models import DenseModel
from atrous.recipe import Recipe
from atrous.tasks import Measure, Task
from atrous.training.augment import training_transform
from atrous.training.budget import plan_for_budget
from atrous.training.distributed import wait_for_all, world
from atrous.training.dry_run import settle_precision
from atrous.training.engine import TrainingPlan, carry_out
from atrous.training.identity import identify, must_be_same_run
from atrous.training.loaders import explaining_lost_workers
from atrous.training.resolved import ResolvedRecipe, resolve
from atrous.training.restoring import fill_of, find_best, find_checkpoint
from atrous.training.shortage import explaining_lack_of_memory
from atrous.training.state import RunState
from atrous.types import Progress

__all__ = ["FitResult", "fit", "make_plan"]


@dataclass(frozen=True)
class FitResult:
    """How a run ended. The model that was handed in holds the best weights.

    Attributes:
        out: folder of the run.
        steps: optimiser steps done.
        monitor: the figure that chose the best weights.
        best: its best value in a validation, or None where there was no validation.
        best_step: the step of the best weights.
        stopped: whether early stopping ended the run.
        seconds: of training and validation, over all sessions.
        trained: whether this call trained anything; False for a run that was finished before.
    """

    out: Path
    steps: int
    monitor: Measure
    best: float | None
    best_step: int
    stopped: bool
    seconds: float
    trained: bool


def fit(
    model: nn.Module,
    task: Task,
    folder: Folder,
    *,
    recipe: Recipe,
    out: Path,
    resume: bool = False,
    watch: Callable[[], None] | None = None,
    progress: bool | Progress = True,
) -> FitResult:
    """Train a model by a recipe, and leave the best weights in it.

    Args:
        model: with the weights to start from; overwritten on resuming.
        task: of the model.
        folder: images and masks.
        recipe: its sections `data`, `optimizer`, `schedule`, `training` and `seed` are read here.
        out: folder of the run; gets `checkpoints/`, `log.csv` and `tensorboard/`.
        resume: go on from the last checkpoint, or from the start where there is none yet.
        watch: called after each step; may raise to stop the run.
        progress: whether to show the progress line; or a function, called with the steps done and of all.

    Raises:
        RecipeError: if a section does not fit, or a run is resumed with another recipe.
        DataError: if a file cannot be read, or a run is resumed on other data.
        AtrousError: if the loss or the weights are no longer finite.
    """
    plan = make_plan(model, task, folder, resolve(recipe))
    return follow_plan(plan, out, resume=resume, watch=watch, progress=progress)


def follow_plan(
    plan: TrainingPlan,
    out: Path,
    *,
    resume: bool = False,
    watch: Callable[[], None] | None = None,
    progress: bool | Progress = True,
) -> FitResult:
    """Carry out a plan, as `fit` does."""
    saved = find_checkpoint(out) if resume else None
    if saved is not None:
        must_be_same_run(saved["identity"], plan.identity, place=str(out))
        if isinstance(plan.model, DenseModel):  # was built without the weights that it once started from
            plan.model.origins = WeightsOrigin.read_all(saved.get("origins"))
    settle_precision(plan, saved)
    begun = saved["state"]["step"] if saved is not None else 0
    if saved is None or not saved["state"]["spent"]:
        plan_for_budget(plan)
    with explaining_lost_workers(), explaining_lack_of_memory():
        carry_out(plan, out, saved=saved, watch=watch, progress=progress)
    wait_for_all()  # until the one that writes has written
    best_step = find_best(out, plan.model)  # where no validation had a score, the last weights are all there is
    state = plan.state
    return FitResult(
        out=out,
        steps=state.step,
        monitor=state.monitor,
        best=state.best,
        best_step=state.step if best_step is None else best_step,
        stopped=state.stopped,
        seconds=state.seconds,
        trained=state.step > begun,
    )


def make_plan(model: nn.Module, task: Task, folder: Folder, recipe: ResolvedRecipe) -> TrainingPlan:
    """All that decides how a run goes, from a checked recipe. Nothing is written.

    Raises:
        RecipeError: naming the entry that does not fit.
    """
    task.check_names(folder.classes.names)
    training, data, fill = recipe.training, recipe.data, fill_of(model)
    if recipe.clean is not None:
        recipe.clean.check(len(folder.classes), place=recipe.recipe.place / "clean", error=RecipeError)
    train = FolderDataset(folder, "train", cache=data.cache, region=_region(data), fill=fill)
    transform = training_transform(recipe.augment, data.crop, train)
    files = {
        split: [_name(pair.image, folder.root) for pair in folder.splits.get(split, ())] for split in ("train", "val")
    }
    count, together = len(files["train"]), data.batch_size * training.accumulate * world().processes
    steps = training.steps(count, together)
    recipe.schedule(steps)  # says what is wrong with it now
    interval = training.validation_interval(count, together, cost=_validation_cost(folder, data))
    sizes = {"num_classes": task.num_classes, "in_channels": folder.channels}
    return TrainingPlan(
        model=model,
        task=task,
        optimizer=recipe.optimizer(model),
        schedule=lru_cache(maxsize=2)(recipe.schedule.__call__),
        train=train,
        names=files["train"],
        options=training,
        state=RunState(max_steps=steps, validate_every=interval, budget=training.seconds, monitor=task.monitor),
        batch_size=data.batch_size,
        transform=transform,
        val=FolderDataset(folder, "val", fill=fill) if files["val"] else None,
        val_size=len(files["val"]),
        workers=data.workers,
        seed=recipe.seed,
        identity=_identity(recipe, folder, files),
        adversary=recipe.adversary.build(**sizes) if recipe.adversary is not None else None,
    )


def _identity(recipe: ResolvedRecipe, folder: Folder, files: dict[str, list[str]]) -> dict[str, str]:
    """What a checkpoint of the run is known by."""
    pairs, classes = [pair for split in files for pair in folder.splits.get(split, ())], folder.classes
    table = (classes.values, classes.ignore, classes.ignore_colors, classes.color_coded and classes.colors)
    return identify(
        recipe.recipe.values,
        files,
        list(classes.names),
        contents={
            "images": fingerprint(pair.image for pair in pairs),
            "masks": fingerprint((pair.mask, pair.instances, pair.landmarks) for pair in pairs),
            "class values": Fingerprint(repr(table), "classes.yaml"),
        },
        flip_pairs=classes.flip_pairs,
        processes=world().processes,
    )


def _validation_cost(folder: Folder, data: DataOptions) -> float:
    """About how many training steps one validation costs: forward only, whole images instead of crops."""
    pairs = folder.splits.get("val", ())
    if not pairs:
        return 0.0
    info = read_info(pairs[0].image)
    height, width = (data.crop, data.crop) if isinstance(data.crop, int) else data.crop or (info.height, info.width)
    return len(pairs) * info.height * info.width / (3 * data.batch_size * height * width)


def _region(data: DataOptions) -> tuple[int, int] | None:
    """What is read of an image that is too large to be read as a whole: room to scale and turn around the crop."""
    if data.crop is None:
        return None
    height, width = (data.crop, data.crop) if isinstance(data.crop, int) else data.crop
    return 2 * height, 2 * width


def _name(image: ImageFile, root: Path) -> str:
    return image.relative_to(root).as_posix() if image.is_relative_to(root) else str(image)
