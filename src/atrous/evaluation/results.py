"""Results of an evaluation: of each image and of all, as JSON, as a table, and several joined to one."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch

from atrous.disk import write_text
from atrous.errors import UsageError
from atrous.evaluation.cautions import caution_of_result
from atrous.metrics import summarize
from atrous.tables import Place, check_arguments, check_value
from atrous.tasks import MEAN_IOU, Measure

__all__ = ["Evaluation", "ImageResult", "join", "true_pixels"]

_AGAIN = "write it again: atrous evaluate BUNDLE DATA -o FILE."
_FIGURES = dict[str, float | dict[str, float]]
JOINED = "the connected parts of a class were taken for objects, touching ones as one: task=instances tells them apart"
BY_CLASS = {"iou": "IoU", "dice": "Dice", "precision": "precision", "accuracy": "recall"}
"""What the figures of classes are called in tables; the class accuracy of FCN's paper is the recall."""
NOT_PRINTED = ("mean_accuracy", "frequency_weighted_iou")
TOLD = {"mean_iou", "pixel_accuracy", "mean_boundary_f1", "seg", "average_precision", "average_precision_50"}
TOLD |= {"objects", "found", *NOT_PRINTED}
"""Figures that have a place of their own in the table."""


@dataclass(frozen=True)
class ImageResult:
    """How one image was predicted. A figure that the task does not measure is NaN.

    Attributes:
        name: what the image is called in its folder.
        mean_iou: mean IoU over the classes of this image alone; NaN where no pixel is labelled.
        pixel_accuracy: share of its labelled pixels that are right; NaN where no pixel is labelled.
        seconds: time of the prediction, without the reading of the file.
        boundary_f1: see `atrous.metrics.boundary_f1`, mean over the classes of this image; NaN where undefined, or not
            asked for.
        seg: see `atrous.metrics.seg_score`, over the objects of this image; NaN where they are not numbered.
        objects: how many there are.
        found: how many were predicted.
        others: figures of tasks that measure something else, by name.
    """

    name: str
    mean_iou: float = math.nan
    pixel_accuracy: float = math.nan
    seconds: float = math.nan
    boundary_f1: float = math.nan
    seg: float = math.nan
    objects: int = 0
    found: int = 0
    others: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, seconds: float, figures: Mapping[str, float]) -> "ImageResult":
        """A result from the figures that an `Evaluator` gave."""
        own = {entry.name for entry in fields(cls)} - {"name", "seconds", "others"}
        known = {key: value for key, value in figures.items() if key in own}
        others = {key: value for key, value in figures.items() if key not in own}
        return cls(name=name, seconds=seconds, **known, others=others)  # type: ignore[arg-type]

    def figure(self, name: str) -> float:
        """A figure by its name; NaN where it was not measured."""
        return self.others.get(name, getattr(self, name, math.nan))

    def plain(self) -> dict[str, Any]:
        """As JSON has it: the other figures stand beside the rest."""
        values = asdict(self)
        return values | values.pop("others")


@dataclass(frozen=True)
class Evaluation:
    """The scores of a bundle on one split of a data set.

    Attributes:
        bundle: what was evaluated.
        data: the data folder.
        split: which of its splits.
        class_names: of the bundle and of the data.
        matrix: counts, rows the true class, columns the decided one, over all images; where classes may overlap, for
            each class the same of "is it there?", no before yes; [] where the task counts nothing of the kind.
        summary: a number, or numbers by class, under each name: those of `atrous.metrics.summarize`; where boundaries
            were measured also "mean_boundary_f1", and by class "boundary_f1"; where objects are numbered "seg",
            "average_precision" (mean over the thresholds of the Data Science Bowl 2018, then over images),
            "average_precision_50" (at one half), "objects" and "found"; or whatever else the task measures.
        images: one result for every image, in the order of the folder.
        seconds: of all predictions together.
        notes: `device`, `precision`, `engine`: what computed the network, `tile`: how images were cut, `refine`: what
            refined them, or nothing; and `objects`, where objects are numbered that the task does not tell apart.
        rank: the figure by which images are called good and bad.
    """

    bundle: str
    data: str
    split: str
    class_names: tuple[str, ...]
    matrix: list[Any]
    summary: dict[str, Any]
    images: tuple[ImageResult, ...]
    seconds: float
    notes: dict[str, str]
    rank: Measure = MEAN_IOU

    @property
    def how(self) -> str:
        """Where and how images were predicted, in words."""
        return ", ".join(note for key, note in self.notes.items() if note and key != "objects")

    @property
    def caution(self) -> str:
        """What must be said before any figure, or "": the result is no better than a constant answer."""
        return caution_of_result(self.matrix, self.summary)

    def to_json(self) -> str:
        """The same as JSON text; what is undefined (NaN) is null, and the rank is there where it is not mean IoU."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        values["images"] = [image.plain() for image in self.images]
        if self.rank == MEAN_IOU:
            del values["rank"]
        return json.dumps(_without_nan(values), indent=1)

    @classmethod
    def from_json(cls, text: str, *, source: str = "evaluation") -> "Evaluation":
        """Read what `to_json` wrote.

        Args:
            text: JSON.
            source: what messages call it.

        Raises:
            UsageError: if it holds something else.
        """
        place = Place(source)
        try:
            values = check_value(json.loads(text), dict[str, Any], what="it", place=place, error=UsageError)
            plain = check_value(values["images"], list[dict[str, Any]], what="images", place=place, error=UsageError)
            images = tuple(
                ImageResult.of(each.pop("name"), each.pop("seconds"), each) for each in map(_with_nan, plain)
            )
            values |= {"summary": _with_nan(values["summary"]), "images": images}
            rank = Measure(*values.pop("rank", MEAN_IOU))
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            what = f"has no {error}" if isinstance(error, KeyError) else f"is not an evaluation ({error})"
            raise UsageError(f"{source}: {what}.") from error
        for image in images:
            check_arguments(ImageResult, vars(image), place=place / "images", error=UsageError)
        check_value(values["summary"], _FIGURES, what="summary", place=place, error=UsageError)
        return cls(**check_arguments(cls, values, place=place, error=UsageError), rank=rank)

    @classmethod
    def read(cls, path: Path) -> "Evaluation":
        """Read the file that `write` wrote.

        Raises:
            UsageError: if it holds something else.
        """
        try:
            text = path.read_text(encoding="utf-8")
            return cls.from_json(text, source=str(path))
        except UnicodeDecodeError:
            raise UsageError(f"{path}: is not an evaluation, it is no text; {_AGAIN}") from None
        except UsageError as error:
            raise UsageError(f"{str(error).rstrip('.')}; {_AGAIN}") from error

    def write(self, path: str | Path) -> Path:
        """Write the JSON file, whole or not at all."""
        return write_text(path, self.to_json() + "\n")

    def table(self) -> str:
        """The scores for people: one line per class, and the means."""
        pixels = f"{true_pixels(self.matrix)[1]:,}".replace(",", " ") if self.matrix else ""
        lines = [f"WARNING: {self.caution}", ""] if self.caution else []
        lines += [f"{self.split}: {len(self.images)} images" + (f", {pixels} labelled pixels" if pixels else ""), ""]
        if columns := self._columns():
            lines += [*_rows(columns, self.class_names), ""]
        lines += self._figures()
        if self.images:
            each = median(image.seconds for image in self.images)
            lines.append(f"{1000 * each:.0f} ms per image ({self.how})")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()

    def ranked(self) -> list[ImageResult]:
        """The images from the worst to the best; those without the figure that ranks them are left out."""
        known = [image for image in self.images if not math.isnan(image.figure(self.rank.name))]
        lowest_first = self.rank.higher_is_better
        return sorted(known, key=lambda image: image.figure(self.rank.name), reverse=not lowest_first)

    def _columns(self) -> list[tuple[str, int, Mapping[str, str]]]:
        """Title, width and texts by class."""
        by_class = {key: value for key, value in self.summary.items() if isinstance(value, Mapping)}
        columns: list[tuple[str, int, Mapping[str, str]]] = []
        for key, title in BY_CLASS.items():
            if key in by_class:
                columns.append((title, max(len(title), 6), _texts(by_class.pop(key), _score)))
        if self.matrix:
            rows, total = true_pixels(self.matrix)
            shares = [f"{100 * count / total:.2f} %" if total else "-" for count in rows]
            columns.append(("share of pixels", 15, dict(zip(self.class_names, shares, strict=True))))
        if "boundary_f1" in by_class:
            columns.append(("boundary F1", 11, _texts(by_class.pop("boundary_f1"), _score)))
        for key, values in by_class.items():
            title = Measure(key).words
            columns.append((title, max(len(title), 6), _texts(values, _score)))
        return columns

    def _figures(self) -> list[str]:
        """The means: pixels, objects, and what else there is, a line each."""
        summary, lines = self.summary, []
        if "mean_iou" in summary:
            line = f"mean IoU {_score(summary['mean_iou'])}   pixel accuracy {_percent(summary['pixel_accuracy'])}"
            edge = summary.get("mean_boundary_f1")
            lines.append(line if edge is None else f"{line}   boundary F1 {_score(edge)}")
        if "seg" in summary:
            seg, mean, half = (summary[key] for key in ("seg", "average_precision", "average_precision_50"))
            lines.append(
                f"{summary['objects']} objects, {summary['found']} predicted: SEG {_score(seg)}   average "
                f"precision {_score(mean)} (at IoU 0.5: {_score(half)})"
            )
            lines += [self.notes["objects"]] if self.notes.get("objects") else []
        others = [(key, value) for key, value in summary.items() if key not in TOLD and not isinstance(value, Mapping)]
        if others:
            lines.append("   ".join(f"{self._words(key)} {_score(value)}" for key, value in others))
        return lines

    def _words(self, key: str) -> str:
        return self.rank.words if key == self.rank.name else Measure(key).words


def true_pixels(matrix: Any) -> tuple[np.ndarray, int]:
    """Pixels of each class by the truth, and all that are labelled; of an evaluation's matrix.

    Example:
        >>> true_pixels([[3, 1], [0, 2]])
        (array([4, 2]), 6)
        >>> true_pixels([[[5, 1], [1, 3]], [[8, 0], [2, 0]]])
        (array([4, 2]), 10)
    """
    counts = np.asarray(matrix, dtype=np.int64)
    if counts.ndim == 3:
        return counts[:, 1].sum(1), int(counts.sum((1, 2)).max(initial=0))
    rows = counts.sum(1)
    return rows, int(rows.sum())


def join(each: Sequence[Evaluation], *, bundle: str, split: str) -> Evaluation:
    """One evaluation over the images of several, such as those of folds.

    Counts are added up and summarised anew; SEG is pooled over all objects. Other figures are means over the images.

    Args:
        each: of one task, with the same classes.
        bundle: what the result calls the bundle.
        split: what it calls the split.
    """
    images = tuple(image for evaluation in each for image in evaluation.images)
    summary, matrix = _mean_summary(each), each[0].matrix
    if matrix:
        counts = torch.stack([torch.tensor(evaluation.matrix) for evaluation in each]).sum(0)
        summary, matrix = summary | summarize(counts, each[0].class_names), counts.tolist()
    edges = [image.boundary_f1 for image in images if not math.isnan(image.boundary_f1)]
    if edges:
        summary["mean_boundary_f1"] = fmean(edges)
    seconds = sum(evaluation.seconds for evaluation in each)
    return replace(each[0], bundle=bundle, split=split, matrix=matrix, summary=summary, images=images, seconds=seconds)


def _mean_summary(each: Sequence[Evaluation]) -> dict[str, Any]:
    """The figures of all, weighed by what they are means over."""
    objects = [sum(image.objects for image in one.images) for one in each]
    busy = [sum(image.objects + image.found > 0 for image in one.images) for one in each]
    weights = {"seg": objects, "average_precision": busy, "average_precision_50": busy}
    result: dict[str, Any] = {}
    for key in dict.fromkeys(key for one in each for key in one.summary):
        known = [(at, one.summary[key]) for at, one in enumerate(each) if key in one.summary]
        if key in ("objects", "found"):
            result[key] = sum(value for _, value in known)
            continue
        shares = [weights.get(key, [len(one.images) for one in each])[at] for at, _ in known]
        values = [value for _, value in known]
        if isinstance(values[0], Mapping):
            names = dict.fromkeys(name for value in values for name in value)
            result[key] = {name: _mean([value.get(name, math.nan) for value in values], shares) for name in names}
        else:
            result[key] = _mean(values, shares)
    return result


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """The weighted mean of what is defined."""
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if not math.isnan(value)]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else math.nan


def _rows(columns: Sequence[tuple[str, int, Mapping[str, str]]], class_names: Sequence[str]) -> list[str]:
    """A line for each class, or whatever else the columns are about, under a line of titles."""
    named = dict.fromkeys(name for _, _, texts in columns for name in texts)
    names = [*(name for name in class_names if name in named), *(name for name in named if name not in class_names)]
    width = max(12, *(len(name) for name in names))
    lines = [f"{'class':<{width}}" + "".join(f"  {title:>{room}}" for title, room, _ in columns)]
    for name in names:
        cells = (f"  {texts.get(name, '-'):>{room}}" for _, room, texts in columns)
        lines.append(f"{name:<{width}}" + "".join(cells))
    return lines


def _texts(values: Mapping[str, float], show: Callable[[float], str]) -> dict[str, str]:
    return {name: show(value) for name, value in values.items()}


def _without_nan(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _with_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_nan(item) for key, item in value.items()}
    return math.nan if value is None else value


def _score(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.3f}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"
