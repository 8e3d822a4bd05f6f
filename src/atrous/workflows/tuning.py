"""The settings of a dense CRF for a bundle, chosen by labelled images and written into it."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch

from atrous.bundle import update_bundle
from atrous.data.folder import spread
from atrous.errors import UsageError, did_you_mean
from atrous.evaluation import Evaluation, labelled_pairs, must_agree, open_like, score_split
from atrous.inference.remembering import RememberingScorer
from atrous.inference.running import Running, read_running
from atrous.metrics import METRICS
from atrous.postprocess import harmed_classes, read_refine
from atrous.postprocess.methods import CrfGrid, CrfMethod
from atrous.postprocess.search import search
from atrous.recipe import read_value
from atrous.tables import Place, check_arguments
from atrous.types import Progress
from atrous.workflows.predicted_pairs import PredictedPairs
from atrous.workflows.run_folders import keeping_bundle
from atrous.workflows.runs import check_tile, load_predictor
from atrous.workflows.tuned import Tuning

__all__ = ["Tuning", "tune_crf"]


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

    The bundle is exchanged whole or not at all, and only where the refined masks of the split score higher and no class
    loses more than `CrfGrid.largest_loss` of its IoU or vanishes.

    Args:
        bundle: a bundle or a run folder on this machine.
        data: a data folder.
        split: one of its splits. Not the one that you test on.
        images: how many of its images the settings are chosen by, evenly spread; 0 for all.
        overrides: "KEY=VALUE" entries of `CrfGrid`, such as "bilateral_xy=[30, 60]" or "iterations=10".
        classes: a classes.yaml to use instead of the folder's own.
        progress: called with the number of refined images, and of all as far as known.
        how: `device`, which is the CRF's too where it is a CUDA device, `precision`, `engine`, `tile`, `margin` and
            `views`; see `atrous.inference.Running`.

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
        harms = partial(harmed_classes, largest_loss=grid.largest_loss)
        allowed: dict[str, Any] = {"allows": lambda *both: not harms(*both), "refinements": grid.refinements}
        found = search(samples, method, grid.axes, score, progress=progress, **allowed)
        refine = method.section(found.setting)["refine"]
        measure = partial(score_split, predictor, folder, pairs, named=(str(bundle), str(data), split), how=calling)
        clock = partial(_with_remembered, scorer)
        before = measure(clock=clock)
        predictor.refiner = read_refine(refine)
        after = measure(clock=clock)
        better = after.summary[grid.score] > before.summary[grid.score]
        harmed = _named(harms(torch.tensor(before.matrix), torch.tensor(after.matrix)) if better else [], before)
        if better and not harmed:
            told = _metrics(before, after, refine, len(samples))
            update_bundle(loaded.path, sections={"refine": refine}, metrics=told)
        done = len(samples), len(found.trials), before, after, better and not harmed
        return Tuning(loaded.path, refine, *done, grid.score, harmed)


def _named(numbers: Sequence[int], evaluation: Evaluation) -> tuple[str, ...]:
    return tuple(evaluation.class_names[number] for number in numbers)


def _metrics(before: Evaluation, after: Evaluation, refine: dict[str, Any], images: int) -> dict[str, Any]:
    """What a bundle says of its refinement: all figures, and each class before and after."""
    figures = {"split": before.split, "before": before.summary, "after": after.summary}
    tuned = {"images": images, "chosen": ["crf"], "left_out": {}, "settings": {"refine": refine}}
    tuned |= {"before": before.summary["iou"], "after": after.summary["iou"]}
    return {"refine": figures, "tuned": tuned}


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
