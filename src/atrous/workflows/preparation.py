"""All that comes before the first step of a run: the data is opened, the recipe is checked, the model is built."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atrous.errors import ModelError, RecipeError
from atrous.workflows.background import BackgroundCheck

if TYPE_CHECKING:
    from atrous.bundle import Bundle
    from atrous.data import Folder
    from atrous.findings import CheckReport
    from atrous.models import DenseModel
    from atrous.recipe import Recipe
    from atrous.tasks import Task
    from atrous.training.engine import Plan

__all__ = [
    "WEIGHT_FILES",
    "Inputs",
    "Job",
    "blank_plan",
    "check_sections",
    "must_fit_masks",
    "open_inputs",
    "prepare",
]

WEIGHT_FILES = (".pth", ".pt", ".bin", ".safetensors")
"""Endings of other libraries' weights."""
GIVEN = ("num_classes", "in_channels")
"""Arguments of a model that the data decides."""


@dataclass
class Inputs:
    """The data of a run, which all its stages share.

    Attributes:
        data: the folder as it was named.
        folder: opened, with the splits of the run.
        classes: a class table that replaces the folder's own, or None.
        check: reads everything beside the training.
        report: of a check that had to come first, or None.
    """

    data: Path
    folder: "Folder"
    classes: str | Path | None
    check: BackgroundCheck
    report: "CheckReport | None" = None


@dataclass
class Job:
    """A training that is ready to begin; nothing of it is on the disk yet."""

    recipe: "Recipe"
    plan: "Plan"
    model: "DenseModel"


def check_sections(recipe: "Recipe") -> None:
    """Check what can be checked without the data: the names and arguments of model, task and refinement.

    Raises:
        RecipeError: naming the entry that does not fit.
    """
    from atrous.postprocess import read_clean, read_refine
    from atrous.workflows.tuning_after import read_tune

    _model_section(recipe)
    _task_section(recipe)
    read_refine(recipe.section("refine"), place=recipe.place / "refine", error=RecipeError)
    read_clean(recipe.section("clean"), place=recipe.place / "clean", error=RecipeError)
    read_tune(recipe)


def open_inputs(data: str | Path, recipe: "Recipe", out: Path, classes: str | Path | None) -> Inputs:
    """Open the data folder with the splits that the recipe asks for, and look at its first images.

    Args:
        data: the folder.
        recipe: its section `data` and its seed decide the splits.
        out: folder of the run, for the report of the check.
        classes: a classes.yaml to use instead of the folder's own.

    Raises:
        DataError: on the first error.
        RecipeError: if the section `data` does not fit.
    """
    from atrous.data import DataOptions, open_folder, quick_check

    options = recipe.options("data", DataOptions)
    folder = open_folder(
        data,
        classes=classes,
        val_fraction=options.val_fraction,
        seed=recipe.seed,
        fold=options.fold,
        layout=options.layout,
    )
    must_fit_masks(folder, recipe.section("task", "segmentation"))
    quick_check(folder).raise_errors()
    return Inputs(Path(data), folder, classes, BackgroundCheck(folder, out / "check.json"))


def must_fit_masks(folder: "Folder", task: Any) -> None:
    """Refuse data that cannot teach the task.

    Args:
        folder: of the data.
        task: the section of a recipe; an unknown name is refused elsewhere, with its line.

    Raises:
        DataError: naming the folder.
    """
    from atrous.tasks import TASKS

    name = task if isinstance(task, str) else task.get("name")
    if name in TASKS:
        TASKS[name].accepts(folder)


def prepare(recipe: "Recipe", inputs: Inputs, out: Path, start: str | Path | None) -> Job:
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
    import torch

    from atrous.training.fitting import make_plan

    task = _task(recipe, inputs)
    begun = (out / "checkpoints" / "last.ckpt").exists()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = _model(recipe, inputs.folder, pretrained=not begun)
    if not begun:
        _initialize(model, inputs.folder, start)
    return Job(recipe, make_plan(model, task, inputs.folder, recipe), model)


def blank_plan(recipe: "Recipe", inputs: Inputs) -> "Plan":
    """The plan of a training whose model has no numbers: every check of the recipe at almost no cost.

    Raises:
        RecipeError: naming the entry that does not fit.
    """
    import torch

    from atrous.training.fitting import make_plan

    build, arguments = _task_section(recipe)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = _model(recipe, inputs.folder, pretrained=False)
    return make_plan(model, build(_maps(recipe, inputs.folder), **arguments), inputs.folder, recipe)


def _model_section(recipe: "Recipe") -> dict[str, Any]:
    from atrous.models import MODELS

    return recipe.named("model", MODELS, kind="model", given=GIVEN)[1]


def _task_section(recipe: "Recipe") -> tuple[Any, dict[str, Any]]:
    from atrous.tasks import TASKS

    return recipe.named("task", TASKS, kind="task", given=("num_classes", "frequencies"), default="segmentation")


def _maps(recipe: "Recipe", folder: "Folder") -> int:
    """How many maps the network has: one for each class, and those that the task needs beside them."""
    from atrous.tasks import extra_maps

    _task_section(recipe)  # checks it
    return len(folder.classes.names) + extra_maps(recipe.section("task", "segmentation"))


def _task(recipe: "Recipe", inputs: Inputs) -> "Task":
    """The task; where its loss weighs classes by how often they occur, all training masks are read first."""
    from atrous.data import check_folder

    build, arguments = _task_section(recipe)
    num_classes = _maps(recipe, inputs.folder)
    task: Task = build(num_classes, **arguments)
    if not task.needs_frequencies:
        return task
    if inputs.report is None:
        print("reading all training masks: the loss weighs classes by how often they occur", file=sys.stderr)
        inputs.report = check_folder(inputs.folder)
        inputs.report.raise_errors()
        inputs.check.take(inputs.report)
    weighted: Task = build(num_classes, frequencies=inputs.report.frequencies(), **arguments)
    return weighted


def _model(recipe: "Recipe", folder: "Folder", *, pretrained: bool) -> "DenseModel":
    from atrous.models import create_model

    arguments = _model_section(recipe)
    if not pretrained:
        arguments = _untrained(arguments)
    try:
        return create_model(
            recipe.section("model")["name"],
            num_classes=_maps(recipe, folder),
            in_channels=folder.channels,
            **arguments,
        )
    except ModelError as error:
        raise RecipeError(f"{recipe.place / 'model'}: {error}") from error


def _untrained(value: Any) -> Any:
    """Arguments without any wish for weights that would have to be fetched."""
    if isinstance(value, Mapping):
        return {key: False if key == "pretrained" else _untrained(inner) for key, inner in value.items()}
    return [_untrained(inner) for inner in value] if isinstance(value, list) else value


def _initialize(model: "DenseModel", folder: "Folder", start: str | Path | None) -> None:
    """Weights from a bundle or a file if there is one, and the normalisation of the input."""
    from atrous.surgery import load_weights
    from atrous.training.finetune import load_matching

    if start is not None and str(start).endswith(WEIGHT_FILES):
        print(f"{start}: {load_weights(model, start)}", file=sys.stderr)
        if folder.kind == "uint8" and model.mean.any():  # the table knows how their images were normalised
            return
    elif start is not None:
        bundle = _load(start)
        alike = bundle.kind == folder.kind and bundle.channels == folder.channels
        if alike:  # weights expect the numbers that they were trained on; members of an ensemble each their own
            model.set_normalization(bundle.model.mean.tolist(), bundle.model.std.tolist())
        print(f"{start}: {load_matching(model, bundle.model.state_dict(), source=str(start))}", file=sys.stderr)
        if alike:
            return
    _normalize(model, folder)


def _normalize(model: "DenseModel", folder: "Folder") -> None:
    """Set the normalisation from the pretrained encoder, or from the data."""
    from atrous.data import FolderDataset
    from atrous.training.loaders import measure_normalization

    parts = (getattr(part, "pretrained_normalization", None) for part in model.modules())
    known = next((normalization for normalization in parts if normalization is not None), None)
    if known is not None and folder.kind == "uint8":
        model.set_normalization(*known)
    else:
        dataset = FolderDataset(folder, "train")
        model.set_normalization(*measure_normalization(dataset, len(dataset)))


def _load(start: str | Path) -> "Bundle":
    from atrous.bundle import load_bundle

    return load_bundle(start)
