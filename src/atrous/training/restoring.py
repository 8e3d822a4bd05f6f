"""A checkpoint compared with the run that goes on from it: what does not fit is refused before the first step."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from atrous.errors import AtrousError, UsageError
from atrous.tables import Place, check_value
from atrous.training.files import read_checkpoint
from atrous.training.module import TrainingModule
from atrous.training.state import RunState

__all__ = ["fill_of", "find_best", "find_checkpoint", "restore"]

LAST, BEST = "checkpoints/last.ckpt", "checkpoints/best.ckpt"
AGAIN = "delete the folder checkpoints to train from the start with --resume"
_PARTS = {"identity": dict[str, str], "model": dict, "optimizer": dict, "precision": dict, "state": dict}
_FROM_RECIPE = ("max_steps", "validate_every", "budget", "monitor", "tick")
"""Entries of a run's state that the recipe says, or nobody."""


def find_checkpoint(out: Path) -> dict[str, Any] | None:
    """The last checkpoint of a run's folder, or None where it was killed before the first.

    Raises:
        UsageError: if it lacks something that a run goes on from.
    """
    saved = read_checkpoint(out / LAST)
    if saved is None:
        return None
    place = Place(str(out / LAST))
    with _refusing(out / LAST):
        for name, hint in _PARTS.items():
            check_value(saved.get(name), hint, what=name, place=place, error=UsageError)
        for name in ("recipe", "data", "counts"):
            check_value(saved["identity"].get(name), str, what=name, place=place / "identity", error=UsageError)
        check_value(json.loads(saved["identity"]["recipe"]), dict, what="recipe", place=place, error=UsageError)
        _check_state(saved["state"], place / "state")
    return saved


def _check_state(state: dict[str, Any], place: Place) -> None:
    """Where the run stood, each entry of its type; what is counted is no less than nothing."""
    kinds = {entry.name: entry.type for entry in fields(RunState) if entry.name not in _FROM_RECIPE}
    for name in {"step", "spent", *(set(state) & set(kinds))}:
        value = check_value(state.get(name), kinds[name], what=name, place=place, error=UsageError)
        if isinstance(value, int | float) and value < 0 and name != "best":
            raise UsageError(f"{place}: {name} is {value}")


def find_best(out: Path, model: nn.Module) -> int | None:
    """Give a model the best weights of a run; returns their step, or None where no validation had a score.

    Raises:
        UsageError: if they do not fit, or hold numbers that are not finite.
    """
    best = read_checkpoint(out / BEST)
    if best is None:
        return None
    with _refusing(out / BEST):
        step: int = check_value(best["step"], int, what="step", place=Place(str(out / BEST)), error=UsageError)
        _load(model, best["model"])
    return step


def restore(
    module: TrainingModule, saved: dict[str, Any], out: Path, *, optimizer: Optimizer, samples: Iterable[Any]
) -> None:
    """Go on from a checkpoint.

    Args:
        module: gets the weights, the state of the run, and what goes along with them.
        saved: what `find_checkpoint` gave.
        out: folder of the run.
        optimizer: of the weights.
        samples: data sets whose pixels without data hold the mean of the run, whatever the plan's model was given.

    Raises:
        UsageError: if it does not fit the run.
    """
    state = module.state
    with _refusing(out / LAST):
        _load(module.model, saved["model"])
        for data in samples:
            if hasattr(data, "fill"):
                data.fill = fill_of(module.model)
        _load_optimizer(optimizer, saved["optimizer"])
        state.restore(saved["state"])
        if state.budget is None and state.step > state.max_steps:
            raise ValueError(f"it is of step {state.step}, and the run has {state.max_steps}")
        for name, part in (("average", module.average), ("adversary", module.adversary)):
            if part is not None:
                part.load_state_dict(saved[name])


def fill_of(model: nn.Module) -> list[float] | None:
    """What pixels without data hold, one value per channel: the mean that the model takes off, as in prediction."""
    mean = getattr(model, "mean", None)
    return mean.tolist() if isinstance(mean, Tensor) and not mean.is_meta else None  # a blank model is only checked


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn what a damaged checkpoint leads to into one line that names it."""
    try:
        yield
    except AtrousError as error:
        raise UsageError(f"{str(error).rstrip('.')}: the checkpoint is damaged or was changed; {AGAIN}.") from None
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        what = f"it lacks {text}" if isinstance(error, KeyError) else text
        raise UsageError(f"{path}: is damaged or was changed ({what}); {AGAIN}.") from error


def _load(model: nn.Module, weights: Mapping[str, Any]) -> None:
    """Weights of the same names, shapes and types, and all of them numbers."""
    own = model.state_dict()
    for name, value in weights.items():
        if not isinstance(value, Tensor) or (name in own and value.dtype != own[name].dtype):
            came = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{name} is {came}, not {own[name].dtype if name in own else 'a tensor'}")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} holds numbers that are not finite")
    model.load_state_dict(dict(weights))


def _load_optimizer(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """The state of an optimizer, each entry of the kind that the new one has."""
    settings = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for own, group in zip(settings, optimizer.param_groups, strict=True):
        for key, value in own.items():
            if not _is_alike(value, group[key]):
                raise TypeError(f"{key} of the optimizer is {group[key]!r}")
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor) and (
                (value.ndim and value.shape != parameter.shape) or not bool(torch.isfinite(value).all())
            ):
                raise ValueError(f"{key} of the optimizer does not fit its weights of {tuple(parameter.shape)}")


def _is_alike(own: Any, saved: Any) -> bool:
    """Whether a setting is of the kind of another, and finite."""
    if isinstance(own, tuple | list):
        return isinstance(saved, tuple | list) and len(saved) == len(own) and all(map(_is_alike, own, saved))
    if isinstance(own, int | float) and not isinstance(own, bool):
        return isinstance(saved, int | float) and math.isfinite(saved)
    return own is None or saved is None or isinstance(saved, type(own))
