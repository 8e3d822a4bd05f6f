"""Post-processing: what may be done to scores before they are decided, to classes afterwards, and by which settings."""

from atrous.postprocess.clean import Cleaning, read_clean, remove_small
from atrous.postprocess.methods import CrfGrid, CrfMethod, MinSizeMethod
from atrous.postprocess.refine import REFINERS, Refiner, read_refine
from atrous.postprocess.search import LabelledScores, SearchResult, count_pixels, search

__all__ = [
    "REFINERS",
    "Cleaning",
    "CrfGrid",
    "CrfMethod",
    "LabelledScores",
    "MinSizeMethod",
    "Refiner",
    "SearchResult",
    "count_pixels",
    "read_clean",
    "read_refine",
    "remove_small",
    "search",
]
