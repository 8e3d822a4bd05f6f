"""One image with what is known of it, and the pictures of it that stand side by side on the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from atrous.reports import pictures
from atrous.reports.errors import class_errors

__all__ = ["CHANGE_KEY", "Panel", "PanelViews", "error_key"]

CHANGE_KEY = (
    ("right only now", pictures.MENDED),
    ("wrong only now", pictures.SPOILT),
    ("changed, and neither", pictures.IGNORED),
)
"""Words and colours of what a refinement changed."""


@dataclass(frozen=True)
class Panel:
    """One image with what is known of it.

    Attributes:
        name: what the image is called in its folder.
        image: (H, W, 3) uint8, see `to_display`.
        truth: (H, W) true classes with 255 = ignored, or None.
        predicted: (H, W) decided classes, or None.
        score: the figure of this image alone by which images are ranked, or None.
        unrefined: (H, W) classes decided without the refinement, or None where there is none.
        weight: (H, W) how much each pixel counts in training, or None where all count alike.
        drawn: (H, W, 3) uint8, the prediction as its task draws it, where classes do not show all; or None.
        truth_objects: (H, W) numbers of the true objects, 0 where there is none; or None where nobody tells them apart.
        predicted_objects: the same of the predicted ones.
        errors: (H, W) numbers of `atrous.reports.errors`, where truth and prediction do not tell them; or None.
        overlapping: whether classes may overlap; 255 is then a pixel without any.
    """

    name: str
    image: np.ndarray
    truth: np.ndarray | None = None
    predicted: np.ndarray | None = None
    score: float | None = None
    unrefined: np.ndarray | None = None
    weight: np.ndarray | None = None
    drawn: np.ndarray | None = None
    truth_objects: np.ndarray | None = None
    predicted_objects: np.ndarray | None = None
    errors: np.ndarray | None = None
    overlapping: bool = False


def error_key(
    panels: Sequence[Panel], bare: int | None, count: int, *, ranked: bool = False
) -> list[tuple[str, pictures.Color]]:
    """Words and colours of the errors that pictures can show.

    Args:
        panels: that are shown.
        bare: the class that objects stand before, or None.
        count: of the classes.
        ranked: whether it is known which class is the rarer one.
    """
    objects = any(panel.predicted_objects is not None for panel in panels)
    several = objects or any(panel.overlapping for panel in panels)
    what = " object" if objects else ""
    key = [(f"missed{what}", pictures.MISSED), (f"false alarm: no such{what or ' thing there'}", pictures.FALSE_ALARM)]
    if several:
        joined = "both at once: objects joined, split or badly drawn" if objects else "both at once"
        key.append((joined, pictures.CONFUSED))
    elif bare is None and ranked:
        key = [
            ("missed: given to a commoner class", pictures.MISSED),
            ("false alarm: given to a rarer class", pictures.FALSE_ALARM),
        ]
    elif bare is None:
        key = [("wrong class", pictures.CONFUSED)]
    elif count > 2:
        key.append(("taken for another class", pictures.CONFUSED))
    return [*key, ("ignored", pictures.IGNORED)]


class PanelViews:
    """Makes the pictures of panels.

    Args:
        colors: of the classes.
        bare: the class that is not painted, or None.
        side: longest side of a picture in pixels.
        shares: of the pixels, for every class; none where nobody knows.
    """

    def __init__(
        self, colors: Sequence[pictures.Color], bare: int | None, side: int, shares: Sequence[float] = ()
    ) -> None:
        self.colors, self.bare, self.side, self.shares = colors, bare, side, shares

    def show_example(self, panel: Panel) -> dict[str, Any]:
        """An image, and its mask over it."""
        small = self._fitted(panel)
        views = [("image", pictures.data_uri(small.image))]
        if small.truth is not None:
            objects, opacity = small.truth_objects, 0.45 if small.truth_objects is None else pictures.TINT
            mask = pictures.overlay(
                small.image, small.truth, self.colors, opacity=opacity, objects=objects, bare=self._bare(small)
            )
            views.append(("image with its mask", pictures.data_uri(mask)))
        if small.weight is not None:
            views.append(("weight", pictures.data_uri(pictures.to_display(small.weight[..., None]))))
        return {"name": panel.name, "views": views, "large": panel.truth_objects is not None}

    def compare(self, panel: Panel) -> dict[str, Any]:
        """Image, truth, prediction and errors."""
        small = self._fitted(panel)
        views = [("image", pictures.data_uri(small.image))]
        if small.drawn is not None:
            views.append(("prediction", pictures.data_uri(small.drawn)))
            small = replace(small, predicted=None, errors=None)
        if small.truth is not None:
            views.append(("truth", self._painted(small, small.truth, small.truth_objects)))
        if small.predicted is not None:
            views.append(("prediction", self._painted(small, small.predicted, small.predicted_objects)))
        errors = small.errors
        if errors is None and small.truth is not None and small.predicted is not None:
            errors = class_errors(small.truth, small.predicted, self.bare, self.shares)
        if errors is not None:
            views.append(("errors", pictures.data_uri(pictures.error_map(small.image, errors))))
        score = "" if panel.score is None or math.isnan(panel.score) else f"{panel.score:.3f}"
        return {"name": panel.name, "views": views, "score": score, "large": panel.predicted_objects is not None}

    def show_refined(self, panel: Panel) -> dict[str, Any]:
        """Image, prediction, refined prediction and where they differ."""
        assert panel.predicted is not None
        assert panel.unrefined is not None
        share = f"{100 * float((panel.predicted != panel.unrefined).mean()):.2f} %"
        small = self._fitted(panel)
        assert small.predicted is not None
        assert small.unrefined is not None
        changed = pictures.change_map(small.image, small.truth, small.unrefined, small.predicted)
        views = [
            ("image", pictures.data_uri(small.image)),
            ("prediction", self._painted(small, small.unrefined)),
            ("refined", self._painted(small, small.predicted)),
            ("changed", pictures.data_uri(changed)),
        ]
        return {"name": panel.name, "views": views, "share": share, "large": False}

    def _bare(self, panel: Panel) -> int | None:
        return None if panel.overlapping else self.bare

    def _painted(self, panel: Panel, classes: np.ndarray, objects: np.ndarray | None = None) -> str:
        bare = self._bare(panel)
        shown = pictures.painted(
            panel.image, classes, self.colors, bare=bare, objects=objects, overlapping=panel.overlapping
        )
        flat = bare is None and objects is None and not panel.overlapping
        return pictures.data_uri(shown, flat=flat)

    def _fitted(self, panel: Panel) -> Panel:
        """At most so large; small images enlarged, so that outlines and numbers of objects have room."""
        factor = self.side // max(panel.image.shape[:2])

        def fit(array: np.ndarray | None, *, labels: bool = True) -> Any:
            if array is None:
                return None
            return pictures.enlarge(array, factor) if factor > 1 else pictures.shrink(array, self.side, labels=labels)

        return replace(
            panel,
            image=fit(panel.image, labels=False),
            weight=fit(panel.weight, labels=False),
            drawn=fit(panel.drawn, labels=False),
            **{name: fit(getattr(panel, name)) for name in LABELS},
        )


LABELS = ("truth", "predicted", "unrefined", "truth_objects", "predicted_objects", "errors")
"""What of a panel holds numbers that must stay as they are."""
