"""Whether a converted network is the network: both are shown the same images, of sizes that it was not traced at.

The two differ by rounding alone: sums are taken in another order, and normalisations are folded. On the networks of
the package that is some 1e-5 of the spread of the scores; a wrong size, border or corner differs by 0.01 and more.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from atrous.inference.engines.base import SMALLEST, EngineError
from atrous.types import Outputs

__all__ = ["SIZES", "Proof", "likeness", "proof_image", "prove", "prove_rough"]

SIZES = ((131, 194), (225, 118), (SMALLEST + 1, SMALLEST + 15))
"""Heights and widths that a proof is made at: neither those that were traced, nor multiples of a stride."""
LARGEST = 1e-3
"""Difference of a score, in the spread of the scores, up to which it is rounding."""
ALIKE = 0.999
"""Share of the pixels that both decide alike: a pixel whose best two classes tie to 1e-6 goes either way."""
MOVED = 0.01
"""Share of the pixels with larger differences, where a pooling's place moves between values that tie."""
ROUGH = {False: 0.05, True: 0.3}
"""Mean difference of a score in short numbers, in the spread of the scores: without and with such poolings."""


@dataclass(frozen=True)
class Proof:
    """How far two networks agree.

    Attributes:
        largest: difference of a score, in the spread (the standard deviation) of the scores.
        mean: difference of a score, the same.
        beyond: share of the pixels with a score that differs by more than `LARGEST`.
        alike: share of the pixels that are decided alike.
    """

    largest: float
    mean: float
    beyond: float
    alike: float

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers by name."""
        return asdict(self)


def proof_image(mean: Tensor, std: Tensor, size: tuple[int, int], seed: int = 0) -> Tensor:
    """(1, C, H, W) smooth noise in a network's own range: structures of many sizes, as a photograph has.

    Args:
        mean: (C,) of the network's images.
        std: (C,) of the network's images.
        size: height and width.
        seed: other seeds give other images.
    """
    draw = torch.Generator().manual_seed(seed)
    waves = torch.zeros(1, len(mean), *size)
    for cells in (2, 5, 11, 24, 50):
        noise = torch.randn(1, len(mean), cells, cells, generator=draw)
        waves += F.interpolate(noise, size, mode="bicubic")
    return mean.view(1, -1, 1, 1) + std.view(1, -1, 1, 1) * waves / 2


def likeness(one: Outputs, other: Outputs) -> Proof:
    """How far the maps of two networks agree.

    Raises:
        EngineError: if they have other names or sizes, or numbers that are not finite.
    """
    sizes = [{name: tuple(maps.shape) for name, maps in outputs.items()} for outputs in (one, other)]
    if sizes[0] != sizes[1]:
        raise EngineError(f"it gives maps of {sizes[1]} where the network gives {sizes[0]}")
    found = [_likeness(one[name].float(), other[name].float()) for name in one]
    worst = max(found, key=lambda proof: proof.largest)
    return Proof(
        worst.largest,
        max(proof.mean for proof in found),
        max(proof.beyond for proof in found),
        min(proof.alike for proof in found),
    )


def _likeness(one: Tensor, other: Tensor) -> Proof:
    if not other.isfinite().all():
        raise EngineError("it gives numbers that are not finite")
    difference = (one - other).abs() / one.std().clamp(min=1e-12)
    decided = [maps.max(1).indices if maps.shape[1] > 1 else maps > 0 for maps in (one, other)]
    return Proof(
        float(difference.max()),
        float(difference.mean()),
        float((difference.amax(1) > LARGEST).float().mean()),
        float((decided[0] == decided[1]).float().mean()),
    )


def together(proofs: Sequence[Proof]) -> Proof:
    """The worst of several."""
    return Proof(
        max(proof.largest for proof in proofs),
        max(proof.mean for proof in proofs),
        max(proof.beyond for proof in proofs),
        min(proof.alike for proof in proofs),
    )


def prove(
    network: Callable[[Tensor], Outputs],
    converted: Callable[[Tensor], Outputs],
    images: Sequence[Tensor],
    *,
    remembering: bool,
) -> Proof:
    """Agreement in float32 on all images.

    Args:
        network: the network.
        converted: what it became.
        images: (1, C, H, W) each.
        remembering: whether it uses the places of its poolings' largest values.

    Raises:
        EngineError: if it differs by more than rounding.
    """
    found = together([likeness(network(image), converted(image)) for image in images])
    allowed = found.beyond <= MOVED if remembering else found.largest <= LARGEST
    if not allowed or found.alike < ALIKE:
        raise EngineError(
            f"its scores differ from the network's by up to {found.largest:.1e} of their spread, and "
            f"{100 * found.alike:.2f} % of the pixels are decided alike"
        )
    return found


def prove_rough(
    network: Callable[[Tensor], Outputs],
    converted: Callable[[Tensor], Outputs],
    images: Sequence[Tensor],
    *,
    remembering: bool,
) -> Proof:
    """Agreement in short numbers on all images; arguments as for `prove`.

    Raises:
        EngineError: if it differs by more than their rounding.
    """
    found = together([likeness(network(image), converted(image)) for image in images])
    if found.mean > ROUGH[remembering]:
        raise EngineError(
            f"in short numbers its scores differ from the network's by {found.mean:.2f} of their spread on average"
        )
    return found
