"""From a data folder and a recipe to a run: check, train, keep the best weights, evaluate, report."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atrous.errors import UsageError
from atrous.workflows.outcome import Run

if TYPE_CHECKING:
    from atrous.recipe import Recipe

__all__ = ["Run", "train"]

UNNAMED = "configured"
"""What a recipe is called that nobody named."""


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
    budget: str | None = None,
    folds: int | None = None,
) -> Run:
    """Train a network by a recipe into a run folder.

    Headers and the first images are checked at once, everything else while the training runs. A run that an error ends
    before its first checkpoint leaves nothing. A recipe of several stages trains them one after the other, see
    `workflows.stages`.

    Args:
        data: a data folder.
        recipe: a recipe's name or file. Where None, one is made from the data, see `workflows.configure`; on resuming
            it is the run's own.
        out: folder of the run; runs/DATA-RECIPE where None, and runs/DATA-configured without a recipe.
        overrides: "KEY=VALUE" entries of the recipe.
        resume: go on with the run in `out`, to exactly the weights of a run that was never interrupted.
        from_bundle: a bundle, a run or a Hub id whose weights to start from, where names and shapes fit; or a file or
            address of another library's weights (.pth, .pt, .bin, .safetensors), see `atrous.surgery.load_weights`.
            The first stage starts from them, and every fold.
        classes: a classes.yaml to use instead of the folder's own.
        evaluate: whether to evaluate the bundle on the validation images and write the report at the end.
        budget: time that all training may take together, such as "10m"; stages and folds share it evenly.
        folds: train so many networks, each validated on another part of the images, and join them into one bundle, see
            `workflows.folds`; on resuming the run's own where None.

    Raises:
        UsageError: if `out` is in use and not resumed, or has other folds.
        RecipeError: if the recipe does not fit, or is not that of the resumed run.
        DataError: if the data has an error.
        BundleError: if not one weight of `from_bundle` fits.
        AtrousError: if the loss is no longer finite.
    """
    from atrous.training.distributed import join, wait_for_all

    folder_name, name = Path(data).resolve().name, Path(recipe or UNNAMED).stem
    out = Path(out) if out is not None else Path("runs") / f"{folder_name}-{name}"
    join()
    told = _told(out, resume)
    count = _folds(folds, told, out)
    if recipe is None and not (out / "recipe.yaml").is_file():
        chosen, count = _make_recipe(data, overrides, budget=budget, folds=count, classes=classes)
    else:
        chosen = _choose_recipe(recipe, overrides, out, budget=budget, folds=count or 1)
    given: dict[str, Any] = {
        "classes": classes or told.get("classes"),
        "start": from_bundle or told.get("from"),
        "resume": resume,
        "evaluate": evaluate,
    }
    wait_for_all()  # nothing is written before every process has looked
    if count is not None:
        from atrous.workflows.folds import train_folds

        return train_folds(out, data, chosen, count, **given)
    from atrous.workflows.single import train_into

    return train_into(out, data, chosen, **given)


def _told(out: Path, resume: bool) -> dict[str, Any]:
    """What an interrupted run says about itself; refuses a folder that is in use."""
    from atrous.workflows.runs import read_json
    from atrous.workflows.single import follows

    if follows():  # the leading process refuses for all
        return (read_json(out / "run.json") or {}) if resume else {}
    told: dict[str, Any] | None = read_json(out / "run.json") if out.is_dir() else None
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; name a new folder with -o.")
    if told is not None and not resume:
        raise UsageError(f"{out}: holds a run already; go on with it by --resume, or name a new folder with -o.")
    if told is None and out.is_dir() and any(not entry.name.endswith(".part") for entry in out.iterdir()):
        missing = "is no run to go on with: it has no run.json" if resume else "the folder is not empty"
        raise UsageError(f"{out}: {missing}; name a new folder with -o.")
    return told or {}


def _folds(given: int | None, told: dict[str, Any], out: Path) -> int | None:
    """The number of folds, or None for a single run."""
    if given is not None and given < 2:
        raise UsageError(f"--folds {given}: give at least 2; leave it out to train once.")
    if not told:
        return given
    before = int(told["folds"]) if told.get("folds") else None
    if given not in (None, before):
        was = f"with --folds {before}" if before else "without folds"
        raise UsageError(f"{out}: the run was started {was}, not --folds {given}; leave it out or start a new run.")
    return before


def _make_recipe(
    data: str | Path, overrides: Sequence[str], *, budget: str | None, folds: int | None, classes: str | Path | None
) -> tuple["Recipe", int | None]:
    """A recipe from the data, and the number of folds."""
    from atrous.training.distributed import world
    from atrous.training.options import parse_budget
    from atrous.workflows.configuration import configure

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
) -> "Recipe":
    from atrous.recipe import load_recipe
    from atrous.training.identity import must_be_same_recipe
    from atrous.training.options import parse_budget

    own = out / "recipe.yaml"
    name = recipe or own
    chosen = load_recipe(name, overrides)
    if seconds := parse_budget(budget):  # every stage of every fold gets as much as the others
        trainings = folds * len(chosen.section("stages") or [None])
        chosen = load_recipe(name, [*overrides, f"training.budget={seconds / trainings:.6g}s"])
    if own.is_file():
        must_be_same_recipe(load_recipe(own).values, chosen.values, place=str(out))
    return chosen
