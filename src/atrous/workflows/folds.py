"""Cross-validation: as many networks as folds, each measured on images that it has not seen, and all in one bundle.

The labelled images of train and val are put in the order of their names and cut into blocks: `data.splits.take_fold`.
Run i, in the folder `foldI`, keeps block i for validation and trains on the others: an ordinary run, whose recipe says
`data.fold`. Together they have decided every image once by a network that was not trained on it: one confusion matrix
over all these decisions says what one network of this recipe is worth on new images like these. The bundle is the
ensemble of all of them, which has seen every image; it is usually better, and only other images can tell by how much.
A network's best step was chosen on its own fold, as in every run.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atrous.data import open_folder
from atrous.disk import write_text
from atrous.errors import RecipeError
from atrous.evaluation import Evaluation, join
from atrous.training.resolved import ResolvedRun
from atrous.workflows.ensembles import ensemble, why_not_averaged
from atrous.workflows.outcome import Run, RunPart, part_from
from atrous.workflows.reporting import report
from atrous.workflows.run_folders import begin, is_complete, leaving_nothing, stored_evaluation
from atrous.workflows.run_options import Terms
from atrous.workflows.runs import is_secondary
from atrous.workflows.single import train_into

__all__ = ["SPLIT", "train_folds"]

LOG = logging.getLogger(__name__)
SPLIT = "out-of-fold"
"""What the split of the joined evaluation is called."""


def train_folds(out: Path, data: str | Path, run: ResolvedRun, count: int, terms: Terms) -> Run:
    """Train one network per fold, then write the ensemble bundle and its figures.

    Args:
        out: folder of the run.
        data: a data folder.
        run: what every fold trains.
        count: of folds.
        terms: how; each network is evaluated on its own fold.

    Raises:
        DataError: if there are fewer images than folds, or the data has an error.
        RecipeError: if the recipe names a fold itself, or networks of its task make no ensemble.
    """
    folds = [run.in_fold(number, count) for number in range(1, count + 1)]
    task = run.stages[-1].recipe.recipe.section("task", "segmentation")
    if reason := why_not_averaged(task if isinstance(task, str) else task["name"]):
        raise RecipeError(f"--folds {count}: {reason} Train without folds.")
    options = folds[0].data  # are there images enough?
    open_folder(data, classes=terms.classes, seed=run.recipe.seed, **options.splitting)
    runs: list[Run] = []
    with leaving_nothing(out):
        begin(out, run.recipe, {"data": data, "from": terms.start, "classes": terms.classes, "folds": count})
        for number, own in enumerate(folds, start=1):
            LOG.info("fold %d of %d", number, count)
            runs.append(train_into(out / f"fold{number}", data, own, terms))
    parts = tuple(part_from(f"fold{number}", each) for number, each in enumerate(runs, start=1))
    if is_secondary():
        return _summary(out, runs, parts, None)
    if not any(each.trained for each in runs) and is_complete(out, terms.evaluate):
        return _summary(out, runs, parts, stored_evaluation(out))
    evaluation = _joined(out, runs) if terms.evaluate else None
    done = _summary(out, runs, parts, evaluation)
    cautions = {"steps": done.caution, "result": evaluation.caution if evaluation is not None else ""}
    figures = {**_figures(parts, evaluation), **({"cautions": cautions} if any(cautions.values()) else {})}
    ensemble([each.bundle for each in runs], out / "bundle", metrics=figures)
    if evaluation is not None:
        write_text(out / "evaluation.json", evaluation.to_json() + "\n")
        report(out, data=data)
    return done


def _joined(out: Path, runs: Sequence[Run]) -> Evaluation:
    """One evaluation over all folds: every image once, by the network that had not seen it."""
    each = [run.evaluation for run in runs if run.evaluation is not None]
    return join(each, bundle=f"{out}: fold1 to fold{len(each)}", split=SPLIT)


def _figures(parts: Sequence[RunPart], evaluation: Evaluation | None) -> dict[str, Any]:
    """What the bundle says of how it was made and how good its members are."""
    figures: dict[str, Any] = {"folds": len(parts), "seconds": round(sum(part.seconds for part in parts), 1)}
    if evaluation is not None:
        summary = evaluation.summary
        shown = (evaluation.rank.name, "pixel_accuracy")
        figures |= {f"out_of_fold_{name}": summary[name] for name in shown if name in summary}
        figures |= {"iou": summary["iou"]} if "iou" in summary else {}
        figures[SPLIT] = summary
    return figures


def _summary(out: Path, runs: Sequence[Run], parts: tuple[RunPart, ...], evaluation: Evaluation | None) -> Run:
    return Run(
        out=out,
        bundle=out / "bundle",
        best=None,
        best_step=0,
        steps=sum(run.steps for run in runs),
        stopped=all(run.stopped for run in runs),
        seconds=sum(run.seconds for run in runs),
        trained=any(run.trained for run in runs),
        evaluation=evaluation,
        folds=parts,
        fine_tuned=any(run.fine_tuned for run in runs),
    )
