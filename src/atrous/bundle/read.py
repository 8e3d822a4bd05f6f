"""Read a bundle from a folder or from the Hub, and say of every damage which file it is in and what to do."""

import inspect
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from atrous.bundle.base import (
    CLASSES,
    FILES,
    FROM_ELSEWHERE,
    METRICS,
    RECIPE,
    TASK_GIVEN,
    WEIGHTS,
    Bundle,
    Color,
    find_damage,
)
from atrous.bundle.classes import BundleClasses, read_classes
from atrous.bundle.unfinished import explain_unfinished
from atrous.disk import restore
from atrous.encoders import WeightsOrigin
from atrous.errors import AtrousError, BundleError
from atrous.models import MODELS, DenseModel, create_model
from atrous.recipe import read_yaml, without_pretrained
from atrous.tables import Place, describe_value, read_section
from atrous.tasks import TASKS, extra_maps
from atrous.types import DTYPES

__all__ = ["BundleText", "find_bundle", "load_bundle", "read_text"]

HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
"""What a name on the Hugging Face Hub looks like."""


@dataclass(frozen=True)
class BundleText:
    """What a bundle says beside its weights.

    Attributes:
        recipe: all sections.
        place: of the recipe, for messages.
        classes: names and colours, and the class table of the masks where it is known.
        dtype: data type of the images: "uint8", "uint16" or "float32".
        channels: of the images.
        metrics: measured figures; NaN where undefined.
    """

    recipe: dict[str, Any]
    place: Place
    classes: BundleClasses
    dtype: str
    channels: int
    metrics: dict[str, Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        """One per class."""
        return self.classes.names

    @property
    def colors(self) -> tuple[Color, ...]:
        """Of the classes, 0..255 per channel."""
        return self.classes.colors

    @property
    def task(self) -> dict[str, Any]:
        """The section of the task, as a name and its arguments."""
        task = self.recipe.get("task")
        return {"name": task} if isinstance(task, str) else dict(task or {})


def load_bundle(path: str | Path, *, device: str | torch.device = "cpu") -> Bundle:
    """Read a bundle from a folder, from the run that made it, or from the Hugging Face Hub.

    Args:
        path: a bundle, the folder of a run, or "owner/name" on the Hub where there is no such folder.
        device: where the model goes.

    Raises:
        BundleError: naming the file that is missing, damaged or does not fit, and what to do.
    """
    folder = find_bundle(path)
    text = read_text(folder)
    place = text.place / "task"
    read_section(TASKS, text.recipe.get("task"), kind="task", place=place, given=TASK_GIVEN, error=BundleError)
    maps = len(text.class_names) + extra_maps(text.recipe.get("task") or "segmentation")
    model = _build(text.recipe.get("model"), text.place / "model", num_classes=maps, channels=text.channels)
    _load_weights(model, _file(folder, WEIGHTS))
    model.origins = WeightsOrigin.read_all(text.recipe.get("origin"))
    return Bundle(
        path=folder,
        model=model.to(device).eval(),
        task=text.task,
        class_names=text.class_names,
        colors=text.colors,
        dtype=text.dtype,
        channels=text.channels,
        recipe=text.recipe,
        metrics=text.metrics,
        classes=text.classes.table,
    )


def read_text(folder: Path) -> BundleText:
    """Read everything in the folder of a bundle but the weights.

    Raises:
        BundleError: naming the file that is missing or damaged.
    """
    values, place = read_yaml(_file(folder, RECIPE), error=BundleError)
    classes = read_classes(_read_json(_file(folder, CLASSES)), folder / CLASSES)
    kind, channels = _read_input(values.get("input"), place / "input")
    metrics = _read_json(folder / METRICS) if (folder / METRICS).is_file() else {}
    if not isinstance(metrics, dict):
        raise BundleError(f"{folder / METRICS}: holds {describe_value(metrics)}, and not figures by name; delete it.")
    return BundleText(values, place, classes, kind, channels, _none_to_nan(metrics))


def find_bundle(path: str | Path) -> Path:
    """The folder of a bundle on this machine.

    Args:
        path: a bundle, the folder of a run, or "owner/name" on the Hub, from where it is fetched.

    Raises:
        BundleError: if there is none.
    """
    folder = Path(path)
    restore(folder)
    if folder.is_dir():
        return _inside(folder)
    if folder.exists():
        raise BundleError(f"{folder}: a bundle is a folder with {WEIGHTS} and {RECIPE}, and this is a file.")
    if words := explain_unfinished(folder):
        raise BundleError(words)
    if not HUB_NAME.fullmatch(str(path)):
        raise BundleError(f"{path}: there is no such folder; give the folder of a bundle, or owner/name on the Hub.")
    # Heavy, and needed only here.
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(path), allow_patterns=list(FILES)))
    except Exception as failed:
        reason = str(failed).strip().splitlines()[0] if str(failed).strip() else type(failed).__name__
        raise BundleError(
            f"{path}: there is no such folder here, and the Hugging Face Hub gives no model of that name "
            f"({type(failed).__name__}: {reason[:160]}); check the path, or the name and the connection."
        ) from None


def _inside(folder: Path) -> Path:
    """The folder itself, or the bundle in it where it is that of a run."""
    if (folder / WEIGHTS).is_file():
        return folder
    inside = folder / "bundle"
    restore(inside)
    if inside.is_dir():
        return inside
    if words := explain_unfinished(folder):
        raise BundleError(words)
    return folder


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise BundleError(
            f"{folder}: the bundle has no {name}; copy the whole folder again, or save it with save_bundle."
        )
    return folder / name


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as failed:
        why = "too deeply nested" if isinstance(failed, RecursionError) else failed
        raise BundleError(f"{path}: this is not JSON ({why}); copy the file again from where it came.") from None


def _read_input(section: Any, place: Place) -> tuple[str, int]:
    kind, channels = (section.get("kind"), section.get("channels")) if isinstance(section, Mapping) else (None, None)
    if kind not in DTYPES or not isinstance(channels, int) or channels < 1:
        raise BundleError(
            f"{place}: got {describe_value(section)}, but a bundle says {{kind: one of {', '.join(DTYPES)}, "
            "channels: a number}."
        )
    return kind, channels


def _build(section: Any, place: Place, *, num_classes: int, channels: int) -> DenseModel:
    builder, arguments = read_section(
        MODELS, section, kind="model", place=place, given=FROM_ELSEWHERE, error=BundleError
    )
    if "in_channels" in inspect.signature(builder).parameters:
        arguments["in_channels"] = channels
    name = section if isinstance(section, str) else section["name"]
    try:
        with torch.random.fork_rng(devices=[]):  # the random start is overwritten, and must not shift anyone's draws
            model = create_model(name, num_classes=num_classes, **without_pretrained(arguments))
    except AtrousError as failed:
        raise BundleError(f"{place}: {failed}") from None
    if model.in_channels != channels:
        raise BundleError(f"{place}: the model takes {model.in_channels} channels, but `input` says {channels}.")
    return model


def _load_weights(model: DenseModel, path: Path) -> None:
    try:
        tensors = safetensors.torch.load_file(path)
    except (SafetensorError, OSError, ValueError) as failed:
        raise BundleError(
            f"{path}: the weights cannot be read ({failed}); copy the file again from where it came."
        ) from None
    state = model.state_dict()
    advice = f"{WEIGHTS} and {RECIPE} must come from the same bundle"
    missing, extra = [name for name in state if name not in tensors], [name for name in tensors if name not in state]
    if missing or extra:
        parts = [f"lacks {_list(missing)}"] if missing else []
        parts += [f"has {_list(extra)} that the model does not"] if extra else []
        raise BundleError(f"{path}: the file {' and '.join(parts)}; {advice}.")
    for name, value in state.items():
        if tensors[name].shape != value.shape:
            raise BundleError(
                f"{path}: {name} is {tuple(tensors[name].shape)}, but the model that {RECIPE} and {CLASSES} describe "
                f"needs {tuple(value.shape)}; {advice}, and {CLASSES} too."
            )
        stored = tensors[name].dtype
        whole = stored.is_floating_point != value.dtype.is_floating_point
        if whole or torch.promote_types(stored, value.dtype) != value.dtype:
            raise BundleError(
                f"{path}: {name} is {_dtype(tensors[name])}, which {_dtype(value)} does not hold exactly, and the "
                f"model needs {_dtype(value)}; convert the weights before they are saved (model.float())."
            )
    model.load_state_dict(tensors)
    if damage := find_damage(model):
        raise BundleError(f"{path}: {damage}; the file is damaged, or its training went wrong: copy or train it again.")


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def _none_to_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _none_to_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_none_to_nan(inner) for inner in value]
    return math.nan if value is None else value
