"""Post-processing of scores before they are decided: conditional random fields, by name.

A dense CRF joins every pixel of an image with every other. Where an image is cut into tiles, each tile is refined with
`reach` pixels of context around it, and what lies farther away is not seen: an approximation, as `Refiner.exact` says.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt
from jaxtyping import Float
from torch import Tensor

from atrous.crf.dense import KernelNormalization, dense_crf
from atrous.crf.local import local_crf as refine_locally
from atrous.errors import AtrousError, UsageError, did_you_mean
from atrous.recipe import read_value
from atrous.tables import Place, describe_value, read_section

__all__ = ["NO_REFINER", "REFINERS", "Colors", "Refiner", "read_refine"]

NO_REFINER = "none"
"""Says that nothing is refined, where a bundle would."""

REACH = 2
"""Context of a tile in standard deviations of position: of a Gaussian, 5 % lie beyond 2."""

_HERE = Place("refine")

PositiveSpread = Annotated[float, Gt(0)]
Weight = Annotated[float, Ge(0)]
Colors = tuple[Float[np.ndarray, " C"], Float[np.ndarray, " C"]]
"""Of each channel the number that stands for black, and that for white."""


@dataclass(frozen=True)
class Refiner:
    """A way to refine scores, with its arguments.

    Attributes:
        name: in `REFINERS`.
        arguments: the ones that were given; the others are the builder's defaults.
        reach: pixels of context that a tile is refined with.
        exact: whether that much context gives what the whole image would.
        function: (probabilities, image, bilateral=...) -> probabilities.
        bilateral: (sxy, srgb, weight) of the term that looks at colours, or None.
    """

    name: str
    arguments: Mapping[str, Any]
    reach: int
    exact: bool
    function: Callable[..., Any] = field(repr=False, compare=False)
    bilateral: tuple[float, float, float] | None = field(repr=False, compare=False)

    @property
    def section(self) -> dict[str, Any]:
        """What a recipe says to get it: {"name": ..., its arguments}."""
        return {"name": self.name, **self.arguments}

    def __str__(self) -> str:
        given = ",".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in self.arguments.items())
        return f"{self.name}:{given}" if given else self.name

    def __call__(
        self, scores: Float[Tensor, "K H W"], image: Float[np.ndarray, "H W C"], colors: Colors | None = None
    ) -> Float[Tensor, "K H W"]:
        """Refined scores, where the scores are.

        Args:
            scores: probabilities.
            image: its own numbers.
            colors: of each channel the numbers that stand for black and white; None for an image of 8 bits.

        Raises:
            UsageError: if the scores are no probabilities of two classes or more.
        """
        bilateral, picture = self.bilateral, image
        if colors is None:
            picture = image.astype(np.uint8)
        elif bilateral is not None:
            # The CRF takes the range of what it is given for that of the image, and a tile's is smaller.
            sxy, srgb, weight = bilateral
            own, whole = image.max((0, 1)) - image.min((0, 1)), colors[1] - colors[0]
            varies = (own > 0) & (whole > 0)
            spreads = np.where(varies, srgb * whole / np.where(varies, own, 1), srgb)
            bilateral = (sxy, spreads.tolist(), weight)
        at_home = scores.device.type in ("cpu", "cuda")
        try:
            with torch.no_grad():
                refined = self.function(scores if at_home else scores.cpu(), picture, bilateral=bilateral)
        except UsageError as error:
            raise UsageError(f"refine {self.name}: {error}") from error
        return refined.to(scores.device)  # type: ignore[no-any-return]


def crf(
    *,
    gaussian_xy: PositiveSpread = 3.0,
    gaussian_weight: Weight = 3.0,
    bilateral_xy: PositiveSpread = 80.0,
    bilateral_rgb: PositiveSpread = 13.0,
    bilateral_weight: Weight = 10.0,
    iterations: Annotated[int, Ge(1)] = 5,
    normalization: KernelNormalization = "symmetric",
    margin: Annotated[int, Ge(0)] | None = None,
) -> Refiner:
    """The fully connected CRF, see `atrous.crf.dense_crf`.

    Args:
        gaussian_xy: standard deviation of the term of positions, in pixels.
        gaussian_weight: its weight; 0 leaves the term out.
        bilateral_xy: standard deviation of position of the term that looks at colours, in pixels.
        bilateral_rgb: and of colour, in 8-bit units.
        bilateral_weight: its weight; 0 leaves the term out.
        iterations: updates.
        normalization: of the kernels.
        margin: pixels of context around a tile; None takes twice the larger standard deviation of position.
    """
    gaussian, bilateral = _terms((gaussian_xy, gaussian_weight), (bilateral_xy, bilateral_rgb, bilateral_weight))
    if margin is None:
        margin = math.ceil(REACH * max((term[0] for term in (gaussian, bilateral) if term), default=0))
    run = partial(dense_crf, gaussian=gaussian, iterations=iterations, normalization=normalization)
    return Refiner("crf", {}, margin, False, run, bilateral)


def local_crf(
    *,
    gaussian_xy: PositiveSpread = 3.0,
    gaussian_weight: Weight = 3.0,
    bilateral_xy: PositiveSpread = 80.0,
    bilateral_rgb: PositiveSpread = 13.0,
    bilateral_weight: Weight = 10.0,
    iterations: Annotated[int, Ge(1)] = 5,
    normalization: KernelNormalization = "symmetric",
    window: Annotated[int, Ge(1)] = 7,
    dilation: Annotated[int, Ge(1)] = 1,
    place: Place = _HERE,
) -> Refiner:
    """The CRF over a window around each pixel, see `atrous.crf.local_crf`: tiles give what the whole image gives.

    Args:
        gaussian_xy: as in `crf`.
        gaussian_weight: as in `crf`.
        bilateral_xy: as in `crf`.
        bilateral_rgb: as in `crf`.
        bilateral_weight: as in `crf`.
        iterations: updates; each sees one window farther.
        normalization: of the kernels.
        window: pixels along a side, odd.
        dilation: distance of neighbours in the window, in pixels.
        place: where the arguments stand, for messages.

    Raises:
        UsageError: if the window has no middle.
    """
    if window % 2 == 0:
        raise UsageError(f"{place / 'window'}: got {window}, but a window has a pixel in its middle; say {window + 1}.")

    gaussian, bilateral = _terms((gaussian_xy, gaussian_weight), (bilateral_xy, bilateral_rgb, bilateral_weight))
    run = partial(
        refine_locally,
        gaussian=gaussian,
        iterations=iterations,
        normalization=normalization,
        window=window,
        dilation=dilation,
    )
    # One window more than there are updates: a pixel's kernel is normalized by its neighbours' neighbours.
    return Refiner("local_crf", {}, (iterations + 1) * (window // 2) * dilation, True, run, bilateral)


REFINERS: dict[str, Callable[..., Refiner]] = {"crf": crf, "local_crf": local_crf}
"""Name -> what makes a `Refiner` of its arguments."""


def _terms(
    gaussian: tuple[float, float], bilateral: tuple[float, float, float]
) -> tuple[tuple[float, float] | None, tuple[float, float, float] | None]:
    return gaussian if gaussian[-1] else None, bilateral if bilateral[-1] else None


def read_refine(refine: Any, *, place: Place = _HERE, error: type[AtrousError] = UsageError) -> Refiner | None:
    """A refiner, or None where nothing is to be refined.

    Args:
        refine: a name in `REFINERS`, {"name": ..., its arguments}, text such as "crf:bilateral_xy=60,iterations=10",
            a `Refiner`, None or "none".
        place: where it stands, for messages.
        error: class of the error to raise.

    Raises:
        UsageError: (or `error`) if a name or an argument is unknown, or a value does not fit.

    Example:
        >>> print(read_refine("crf:bilateral_xy=60,iterations=10"))
        crf:bilateral_xy=60,iterations=10
        >>> read_refine("crf:bilateral_x=60")
        Traceback (most recent call last):
        atrous.errors.UsageError: refine, bilateral_x: crf takes no argument 'bilateral_x'. Did you mean 'bilateral_xy'?
    """
    if refine is None or isinstance(refine, Refiner):
        return refine
    section = _from_text(refine, place, error) if isinstance(refine, str) else refine
    if isinstance(section, Mapping) and section.get("name") == NO_REFINER:
        return None
    if not isinstance(section, Mapping) or "name" not in section:
        raise error(
            f"{place}: got {describe_value(refine)}, but what refines is a name or {{name: ..., its arguments}}. "
            f"{did_you_mean('', (*REFINERS, NO_REFINER))}"
        )
    if isinstance(section["name"], str) and section["name"] not in REFINERS:
        near = did_you_mean(section["name"], (*REFINERS, NO_REFINER))
        raise error(f"{place}: there is nothing named {section['name']!r} that refines. {near}")
    builder, arguments = read_section(REFINERS, section, kind="refinement", place=place, error=error)
    return replace(builder(**arguments), arguments={key: value for key, value in arguments.items() if key != "place"})


def _from_text(text: str, place: Place, error: type[AtrousError]) -> dict[str, Any]:
    name, _, rest = text.partition(":")
    section: dict[str, Any] = {"name": name.strip()}
    for pair in rest.split(",") if rest else []:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise error(f"{place}: got {pair!r} in {text!r}; say NAME:KEY=VALUE,..., such as crf:bilateral_xy=60.")
        section[key.strip()] = read_value(value.strip(), source=str(place), error=error)
    return section
