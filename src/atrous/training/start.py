"""The first weights of a training, from a bundle or another library's file, and the normalisation of its input."""

import logging
from pathlib import Path

from atrous.bundle import load_bundle
from atrous.bundle.base import WEIGHTS
from atrous.data import Folder, FolderDataset
from atrous.encoders import WeightsOrigin
from atrous.encoders.first_kernel import matched_scale
from atrous.encoders.packaged import digest_of
from atrous.encoders.state_files import WEIGHT_FILES
from atrous.models import DenseModel
from atrous.surgery import load_weights
from atrous.training.finetune import Loaded, load_matching
from atrous.training.loaders import measure_normalization

__all__ = ["initialize"]

LOG = logging.getLogger(__name__)


def initialize(model: DenseModel, folder: Folder, start: str | Path | None, *, named: bool = True) -> None:
    """Give a new model the weights to start from, and the normalisation of its input.

    The model's `origins` become those of `start`, beside those of its parts that keep their own weights.

    Args:
        model: with fresh or pretrained weights; changed.
        folder: of the training.
        start: a bundle, a run, a Hub id, or a file of another library's weights; None keeps the model's own.
        named: whether `start` is an origin itself; an earlier stage of the same run is not.

    Raises:
        BundleError: if not one weight of `start` fits.
    """
    if start is not None and str(start).endswith(WEIGHT_FILES):
        loaded = load_weights(model, start)
        LOG.info("%s: %s", start, loaded)
        model.origins = (*_left(model, loaded), _origin(f"the file {start}", Path(start)))
        if folder.dtype == "uint8" and model.mean.any():  # the table knows how their images were normalised
            return
    elif start is not None:
        bundle = load_bundle(start)
        alike = bundle.dtype == folder.dtype and bundle.channels == folder.channels
        if alike:  # weights expect the numbers that they were trained on; members of an ensemble each their own
            model.set_normalization(bundle.model.mean.tolist(), bundle.model.std.tolist())
        loaded = load_matching(model, bundle.model.state_dict(), source=str(start))
        LOG.info("%s: %s", start, loaded)
        left = _left(model, loaded)
        own = (_origin(f"the bundle {start}", bundle.path / WEIGHTS),) if named else ()
        model.origins = tuple(dict.fromkeys((*left, *own, *bundle.origins)))
        if alike and not left:  # else what sees the image first has numbers of its own
            return
    _normalize(model, folder)


def _origin(weights: str, file: Path) -> WeightsOrigin:
    """A whole network's; an address has no file here."""
    return WeightsOrigin("the network", weights, sha256=digest_of(file) if file.is_file() else "")


def _left(model: DenseModel, loaded: Loaded) -> list[WeightsOrigin]:
    """Origins of the parts that got not one kernel, and keep what they were built with."""
    kernels = {name for name, parameter in model.named_parameters() if parameter.ndim > 1} & set(loaded.taken)
    parts = ((f"{name}." if name else "", getattr(part, "origin", None)) for name, part in model.named_modules())
    return [
        origin
        for prefix, origin in parts
        if origin is not None and not any(name.startswith(prefix) for name in kernels)
    ]


def _normalize(model: DenseModel, folder: Folder) -> None:
    """Set the normalisation: the pretrained encoder's own for images like its own, else from the data.

    Images of other channels or numbers are given the mean and deviation that the weights know, because a range says
    little: 12-bit microscopy fills a sixteenth of its 16 bits.
    """
    parts = (getattr(part, "pretrained_normalization", None) for part in model.modules())
    known = next((normalization for normalization in parts if normalization is not None), None)
    if known is not None and folder.dtype == "uint8" and len(known[0]) == model.in_channels:
        model.set_normalization(*known)
        return
    dataset = FolderDataset(folder, "train")
    mean, std = measure_normalization(dataset, len(dataset))
    model.set_normalization(*((mean, std) if known is None else matched_scale(mean, std, known)))
