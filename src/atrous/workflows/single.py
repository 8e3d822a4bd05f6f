"""One run: the stages of a recipe, one after the other, into one folder.

Every stage is a run of its own. The last one is the run itself; the others stand in its `stages/`, without evaluation
and report. Each starts from the bundle of the one before, which is written whole or not at all and only when its
training is over, so that whatever a kill leaves is either trained on or started from.

Where several processes train together (`torchrun`), all of them come through here; the main one writes, checks
and evaluates, the others train with it.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from atrous.bundle import Bundle, load_bundle, save_bundle, update_bundle
from atrous.disk import write_text
from atrous.evaluation import Evaluation
from atrous.training.distributed import wait_for_all
from atrous.training.fitting import FitResult, follow_plan
from atrous.training.inputs import Inputs, open_inputs
from atrous.training.preparation import Job, check_stages, prepare
from atrous.training.resolved import ResolvedRun
from atrous.workflows.evaluation import evaluate
from atrous.workflows.outcome import STAGES, Run, RunPart, list_parts, part_from
from atrous.workflows.reporting import report
from atrous.workflows.run_folders import begin, is_complete, leaving_nothing, stored_evaluation
from atrous.workflows.run_options import Terms
from atrous.workflows.runs import is_secondary
from atrous.workflows.tuning_after import tune_after

__all__ = ["train_into"]


def train_into(out: Path, data: str | Path, run: ResolvedRun, terms: Terms) -> Run:
    """Train by a recipe into a run folder, stage by stage. All stages are checked before the first one begins.

    Args:
        out: folder of the run.
        data: a data folder.
        run: what is trained; the caller has compared it with the folder's own.
        terms: how.
    """
    inputs = open_inputs(data, run, out, terms.classes)
    if len(run.stages) > 1:
        check_stages(run.stages, inputs.folder, out)
    *earlier, last = run.stages
    start, arguments = terms.start, {"data": data, "from": terms.start, "classes": terms.classes}
    parts: list[tuple[str, Run]] = []
    with leaving_nothing(out):
        try:
            for stage in earlier:
                place = out / "stages" / stage.name
                job = prepare(stage.recipe, inputs, place, start)
                begin(out, run.recipe, arguments)
                begin(place, stage.recipe.recipe, {**arguments, "from": start})
                parts.append((stage.name, _train(job, inputs, place, replace(terms, evaluate=False))))
                wait_for_all()  # the next stage starts from the bundle
                start = place
            job = prepare(last.recipe, inputs, out, start)
            begin(out, run.recipe, arguments)
            before = [part_from(name, done) for name, done in parts]
            done = _train(job, inputs, out, terms, before=before, name=last.name)
        finally:
            inputs.check.stop()
    return _with_stages(done, [each for _, each in parts])


def _train(job: Job, inputs: Inputs, out: Path, terms: Terms, *, before: Sequence[RunPart] = (), name: str = "") -> Run:
    """Train one stage, and make of the best weights what people use."""
    result = follow_plan(job.plan, out, resume=terms.resume, watch=inputs.check.watch, progress=terms.progress)
    stages = (*before, _part(name, result)) if before else ()
    summary = _summary(out, result, stages, fine_tuned=terms.start is not None)
    if is_secondary():
        return summary
    if not result.trained and is_complete(out, terms.evaluate):
        return replace(summary, evaluation=stored_evaluation(out))
    inputs.check.finish()
    if stages:
        write_text(out / STAGES, json.dumps(list_parts(stages), indent=1) + "\n")
    steps = sum(stage.steps for stage in stages) or result.steps
    place = _save(job, inputs, out, result, caution=replace(summary, steps=steps).caution)
    if not (terms.evaluate or job.recipe.tune):
        return summary
    bundle = tune_after(load_bundle(place), inputs.folder, job.recipe.tune)  # as it lies on the disk, read once
    if not terms.evaluate:
        return summary
    evaluation = _evaluate(inputs, bundle, out)
    report(out, data=inputs.data, bundle=bundle)
    return replace(summary, evaluation=evaluation)


def _save(job: Job, inputs: Inputs, out: Path, result: FitResult, *, caution: str) -> Path:
    figures: dict[str, Any] = {"step": result.best_step, "seconds": round(result.seconds, 1)}
    if caution:
        figures["cautions"] = {"steps": caution}
    if result.best is not None:
        figures[f"val_{result.monitor.name}"] = result.best
    return save_bundle(
        out / "bundle",
        job.model.eval(),
        task=job.recipe.recipe.section("task", "segmentation"),
        class_names=inputs.folder.classes,
        dtype=inputs.folder.dtype,
        recipe=job.recipe.recipe,
        metrics=figures,
    )


def _evaluate(inputs: Inputs, bundle: Bundle, out: Path) -> Evaluation | None:
    """The honest figures: whole images through the predictor, as a user would."""
    if not inputs.folder.splits.get("val"):
        return None
    evaluation = evaluate(bundle, inputs.data, split="val", classes=inputs.classes)
    write_text(out / "evaluation.json", evaluation.to_json() + "\n")
    cautions = {**bundle.metrics.get("cautions", {}), "result": evaluation.caution}
    update_bundle(bundle.path, sections={}, metrics={evaluation.split: evaluation.summary, "cautions": cautions})
    return evaluation


def _part(name: str, result: FitResult) -> RunPart:
    return RunPart(name, result.steps, result.best, result.best_step, round(result.seconds, 1), result.monitor.words)


def _summary(out: Path, result: FitResult, stages: tuple[RunPart, ...], *, fine_tuned: bool) -> Run:
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
        stages=stages,
        fine_tuned=fine_tuned,
    )


def _with_stages(run: Run, earlier: list[Run]) -> Run:
    """The last stage's run, with the steps and the time of those before it."""
    runs = [*earlier, run]
    return replace(
        run,
        steps=sum(each.steps for each in runs),
        seconds=sum(each.seconds for each in runs),
        trained=any(each.trained for each in runs),
    )
