"""What may be done to scores before they are decided, and to classes afterwards."""

from atrous.postprocess.clean import Cleaning, read_clean, remove_small
from atrous.postprocess.refine import REFINERS, Refiner, read_refine

__all__ = ["REFINERS", "Cleaning", "Refiner", "read_clean", "read_refine", "remove_small"]
