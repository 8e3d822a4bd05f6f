"""What a network's maps mean: how they are trained, turned into scores, decided, measured and written.

`base` is the contract, one file beside it is one task. Nothing outside this folder knows one task from another.
"""

from collections.abc import Callable, Mapping
from typing import Any

from atrous.tasks.base import MEAN_IOU, Evaluator, Measure, Output, Proposal, ProposalFacts, ResultTable, Task
from atrous.tasks.instances import Instances
from atrous.tasks.landmarks import Landmarks
from atrous.tasks.multilabel import MultiLabel
from atrous.tasks.segmentation import Segmentation

__all__ = [
    "MEAN_IOU",
    "TASKS",
    "Evaluator",
    "Instances",
    "Landmarks",
    "Measure",
    "MultiLabel",
    "Output",
    "Proposal",
    "ResultTable",
    "Segmentation",
    "Task",
    "build_task",
    "extra_maps",
    "propose",
]

TASKS: dict[str, type[Task]] = {
    "segmentation": Segmentation,
    "instances": Instances,
    "multilabel": MultiLabel,
    "landmarks": Landmarks,
}
"""By their names in recipes. The last is the first to be asked for a proposal; the first takes whatever is left."""


def extra_maps(section: str | Mapping[str, Any]) -> int:
    """How many maps a task needs beside those of its classes.

    Args:
        section: a checked section of a recipe: a name in `TASKS`, or {"name": ..., its arguments}.

    Example:
        >>> extra_maps("segmentation"), extra_maps({"name": "instances", "border": 2})
        (0, 1)
    """
    named = {"name": section} if isinstance(section, str) else dict(section)
    return TASKS[named.pop("name")].maps_beside(named)


def propose(facts: ProposalFacts) -> Proposal:
    """What the tasks suggest for some data; of a task that somebody has chosen, what it suggests for itself.

    Args:
        facts: of the data.
    """
    if facts.task is not None:
        own = TASKS[facts.task["name"]].propose(facts)
        section = own.section if own is not None and own.section["name"] == facts.task["name"] else {}
        return Proposal({**section, **facts.task}, "as the command line says")
    proposals = (task.propose(facts) for task in reversed(TASKS.values()))
    return next(proposal for proposal in proposals if proposal is not None)


def build_task(section: str | Mapping[str, Any], num_classes: int, **given: Any) -> Task:
    """A task from its section.

    Args:
        section: a checked section of a recipe: a name in `TASKS`, or {"name": ..., its arguments}.
        num_classes: classes of the data; the task's own maps come on top.
        given: arguments that no recipe holds, such as `frequencies`.

    Example:
        >>> build_task({"name": "instances", "border": 2}, 2).num_classes
        3
    """
    named = {"name": section} if isinstance(section, str) else dict(section)
    build: Callable[..., Task] = TASKS[named.pop("name")]
    return build(num_classes + extra_maps(section), **named, **given)
