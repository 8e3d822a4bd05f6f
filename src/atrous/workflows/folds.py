"""Cross-validation: as many networks as folds, each measured on images that it has not seen, and all in one bundle.

The labelled images of train and val are put in the order of their names and cut into blocks: `data.splits.take_fold`.
Run i, in the folder `foldI`, keeps block i for validation and trains on the others: an ordinary run, whose recipe says
`data.fold`. Together they have decided every image once by a network that was not trained on it: one confusion matrix
over all these decisions says what one network of this recipe is worth on new images like these. The bundle is the
ensemble of all of them, which has seen every image; it is usually better, and only other images can tell by how much.
A network's best step was chosen on its own fold, as in every run.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atrous.disk import write_text
from atrous.errors import RecipeError
from atrous.workflows.ensembles import ensemble
from atrous.workflows.outcome import Part, Run, part_from
from atrous.workflows.single import begin, follows, is_complete, leaving_nothing, stored_evaluation, train_into

if TYPE_CHECKING:
    from atrous.recipe import Recipe
    from atrous.workflows.evaluation import Evaluation

__all__ = ["SPLIT", "train_folds"]

SPLIT = "out-of-fold"
"""What the split of the joined evaluation is called."""


def train_folds(
    out: Path,
    data: str | Path,
    recipe: "Recipe",
    count: int,
    *,
    classes: str | Path | None = None,
    start: str | Path | None = None,
    resume: bool = False,
    evaluate: bool = True,
) -> Run:
    """Train one network per fold, then write the ensemble bundle and its figures.

    Args:
        out: folder of the run.
        data: a data folder.
        recipe: of every fold.
        count: of folds.
        classes: a classes.yaml to use instead of the folder's own.
        start: what every fold starts from, or None.
        resume: go on where the run stands; finished folds are left alone.
        evaluate: whether to evaluate each network on its fold, and write the figures and the reports.

    Raises:
        DataError: if there are fewer images than folds, or the data has an error.
        RecipeError: if the recipe does not fit, or names a fold itself.
    """
    recipes = [_of_fold(recipe, number, count) for number in range(1, count + 1)]
    _check(data, recipes[0], classes)
    given: dict[str, Any] = {"classes": classes, "start": start, "resume": resume, "evaluate": evaluate}
    runs: list[Run] = []
    with leaving_nothing(out):
        begin(out, recipe, {"data": data, "from": start, "classes": classes, "folds": count})
        for number, own in enumerate(recipes, start=1):
            print(f"fold {number} of {count}", file=sys.stderr)
            runs.append(train_into(out / f"fold{number}", data, own, **given))
    parts = tuple(part_from(f"fold{number}", run) for number, run in enumerate(runs, start=1))
    if follows():
        return _summary(out, runs, parts, None)
    if not any(run.trained for run in runs) and is_complete(out, evaluate):
        return _summary(out, runs, parts, stored_evaluation(out))
    evaluation = _joined(out, runs) if evaluate else None
    ensemble([run.bundle for run in runs], out / "bundle", metrics=_figures(parts, evaluation))
    if evaluation is not None:
        from atrous.workflows.reporting import report

        write_text(out / "evaluation.json", evaluation.to_json() + "\n")
        report(out, data=data)
    return _summary(out, runs, parts, evaluation)


def _of_fold(recipe: "Recipe", number: int, count: int) -> "Recipe":
    """The recipe of one fold's run."""
    section = recipe.section("data", {})
    if isinstance(section, dict) and section.get("fold") is not None:
        raise RecipeError(
            f"{recipe.place / 'data' / 'fold'}: the recipe names a fold, and --folds all of them; leave one out."
        )
    data = {**section, "fold": [number, count]} if isinstance(section, dict) else section
    lines = {**recipe.place.lines, ("data", "fold"): "--folds"}
    return replace(recipe, values={**recipe.values, "data": data}, place=replace(recipe.place, lines=lines))


def _check(data: str | Path, recipe: "Recipe", classes: str | Path | None) -> None:
    """Whether there are images enough, before anything is written."""
    from atrous.data import DataOptions, open_folder

    options = recipe.options("data", DataOptions)
    open_folder(data, classes=classes, val_fraction=options.val_fraction, seed=recipe.seed, fold=options.fold)


def _joined(out: Path, runs: Sequence[Run]) -> "Evaluation":
    """One evaluation over all folds: every image once, by the network that had not seen it."""
    from atrous.evaluation import join

    each = [run.evaluation for run in runs if run.evaluation is not None]
    return join(each, bundle=f"{out}: fold1 to fold{len(each)}", split=SPLIT)


def _figures(parts: Sequence[Part], evaluation: "Evaluation | None") -> dict[str, Any]:
    """What the bundle says of how it was made and how good its members are."""
    figures: dict[str, Any] = {"folds": len(parts), "seconds": round(sum(part.seconds for part in parts), 1)}
    if evaluation is not None:
        summary = evaluation.summary
        shown = (evaluation.rank.name, "pixel_accuracy")
        figures |= {f"out_of_fold_{name}": summary[name] for name in shown if name in summary}
        figures |= {"iou": summary["iou"]} if "iou" in summary else {}
        figures[SPLIT] = summary
    return figures


def _summary(out: Path, runs: Sequence[Run], parts: tuple[Part, ...], evaluation: "Evaluation | None") -> Run:
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
    )
