"""Training: the only room where Lightning lives.

`fit` takes a model, a task and a folder and leaves a run: checkpoints, a log, TensorBoard events. A batch is a pure
function of (seed, step) and so is every dropout mask, so that a run killed at any instant and resumed ends with the
bits of the uninterrupted one. Lightning is imported with the first use of `fit`, not with the options.
"""

from typing import TYPE_CHECKING, Any

from atrous.training.options import TrainingOptions

__all__ = ["FitResult", "TrainingOptions", "fit", "load_matching"]

if TYPE_CHECKING:
    from atrous.training.finetune import load_matching
    from atrous.training.fitting import FitResult, fit

_PLACES = {"FitResult": "fitting", "fit": "fitting", "load_matching": "finetune"}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(f"atrous.training.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'atrous.training' has no attribute {name!r}")
