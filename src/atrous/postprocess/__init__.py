"""Post-processing: what may be done to scores before they are decided, to classes afterwards, and by which settings."""

from atrous.postprocess.clean import Cleaning, part_areas, read_clean, remove_small
from atrous.postprocess.harm import harmed_classes
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
    "harmed_classes",
    "part_areas",
    "read_clean",
    "read_refine",
    "remove_small",
    "search",
]
