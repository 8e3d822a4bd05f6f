"""The first weights of a training, from a bundle or another library's file, and the normalisation of its input."""

import logging
from pathlib import Path

from atrous.bundle import load_bundle
from atrous.data import Folder, FolderDataset
from atrous.encoders.state_files import WEIGHT_FILES
from atrous.models import DenseModel
from atrous.surgery import load_weights
from atrous.training.finetune import load_matching
from atrous.training.loaders import measure_normalization

__all__ = ["initialize"]

LOG = logging.getLogger(__name__)


def initialize(model: DenseModel, folder: Folder, start: str | Path | None) -> None:
    """Give a new model the weights to start from, and the normalisation of its input.

    Args:
        model: with fresh or pretrained weights; changed.
        folder: of the training.
        start: a bundle, a run, a Hub id, or a file of another library's weights; None keeps the model's own.

    Raises:
        BundleError: if not one weight of `start` fits.
    """
    if start is not None and str(start).endswith(WEIGHT_FILES):
        LOG.info("%s: %s", start, load_weights(model, start))
        if folder.dtype == "uint8" and model.mean.any():  # the table knows how their images were normalised
            return
    elif start is not None:
        bundle = load_bundle(start)
        alike = bundle.dtype == folder.dtype and bundle.channels == folder.channels
        if alike:  # weights expect the numbers that they were trained on; members of an ensemble each their own
            model.set_normalization(bundle.model.mean.tolist(), bundle.model.std.tolist())
        LOG.info("%s: %s", start, load_matching(model, bundle.model.state_dict(), source=str(start)))
        if alike:
            return
    _normalize(model, folder)


def _normalize(model: DenseModel, folder: Folder) -> None:
    """Set the normalisation from the pretrained encoder, or from the data."""
    parts = (getattr(part, "pretrained_normalization", None) for part in model.modules())
    known = next((normalization for normalization in parts if normalization is not None), None)
    if known is not None and folder.dtype == "uint8":
        model.set_normalization(*known)
    else:
        dataset = FolderDataset(folder, "train")
        model.set_normalization(*measure_normalization(dataset, len(dataset)))
