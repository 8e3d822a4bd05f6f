"""Whole jobs: the only rooms where data, training, inference and report meet. Each is one function and one command.

The functions are found on first use, so that importing this package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atrous.workflows.checkup import check
    from atrous.workflows.conversion import Conversion, convert, write_annotations
    from atrous.workflows.demonstration import demo
    from atrous.workflows.ensembles import ensemble
    from atrous.workflows.evaluation import Evaluation, ImageResult, evaluate
    from atrous.workflows.model_table import Description, Lineage, describe, lineage
    from atrous.workflows.outcome import Run, RunPart
    from atrous.workflows.prediction import PredictionFiles, describe_counts, predict
    from atrous.workflows.rate_search import RateSearch, find_lr
    from atrous.workflows.recipe_table import recipes
    from atrous.workflows.reporting import report
    from atrous.workflows.run_options import RunOptions
    from atrous.workflows.runs import is_secondary
    from atrous.workflows.samples import sample
    from atrous.workflows.training import train
    from atrous.workflows.tuned import Tuning
    from atrous.workflows.tuning import tune_crf
    from atrous.workflows.weight_table import weights

__all__ = [
    "Conversion",
    "Description",
    "Evaluation",
    "ImageResult",
    "Lineage",
    "PredictionFiles",
    "RateSearch",
    "Run",
    "RunOptions",
    "RunPart",
    "Tuning",
    "check",
    "convert",
    "demo",
    "describe",
    "describe_counts",
    "ensemble",
    "evaluate",
    "find_lr",
    "is_secondary",
    "lineage",
    "predict",
    "recipes",
    "report",
    "sample",
    "train",
    "tune_crf",
    "weights",
    "write_annotations",
]

_PLACES = {
    "Conversion": "conversion",
    "Description": "model_table",
    "Evaluation": "evaluation",
    "ImageResult": "evaluation",
    "Lineage": "model_table",
    "PredictionFiles": "prediction",
    "RunPart": "outcome",
    "RateSearch": "rate_search",
    "Run": "outcome",
    "RunOptions": "run_options",
    "Tuning": "tuned",
    "check": "checkup",
    "convert": "conversion",
    "demo": "demonstration",
    "describe": "model_table",
    "describe_counts": "prediction",
    "ensemble": "ensembles",
    "evaluate": "evaluation",
    "find_lr": "rate_search",
    "is_secondary": "runs",
    "lineage": "model_table",
    "predict": "prediction",
    "recipes": "recipe_table",
    "report": "reporting",
    "sample": "samples",
    "train": "training",
    "tune_crf": "tuning",
    "weights": "weight_table",
    "write_annotations": "conversion",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"atrous.workflows.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'atrous.workflows' has no attribute {name!r}")
