"""Networks in 8-bit integers, for OpenVINO: post-training static quantisation by a handful of images.

Weights are quantised per channel and activations per map, by the smallest and largest number that the images bring
about; see Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from atrous.bundle.read import load_bundle
from atrous.disk import writing_folder
from atrous.errors import UsageError
from atrous.inference.engines import onnxruntime, openvino
from atrous.inference.engines.base import EngineError, is_installed
from atrous.inference.engines.converting import compile_made, maps_of
from atrous.inference.engines.exporting import export_network
from atrous.inference.engines.proof import SIZES, proof_image, prove_rough
from atrous.inference.engines.store import MADE, Made, NetworkOrigin, int8_entry, places, seal, writable

__all__ = ["quantize"]

SIDE = 512
"""Pixels of a side that are looked at of each image, at most: from its middle."""
NEEDED = ("openvino", "onnxruntime", "onnx", "onnxscript")


def quantize(bundle: str | Path, images: Sequence[np.ndarray]) -> Path:
    """Quantise the network of a bundle, for predictions with `precision="int8"`.

    The result is kept where converted networks are, and belongs to these weights alone.

    Args:
        bundle: a bundle, or the folder of a run.
        images: (H, W, C) or (H, W), in the numbers of the training images; 10 to 40 of the training set suffice.

    Returns:
        The folder of the quantised network.

    Raises:
        UsageError: if there is no image, a package is missing, the network cannot be quantised, or nothing can be kept.
    """
    if missing := [name for name in NEEDED if not is_installed(name)]:
        raise UsageError(f"int8: {', '.join(missing)} is not installed; run `pip install atrous[fast]`.")
    loaded = load_bundle(bundle)
    samples = [_sample(image, loaded.channels) for image in images]
    if not samples:
        raise UsageError("int8: no images came; give 10 to 40 of the training set.")
    origin = NetworkOrigin.of(loaded.path, loaded.model)
    place = next(filter(writable, places(loaded.path)), None)
    if origin is None or place is None:
        raise UsageError(
            f"{loaded.path}: neither beside it nor in the user's cache can files be kept; set ATROUS_CACHE."
        )
    model = loaded.model
    try:
        target = place / int8_entry(origin)
        graph = export_network(model, model.in_channels)
        with (
            tempfile.TemporaryDirectory(prefix="atrous-int8-") as beside,
            writing_folder(target, owns=(*openvino.FILES, MADE)) as folder,
        ):
            onnxruntime.save(graph.program, Path(beside))
            quantized = onnxruntime.quantize(Path(beside), samples)
            openvino.save_file(quantized, folder)
            made = Made(folder, graph.outputs, graph.remembering)
            compiled = maps_of(compile_made(made, "openvino", "int8", torch.get_num_threads()))
            images_of_proof = [proof_image(model.mean, model.std, size, seed) for seed, size in enumerate(SIZES)]
            with torch.inference_mode():
                proof = prove_rough(model, compiled, images_of_proof, remembering=True)
            words = {"outputs": list(made.outputs), "remembering": made.remembering, "fault": ""}
            seal(folder, {**words, "proofs": {"int8": proof.to_dict()}, "images": len(samples)})
    except EngineError as problem:
        raise UsageError(f"int8: {problem}; predict in bfloat16 or float32.") from None
    return target


def _sample(image: np.ndarray, channels: int) -> np.ndarray:
    """The middle of an image, (1, C, h, w) float32."""
    pixels = image[..., None] if image.ndim == 2 else image
    if pixels.ndim != 3 or pixels.shape[2] != channels:
        raise UsageError(f"int8: an image has the shape {image.shape}; give (H, W, {channels}).")
    rows, columns = (_middle(length) for length in pixels.shape[:2])
    return np.ascontiguousarray(pixels[rows, columns].transpose(2, 0, 1)[None].astype(np.float32))


def _middle(length: int) -> slice:
    first = max(length - SIDE, 0) // 2
    return slice(first, first + SIDE)
