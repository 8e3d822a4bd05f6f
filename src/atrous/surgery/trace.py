"""A classifier as a graph of operations, with the shape that each result has at the size it was made for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import Proxy

from atrous.analysis.probe import skeleton
from atrous.errors import ModelError

__all__ = ["Traced", "trace"]


class Traced:
    """Operations of a classifier in evaluation.

    Attributes:
        graph: the operations; parts are named as in the classifier.
        shapes: the shape of every result that is a tensor.
    """

    def __init__(self, graph: fx.Graph, values: dict[fx.Node, Any]) -> None:
        self.graph = graph
        self.shapes = {node: tuple(value.shape) for node, value in values.items() if isinstance(value, Tensor)}

    def source_of(self, node: fx.Node) -> fx.Node | None:
        """The first argument that is a tensor."""
        return next((argument for argument in node.all_input_nodes if argument in self.shapes), None)


def trace(classifier: nn.Module, in_channels: int, size: tuple[int, int]) -> Traced:
    """Follow one image without numbers through a copy without weights.

    Args:
        classifier: any network that `torch.fx` can follow; questions about shapes are answered for `size`.
        in_channels: channels of the image.
        size: height and width of the image.

    Raises:
        ModelError: if the classifier cannot be followed, with what it did.
    """
    name = type(classifier).__name__
    tracer = _Tracer(torch.empty(1, in_channels, *size, device="meta"))
    try:
        with torch.no_grad():
            graph = tracer.trace(skeleton(classifier))
            for node in graph.nodes:
                tracer.value(node)
    except (fx.proxy.TraceError, RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{name} cannot be followed through an image of {size[0]}x{size[1]} ({reason}): give the size that it was "
            f"made for, or another classifier, for example torchvision's vgg16 or resnet18"
        ) from error
    return Traced(graph, tracer.values)


class _Tracer(fx.Tracer):
    """Follows a network down to the parts that hold weights or that training changes, and knows every shape."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.image = image
        self.values: dict[fx.Node, Any] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Parts are kept whole where taking them apart would freeze what they do in training."""
        if super().is_leaf_module(m, module_qualified_name):
            return True
        childless = next(m.children(), None) is None
        holds = any(True for _ in m.parameters(recurse=False)) or any(True for _ in m.buffers(recurse=False))
        return holds or (childless and "Pool" not in type(m).__name__)

    def to_bool(self, obj: Proxy) -> bool:
        """A decision that the forward takes, on shapes as a rule, as it comes out for the image."""
        with _unpatched():
            return bool(self.value(obj.node))

    def value(self, node: fx.Node) -> Any:
        """The result of an operation."""
        if node not in self.values:
            args, kwargs = (fx.node.map_arg(given, self.value) for given in (node.args, node.kwargs))
            self.values[node] = self._run(node, args, kwargs)
        return self.values[node]

    def _run(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        if node.op == "placeholder":
            return args[0] if args else self.image  # a further argument has its default
        if node.op == "output":
            return args[0]
        if node.op == "call_module":
            return self.root.get_submodule(str(node.target))(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        if node.op == "get_attr":
            owner, _, attribute = str(node.target).rpartition(".")
            return getattr(self.root.get_submodule(owner), attribute)
        return node.target(*args, **kwargs)  # type: ignore[operator]


_CALL, _GETATTR = nn.Module.__call__, nn.Module.__getattr__


@contextmanager
def _unpatched() -> Iterator[None]:
    """Modules as they are: while `torch.fx` traces, calling one and taking its weights is noted instead of done."""
    patched = nn.Module.__call__, nn.Module.__getattr__
    nn.Module.__call__, nn.Module.__getattr__ = _CALL, _GETATTR  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__call__, nn.Module.__getattr__ = patched  # type: ignore[method-assign]
