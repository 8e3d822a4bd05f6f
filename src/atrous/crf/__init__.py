"""Dense conditional random fields: the refinement that gives a network's masks the edges of the image.

`dense_crf` is the one call that most need. Beneath it lie `mean_field` over `Pairwise` terms, each a `Kernel` (a
permutohedral `Lattice` and its normalization) with a compatibility; `exact` is the oracle, and `local_crf` looks at a
window around each pixel instead of the whole image.
"""

from atrous.crf.dense import NORMALIZATIONS, Kernel, MeanFieldResult, Pairwise, dense_crf, mean_field
from atrous.crf.exact import exact_mean_field
from atrous.crf.lattice import Lattice, filter_batch
from atrous.crf.local import local_crf

__all__ = [
    "NORMALIZATIONS",
    "Kernel",
    "Lattice",
    "MeanFieldResult",
    "Pairwise",
    "dense_crf",
    "exact_mean_field",
    "filter_batch",
    "local_crf",
    "mean_field",
]
