"""From an image to scores: what the predictor drives, and how a network does it."""

import time
from functools import cached_property, partial
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrous.analysis import ReceptiveField, receptive_field
from atrous.analysis.probe import skeleton
from atrous.errors import ModelError, UsageError
from atrous.inference.devices import choose_device, choose_precision
from atrous.inference.engines import CompiledNetwork, Switch, read_engine
from atrous.inference.engines.base import AUTO, SMALLEST, is_installed
from atrous.inference.engines.store import NetworkOrigin
from atrous.inference.keeping import KeptNetwork
from atrous.inference.sampling import Grid, Sampled, find_dropouts
from atrous.models import DenseModel
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
        engine: what computes it: "torch", "openvino", "onnxruntime", or "auto": torch at first, then what is faster.
        origin: the bundle that the model was read from, where "auto" looks for it again.

    Raises:
        UsageError: if the machine does not have the device, the precision or the engine.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        *,
        device: str | torch.device = "auto",
        precision: str = "auto",
        engine: str = "auto",
        origin: NetworkOrigin | None = None,
    ) -> None:
        for name in ("num_classes", "in_channels", "alignment"):
            if not isinstance(getattr(model, name, None), int):
                raise ModelError(f"{type(model).__name__} has no {name}: give a DenseModel, see atrous.create_model")
        self.num_classes: int = model.num_classes  # type: ignore[assignment]
        self.in_channels: int = model.in_channels  # type: ignore[assignment]
        self.alignment: int = model.alignment  # type: ignore[assignment]
        self.task = task
        self.device = choose_device(device)
        self.dtype = choose_precision("auto" if precision == "int8" else precision, self.device)
        mean = getattr(model, "mean", None)
        self.fill = mean.detach().cpu().numpy().copy() if isinstance(mean, Tensor) else None
        self._skeleton = skeleton(model)
        self._kept = KeptNetwork(model, self.dtype, self.device, origin)
        self._switch = self._other_engine(model, read_engine(engine), precision, origin)

    def _other_engine(
        self, model: nn.Module, engine: str, precision: str, origin: NetworkOrigin | None
    ) -> Switch | None:
        """What computes beside torch, or None where torch alone does."""
        if precision == "int8":  # of a network that was quantised for it
            engine = _for_int8(engine, origin)
        if engine == "torch":
            return None
        if engine == "auto" and (
            self.device.type != "cpu" or precision == "float32" or origin is None or not is_installed(AUTO)
        ):
            return None
        if self.device.type != "cpu":
            raise UsageError(
                f"engine {engine}: it computes on the CPU, and the device is {self.device}; say device cpu."
            )
        if engine == "onnxruntime" and precision not in ("auto", "float32"):
            raise UsageError(f"engine {engine}: it computes in float32, and not in {precision}; say precision float32.")
        if not isinstance(model, DenseModel):
            raise UsageError(f"engine {engine}: a {type(model).__name__} is no DenseModel; say engine torch.")
        name = "float32" if engine == "onnxruntime" else "int8" if precision == "int8" else _name(self.dtype)
        statistics = model.mean.detach().cpu().clone(), model.std.detach().cpu().clone()
        network = partial(_compute_kept, self._kept, device=self.device, dtype=self.dtype)
        switch = Switch(network, statistics, name, origin, engine, taken=self._kept.release)
        if engine != "auto":
            switch.prepare(model)
        return switch

    @property
    def engine(self) -> str:
        """What computes the next image."""
        return "torch" if self._faster is None else self._faster.engine

    @property
    def precision(self) -> str:
        """The name of the precision that the next image is computed in."""
        return _name(self.dtype) if self._faster is None else self._faster.precision

    @property
    def _faster(self) -> CompiledNetwork | None:
        return None if self._switch is None else self._switch.ready

    def settle(self) -> None:
        """Let one engine compute all images from now on, for figures that are compared; see `Switch.settle`."""
        if self._switch is not None:
            self._switch.settle()

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
        return Sampled(self._kept.get(), self.dropouts, self._scores, seed)

    def __call__(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
        """Scores of every pixel.

        Raises:
            UsageError: if the device's memory does not hold the image.
        """
        return self._scores(None, image)

    def outputs(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """The network's own maps, before the task makes scores of them; for methods that work on logits.

        Raises:
            UsageError: if the device's memory does not hold the image.
        """
        return self._outputs(image)

    def _scores(self, network: nn.Module | None, image: Tensor) -> Tensor:
        """By a network that draws dropouts, or by that of this scorer, which alone an engine may compute."""
        with torch.inference_mode():
            if network is not None:
                return self.task.scores(_compute(network, image, self.device, self.dtype))
            if self._switch is not None and (faster := self._engine_for(image)) is not None:
                with self._switch.or_torch(), faster.running(image) as outputs:
                    scores = self.task.scores(outputs)
                    return scores.clone() if _shares(scores, outputs) else scores
            return self.task.scores(self._by_torch(image))

    def _outputs(self, image: Tensor) -> Outputs:
        if self._switch is not None and (faster := self._engine_for(image)) is not None:
            with self._switch.or_torch(), faster.running(image) as outputs:
                return {name: maps.clone() for name, maps in outputs.items()}
        return self._by_torch(image)

    def _engine_for(self, image: Tensor) -> CompiledNetwork | None:
        return self._faster if min(image.shape[-2:]) >= SMALLEST else None

    def _by_torch(self, image: Tensor) -> Outputs:
        start = time.perf_counter()
        outputs = _compute_kept(self._kept, image, self.device, self.dtype)
        if self._switch is not None:
            self._switch.spent(time.perf_counter() - start)
        return outputs


def _compute_kept(kept: KeptNetwork, image: Tensor, device: torch.device, dtype: torch.dtype) -> Outputs:
    return _compute(kept.get(), image, device, dtype)


def _compute(network: nn.Module, image: Tensor, device: torch.device, dtype: torch.dtype) -> Outputs:
    """The maps of an image as torch computes them.

    Raises:
        UsageError: if the device's memory does not hold the image.
    """
    try:
        with torch.inference_mode():
            moved = image.to(device, non_blocking=True).to(memory_format=torch.channels_last)
            short = dtype != torch.float32
            with torch.autocast(device.type, dtype if short else torch.bfloat16, enabled=short):
                outputs = network(moved)
            # Class maps one behind the other: a softmax over interleaved maps takes several times as long.
            return {name: maps.contiguous() for name, maps in outputs.items()}
    except RuntimeError as error:  # torch's OutOfMemoryError is one, and so is what its CPU allocator raises
        if not _is_out_of_memory(error):
            raise
    height, width = image.shape[-2:]
    raise UsageError(
        f"{height} x {width} pixels at once are more than the memory of {device} holds: use smaller tiles, "
        f"for example tile={max(64, min(height, width) // 4)}"
    )


def _for_int8(engine: str, origin: NetworkOrigin | None) -> str:
    if engine not in ("auto", AUTO):
        raise UsageError(f"precision int8: {engine} has none; say engine {AUTO} or auto.")
    if origin is None:
        raise UsageError("precision int8: a model that comes from no bundle has none; save it as a bundle first.")
    return AUTO


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _shares(scores: Tensor, outputs: Outputs) -> bool:
    """Whether scores are a view of the maps that they come from."""
    return any(scores.untyped_storage().data_ptr() == maps.untyped_storage().data_ptr() for maps in outputs.values())


def _is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in text or "out of memory" in text
