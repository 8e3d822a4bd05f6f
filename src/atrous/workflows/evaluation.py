"""How good a bundle is on labelled images: whole images of any size, one confusion matrix over all, and boundaries."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from atrous.errors import BundleError, DataError, UsageError, did_you_mean
from atrous.evaluation.objects import ObjectScores, score_objects, summarize_objects

if TYPE_CHECKING:
    from torch import Tensor

    from atrous.data import Folder, Pair
    from atrous.inference import Predictor

__all__ = ["Evaluation", "ImageResult", "evaluate", "labelled_pairs", "must_agree", "open_like"]


@dataclass(frozen=True)
class ImageResult:
    """How one image was segmented.

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
    """

    name: str
    mean_iou: float
    pixel_accuracy: float
    seconds: float
    boundary_f1: float = math.nan
    seg: float = math.nan
    objects: int = 0
    found: int = 0


@dataclass(frozen=True)
class Evaluation:
    """The scores of a bundle on one split of a data set.

    Attributes:
        bundle: what was evaluated.
        data: the data folder.
        split: which of its splits.
        class_names: of the bundle and of the data.
        matrix: counts, rows the true class, columns the decided one, over all images; where classes may overlap, for
            each class the same of "is it there?", no before yes.
        summary: see `atrous.metrics.summarize`; where boundaries were measured also "mean_boundary_f1", and by class
            "boundary_f1"; where objects are numbered "seg", "average_precision" (mean over the thresholds of the Data
            Science Bowl 2018, then over images), "average_precision_50" (at one half), "objects" and "found".
        images: one result for every image, in the order of the folder.
        seconds: of all predictions together.
        notes: `device`, `precision`, `tile`: how images were cut, and `refine`: what refined them, or nothing.
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

    def to_json(self) -> str:
        """The same as JSON text; what is undefined (NaN) is null."""
        return json.dumps(_without_nan(asdict(self)), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Evaluation":
        """Read what `to_json` wrote."""
        values = json.loads(text)
        values["summary"] = _with_nan(values["summary"])
        values["images"] = tuple(ImageResult(**_with_nan(image)) for image in values["images"])
        values["class_names"] = tuple(values["class_names"])
        return cls(**values)

    def write(self, path: str | Path) -> Path:
        """Write the JSON file, whole or not at all."""
        from atrous.disk import write_text

        return write_text(Path(path), self.to_json() + "\n")

    def table(self) -> str:
        """The scores for people: one line per class, and the means."""
        rows, total = true_pixels(self.matrix)
        width = max(12, *(len(name) for name in self.class_names))
        edges = self.summary.get("boundary_f1")
        lines = [
            f"{self.split}: {len(self.images)} images, {total:,} labelled pixels".replace(",", " "),
            "",
            f"{'class':<{width}}  {'IoU':>6}  {'found':>7}  {'share of pixels':>15}"
            + ("  boundary F1" if edges else ""),
        ]
        for name, count in zip(self.class_names, rows, strict=True):
            iou, found = self.summary["iou"][name], self.summary["accuracy"][name]
            share = f"{100 * count / total:.2f} %" if total else "-"
            edge = f"  {_score(edges[name]):>11}" if edges else ""
            lines.append(f"{name:<{width}}  {_score(iou):>6}  {_percent(found):>7}  {share:>15}{edge}")
        mean, accuracy = self.summary["mean_iou"], self.summary["pixel_accuracy"]
        edge = f"   boundary F1 {_score(self.summary['mean_boundary_f1'])}" if edges else ""
        lines += ["", f"mean IoU {_score(mean)}   pixel accuracy {_percent(accuracy)}{edge}"]
        if "seg" in self.summary:
            seg, mean, half = (self.summary[key] for key in ("seg", "average_precision", "average_precision_50"))
            lines.append(
                f"{self.summary['objects']} objects, {self.summary['found']} predicted: SEG {_score(seg)}   average "
                f"precision {_score(mean)} (at IoU 0.5: {_score(half)})"
            )
        if self.images:
            each = median(image.seconds for image in self.images)
            lines.append(f"{1000 * each:.0f} ms per image ({', '.join(v for v in self.notes.values() if v)})")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()

    def ranked(self) -> list[ImageResult]:
        """The images from the worst to the best mean IoU; those without a labelled pixel are left out."""
        return sorted((i for i in self.images if not math.isnan(i.mean_iou)), key=lambda image: image.mean_iou)


def evaluate(
    bundle: str | Path,
    data: str | Path,
    *,
    split: str = "val",
    tile: int | None = None,
    refine: Any = None,
    boundary: bool = True,
    device: str = "auto",
    precision: str = "auto",
    classes: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Segment every labelled image of a split and compare.

    Whole images are segmented, of any size, and one confusion matrix is summed over all of them. Ignored pixels count
    for nothing. Where a folder has no split files, it is split as it was for the training of the bundle.

    Args:
        bundle: a bundle, a run folder, or a Hugging Face Hub id.
        data: a data folder.
        split: one of its splits.
        tile: side of the tiles, or None for whole images at once.
        refine: what predictions are refined by, such as "crf:bilateral_xy=60"; None does what the bundle says, "none"
            nothing.
        boundary: also measure the boundary F1, which takes some 15 ms for an image of 360 x 480 with 12 classes.
        device: "auto", "cpu", "cuda", ...
        precision: "auto", "float32", "bfloat16" or "float16".
        classes: a classes.yaml to use instead of the folder's own.
        progress: called with the number of images done and of all.

    Raises:
        DataError: if the folder cannot be read or has no such split, or no mask in it.
        UsageError: if `refine` does not fit.
        BundleError: if the bundle's classes, channels or kind of image are not those of the data.
    """
    from atrous.workflows.runs import check_tile, load_predictor

    check_tile(tile)
    loaded, predictor = load_predictor(bundle, device=device, precision=precision, refine=refine)
    folder = open_like(loaded.recipe, data, classes)
    pairs = labelled_pairs(folder, split)
    must_agree(str(bundle), loaded, folder)
    overlapping = loaded.task["name"] == "multilabel"
    shape = (len(loaded.class_names), *((2, 2) if overlapping else (len(loaded.class_names),)))
    matrix, edges, images, cuts = np.zeros(shape, dtype=np.int64), [], [], []
    boundary = boundary and not overlapping
    objects: list[ObjectScores] = []
    for done, pair in enumerate(pairs):
        if progress is not None:
            progress(done, len(pairs))
        counts, edge, result, single = _one(predictor, pair, folder, tile, boundary=boundary)
        objects += [single] if single is not None else []
        matrix += counts
        edges.append(edge)
        images.append(result)
        cuts.append(predictor.last_note)
    if progress is not None:
        progress(len(pairs), len(pairs))
    return Evaluation(
        bundle=str(bundle),
        data=str(data),
        split=split,
        class_names=tuple(loaded.class_names),
        matrix=matrix.tolist(),
        summary=_summary(matrix, edges if boundary else [], loaded.class_names) | summarize_objects(objects),
        images=tuple(images),
        seconds=sum(image.seconds for image in images),
        notes=_notes(predictor, cuts),
    )


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


def open_like(recipe: dict[str, Any], data: str | Path, classes: str | Path | None = None) -> "Folder":
    """Open a data folder as the recipe did: its layout, its fold, or its seed and share where there is no split."""
    from atrous.data import open_folder

    section = recipe.get("data") or {}
    given = {"val_fraction": section.get("val_fraction", 0.2), "fold": section.get("fold")}
    return open_folder(data, classes=classes, seed=recipe.get("seed") or 0, layout=section.get("layout"), **given)


def labelled_pairs(folder: "Folder", split: str) -> list["Pair"]:
    """The images of a split that have a mask.

    Raises:
        DataError: if there is no such split, or no mask in it.
    """
    if split not in folder.splits:
        raise UsageError(f"{folder.root}: has no split {split!r}. {did_you_mean(split, folder.splits)}")
    # Objects stand for the foreground where a folder has no masks at all; elsewhere only masks tell the classes.
    masks = any(pair.mask for pair in folder.pairs)
    pairs = [pair for pair in folder.splits[split] if pair.mask or (pair.instances and not masks)]
    if not pairs:
        raise DataError(f"{folder.root}: no image of the split {split!r} has a mask to compare with; choose another.")
    return pairs


def _one(
    predictor: "Predictor", pair: "Pair", folder: "Folder", tile: int | None, *, boundary: bool
) -> tuple[np.ndarray, "Tensor", ImageResult, ObjectScores | None]:
    """Confusion counts, the boundary F1 of the classes, scores of one image, and how well its objects were found."""
    import torch

    from atrous.data.folder import read_pair
    from atrous.metrics import boundary_f1, mean_boundary_f1, summarize

    raster, truth, instances = read_pair(pair, folder)
    assert truth is not None  # labelled_pairs has seen to it
    start = time.perf_counter()
    prediction = predictor(raster.array, tile=tile, scores=False)
    seconds = time.perf_counter() - start
    decided, wanted = (torch.from_numpy(a.astype(np.int64)) for a in (prediction.classes, truth))
    counts = _count(prediction, wanted, len(predictor.class_names))
    # An image without a labelled pixel has a defined (zero) matrix but no score.
    summary = summarize(counts, predictor.class_names) if counts.sum() else {}
    scores = (summary.get("mean_iou", math.nan), summary.get("pixel_accuracy", math.nan))
    edge = boundary_f1(decided, wanted, len(predictor.class_names)) if boundary else torch.tensor([math.nan])
    single = None if instances is None else score_objects(prediction, instances, truth)
    seen = () if single is None else (single.seg, single.objects, single.found)
    result = ImageResult(pair.name, *scores, seconds, mean_boundary_f1(edge[None]), *seen)
    return counts.numpy(), edge, result, single


def _count(prediction: Any, wanted: "Tensor", classes: int) -> "Tensor":
    """The matrix of one image, see `Evaluation`."""
    import torch

    from atrous.metrics import confusion_matrix, label_counts, planes_of

    if prediction.labels is None:
        return confusion_matrix(torch.from_numpy(prediction.classes.astype(np.int64)), wanted, classes)
    return label_counts(torch.from_numpy(prediction.labels)[None], planes_of(wanted[None], classes))


def must_agree(bundle: str, loaded: Any, folder: "Folder") -> None:
    """The bundle's classes and image type are those of the data, or an error that names both."""
    ours, theirs = list(loaded.class_names), list(folder.classes.names)
    if ours != theirs:
        raise BundleError(
            f"{bundle}: decides the classes {ours}, but {folder.root} has {theirs}; "
            "give the bundle's classes, in this order, with --classes FILE."
        )
    if (loaded.kind, loaded.channels) != (folder.kind, folder.channels):
        raise BundleError(
            f"{bundle}: takes {loaded.kind} images of {loaded.channels} channels, but {folder.root} has "
            f"{folder.kind} images of {folder.channels}; convert the images, or train on images like these."
        )


def _summary(matrix: np.ndarray, edges: list["Tensor"], class_names: tuple[str, ...]) -> dict[str, Any]:
    import torch

    from atrous.metrics import class_boundary_f1, mean_boundary_f1, summarize

    summary = summarize(torch.from_numpy(matrix), class_names)
    if edges:
        scores = torch.stack(edges)
        summary["mean_boundary_f1"] = mean_boundary_f1(scores)
        summary["boundary_f1"] = dict(zip(class_names, class_boundary_f1(scores).tolist(), strict=True))
    return summary


def _notes(predictor: "Predictor", cuts: list[str]) -> dict[str, str]:
    """Where and how; of the images that were cut into tiles, what the predictor said of the last."""
    tiled = [text for text in cuts if not text.endswith("in one pass")]
    how = "whole images" if not tiled else f"{len(tiled)} of {len(cuts)} images by tiles, such as {tiled[-1]}"
    refine = f"refined by {predictor.refiner}" if predictor.refiner is not None else ""
    return {"device": predictor.device, "precision": predictor.precision, "tile": how, "refine": refine}


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
    return "-" if math.isnan(value) else f"{value:.3f}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"
