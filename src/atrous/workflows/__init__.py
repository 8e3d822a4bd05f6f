"""Whole jobs: the only rooms where data, training, inference and report meet. Each is one function and one command.

The functions are found on first use, so that importing this package costs nothing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atrous.workflows.check import check
    from atrous.workflows.convert import Conversion, convert, write_annotations
    from atrous.workflows.demo import demo
    from atrous.workflows.ensemble import ensemble
    from atrous.workflows.evaluate import Evaluation, ImageResult, evaluate
    from atrous.workflows.find_lr import RateSearch, find_lr
    from atrous.workflows.lineage import Description, Lineage, describe, lineage
    from atrous.workflows.outcome import Part, Run
    from atrous.workflows.predict import Outputs, predict
    from atrous.workflows.report import report
    from atrous.workflows.sample import sample
    from atrous.workflows.single import follows
    from atrous.workflows.train import train
    from atrous.workflows.tune import Tuning, tune_crf

__all__ = [
    "Conversion",
    "Description",
    "Evaluation",
    "ImageResult",
    "Lineage",
    "Outputs",
    "Part",
    "RateSearch",
    "Run",
    "Tuning",
    "check",
    "convert",
    "demo",
    "describe",
    "ensemble",
    "evaluate",
    "find_lr",
    "follows",
    "lineage",
    "predict",
    "report",
    "sample",
    "train",
    "tune_crf",
    "write_annotations",
]

_JOBS = (
    "check",
    "convert",
    "demo",
    "ensemble",
    "evaluate",
    "find_lr",
    "lineage",
    "predict",
    "report",
    "sample",
    "train",
)
_OTHERS = {
    "Conversion": "convert",
    "Description": "lineage",
    "Evaluation": "evaluate",
    "ImageResult": "evaluate",
    "Lineage": "lineage",
    "Outputs": "predict",
    "Part": "outcome",
    "RateSearch": "find_lr",
    "Run": "outcome",
    "Tuning": "tune",
    "describe": "lineage",
    "follows": "single",
    "tune_crf": "tune",
    "write_annotations": "convert",
}


class _Workflows(ModuleType):
    """Keeps `workflows.evaluate` the function: the import of the module of that name would bind the module there."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _JOBS and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Workflows


def __getattr__(name: str) -> Any:
    if name in _JOBS or name in _OTHERS:
        return getattr(import_module(f"atrous.workflows.{_OTHERS.get(name, name)}"), name)
    raise AttributeError(f"module 'atrous.workflows' has no attribute {name!r}")
