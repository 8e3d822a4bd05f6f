"""The settings of a dense CRF for a bundle, chosen by labelled images and written into it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt, MinLen

from atrous.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from atrous.crf.learn import Sample, Search
    from atrous.data import Folder, Pair
    from atrous.inference import Predictor
    from atrous.workflows.evaluation import Evaluation

__all__ = ["Grid", "Tuning", "tune_crf"]

Choice = Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)]


@dataclass(frozen=True)
class Grid:
    """What is tried: all combinations of the bilateral term's numbers, then finer steps around the best.

    Attributes:
        bilateral_xy: standard deviations of position, in pixels.
        bilateral_rgb: standard deviations of colour, in 8-bit units.
        bilateral_weight: weights.
        gaussian_xy: standard deviation of the term of positions, as it is.
        gaussian_weight: its weight, as it is.
        iterations: updates.
        refinements: how many times the steps are halved around the best.
        score: what the best has most of: a name in `atrous.metrics.METRICS`.
    """

    bilateral_xy: Choice = (8.0, 24.0, 72.0)
    bilateral_rgb: Choice = (3.0, 8.0, 20.0)
    bilateral_weight: Choice = (2.0, 4.0, 8.0)
    gaussian_xy: Annotated[float, Gt(0)] = 3.0
    gaussian_weight: Annotated[float, Ge(0)] = 3.0
    iterations: Annotated[int, Ge(1)] = 5
    refinements: Annotated[int, Ge(0)] = 1
    score: str = "mean_iou"


@dataclass(frozen=True)
class Tuning:
    """What was found.

    Attributes:
        bundle: the folder.
        refine: the section of the best settings, {"name": "crf", ...}.
        images: how many images the settings were chosen by.
        tried: how many settings.
        before: all images of the split without a CRF.
        after: and refined with the best settings.
        written: whether the bundle refines so from now on; it does not where it would score no higher.
        score: what was compared.
    """

    bundle: Path
    refine: dict[str, Any]
    images: int
    tried: int
    before: "Evaluation" = field(repr=False)
    after: "Evaluation" = field(repr=False)
    written: bool
    score: str

    def __str__(self) -> str:
        from atrous.postprocess import read_refine

        names = ("mean_iou", "mean_boundary_f1", "pixel_accuracy")
        rows: list[tuple[str, ...]] = [("", "mean IoU", "boundary F1", "pixel accuracy")]
        for word, measured in (("without CRF", self.before), ("with CRF", self.after)):
            rows.append((word, *(f"{measured.summary[name]:.4f}" for name in names)))
        lines = [f"{self.before.split}: {self.tried} settings tried on {self.images} images", ""]
        lines += ["  ".join(f"{cell:>14}" if i else f"{cell:<11}" for i, cell in enumerate(row)) for row in rows]
        what = f"{read_refine(self.refine)}"
        if not self.written:
            return "\n".join([*lines, "", f"The best, {what}, does no good: {self.bundle} is left as it was."])
        lines += ["", f"written into {self.bundle}: refine {what}"]
        return "\n".join([*lines, "Chosen by these images: others may gain less. --refine none predicts without."])


def tune_crf(
    bundle: str | Path,
    data: str | Path,
    *,
    split: str = "val",
    images: int = 25,
    overrides: Sequence[str] = (),
    device: str = "auto",
    precision: str = "auto",
    classes: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tuning:
    """Choose the settings of a CRF by labelled images, and have the bundle refine by them from now on.

    The bundle is exchanged whole or not at all, and only where the refined masks of the split score higher.

    Args:
        bundle: a bundle or a run folder on this machine.
        data: a data folder.
        split: one of its splits. Not the one that you test on.
        images: how many of its images the settings are chosen by, evenly spread; 0 for all.
        overrides: "KEY=VALUE" entries of `Grid`, such as "bilateral_xy=[30, 60]" or "iterations=10".
        device: what the network runs on, and the CRF too where it is a CUDA device.
        precision: "auto", "float32", "bfloat16" or "float16".
        classes: a classes.yaml to use instead of the folder's own.
        progress: called with the number of refined images, and of all as far as known.

    Raises:
        UsageError: if an override does not fit, or the bundle is not on this machine.
        DataError: if the folder cannot be read or has no such split, or no mask in it.
        BundleError: if the bundle's classes or images are not those of the data, or it cannot be written.
    """
    from atrous.bundle import update_bundle
    from atrous.crf.learn import search_bandwidths
    from atrous.metrics import METRICS
    from atrous.workflows.evaluation import evaluate, labelled_pairs, must_agree, open_like
    from atrous.workflows.runs import bundle_of, load_predictor

    grid, folder_of_bundle = _read_grid(overrides), Path(bundle_of(bundle))
    if images < 0:
        raise UsageError(f"--images {images}: give a number of images from 1, or 0 for all of the split.")
    if not folder_of_bundle.is_dir():
        raise UsageError(f"{bundle}: there is no such folder; settings are written into a bundle on this machine.")
    loaded, predictor = load_predictor(bundle, device=device, precision=precision, refine="none")
    folder = open_like(loaded.recipe, data, classes)
    pairs = labelled_pairs(folder, split)
    must_agree(str(bundle), loaded, folder)
    count = min(images or len(pairs), len(pairs))
    samples = _Samples(predictor, folder, [pairs[i * len(pairs) // count] for i in range(count)])
    found = search_bandwidths(
        samples,
        METRICS[grid.score],
        sxy=grid.bilateral_xy,
        srgb=grid.bilateral_rgb,
        weight=grid.bilateral_weight,
        refinements=grid.refinements,
        gaussian=(grid.gaussian_xy, grid.gaussian_weight),
        iterations=grid.iterations,
        progress=progress,
    )
    refine = _section(found)
    before, after = (
        evaluate(bundle, data, split=split, refine=how, device=device, precision=precision, classes=classes)
        for how in ("none", refine)
    )
    better = after.summary[grid.score] > before.summary[grid.score]
    if better:
        figures = {"split": split, "before": before.summary, "after": after.summary}
        update_bundle(folder_of_bundle, sections={"refine": refine}, metrics={"refine": figures})
    return Tuning(folder_of_bundle, refine, len(samples), len(found.tried), before, after, better, grid.score)


def _read_grid(overrides: Sequence[str]) -> Grid:
    from atrous.metrics import METRICS
    from atrous.recipe import read_value
    from atrous.tables import Place, check_arguments

    place, values = Place("command line"), {}
    for text in overrides:
        key, equals, written = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"command line: got {text!r}, but settings are KEY=VALUE, such as bilateral_xy=[30, 60].")
        value = read_value(written, source=f"command line, {key.strip()}", error=UsageError)
        single = key.strip().startswith("bilateral") and isinstance(value, int | float)
        values[key.strip()] = [value] if single else value
    grid = Grid(**check_arguments(Grid, values, place=place, error=UsageError))
    if grid.score not in METRICS:
        raise UsageError(f"{place / 'score'}: no score is named {grid.score!r}. {did_you_mean(grid.score, METRICS)}")
    return grid


def _section(found: "Search") -> dict[str, Any]:
    """What the search found in the words of a recipe."""
    (gaussian_xy, gaussian_weight), (xy, rgb, weight) = (found.settings[key] for key in ("gaussian", "bilateral"))
    return {
        "name": "crf",
        "gaussian_xy": gaussian_xy,
        "gaussian_weight": gaussian_weight,
        "bilateral_xy": xy,
        "bilateral_rgb": rgb,
        "bilateral_weight": weight,
        "iterations": found.settings["iterations"],
    }


class _Samples(Sequence["Sample"]):
    """Probabilities, images and masks, made anew when asked for: the CRF takes far longer than the network."""

    def __init__(self, predictor: "Predictor", folder: "Folder", pairs: "list[Pair]") -> None:
        self._predictor, self._folder, self._pairs = predictor, folder, pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: Any) -> Any:
        import torch

        from atrous.data.folder import read_pair

        raster, truth, _ = read_pair(self._pairs[index], self._folder)
        scores: Any = self._predictor(raster.array, scores=True).scores
        if self._predictor.device.startswith("cuda"):
            scores = torch.from_numpy(scores).to(self._predictor.device)
        return scores, _finite(raster.array), truth


def _finite(image: "np.ndarray") -> "np.ndarray":
    """Pixels without data as dark as the darkest: a CRF takes no NaN."""
    import numpy as np

    if image.dtype.kind != "f" or np.isfinite(image).all():
        return image
    known = np.isfinite(image)
    return np.where(known, image, image[known].min() if known.any() else 0).astype(image.dtype)
