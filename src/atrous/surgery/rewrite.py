"""Taking a classifier's graph apart where its map becomes a vector, and putting it together as a map."""

from collections.abc import Iterable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, fx, nn

from atrous.errors import ModelError
from atrous.surgery.trace import Traced

__all__ = ["CoveringConv", "rewrite"]

_FUNCTION_OF = {
    "AdaptiveAvgPool2d": "adaptive_avg_pool2d",
    "AdaptiveMaxPool2d": "adaptive_max_pool2d",
    "Flatten": "flatten",
}
# What turns a map into a vector without computing anything.
_RESHAPES = {"flatten", "reshape", "squeeze", "view"}
_POOLS: dict[str, type[nn.Module]] = {
    "mean": nn.AvgPool2d,
    "adaptive_avg_pool2d": nn.AvgPool2d,
    "amax": nn.MaxPool2d,
    "adaptive_max_pool2d": nn.MaxPool2d,
}
# Functions and methods that treat every element alike.
_ELEMENTWISE = {
    "add", "clone", "contiguous", "dropout", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "iadd",
    "leaky_relu", "mul", "relu", "relu6", "relu_", "sigmoid", "silu", "tanh",
}  # fmt: skip
_ELEMENTWISE_PARTS = (
    nn.Dropout, nn.ELU, nn.GELU, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Identity, nn.LeakyReLU, nn.PReLU,
    nn.ReLU, nn.SiLU, nn.Sigmoid, nn.Tanh,
)  # fmt: skip


def rewrite(classifier: nn.Module, traced: Traced, *, num_classes: int | None = None) -> fx.GraphModule:
    """Change a classifier into a fully convolutional network.

    Args:
        classifier: is taken apart.
        traced: its operations.
        num_classes: replace the last fully connected layer by a score layer that starts at zero.

    Raises:
        ModelError: if there is no place where a map becomes a vector, or what follows it has no dense form.
    """
    surgeon = _Surgeon(classifier, traced)
    folds = [node for node in traced.graph.nodes if surgeon.folds(node)]
    if not folds:
        raise ModelError(
            f"{type(classifier).__name__} has no place where a map becomes a vector, so that there is nothing to "
            f"convolutionalize: give a convolutional classifier, for example vgg16 or resnet18"
        )
    for node in list(traced.graph.nodes):
        surgeon.drop_if_idle(node)
    for node in folds:
        surgeon.open(node)
    if num_classes is not None:
        surgeon.replace_last(num_classes)
    net = fx.GraphModule(classifier, traced.graph, type(classifier).__name__)
    net.graph.eliminate_dead_code()
    net.graph.lint()
    net.recompile()
    return net


class CoveringConv(nn.Conv2d):
    """A convolution with a kernel of nearly the map's size, as one product of matrices.

    Libraries of convolutions bring a kernel into an order of their own at every call. For the hundred million numbers
    of VGG's first fully connected layer that takes longer than the product itself, as long as positions are few.

    Example:
        >>> import torch
        >>> conv = CoveringConv(2, 5, 3)
        >>> x = torch.rand(1, 2, 4, 6)
        >>> torch.allclose(conv(x), F.conv2d(x, conv.weight, conv.bias), atol=1e-6)
        True
    """

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H2 W2"]:
        """Without padding, at stride 1: H2 = H - kernel + 1."""
        height, width = (side - size + 1 for side, size in zip(x.shape[-2:], self.weight.shape[-2:], strict=True))
        # (B, C h w, positions) -> (B, positions, C h w)
        patches = F.unfold(x, self.weight.shape[-2:]).transpose(1, 2)
        y = F.linear(patches, self.weight.flatten(1), self.bias)
        # (B, positions, K) -> (B, K, H2, W2)
        return y.transpose(1, 2).reshape(x.shape[0], -1, height, width)


class _Surgeon:
    """Changes parts of a classifier and the graph of its operations together."""

    def __init__(self, classifier: nn.Module, traced: Traced) -> None:
        self.root = classifier
        self.graph = traced.graph
        self.shapes = traced.shapes
        self.source_of = traced.source_of
        self.layers: list[str] = []  # converted fully connected layers, in order
        self.done: set[fx.Node] = set()

    def folds(self, node: fx.Node) -> bool:
        """Whether a map (B, C, h, w) goes in and a vector (B, N) comes out."""
        source = self.source_of(node)
        return source is not None and len(self.shapes[source]) == 4 and len(self.shapes.get(node, ())) == 2

    def drop_if_idle(self, node: fx.Node) -> None:
        """Take out an adaptive pooling to the size that the map has anyway."""
        source = self.source_of(node)
        if (
            source is not None
            and self._name(node).startswith("adaptive_")
            and self.shapes[source] == self.shapes.get(node)
        ):
            self._erase(node, source)

    def open(self, node: fx.Node) -> None:
        """Leave the map a map where it became a vector, and convert what follows."""
        source, users, name = self.source_of(node), list(node.users), self._name(node)
        assert source is not None  # or it would not fold
        _, channels, height, width = self.shapes[source]
        if name in _POOLS and self.shapes[node][1] == channels:
            self._slide(node, source)
            kernel = (1, 1)
        elif name in _RESHAPES and self.shapes[node][1] == channels * height * width:
            kernel = (height, width)
            if kernel == (1, 1):
                self._slide_before(source)
                source = self.source_of(node) or source
            self._erase(node, source)
        else:
            raise self._refusal(node)
        self._follow(users, kernel)

    def replace_last(self, num_classes: int) -> None:
        """Put a score layer that starts at zero in the place of the last fully connected one."""
        if not self.layers:
            raise ModelError(
                f"{type(self.root).__name__} has no fully connected layer that could be replaced: leave num_classes out"
            )
        old = self.root.get_submodule(self.layers[-1])
        assert isinstance(old, nn.Conv2d)  # `_convolve` put it there
        size: tuple[int, int] = old.kernel_size  # type: ignore[assignment]
        new = CoveringConv(old.in_channels, num_classes, size, device=old.weight.device, dtype=old.weight.dtype)
        for parameter in new.parameters():
            nn.init.zeros_(parameter)
        self.root.set_submodule(self.layers[-1], new)

    def _follow(self, users: Iterable[fx.Node], kernel: tuple[int, int]) -> None:
        """Convert all that works on the vector; `kernel` is what one position of the map has to cover."""
        for node in users:
            if node.op == "output" or node not in self.shapes or node in self.done:
                continue  # the end, a question about the shape, or what was reached on another way
            self.done.add(node)
            name, after, users_of_it = self._name(node), kernel, list(node.users)
            if name == "Linear":
                self._convolve(node, kernel)
                after = (1, 1)
            elif name == "BatchNorm1d" and kernel == (1, 1):
                self.root.set_submodule(str(node.target), _norm_of_map(self._part(node)))
            elif name in _RESHAPES and len(self.shapes[node]) == 2:
                self._erase(node, self.source_of(node))
            elif len(self.shapes[node]) != 2 or not self._is_elementwise(node):
                raise self._refusal(node)
            self._follow(users_of_it, after)

    def _convolve(self, node: fx.Node, kernel: tuple[int, int]) -> None:
        """A fully connected layer as a convolution with the same numbers."""
        linear = self._part(node)
        assert isinstance(linear, nn.Linear)
        channels = linear.in_features // (kernel[0] * kernel[1])
        conv = CoveringConv(channels, linear.out_features, kernel, bias=linear.bias is not None, device="meta")
        weight = linear.weight.detach().reshape(linear.out_features, channels, *kernel)
        conv.weight = nn.Parameter(weight, requires_grad=linear.weight.requires_grad)
        conv.bias = linear.bias
        self.root.set_submodule(str(node.target), conv.train(linear.training))
        self.layers.append(str(node.target))

    def _slide_before(self, node: fx.Node) -> None:
        """Find the pooling that made the map a single position, and let it slide."""
        source = self.source_of(node)
        while source is not None and self.shapes[node][2:] == self.shapes[source][2:]:
            node, source = source, self.source_of(source)
        if source is not None and self._name(node) in _POOLS:
            self._slide(node, source)

    def _slide(self, node: fx.Node, source: fx.Node) -> None:
        """A pooling over the whole map becomes one over windows of the size that it had."""
        name = f"window_pool{sum(hasattr(self.root, f'window_pool{i}') for i in range(8)) or ''}"
        self.root.add_module(name, _POOLS[self._name(node)](self.shapes[source][2:], stride=1))
        with self.graph.inserting_after(node):
            pool = self.graph.call_module(name, (source,))
        self.shapes[pool] = (*self.shapes[source][:2], 1, 1)
        self._erase(node, pool)

    def _erase(self, node: fx.Node, source: fx.Node | None) -> None:
        assert source is not None
        node.replace_all_uses_with(source)
        self.graph.erase_node(node)

    def _is_elementwise(self, node: fx.Node) -> bool:
        if node.op != "call_module":
            return self._name(node) in _ELEMENTWISE
        return isinstance(self._part(node), _ELEMENTWISE_PARTS)

    def _name(self, node: fx.Node) -> str:
        """What an operation is called, whether it is a part, a function or a method."""
        if node.op == "call_module":
            name = type(self._part(node)).__name__
            return _FUNCTION_OF.get(name, name)
        return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))

    def _part(self, node: fx.Node) -> nn.Module:
        return self.root.get_submodule(str(node.target))

    def _refusal(self, node: fx.Node) -> ModelError:
        return ModelError(
            f"{type(self.root).__name__} works on its vector with {self._name(node)} ({node.target}), whose dense form "
            f"is not known: give a classifier that ends in pooling, fully connected layers and activations"
        )


def _norm_of_map(norm: nn.Module) -> nn.BatchNorm2d:
    """The batch normalisation of a vector for a map."""
    assert isinstance(norm, nn.BatchNorm1d)
    new = nn.BatchNorm2d(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, device="meta"
    )
    new._parameters.update(norm._parameters)
    new._buffers.update(norm._buffers)
    return new.train(norm.training)
