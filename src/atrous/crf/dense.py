"""Fully connected conditional random field with Gaussian edges, by mean field.

Kraehenbuehl and Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS 2011, and
Parameter Learning and Convergent Inference for Dense Random Fields, ICML 2013. https://arxiv.org/abs/1210.5644

Every pixel is joined to every other; how much two of them want the same class falls with their distance and with the
difference of their colours. Each update filters the scores of all classes (see `permutohedral`), weighs the result,
adds it to the logarithm of the given probabilities and takes the softmax.

As in the papers, and as in the implementation that they are known by:
- U = -log P, all pixels updated at once, a fixed number of times;
- four normalizations of a kernel K with z = K 1: "none" K Q; "before" K (Q / z); "after" (K Q) / z, of 2011;
  "symmetric" (K (Q / sqrt z)) / sqrt z, of 2013 and the default.

Different from the papers, as in that implementation:
- a pixel receives its own message too: what the lattice would have to subtract is blurred like everything else.

Different from that implementation:
- the free energy has the factor 1/2 on its pairwise part; without it, it is not what the updates descend on;
- probabilities are clipped at 1e-5 from below, so that no class is ruled out for good.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from torch import Tensor

from atrous.crf._features import Bandwidths, ImageFeatures
from atrous.crf._images import Arrays, from_batches, to_batches
from atrous.crf._torch_mean_field import TorchMeanField
from atrous.crf.lattice import FeatureSource, Lattice, MeanField, TorchLattice
from atrous.errors import UsageError, did_you_mean

__all__ = [
    "NORMALIZATIONS",
    "Compatibility",
    "Kernel",
    "KernelNormalization",
    "MeanFieldResult",
    "Pairwise",
    "check_normalization",
    "dense_crf",
    "mean_field",
]

KernelNormalization = Literal["none", "before", "after", "symmetric"]
NORMALIZATIONS: tuple[KernelNormalization, ...] = ("none", "before", "after", "symmetric")

Compatibility = float | Sequence[float] | Float[np.ndarray, " K"] | Float[np.ndarray, "K K"]
"""A weight (Potts), a weight for each class, or a matrix of penalties for each pair of classes: see `Pairwise`."""

EPSILON = 1e-20


class Kernel:
    """A lattice with its normalization: the filter of one pairwise term, ready for any number of updates.

    Attributes:
        lattice: the filter.
        normalization: one of `NORMALIZATIONS`.
        scale_in: (N,) what each point's values are multiplied by before the filter.
        scale_out: (N,) and after it.

    Example:
        >>> kernel = Kernel(np.array([[0.0], [0.5], [1.0], [2.0]], np.float32), "after")
        >>> kernel.filter(np.ones((4, 1), np.float32)).ravel().round(6).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(
        self,
        features: Lattice | TorchLattice | FeatureSource | Float[np.ndarray, "N d"] | Float[Tensor, "N d"],
        normalization: KernelNormalization = "symmetric",
    ) -> None:
        """Build the lattice, unless it is one, and filter a one at every point.

        Args:
            features: (N, d) positions in units of the standard deviation: an array for the processor, a tensor for its
                own device; or a lattice that is there already.
            normalization: one of `NORMALIZATIONS`.

        Raises:
            UsageError: features that cannot be used, or an unknown normalization.
        """
        check_normalization(normalization)
        self.lattice: Any = features
        if isinstance(features, Tensor):
            self.lattice = TorchLattice(features)
        elif not isinstance(features, Lattice | TorchLattice):
            self.lattice = Lattice(features)
        self.normalization = normalization
        self.scale_in: Any = self.lattice.ones()
        self.scale_out: Any = self.scale_in
        if normalization == "none":
            return
        mass = self.lattice.filter(self.scale_in[:, None])[:, 0] + EPSILON
        if normalization == "symmetric":
            self.scale_in = self.scale_out = mass**-0.5
        elif normalization == "before":
            self.scale_in = 1 / mass
        else:
            self.scale_out = 1 / mass

    def filter(self, values: Any) -> Any:
        """The values (N, K) of the points, filtered and normalized; arrays or tensors as the features were."""
        return self.lattice.filter(values * self.scale_in[:, None]) * self.scale_out[:, None]

    def transpose(self, values: Any) -> Any:
        """The exact transpose of `filter`."""
        return self.lattice.transpose(values * self.scale_out[:, None]) * self.scale_in[:, None]


class Pairwise:
    """One pairwise term: a kernel, and what it means for two pixels to have two classes.

    Attributes:
        kernel: the filter.
        weights: what compatibility came, as an array.
        matrix: (K, K) penalties, or None.

    The argument `compatibility` takes three forms, and the sign of each is the natural one:

    - a number w, the Potts model: pixels that differ pay w. Positive smooths;
    - K numbers, the same with a weight for each class. Positive smooths;
    - a matrix (K, K): what a pixel of class l pays for a neighbour of class l'. `w * (1 - np.eye(K))` is the Potts
      model, and so is `-w * np.eye(K)`. It is made symmetric: (M + M^T) / 2.

    In pydensecrf a number and a matrix have these signs too, while K numbers stand for penalties: a Potts model there
    is `-w * ones(K)`, here it is `w * ones(K)`.
    """

    def __init__(self, kernel: Kernel, compatibility: Compatibility) -> None:
        self.kernel = kernel
        values = np.array(compatibility, np.float32)
        if not np.isfinite(values).all() or values.ndim > 2 or (values.ndim == 2 and len(set(values.shape)) > 1):
            raise UsageError(
                f"A compatibility is a number, one per class or a square matrix, all finite, got {compatibility!r}."
            )
        self.weights: Float32[np.ndarray, "*K"] = (values + values.T) / 2 if values.ndim == 2 else values
        self.matrix = self.weights if values.ndim == 2 else None

    def check_fits(self, shape: tuple[int, ...]) -> None:
        """Refuse probabilities (K, N) of another number of classes or pixels.

        Raises:
            UsageError: always then.
        """
        K, N = shape
        if self.kernel.lattice.points != N:
            raise UsageError(f"A pairwise term of {self.kernel.lattice.points} pixels was given {N} pixels of scores.")
        if self.weights.ndim and len(self.weights) != K:
            raise UsageError(f"A compatibility of {len(self.weights)} classes was given scores of {K} classes.")


class MeanFieldResult(NamedTuple):
    """What mean field found.

    Attributes:
        scores: (K, N) float32, sum 1 over the classes; an array or a tensor as the probabilities were.
        iterations: how many updates were made.
        energies: the free energy before the first update and after each, where asked for.
    """

    scores: Any
    iterations: int
    energies: tuple[float, ...] = ()


def mean_field(
    probabilities: Float[np.ndarray, "K N"] | Float[Tensor, "K N"],
    terms: Sequence[Pairwise],
    *,
    iterations: int = 5,
    tolerance: float = 0.0,
    energies: bool = False,
) -> MeanFieldResult:
    """Mean field over any points with any features.

    Args:
        probabilities: of each class at each point; arrays where the terms were built from arrays, tensors where from
            tensors.
        terms: the pairwise terms.
        iterations: the number of updates, at most.
        tolerance: stop once no score changes by as much as this; 0 never stops early.
        energies: compute the free energy too, which costs about one more update each time.

    Raises:
        UsageError: probabilities that are none, or terms that do not fit them.

    Example:
        >>> points = np.array([[0.0], [0.1], [5.0]], np.float32)
        >>> term = Pairwise(Kernel(points), 2.0)
        >>> mean_field(np.array([[0.9, 0.4, 0.4], [0.1, 0.6, 0.6]]), [term]).scores[0].astype(float).round(1).tolist()
        [1.0, 0.7, 0.1]
    """
    K, N = probabilities.shape if probabilities.ndim == 2 else (0, 0)
    if K < 2 or N < 1:
        raise UsageError(
            f"Probabilities are (classes, points), at least two classes, got shape {tuple(probabilities.shape)}."
        )
    if iterations < 0 or not tolerance >= 0:
        raise UsageError(f"Iterations and tolerance are 0 or more, got {iterations} and {tolerance}.")
    for term in terms:
        term.check_fits((K, N))
    state: MeanField | TorchMeanField
    if isinstance(probabilities, Tensor):
        state = TorchMeanField(probabilities.detach().float(), terms)
    else:
        state = MeanField(np.ascontiguousarray(probabilities, np.float32), terms)
    found = [state.energy()] if energies else []
    done = 0
    while done < iterations and terms:
        before: Any = (state.rows + 0) if tolerance > 0 else None
        state.update()
        done += 1
        if energies:
            found.append(state.energy())
        if before is not None and state.change(before) < tolerance:
            break
    return MeanFieldResult(state.scores(), done, tuple(found))


def dense_crf(
    probabilities: Arrays,
    image: Arrays,
    *,
    gaussian: tuple[Bandwidths, Compatibility] | None = (3.0, 3.0),
    bilateral: tuple[Bandwidths, Bandwidths, Compatibility] | None = (80.0, 13.0, 10.0),
    iterations: int = 5,
    normalization: KernelNormalization = "symmetric",
    tolerance: float = 0.0,
) -> Any:
    """Refine probabilities by an image: pixels near each other, and of like colour, come to agree.

    Args:
        probabilities: (K, H, W) or (B, K, H, W), the softmax of a network; clipped at 1e-5 from below. They are not
            changed, and no gradient flows through.
        image: (H, W, C) or (B, H, W, C), any number of channels. Numbers of type uint8 are taken as they are; all
            others, 16 bits or floats, are rescaled channel by channel: its smallest becomes 0 and its largest 255.
        gaussian: (sxy, weight) of the term that knows positions alone; None leaves it out. `sxy` is a standard
            deviation in pixels, or (x, y); the weight is a number, one per class or a matrix, see `Pairwise`.
        bilateral: (sxy, srgb, weight) of the term that knows colours too; None leaves it out. `srgb` is in 8-bit units
            of colour, one number or one per channel. The finer, the slower.
        iterations: the number of updates, at most.
        normalization: one of `NORMALIZATIONS`.
        tolerance: stop once no score changes by as much as this; 0 never stops early.

    Returns:
        The refined scores, float32, shaped as `probabilities`: an array for an array; for a tensor a tensor on its
        device, where all of the work is done too.

    Raises:
        UsageError: arguments that do not go together: shapes, probabilities with NaN, below 0 or not of sum 1,
            bandwidths that are not positive.

    The defaults are those of pydensecrf's example. DeepLab v2 (ResNet-101) used `gaussian=(1, 3)`,
    `bilateral=(67, 3, 4)` and 10 iterations.

    Example:
        >>> image = np.zeros((6, 8, 3), np.uint8)
        >>> image[:, 4:] = 200
        >>> p = np.full((2, 6, 8), 0.5)
        >>> p[:, :, :2], p[:, :, 5:] = [[[0.8]], [[0.2]]], [[[0.3]], [[0.7]]]  # nothing is known near the edge
        >>> dense_crf(p, image)[0, 2].astype(float).round(1).tolist()
        [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    check_normalization(normalization)
    batch = to_batches(probabilities, image)
    height, width = batch.size
    shared: Kernel | None = None
    results = []
    for planes, picture in batch.pairs:
        terms = []
        if gaussian is not None:
            sxy, weight = _parts(gaussian, "gaussian", "(sxy, weight)")
            if shared is None:  # positions are the same in the whole batch
                shared = Kernel(ImageFeatures(height, width, sxy=sxy).for_points(planes), normalization)
            terms.append(Pairwise(shared, weight))
        if bilateral is not None:
            sxy, srgb, weight = _parts(bilateral, "bilateral", "(sxy, srgb, weight)")
            features = ImageFeatures(height, width, sxy=sxy, image=picture, srgb=srgb)
            terms.append(Pairwise(Kernel(features.for_points(planes), normalization), weight))
        results.append(mean_field(planes, terms, iterations=iterations, tolerance=tolerance).scores)
    return from_batches(results, batch)


def _parts(given: Sequence[Any], name: str, form: str) -> Sequence[Any]:
    if not isinstance(given, Sequence) or len(given) != form.count(",") + 1:
        raise UsageError(f"The argument {name} is {form} or None, got {given!r}.")
    return given


def check_normalization(normalization: str) -> None:
    """Refuse a word that names no normalization.

    Raises:
        UsageError: always then.
    """
    if normalization not in NORMALIZATIONS:
        raise UsageError(f"There is no normalization {normalization!r}. {did_you_mean(normalization, NORMALIZATIONS)}")
