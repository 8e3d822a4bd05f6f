"""A network as a graph of tensor operations, for images of any size."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atrous.inference.engines.base import EngineError

if TYPE_CHECKING:
    from torch.export import ExportedProgram  # a second to import

__all__ = ["TRACED", "Graph", "export_network"]

TRACED = (96, 160)
"""Height and width of the image that a network is traced with."""
_POOLED = torch.ops.aten.max_pool2d_with_indices.default
_UNPOOLED = torch.ops.aten.max_unpool2d.default


class Graph(NamedTuple):
    """A network as a graph.

    Attributes:
        program: of one input (B, C, H, W), all but C open.
        outputs: names of the maps that it gives, in its order.
        remembering: whether it uses the places of largest values, which rounding moves where two values nearly tie.
    """

    program: "ExportedProgram"
    outputs: tuple[str, ...]
    remembering: bool


def export_network(model: nn.Module, in_channels: int) -> Graph:
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
            program = export(model.eval(), (image,), dynamic_shapes=dynamic)
        names: Any = program.call_spec.out_spec.context  # the keys of the dict that a model returns
        pools = [node for node in program.graph.nodes if node.target is _POOLED and _is_remembered(node)]
        if factor := _factor_of(pools):
            program = program.run_decompositions(_by_cells(factor))
    except Exception as problem:
        raise EngineError(f"torch.export gives up on this network ({first_line(problem)})") from problem
    return Graph(program, tuple(names), bool(pools))


def _is_remembered(pool: Any) -> bool:
    return any(user.args[1:] == (1,) and user.users for user in pool.users)


def _factor_of(pools: list[Any]) -> int | None:
    """The side of the cells that `layers.max_pool` takes the largest value of; None for poolings of another kind."""
    kinds = {tuple(map(str, pool.args[1:])) for pool in pools}
    if len(kinds) != 1:
        return None
    arguments = [*pools[0].args[1:], *[None] * 5][:5]
    return arguments[0][0] if _are_cells(*arguments) else None


def _are_cells(kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: Any) -> bool:
    """Whether a pooling has square cells that do not overlap, the last of which may be smaller."""
    square = len(set(kernel)) == 1 and (not stride or list(stride) == list(kernel))
    return bool(ceil) and square and not any(padding or ()) and set(dilation or [1]) == {1}


def _by_cells(factor: int) -> dict[Any, Callable[..., Any]]:
    """Poolings that remember, and what undoes them, in operations that every engine has quick kernels for.

    OpenVINO (2026.4.1) computes the operations themselves by its reference code, one number after the other: SegNet
    takes three times as long as with torch. Compared cell by cell they also agree on ties in short numbers.
    """

    def pool(
        x: Tensor, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> Any:
        padding, dilation = ([each] if isinstance(each, int) else each for each in (padding, dilation))
        if not _are_cells(kernel, stride, padding, dilation, ceil_mode) or kernel[0] != factor:
            return NotImplemented
        height, width = x.shape[-2:]
        rows, columns = (height + factor - 1) // factor, (width + factor - 1) // factor
        filled = F.pad(x, (0, columns * factor - width, 0, rows * factor - height), value=float("-inf"))
        parts = [filled[:, :, i::factor, j::factor] for i in range(factor) for j in range(factor)]
        best, part = parts[0], torch.zeros_like(parts[0])  # numbers of parts are floats: engines compare those faster
        for number, other in enumerate(parts[1:], start=1):
            part = torch.where(other > best, float(number), part)  # of equal values the first
            best = torch.maximum(best, other)
        row, column = torch.arange(rows, device=x.device) * factor, torch.arange(columns, device=x.device) * factor
        whole = part.long()
        return best, (row.view(-1, 1) + whole // factor) * width + column + whole % factor

    def unpool(x: Tensor, positions: Tensor, size: Any) -> Tensor:
        height, width = size
        part = (positions // width % factor * factor + positions % width % factor).to(x.dtype)
        rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)

        def enlarged(maps: Tensor) -> Tensor:  # by indices, for sizes that are known only when an image comes
            return maps.index_select(2, rows // factor).index_select(3, columns // factor)

        here = (rows % factor * factor).view(-1, 1) + columns % factor
        return torch.where(enlarged(part) == here, enlarged(x), 0.0)

    return {_POOLED: pool, _UNPOOLED: unpool}


def first_line(problem: BaseException) -> str:
    """What an exception says, in one line of at most 200 characters."""
    text = " ".join(str(problem).split()) or type(problem).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
