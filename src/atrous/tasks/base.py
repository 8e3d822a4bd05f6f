"""What every task can do."""

from typing import TYPE_CHECKING, Protocol

from jaxtyping import Float, Int
from torch import Tensor

from atrous.types import Outputs, Prediction, Sample

if TYPE_CHECKING:
    from torchmetrics import Metric

__all__ = ["Task"]


class Task(Protocol):
    """Turns outputs into losses, scores and decisions.

    Attributes:
        num_classes: maps that a network of this task has.
        ignore_index: class of the pixels that count for nothing.
        extra_maps: how many of them stand for no class of the data, such as a border; they come last.
        pixelwise: whether `decode` looks at each pixel alone, so that tiles may be decoded one by one.
        needs_frequencies: whether the losses wait for class frequencies of the training images.
    """

    num_classes: int
    ignore_index: int
    pixelwise: bool
    extra_maps: int

    @property
    def needs_frequencies(self) -> bool:
        """Whether the losses wait for class frequencies of the training images."""

    def losses(self, outputs: Outputs, batch: Sample) -> dict[str, Tensor]:
        """Weighted losses by name; their sum is what training minimises."""

    def scores(self, outputs: Outputs) -> Float[Tensor, "B K H W"]:
        """Scores that may be averaged over tiles and views, float32."""

    def decide(self, scores: Float[Tensor, "B K H W"]) -> Int[Tensor, "B H W"]:
        """The class of every pixel, quickly: what validation looks at while a network trains."""

    def decode(self, scores: Float[Tensor, "K H W"]) -> Prediction:
        """The decision for one image."""

    def metrics(self) -> "Metric":
        """A fresh data-set-level state, updated with (classes, mask)."""
