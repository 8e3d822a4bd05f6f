"""What a network's maps mean: how they are trained, turned into scores, decided and measured."""

from atrous.tasks.base import Task
from atrous.tasks.segmentation import Segmentation

__all__ = ["TASKS", "Segmentation", "Task"]

TASKS: dict[str, type[Task]] = {"segmentation": Segmentation}
