"""What the networks cost and see: figures that are shipped with the package, and how they are worked out.

They take long, and are kept in `models/figures.json` for the networks as their papers have them. A network that is not
in the file is worked out when it is asked for.
"""

import json
import logging
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import atrous.models
from atrous import analysis
from atrous.disk import write_text
from atrous.errors import ModelError, did_you_mean
from atrous.models import MODELS, DenseModel, create_model, paper

__all__ = ["SIZE", "Figures", "blank_model", "figures_of", "known_figures", "write_figures"]

LOG = logging.getLogger(__name__)
SIZE = (512, 512)
"""Height and width of the image that networks are compared at."""
CLASSES = 21
"""Classes of a network where no paper says."""


@dataclass(frozen=True)
class Figures:
    """What a network costs for one image of 512 x 512, with the paper's number of classes.

    Attributes:
        num_classes: of the network that was counted.
        parameters: weights.
        multiply_adds: of convolutions and matrix products.
        training_memory: bytes that a training step keeps between forward and backward, in float32.
        inference_memory: bytes of maps that exist at one time without gradients, at most, in float32.
        receptive_field: pixels that an output pixel sees along each axis, or None where it sees the whole image.
        unbounded_by: the layer and operation that make it see the whole image, or None.
    """

    num_classes: int
    parameters: int
    multiply_adds: int
    training_memory: int
    inference_memory: int
    receptive_field: tuple[int, int] | None
    unbounded_by: str | None = None

    @property
    def sees(self) -> str:
        """The receptive field in words."""
        if self.receptive_field is None:
            return "whole image"
        return " x ".join(str(size) for size in dict.fromkeys(self.receptive_field))


def known_figures() -> dict[str, Figures]:
    """The figures that the package ships, by the key of the network."""
    try:
        stored: dict[str, dict[str, Any]] = json.loads(_figures_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    found = {}
    for key, values in stored.items():
        seen = values["receptive_field"]
        found[key] = Figures(**{**values, "receptive_field": None if seen is None else tuple(seen)})
    return found


def figures_of(key: str) -> Figures:
    """Work out what a network costs and sees. Nothing is computed for real.

    Raises:
        ModelError: if there is no such network.
    """
    model = blank_model(key)
    try:
        field = analysis.receptive_field(model)
    except ModelError as error:  # an operation that the analysis does not know: nothing is promised
        field = analysis.ReceptiveField(None, None, str(error))
    seen = (field.vertical.size, field.horizontal.size) if field.vertical and field.horizontal else None
    return Figures(
        num_classes=model.num_classes,
        parameters=analysis.parameters(model),
        multiply_adds=analysis.multiply_adds(model, SIZE),
        training_memory=analysis.activation_memory(model, SIZE),
        inference_memory=analysis.inference_memory(model, SIZE),
        receptive_field=seen,
        unbounded_by=None if seen else field.unbounded_by,
    )


def _figures_file() -> Path:
    return Path(atrous.models.__file__).with_name("figures.json")


def blank_model(key: str) -> DenseModel:
    """The network as its paper has it, without numbers.

    Raises:
        ModelError: if there is no such network.
    """
    if key not in MODELS:
        raise ModelError(f"there is no model {key!r}. {did_you_mean(key, MODELS)}")
    told = paper(key)
    with torch.device("meta"):
        return create_model(key, num_classes=told.num_classes if told else CLASSES)


def write_figures(keys: Collection[str] = ()) -> Path:
    """Work out the figures of some networks anew and write the file, in the order of `MODELS`.

    Args:
        keys: of the networks; () for all, which takes minutes.

    Raises:
        ModelError: if there is no such network.
    """
    known, anew = known_figures(), {}
    for key in keys or MODELS:
        LOG.info("%s", key)
        anew[key] = figures_of(key)
    every = known | anew
    lines = [f"{json.dumps(key)}: {json.dumps(asdict(every[key]))}" for key in MODELS if key in every]
    return write_text(_figures_file(), "{\n" + ",\n".join(lines) + "\n}\n")
