"""What every model promises, and the usual way to put one together: encoder, decoder, head."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from atrous.encoders.base import Encoder, keeps_corners
from atrous.encoders.origin import WeightsOrigin
from atrous.errors import ModelError
from atrous.layers import conv_bn_relu, fit, resize, unfit, unfit_grid
from atrous.memory import free_memory, in_bytes
from atrous.types import CellGrid, Outputs

__all__ = [
    "ContractExpand",
    "DenseModel",
    "EncoderDecoder",
    "ModelSpec",
    "NetworkSection",
    "Paper",
    "WithinMemory",
    "fcn_head",
]


@dataclass(frozen=True)
class ModelSpec:
    """How to build a model again: its key in `MODELS` and all its arguments, as plain YAML values."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Paper:
    """Where a model comes from, and what is known of it there.

    Attributes:
        year: of the first publication.
        title: of the paper.
        url: where it can be read.
        idea: what the model added to the field, in one sentence.
        num_classes: classes that `parameters` was counted with.
        parameters: weights of the paper's (or its authors') network, or None where no count is known.
        facts: short further facts of the paper: sizes, strides, scores.
    """

    year: int
    title: str
    url: str
    idea: str
    num_classes: int = 21
    parameters: int | None = None
    facts: tuple[str, ...] = ()


class DenseModel(nn.Module):
    """An image (B, C, H, W) of floats becomes `{"out": (B, K, H, W), name: (B, K', h, w), ...}`.

    `out` has the height and width of the image for every image size. In training a model may add outputs on their
    native grids under documented names, without what was padded, and says in `grids` where their cells stand; in
    evaluation there is only `out` and what the task needs. The image comes in its own numbers (8-bit 0..255, 16-bit
    0..65535, floats as they are); the model normalises it.

    Attributes:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        alignment: pixels of shift under which the network is exactly equivariant, away from the borders.
        grids: where the cells of each training output but `out` stand; None for cells that are spread evenly over the
            image, whatever its size. A task takes their labels from there.
        spec: name and arguments, set by `create_model`; what a bundle writes down.
        origins: what its weights were started from, set by `create_model` and what trains it; a bundle writes it down.
        mean: (C,) float32 buffer, taken off each channel; zeros until set.
        std: (C,) float32 buffer, each channel is divided by it; ones until set.
    """

    spec: ModelSpec
    origins: tuple[WeightsOrigin, ...] = ()
    grids: Mapping[str, CellGrid | None]
    mean: Tensor
    std: Tensor

    def __init__(self, num_classes: int, in_channels: int, alignment: int) -> None:
        super().__init__()
        if num_classes < 1 or in_channels < 1:
            raise ModelError(
                f"a model has {num_classes} classes and {in_channels} input channels: give at least 1 of each"
            )
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.alignment = alignment
        self.grids = {}
        self.register_buffer("mean", torch.zeros(in_channels))
        self.register_buffer("std", torch.ones(in_channels))

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next((parameter.dtype for parameter in self.parameters()), torch.float32)

    def normalize(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """(image - mean) / std, computed in float32 whatever autocast says, handed on in the type of the weights.

        Raises:
            ModelError: if the image has other channels than the model.
        """
        if image.ndim != 4 or image.shape[1] != self.in_channels:  # or it would be broadcast without a word
            raise ModelError(
                f"the image has shape {tuple(image.shape)}, the model reads (batch, {self.in_channels}, height, width)"
                f": give images of {self.in_channels} channels"
            )
        exact = image.to(self.mean.dtype)
        shape = (1, -1, 1, 1)
        return ((exact - self.mean.view(shape)) / self.std.view(shape)).to(self.dtype)

    def set_normalization(self, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor) -> None:
        """Set what `normalize` takes off and divides by, one value per channel in the image's own numbers.

        Raises:
            ModelError: if a length is not the number of channels, a value is not finite, or a `std` is not positive.
        """
        for name, values in (("mean", mean), ("std", std)):
            given = torch.as_tensor(values, dtype=torch.float32)
            if given.shape != (self.in_channels,):
                raise ModelError(
                    f"{name} has shape {tuple(given.shape)}, the model has {self.in_channels} input channels: "
                    f"give one value per channel"
                )
            if not given.isfinite().all() or (name == "std" and not (given > 0).all()):
                need = "finite and above 0" if name == "std" else "finite"
                raise ModelError(f"{name} is {given.tolist()}: every value must be {need}; check the images for NaN")
        with torch.no_grad():
            self.mean.copy_(torch.as_tensor(mean, dtype=torch.float32))
            self.std.copy_(torch.as_tensor(std, dtype=torch.float32))

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel, and auxiliary logits in training."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "DenseModel":
        """Move or cast the model; the normalisation stays float32, for 65535 overflows a half and blurs in a bfloat."""
        exact = (self.mean, self.std)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.mean.dtype in (torch.float16, torch.bfloat16):
            self.mean, self.std = (value.to(self.mean.device) for value in exact)
        return self


NetworkSection = DenseModel | str | dict[str, Any]
"""A network, its name, or its name with options: `{"name": "fcn8s", "encoder": "vgg16"}`."""


class EncoderDecoder(DenseModel):
    """Normalise, fit, encode, decode, classify, resize, crop: a model from finished parts.

    Args:
        encoder: turns the image into feature maps, finest first.
        decoder: turns the list of maps into one, with `decoder.out_channels` channels, at any stride.
        num_classes: maps in `out`.
        aux: name of an auxiliary output -> index of the level that it classifies. Evaluated in training only.
        head: turns the decoder's map into logits; a 1x1 convolution where none is given.
        align_corners: how logits become the image's size. True: the image is fitted to a multiple of the stride plus 1
            and the corners of both grids coincide, as in the networks of 321, 473 or 513 pixels. An encoder whose maps
            have no such corners (a stem of patches) is used as if False.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: nn.Module,
        num_classes: int,
        *,
        aux: Mapping[str, int] | None = None,
        head: nn.Module | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, encoder.in_channels, max(level.stride for level in encoder.levels))
        width: Any = decoder.out_channels
        self.encoder = encoder
        self.decoder = decoder
        self.head = head if head is not None else nn.Conv2d(width, num_classes, 1)
        self.align_corners = align_corners and keeps_corners(encoder)
        self.aux_levels = dict(aux or {})
        grid = CellGrid.cornered if self.align_corners else CellGrid.centred
        self.grids = {name: grid(encoder.levels[index].stride) for name, index in self.aux_levels.items()}
        self.aux_heads = nn.ModuleDict(
            {name: fcn_head(encoder.levels[index].channels, num_classes) for name, index in self.aux_levels.items()}
        )

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel as `out`; in training also the auxiliary logits on their levels' own grids."""
        height, width = image.shape[-2:]
        fitted = fit(self.normalize(image), self.alignment, extra=int(self.align_corners))
        features = self.encoder(fitted) if self.align_corners else self.encoder.fitted(fitted)
        logits = resize(
            self.head(self.decoder(features)),
            (fitted.shape[-2], fitted.shape[-1]),
            align_corners=self.align_corners,
        )
        outputs = {"out": unfit(logits, height, width)}
        if self.training:
            for name, head in self.aux_heads.items():
                outputs[name] = unfit_grid(head(features[self.aux_levels[name]]), height, width, self.grids[name])
        return outputs


class ContractExpand(DenseModel):
    """Normalise, fit, contract, expand, classify, crop: a U-Net from finished paths.

    Args:
        contracting: image to maps, finest first.
        expanding: maps to maps, finest first.
        head: finest map to logits.
        num_classes: maps in `out`.
        in_channels: channels of the image.
        alignment: stride of the coarsest map.
    """

    def __init__(
        self,
        contracting: nn.Module,
        expanding: nn.Module,
        head: nn.Module,
        num_classes: int,
        in_channels: int,
        *,
        alignment: int,
    ) -> None:
        super().__init__(num_classes, in_channels, alignment)
        self.contracting = contracting
        self.expanding = expanding
        self.head = head

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel as `out`."""
        height, width = image.shape[-2:]
        features = self.contracting(fit(self.normalize(image), self.alignment))
        return {"out": unfit(self.head(self.expanding(features)[0]), height, width)}


def fcn_head(channels: int, num_classes: int) -> nn.Sequential:
    """3x3 convolution to a quarter of the channels, dropout of 0.1, 1x1 convolution: torchvision's `FCNHead`.

    Example:
        >>> sum(p.numel() for p in fcn_head(1024, 21).parameters())
        2365205
    """
    return nn.Sequential(
        conv_bn_relu(channels, channels // 4), nn.Dropout(0.1), nn.Conv2d(channels // 4, num_classes, 1)
    )


_MAKERS = (torch.empty, torch.zeros, torch.ones)  # what layers make their weights with
_NUMBER = 4  # bytes


class WithinMemory(TorchFunctionMode):
    """Refuses weights for which there is no memory, before they are asked for, while a model is built.

    A system that gives out more memory than it has would end the process later, without a word.

    Args:
        name: of the model.

    Raises:
        ModelError: (inside) if there is less memory than that.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.total = 0
        self.free = free_memory() if torch.empty(0).device.type == "cpu" else None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in _MAKERS and self.free is not None and torch.device(given.get("device") or "cpu").type == "cpu":
            size = given.get("size", args[0] if args and isinstance(args[0], Sequence) else args)
            self.total += math.prod(size) * _NUMBER
            if self.total > self.free:
                raise ModelError(
                    f"the weights of this {self.name} take {in_bytes(self.total)} and more, and {in_bytes(self.free)} "
                    "of memory are free: give smaller arguments, such as its width or encoder, or choose another model"
                )
        return func(*args, **given)
