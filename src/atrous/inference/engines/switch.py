"""Which engine computes an image: torch at first, and a converted network as soon as there is one.

The rule of `auto`: a conversion costs seconds, so it begins when torch has computed for as long itself. By then it
has cost at most as much again as was spent anyway; who predicts a handful of images never pays for it. What an earlier
process has converted is read as soon as reading it is cheap beside the images.
"""

import atexit
import logging
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from atrous.errors import UsageError
from atrous.inference.engines.base import AUTO, CompiledNetwork, EngineError, is_installed
from atrous.inference.engines.converting import ConversionProcess, compile_made, convert, maps_of
from atrous.inference.engines.proof import SIZES, proof_image, prove_rough
from atrous.inference.engines.store import Made, NetworkOrigin, entry_of, find, int8_entry, places, prune, writable
from atrous.models import DenseModel
from atrous.types import Outputs

__all__ = ["CONVERT_AFTER", "READ_AFTER", "Switch"]

LOG = logging.getLogger(__name__)
READ_AFTER = 0.5
"""Seconds of torch's work after which a network that was converted before is read."""
CONVERT_AFTER = 5.0
"""Seconds of torch's work after which a network is converted."""
TIMED = 256
"""Side of the image that an engine and torch are timed on."""
SLOWER = 1.2
"""So many times as long as torch may an engine seem to take; images that are computed meanwhile disturb both."""
_at_work: "weakref.WeakSet[Switch]" = weakref.WeakSet()


class Switch:
    """The converted network of a predictor, as soon as there is one. Threads may share it.

    Args:
        network: what torch computes; what was converted is compared with it once more before it is used.
        statistics: mean and standard deviation of the images, (C,) each.
        precision: what the engine computes in.
        origin: the bundle of the network, or None.
        engine: what was asked for: "auto", or an engine by name.
        taken: is called when the engine computes from now on.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Outputs],
        statistics: tuple[Tensor, Tensor],
        precision: str,
        origin: NetworkOrigin | None,
        engine: str = "auto",
        *,
        taken: Callable[[], None],
    ) -> None:
        self.engine = AUTO if engine == "auto" else engine
        self._asked = engine != "auto"
        self.precision = precision
        self._network, self._statistics, self._origin, self._taken = network, statistics, origin, taken
        self._ready: CompiledNetwork | None = None
        self._seconds = 0.0
        # What is still to be tried, the next one last: by name, for a circle of references would keep the weights.
        self._steps = ["_convert", "_read"] if engine == "auto" and origin is not None else []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process: ConversionProcess | None = None
        self._entry = ""
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._stopped = False
        self._told: set[str] = set()

    @property
    def ready(self) -> CompiledNetwork | None:
        """The converted network, where there is one by now."""
        return self._ready

    def spent(self, seconds: float) -> None:
        """Torch has computed an image: where that makes it worth while, begin to read or to convert, in a thread."""
        with self._lock:
            self._seconds += seconds
            if not self._steps or self._seconds < {"_convert": CONVERT_AFTER, "_read": READ_AFTER}[self._steps[-1]]:
                return
            if self._thread is not None and self._thread.is_alive():
                return
            step = self._steps.pop()
            self._thread = threading.Thread(target=self._try, args=(step,), name="atrous-engine", daemon=True)
            _at_work.add(self)
            self._thread.start()

    def settle(self) -> None:
        """Decide now: what computes the next image computes all that follow. Nothing is converted for it."""
        with self._lock:
            steps, self._steps = self._steps, []
            thread = self._thread
        if thread is not None:
            thread.join()
        if self._ready is None and "_read" in steps:
            self._try("_read")

    def prepare(self, model: DenseModel | None) -> None:
        """Convert now, as was asked for by name.

        Args:
            model: the network, where it is of no bundle.

        Raises:
            UsageError: if the engine is not installed, or cannot compute this network.
        """
        if not is_installed(self.engine):
            raise UsageError(
                f"engine {self.engine}: it is not installed; run `pip install atrous[fast]`, or say torch or auto."
            )
        try:
            if self._origin is not None:
                self._read()
                if self._ready is None and self.precision == "int8":
                    raise EngineError(f"{self._origin.folder} has no network in int8; make one by engines.quantize")
                if self._ready is None:
                    self._convert()
            elif model is not None:
                self._take(convert(model, self.engine, self._own_place() / self.engine))
        except EngineError as problem:
            raise UsageError(f"engine {self.engine}: {problem}; say torch or auto.") from None

    @contextmanager
    def or_torch(self) -> Iterator[None]:
        """Where the engine fails on an image within the block, torch is to compute it, which is said once."""
        try:
            yield
        except EngineError as problem:
            self._tell(f"{problem}; torch computes such images")

    def stop(self) -> None:
        """End what works in the background, and wait for what cannot be ended."""
        self._stopped = True
        if self._process is not None:
            self._process.stop()
        if self._thread is not None:
            self._thread.join()

    def _try(self, step: str) -> None:
        try:
            getattr(self, step)()
        except EngineError as problem:
            with self._lock:
                self._steps = []
            if not self._stopped:
                self._tell(f"torch goes on computing: {self.engine} does not serve this network: {problem}")

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            LOG.info("%s", text)

    def _read(self) -> None:
        """Take what an earlier process has converted, where there is something."""
        assert self._origin is not None
        self._entry = int8_entry(self._origin) if self.precision == "int8" else entry_of(self._origin, self.engine)
        made = find(places(self._origin.folder), self._entry)
        if made is not None:
            self._take(made)

    def _convert(self) -> None:
        """Convert the bundle's network in a process of its own, and take the result."""
        assert self._origin is not None
        start = time.perf_counter()
        place = next(filter(writable, places(self._origin.folder)), None) or self._own_place()
        process = self._process = ConversionProcess(self._origin, self.engine, place / self._entry)
        if self._stopped:
            process.stop()
        process.wait()
        self._process = None
        made = find([place], self._entry)
        if made is None:
            raise EngineError(f"{place / self._entry}: what was converted is gone")
        self._take(made)
        prune(place, self._entry)
        seconds = time.perf_counter() - start
        self._tell(f"{self.engine} computes the images from here on: converted in {seconds:.0f} s, kept in {place}")

    def _take(self, made: Made) -> None:
        """Compile what was converted, compare it with what torch computes here, and let it compute from now on.

        Raises:
            EngineError: if it cannot be used.
        """
        if fault := made.fault or (made.proofs or {}).get(self.precision, {}).get("fault"):
            raise EngineError(fault)
        if self._stopped:
            return
        network = compile_made(made, self.engine, self.precision, torch.get_num_threads())
        if not self._stopped:
            images = [proof_image(*self._statistics, SIZES[0])]
            remembering = made.remembering or self.precision == "int8"  # as rough as that
            prove_rough(self._network, maps_of(network), images, remembering=remembering)
            if not self._asked:
                self._must_pay(network)
            self._ready, self._steps = network, []
            self._taken()

    def _must_pay(self, network: CompiledNetwork) -> None:
        """Refuse an engine that nobody asked for by name where torch is clearly faster.

        Raises:
            EngineError: saying by how much.
        """
        image = proof_image(*self._statistics, (TIMED, TIMED))
        seconds: dict[str, list[float]] = {"torch": [], "other": []}
        for turn in range(4):
            for name, compute in (("torch", self._network), ("other", maps_of(network))):
                start = time.perf_counter()
                compute(image)
                if turn:
                    seconds[name].append(time.perf_counter() - start)
        slower = min(seconds["other"]) / min(seconds["torch"])
        if slower > SLOWER:
            raise EngineError(f"it takes {slower:.1f} times as long")

    def _own_place(self) -> Path:
        """A folder that goes with this process, where nothing can be kept."""
        self._temporary = tempfile.TemporaryDirectory(prefix="atrous-engine-")
        return Path(self._temporary.name)


@atexit.register
def _stop_all() -> None:
    """A thread inside a library would crash the end of the process."""
    for switch in list(_at_work):
        switch.stop()
