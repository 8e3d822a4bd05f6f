"""A recipe whose every section has been checked: the one object that all of a training is handed.

The YAML ends here. `resolve_run` reads each section once, by the table that it names something in, and says of every
entry that does not fit on which line it stands. What follows builds from checked values; the text goes to the disk.
"""

from dataclasses import dataclass, replace
from typing import Any

from atrous.data.options import DataOptions
from atrous.errors import RecipeError
from atrous.inference.engines import read_engine
from atrous.models import MODELS
from atrous.optim import OPTIMIZERS, SCHEDULES
from atrous.postprocess import Cleaning, Refiner, read_clean, read_refine
from atrous.postprocess.choosing import read_tune
from atrous.recipe import Recipe, split_stages
from atrous.tables import NamedSection
from atrous.tasks import TASKS
from atrous.training.adversary import ResolvedAdversary, read_adversary
from atrous.training.augment import read_augment
from atrous.training.options import TrainingOptions

__all__ = ["FROM_MASKS", "ResolvedRecipe", "ResolvedRun", "ResolvedStage", "resolve", "resolve_run"]

FROM_DATA = ("num_classes", "in_channels")
"""Arguments of a model that the data decides."""
FROM_MASKS = ("num_classes", "frequencies")
"""Arguments of a task that the data decides."""


@dataclass(frozen=True)
class ResolvedRecipe:
    """What one training does.

    Attributes:
        recipe: as it was written; for the disk, and for the lines of what only the data can refuse.
        model: its builder and arguments.
        task: the same.
        data: how a folder becomes batches.
        augment: the transforms that `data.augment` names.
        optimizer: its builder and arguments.
        schedule: the same.
        training: how long and how to train.
        adversary: a network that learns to tell masks from outputs, or None.
        refine: what refines predictions, or None.
        clean: what is cleaned away from them, or None.
        tune: what of these two is chosen after the training.
    """

    recipe: Recipe
    model: NamedSection
    task: NamedSection
    data: DataOptions
    augment: tuple[NamedSection, ...]
    optimizer: NamedSection
    schedule: NamedSection
    training: TrainingOptions
    adversary: ResolvedAdversary | None
    refine: Refiner | None
    clean: Cleaning | None
    tune: tuple[str, ...]

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.recipe.seed

    @property
    def model_name(self) -> str:
        """The model's key in `MODELS`."""
        return str(self.recipe.section("model")["name"])

    @property
    def extra_maps(self) -> int:
        """Maps that the task needs beside those of its classes."""
        return int(self.task.build.maps_beside(self.task.arguments))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class ResolvedStage:
    """One stage of a run.

    Attributes:
        name: of its folder; empty where the recipe has no stages.
        recipe: all that it does.
    """

    name: str
    recipe: ResolvedRecipe


@dataclass(frozen=True)
class ResolvedRun:
    """All stages of a run.

    Attributes:
        recipe: as it was written, with its stages.
        stages: in their order; at least one.
    """

    recipe: Recipe
    stages: tuple[ResolvedStage, ...]

    @property
    def data(self) -> DataOptions:
        """How the folder is opened: the same in all stages."""
        return self.stages[0].recipe.data

    def in_fold(self, number: int, count: int) -> "ResolvedRun":
        """The same run on one of several folds.

        Raises:
            RecipeError: if the recipe names a fold itself.
        """
        if self.data.fold is not None:
            raise RecipeError(
                f"{self.recipe.place / 'data' / 'fold'}: the recipe names a fold, and --folds all of them; leave one "
                "out."
            )
        stages = [
            replace(
                stage,
                recipe=replace(
                    stage.recipe,
                    recipe=_with_fold(stage.recipe.recipe, number, count),
                    data=replace(stage.recipe.data, fold=(number, count)),
                ),
            )
            for stage in self.stages
        ]
        return ResolvedRun(_with_fold(self.recipe, number, count), tuple(stages))


def resolve_run(recipe: Recipe) -> ResolvedRun:
    """Check a recipe, all of its stages included.

    Raises:
        RecipeError: naming the line of the first entry that does not fit.

    Example:
        >>> from atrous.recipe import load_recipe
        >>> run = resolve_run(load_recipe("unet", ["stages=[{name: a}, {name: b, optimizer: {lr: 1e-4}}]"]))
        >>> [(stage.name, stage.recipe.optimizer.arguments["lr"]) for stage in run.stages]
        [('1-a', 0.001), ('2-b', 0.0001)]
    """
    stages = [ResolvedStage(stage.name, resolve(stage.recipe)) for stage in split_stages(recipe)]
    return ResolvedRun(recipe, tuple(stages))


def resolve(recipe: Recipe) -> ResolvedRecipe:
    """Check all sections of a recipe without stages. Nothing is built, and no data is read.

    Raises:
        RecipeError: naming the line of the first entry that does not fit.

    Example:
        >>> from atrous.recipe import load_recipe
        >>> resolved = resolve(load_recipe("unet", ["training.max_steps=50"]))
        >>> resolved.training.max_steps, resolved.model.arguments["encoder"]
        (50, 'resnet18')
    """
    place = recipe.place
    model = recipe.named("model", MODELS, kind="model", given=FROM_DATA)
    task = recipe.named("task", TASKS, kind="task", given=FROM_MASKS, default="segmentation")
    read_engine(recipe.values.get("engine"), place=place / "engine", error=RecipeError)
    refine = read_refine(recipe.section("refine"), place=place / "refine", error=RecipeError)
    clean = read_clean(recipe.section("clean"), place=place / "clean", error=RecipeError)
    tune = tuple(read_tune(recipe))
    data = recipe.options("data", DataOptions)
    return ResolvedRecipe(
        recipe=recipe,
        model=model,
        task=task,
        data=data,
        augment=read_augment(data, place),
        optimizer=recipe.named("optimizer", OPTIMIZERS, kind="optimizer", given=("model",), default="adamw"),
        schedule=recipe.named("schedule", SCHEDULES, kind="schedule", given=("max_steps",), default="poly"),
        training=recipe.options("training", TrainingOptions),
        adversary=read_adversary(recipe),
        refine=refine,
        clean=clean,
        tune=tune,
    )


def _with_fold(recipe: Recipe, number: int, count: int) -> Recipe:
    """The recipe as it is written down for one fold."""
    data: dict[str, Any] = {**recipe.section("data", {}), "fold": [number, count]}
    lines = {**recipe.place.lines, ("data", "fold"): "--folds"}
    return replace(recipe, values={**recipe.values, "data": data}, place=replace(recipe.place, lines=lines))
