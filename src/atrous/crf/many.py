"""The dense CRF of one image by many settings: what they share is computed once."""

from typing import Any

from atrous.crf._features import Bandwidths, ImageFeatures
from atrous.crf._images import Arrays, from_batches, to_batches
from atrous.crf.dense import Kernel, KernelNormalization, Pairwise, check_normalization, mean_field
from atrous.errors import UsageError

__all__ = ["ImageCRF"]


class ImageCRF:
    """`dense_crf` of one image, to be called with one setting after the other.

    The lattice of each term is kept until a call needs other bandwidths. So go through the settings by their
    bandwidths: weights and updates cost no lattice of their own.

    Args:
        probabilities: (K, H, W), as for `dense_crf`.
        image: (H, W, C), as for `dense_crf`.
        normalization: of the kernels, one of `NORMALIZATIONS`.

    Raises:
        UsageError: shapes that do not go together, or a batch.
    """

    def __init__(
        self, probabilities: Arrays, image: Arrays, *, normalization: KernelNormalization = "symmetric"
    ) -> None:
        check_normalization(normalization)
        self._batch = to_batches(probabilities, image)
        if not self._batch.single:
            raise UsageError(
                f"One image is refined by many settings, but probabilities are {tuple(probabilities.shape)}: pass "
                "(K, H, W) and an image (H, W, C)."
            )
        ((self._planes, self._picture),) = self._batch.pairs
        self._normalization = normalization
        self._kernels: dict[str, tuple[Any, Kernel]] = {}

    def __call__(
        self,
        *,
        gaussian: tuple[Bandwidths, float] | None,
        bilateral: tuple[Bandwidths, Bandwidths, float] | None,
        iterations: int = 5,
    ) -> Any:
        """The refined scores (K, H, W): what `dense_crf` gives for the same arguments.

        Args:
            gaussian: (sxy, weight); a term of weight 0 says nothing, and is left out.
            bilateral: (sxy, srgb, weight); the same.
            iterations: the number of updates.

        Raises:
            UsageError: probabilities that are none, or bandwidths that are not positive.
        """
        terms = []
        if gaussian is not None and gaussian[1]:
            terms.append(Pairwise(self._kernel("gaussian", sxy=gaussian[0]), gaussian[1]))
        if bilateral is not None and bilateral[2]:
            sxy, srgb, weight = bilateral
            terms.append(Pairwise(self._kernel("bilateral", sxy=sxy, image=self._picture, srgb=srgb), weight))
        return from_batches([mean_field(self._planes, terms, iterations=iterations).scores], self._batch)

    def _kernel(self, term: str, **features: Any) -> Kernel:
        """The kernel of a term, the one of the call before where its bandwidths are the same."""
        bandwidths = features["sxy"], features.get("srgb")
        kept = self._kernels.pop(term, None)  # let go before another is built: lattices are large
        if kept is None or kept[0] != bandwidths:
            del kept
            points = ImageFeatures(*self._batch.size, **features).for_points(self._planes)
            kept = bandwidths, Kernel(points, self._normalization)
        self._kernels[term] = kept
        return kept[1]
