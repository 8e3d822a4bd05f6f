"""The permutohedral lattice: compiled kernels with hand-written vectors, and the same in torch operations.

What the rest of `crf` needs is named here, and is all that it may import. The compiled kernels are imported by the
functions that run them: numba takes half a second to import, and all models are imported together, with `crfrnn` among
them.
"""

from atrous.crf.lattice.mean_field import FLOOR, MeanField, PairwiseTerm, check_probabilities
from atrous.crf.lattice.permutohedral import FeatureSource, Lattice, filter_batch
from atrous.crf.lattice.torch_lattice import TorchLattice

__all__ = [
    "FLOOR",
    "FeatureSource",
    "Lattice",
    "MeanField",
    "PairwiseTerm",
    "TorchLattice",
    "check_probabilities",
    "filter_batch",
]
