"""The report's sentences and lists of facts, from numbers that a run recorded."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from atrous.drawing import bare_class
from atrous.evaluation import true_pixels
from atrous.tasks import Measure

if TYPE_CHECKING:
    from atrous.bundle import Bundle
    from atrous.evaluation import Evaluation

__all__ = ["bare", "cautions", "data_facts", "headline", "lead", "seconds_of", "span"]

LogRows = Sequence[Mapping[str, str]]
Fact = tuple[str, str]

OBJECTS = ("seg", "average_precision", "average_precision_50", "objects", "found")
MEANS = ("mean_iou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou", "mean_boundary_f1")
"""Figures that the page has a place for; others are listed as they come."""


def cautions(bundle: "Bundle", measured: "Evaluation | None") -> list[str]:
    """What must be said before anything else: that hardly anything was trained, or learned.

    Args:
        bundle: of the run.
        measured: what the page shows, or None.
    """
    noted = bundle.metrics.get("cautions") or {}
    of_result = measured.caution if measured is not None else noted.get("result", "")
    return [text for text in (noted.get("steps", ""), of_result) if text]


def lead(bundle: "Bundle", summary: Mapping[str, Any], log: LogRows, measured: "Evaluation | None") -> str:
    """The run in one or two sentences.

    Args:
        bundle: of the run.
        summary: of the check of its data.
        log: of its training.
        measured: how good it is, or None.
    """
    model = bundle.model.spec
    encoder = model.arguments.get("encoder")
    article = "An" if model.name[0] in "aeio" else "A"  # a unet
    what = f"{article} {model.name} network" + (f" with a {encoder} encoder" if encoder else "")
    images = summary.get("splits", {}).get("train")
    learned = f" learned {len(bundle.class_names)} classes" + (f" from {images} images" if images else "")
    learned += f" in {span(seconds_of(log))}" if log else ""
    if measured is None:
        return f"{what}{learned}."
    count = f"{len(measured.images)} {measured.split} images"
    if "pixel_accuracy" in measured.summary:
        right = 100 * measured.summary["pixel_accuracy"]
        return f"{what}{learned}. Of the pixels of {count}, {right:.1f} % get the class that their masks give them."
    value = _number(measured.summary.get(measured.rank.name, math.nan))
    return f"{what}{learned}. The {measured.rank.words} over {count} is {value}."


def bare(names: Sequence[str], shares: Sequence[float], measured: "Evaluation | None") -> int | None:
    """The class that is not painted over images; none where classes may overlap."""
    if measured is not None and np.ndim(measured.matrix) == 3:
        return None
    if len(shares) != len(names):
        shares = true_pixels(measured.matrix)[0].tolist() if measured is not None and measured.matrix else []
    return bare_class(names, shares)


def headline(bundle: "Bundle", log: LogRows, measured: "Evaluation | None") -> list[tuple[str, str, str]]:
    """Label, value and explanation of the numbers to see first."""
    numbers = [] if measured is None else _scores(measured)
    if log:
        numbers.append(("Training", span(seconds_of(log)), f"{log[-1]['step']} steps"))
    if measured is not None and measured.images:
        each = 1000 * median(image.seconds for image in measured.images)
        numbers.append(("Prediction", f"{each:.0f} ms", "per image (median)"))
    parameters = sum(parameter.numel() for parameter in bundle.model.parameters())
    numbers.append(("Weights", f"{parameters / 1e6:.2f} M", "numbers that were learned"))
    if measured is not None:
        numbers.append(("Device", measured.notes.get("device", "").upper(), measured.notes.get("precision", "")))
    return numbers


def _scores(measured: "Evaluation") -> list[tuple[str, str, str]]:
    summary, numbers = measured.summary, []
    if "mean_iou" in summary:
        count = len(measured.class_names)
        numbers.append(("Mean IoU", f"{summary['mean_iou']:.3f}", f"of {count} classes; 1 is perfect"))
    if "pixel_accuracy" in summary:
        numbers.append(
            ("Pixel accuracy", f"{100 * summary['pixel_accuracy']:.1f} %", "of the labelled pixels are right")
        )
    if "seg" in summary:
        counts = f"{summary['objects']} objects, {summary['found']} predicted"
        overlap = "overlap of the true objects with what was found of them, 0 for those not found by half"
        why = measured.notes.get("objects") or overlap
        numbers.append(("SEG", _number(summary["seg"]), f"{why}; {counts}"))
    if "average_precision" in summary:
        half = _number(summary.get("average_precision_50", math.nan))
        why = f"of objects, over overlaps of 0.5 to 0.95; {half} at 0.5; 1 is perfect"
        numbers.append(("Average precision", _number(summary["average_precision"]), why))
    for key, value in summary.items():
        if key in (*MEANS, *OBJECTS) or isinstance(value, Mapping):
            continue
        measure = measured.rank if key == measured.rank.name else Measure(key)
        better = "higher is better" if measure.higher_is_better else "lower is better"
        why = "" if measure is not measured.rank else better + _perfect(measure)
        numbers.append((measure.words[0].upper() + measure.words[1:], _number(value), why))
    return numbers


def data_facts(summary: Mapping[str, Any], root: Any) -> list[Fact]:
    """What the check said of the data.

    Args:
        summary: of the check.
        root: the folder, or None.
    """
    facts = [("Folder", str(root))] if root else []
    if splits := summary.get("splits"):
        facts.append(("Images", ", ".join(f"{count} {name}" for name, count in splits.items())))
    if sizes := summary.get("sizes"):
        small, middle, large = (f"{h} × {w}" for h, w in (sizes["min"], sizes["median"], sizes["max"]))
        alike = sizes["distinct"] == 1
        facts.append(("Height × width", small if alike else f"{small} to {large}, median {middle}"))
    if "kind" in summary:
        channels = summary.get("num_channels")
        facts.append(("Numbers", f"{summary['kind']}, {channels} channel{'' if channels == 1 else 's'}"))
    if summary.get("mean"):
        pairs = zip(summary["mean"], summary["std"], strict=True)
        facts.append(("Mean ± deviation", ", ".join(f"{mean:.4g} ± {std:.3g}" for mean, std in pairs)))
    if summary.get("classes"):
        facts.append(("Classes", ", ".join(entry["name"] for entry in summary["classes"])))
    return facts


def seconds_of(log: LogRows) -> float:
    """How long the training took, by the last row of its log."""
    try:
        return float(log[-1]["seconds"])
    except (IndexError, KeyError, ValueError):
        return 0.0


def span(seconds: float) -> str:
    """A time span in words.

    Example:
        >>> span(7.26), span(178), span(7322)
        ('7.3 s', '2 min 58 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _perfect(measure: Measure) -> str:
    return "" if measure.perfect is None else f"; {measure.perfect:g} is perfect"


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "–" if math.isnan(value) else f"{value:.3f}"
