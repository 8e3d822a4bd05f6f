"""The training and validation step, as Lightning drives them."""

from collections.abc import Callable, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from atrous.errors import AtrousError
from atrous.training.state import RunState
from atrous.training.stream import mix

__all__ = ["LARGEST", "TrainingModule", "pieces"]

LARGEST = 2048
"""Validation images with a longer side are validated in pieces of this size."""


class TrainingModule(pl.LightningModule):
    """A model, its task and its optimiser.

    Learning rates are set, and torch is seeded, at the start of each step from the number of the step alone.

    Args:
        model: image to outputs.
        task: losses, scores and metrics.
        optimizer: holds the model's parameters; its rates now are those at multiplier 1.
        multiplier: of the learning rates, by step.
        seed: of the run.
        state: where the run stands; its `step` is counted here.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Any,
        *,
        optimizer: Optimizer,
        multiplier: Callable[[int], float],
        seed: int,
        state: RunState,
    ) -> None:
        super().__init__()
        self.model, self.task, self.seed, self.state = model, task, seed, state
        self.multiplier = multiplier
        self.metric = task.metrics()
        self._optimizer = optimizer
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self._validation: list[tuple[Tensor, int]] = []

    @property
    def rate(self) -> float:
        """Learning rate of the first group at the step now being taken, or last taken."""
        return float(self._optimizer.param_groups[0]["lr"])

    def configure_optimizers(self) -> Optimizer:
        """The optimiser that was handed in: its state may come from a checkpoint."""
        return self._optimizer

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Raise what a loader worker could not, and lay images out as convolutions like them."""
        if isinstance(batch, AtrousError):
            raise batch
        batch = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
        batch["image"] = batch["image"].contiguous(memory_format=torch.channels_last)
        return batch

    def on_train_batch_start(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Make the step a function of its number: learning rates and random numbers."""
        factor = self.multiplier(self.state.step)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        torch.manual_seed(mix(self.seed, self.state.step))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """The loss, and its parts by name."""
        parts = self.task.losses(self.model(batch["image"]), batch)
        loss = torch.stack(list(parts.values())).sum() if len(parts) > 1 else next(iter(parts.values()))
        return {"loss": loss, **{f"part_{name}": part.detach() for name, part in parts.items()}}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the norm. Lightning's own refuses fused optimisers, which is needed only where losses are scaled."""
        if gradient_clip_val is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), gradient_clip_val)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Count the steps: from here on the run stands one step further."""
        super().optimizer_step(*args, **kwargs)
        self.state.step += 1

    def on_validation_epoch_start(self) -> None:
        """Begin a validation."""
        self.metric.reset()
        self._validation.clear()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """One whole image, or its pieces where it is very large."""
        for part in pieces(batch, LARGEST):
            outputs = self.model(part["image"])
            self.metric.update(self.task.scores(outputs).argmax(1), part["mask"])
            labelled = int((part["mask"] != self.task.ignore_index).sum())
            if labelled:  # the mean over no pixel is not a number
                loss = torch.stack(list(self.task.losses(outputs, part).values())).sum()
                self._validation.append((loss.float(), labelled))

    def on_validation_epoch_end(self) -> None:
        """Leave the scores in the state."""
        self.state.scores = {**self.summarize(), "val_loss": self._mean_loss()}

    def summarize(self) -> dict[str, float]:
        """Scores over all pixels of the data set, by their names in the log."""
        from atrous.metrics import summarize

        matrix = self.metric.compute()
        summary = summarize(matrix, [str(index) for index in range(len(matrix))])
        return {f"val_{name}": float(summary[name]) for name in ("mean_iou", "pixel_accuracy")}

    def _mean_loss(self) -> float:
        pixels = sum(count for _, count in self._validation)
        return sum(float(loss) * count for loss, count in self._validation) / pixels if pixels else float("nan")


def pieces(batch: dict[str, Tensor], size: int) -> Sequence[dict[str, Tensor]]:
    """The batch itself, or pieces of at most `size` pixels a side.

    The pieces lack context at their seams. That is good enough to choose weights by; `evaluate` predicts by tiles.
    """
    height, width = batch["image"].shape[-2:]
    if max(height, width) <= size:
        return [batch]

    def cut(value: Tensor, top: int, left: int) -> Tensor:
        return value[..., top : top + size, left : left + size] if value.ndim > 2 else value

    corners = [(top, left) for top in range(0, height, size) for left in range(0, width, size)]
    return [{key: cut(value, *corner) for key, value in batch.items()} for corner in corners]
