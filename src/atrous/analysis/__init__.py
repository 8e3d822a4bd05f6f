"""What can be said of a network before it has seen a number: how far it sees, how large it is, what it costs."""

from atrous.analysis.counts import activation_memory, inference_memory, multiply_adds, parameters
from atrous.analysis.receptive_field import Reach, ReceptiveField, alignment, receptive_field, receptive_fields
from atrous.analysis.stages import Stage, stages

__all__ = [
    "Reach",
    "ReceptiveField",
    "Stage",
    "activation_memory",
    "alignment",
    "inference_memory",
    "multiply_adds",
    "parameters",
    "receptive_field",
    "receptive_fields",
    "stages",
]
