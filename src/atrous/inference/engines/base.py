"""What an engine is to the rest of the room, and the words that choose one."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from atrous.errors import AtrousError, UsageError, did_you_mean
from atrous.tables import Place
from atrous.types import Outputs

__all__ = [
    "AUTO",
    "CONVERTED",
    "ENGINES",
    "CompiledNetwork",
    "EngineError",
    "is_installed",
    "named_maps",
    "read_engine",
]

CONVERTED = ("openvino", "onnxruntime")
"""Engines that a network is converted for."""
AUTO = "openvino"
"""The one of them that `auto` takes where it is installed."""
SMALLEST = 32
"""Pixels of a side from which on an image is computed by another engine than torch: a graph for open sizes may lack
what a network does on a pixel or two, and there is nothing to gain."""
ENGINES = ("auto", "torch", *CONVERTED)
_HERE = Place("engine")


class EngineError(Exception):
    """Why an engine cannot compute a network; words that follow a colon."""


class CompiledNetwork(Protocol):
    """A network that an engine computes. Threads may share it.

    Attributes:
        engine: its name.
        precision: what it computes in: "float32", "bfloat16" or "int8".
    """

    engine: str
    precision: str

    def running(self, image: Float[Tensor, "B C H W"]) -> AbstractContextManager[Outputs]:
        """The network's maps, float32 on the CPU, in memory that is the engine's own again when the block ends.

        Raises:
            EngineError: if the engine cannot compute an image of this size.
        """


def read_engine(name: Any, *, place: Place = _HERE, error: type[AtrousError] = UsageError) -> str:
    """The name of an engine.

    Args:
        name: as it was given; None stands for "auto".
        place: where it was given, for the message.
        error: the class of what is raised.

    Raises:
        AtrousError: of the class `error`, if there is no such engine.

    Example:
        >>> read_engine(None), read_engine("torch")
        ('auto', 'torch')
    """
    if name is None:
        return "auto"
    if name not in ENGINES:
        raise error(f"{place}: unknown engine {name!r}. {did_you_mean(str(name), ENGINES)}")
    return str(name)


def named_maps(names: Sequence[str], maps: Iterable[np.ndarray], image: Tensor) -> Outputs:
    """What an engine computed, by name, in the engine's memory.

    Args:
        names: of the maps.
        maps: in the same order.
        image: that they are of.

    Raises:
        EngineError: if `out` has another size than the image, as engines give for images of a pixel or two.
    """
    outputs = {name: torch.from_numpy(values) for name, values in zip(names, maps, strict=True)}
    found, wanted = outputs["out"].shape, image.shape
    if (found[0], *found[-2:]) != (wanted[0], *wanted[-2:]):
        raise EngineError(f"the engine gives maps of {tuple(found)} for an image of {tuple(wanted)}")
    return outputs


def is_installed(engine: str) -> bool:
    """Whether the package of an engine can be imported; nothing is."""
    return engine == "torch" or find_spec(engine) is not None
