"""From a trained network to masks: tiles, views, sources larger than memory, and the predictor that drives them."""

from atrous.inference.clean import Cleaning, read_clean, remove_small
from atrous.inference.predictor import Predictor, SeamWarning
from atrous.inference.refine import REFINERS, Refiner, read_refine
from atrous.inference.scorer import ModelScorer, PixelScorer
from atrous.inference.sources import ImageSource, open_source
from atrous.inference.tiles import Span, spans
from atrous.inference.views import VIEWS

__all__ = [
    "REFINERS",
    "VIEWS",
    "Cleaning",
    "ImageSource",
    "ModelScorer",
    "PixelScorer",
    "Predictor",
    "Refiner",
    "SeamWarning",
    "Span",
    "open_source",
    "read_clean",
    "read_refine",
    "remove_small",
    "spans",
]
