"""ConversionProcess of a network for an engine, and the process that does it for a bundle.

It works in a process of its own: while torch traces a network it changes torch for all threads, it holds the
interpreter most of the time, and what it leaves in memory stays.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atrous.bundle.read import load_bundle
from atrous.disk import writing_folder
from atrous.errors import AtrousError
from atrous.inference.devices import cpu_has_bfloat16
from atrous.inference.engines import onnxruntime, openvino
from atrous.inference.engines.base import CompiledNetwork, EngineError
from atrous.inference.engines.exporting import export_network, first_line
from atrous.inference.engines.proof import SIZES, proof_image, prove, prove_rough
from atrous.inference.engines.store import MADE, Made, NetworkOrigin, entry_of, seal
from atrous.models import DenseModel
from atrous.types import Outputs

__all__ = ["ConversionProcess", "compile_made", "convert", "maps_of"]

FILES = {"openvino": openvino.FILES, "onnxruntime": onnxruntime.FILES}
LONGEST = 900.0
"""Seconds that a conversion may take."""
_FAILED = 3


def compile_made(made: Made, engine: str, precision: str, threads: int) -> CompiledNetwork:
    """What was converted, ready to compute.

    Raises:
        EngineError: if the engine cannot read it.
    """
    if engine == "openvino":
        return openvino.OpenVINONetwork(made.folder, made.outputs, precision=precision, threads=threads)
    return onnxruntime.ONNXNetwork(made.folder, made.outputs, threads=threads)


def maps_of(network: CompiledNetwork) -> Callable[[Tensor], Outputs]:
    """A network as a function that gives maps of their own."""

    def maps(image: Tensor) -> Outputs:
        with network.running(image) as outputs:
            return {name: values.clone() for name, values in outputs.items()}

    return maps


def convert(model: DenseModel, engine: str, target: Path) -> Made:
    """Convert a network, prove the result against it, and keep it as a folder.

    A network that cannot be converted leaves a folder that says why, so that nobody tries again.

    Args:
        model: in evaluation, float32, on the CPU.
        engine: a name in `CONVERTED`.
        target: the folder.

    Raises:
        EngineError: if it cannot be converted, or the proof fails.
        UsageError: if the folder cannot be written.
    """
    fault = None
    with writing_folder(target, owns=(*FILES[engine], MADE)) as folder:
        try:
            words = _converted(model, engine, folder)
        except EngineError as problem:
            fault = problem
            for file in folder.iterdir():
                file.unlink()
            words = {"outputs": [], "remembering": False, "proofs": {}, "fault": str(problem)}
        seal(folder, words)
    if fault is not None:
        raise fault
    return Made(target, tuple(words["outputs"]), words["remembering"], words["proofs"])


def _converted(model: DenseModel, engine: str, folder: Path) -> dict[str, Any]:
    graph = export_network(model, model.in_channels)
    {"openvino": openvino.save, "onnxruntime": onnxruntime.save}[engine](graph.program, folder)
    made = Made(folder, graph.outputs, graph.remembering)
    images = [proof_image(model.mean.cpu(), model.std.cpu(), size, seed) for seed, size in enumerate(SIZES)]

    def network(image: Tensor) -> Outputs:
        with torch.inference_mode():
            return model(image)

    def compiled(precision: str) -> Callable[[Tensor], Outputs]:
        return maps_of(compile_made(made, engine, precision, torch.get_num_threads()))

    proofs: dict[str, dict[str, Any]] = {
        "float32": prove(network, compiled("float32"), images, remembering=made.remembering).to_dict()
    }
    if engine == "openvino" and cpu_has_bfloat16():
        try:
            rough = prove_rough(network, compiled("bfloat16"), images, remembering=made.remembering)
            proofs["bfloat16"] = rough.to_dict()
        except EngineError as problem:  # float32 may be asked for
            proofs["bfloat16"] = {"fault": str(problem)}
    return {"outputs": list(made.outputs), "remembering": made.remembering, "proofs": proofs, "fault": ""}


class ConversionProcess:
    """A process that converts the network of a bundle.

    Args:
        origin: the bundle.
        engine: a name in `CONVERTED`.
        target: the folder for the result.
    """

    def __init__(self, origin: NetworkOrigin, engine: str, target: Path) -> None:
        if not sys.executable:
            raise EngineError("there is no Python beside this process that could convert it")
        command = [sys.executable, "-P", "-m", __name__, str(origin.folder), engine, str(target)]
        package = str(Path(__file__).parents[3])
        path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )

    def wait(self) -> None:
        """Until it is done.

        Raises:
            EngineError: if it failed, or was stopped.
        """
        try:
            told, _ = self._process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            self.stop()
            raise EngineError(f"its conversion takes more than {LONGEST / 60:.0f} minutes") from None
        if self._process.returncode:
            lines = told.decode("utf-8", "replace").strip().splitlines()
            code = self._process.returncode
            raise EngineError(
                lines[-1] if lines and code == _FAILED else f"the process that converts it ended ({code})"
            )

    def stop(self) -> None:
        """End it; half a conversion leaves nothing behind that counts."""
        self._process.kill()


def main(arguments: Sequence[str]) -> int:
    """Convert the network of a bundle: its folder, the engine, the folder for the result."""
    bundle, engine, target = Path(arguments[0]), arguments[1], Path(arguments[2])
    torch.set_num_threads(1)
    try:
        model = load_bundle(bundle).model
        origin = NetworkOrigin.of(bundle, model)
        if origin is None or entry_of(origin, engine) != target.name:
            raise EngineError(f"{bundle} was exchanged since it was read")
        convert(model, engine, target)
    except (EngineError, AtrousError) as problem:
        print(str(problem))
        return _FAILED
    except Exception as problem:
        print(first_line(problem))
        return _FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
