"""What makes a run this run: a checkpoint is only gone on with by the recipe and the data that it was made with."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from atrous.data.fingerprint import Fingerprint
from atrous.errors import DataError, RecipeError, UsageError

__all__ = ["identify", "must_be_same_recipe", "must_be_same_run"]

FREE = ("data.workers", "training.device", "training.log_every", "training.checkpoint_every")
"""Entries that may differ: they decide where and how closely a run is followed, not where it goes."""
CONTENTS = ("images", "masks", "class values")
"""What must still be what it was."""


def identify(
    recipe: Mapping[str, Any],
    files: Mapping[str, list[str]],
    class_names: list[str],
    *,
    flip_pairs: Sequence[tuple[int, int]] = (),
    contents: Mapping[str, Fingerprint] | None = None,
    processes: int = 1,
) -> dict[str, str]:
    """Plain text that a checkpoint carries.

    Args:
        recipe: the plain values of the recipe.
        files: image names by split.
        class_names: in order.
        flip_pairs: classes that a mirror exchanges.
        contents: what the files are known by, under names of `CONTENTS`.
        processes: that train together, and so share out the draws of a step.
    """
    text = json.dumps([files, class_names, *([flip_pairs] if flip_pairs else [])], sort_keys=True)
    counts = ", ".join(f"{len(names)} {split}" for split, names in files.items())
    return {
        "recipe": json.dumps(recipe),
        "data": hashlib.sha256(text.encode()).hexdigest(),
        "counts": f"{counts} images, {len(class_names)} classes",
        "processes": str(processes),
        **{what: found.digest for what, found in (contents or {}).items()},
        **{f"newest of {what}": found.newest for what, found in (contents or {}).items()},
    }


def must_be_same_run(saved: Mapping[str, str], now: Mapping[str, str], *, place: str) -> None:
    """Refuse to go on with a checkpoint of another recipe or other data.

    Raises:
        RecipeError: naming the entries that differ.
        DataError: if images or classes have come, gone or changed their order, or images or masks their content.
        UsageError: if another number of processes trains now.
    """
    must_be_same_recipe(json.loads(saved["recipe"]), json.loads(now["recipe"]), place=place)
    before, after = saved.get("processes", "1"), now.get("processes", "1")
    if before != after:
        raise UsageError(
            f"{place}: was trained by {before} process(es) together, and now there are {after}; resume it with as "
            "many, or start a new run, from its weights with --from."
        )
    if saved["data"] != now["data"]:
        raise DataError(
            f"{place}: was trained on other data ({saved['counts']}; now {now['counts']}), so it cannot be resumed; "
            "start a new run, from its weights with --from."
        )
    for what in CONTENTS:
        if saved.get(what, now.get(what)) != now.get(what):  # runs from before they were looked at know none
            raise DataError(
                f"{place}: the {what} have changed since the run was begun (the last to be written is "
                f"{now[f'newest of {what}']}), so it cannot be resumed; put them back, or start a new run, from its "
                "weights with --from."
            )


def must_be_same_recipe(saved: Mapping[str, Any], now: Mapping[str, Any], *, place: str) -> None:
    """Refuse to go on with a run of another recipe.

    Raises:
        RecipeError: naming the entries that differ.

    Example:
        >>> must_be_same_recipe({"seed": 0}, {"seed": 1}, place="runs/a")
        Traceback (most recent call last):
        atrous.errors.RecipeError: runs/a: the run was started with seed=0, not 1; leave these out or start a new run.
    """
    before, after = _flat(json.loads(json.dumps(saved))), _flat(json.loads(json.dumps(now)))
    differing = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key) and key not in FREE]
    if not differing:
        return
    shown = [f"{key}={before.get(key, 'unset')}, not {after.get(key, 'unset')}" for key in differing[:4]]
    more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
    raise RecipeError(
        f"{place}: the run was started with {'; '.join(shown)}{more}; leave these out or start a new run."
    )


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Key paths to values; what is null counts as not said."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        return {} if value is None else {path: value}
    flat: dict[str, Any] = {}
    for key, inner in items:
        flat |= _flat(inner, f"{path}.{key}" if path else str(key))
    return flat
