"""Write a model as a bundle: beside its place first, then by rename."""

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor
from yaml import YAMLError

from atrous.bundle.base import (
    CARD,
    CLASSES,
    FILES,
    FROM_ELSEWHERE,
    METRICS,
    RECIPE,
    TASK_GIVEN,
    WEIGHTS,
    Color,
    check_classes,
    find_damage,
    read_color,
)
from atrous.bundle.card import model_card
from atrous.bundle.classes import BundleClasses
from atrous.bundle.read import find_bundle, read_text
from atrous.data.classes import Classes
from atrous.disk import restore, writing, writing_folder
from atrous.errors import BundleError
from atrous.images.colors import default_colors
from atrous.models import DenseModel
from atrous.recipe import SECTIONS, Recipe, write_yaml
from atrous.tables import Place, read_section
from atrous.tasks import TASKS, extra_maps
from atrous.types import DTYPES

__all__ = ["save_bundle", "update_bundle"]


def save_bundle(
    path: str | Path,
    model: DenseModel,
    *,
    task: str | Mapping[str, Any] = "segmentation",
    class_names: Sequence[str] | Classes,
    colors: Sequence[Color] | None = None,
    dtype: str = "uint8",
    recipe: Recipe | Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model as a bundle.

    The folder is written beside its place and then renamed. An older bundle of that name is replaced, and files in it
    that are none of a bundle's own are kept; anything else in the way is left alone.

    Args:
        path: the folder to write.
        model: made by `create_model`.
        task: a key of `TASKS`, or {"name": ..., its arguments}; a name alone takes its arguments from `recipe`.
        class_names: one per class that the model decides, all different; or the class table of the masks, which has
            the colours too, so that `predict` writes the masks' own values.
        colors: red, green and blue of each class; a set of distinct ones where None.
        dtype: what the images' numbers are: "uint8", "uint16" or "float32".
        recipe: the recipe of the training; its model and input are written from the model and the arguments above.
        metrics: figures to carry along; what JSON can hold. NaN becomes null, and null is read as NaN.

    Returns:
        The folder.

    Raises:
        BundleError: if something does not fit together, or the folder cannot be written.
    """
    path = Path(path)
    spec = getattr(model, "spec", None)
    if spec is None:
        raise BundleError(f"{path}: the {type(model).__name__} was not made by create_model, so no bundle can name it.")
    classes = _classes(class_names, colors, path)
    place = Place(str(path))
    if dtype not in DTYPES:
        raise BundleError(f"{path}: dtype is {dtype!r}, but images are one of {', '.join(DTYPES)}.")
    values = dict(recipe.values if isinstance(recipe, Recipe) else recipe or {})
    section = {"name": task} if isinstance(task, str) else dict(task)
    trained = values.get("task")
    if isinstance(task, str) and isinstance(trained, Mapping) and trained.get("name") == task:
        section = dict(trained)  # with the losses of the training
    read_section(TASKS, section, kind="task", place=place / "task", given=TASK_GIVEN, error=BundleError)
    check_classes(classes.names, classes.colors, model.num_classes - extra_maps(section), path)
    arguments = {key: value for key, value in spec.arguments.items() if key not in FROM_ELSEWHERE}
    values |= {"model": {"name": spec.name, **arguments}, "task": section}
    values["input"] = {"kind": dtype, "channels": model.in_channels}
    values["origin"] = [origin.to_dict() for origin in model.origins]
    if not model.origins:
        del values["origin"]  # a recipe's own is that of another bundle
    texts = _texts(path, values, classes, metrics or {})
    if damage := find_damage(model):
        raise BundleError(f"{path}: {damage}; nothing was written.")
    tensors = _tensors(model)
    _write(path, lambda file: _save(tensors, file), texts)
    return path


def update_bundle(path: str | Path, *, sections: Mapping[str, Any], metrics: Mapping[str, Any] | None = None) -> Path:
    """Change what a bundle says, and leave its weights as they are; whole or not at all, as `save_bundle`.

    The weights are neither read nor written: the new folder gets a hard link to their file, or a copy of it on a disk
    that has no hard links.

    Args:
        path: a bundle, or the folder of a run.
        sections: of its recipe that are exchanged; None takes one out. Not those of model, task and input.
        metrics: figures that are exchanged.

    Returns:
        The folder of the bundle.

    Raises:
        BundleError: if there is no bundle, or it cannot be written.
    """
    if fixed := [key for key in ("model", "task", "input", "origin") if key in sections]:
        raise BundleError(f"{path}: the section {fixed[0]} belongs to the weights; save another bundle instead.")
    folder = find_bundle(path)
    found = read_text(folder)
    if not (folder / WEIGHTS).is_file():
        raise BundleError(f"{folder}: the bundle has no {WEIGHTS}; copy the whole folder again.")
    values = {key: value for key, value in {**found.recipe, **sections}.items() if value is not None}
    texts = _texts(folder, values, found.classes, {**found.metrics, **(metrics or {})})
    _write(folder, lambda file: _link((folder / WEIGHTS).resolve(), file), texts)
    return folder


def _classes(given: Sequence[str] | Classes, colors: Sequence[Color] | None, path: Path) -> BundleClasses:
    """Names and colours, and the table that they come from, if it is one."""
    if isinstance(given, Classes):
        if colors is not None:
            raise BundleError(f"{path}: the class table has colours; leave `colors` out.")
        return BundleClasses(given.names, given.colors, given)
    names = tuple(given)
    if colors is None:
        return BundleClasses(names, tuple(default_colors(names)))
    return BundleClasses(names, tuple(read_color(color, path) for color in colors))


def _texts(path: Path, values: Mapping[str, Any], classes: BundleClasses, metrics: Mapping[str, Any]) -> dict[str, str]:
    """All files but the weights."""
    values = {key: values[key] for key in SECTIONS if key in values}
    figures, table = _nan_to_none(dict(metrics)), classes.to_dict()
    try:
        return {
            RECIPE: write_yaml(values),
            CLASSES: json.dumps(table, indent=2, ensure_ascii=False),
            METRICS: json.dumps(figures, indent=2, ensure_ascii=False),
            CARD: model_card(path.name, values, table["classes"], figures),
        }
    except (YAMLError, TypeError) as failed:
        raise BundleError(f"{path}: recipe and metrics are text, numbers, lists and mappings ({failed}).") from None


def _tensors(model: DenseModel) -> dict[str, Tensor]:
    """The state as safetensors can hold it: on the CPU, contiguous, and each name with its own memory."""
    seen: set[int] = set()
    tensors: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        tensor = value.detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        tensors[name] = tensor
    return tensors


def _link(source: Path, target: Path) -> None:
    """The same file under a second name, or a copy of it where the disk has no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _save(tensors: dict[str, Tensor], target: Path) -> None:
    """The weights as a file with the permissions of any other, the same bytes for the same weights."""
    with writing(target, error=BundleError) as beside:
        # One entry: safetensors writes several in an order that changes from process to process.
        safetensors.torch.save_file(tensors, beside, metadata={"format": "pt"})


def _write(path: Path, weights: Callable[[Path], None], texts: Mapping[str, str]) -> None:
    """Write the folder beside its place, then exchange it for the one that is there.

    Args:
        path: the folder.
        weights: makes their file under the name that it is given.
        texts: the other files.
    """
    restore(path)
    if path.exists() and not _is_replaceable(path):
        raise BundleError(f"{path}: something that is not a bundle stands here; choose another name or move it away.")
    with writing_folder(path, owns=FILES, error=BundleError, durable=True) as folder:
        weights(folder / WEIGHTS)
        for name, text in texts.items():
            (folder / name).write_text(text if text.endswith("\n") else f"{text}\n", encoding="utf-8")


def _is_replaceable(path: Path) -> bool:
    return path.is_dir() and (all((path / name).is_file() for name in (WEIGHTS, RECIPE)) or not any(path.iterdir()))


def _nan_to_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _nan_to_none(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_to_none(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
