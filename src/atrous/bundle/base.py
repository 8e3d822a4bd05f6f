"""The files of a bundle, and what reading and writing share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atrous.drawing import Color
from atrous.encoders import WeightsOrigin
from atrous.errors import BundleError
from atrous.models import DenseModel
from atrous.tables import describe_value
from atrous.types import SHOWN

if TYPE_CHECKING:
    from atrous.data.classes import Classes

__all__ = [
    "CARD",
    "CLASSES",
    "FILES",
    "FROM_ELSEWHERE",
    "METRICS",
    "RECIPE",
    "TASK_GIVEN",
    "WEIGHTS",
    "Bundle",
    "Color",
    "check_classes",
    "find_damage",
    "read_color",
]


WEIGHTS, RECIPE, CLASSES, METRICS, CARD = (
    "model.safetensors",
    "recipe.yaml",
    "classes.json",
    "metrics.json",
    "README.md",
)
FILES = (WEIGHTS, RECIPE, CLASSES, METRICS, CARD)
FROM_ELSEWHERE = ("num_classes", "in_channels")
"""Arguments of a model that its section leaves out: the class table and the input section tell them."""
TASK_GIVEN = ("num_classes", "frequencies")
"""Arguments of a task that its section leaves out: they come from the model and the training masks."""


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds.

    Attributes:
        path: the folder.
        model: in evaluation mode, with its weights.
        task: the task's section, {"name": ..., its arguments}.
        class_names: one per class.
        colors: of the classes, 0..255 per channel.
        dtype: data type of the images: "uint8", "uint16" or "float32".
        channels: of the images.
        recipe: all sections, the ones of training too where the bundle was trained by atrous.
        metrics: measured figures; NaN where undefined.
        classes: what the masks of the training held for each class, or None where the bundle knows names alone.
    """

    path: Path
    model: DenseModel
    task: dict[str, Any]
    class_names: tuple[str, ...]
    colors: tuple[Color, ...]
    dtype: str
    channels: int
    recipe: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    classes: "Classes | None" = None

    @property
    def origins(self) -> tuple[WeightsOrigin, ...]:
        """What the weights were started from; none for random numbers, and in older bundles."""
        return self.model.origins

    @property
    def flip_pairs(self) -> tuple[tuple[int, int], ...]:
        """Classes that are each other's mirror image; older bundles have them where their training's flips did."""
        if self.classes is not None and self.classes.flip_pairs:
            return self.classes.flip_pairs
        data = self.recipe.get("data")
        augment = data.get("augment") if isinstance(data, dict) else None
        for step in augment if isinstance(augment, list) else ():
            if isinstance(step, dict) and step.get("name") == "horizontal_flip":
                pairs, known = step.get("swap"), range(len(self.class_names))
                if isinstance(pairs, list):
                    return tuple((pair[0], pair[1]) for pair in pairs if _are_pair(pair, known))
        return ()

    def __repr__(self) -> str:
        """The network by its name, and what it tells apart; its layers would fill pages."""
        names = ", ".join(self.class_names[:SHOWN]) + (", ..." if len(self.class_names) > SHOWN else "")
        kind = f"{self.dtype} images of {self.channels} channel{'s' if self.channels > 1 else ''}"
        return f"Bundle({str(self.path)!r}: {self.model.spec.name}, {kind}, classes {names})"


def _are_pair(value: Any, known: range) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(one) is int and one in known for one in value)


def check_classes(names: Sequence[str], colors: Sequence[Color], num_classes: int, path: Path) -> None:
    """Raise BundleError unless there is one distinct name and one colour per class that the model decides."""
    if len(names) != num_classes:
        raise BundleError(
            f"{path}: {len(names)} class names ({', '.join(map(str, names[:8]))}) for a model of {num_classes} "
            "classes; give one name per class, in the order of the maps."
        )
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise BundleError(
            f"{path}: class names must be text, each different from the others; got {', '.join(map(str, names))}."
        )
    if len(colors) != len(names):
        raise BundleError(f"{path}: {len(colors)} colours for {len(names)} classes; give one per class, or none.")


def find_damage(model: DenseModel) -> str:
    """What is wrong with a model's numbers, such as a weight that is NaN; "" where nothing is.

    Such a model gives NaN or the first class for every pixel, without a word.
    """
    for name, value in model.state_dict().items():
        count = int((~value.isfinite()).sum())
        if count:
            return f"{name} has {count} of {value.numel()} numbers that are not finite"
        kind = name.rpartition(".")[2]
        if kind == "std" and not bool((value > 0).all()):
            return f"{name}, which images are divided by, is {value.tolist()}, and must be above 0"
        if kind == "running_var" and bool((value < 0).any()):
            return f"{name}, a variance, has numbers below 0"
    return ""


def read_color(value: Any, path: Path) -> Color:
    """Three numbers from 0 to 255, or a BundleError."""
    numbers = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if len(numbers) != 3 or not all(isinstance(n, int) and 0 <= n <= 255 for n in numbers):
        raise BundleError(
            f"{path}: got {describe_value(value)} as a colour, but a colour is three numbers from 0 to 255."
        )
    return numbers[0], numbers[1], numbers[2]
