"""From a folder of images and masks to a trained, measured, deployable segmenter.

The names below are resolved on first use, so that ``import atrous`` costs nothing but the standard library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from atrous._version import __version__ as __version__

_NAMES = {
    "AtrousError": "errors",
    "create_model": "models",
    "list_models": "models",
    "save_bundle": "bundle",
    "load_bundle": "bundle",
    "Predictor": "inference",
    "train": "workflows",
    "evaluate": "workflows",
}
_SUBMODULES = {
    "analysis", "annotations", "augment", "bundle", "crf", "data", "encoders", "errors", "evaluation", "fetch",
    "findings", "images", "inference", "layers", "losses", "made", "metrics", "models", "optim", "postprocess",
    "recipe", "reports", "surgery", "tables", "tasks", "training", "types", "workflows",
}  # fmt: skip

__all__ = ["AtrousError", "Predictor", "create_model", "evaluate", "list_models", "load_bundle", "save_bundle", "train"]

if TYPE_CHECKING:
    from atrous.bundle import load_bundle, save_bundle
    from atrous.errors import AtrousError
    from atrous.inference import Predictor
    from atrous.models import create_model, list_models
    from atrous.workflows import evaluate, train


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"atrous.{_NAMES[name]}"), name)
    if name in _SUBMODULES:
        return import_module(f"atrous.{name}")
    raise AttributeError(f"module 'atrous' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
