"""Exactly how far each output pixel of a network sees, found by running it without numbers.

The network runs once on tensors that have shapes and no values. Every operation is seen as it happens and moves the
dependence on the image along (`propagation`), so the answer follows from what the network does, not from what its parts
are called, and holds for skips, up-sampling, dilation and any mixture of them.

Source of the intervals: Araujo, Norris, Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill 2019,
https://distill.pub/2019/computing-receptive-fields, whose one-number recursion is extended here to one interval for
each phase of the output: a U-Net of depth 4 sees 188 pixels from some positions and 204 from others.
"""

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from atrous.analysis.call import Call, Rule
from atrous.analysis.layout import Factor, Layout, constant
from atrous.analysis.probe import main_output, meta_image, run_blank, skeleton, watch_modules
from atrous.analysis.propagation import RULES, elementwise, is_elementwise, is_even
from atrous.errors import ModelError

__all__ = ["Reach", "ReceptiveField", "alignment", "receptive_field", "receptive_fields"]

_SIZE = (512, 640)  # different, so that the axes cannot be mistaken for each other; multiples of 128
_FOLD_LIMIT = 1 << 20  # elements of a constant that is worth computing


class Reach(NamedTuple):
    """What an output pixel sees along one axis, at most over all positions.

    Attributes:
        left: pixels before its own place (above it, for the vertical axis).
        right: pixels after its own place.
        size: pixels from the first to the last that it sees; less than left + 1 + right where the positions that look
            farthest to the left are not those that look farthest to the right.
    """

    left: int
    right: int
    size: int


@dataclass(frozen=True)
class ReceptiveField:
    """What an output pixel sees of the image; None along an axis of which it sees everything.

    Attributes:
        vertical: reach along the rows, or None.
        horizontal: reach along the columns, or None.
        unbounded_by: the layer and operation that made the network see everything, or None.
        stride: image pixels per output pixel along the rows; None where the output sees everything.
    """

    vertical: Reach | None
    horizontal: Reach | None
    unbounded_by: str | None = None
    stride: Fraction | None = None


def receptive_field(
    model: nn.Module, *, in_channels: int | None = None, size: tuple[int, int] = _SIZE
) -> ReceptiveField:
    """Exactly how far the output pixels of a model see, in evaluation.

    The answer is for the main output (a tensor, or `out` of a dict). For an output on a coarser grid, the own place of
    position `i` is pixel `i * stride`.

    Args:
        model: any network of the operations in `propagation.RULES`; it is not changed.
        in_channels: channels of the image; by default what the model or its first convolution says.
        size: height and width of the image that is run. Sizes that the strides of a network do not divide show whether
            its resizing drifts against the image, which counts as seeing everything.

    Raises:
        ModelError: if the model uses an operation that is not known here, with the layer that does.

    Example:
        >>> receptive_field(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3))).vertical
        Reach(left=1, right=6, size=8)
    """
    return _field(propagate(model, in_channels, size), size)


def receptive_fields(
    model: nn.Module, *, in_channels: int | None = None, size: tuple[int, int] = _SIZE
) -> dict[str, ReceptiveField]:
    """The receptive field of what each module inside a model puts out, by its path; `""` is the model itself.

    Of a module that runs several times the first time counts, of several outputs the first. Modules whose output is no
    map are left out.

    Args:
        model: any network of the operations in `propagation.RULES`; it is not changed.
        in_channels: channels of the image; by default what the model or its first convolution says.
        size: height and width of the image that is run.

    Raises:
        ModelError: if the model uses an operation that is not known here, with the layer that does.

    Example:
        >>> fields = receptive_fields(nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3)))
        >>> [fields[name].vertical.size for name in "012"]
        [3, 4, 8]
    """
    fields: dict[str, ReceptiveField] = {}

    def note(path: str, outputs: object, follow: "_Follow") -> None:
        maps = [value for value in tree_leaves(outputs) if isinstance(value, Tensor)]
        if maps and path not in fields:
            fields[path] = _field(follow.layout_of(maps[0]).joined(), size)

    propagate(model, in_channels, size, note)
    return fields


def _field(layout: Layout, size: tuple[int, int]) -> ReceptiveField:
    """What a layout says of the reach along both axes of an image of some size."""
    reaches: list[Reach | None] = []
    reasons = [reason for reason in layout.everywhere if reason]
    for axis, length in enumerate(size):
        factor = _factor(layout, axis)
        if layout.everywhere[axis]:
            reaches.append(None)
        elif factor is None:
            reaches.append(Reach(0, 0, 0))
        elif factor.size == length and factor.footprint.period != factor.footprint.shift:
            reasons.append(f"the output: resized by ratios that do not divide an image of {size[0]} x {size[1]}")
            reaches.append(None)
        else:
            reaches.append(Reach(*factor.footprint.reach()))
    rows = _factor(layout, 0)
    stride = None if rows is None else Fraction(rows.footprint.shift, rows.footprint.period)
    return ReceptiveField(reaches[0], reaches[1], reasons[0] if reasons else None, stride)


def alignment(model: nn.Module, *, in_channels: int | None = None, size: tuple[int, int] = _SIZE) -> int | None:
    """The shift of the image, in pixels, under which the output shifts along exactly, away from the borders.

    Args:
        model: any network of the operations in `propagation.RULES`.
        in_channels: channels of the image; by default what the model or its first convolution says.
        size: height and width of the image that is run.

    Returns:
        The smallest such shift that holds for both axes, or None where the output sees the whole image.

    Example:
        >>> alignment(nn.Sequential(nn.MaxPool2d(4), nn.Upsample(scale_factor=4)), in_channels=1)
        4
    """
    layout = propagate(model, in_channels, size)
    if any(layout.everywhere):
        return None
    factors = [_factor(layout, axis) for axis in (0, 1)]
    return lcm(*(factor.footprint.shift for factor in factors if factor is not None))


def _factor(layout: Layout, axis: int) -> Factor | None:
    return next((factor for dim in layout.dims for factor in dim if factor.axis == axis), None)


def propagate(
    model: nn.Module,
    in_channels: int | None,
    size: tuple[int, int],
    on_leave: "Callable[[str, object, _Follow], None] | None" = None,
) -> Layout:
    """The dependence of the model's output on its image."""
    bare = skeleton(model)
    image = meta_image(model, in_channels, size)
    follow = _Follow()
    note = None if on_leave is None else lambda path, outputs: on_leave(path, outputs, follow)
    with torch.no_grad(), watch_modules(bare, note) as stack:
        follow.stack = stack
        follow.layouts[image] = Layout.of_image(image.shape)
        try:
            with follow:
                output = main_output(bare(image), model)
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            place = f"layer {stack[-1]!r}" if stack and stack[-1] else "its forward"
            text = str(error).split("\n")[0]
            raise ModelError(
                f"{type(model).__name__} could not be analysed: {place} failed on a blank image: {text}"
            ) from error
    return follow.layout_of(output).joined()


class _Follow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation and notes for its results how they depend on the image."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stack: list[str] = []
        self.layouts: MutableMapping[Tensor, Layout] = WeakIdKeyDictionary()
        self.values: MutableMapping[Tensor, Tensor] = WeakIdKeyDictionary()
        self.poolings: MutableMapping[Tensor, Call] = WeakIdKeyDictionary()

    def layout_of(self, tensor: Tensor) -> Layout:
        """The dependence of a tensor; one that was never seen is a constant."""
        return self.layouts.get(tensor) or constant(tensor.shape)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        arguments = _bind(func, args, kwargs or {})
        results = run_blank(func, args, kwargs)
        outputs = [r for r in (results if isinstance(results, (list, tuple)) else [results]) if isinstance(r, Tensor)]
        name = func._schema.name.split("::")[-1]
        name = name[:-1] if name.endswith("_") else name
        place = self.stack[-1] if self.stack else ""
        where = f"{place} ({name})" if place else f"the model's forward ({name})"
        call = Call(name, arguments, outputs, where, self.layout_of, self.values.get, self.poolings.get)
        if not any(self.layout_of(tensor).tracked for tensor in call.tensors()):
            self._fold(func, args, kwargs or {}, outputs)
            self._note_constants(is_even(func, call), call)
            return results
        rule = _rule(func, name, place)
        if not outputs:
            raise ModelError(f"the model takes values out of its maps in {where}: its reach cannot be analysed")
        layout = rule(call)
        for output in outputs:
            self._note(output, layout, call)
        if name == "max_pool2d_with_indices":
            self.poolings[outputs[1]] = call
        return results

    def _note(self, output: Tensor, layout: Layout, call: Call) -> None:
        if tuple(output.shape) != layout.shape:
            if output.ndim != len(layout.dims):
                return  # a by-product, such as the statistics of a norm
            layout = layout.with_dims(  # the shorter last piece of a split
                tuple(
                    dim if len(dim) == 1 and dim[0].size == n else (Factor(n),)
                    for dim, n in zip(layout.dims, output.shape, strict=True)
                )
            )
        in_place = any(output is tensor for tensor in call.tensors())
        if in_place and output._is_view() and self.layout_of(output) != layout:
            raise ModelError(f"{call.where} writes into part of a map: its reach cannot be analysed")
        self.layouts[output] = layout

    def _note_constants(self, even: bool, call: Call) -> None:
        for output in call.results:
            self.layouts[output] = constant(output.shape, even=even)
            base = output._base if any(output is tensor for tensor in call.tensors()) else None
            if base is not None:  # something was written into a part of it
                self.layouts[base] = constant(base.shape)

    def _fold(self, func: Any, args: Any, kwargs: dict[str, Any], outputs: list[Tensor]) -> None:
        """Compute what does not depend on the image for real, so that index arithmetic keeps its values."""
        if len(outputs) != 1 or outputs[0].numel() > _FOLD_LIMIT or outputs[0].is_floating_point():
            return
        known: list[bool] = []

        def real(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return type(value)(real(item) for item in value)
            if isinstance(value, Tensor):
                known.append(value.device.type != "meta" or self.values.get(value) is not None)
                return self.values.get(value, value)
            return torch.device("cpu") if isinstance(value, torch.device) else value

        real_args, real_kwargs = real(tuple(args)), {key: real(value) for key, value in kwargs.items()}
        if all(known):
            self.values[outputs[0]] = func(*real_args, **real_kwargs)


def _bind(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an operation by name, defaults filled in."""
    bound = {}
    for position, argument in enumerate(func._schema.arguments):
        given = args[position] if position < len(args) else kwargs.get(argument.name)
        if given is None and position >= len(args) and argument.name not in kwargs and argument.has_default_value():
            given = argument.default_value
        bound[argument.name] = given
    return bound


def _rule(func: Any, name: str, place: str) -> Rule:
    if name in RULES:
        return RULES[name]
    if is_elementwise(func):
        return elementwise
    layer = f"layer {place!r}" if place else "the model's forward"
    raise ModelError(f"{layer} uses {func}, whose reach is not known: add a rule to atrous.analysis.propagation.RULES")
