"""ONNX Runtime: the only file that imports it, and only when it is used.

https://onnxruntime.ai/docs
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from atrous.inference.engines.base import EngineError, named_maps
from atrous.inference.engines.exporting import first_line
from atrous.types import Outputs

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["FILES", "ONNXNetwork", "save"]

FILES = ("network.onnx",)
OPSET = 20
WHOLE = 1_900_000_000
"""Bytes of weights up to which they stand in the file itself, which is a message of at most 2 GB."""


def save(program: "ExportedProgram", folder: Path) -> None:
    """Convert a graph, and write it into a folder as `FILES`.

    Raises:
        EngineError: if ONNX has no form for one of its operations, or the weights are too large.
    """
    from torch.onnx import export

    weights = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    if weights > WHOLE:
        raise EngineError("its weights are more than a file of ONNX holds")
    try:
        with redirect_stdout(io.StringIO()):  # torch's exporter tells of its progress
            made: Any = export(program, dynamo=True, opset_version=OPSET, verbose=False)
            made.save(folder / FILES[0], external_data=False)
    except Exception as problem:
        raise EngineError(f"torch.onnx.export gives up on this network ({first_line(problem)})") from problem


class ONNXNetwork:
    """A converted network in float32. Threads may share it.

    Args:
        folder: with `FILES`.
        names: of the network's maps, in their order.
        threads: of the processor.

    Raises:
        EngineError: if ONNX Runtime cannot read it.
    """

    engine = "onnxruntime"
    precision = "float32"

    def __init__(self, folder: Path, names: Sequence[str], *, threads: int) -> None:
        import onnxruntime

        self._names = tuple(names)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(folder / FILES[0], options, providers=["CPUExecutionProvider"])
        except Exception as problem:
            raise EngineError(f"ONNX Runtime cannot read it ({first_line(problem)})") from problem
        self._input = self._session.get_inputs()[0].name

    @contextmanager
    def running(self, image: Float[Tensor, "B C H W"]) -> Iterator[Outputs]:
        """The network's maps (B, K, H, W), float32.

        Raises:
            EngineError: if ONNX Runtime cannot compute an image of this size.
        """
        try:
            maps = self._session.run(None, {self._input: image.contiguous().numpy()})
        except Exception as problem:
            raise EngineError(f"ONNX Runtime fails on {tuple(image.shape)} ({first_line(problem)})") from problem
        yield named_maps(self._names, maps, image)
