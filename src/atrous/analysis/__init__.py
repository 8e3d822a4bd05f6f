"""What can be said of a network before it has seen a number: how far it sees, how large it is, what it costs."""

from atrous.analysis.counts import activation_memory, multiply_adds, parameters
from atrous.analysis.receptive_field import Reach, ReceptiveField, alignment, receptive_field

__all__ = [
    "Reach",
    "ReceptiveField",
    "activation_memory",
    "alignment",
    "multiply_adds",
    "parameters",
    "receptive_field",
]
