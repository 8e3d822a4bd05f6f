"""OpenVINO: the only file that imports it, and only when it is used.

https://docs.openvino.ai
"""

import logging
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from atrous.inference.engines.base import EngineError, named_maps
from atrous.inference.engines.exporting import first_line
from atrous.types import Outputs

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["FILES", "OpenVINONetwork", "save", "save_file", "version"]

FILES = ("network.xml", "network.bin")
LARGEST = 1 << 15
"""Pixels of a side, at most. Without bounds, a crop by a computed size is taken for a lower bound of the image's."""
BATCH = 1 << 10
OFTEN = 12
"""Images of one shape after which the network is compiled for it alone: a twelfth faster, for the time of two or three
images."""
HINTS = {"float32": "f32", "bfloat16": "bf16"}
_TELEMETRY = "openvino_telemetry"
_importing = threading.Lock()


@cache
def _library() -> Any:
    """The package, imported without what it reports to its makers.

    On import it would otherwise write an identity into the home folder and send events to a server.
    """
    with _importing:
        if "openvino" in sys.modules:
            import openvino

            return openvino
        sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]  # importing it fails, which OpenVINO expects
        try:
            import openvino
        finally:
            if sys.modules.get(_TELEMETRY) is None:
                del sys.modules[_TELEMETRY]
        return openvino


def version() -> str:
    """Of the package."""
    return str(_library().__version__)


def save(program: "ExportedProgram", folder: Path) -> None:
    """Convert a graph, and write it into a folder as `FILES`.

    Args:
        program: of one input (B, C, H, W).
        folder: that exists.

    Raises:
        EngineError: if OpenVINO has no form for one of its operations.
    """
    library = _library()
    root = logging.getLogger()
    level = root.level
    try:
        graph = library.convert_model(program, extension=_size_rules())
    except Exception as problem:
        raise EngineError(_missing(problem)) from problem
    finally:  # openvino 2026.4.1 sets it to ERROR, and leaves it there where a conversion fails
        root.setLevel(level)
    _write(graph, _channels(program), folder)


def save_file(file: Path, folder: Path) -> None:
    """Write a file of ONNX into a folder as `FILES`.

    Args:
        file: of one input (B, C, H, W).
        folder: that exists.

    Raises:
        EngineError: if OpenVINO cannot read it.
    """
    try:
        graph = _library().Core().read_model(file)
    except Exception as problem:
        raise EngineError(f"OpenVINO cannot read {file.name} ({first_line(problem)})") from problem
    _write(graph, graph.input().partial_shape[1].get_length(), folder)


def _write(graph: Any, channels: int, folder: Path) -> None:
    """Bound the sizes of a graph of one input (B, C, H, W), have it take (B, H, W, C), and write it."""
    library = _library()
    side, batch = library.Dimension(1, LARGEST), library.Dimension(1, BATCH)
    graph.reshape({0: library.PartialShape([batch, channels, side, side])})
    # Images lie with their channels together, which saves a copy.
    steps = library.preprocess.PrePostProcessor(graph)
    steps.input().tensor().set_layout(library.Layout("NHWC"))
    steps.input().model().set_layout(library.Layout("NCHW"))
    library.save_model(steps.build(), folder / FILES[0], compress_to_fp16=False)


def _channels(program: "ExportedProgram") -> int:
    name = program.graph_signature.user_inputs[0]
    node = next(node for node in program.graph.nodes if node.name == name)
    return int(node.meta["val"].shape[1])


def _size_rules() -> list[Any]:
    """How arithmetic on sizes is written that OpenVINO's converter does not know: what a graph calls by these names."""
    import math
    import operator

    library = _library()
    from openvino.frontend.pytorch import ConversionExtension

    operations = library.opset15

    def numbers(context: Any) -> list[Any]:
        return [context.get_input(i) for i in range(context.get_input_size())]

    def divide(context: Any) -> list[Any]:
        top, bottom = (operations.convert(value, "f64") for value in numbers(context))
        return operations.divide(top, bottom).outputs()

    def ceil(context: Any) -> list[Any]:
        return operations.convert(operations.ceiling(numbers(context)[0]), "i64").outputs()

    def maximum(context: Any) -> list[Any]:
        one, other = (operations.convert(value, "i64") for value in numbers(context))
        return operations.maximum(one, other).outputs()

    def minimum(context: Any) -> list[Any]:
        one, other = (operations.convert(value, "i64") for value in numbers(context))
        return operations.minimum(one, other).outputs()

    rules = {torch.sym_max: maximum, torch.sym_min: minimum, math.ceil: ceil, operator.truediv: divide}
    return [ConversionExtension(str(function), rule) for function, rule in rules.items()]


def _missing(problem: Exception) -> str:
    """The operations that stand in the way, which OpenVINO names at the end of many lines."""
    for line in str(problem).splitlines():
        _, found, names = line.partition("No conversion rule found for operations:")
        if found:
            return f"OpenVINO has no {names.strip()}"
    return f"OpenVINO cannot convert this network ({first_line(problem)})"


class OpenVINONetwork:
    """A converted network, compiled for this processor. Threads may share it.

    Args:
        folder: with `FILES`.
        names: of the network's maps, in their order.
        precision: "float32", "bfloat16", or "int8" for a quantised one.
        threads: of the processor.

    Raises:
        EngineError: if OpenVINO cannot read or compile it.
    """

    engine = "openvino"

    def __init__(self, folder: Path, names: Sequence[str], *, precision: str, threads: int) -> None:
        library = _library()
        self.precision = precision
        self._names = tuple(names)
        self._file = folder / FILES[0]
        self._pools: dict[tuple[int, ...] | None, _Pool] = {}
        self._seen: Counter[tuple[int, ...]] = Counter()
        self._fitted = False
        self._lock = threading.Lock()
        self._options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": HINTS.get(precision, "f32"),
            "ENABLE_CPU_PINNING": False,  # processes that share a machine would sit on the same cores
        }
        self._core = library.Core()
        self._pools[None] = self._compile(None)

    def _compile(self, shape: tuple[int, ...] | None) -> "_Pool":
        """The network for images of a shape (B, H, W, C), or for those of any."""
        try:
            graph = self._core.read_model(self._file)
            if shape is not None:
                graph.reshape(list(shape))
            return _Pool(self._core.compile_model(graph, "CPU", self._options))
        except Exception as problem:
            raise EngineError(f"OpenVINO cannot compile it ({first_line(problem)})") from problem

    def _pool(self, shape: tuple[int, ...]) -> "_Pool":
        """What computes images of a shape: the first shape that comes often gets a form of the network for it alone."""
        with self._lock:
            self._seen[shape] += 1
            if self._seen[shape] == OFTEN and not self._fitted:
                self._fitted = True
                self._pools.clear()  # first, so that there is never more than one in memory while shapes are all equal
                with suppress(EngineError):
                    self._pools[shape] = self._compile(shape)
            if shape in self._pools:
                return self._pools[shape]
            if None not in self._pools:
                self._pools[None] = self._compile(None)
            return self._pools[None]

    @contextmanager
    def running(self, image: Float[Tensor, "B C H W"]) -> Iterator[Outputs]:
        """The network's maps (B, K, H, W), float32, in memory that is given back when the block ends.

        Raises:
            EngineError: if OpenVINO cannot compute an image of this size.
        """
        numbers = image.permute(0, 2, 3, 1).contiguous().numpy()
        pool = self._pool(numbers.shape)
        request = pool.take()
        try:
            request.infer([numbers], share_inputs=True, share_outputs=True)
            maps = [request.get_output_tensor(i).data for i in range(len(self._names))]
        except Exception as problem:
            raise EngineError(f"OpenVINO fails on {tuple(image.shape)} ({first_line(problem)})") from problem
        yield named_maps(self._names, maps, image)
        pool.requests.append(request)


class _Pool:
    """A compiled network and what runs it: one request for each thread at work, made when it is needed."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self.requests: list[Any] = []

    def take(self) -> Any:
        try:
            return self.requests.pop()
        except IndexError:
            return self.compiled.create_infer_request()
