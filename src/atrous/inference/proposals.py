"""Prediction object by object: a network made for windows around objects, run over proposed boxes.

Noh, Hong, Han, "Learning Deconvolution Network for Semantic Segmentation", ICCV 2015, https://arxiv.org/abs/1505.04366.
Each box of the image is brought to the size of the network's window and its logits back to the box. Where boxes
overlap, the largest logit of each class counts, starting from 0; the task makes scores of these (a softmax).

The authors take the 50 best of about 2,000 boxes of Edge Boxes and skip those with a side below 112 pixels. Edge Boxes
is not in this package: bring boxes of your own, or take `sliding_boxes`, a grid at several scales.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from atrous.augment.geometry import resize as resize_sample
from atrous.errors import UsageError
from atrous.images.source import Source, open_source
from atrous.inference.predictor import Predictor
from atrous.inference.scorer import ModelScorer
from atrous.layers import resize
from atrous.types import Prediction

__all__ = ["Box", "aggregate", "predict_boxes", "sliding_boxes"]

Box = tuple[int, int, int, int]
"""Top, left, bottom, right in pixels; bottom and right are the first rows and columns after the box."""

WINDOW = 224
SCALES = (1.0, 0.5, 1 / 3)


def predict_boxes(
    predictor: Predictor,
    image: Any,
    boxes: Iterable[Sequence[int]] | None = None,
    *,
    size: int = WINDOW,
    smallest: int = 1,
    batch_size: int = 8,
) -> Prediction:
    """Predict an image from windows around its objects.

    Pixels in no box have the same score for every class, and so the first class, the background.

    Args:
        predictor: of a network; its task decides.
        image: what the predictor takes.
        boxes: (top, left, bottom, right) each; they may leave the image, which goes on in the mean of the training
            images. None takes `sliding_boxes`.
        size: side that every box is brought to.
        smallest: boxes with a shorter side are skipped; the authors have 112.
        batch_size: boxes at once.

    Raises:
        DataError: if the image cannot be read.
        UsageError: if a box is empty or outside the image, or the predictor does not run a network.
    """
    scorer = predictor.scorer
    if not isinstance(scorer, ModelScorer):
        raise UsageError(f"a {type(scorer).__name__} gives no logits for single boxes: make the predictor of a network")
    with open_source(image, channels=scorer.in_channels, exif=predictor.exif) as source:
        predictor.check_source(source)
        height, width = source.shape[:2]
        given = sliding_boxes(height, width) if boxes is None else [_checked(box, height, width) for box in boxes]
        kept = [box for box in given if min(box[2] - box[0], box[3] - box[1]) >= smallest]
        total = torch.zeros(scorer.num_classes, height, width, device=scorer.device)
        for start in range(0, len(kept), batch_size):
            some = kept[start : start + batch_size]
            windows = torch.stack([_window(source, box, size, scorer.fill) for box in some])
            aggregate(total, scorer.outputs(windows)["out"].float(), some)
    scores = scorer.task.scores({"out": total[None]})[0]
    return replace(scorer.task.decode(scores), scores=scores.cpu().numpy())


def sliding_boxes(height: int, width: int, *, scales: Sequence[float] = SCALES, overlap: float = 0.5) -> list[Box]:
    """The whole image, and square boxes at several scales that overlap and cover it.

    Args:
        height: of the image.
        width: of the image.
        scales: sides of the boxes, in shorter sides of the image.
        overlap: least share of a box's side that it has in common with the next, 0 <= overlap < 1.

    Example:
        >>> sliding_boxes(100, 160, scales=[1.0])
        [(0, 0, 100, 160), (0, 0, 100, 100), (0, 30, 100, 130), (0, 60, 100, 160)]
    """
    if not 0 <= overlap < 1 or not all(scale > 0 for scale in scales):
        raise UsageError(
            f"boxes of scales {list(scales)} overlapping by {overlap}: give scales > 0, and 0 <= overlap < 1"
        )
    boxes: list[Box] = [(0, 0, height, width)]
    for scale in scales:
        side = min(max(1, round(scale * min(height, width))), height, width)
        rows, columns = (_starts(length, side, overlap) for length in (height, width))
        boxes += [(top, left, top + side, left + side) for top in rows for left in columns]
    return list(dict.fromkeys(boxes))


def aggregate(total: Float[Tensor, "K H W"], logits: Float[Tensor, "B K h w"], boxes: Sequence[Box]) -> None:
    """Raise `total` to the logits of each box, brought to the box's size, wherever they are larger.

    Example:
        >>> total, logits = torch.zeros(1, 2, 3), torch.tensor([5.0, -1.0, 2.0])
        >>> aggregate(total, logits.reshape(3, 1, 1, 1), [(0, 0, 2, 2), (0, 0, 2, 3), (1, 1, 3, 4)])
        >>> total[0]
        tensor([[5., 5., 0.],
                [5., 5., 2.]])
    """
    height, width = total.shape[-2:]
    for window, (top, left, bottom, right) in zip(logits, boxes, strict=True):
        there = resize(window[None], (bottom - top, right - left))[0]
        rows, columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
        part = there[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        torch.maximum(total[:, rows, columns], part, out=total[:, rows, columns])


def _window(source: Source, box: Box, size: int, fill: np.ndarray | None) -> Float[Tensor, "C h w"]:
    """The pixels of a box, `fill` outside the image, resized as in training: shrinking does not alias."""
    top, left, bottom, right = box
    height, width, channels = source.shape
    rows, columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
    out = np.empty((bottom - top, right - left, channels), np.float32)
    out[:] = 0 if fill is None else fill
    inside = source.read(rows, columns).as_floats(fill)
    out[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = inside
    image = torch.from_numpy(out).permute(2, 0, 1).contiguous()  # (h, w, C) -> (C, h, w)
    return resize_sample({"image": image}, size, size)["image"]


def _starts(length: int, side: int, overlap: float) -> list[int]:
    """Evenly spaced starts of boxes that cover an axis."""
    steps = -(-(length - side) // max(1, int(side * (1 - overlap))))
    return [round(index * (length - side) / steps) for index in range(steps + 1)] if steps else [0]


def _checked(box: Sequence[int], height: int, width: int) -> Box:
    numbers = [int(value) for value in box]
    if len(numbers) != 4:
        raise UsageError(f"box {list(box)}: give top, left, bottom, right")
    top, left, bottom, right = numbers
    if top >= bottom or left >= right or bottom <= 0 or right <= 0 or top >= height or left >= width:
        raise UsageError(
            f"box {numbers} holds no pixel of an image of {height} x {width}: give top, left, bottom, right with "
            f"top < bottom and left < right"
        )
    return top, left, bottom, right
