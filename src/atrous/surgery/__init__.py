"""Networks made into other networks, and the weights of other libraries in ours."""

from atrous.surgery.convolutionalize import DenseClassifier, WindowDifference, convolutionalize, window_difference
from atrous.surgery.loaded import Loaded
from atrous.surgery.weights import load_weights

__all__ = ["DenseClassifier", "Loaded", "WindowDifference", "convolutionalize", "load_weights", "window_difference"]
