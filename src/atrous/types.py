"""Words shared by all rooms of the house: samples, outputs, levels, predictions."""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from math import lcm
from typing import NamedTuple, TypedDict

import numpy as np
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from atrous import drawing
from atrous.errors import UsageError

__all__ = ["DTYPES", "IGNORE_INDEX", "SHOWN", "CellGrid", "Level", "Outputs", "Prediction", "Progress", "Sample"]

IGNORE_INDEX = 255
"""Class of pixels that count for nothing: unlabelled, nodata, NaN."""

PICTURE = 480
"""Longest side of the picture of a prediction in a notebook, in pixels."""

SHOWN = 4
"""Class names in a line about a prediction."""

DTYPES = ("uint8", "uint16", "float32")
"""What an image's numbers may be. Models receive them unscaled, as float32."""

Outputs = dict[str, Tensor]
"""What a model returns: `out` always, and auxiliary names in training."""

Progress = Callable[[int, int], None]
"""Is called with how much is done, and how much there is to do as far as it is known."""


class CellGrid(NamedTuple):
    """Where the cells of a training output stand: cell i at pixel start + i * stride, on both axes.

    Pixel centres are integers. Both numbers are exact, because 0.75 of an image has cells of 32/3 pixels.

    Attributes:
        stride: pixels from one cell to the next.
        start: the pixel of the first cell.
    """

    stride: Fraction
    start: Fraction

    @classmethod
    def centred(cls, stride: int | Fraction) -> "CellGrid":
        """Cells that are squares of `stride` pixels, beginning at the corner of the image.

        Example:
            >>> CellGrid.centred(8)
            CellGrid(stride=Fraction(8, 1), start=Fraction(7, 2))
        """
        return cls(Fraction(stride), Fraction(stride - 1) / 2)

    @classmethod
    def cornered(cls, stride: int | Fraction) -> "CellGrid":
        """The first cell on the first pixel, as where corners are aligned."""
        return cls(Fraction(stride), Fraction(0))

    def within(self, factor: int) -> "CellGrid":
        """The same cells in the pixels of an image that was reduced by a factor."""
        return CellGrid(self.stride * factor, self.start * factor + Fraction(factor - 1, 2))

    def cells(self, length: int) -> int:
        """How many cells stand on an image of so many pixels, or less than half a cell beyond it.

        Example:
            >>> [CellGrid.cornered(8).cells(length) for length in (321, 324, 325)], CellGrid.centred(8).cells(33)
            ([41, 41, 42], 5)
        """
        per_pixel, offset = 1 / self.stride, Fraction(1, 2) - self.start / self.stride
        whole = lcm(per_pixel.denominator, offset.denominator)  # whole numbers, for sizes that are symbols in a graph
        return ((length - 1) * int(per_pixel * whole) + int(offset * whole)) // whole + 1


class Sample(TypedDict, total=False):
    """One image and whatever the task supervises; a batch is the same with a leading B.

    `progress`, which a batch of training may have, is the share of the run that is done, 0..1: losses whose weight
    changes over the run read it. `flip_pairs` holds the numbers of classes that are each other's mirror image, such as
    left and right hand: whatever mirrors a sample exchanges them in its mask; of landmarks it exchanges the points.
    `grids` says of the training outputs where their cells stand: a model's `grids`.

    `keypoints` are x and y of each landmark in pixels, pixel centres at integers, NaN where absent; `visible` says 0
    absent, 1 hidden, 2 visible. Where every entry of the data has them, `center` is x and y of the person or animal
    that is meant, and `box` x, y, width and height of its box.
    """

    image: Float[Tensor, "*B C H W"]
    mask: Int[Tensor, "*B H W"]
    weight: Float[Tensor, "*B H W"]
    instances: Int[Tensor, "*B H W"]
    keypoints: Float[Tensor, "*B P 2"]
    visible: UInt8[Tensor, "*B P"]
    center: Float[Tensor, "*B 2"]
    box: Float[Tensor, "*B 4"]
    index: Int[Tensor, "*B"]
    progress: Float[Tensor, ""]
    flip_pairs: Int[Tensor, "F 2"]
    grids: Mapping[str, CellGrid | None]


class Level(NamedTuple):
    """A feature map of an encoder: its channels, and how many input pixels one feature pixel stands for (rounded)."""

    channels: int
    stride: int


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a segmenter says of one image. Two are equal where all that they hold is.

    Attributes:
        classes: (H, W) uint8 (uint16 above 256 classes), the decided class of every pixel; where classes may overlap,
            the likeliest of those that are there, and 255 where none is.
        confidence: (H, W) float16 in 0..1, the score of the decided class.
        scores: (K, H, W) float32, or None where they were not kept.
        uncertainty: (H, W) float32, or None.
        instances: (H, W) int32, or None.
        labels: (K, H, W) bool, each class where it is, where classes may overlap; or None.
        keypoints: (P, 3) float32 x, y, score with pixel centres at integers, or None.
        valid: (H, W) bool, False where the image has no data and `classes` says nothing; None where all of it has.
        class_names: one per class, or () where they are not known.
        colors: red, green, blue in 0..255 of each class, or () where they are not known.
    """

    classes: np.ndarray
    confidence: np.ndarray
    scores: np.ndarray | None = None
    uncertainty: np.ndarray | None = None
    instances: np.ndarray | None = None
    labels: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    valid: np.ndarray | None = None
    class_names: tuple[str, ...] = ()
    colors: tuple[drawing.Color, ...] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prediction):
            return NotImplemented
        return all(_same(getattr(self, field.name), getattr(other, field.name)) for field in fields(self))

    __hash__ = None  # type: ignore[assignment]  # arrays can change

    def __repr__(self) -> str:
        """What it holds, by size and type, in a line: arrays of millions of numbers say nothing.

        Example:
            >>> Prediction(np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.float16), class_names=("soil", "weed"))
            Prediction(classes=uint8 (4, 5), confidence=float16 (4, 5), class_names=('soil', 'weed'))
        """
        held = [(field.name, getattr(self, field.name)) for field in fields(self) if field.name != "colors"]
        return f"Prediction({', '.join(f'{name}={_short(value)}' for name, value in held if _is_held(value))})"

    def overlay(self, image: np.ndarray, colors: Sequence[drawing.Color] | None = None) -> np.ndarray:
        """The classes in colour over the image, with lines where they meet; objects are outlined and numbered.

        The background is not painted, nor is a class that fills more than half of the image.

        Args:
            image: (H, W) or (H, W, C), the array that was predicted; other kinds than 8-bit are stretched.
            colors: of the classes; those of the prediction where None, and a palette where it has none.

        Returns:
            (H, W, 3) uint8.

        Raises:
            UsageError: if the image has another height or width.
        """
        if image.shape[:2] != self.classes.shape:
            ours, theirs = (" x ".join(map(str, shape)) for shape in (self.classes.shape, image.shape[:2]))
            raise UsageError(f"the prediction has {ours} pixels, but the image has {theirs}: give the image it is of")
        shown = drawing.to_display(image)
        palette = self._palette(colors)
        return drawing.overlay(shown, self.classes, palette, objects=self.instances, bare=self._bare(len(palette)))

    def _bare(self, count: int) -> int | None:
        """The class that is not painted: the one that objects stand before, or that nearly all pixels have."""
        if self.labels is not None:  # each may lie over another
            return None
        if self.instances is not None or not self.class_names:
            return 0
        pixels = np.bincount(self.classes.ravel(), minlength=count)[:count]
        return drawing.bare_class(self.class_names, pixels.tolist())

    def _palette(self, colors: Sequence[drawing.Color] | None = None) -> Sequence[drawing.Color]:
        if colors or self.colors:
            return colors or self.colors
        known = self.classes[self.classes != IGNORE_INDEX]
        count = int(known.max(initial=0)) + 1
        return drawing.default_colors(self.class_names or ["background", *map(str, range(1, count))])

    def _repr_html_(self) -> str:
        """A picture of the classes and their names, for notebooks."""
        colors = self._palette()
        shown = self.classes if self.instances is None else drawing.apart(self.classes, self.instances)
        picture = drawing.data_uri(drawing.paint(drawing.shrink(shown, PICTURE, labels=True), colors), flat=True)
        names = self.class_names or tuple(map(str, range(len(colors))))
        seen = [number for number in np.unique(self.classes).tolist() if number < min(len(names), len(colors))]
        legend = " ".join(
            f'<span style="background:rgb{colors[number]};padding:0 .6em">&nbsp;</span> {html.escape(names[number])}'
            for number in seen
        )
        words = "{} x {} classes".format(*self.classes.shape)
        return f'<figure><img src="{picture}" alt="{words}"><figcaption>{legend}</figcaption></figure>'


def _is_held(value: object) -> bool:
    return isinstance(value, np.ndarray) or value not in (None, ())


def _short(value: object) -> str:
    """An array as its type and shape, a long tuple as its length."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    if isinstance(value, tuple) and len(value) > SHOWN:
        return f"({', '.join(map(repr, value[:SHOWN]))}, and {len(value) - SHOWN} more)"
    return repr(value)


def _same(one: object, other: object) -> bool:
    """Equality of two fields; NaN equals itself."""
    if not isinstance(one, np.ndarray) or not isinstance(other, np.ndarray):
        return one is other or (type(one) is type(other) and one == other)
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
