"""ONNX Runtime: the only file that imports it, and only when it is used.

https://onnxruntime.ai/docs
"""

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from atrous.inference.engines.base import EngineError, named_maps
from atrous.inference.engines.exporting import first_line
from atrous.types import Outputs

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["FILES", "ONNXNetwork", "quantize", "save"]

FILES = ("network.onnx",)
OPSET = 20
QUANTIZED = ("Conv", "ConvTranspose", "Add", "Concat", "MaxPool", "Gemm", "MatMul")
"""Operations in 8 bits; what lies between two of them in floats costs a conversion each way."""
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


def quantize(folder: Path, samples: Sequence[np.ndarray]) -> Path:
    """Quantise what `save` wrote into a folder, as another file there.

    Activations are unsigned: with the signed ones of the default, a third of the convolutions would stay in floats.

    Args:
        folder: with `FILES`.
        samples: (1, C, H, W) images.

    Raises:
        EngineError: if ONNX Runtime cannot.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    class Reader:
        """What the quantisation asks for one image after the other."""

        def __init__(self) -> None:
            self.left = iter(samples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(({name: sample} for sample in self.left), None)

    file, quantized = folder / FILES[0], folder / "int8.onnx"
    name = _input_name(file)
    chatter = logging.getLogger()  # of advice on models of another kind
    chatter.addFilter(_no_advice)
    try:
        quantize_static(
            file,
            quantized,
            Reader(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=list(QUANTIZED),
        )
    except Exception as problem:
        raise EngineError(f"ONNX Runtime cannot quantise it ({first_line(problem)})") from problem
    finally:
        chatter.removeFilter(_no_advice)
    return quantized


def _no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing" not in record.getMessage()


def _input_name(file: Path) -> str:
    import onnxruntime

    return str(onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).get_inputs()[0].name)


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
