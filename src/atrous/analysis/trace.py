"""One run of a model without numbers, written down operation by operation: what each costs, keeps and reads."""

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

from atrous.analysis.probe import BlankRun, main_output, meta_image, run_blank, skeleton, watch_modules

__all__ = ["Operation", "Trace", "kept_for_backward", "trace"]

IMAGE = -1
"""The place of the image among the operations that others read from."""


@dataclass(frozen=True)
class Operation:
    """One operation as it ran.

    Attributes:
        place: path of the module at work; empty for the model's own forward.
        multiply_adds: of convolutions and matrix products.
        live: bytes of all maps that exist while its result does.
        sources: positions of the operations whose results it reads, `IMAGE` for the image.
        switches: those of them of which it reads whole numbers alone, such as the positions of a pooling's maxima.
        grid: height and width of its result, None where that is no map.
    """

    place: str
    multiply_adds: int
    live: int
    sources: frozenset[int]
    switches: frozenset[int]
    grid: tuple[int, int] | None


@dataclass
class Trace:
    """A run in evaluation.

    Attributes:
        operations: in the order of execution.
        outputs: shapes that each module put out when it first ran, in the order in which they finished.
        image: height and width.
    """

    image: tuple[int, int]
    operations: list[Operation] = field(default_factory=list)
    outputs: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)


def trace(model: nn.Module, size: tuple[int, int], in_channels: int | None = None) -> Trace:
    """Run a model once, in evaluation, for one image in float32."""
    bare, image = skeleton(model), meta_image(model, in_channels, size)
    found = Trace(size)

    def note(path: str, outputs: object) -> None:
        shapes = tuple(tuple(value.shape) for value in tree_leaves(outputs) if isinstance(value, Tensor))
        found.outputs.setdefault(path, shapes)

    with torch.no_grad(), watch_modules(bare, note) as stack:
        watch = _OperationRecorder(found.operations, stack, image)
        with watch:
            main_output(bare(image), model)
    return found


class _OperationRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down every operation."""

    def __init__(self, operations: list[Operation], stack: list[str], image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = operations
        self.stack = stack
        self.makers: MutableMapping[Tensor, int] = WeakIdKeyDictionary()
        self.makers[image] = IMAGE
        # Known by weak references: what the model lets go of must not be held here.
        self.storages: dict[int, tuple[StorageWeakRef, int]] = {}
        self._add(image)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = run_blank(func, args, kwargs)
        known = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor) and value in self.makers]
        sources = frozenset(self.makers[value] for value in known)
        switches = sources - {self.makers[value] for value in known if value.is_floating_point()}
        for value in tree_leaves(results):
            if isinstance(value, Tensor):
                self._add(value)
                self.makers[value] = len(self.operations)
        count = flop_registry.get(func._overloadpacket)
        flops = count(*args, **(kwargs or {}), out_val=results) if count else 0
        place = self.stack[-1] if self.stack else ""
        self.operations.append(Operation(place, int(flops) // 2, self._live(), sources, switches, _grid(results)))
        return results

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.storages:
            self.storages[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())  # type: ignore[no-untyped-call]

    def _live(self) -> int:
        self.storages = {key: entry for key, entry in self.storages.items() if not entry[0].expired()}  # type: ignore
        return sum(size for _, size in self.storages.values())


def _grid(results: Any) -> tuple[int, int] | None:
    first = next((value for value in tree_leaves(results) if isinstance(value, Tensor)), None)
    return (first.shape[2], first.shape[3]) if first is not None and first.ndim == 4 else None


def kept_for_backward(model: nn.Module, size: tuple[int, int], in_channels: int | None = None) -> dict[str, int]:
    """Bytes that one training step keeps between forward and backward, by the path of the module that asks first.

    For one image in float32, without weights and buffers.
    """
    bare, image = skeleton(model).train(), meta_image(model, in_channels, size)
    weights = {id(weight.untyped_storage()) for weight in [*bare.parameters(), *bare.buffers()]}
    # A map that several operations need is kept once: its storage is counted, not its uses.
    kept: dict[int, tuple[torch.UntypedStorage, str]] = {}
    with torch.enable_grad(), watch_modules(bare) as stack:

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if id(storage) not in weights:  # held, so that its id is not given to another
                kept.setdefault(id(storage), (storage, stack[-1] if stack else ""))
            return tensor

        saving = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with BlankRun(), saving:  # type: ignore[no-untyped-call]
            outputs = bare(image)
    main_output(outputs, model)
    found: dict[str, int] = {}
    for storage, place in kept.values():
        found[place] = found.get(place, 0) + storage.nbytes()
    return found
