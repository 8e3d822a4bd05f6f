"""A scorer that knows an image again, for work that goes through the same images several times."""

import hashlib
import time
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from atrous.inference.scorer import PixelScorer

__all__ = ["RememberingScorer"]

ROOM = 1 << 30
"""Bytes of scores that are remembered, unless another number is given."""


class _Remembered(NamedTuple):
    """Scores in the processor's memory, and the seconds that they took."""

    scores: Tensor
    seconds: float


class RememberingScorer:
    """A `PixelScorer` that scores equal images once, as long as there is room; others it scores anew each time.

    Attributes:
        seconds: what the scorer took, where its scores were remembered instead. A clock that adds them says what the
            work would have taken without.
    """

    def __init__(self, scorer: PixelScorer, room: int = ROOM) -> None:
        """Begin with nothing in memory.

        Args:
            scorer: what scores an image that is new.
            room: bytes of scores that may be remembered.
        """
        self.num_classes, self.in_channels, self.alignment = scorer.num_classes, scorer.in_channels, scorer.alignment
        self.seconds = 0.0
        self._scorer, self._room = scorer, room
        self._known: dict[tuple[Any, ...], _Remembered] = {}

    def __getattr__(self, name: str) -> Any:
        """What else the scorer has: its device, its precision, its dropouts."""
        return getattr(self.__dict__["_scorer"], name)

    @property
    def margin(self) -> tuple[int, int] | None:
        """Pixels that a score depends on, before and after its own."""
        return self._scorer.margin

    def __call__(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
        """Scores of every pixel; a copy where they were remembered."""
        pixels = image.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        key = (*pixels.shape, pixels.dtype.name, hashlib.blake2b(pixels.data, digest_size=16).digest())
        known = self._known.get(key)
        if known is not None:
            self.seconds += known.seconds
            return known.scores.clone().to(self._device(image))
        start = time.perf_counter()
        scores = self._scorer(image)
        size = scores.numel() * scores.element_size()
        if size <= self._room:
            self._room -= size
            self._known[key] = _Remembered(scores.detach().cpu().clone(), time.perf_counter() - start)
        return scores

    def _device(self, image: Tensor) -> Any:
        """Where the scorer's results are."""
        return getattr(self._scorer, "device", image.device)
