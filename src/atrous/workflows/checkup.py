"""The dataset doctor as one call."""

from collections.abc import Callable, Sequence
from pathlib import Path

from atrous.data import DataOptions, check_folder, examine_folder
from atrous.errors import RecipeError
from atrous.findings import CheckReport
from atrous.recipe import make_recipe

__all__ = ["check"]


def check(
    data: str | Path,
    *,
    classes: str | Path | None = None,
    overrides: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Read every file of a data folder once, and tell what is there and every problem with its fix.

    Args:
        data: a data folder.
        classes: a classes.yaml to use instead of the folder's own.
        overrides: "KEY=VALUE" entries of a recipe's section `data` that decide which images are read, and `seed`.
        progress: called with the number of pairs done and of all.

    Returns:
        All findings and a summary; `str()` of it is the text that `atrous check` prints.

    Raises:
        DataError: if there is no such folder, or it is no data folder.
        RecipeError: if an override does not fit.
    """
    recipe = make_recipe({}, source="command line", overrides=overrides)
    options = recipe.options("data", DataOptions)
    if options.fold is not None:
        place = recipe.place / "data" / "fold"
        raise RecipeError(f"{place}: a check reads all images, whatever the fold; leave it out.")
    given = {key: value for key, value in options.splitting.items() if key != "fold"}
    return check_folder(examine_folder(data, classes=classes, seed=recipe.seed, **given), progress=progress)
