"""The training and validation step, as Lightning drives them."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from atrous.errors import AtrousError
from atrous.models import DenseModel
from atrous.training.averaging import WeightAverage, measure_statistics
from atrous.training.distributed import World, average_gradients, from_leader, sum_over_processes, summed
from atrous.training.memory import quick_gradients
from atrous.training.state import RunState
from atrous.training.stream import mix

if TYPE_CHECKING:
    from atrous.training.adversary import Adversary

Schedules = Callable[[int], Callable[[int], float]]
"""From the length of a run to the multiplier of its learning rates by step."""

__all__ = ["LARGEST", "Schedules", "TrainingModule", "pieces"]

LARGEST = 2048
"""Validation images with a longer side are validated in pieces of this size."""


class TrainingModule(pl.LightningModule):
    """A model, its task and its optimiser.

    Learning rates are set, and torch is seeded, at the start of each step from the number of the step alone. What the
    engine calls a batch is all that one optimiser step sees: a list of batches whose gradients are averaged, each
    weighed by what it has labelled.

    Args:
        model: image to outputs.
        task: losses, scores and metrics.
        optimizer: holds the model's parameters; its rates now are those at multiplier 1.
        schedule: the multiplier of the learning rates by step, for a run of so many steps.
        seed: of the run.
        state: where the run stands; its `step` is counted here.
        clip: largest norm of the gradient, or None.
        average: weights that follow the model's and are validated in their place, or None.
        statistics: images on which an even average has its normalisations measured anew.
        adversary: a network that learns to tell masks from outputs, or None.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Any,
        *,
        optimizer: Optimizer,
        schedule: Schedules,
        seed: int,
        state: RunState,
        clip: float | None = None,
        average: WeightAverage | None = None,
        statistics: Callable[[], Iterable[Tensor]] = tuple,
        adversary: "Adversary | None" = None,
        world: World = World(),  # noqa: B008 (a plain tuple)
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.task, self.seed, self.state, self.clip = model, task, seed, state, clip
        self.schedule, self.average, self.adversary, self.world = schedule, average, adversary, world
        self.statistics = statistics
        self.validator = task.validator()
        self.spread: Callable[[Any], None] | None = None
        self._optimizer = optimizer
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self._validation: list[tuple[Tensor, int]] = []
        self._shown = ExitStack()
        self._began = 0.0
        self._measured = 0

    @property
    def rate(self) -> float:
        """Learning rate of the first group at the step now being taken, or last taken."""
        return float(self._optimizer.param_groups[0]["lr"])

    def on_fit_start(self) -> None:
        """Bring along what the engine does not know of."""
        if self.adversary is not None:
            self.adversary.to(self.device)

    def configure_model(self) -> None:
        """Spread the model over the processes where that was asked for."""
        if self.spread is not None:
            self.spread(self.device_mesh["data_parallel"])
            self.spread = None

    def configure_optimizers(self) -> Optimizer:
        """The optimiser that was handed in: its state may come from a checkpoint."""
        return self._optimizer

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Raise what a loader worker could not, and lay images out as convolutions like them."""
        if isinstance(batch, AtrousError):
            raise batch
        if isinstance(batch, list):
            return [self.transfer_batch_to_device(part, device, dataloader_idx) for part in batch]
        batch = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
        batch["image"] = batch["image"].contiguous(memory_format=torch.channels_last)
        return batch

    def on_train_batch_start(self, batch: list[dict[str, Tensor]], batch_idx: int) -> None:
        """Make the step a function of its number: learning rates and random numbers."""
        state = self.state
        self._expect()
        factor = self.schedule(state.max_steps)(state.step)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        if self.adversary is not None:
            self.adversary.set_step(state.step, state.max_steps)
        torch.manual_seed(mix(self.seed, state.step, self.world.rank))

    def training_step(self, batches: list[dict[str, Tensor]], batch_idx: int) -> dict[str, Tensor]:
        """One optimiser step: the loss, and its parts by name, as means over what the batches have labelled."""
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        progress = torch.tensor(min(self.state.step / max(self.state.max_steps, 1), 1.0))
        result: dict[str, Tensor] = {}
        learns = self.adversary is None or self.adversary.trains_segmenter
        for batch, shares in zip(batches, self._shares(batches), strict=True):
            with quick_gradients(self.device):
                outputs = self.model(batch["image"])
            parts = self.task.losses(outputs, batch | {"progress": progress, "grids": getattr(self.model, "grids", {})})
            if self.adversary is not None:
                parts |= self.adversary.segmenter_losses(outputs, batch, self._seen(batch))
            parts = {name: _weighed(name, part, shares, len(batches)) for name, part in parts.items()}
            loss = torch.stack(list(parts.values())).sum() if len(parts) > 1 else next(iter(parts.values()))
            if learns:
                self.manual_backward(loss)
            for name, part in {"loss": loss, **{f"part_{name}": part for name, part in parts.items()}}.items():
                result[name] = result.get(name, 0) + part.detach()
        if learns:
            optimizer.step()
        if self.adversary is not None:
            result |= self.adversary.update(outputs, batch, self._seen(batch), backward=self._adversary_backward)
        self.state.step += 1  # from here on the run stands one step further
        self._expect()
        if self.average is not None:
            self.average.update(self.state.step)
        return result

    def _shares(self, batches: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Of each batch the weight of each of its losses, by how much of what the step has labelled lies in it.

        They sum to 1 over the batches of all processes, times the processes: their gradients are averaged.
        """
        if len(batches) * self.world.processes == 1:
            return [{}]
        each = [self.task.divisors(batch) for batch in batches]
        names = sorted(each[0])
        if not names:
            return [{} for _ in batches]
        own = torch.stack([torch.stack([divisors[name] for name in names]) for divisors in each])
        total = summed(own.sum(0))
        alike = torch.full_like(own, 1 / len(batches))
        weights = torch.where(total > 0, own * self.world.processes / torch.where(total > 0, total, 1.0), alike)
        return [dict(zip(names, row, strict=True)) for row in weights]

    def _seen(self, batch: dict[str, Tensor]) -> Tensor:
        """The image as the network sees it."""
        return self.model.normalize(batch["image"]) if isinstance(self.model, DenseModel) else batch["image"]

    def _adversary_backward(self, loss: Tensor) -> None:
        assert self.adversary is not None
        torch.autograd.backward(loss)  # unscaled at any precision: the scaling for float16 is the segmenter's
        average_gradients(list(self.adversary.parameters()))

    def _expect(self) -> None:
        if self.state.budget is not None:
            self.state.expect(from_leader(self.state.elapsed()))

    @contextmanager
    def kept(self) -> Iterator[None]:
        """The weights that are validated and kept in the place of the trained ones: the average, once there is one."""
        if self.average is None or not self.average.begun:
            yield
            return
        with self.average.applied():
            if self.average.decay is None and self._measured != self.average.count:
                measure_statistics(self.model, self.statistics())
                self._measured = self.average.count
            yield

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip by the norm; here gradients that were scaled for float16 are their own size again."""
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)

    def on_validation_epoch_start(self) -> None:
        """Begin a validation, of the averaged weights where there are some."""
        self._began = time.perf_counter()
        self._shown.enter_context(self.kept())
        self.validator.reset()
        self._validation.clear()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """One whole image, or its pieces where it is very large."""
        # The last images of an uneven set are read by two processes, because all must run the model equally often.
        counts = (
            batch_idx * self.world.processes + self.world.rank == int(batch["index"][0]) or self.world.processes == 1
        )
        for part in pieces(batch, LARGEST):
            outputs = self.model(part["image"])
            if not counts:
                continue
            self.validator.update(self.task.scores(outputs), part)
            labelled = int((part["mask"] != self.task.ignore_index).sum()) if "mask" in part else 1
            if labelled:  # the mean over no pixel is not a number
                loss = torch.stack(list(self.task.losses(outputs, part).values())).sum()
                self._validation.append((loss.float(), labelled))

    def on_validation_epoch_end(self) -> None:
        """Leave the scores in the state."""
        self.state.scores = {**self.summarize(), "val_loss": self._mean_loss()}
        self._shown.close()
        self.state.validation_seconds = time.perf_counter() - self._began

    def summarize(self) -> dict[str, float]:
        """The task's measures over the data set, by their names in the log."""
        return {f"val_{name}": float(value) for name, value in self.validator.compute().items()}

    def _mean_loss(self) -> float:
        total, pixels = sum_over_processes(
            [
                math.fsum(float(loss) * count for loss, count in self._validation),
                float(sum(count for _, count in self._validation)),
            ]
        )
        return total / pixels if pixels else float("nan")


def _weighed(name: str, part: Tensor, shares: dict[str, Tensor], batches: int) -> Tensor:
    """A loss by the share of its batch; one without shares counts as much in every batch of the step."""
    output, _, term = name.rpartition(".")
    share = shares.get(f"aux.{term}" if output else term)
    if share is not None:
        return part * share.to(part.dtype)
    return part / batches if batches > 1 else part


def pieces(batch: dict[str, Tensor], size: int) -> Sequence[dict[str, Tensor]]:
    """The batch itself, or pieces of at most `size` pixels a side.

    The pieces lack context at their seams. That is good enough to choose weights by; `evaluate` predicts by tiles.
    """
    height, width = batch["image"].shape[-2:]
    if max(height, width) <= size:
        return [batch]

    def cut(key: str, value: Tensor, top: int, left: int) -> Tensor:
        if key in ("keypoints", "center"):
            return value - value.new_tensor([left, top])
        if key == "box":
            return value - value.new_tensor([left, top, 0, 0])
        return value[..., top : top + size, left : left + size] if value.ndim > 2 else value

    corners = [(top, left) for top in range(0, height, size) for left in range(0, width, size)]
    return [{key: cut(key, value, *corner) for key, value in batch.items()} for corner in corners]
