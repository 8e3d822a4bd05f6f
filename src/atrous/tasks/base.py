"""What every task can do, and the words it says it in.

A task is all that differs between kinds of work: what supervises a network, what its maps mean, what is decided from
them, how good that is, and what is written of it. Training, prediction, evaluation and report hold a task and ask it;
none of them knows which one it is. A new kind of work is one class in this folder and one line in `TASKS`, beside its
measures in `metrics/` and its readers in `data/`.

A class that inherits from `Task` has to say how it learns and decides (`losses`, `scores`, `decode`) and how it is
measured (`validator`, `evaluator`); everything else has a default that fits one class per pixel.

There are two ways to measure. The `validator` runs after every few hundred steps of a training: on the device, in
batches, over all processes, and it gives the few figures of the log. The `evaluator` sees what a person would get:
predictions of whole images, one by one; it gives every figure there is.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from atrous.drawing import Color
from atrous.errors import DataError
from atrous.tasks.outputs import Output, ResultTable, confidence, mask, uncertainty
from atrous.types import IGNORE_INDEX, Outputs, Prediction, Sample

__all__ = [
    "MEAN_ERROR",
    "MEAN_IOU",
    "PCK",
    "PIXEL_ACCURACY",
    "Evaluator",
    "LabelledFolder",
    "Measure",
    "Output",
    "Proposal",
    "ProposalFacts",
    "ResultTable",
    "Task",
    "Validator",
    "must_have_masks",
]


class Measure(NamedTuple):
    """A figure: its key, in which direction it is better, and what people call it.

    Attributes:
        name: key in a summary; the log has it as `val_NAME`.
        higher_is_better: False for errors.
        label: in tables and curves; the name without underscores where "".
        short: on the progress line; the label where "".
        perfect: the value of a result that could not be better, or None where nobody knows.

    Example:
        >>> Measure("mean_error", higher_is_better=False).words
        'mean error'
    """

    name: str
    higher_is_better: bool = True
    label: str = ""
    short: str = ""
    perfect: float | None = None

    @property
    def words(self) -> str:
        """What the figure is called in prose."""
        return self.label or self.name.replace("_", " ")

    def better(self, new: float, old: float | None) -> bool:
        """Whether a value is better than the best so far. One that is not a number never is.

        Example:
            >>> error = Measure("error", higher_is_better=False)
            >>> error.better(0.2, 0.3), error.better(0.3, 0.3), error.better(0.3, None)
            (True, False, True)
        """
        if new != new:
            return False
        return old is None or (new > old if self.higher_is_better else new < old)


MEAN_IOU = Measure("mean_iou", label="mean IoU", short="mIoU", perfect=1.0)
PIXEL_ACCURACY = Measure("pixel_accuracy", label="pixel accuracy", perfect=1.0)
MEAN_ERROR = Measure("mean_error", higher_is_better=False, label="mean error (px)", short="error", perfect=0.0)
PCK = Measure("pck", label="PCK", perfect=1.0)


@runtime_checkable
class Validator(Protocol):
    """Measures a network while it trains. An `nn.Module`, so that its state is on the device of the network."""

    def reset(self) -> None:
        """Forget all batches."""

    def update(self, scores: Float[Tensor, "B K H W"], batch: Sample) -> None:
        """Add a batch: its scores, and what supervises it."""

    def compute(self) -> dict[str, float]:
        """The task's `measures` by name, over all batches of all processes; NaN where undefined."""


@runtime_checkable
class Evaluator(Protocol):
    """Measures predictions of whole images.

    Attributes:
        ranks: the figure of `update` by which images are called good and bad.
    """

    ranks: Measure

    def update(self, prediction: Prediction, truth: Mapping[str, Any]) -> dict[str, float]:
        """Add an image.

        Args:
            prediction: of the image.
            truth: arrays under the keys of a sample: "mask", and "instances" where the data numbers objects;
                "keypoints" and "visible" of landmarks; "flip_pairs", which classes are each other's mirror image.

        Returns:
            The figures of this image alone, by name.
        """

    def compute(self) -> dict[str, Any]:
        """The figures over all images: a number under each name, or numbers by class."""

    @property
    def matrix(self) -> list[Any]:
        """Counts that others can add up and summarise anew, see `atrous.metrics.summarize`; [] where there are none."""


class Proposal(NamedTuple):
    """What a task suggests for some data.

    Attributes:
        section: of a recipe: the task's name and arguments.
        why: the reason, from the data.
    """

    section: dict[str, Any]
    why: str


@runtime_checkable
class LabelledFolder(Protocol):
    """What a task wants to know of an open data folder: `atrous.data.Folder` is one."""

    @property
    def root(self) -> Path: ...  # noqa: D102
    @property
    def multilabel(self) -> bool: ...  # noqa: D102
    @property
    def landmarks(self) -> bool: ...  # noqa: D102
    @property
    def splits(self) -> Mapping[str, Sequence[Any]]: ...  # noqa: D102


def must_have_masks(data: LabelledFolder) -> None:
    """Refuse a folder of landmarks.

    Raises:
        DataError: naming the folder.
    """
    if data.landmarks:
        raise DataError(
            f"{data.root}: its images have landmarks and no masks: train with task=landmarks, or add masks."
        )


@runtime_checkable
class ProposalFacts(Protocol):
    """What a task may base a proposal on; see `atrous.configure.Facts` for the meanings."""

    @property
    def task(self) -> Mapping[str, Any] | None: ...  # noqa: D102
    @property
    def landmarks(self) -> bool: ...  # noqa: D102
    @property
    def overlapping(self) -> bool: ...  # noqa: D102
    @property
    def apart(self) -> bool: ...  # noqa: D102
    @property
    def touching(self) -> float: ...  # noqa: D102
    @property
    def imbalance(self) -> float: ...  # noqa: D102
    @property
    def rarest(self) -> Any: ...  # noqa: D102
    def rare(self, times: float) -> Sequence[Any]: ...  # noqa: D102


@runtime_checkable
class Task(Protocol):
    """Turns outputs into losses, scores and decisions, and says how good they are.

    Attributes:
        num_classes: maps that a network of this task has.
        ignore_index: class of the pixels that count for nothing.
        extra_maps: how many of the maps stand for no class of the data, such as a border; they come last.
        pixelwise: whether `decode` looks at each pixel alone, so that tiles may be decoded one by one.
        exclusive: whether the maps are the probabilities of classes that exclude each other, and nothing else: what an
            adversary compares, and what `tune` chooses a refinement for.
        probabilities: how `scores` makes probabilities of the maps of `out`, which is what an ensemble averages: by a
            softmax over all of them, or by a sigmoid of each; "" where scores are something else.
        shows_classes: whether the classes of a prediction are all there is to see, so that the report may compare them
            with the mask; else it shows what `draw` gives.
        measures: what the validator computes: a column of the log each.
        monitor: the one of them that chooses the best weights and ends a training early.
    """

    num_classes: int
    ignore_index: int = IGNORE_INDEX
    extra_maps: int = 0
    pixelwise: bool = False
    exclusive: bool = False
    probabilities: Literal["softmax", "sigmoid", ""] = ""
    shows_classes: bool = True
    measures: tuple[Measure, ...] = (MEAN_IOU, PIXEL_ACCURACY)
    monitor: Measure = MEAN_IOU

    @classmethod
    def maps_beside(cls, arguments: Mapping[str, Any]) -> int:
        """How many maps the network has beside those of the classes, by the arguments of a recipe: `extra_maps`."""
        return cls.extra_maps

    def check_names(self, class_names: Sequence[str]) -> None:
        """Look at what the classes of the data are called, before a training or a prediction begins.

        Raises:
            RecipeError: if an argument names a class that there is not.
        """
        return

    @property
    def needs_frequencies(self) -> bool:
        """Whether the losses wait for class frequencies of the training images."""
        return False

    @abstractmethod
    def losses(self, outputs: Outputs, batch: Sample) -> dict[str, Tensor]:
        """Weighted losses by name; their sum is what training minimises."""

    def divisors(self, batch: Sample) -> dict[str, Float[Tensor, ""]]:
        """What the mean of each loss divides by, so that the batches of a step are weighed by what is labelled.

        Args:
            batch: what supervises it; needs no outputs.

        Returns:
            By the names of `losses`, "aux.NAME" standing for all auxiliary outputs. Losses that are not named weigh
            all batches alike.
        """
        return {}

    @abstractmethod
    def scores(self, outputs: Outputs) -> Float[Tensor, "B K H W"]:
        """Scores that may be averaged over tiles and views, float32."""

    @abstractmethod
    def decode(self, scores: Float[Tensor, "K H W"]) -> Prediction:
        """The decision for one image."""

    @abstractmethod
    def validator(self) -> Validator:
        """A fresh state for a validation, see the module."""

    @abstractmethod
    def evaluator(self, class_names: Sequence[str], *, boundary: bool = True) -> Evaluator:
        """A fresh state for an evaluation, see the module.

        Args:
            class_names: of the data, one per class.
            boundary: also measure the outlines, where the task knows how.
        """

    def files(self, class_names: Sequence[str], colors: Sequence[Color]) -> list[Output]:
        """What `predict` stores of every image, the mask first if there is one. Asked once, before images are read.

        Args:
            class_names: one per class.
            colors: one per class.
        """
        return [mask(class_names, colors), confidence(), uncertainty(len(class_names))]

    def tables(self, class_names: Sequence[str]) -> list[ResultTable]:
        """The tables that `predict` writes into its folder, with lines for every image.

        Args:
            class_names: one per class.
        """
        return []

    def draw(self, prediction: Prediction, image: np.ndarray, colors: Sequence[Color]) -> np.ndarray:
        """The prediction over its image (H, W, C), for people: (H, W, 3) uint8."""
        return prediction.overlay(image, colors)

    @classmethod
    def accepts(cls, data: LabelledFolder) -> None:
        """Refuse data that cannot teach this task.

        Raises:
            DataError: naming the folder, what is lacking, and what to do.
        """
        must_have_masks(data)
        if data.multilabel:
            raise DataError(
                f"{data.root}: its masks have a plane for each class, and classes may overlap: train with "
                "task=multilabel, or write masks with one class per pixel."
            )

    @classmethod
    def propose(cls, facts: ProposalFacts) -> Proposal | None:
        """The task's section for a recipe where the data asks for this task; None where another one may answer."""
        return None
