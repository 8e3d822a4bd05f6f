"""What a network's maps mean: how they are trained, turned into scores, decided and measured."""

from collections.abc import Mapping
from typing import Any

from atrous.tasks.base import Task
from atrous.tasks.instances import Instances
from atrous.tasks.multilabel import MultiLabel
from atrous.tasks.segmentation import Segmentation

__all__ = ["TASKS", "Instances", "MultiLabel", "Segmentation", "Task", "extra_maps"]

TASKS: dict[str, type[Task]] = {"segmentation": Segmentation, "instances": Instances, "multilabel": MultiLabel}


def extra_maps(section: str | Mapping[str, Any]) -> int:
    """How many maps a task needs beside those of its classes.

    Args:
        section: a checked section of a recipe: a name in `TASKS`, or {"name": ..., its arguments}.

    Example:
        >>> extra_maps("segmentation"), extra_maps({"name": "instances", "border": 2})
        (0, 1)
    """
    return TASKS[section if isinstance(section, str) else section["name"]].extra_maps
