"""Several bundles as one, whose probabilities are the mean of theirs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atrous.bundle import Bundle, load_bundle, save_bundle
from atrous.errors import BundleError, ModelError, UsageError
from atrous.evaluation import same_masks
from atrous.models import create_model
from atrous.tasks import TASKS

__all__ = ["ensemble", "why_not_averaged"]


def ensemble(bundles: Sequence[str | Path], out: str | Path, *, metrics: Mapping[str, Any] | None = None) -> Path:
    """Write an ensemble bundle: one network that averages the class probabilities of others.

    Each member keeps the normalisation that it was trained with. The recipe of the ensemble has what those of all
    members have in common, but no fold.

    Args:
        bundles: bundles, runs or Hub ids, of one task, and of the same classes, kind and channels of images.
        out: folder of the new bundle; an older bundle there is replaced.
        metrics: figures to carry along.

    Returns:
        The folder.

    Raises:
        UsageError: if less than two bundles are given.
        BundleError: if one cannot be read, or they do not go together.
    """
    if len(bundles) < 2:
        raise UsageError(f"an ensemble has at least 2 members, got {len(bundles)}; name the bundles to average.")
    members = [load_bundle(place) for place in bundles]
    first = members[0]
    for place, member in zip(bundles, members, strict=True):
        _must_be_alike(str(bundles[0]), first, str(place), member)
    try:
        model = create_model(
            "ensemble",
            num_classes=first.model.num_classes,  # with the maps that stand for no class
            in_channels=first.channels,
            members=[member.model for member in members],
            probabilities=TASKS[first.task["name"]].probabilities,
        )
    except ModelError as error:
        raise BundleError(f"{bundles[0]}: {error}") from None
    return save_bundle(
        out,
        model.eval(),
        task=first.task,
        class_names=first.classes or first.class_names,
        colors=None if first.classes else first.colors,
        dtype=first.dtype,
        recipe=_common([member.recipe for member in members]),
        metrics=metrics,
    )


def why_not_averaged(task: str) -> str:
    """Why networks of a task make no ensemble, or ""; known before anything is trained."""
    if TASKS[task].probabilities:
        return ""
    averaged = ", ".join(name for name, kind in TASKS.items() if kind.probabilities)
    return f"the scores of the task {task!r} are no probabilities, which is what an ensemble averages: {averaged} are."


def _must_be_alike(one: str, first: Bundle, other: str, member: Bundle) -> None:
    """Both can be averaged, or an error that names what differs."""
    if reason := why_not_averaged(member.task["name"]):
        raise BundleError(f"{other}: {reason}")
    if member.task["name"] != first.task["name"]:
        raise BundleError(
            f"{other}: is for the task {member.task['name']!r}, but {one} for {first.task['name']!r}; an ensemble "
            "takes bundles for one task."
        )
    if member.class_names != first.class_names:
        raise BundleError(
            f"{other}: decides the classes {list(member.class_names)}, but {one} decides {list(first.class_names)}; "
            "an ensemble needs the same classes in the same order."
        )
    if first.classes and member.classes and not same_masks(first.classes, member.classes):
        raise BundleError(
            f"{other}: was trained on masks of {member.classes.describe()}, but {one} on masks of "
            f"{first.classes.describe()}; an ensemble needs the same classes by the same values."
        )
    if {*map(frozenset, member.flip_pairs)} != {*map(frozenset, first.flip_pairs)}:
        raise BundleError(
            f"{other}: the classes that are mirror images, flip_pairs of classes.yaml, are not those of {one}; train "
            "the members with one class table."
        )
    if (member.dtype, member.channels) != (first.dtype, first.channels):
        raise BundleError(
            f"{other}: takes {member.dtype} images of {member.channels} channels, but {one} takes {first.dtype} images "
            f"of {first.channels}; an ensemble looks at the same image with all members."
        )


def _common(recipes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The sections that are the same in all recipes, the fold of the data apart."""
    without = [
        {**recipe, "data": _without_fold(recipe["data"])} if recipe.get("data") else recipe for recipe in recipes
    ]
    return {key: value for key, value in without[0].items() if all(recipe.get(key) == value for recipe in without)}


def _without_fold(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != "fold"}
