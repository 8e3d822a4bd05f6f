"""The network that torch computes: given back while an engine computes for it, and read again where it is needed."""

import threading

import torch
from torch import nn

from atrous.bundle import load_bundle
from atrous.errors import BundleError
from atrous.inference.engines.store import NetworkOrigin
from atrous.inference.prepare import prepare

__all__ = ["KeptNetwork"]


class KeptNetwork:
    """A network made ready to predict. Threads may share it.

    Args:
        model: the network, which stays as it is.
        dtype: that it computes in.
        device: that it computes on.
        origin: the bundle that it was read from; a network without one is never given back.
    """

    def __init__(
        self, model: nn.Module, dtype: torch.dtype, device: torch.device, origin: NetworkOrigin | None
    ) -> None:
        self._dtype, self._device, self._origin = dtype, device, origin
        self._network: nn.Module | None = prepare(model, dtype, device)
        self._lock = threading.Lock()

    def get(self) -> nn.Module:
        """The network.

        Raises:
            BundleError: if it was given back, and its bundle is another by now.
        """
        with self._lock:
            if self._network is None:
                assert self._origin is not None
                model = load_bundle(self._origin.folder).model
                if NetworkOrigin.of(self._origin.folder, model) != self._origin:
                    raise BundleError(
                        f"{self._origin.folder}: it was exchanged since it was read: load the predictor again."
                    )
                self._network = prepare(model, self._dtype, self._device)
            return self._network

    def release(self) -> None:
        """Give its memory back until it is asked for again."""
        if self._origin is not None:
            with self._lock:
                self._network = None
