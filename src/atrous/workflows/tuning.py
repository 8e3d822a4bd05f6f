"""The settings of a dense CRF for a bundle, chosen by labelled images and written into it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from atrous.bundle import update_bundle
from atrous.data.folder import spread
from atrous.errors import UsageError, did_you_mean
from atrous.evaluation import Evaluation, labelled_pairs, must_agree, open_like, score_split
from atrous.inference.remembering import RememberingScorer
from atrous.inference.running import Running, read_running
from atrous.metrics import METRICS
from atrous.postprocess import read_refine
from atrous.postprocess.methods import CrfGrid, CrfMethod
from atrous.postprocess.search import search
from atrous.recipe import read_value
from atrous.tables import Place, check_arguments
from atrous.types import Progress
from atrous.workflows.predicted_pairs import PredictedPairs
from atrous.workflows.run_folders import keeping_bundle
from atrous.workflows.runs import check_tile, load_predictor

__all__ = ["Tuning", "tune_crf"]


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
    before: Evaluation = field(repr=False)
    after: Evaluation = field(repr=False)
    written: bool
    score: str

    def __str__(self) -> str:
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
    classes: str | Path | None = None,
    progress: Progress | None = None,
    **how: Unpack[Running],
) -> Tuning:
    """Choose the settings of a CRF by labelled images, and have the bundle refine by them from now on.

    The bundle is exchanged whole or not at all, and only where the refined masks of the split score higher.

    Args:
        bundle: a bundle or a run folder on this machine.
        data: a data folder.
        split: one of its splits. Not the one that you test on.
        images: how many of its images the settings are chosen by, evenly spread; 0 for all.
        overrides: "KEY=VALUE" entries of `CrfGrid`, such as "bilateral_xy=[30, 60]" or "iterations=10".
        classes: a classes.yaml to use instead of the folder's own.
        progress: called with the number of refined images, and of all as far as known.
        how: `device`, which is the CRF's too where it is a CUDA device, `precision`, `tile`, `margin` and `views`; see
            `atrous.inference.Running`.

    Raises:
        UsageError: if an override does not fit, if the bundle is not on this machine, or if `refine` is given, which is
            what is chosen here.
        DataError: if the folder cannot be read or has no such split, or no mask in it.
        BundleError: if the bundle's classes or images are not those of the data, or it cannot be written.
    """
    grid = _read_grid(overrides)
    if images < 0:
        raise UsageError(f"--images {images}: give a number of images from 1, or 0 for all of the split.")
    if not Path(bundle).is_dir():
        raise UsageError(f"{bundle}: there is no such folder; settings are written into a bundle on this machine.")
    if how.get("refine") is not None:
        raise UsageError("tune_crf chooses what refines: leave refine out, or evaluate with it.")
    making, calling = read_running(how, "tune_crf")
    check_tile(calling["tile"], calling["margin"])
    with keeping_bundle(Path(bundle)):
        loaded, predictor = load_predictor(bundle, **{**making, "refine": "none"})
        folder = open_like(loaded.recipe, data, classes)
        pairs = labelled_pairs(folder, split)
        must_agree(str(bundle), loaded, folder, given=classes is not None)
        scorer = predictor.scorer = RememberingScorer(predictor.scorer)
        samples = PredictedPairs(predictor, folder, spread(pairs, images or len(pairs)), calling)
        method, score = CrfMethod(), METRICS[grid.score]
        found = search(samples, method, grid.axes, score, refinements=grid.refinements, progress=progress)
        refine = method.section(found.setting)["refine"]
        measure = partial(score_split, predictor, folder, pairs, named=(str(bundle), str(data), split), how=calling)
        clock = partial(_with_remembered, scorer)
        before = measure(clock=clock)
        predictor.refiner = read_refine(refine)
        after = measure(clock=clock)
        better = after.summary[grid.score] > before.summary[grid.score]
        if better:
            figures = {"split": split, "before": before.summary, "after": after.summary}
            update_bundle(loaded.path, sections={"refine": refine}, metrics={"refine": figures})
        return Tuning(loaded.path, refine, len(samples), len(found.trials), before, after, better, grid.score)


def _with_remembered(scorer: RememberingScorer) -> float:
    """Seconds, in which scores that were remembered take the time that they took at first."""
    return time.perf_counter() + scorer.seconds


def _read_grid(overrides: Sequence[str]) -> CrfGrid:
    place, values = Place("command line"), {}
    for text in overrides:
        key, equals, written = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"command line: got {text!r}, but settings are KEY=VALUE, such as bilateral_xy=[30, 60].")
        value = read_value(written, source=f"command line, {key.strip()}", error=UsageError)
        single = key.strip().startswith("bilateral") and isinstance(value, int | float)
        values[key.strip()] = [value] if single else value
    grid = CrfGrid(**check_arguments(CrfGrid, values, place=place, error=UsageError))
    if grid.score not in METRICS:
        raise UsageError(f"{place / 'score'}: no score is named {grid.score!r}. {did_you_mean(grid.score, METRICS)}")
    return grid
