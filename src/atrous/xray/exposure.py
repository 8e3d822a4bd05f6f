"""From line integrals to the picture of a detector: spectrum, photons, blur and grey levels.

Attenuation coefficients are those of NIST for soft tissue and cortical bone (ICRU-44) and aluminium. The spectrum is
Kramers' law, filtered by aluminium, as an energy-integrating detector weighs it.

Reference:
    Hubbell and Seltzer, NISTIR 5632, https://physics.nist.gov/PhysRefData/XrayMassCoef/tab4.html.
    Kramers, On the theory of X-ray absorption and of the continuous X-ray spectrum, Phil. Mag. 1923.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from atrous.errors import UsageError
from atrous.xray.camera import ConeBeam
from atrous.xray.projector import Projector
from atrous.xray.volume import Volume

__all__ = ["Tube", "expose", "to_grey"]

ENERGIES = np.array([20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0])
"""keV."""
SOFT = np.array([0.8230, 0.3790, 0.2688, 0.2264, 0.2048, 0.1823, 0.1693, 0.1492])
BONE = np.array([4.001, 1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480])
ALUMINIUM = np.array([3.441, 1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704, 0.1378])
"""cm2 / g."""
REFERENCE = 70.0
"""keV at which a volume's attenuation holds."""
ONLY_SOFT, ONLY_BONE = 0.0225, 0.036
"""Attenuations per millimetre up to which a voxel is soft tissue alone, and from which on it is bone alone."""
AIR = 0.5
"""Integrals below it are those of rays that pass beside the body, or through two centimetres of it."""


class Tube:
    """An X-ray tube with a spectrum: bone hardens the beam, so that thick bone looks less dense than it is.

    A volume is split into soft tissue and bone by its attenuation, each is projected, and the intensities of some
    energies are summed. Without bone and with a single energy this is `exp(-integral)`.

    Example:
        >>> from atrous.xray import c_arm, grid
        >>> water = Volume(np.full((20, 20, 20), 0.02), grid((20, 20, 20), 5.0))
        >>> beam = c_arm(size=3, pitch=0.1)
        >>> hard, soft = (Tube(water, kilovolts=kv)(beam)[1, 1] for kv in (140, 60))
        >>> bool(hard > soft)  # harder rays come through
        True
    """

    def __init__(self, volume: Volume, *, kilovolts: float = 110.0, filtration: float = 4.0) -> None:
        """Take a volume.

        Args:
            volume: attenuation per millimetre at about 70 keV.
            kilovolts: of the tube, 40 to 150.
            filtration: millimetres of aluminium.

        Raises:
            UsageError: if the tube cannot be.
        """
        if not 40 <= kilovolts <= 150 or filtration < 0:
            raise UsageError(f"a tube of {kilovolts} kV behind {filtration} mm: 40 to 150 kV, and no negative filter.")
        share = np.clip((volume.values - ONLY_SOFT) / (ONLY_BONE - ONLY_SOFT), 0, 1)
        self._soft = Projector(Volume(volume.values * (1 - share), volume.affine))
        self._bone = Projector(Volume(volume.values * share, volume.affine))
        self.energies = np.arange(20.0, kilovolts, 5.0)
        made = kilovolts / self.energies - 1  # photons; each counts with its energy
        weights = made * self.energies * np.exp(-0.27 * _at(ALUMINIUM, self.energies) * filtration)
        self.weights = weights / weights.sum()

    def __call__(self, beam: ConeBeam) -> Float[np.ndarray, "H W"]:
        """The part of the energy that reaches each pixel, 0 to 1."""
        soft, bone = self._soft(beam), self._bone(beam)
        total = np.zeros(soft.shape, np.float32)
        for energy, weight in zip(self.energies, self.weights, strict=True):
            a, b = (_at(table, energy) / _at(table, REFERENCE) for table in (SOFT, BONE))
            total += np.float32(weight) * np.exp(-(np.float32(a) * soft + np.float32(b) * bone))
        return total


def _at(table: np.ndarray, energy: np.ndarray | float) -> np.ndarray:
    """Coefficients between tabulated energies: straight lines between logarithms."""
    return np.exp(np.interp(np.log(energy), np.log(ENERGIES), np.log(table)))


def expose(
    intensity: Float[np.ndarray, "H W"],
    rng: np.random.Generator,
    *,
    photons: float = 2e5,
    blur: float = 0.6,
    scatter: float = 0.0,
) -> Float[np.ndarray, "H W"]:
    """What a detector reads, as a part of what it would read without a body.

    Args:
        intensity: 0 to 1.
        rng: draws the photons.
        photons: that reach a pixel without a body; fewer are noisier.
        blur: standard deviation of the detector's blur, in pixels; 0 for none.
        scatter: scattered rays as a part of the mean intensity around: a veil without detail.

    Raises:
        UsageError: if a number is out of its range.
    """
    if photons <= 0 or blur < 0 or scatter < 0:
        raise UsageError(f"photons {photons}, blur {blur}, scatter {scatter}: photons are positive, none is negative.")
    seen = np.asarray(intensity, np.float32)
    if scatter:
        seen = (seen + scatter * cv2.GaussianBlur(seen, (0, 0), max(seen.shape) / 6)) / (1 + scatter)
    counted = rng.poisson(np.maximum(seen, 0) * photons).astype(np.float32) / np.float32(photons)
    return cv2.GaussianBlur(counted, (0, 0), blur) if blur else counted


def to_grey(intensity: Float[np.ndarray, "H W"], *, photons: float = 2e5) -> UInt8[np.ndarray, "H W"]:
    """Grey levels as radiologists see them: what lets no rays through is white; air is black.

    Two thirds of what varies over a tenth of the picture is taken away, so that thick and thin parts of a body both
    have contrast; the rest is stretched between the 1st and the 99.5th percentile of what is not air alone.

    Args:
        intensity: 0 to 1, or somewhat more by noise.
        photons: fewer than one of them is not told from one.
    """
    dense = -np.log(np.maximum(intensity, 1 / photons)).astype(np.float32)
    body = dense > AIR
    dense = dense - np.float32(2 / 3) * cv2.GaussianBlur(dense, (0, 0), max(dense.shape) / 10)
    low, high = np.percentile(dense[body] if body.any() else dense, (1.0, 99.5))
    return (np.clip((dense - low) / max(high - low, 1e-6), 0, 1) * 255 + 0.5).astype(np.uint8)
