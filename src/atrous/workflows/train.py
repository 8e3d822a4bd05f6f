"""From a data folder and a recipe to a run: check, train, keep the best weights, evaluate, report."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atrous.errors import AtrousError, ModelError, RecipeError, UsageError
from atrous.workflows.files import write_text

if TYPE_CHECKING:
    from atrous.bundle import Bundle
    from atrous.data import Folder
    from atrous.models import DenseModel
    from atrous.recipe import Recipe
    from atrous.tasks import Task
    from atrous.training.engine import Plan
    from atrous.training.fitting import FitResult
    from atrous.workflows.background import BackgroundCheck
    from atrous.workflows.evaluate import Evaluation

__all__ = ["Run", "train"]

DEFAULT = "unet"
WEIGHT_FILES = (".pth", ".pt", ".bin", ".safetensors")
"""The recipe where none is named."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        out: its folder.
        bundle: the folder of the best weights.
        best: best validation mean IoU while training, or None where there was no validation.
        best_step: the step of the best weights.
        steps: optimiser steps done.
        stopped: whether early stopping ended it.
        seconds: of training and validation.
        trained: False where the run had been finished before.
        evaluation: of the bundle on the validation images, or None where it was not asked for or there are none.
    """

    out: Path
    bundle: Path
    best: float | None
    best_step: int
    steps: int
    stopped: bool
    seconds: float
    trained: bool
    evaluation: "Evaluation | None" = None

    def __str__(self) -> str:
        how = "stopped early" if self.stopped else "finished"
        what = f"{how} after {self.steps} steps" if self.trained else f"was finished before, after {self.steps} steps"
        score = "" if self.best is None else f"; best validation mean IoU {self.best:.3f} at step {self.best_step}"
        lines = [f"{self.out}: {what} and {self.seconds:.0f} s{score}"]
        if self.evaluation is not None:
            lines += ["", str(self.evaluation), ""]
        lines.append(f"bundle: {self.bundle}")
        if (self.out / "report.html").is_file():
            lines.append(f"report: {self.out / 'report.html'}")
        return "\n".join(lines)


def train(
    data: str | Path,
    *,
    recipe: str | Path | None = None,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    from_bundle: str | Path | None = None,
    classes: str | Path | None = None,
    evaluate: bool = True,
) -> Run:
    """Train a network by a recipe into a run folder.

    Headers and the first images are checked at once, everything else while the training runs. A run that an error ends
    before its first checkpoint leaves nothing.

    Args:
        data: a data folder.
        recipe: a recipe's name or file; "unet" where None, or on resuming the run's own.
        out: folder of the run; runs/DATA-RECIPE where None.
        overrides: "KEY=VALUE" entries of the recipe.
        resume: go on with the run in `out`, to exactly the weights of a run that was never interrupted.
        from_bundle: a bundle, a run or a Hub id whose weights to start from, where names and shapes fit; or a file or
            address of another library's weights (.pth, .pt, .bin, .safetensors), see `atrous.surgery.load_weights`.
        classes: a classes.yaml to use instead of the folder's own.
        evaluate: whether to evaluate the bundle on the validation images and write the report at the end.

    Raises:
        UsageError: if `out` is in use and not resumed.
        RecipeError: if the recipe does not fit, or is not that of the resumed run.
        DataError: if the data has an error.
        BundleError: if not one weight of `from_bundle` fits.
        AtrousError: if the loss is no longer finite.
    """
    folder_name, name = Path(data).resolve().name, Path(recipe or DEFAULT).stem
    out = Path(out) if out is not None else Path("runs") / f"{folder_name}-{name}"
    told = _told(out, resume)
    chosen = _choose_recipe(recipe, overrides, out)
    job = _prepare(
        Path(data), chosen, out, classes=classes or told.get("classes"), start=from_bundle or told.get("from")
    )
    with _leaving_nothing(out):
        _begin(out, chosen, {"data": data, "from": from_bundle or told.get("from"), "classes": job.classes})
        return _run(job, out, chosen, resume=resume, evaluate=evaluate)


@dataclass
class _Job:
    """A run that is ready to begin; nothing of it is on the disk yet."""

    data: Path
    folder: "Folder"
    task: "Task"
    plan: "Plan"
    model: "DenseModel"
    check: "BackgroundCheck"
    classes: str | Path | None


def _told(out: Path, resume: bool) -> dict[str, Any]:
    """What an interrupted run says about itself; refuses a folder that is in use."""
    from atrous.workflows.runs import read_json

    told: dict[str, Any] | None = read_json(out / "run.json") if out.is_dir() else None
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; name a new folder with -o.")
    if told is not None and not resume:
        raise UsageError(f"{out}: holds a run already; go on with it by --resume, or name a new folder with -o.")
    if told is None and out.is_dir() and any(not entry.name.endswith(".part") for entry in out.iterdir()):
        missing = "is no run to go on with: it has no run.json" if resume else "the folder is not empty"
        raise UsageError(f"{out}: {missing}; name a new folder with -o.")
    return told or {}


def _choose_recipe(recipe: str | Path | None, overrides: Sequence[str], out: Path) -> "Recipe":
    from atrous.recipe import load_recipe
    from atrous.training.identity import must_be_same_recipe

    own = out / "recipe.yaml"
    chosen = load_recipe(own if recipe is None and own.is_file() else recipe or DEFAULT, overrides)
    if own.is_file():
        must_be_same_recipe(load_recipe(own).values, chosen.values, place=str(out))
    return chosen


def _prepare(data: Path, recipe: "Recipe", out: Path, *, classes: str | Path | None, start: str | Path | None) -> _Job:
    """Check everything that can be checked before the first step, and build what trains."""
    import torch

    from atrous.data import DataOptions, check_folder, open_folder, quick_check
    from atrous.inference import read_refine
    from atrous.models import MODELS, create_model
    from atrous.tasks import TASKS
    from atrous.training.fitting import make_plan
    from atrous.workflows.background import BackgroundCheck

    given = ("num_classes", "in_channels")
    _, arguments = recipe.named("model", MODELS, kind="model", given=given)
    build_task, task_arguments = recipe.named(
        "task", TASKS, kind="task", given=("num_classes", "frequencies"), default="segmentation"
    )
    read_refine(recipe.section("refine"), place=recipe.place / "refine", error=RecipeError)
    options = recipe.options("data", DataOptions)
    folder = open_folder(data, classes=classes, val_fraction=options.val_fraction, seed=recipe.seed)
    quick_check(folder).raise_errors()
    num_classes = len(folder.classes.names)
    task, report = build_task(num_classes, **task_arguments), None
    if task.needs_frequencies:
        print("reading all training masks: the loss weighs classes by how often they occur", file=sys.stderr)
        report = check_folder(folder)
        report.raise_errors()
        task = build_task(num_classes, frequencies=report.frequencies(), **task_arguments)
    begun = (out / "checkpoints" / "last.ckpt").exists()
    if begun and "pretrained" in arguments:
        arguments["pretrained"] = False  # the checkpoint has all weights: nothing need be fetched
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        try:
            model = create_model(
                recipe.section("model")["name"], num_classes=num_classes, in_channels=folder.channels, **arguments
            )
        except ModelError as error:
            raise RecipeError(f"{recipe.place / 'model'}: {error}") from error
    if not begun:
        _initialize(model, folder, start)
    plan = make_plan(model, task, folder, recipe)
    return _Job(data, folder, task, plan, model, BackgroundCheck(folder, out / "check.json", report), classes)


def _initialize(model: "DenseModel", folder: "Folder", start: str | Path | None) -> None:
    """Weights from a bundle or a file if there is one, and the normalisation of the input."""
    from atrous.data import FolderDataset
    from atrous.surgery import load_weights
    from atrous.training.finetune import load_matching
    from atrous.training.loaders import measure_normalization

    of_others = start is not None and str(start).endswith(WEIGHT_FILES)
    if start is not None and of_others:
        print(f"{start}: {load_weights(model, start)}", file=sys.stderr)
        if folder.kind == "uint8" and model.mean.any():  # the table knows how their images were normalised
            return
    bundle = _load(start) if start is not None and not of_others else None
    if bundle is not None:
        print(f"{start}: {load_matching(model, bundle.model.state_dict(), source=str(start))}", file=sys.stderr)
        if bundle.kind == folder.kind and bundle.channels == folder.channels:
            # Weights expect the numbers that they were trained on.
            model.set_normalization(bundle.model.mean.tolist(), bundle.model.std.tolist())
            return
    parts = (getattr(part, "pretrained_normalization", None) for part in model.modules())
    known = next((normalization for normalization in parts if normalization is not None), None)
    if known is not None and folder.kind == "uint8":
        model.set_normalization(*known)
    else:
        dataset = FolderDataset(folder, "train")
        model.set_normalization(*measure_normalization(dataset, len(dataset)))


def _load(start: str | Path) -> "Bundle":
    from atrous.bundle import load_bundle
    from atrous.workflows.runs import bundle_of

    return load_bundle(bundle_of(start))


def _begin(out: Path, recipe: "Recipe", told: dict[str, Any]) -> None:
    """What the folder says about the run before there is a checkpoint. An older run's words stay as they are."""
    from atrous.workflows.runs import describe_machine

    texts = {
        "run.json": json.dumps({key: value and str(value) for key, value in told.items()}),
        "recipe.yaml": recipe.to_yaml(),
        "environment.json": json.dumps(describe_machine()),
    }
    for name, text in texts.items():
        if not (out / name).is_file():
            write_text(out / name, text)


def _run(job: _Job, out: Path, recipe: "Recipe", *, resume: bool, evaluate: bool) -> Run:
    """Train, and make of the best weights what people use."""
    from atrous.bundle import save_bundle
    from atrous.training.fitting import follow_plan

    try:
        result = follow_plan(job.plan, out, resume=resume, watch=job.check.watch)
        if not result.trained and _is_complete(out, evaluate):
            return _summary(out, result, _stored_evaluation(out))
        job.check.finish()
    finally:
        job.check.stop()
    figures = {"step": result.best_step, "seconds": round(result.seconds, 1)}
    if result.best is not None:
        figures["val_mean_iou"] = result.best

    def save(metrics: dict[str, Any]) -> Path:
        return save_bundle(
            out / "bundle",
            job.model.eval(),
            task=recipe.section("task", "segmentation"),
            class_names=job.folder.classes.names,
            colors=job.folder.classes.colors,
            kind=job.folder.kind,
            recipe=recipe,
            metrics=metrics,
        )

    bundle = save(figures)
    evaluation = _evaluate(job, bundle, out) if evaluate else None
    if evaluation is not None:
        save({**figures, evaluation.split: evaluation.summary})
    if evaluate:
        from atrous.workflows.report import report

        report(out, data=job.data)
    return _summary(out, result, evaluation)


def _summary(out: Path, result: "FitResult", evaluation: "Evaluation | None") -> Run:
    return Run(
        out=out,
        bundle=out / "bundle",
        best=result.best,
        best_step=result.best_step,
        steps=result.steps,
        stopped=result.stopped,
        seconds=result.seconds,
        trained=result.trained,
        evaluation=evaluation,
    )


def _is_complete(out: Path, evaluate: bool) -> bool:
    """Whether the run was not only trained: the report is what is written last."""
    return (out / "bundle").is_dir() and ((out / "report.html").is_file() or not evaluate)


def _stored_evaluation(out: Path) -> "Evaluation | None":
    from atrous.workflows.evaluate import Evaluation

    file = out / "evaluation.json"
    return Evaluation.from_json(file.read_text(encoding="utf-8")) if file.is_file() else None


def _evaluate(job: _Job, bundle: Path, out: Path) -> "Evaluation | None":
    """The honest figures: whole images through the predictor, as a user would."""
    from atrous.workflows.evaluate import evaluate

    if not job.folder.splits.get("val"):
        return None
    evaluation = evaluate(bundle, job.data, split="val", classes=job.classes)
    write_text(out / "evaluation.json", evaluation.to_json() + "\n")
    return evaluation


@contextmanager
def _leaving_nothing(out: Path) -> Iterator[None]:
    """Remove a folder made here if an error ends the run before its first checkpoint."""
    import shutil

    made: list[Path] = []
    for path in (out, *out.parents):
        if path.exists():
            break
        made.append(path)
    had_run = (out / "run.json").exists()
    try:
        yield
    except AtrousError:
        if not had_run and not (out / "checkpoints" / "last.ckpt").exists():
            for entry in list(out.iterdir()) if out.is_dir() else []:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            for path in made:
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
        raise
