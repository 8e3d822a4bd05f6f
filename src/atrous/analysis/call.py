"""One operation as it ran, in the terms that the rules of propagation need."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from atrous.analysis.layout import Factor, Layout

__all__ = ["Call", "Rule", "mix_channels"]


@dataclass(frozen=True)
class Call:
    """One operation as it ran: its arguments by name, its first result, and what is known of its tensors.

    Attributes:
        name: the operation's name without overload, e.g. `convolution`.
        arguments: all arguments by their name in the operation's schema, defaults filled in.
        results: the tensors that it returned.
        where: module path and operation, for messages.
        layout_of: the dependence of a tensor on the image.
        value_of: the values of a constant tensor where they are known.
        made_by: the max pooling whose positions a tensor holds, or None.
    """

    name: str
    arguments: Mapping[str, Any]
    results: Sequence[Tensor]
    where: str
    layout_of: Callable[[Tensor], Layout]
    value_of: Callable[[Tensor], Tensor | None]
    made_by: Callable[[Tensor], "Call | None"]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first result."""
        return tuple(self.results[0].shape)

    @property
    def first(self) -> Layout:
        """The dependence of the first tensor argument."""
        return self.layout_of(self.tensors()[0])

    def tensors(self) -> list[Tensor]:
        """All tensor arguments, those in lists too."""
        found: list[Tensor] = []
        for value in self.arguments.values():
            values = value if isinstance(value, (list, tuple)) else [value]
            found.extend(v for v in values if isinstance(v, Tensor))
        return found

    def dims(self, name: str = "dim") -> list[int]:
        """The dimensions that an argument names, counted from the front; all of them where it names none."""
        rank = len(self.first.dims)
        value = self.arguments.get(name)
        if value is None or value == []:
            return list(range(rank))
        return [dim % rank for dim in (value if isinstance(value, (list, tuple)) else [value])]


Rule = Callable[[Call], Layout]


def mix_channels(layout: Layout, dim: int, size: int, where: str) -> Layout:
    """All elements along a dimension take part in all of its results: no axis may run along it."""
    layout = layout.forget(layout.axes([dim]), where)
    return layout.with_dims((*layout.dims[:dim], (Factor(size),), *layout.dims[dim + 1 :]))
