"""From integrals to grey levels."""

import numpy as np
import pytest

from atrous.errors import UsageError
from atrous.xray import Projector, Volume, c_arm, grid
from atrous.xray.exposure import Tube, expose, to_grey


def block(value: float, size: int = 20) -> Volume:
    """A cube of 100 mm."""
    return Volume(np.full((size,) * 3, value), grid((size,) * 3, 100.0 / size))


def test_a_thin_body_attenuates_as_at_one_energy_and_a_thick_one_less() -> None:
    beam = c_arm(size=3, pitch=0.1)
    effective = []
    for thick in (0.0001, 0.02):
        came = Tube(block(thick), kilovolts=100.0)(beam)[1, 1]
        effective.append(-np.log(came) / Projector(block(thick))(beam)[1, 1])
    assert effective[0] > effective[1] * 1.05  # soft rays are gone behind the first centimetres: the beam hardens
    assert 0.8 < effective[1] < 1.3


def test_bone_hardens_more_than_soft_tissue() -> None:
    beam = c_arm(size=3, pitch=0.1)
    bone, soft = (
        -np.log(Tube(block(value), kilovolts=kv)(beam)[1, 1]) / (value * 100)
        for value, kv in ((0.045, 60.0), (0.045, 140.0))
    )
    assert bone > 1.3 * soft
    tube = Tube(block(0.02), kilovolts=120.0)
    assert tube.weights.sum() == pytest.approx(1)
    assert 50 < (tube.weights * tube.energies).sum() < 85


def test_photons_are_those_of_a_poisson_distribution() -> None:
    flat = np.full((200, 200), 0.25)
    seen = expose(flat, np.random.default_rng(0), photons=400, blur=0)
    assert seen.mean() == pytest.approx(0.25, rel=0.01)
    assert seen.var() == pytest.approx(0.25 / 400, rel=0.05)  # a hundred photons: their variance is their number
    smooth = expose(flat, np.random.default_rng(0), photons=400, blur=1.0)
    assert smooth.std() < 0.5 * seen.std()
    np.testing.assert_array_equal(seen, expose(flat, np.random.default_rng(0), photons=400, blur=0))


def test_scatter_takes_contrast_and_keeps_the_mean() -> None:
    image = np.full((64, 64), 0.1)
    image[:, 32:] = 0.2
    clear, veiled = (expose(image, np.random.default_rng(0), photons=1e9, blur=0, scatter=s) for s in (0.0, 0.5))
    assert veiled.mean() == pytest.approx(clear.mean(), rel=0.02)
    assert veiled[:, 40].mean() - veiled[:, 24].mean() < clear[:, 40].mean() - clear[:, 24].mean()


def test_what_lets_nothing_through_is_white() -> None:
    image = np.full((64, 64), 0.3, np.float32)
    image[20:40, 20:40] = 0.0
    grey = to_grey(image)
    assert grey.dtype == np.uint8
    inside = grey[20:40, 20:40].copy()
    grey[20:40, 20:40] = 0
    assert inside.max() == 255
    assert inside.min() > grey.max()
    assert to_grey(np.full((8, 8), 0.5)).max() == 0  # nothing to be seen is no division by zero


@pytest.mark.parametrize("wrong", [{"photons": 0}, {"blur": -1}, {"scatter": -0.1}])
def test_impossible_exposures_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="none is negative"):
        expose(np.ones((4, 4)), np.random.default_rng(0), **wrong)
    with pytest.raises(UsageError, match="40 to 150 kV"):
        Tube(block(0.02), kilovolts=20)
