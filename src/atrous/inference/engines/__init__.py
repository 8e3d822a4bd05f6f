"""Engines that compute a network faster than torch does on a CPU: OpenVINO and ONNX Runtime."""

from atrous.inference.engines.base import ENGINES, CompiledNetwork, EngineError, read_engine
from atrous.inference.engines.quantizing import quantize
from atrous.inference.engines.switch import Switch

__all__ = ["ENGINES", "CompiledNetwork", "EngineError", "Switch", "quantize", "read_engine"]
