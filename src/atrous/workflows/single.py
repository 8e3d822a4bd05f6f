"""One run: the stages of a recipe, one after the other, into one folder.

Every stage is a run of its own. The last one is the run itself; the others stand in its `stages/`, without evaluation
and report. Each starts from the bundle of the one before, which is written whole or not at all and only when its
training is over, so that whatever a kill leaves is either trained on or started from.

Where several processes train together (`torchrun`), all of them come through here; the one that leads writes, checks
and evaluates, the others train with it.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atrous.disk import write_text
from atrous.errors import AtrousError
from atrous.workflows.outcome import STAGES, Part, Run, list_parts, part_from
from atrous.workflows.preparation import Inputs, Job, check_sections, open_inputs, prepare
from atrous.workflows.stages import check_stages, split_stages

if TYPE_CHECKING:
    from atrous.bundle import Bundle
    from atrous.recipe import Recipe
    from atrous.training.fitting import FitResult
    from atrous.workflows.evaluation import Evaluation

__all__ = ["begin", "follows", "is_complete", "leaving_nothing", "stored_evaluation", "train_into"]


def follows() -> bool:
    """Whether this process trains with another one that leads."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # spares the import of torch where the command only refuses
        return False
    from atrous.training.distributed import world

    return not world().leads


def train_into(
    out: Path,
    data: str | Path,
    recipe: "Recipe",
    *,
    classes: str | Path | None = None,
    start: str | Path | None = None,
    resume: bool = False,
    evaluate: bool = True,
) -> Run:
    """Train by a recipe into a run folder, stage by stage. All stages are checked before the first one begins.

    Args:
        out: folder of the run.
        data: a data folder.
        recipe: checked against the run's own by the caller.
        classes: a classes.yaml to use instead of the folder's own.
        start: what the first stage starts from, or None.
        resume: go on where the run stands; finished stages are left alone.
        evaluate: whether to evaluate the bundle on the validation images and write the report at the end.
    """
    from atrous.training.distributed import wait_for_all

    stages = split_stages(recipe)
    for stage in stages:
        check_sections(stage.recipe)
    inputs = open_inputs(data, recipe, out, classes)
    if len(stages) > 1:
        check_stages(stages, inputs)
    *earlier, last = stages
    told = {"data": data, "from": start, "classes": classes}
    parts: list[tuple[str, Run]] = []
    with leaving_nothing(out):
        try:
            for stage in earlier:
                place = out / "stages" / stage.name
                job = prepare(stage.recipe, inputs, place, start)
                begin(out, recipe, told)
                begin(place, stage.recipe, {**told, "from": start})
                parts.append((stage.name, _run(job, inputs, place, resume=resume, evaluate=False)))
                wait_for_all()  # the next stage starts from the bundle
                start = place
            job = prepare(last.recipe, inputs, out, start)
            begin(out, recipe, told)
            before = [part_from(name, run) for name, run in parts]
            run = _run(job, inputs, out, resume=resume, evaluate=evaluate, before=before, name=last.name)
        finally:
            inputs.check.stop()
    return _with_stages(run, [run for _, run in parts])


def begin(out: Path, recipe: "Recipe", told: dict[str, Any]) -> None:
    """What the folder says about the run before there is a checkpoint. An older run's words stay as they are."""
    from atrous.workflows.runs import describe_machine

    if follows():
        return
    texts = {
        "run.json": json.dumps({key: value and str(value) for key, value in told.items()}),
        "recipe.yaml": recipe.text or recipe.to_yaml(),
        "environment.json": json.dumps(describe_machine()),
    }
    for name, text in texts.items():
        if not (out / name).is_file():
            write_text(out / name, text)


def is_complete(out: Path, evaluate: bool) -> bool:
    """Whether the run was not only trained: the report is what is written last."""
    return (out / "bundle").is_dir() and ((out / "report.html").is_file() or not evaluate)


def stored_evaluation(out: Path) -> "Evaluation | None":
    """The evaluation that a run has written, or None."""
    from atrous.workflows.evaluation import Evaluation

    file = out / "evaluation.json"
    return Evaluation.from_json(file.read_text(encoding="utf-8")) if file.is_file() else None


def _run(
    job: Job,
    inputs: Inputs,
    out: Path,
    *,
    resume: bool,
    evaluate: bool,
    before: "list[Part] | None" = None,
    name: str = "",
) -> Run:
    """Train, and make of the best weights what people use."""
    from atrous.bundle import load_bundle, update_bundle
    from atrous.training.fitting import follow_plan
    from atrous.workflows.reporting import report
    from atrous.workflows.tuning_after import tune_after

    evaluation: Evaluation | None = None
    result = follow_plan(job.plan, out, resume=resume, watch=inputs.check.watch)
    stages = (*before, _part(name, result)) if before else ()
    if follows():
        return _summary(out, result, None, stages)
    if not result.trained and is_complete(out, evaluate):
        return _summary(out, result, stored_evaluation(out), stages)
    inputs.check.finish()
    if stages:
        write_text(out / STAGES, json.dumps(list_parts(stages), indent=1) + "\n")
    figures = {"step": result.best_step, "seconds": round(result.seconds, 1)}
    if result.best is not None:
        figures[f"val_{result.monitor.name}"] = result.best
    place = _save(job, inputs, out, figures)
    if evaluate or job.recipe.section("tune"):
        bundle = tune_after(load_bundle(place), inputs, job.recipe)  # as it lies on the disk, read once
    if evaluate:
        evaluation = _evaluate(inputs, bundle, out)
        if evaluation is not None:
            update_bundle(place, sections={}, metrics={evaluation.split: evaluation.summary})
        report(out, data=inputs.data, bundle=bundle)
    return _summary(out, result, evaluation, stages)


def _save(job: Job, inputs: Inputs, out: Path, metrics: dict[str, Any]) -> Path:
    from atrous.bundle import save_bundle

    return save_bundle(
        out / "bundle",
        job.model.eval(),
        task=job.recipe.section("task", "segmentation"),
        class_names=inputs.folder.classes.names,
        colors=inputs.folder.classes.colors,
        kind=inputs.folder.kind,
        recipe=job.recipe,
        metrics=metrics,
    )


def _evaluate(inputs: Inputs, bundle: "Bundle", out: Path) -> "Evaluation | None":
    """The honest figures: whole images through the predictor, as a user would."""
    from atrous.workflows.evaluation import evaluate

    if not inputs.folder.splits.get("val"):
        return None
    evaluation = evaluate(bundle, inputs.data, split="val", classes=inputs.classes)
    write_text(out / "evaluation.json", evaluation.to_json() + "\n")
    return evaluation


def _part(name: str, result: "FitResult") -> Part:
    return Part(name, result.steps, result.best, result.best_step, round(result.seconds, 1), result.monitor.words)


def _summary(out: Path, result: "FitResult", evaluation: "Evaluation | None", stages: tuple[Part, ...]) -> Run:
    return Run(
        out=out,
        bundle=out / "bundle",
        best=result.best,
        monitor=result.monitor.words,
        best_step=result.best_step,
        steps=result.steps,
        stopped=result.stopped,
        seconds=result.seconds,
        trained=result.trained,
        evaluation=evaluation,
        stages=stages,
    )


def _with_stages(run: Run, earlier: list[Run]) -> Run:
    """The last stage's run, with the steps and the time of those before it."""
    from dataclasses import replace

    runs = [*earlier, run]
    return replace(
        run,
        steps=sum(each.steps for each in runs),
        seconds=sum(each.seconds for each in runs),
        trained=any(each.trained for each in runs),
    )


@contextmanager
def leaving_nothing(out: Path) -> Iterator[None]:
    """Remove a folder made here if an error ends the run before its first checkpoint."""
    import shutil

    if follows():
        yield
        return
    made: list[Path] = []
    for path in (out, *out.parents):
        if path.exists():
            break
        made.append(path)
    had_run = (out / "run.json").exists()
    try:
        yield
    except AtrousError:
        if not had_run and next(out.rglob("last.ckpt"), None) is None:
            for entry in list(out.iterdir()) if out.is_dir() else []:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            for path in made:
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
        raise
