"""The rarer keywords of `train`, and what all stages and folds of a run are handed of its keywords."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from atrous.errors import did_you_mean
from atrous.types import Progress

__all__ = ["RunOptions", "Terms", "check_options"]


class RunOptions(TypedDict, total=False):
    """Keywords of `train` beside the usual ones.

    Attributes:
        from_bundle: a bundle, a run or a Hub id whose weights to start from (fine-tuning), where names and shapes fit;
            or a file or address of another library's weights (.pth, .pt, .bin, .safetensors), see
            `atrous.surgery.load_weights`. The first stage starts from them, and every fold.
        classes: a classes.yaml to use instead of the folder's own.
        evaluate: whether to evaluate the bundle on the validation images and write the report at the end; True where
            it is left out.
        folds: train so many networks, each validated on another part of the images (cross-validation), and join them
            into one bundle, see `workflows.folds`; on resuming the run's own where None.
    """

    from_bundle: str | Path | None
    classes: str | Path | None
    evaluate: bool
    folds: int | None


@dataclass(frozen=True)
class Terms:
    """How a run is carried out; the same for all of its stages and folds.

    Attributes:
        start: what the first stage starts from, or None.
        classes: a classes.yaml to use instead of the folder's own.
        resume: go on where the run stands; what is finished is left alone.
        evaluate: whether to evaluate the bundle on the validation images and write the report at the end.
        progress: True for a line on standard error, or a function, called with the steps done and of all.
    """

    start: str | Path | None = None
    classes: str | Path | None = None
    resume: bool = False
    evaluate: bool = True
    progress: bool | Progress = True


def check_options(keywords: Mapping[str, Any], function: str) -> None:
    """Refuse a keyword that there is not.

    Raises:
        TypeError: as for any function, with the nearest spelling.

    Example:
        >>> check_options({"fold": 5}, "train")
        Traceback (most recent call last):
        TypeError: train() got an unexpected keyword argument 'fold'. Did you mean 'folds'?
    """
    for name in keywords:
        if name not in RunOptions.__annotations__:
            near = did_you_mean(name, RunOptions.__annotations__)
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}. {near}")
