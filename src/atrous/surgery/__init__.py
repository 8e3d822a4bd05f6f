"""Networks made into other networks, their weights kept."""

from atrous.surgery.convolutionalize import DenseClassifier, WindowDifference, convolutionalize, window_difference

__all__ = ["DenseClassifier", "WindowDifference", "convolutionalize", "window_difference"]
