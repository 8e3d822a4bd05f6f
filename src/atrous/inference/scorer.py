"""From an image to scores: what the predictor drives, and how a network does it."""

from functools import cached_property
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrous.analysis import ReceptiveField, receptive_field
from atrous.analysis.probe import skeleton
from atrous.errors import ModelError, UsageError
from atrous.inference.devices import choose_device, choose_precision
from atrous.inference.prepare import prepare
from atrous.inference.sampling import Grid, Sampled, find_dropouts
from atrous.tasks import Task
from atrous.types import Outputs

__all__ = ["ModelScorer", "PixelScorer"]

# Sizes that no stride divides: a network whose resizing only fits at round sizes shows it.
_ODD_SIZE = (709, 837)


class PixelScorer(Protocol):
    """Anything that scores the pixels of an image: a network, an exported one, a forest.

    Attributes:
        num_classes: maps of scores.
        in_channels: channels of the image.
        alignment: pixels of shift under which the scores shift along exactly.
        margin: pixels that a score depends on, before and after its own; None where it looks at the whole image.
    """

    num_classes: int
    in_channels: int
    alignment: int

    @property
    def margin(self) -> tuple[int, int] | None:
        """Pixels that a score depends on, before and after its own."""

    def __call__(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
        """Scores of every pixel, of an image in its own numbers as float32."""


class ModelScorer:
    """A network as a `PixelScorer`, in evaluation, on a device, in a precision. Safe to share between threads.

    It holds a copy: what happens to the model afterwards does not reach it.

    Args:
        model: a `DenseModel`.
        task: turns the model's outputs into scores.
        device: "auto" takes the accelerator where there is one.
        precision: "auto" takes the fastest that the device has in hardware; "float32" computes what the model computes.

    Raises:
        UsageError: if the machine does not have the device or the precision.
    """

    def __init__(
        self, model: nn.Module, task: Task, *, device: str | torch.device = "auto", precision: str = "auto"
    ) -> None:
        for name in ("num_classes", "in_channels", "alignment"):
            if not isinstance(getattr(model, name, None), int):
                raise ModelError(f"{type(model).__name__} has no {name}: give a DenseModel, see atrous.create_model")
        self.num_classes: int = model.num_classes  # type: ignore[assignment]
        self.in_channels: int = model.in_channels  # type: ignore[assignment]
        self.alignment: int = model.alignment  # type: ignore[assignment]
        self.task = task
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device)
        mean = getattr(model, "mean", None)
        self.fill = mean.detach().cpu().numpy().copy() if isinstance(mean, Tensor) else None
        self._skeleton = skeleton(model)
        self._network = prepare(model, self.dtype, self.device)

    @property
    def precision(self) -> str:
        """The name of the precision that is computed in."""
        return str(self.dtype).removeprefix("torch.")

    @cached_property
    def field(self) -> ReceptiveField:
        """How far the network sees; found on first use."""
        return receptive_field(self._skeleton, in_channels=self.in_channels, size=_ODD_SIZE)

    @property
    def margin(self) -> tuple[int, int] | None:
        """Pixels before and after, enough for both axes; None where the network sees the whole image along one."""
        vertical, horizontal = self.field.vertical, self.field.horizontal
        if vertical is None or horizontal is None:
            return None
        return max(vertical.left, horizontal.left), max(vertical.right, horizontal.right)

    @property
    def unbounded_by(self) -> str | None:
        """The layer that makes the network see the whole image."""
        return self.field.unbounded_by

    @cached_property
    def dropouts(self) -> dict[str, list[Grid]]:
        """The dropouts that a prediction passes, which the view `mc:N` samples; found on first use."""
        return find_dropouts(self._skeleton, self.in_channels, self.alignment)

    def sampled(self, seed: int) -> Sampled:
        """The network with its dropouts drawing, for use in one thread."""
        return Sampled(self._network, self.dropouts, self._scores, seed)

    def __call__(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
        """Scores of every pixel.

        Raises:
            UsageError: if the device's memory does not hold the image.
        """
        return self._scores(self._network, image)

    def outputs(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """The network's own maps, before the task makes scores of them; for methods that work on logits.

        Raises:
            UsageError: if the device's memory does not hold the image.
        """
        return self._outputs(self._network, image)

    def _scores(self, network: nn.Module, image: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.task.scores(self._outputs(network, image))

    def _outputs(self, network: nn.Module, image: Tensor) -> Outputs:
        try:
            with torch.inference_mode():
                moved = image.to(self.device, non_blocking=True).to(memory_format=torch.channels_last)
                short = self.dtype != torch.float32
                with torch.autocast(self.device.type, self.dtype if short else torch.bfloat16, enabled=short):
                    outputs = network(moved)
                # Class maps one behind the other: a softmax over interleaved maps takes several times as long.
                return {name: maps.contiguous() for name, maps in outputs.items()}
        except RuntimeError as error:  # torch's OutOfMemoryError is one, and so is what its CPU allocator raises
            if not _is_out_of_memory(error):
                raise
        height, width = image.shape[-2:]
        raise UsageError(
            f"{height} x {width} pixels at once are more than the memory of {self.device} holds: use smaller tiles, "
            f"for example tile={max(64, min(height, width) // 4)}"
        )


def _is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in text or "out of memory" in text
