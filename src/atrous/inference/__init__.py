"""From a trained network to masks: tiles, views, and the predictor that drives them."""

from atrous.inference.predictor import Predictor, SeamWarning
from atrous.inference.running import Running
from atrous.inference.scorer import ModelScorer, PixelScorer
from atrous.inference.tiles import Span, spans
from atrous.inference.views import VIEWS

__all__ = ["VIEWS", "ModelScorer", "PixelScorer", "Predictor", "Running", "SeamWarning", "Span", "spans"]
