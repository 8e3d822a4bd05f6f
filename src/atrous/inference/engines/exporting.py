"""A network as a graph of tensor operations, for images of any size."""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from atrous.inference.engines.base import EngineError

if TYPE_CHECKING:
    from torch.export import ExportedProgram  # a second to import

__all__ = ["TRACED", "export_network", "output_names", "remembers"]

TRACED = (96, 160)
"""Height and width of the image that a network is traced with."""
_POOLED = torch.ops.aten.max_pool2d_with_indices.default


def export_network(model: nn.Module, in_channels: int) -> "ExportedProgram":
    """The graph of a network in evaluation, float32, whose batch, height and width are open.

    Raises:
        EngineError: if the network does something that no graph can hold.
    """
    from torch.export import Dim, export

    # Two images, for a batch of one would count as always one.
    image = torch.rand(2, in_channels, *TRACED, generator=torch.Generator().manual_seed(0))
    dynamic = {"image": {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}}
    try:
        with torch.no_grad():
            return export(model.eval(), (image,), dynamic_shapes=dynamic)
    except Exception as problem:
        raise EngineError(f"torch.export gives up on this network ({first_line(problem)})") from problem


def output_names(program: "ExportedProgram") -> tuple[str, ...]:
    """The names of the maps that a graph gives, in its order."""
    names: Any = program.call_spec.out_spec.context  # the keys of the dict that a model returns
    return tuple(names)


def remembers(program: "ExportedProgram") -> bool:
    """Whether the network uses the places of largest values, which rounding moves where two values nearly tie."""
    users = (user for node in program.graph.nodes if node.target is _POOLED for user in node.users)
    return any(user.args[1:] == (1,) and user.users for user in users)


def first_line(problem: BaseException) -> str:
    """What an exception says, in one line of at most 200 characters."""
    text = " ".join(str(problem).split()) or type(problem).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
