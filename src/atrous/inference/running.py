"""How images are predicted: the keywords that `predict` and `evaluate` share and hand on."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypedDict

from atrous.errors import did_you_mean

__all__ = ["Running", "read_running"]


class Running(TypedDict, total=False):
    """Keywords of a call; what is left out is chosen.

    Attributes:
        device: "auto", "cpu", "cuda", ...
        precision: "auto", "float32", "bfloat16" or "float16".
        engine: what computes the network on a CPU: "auto", "torch", "openvino" or "onnxruntime"; None does what the
            bundle says.
        refine: what the scores are refined by, such as "crf:bilateral_xy=60"; None does what the bundle says, "none"
            nothing.
        tile: side of the tiles, or None for whole images at once.
        margin: context around a tile (halo): "exact" for the same answer as without tiles, "auto", or pixels.
        views: names of flips and turns to average over (test-time augmentation), and "mc:N" for N passes with dropout.
    """

    device: str
    precision: str
    engine: str | None
    refine: Any
    tile: int | None
    margin: int | Literal["exact", "auto"]
    views: Iterable[str]


def read_running(keywords: Mapping[str, Any], function: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keywords of a predictor, and those of each of its calls; the first with all names, the second complete.

    Args:
        keywords: as they came.
        function: who got them, for the message.

    Raises:
        TypeError: if there is no such keyword, as for any function.

    Example:
        >>> read_running({"tile": 512, "device": "cpu"}, "evaluate")[0]
        {'device': 'cpu', 'precision': 'auto', 'engine': None, 'refine': None}
    """
    for name in keywords:
        if name not in Running.__annotations__:
            near = did_you_mean(name, Running.__annotations__)
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}. {near}")
    making = {"device": "auto", "precision": "auto", "engine": None, "refine": None}
    calling = {"tile": None, "margin": "exact", "views": ()}
    made = {name: keywords.get(name, default) for name, default in making.items()}
    called = {name: keywords.get(name, default) for name, default in calling.items()}
    return made, called | {"views": tuple(called["views"])}  # type: ignore[call-overload]
