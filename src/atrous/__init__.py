"""From a folder of images and masks to a trained, measured, deployable segmenter.

The names below are resolved on first use, so that ``import atrous`` costs nothing but the standard library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from atrous._version import __version__

_NAMES = {
    "AtrousError": "errors",
    "Predictor": "inference",
    "check": "workflows",
    "convert": "workflows",
    "create_model": "models",
    "evaluate": "workflows",
    "list_models": "models",
    "load_bundle": "bundle",
    "predict": "workflows",
    "report": "workflows",
    "sample": "workflows",
    "save_bundle": "bundle",
    "train": "workflows",
    "tune_crf": "workflows",
}
_SUBMODULES = {
    "adversarial", "analysis", "annotations", "augment", "bundle", "configure", "crf", "data", "encoders", "errors",
    "evaluation", "images", "inference", "layers", "losses", "made", "metrics", "models", "optim", "postprocess",
    "recipe", "recipes", "reports", "surgery", "tables", "tasks", "training", "types", "workflows",
}  # fmt: skip

__all__ = [
    "AtrousError",
    "Predictor",
    "__version__",
    "check",
    "convert",
    "create_model",
    "evaluate",
    "list_models",
    "load_bundle",
    "predict",
    "report",
    "sample",
    "save_bundle",
    "train",
    "tune_crf",
]

if TYPE_CHECKING:
    from atrous.bundle import load_bundle, save_bundle
    from atrous.errors import AtrousError
    from atrous.inference import Predictor
    from atrous.models import create_model, list_models
    from atrous.workflows import check, convert, evaluate, predict, report, sample, train, tune_crf


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"atrous.{_NAMES[name]}"), name)
    if name in _SUBMODULES:
        return import_module(f"atrous.{name}")
    raise AttributeError(f"module 'atrous' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
