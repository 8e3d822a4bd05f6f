"""What a search for the settings of a CRF found, as a person reads it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atrous.evaluation import Evaluation
from atrous.postprocess import read_refine

__all__ = ["Tuning"]


@dataclass(frozen=True)
class Tuning:
    """What was found.

    Attributes:
        bundle: the folder.
        refine: the section of the best settings, {"name": "crf", ...}.
        images: how many images the settings were chosen by.
        tried: how many settings.
        before: all images of the split without a CRF.
        after: and refined with the best settings.
        written: whether the bundle refines so from now on; it does not where it would score no higher, or a class would
            pay for it.
        score: what was compared.
        harmed: the classes that would pay for it.
    """

    bundle: Path
    refine: dict[str, Any]
    images: int
    tried: int
    before: Evaluation = field(repr=False)
    after: Evaluation = field(repr=False)
    written: bool
    score: str
    harmed: tuple[str, ...] = ()

    def __str__(self) -> str:
        names = ("mean_iou", "mean_boundary_f1", "pixel_accuracy")
        rows: list[tuple[str, ...]] = [("", "mean IoU", "boundary F1", "pixel accuracy")]
        for word, measured in (("without CRF", self.before), ("with CRF", self.after)):
            rows.append((word, *(f"{measured.summary[name]:.4f}" for name in names)))
        lines = [f"{self.before.split}: {self.tried} settings tried on {self.images} images", ""]
        lines += ["  ".join(f"{cell:>14}" if i else f"{cell:<11}" for i, cell in enumerate(row)) for row in rows]
        lines += ["", *self._classes()]
        what = f"{read_refine(self.refine)}"
        if self.harmed:
            lines += [
                "",
                f"The best, {what}, costs {', '.join(self.harmed)} too much: {self.bundle} is left as it was.",
            ]
            return "\n".join([*lines, "To have it all the same: largest_loss=1."])
        if not self.written:
            return "\n".join([*lines, "", f"The best, {what}, does no good: {self.bundle} is left as it was."])
        lines += ["", f"written into {self.bundle}: refine {what}"]
        return "\n".join([*lines, "Chosen by these images: others may gain less. --refine none predicts without."])

    def _classes(self) -> list[str]:
        """The IoU of each class without and with the CRF."""
        before, after = self.before.summary["iou"], self.after.summary["iou"]
        width = max(map(len, ["class", *before]))
        rows = [(name, f"{was:.4f}", f"{after[name]:.4f}") for name, was in before.items()]
        return [f"{a:<{width}}  {b:>11}  {c:>11}" for a, b, c in [("IoU", "without CRF", "with CRF"), *rows]]
