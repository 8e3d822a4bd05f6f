"""From a data folder and a recipe to a run: check, train, keep the best weights, evaluate, report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from atrous.errors import UsageError
from atrous.recipe import Recipe, load_recipe
from atrous.training.distributed import join, wait_for_all, world
from atrous.training.identity import must_be_same_recipe
from atrous.training.options import parse_budget
from atrous.training.resolved import resolve_run
from atrous.types import Progress
from atrous.workflows.configuration import configure
from atrous.workflows.folds import train_folds
from atrous.workflows.outcome import Run
from atrous.workflows.run_folders import keeping, read_begun
from atrous.workflows.run_options import RunOptions, Terms, check_options
from atrous.workflows.single import train_into

__all__ = ["Run", "RunOptions", "train"]

UNNAMED = "configured"
"""What a recipe is called that nobody named."""
MOST_FOLDS = 1_000_000


def train(
    data: str | Path,
    *,
    recipe: str | Path | None = None,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    budget: str | None = None,
    resume: bool = False,
    progress: bool | Progress = True,
    **options: Unpack[RunOptions],
) -> Run:
    """Train a network by a recipe into a run folder.

    Headers and the first images are checked at once, everything else while the training runs. A run that an error ends
    before its first checkpoint leaves nothing. A recipe of several stages trains them one after the other, see
    `workflows.single`.

    Args:
        data: a data folder.
        recipe: a recipe's name or file. Where None, one is made from the data, see `workflows.configuration`; on
            resuming it is the run's own.
        out: folder of the run; runs/DATA-RECIPE where None, and runs/DATA-configured without a recipe.
        overrides: "KEY=VALUE" entries of the recipe.
        budget: time that all training may take together, such as "10m"; stages and folds share it evenly.
        resume: go on with the run in `out`, to exactly the weights of a run that was never interrupted.
        progress: True shows a line on standard error; a function is called with the number of steps done and of all, in
            each stage and fold anew.
        options: `from_bundle`, `classes`, `evaluate`, `folds`; see `RunOptions`.

    Raises:
        UsageError: if `out` is in use and not resumed, or has other folds.
        RecipeError: if the recipe does not fit, or is not that of the resumed run.
        DataError: if the data has an error.
        BundleError: if not one weight of `from_bundle` fits.
        AtrousError: if the loss is no longer finite.
    """
    check_options(options, "train")
    folder_name, name = Path(data).resolve().name, Path(recipe or UNNAMED).stem
    out = Path(out) if out is not None else Path("runs") / f"{folder_name}-{name}"
    join()
    with keeping(out):
        saved = read_begun(out, resume)
        classes = options.get("classes")
        count = _folds(options.get("folds"), saved, out)
        if recipe is None and not (out / "recipe.yaml").is_file():
            chosen, count = _make_recipe(data, overrides, budget=budget, folds=count, classes=classes)
        else:
            chosen = _choose_recipe(recipe, overrides, out, budget=budget, folds=count or 1)
        run = resolve_run(chosen)
        terms = Terms(
            start=options.get("from_bundle") or saved.get("from"),
            classes=classes or saved.get("classes"),
            resume=resume,
            evaluate=options.get("evaluate", True),
            progress=progress,
        )
        wait_for_all()  # nothing is written before every process has looked
        return train_into(out, data, run, terms) if count is None else train_folds(out, data, run, count, terms)


def _folds(given: int | None, saved: dict[str, Any], out: Path) -> int | None:
    """The number of folds, or None for a single run."""
    if given is not None and given < 2:
        raise UsageError(f"--folds {given}: give at least 2; leave it out to train once.")
    if not saved:
        return given
    text = saved.get("folds") or ""
    if text and not (text.isascii() and text.isdecimal() and 2 <= int(text[:9]) <= MOST_FOLDS):
        raise UsageError(f"{out / 'run.json'}: says folds={text!r}, which is no number of folds; start a new run.")
    before = int(text) if text else None
    if given not in (None, before):
        was = f"with --folds {before}" if before else "without folds"
        raise UsageError(f"{out}: the run was started {was}, not --folds {given}; leave it out or start a new run.")
    return before


def _make_recipe(
    data: str | Path, overrides: Sequence[str], *, budget: str | None, folds: int | None, classes: str | Path | None
) -> tuple[Recipe, int | None]:
    """A recipe from the data, and the number of folds."""
    if world().processes > 1:  # each would measure another pace, and train another network
        raise UsageError(
            "several processes train together: make a recipe with one of them first, and name it by --recipe."
        )
    seconds = parse_budget(budget)
    made = configure(data, overrides=overrides, budget=seconds and seconds / (folds or 1), classes=classes)
    if folds is None and made.folds is not None:  # the folds share the time
        count = made.folds
        return configure(data, overrides=overrides, budget=made.seconds / count, classes=classes).recipe, count
    return made.recipe, folds


def _choose_recipe(
    recipe: str | Path | None, overrides: Sequence[str], out: Path, *, budget: str | None, folds: int
) -> Recipe:
    """The recipe that was named, or the run's own; compared with the run's own where there is one."""
    own = out / "recipe.yaml"
    name = recipe or own
    chosen = load_recipe(name, overrides)
    if seconds := parse_budget(budget):  # every stage of every fold gets as much as the others
        trainings = folds * len(chosen.section("stages") or [None])
        chosen = load_recipe(name, [*overrides, f"training.budget={seconds / trainings:.6g}s"])
    if own.is_file():
        must_be_same_recipe(load_recipe(own).values, chosen.values, place=str(out))
    return chosen
