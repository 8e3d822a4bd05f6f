"""Named points: a belief map for each landmark, and perhaps one for the background.

A network learns to draw, for every landmark, a Gaussian around its place; where a map is highest, the landmark is.
Every output of the network is a stage that is trained against the same maps on its own grid, so that a stacked
hourglass or a pose machine is supervised in between, and any other network by its `out`.

References:
    Wei, Ramakrishna, Kanade and Sheikh, Convolutional Pose Machines, CVPR 2016, https://arxiv.org/abs/1602.00134
    Newell, Yang and Deng, Stacked Hourglass Networks, ECCV 2016, https://arxiv.org/abs/1603.06937
    Tompson, Jain, LeCun and Bregler, Joint Training of a CNN and a Graphical Model, NeurIPS 2014 (the squared error)
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from fractions import Fraction
from pathlib import PurePath
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from jaxtyping import Float
from torch import Tensor

from atrous import drawing
from atrous.class_names import folder_names
from atrous.drawing import Color
from atrous.errors import DataError, RecipeError, UsageError, did_you_mean
from atrous.layers import shrink
from atrous.layers.belief import PIXELS, background_of, draw_beliefs, read_beliefs
from atrous.metrics.landmarks import REFERENCES
from atrous.tables import Place
from atrous.tasks.base import (
    MEAN_ERROR,
    PCK,
    Evaluator,
    LabelledFolder,
    Output,
    Proposal,
    ProposalFacts,
    ResultTable,
    Task,
    Validator,
)
from atrous.tasks.outputs import belief
from atrous.tasks.terms import aux_factor
from atrous.types import IGNORE_INDEX, CellGrid, Outputs, Prediction, Sample

__all__ = ["Landmarks"]


@dataclass(eq=False)
class Landmarks(Task):
    """Named points, found by belief maps.

    Args:
        num_classes: maps of the network: one for each landmark, and the background's.
        sigma: of the Gaussians, in pixels: about as exact as landmarks can be set, and no less than the stride of the
            network's maps. The pose machine has 7 at 368 pixels, the hourglass 4 at 256.
        loss: "mean" of the squared errors over all cells, or "sum": half of their sum by the images, as published for
            the pose machine. A cell of a stage counts as the pixels that it stands for, so that all stages weigh alike:
            at stride 8 the sum is 64 times the published one, and asks for rates as much smaller.
        aux_weight: factor of the losses of all stages before the last, or output name to factor.
        background: whether the last map is that of the background: 1 less the highest belief.
        absent: what a landmark teaches that nobody has set: "unknown" nothing, "nowhere" that it cannot be seen.
        hidden: whether landmarks are learnt that were set where something covers them.
        decoder: how maps are read: "maximum", "quarter", "parabola" or "soft_argmax", see `atrous.layers.belief`.
        threshold: from this belief on a landmark counts as found, 0 to 1.
        reference: the length of `pck` and `nme`: "image" or "box" for the diagonal of the image or the geometric mean
            of the box's sides, "diagonal" for that of the box, "pixel", or two landmarks, by name.
        pck: the share of the reference that a landmark may be off, in pixels for the reference "pixel".
        pixel_size: millimetres of a pixel, for errors in millimetres; None measures none.
        place: where the section stands, for messages.

    Raises:
        RecipeError: if an argument does not fit.

    Example:
        >>> task = Landmarks(2, sigma=1.0)
        >>> batch = {"keypoints": torch.tensor([[[3.0, 2.0], [5.25, 4.0]]]), "visible": torch.tensor([[2, 2]]).byte()}
        >>> maps = draw_beliefs(batch["keypoints"], (8, 8), 1.0)
        >>> {name: loss.item() for name, loss in task.losses({"out": maps}, batch).items()}
        {'squared_error': 0.0}
        >>> task.decode(maps[0]).keypoints.astype(float).round(2).tolist()
        [[3.0, 2.0, 1.0], [5.25, 4.0, 0.97]]
    """

    shows_classes = False
    measures = (MEAN_ERROR, PCK)
    monitor = MEAN_ERROR

    num_classes: int
    _: KW_ONLY
    sigma: Annotated[float, Gt(0)] = 7.0
    loss: Literal["mean", "sum"] = "mean"
    aux_weight: Annotated[float, Ge(0)] | Mapping[str, Annotated[float, Ge(0)]] = 1.0
    background: bool = False
    absent: Literal["unknown", "nowhere"] = "unknown"
    hidden: bool = True
    decoder: Literal["maximum", "quarter", "parabola", "soft_argmax"] = "parabola"
    threshold: Annotated[float, Ge(0), Le(1)] = 0.2
    reference: str | tuple[str, str] = "image"
    pck: Annotated[float, Gt(0)] = 0.02
    pixel_size: Annotated[float, Gt(0)] | None = None
    place: Place = field(default_factory=lambda: Place("task"))

    def __post_init__(self) -> None:
        self.extra_maps = int(self.background)
        if self.num_classes <= self.extra_maps:
            raise RecipeError(f"{self.place}: there is no landmark. Give data that names one or more.")
        if isinstance(self.reference, str) and self.reference not in REFERENCES:
            near = did_you_mean(self.reference, REFERENCES)
            raise RecipeError(
                f"{self.place / 'reference'}: {self.reference!r} is no length. {near} Or give two landmarks."
            )
        self._pair: tuple[int, int] | None = None

    @classmethod
    def maps_beside(cls, arguments: Mapping[str, Any]) -> int:
        """One for the background, where it is asked for."""
        return int(bool(arguments.get("background", False)))

    def check_names(self, class_names: Sequence[str]) -> None:
        """Find the two landmarks of the reference."""
        if isinstance(self.reference, str):
            return
        for position, name in enumerate(self.reference):
            if name not in class_names:
                raise RecipeError(
                    f"{self.place / 'reference' / position}: there is no landmark {name!r}. "
                    f"{did_you_mean(name, class_names)}"
                )
        one, other = (list(class_names).index(name) for name in self.reference)
        if one == other:
            raise RecipeError(
                f"{self.place / 'reference'}: {self.reference[0]!r} has no distance from itself. Name two."
            )
        self._pair = one, other

    @property
    def length(self) -> str | tuple[int, int]:
        """The reference as the measures take it."""
        if isinstance(self.reference, str):
            return self.reference
        if self._pair is None:
            raise UsageError("the reference names landmarks: say how they are called by `check_names` first.")
        return self._pair

    @property
    def landmarks(self) -> int:
        """How many there are."""
        return self.num_classes - self.extra_maps

    def losses(self, outputs: Outputs, batch: Sample) -> dict[str, Tensor]:
        """Squared errors of every output, as "squared_error" and "stage1.squared_error".

        Cells whose `weight` is 0 count for nothing, and others by it.

        Raises:
            DataError: if the batch has no landmarks, or not as many as there are maps.
        """
        points, taught = self._taught(batch)
        result: dict[str, Tensor] = {}
        for output, maps in outputs.items():
            factor = 1.0 if output == "out" else aux_factor(self.aux_weight, output, self.place / "aux_weight")
            if factor == 0:
                continue
            value = self._squared_error(maps, points, taught, batch, None if output == "out" else output)
            name = "squared_error" if output == "out" else f"{output}.squared_error"
            result[name] = value if factor == 1 else factor * value
        return result

    def _squared_error(
        self, maps: Tensor, points: Tensor, taught: Tensor, batch: Sample, output: str | None
    ) -> Float[Tensor, ""]:
        size, image = (
            (maps.shape[-2], maps.shape[-1]),
            (batch["image"].shape[-2:] if "image" in batch else maps.shape[-2:]),
        )
        grids = (PIXELS, PIXELS) if output is None else _grids(output, size, image, batch)
        target = draw_beliefs(points, size, self.sigma, grids)
        if self.background:
            target = torch.cat([target, background_of(target)], dim=1)
        weight = taught[:, :, None, None]
        if "weight" in batch:
            cells = shrink(batch["weight"], size, None if output is None else batch.get("grids", {}).get(output))
            weight = weight * cells[:, None]
        errors = weight * (maps.float() - target) ** 2
        if self.loss == "sum":
            pixels = float(grids[0].stride * grids[1].stride)
            return errors.sum() * pixels / (2 * len(maps))
        total = weight.sum() * (1 if "weight" in batch else size[0] * size[1])
        return errors.sum() / total.clamp(min=1)

    def _taught(self, batch: Sample) -> tuple[Float[Tensor, "B P 2"], Float[Tensor, "B K"]]:
        """The points, and which maps they teach."""
        if "keypoints" not in batch:
            raise DataError("the data has no landmarks, which task 'landmarks' learns from; train with another task.")
        points, visible = batch["keypoints"], batch["visible"]
        if points.shape[1] != self.landmarks:
            raise DataError(
                f"the data has {points.shape[1]} landmarks, and the network {self.landmarks} maps for them."
            )
        known = torch.isfinite(points).all(-1)
        taught = torch.ones_like(known) if self.absent == "nowhere" else known
        if not self.hidden:
            taught = taught & (visible != 1)
        if self.background:  # of an image with an unknown landmark, nobody knows all of the background
            taught = torch.cat([taught, taught.all(1, keepdim=True)], 1)
        return points, taught.float()

    def divisors(self, batch: Sample) -> dict[str, Float[Tensor, ""]]:
        """The maps that are taught, of a mean; a sum weighs all images alike."""
        if self.loss == "sum":
            return {}
        taught = self._taught(batch)[1].sum().double()
        return {"squared_error": taught, "aux.squared_error": taught}

    def scores(self, outputs: Outputs) -> Float[Tensor, "B K H W"]:
        """The belief maps: `out` in float32."""
        return outputs["out"].float()

    def decode(self, scores: Float[Tensor, "K H W"]) -> Prediction:
        """Where each landmark is and how sure that is, found or not; at each pixel the landmark that is believed there.

        `classes` holds the likeliest landmark where its belief reaches the threshold, 255 elsewhere, and `confidence`
        the highest belief of every pixel.
        """
        maps = scores[: self.landmarks]
        best, index = maps.max(0)
        none = IGNORE_INDEX if self.landmarks <= IGNORE_INDEX else self.landmarks
        classes = torch.where(best >= self.threshold, index, none)
        kind = np.uint8 if none <= IGNORE_INDEX else np.uint16
        return Prediction(
            classes=classes.cpu().numpy().astype(kind),
            confidence=best.clamp(0, 1).half().cpu().numpy(),
            keypoints=self.read(scores).numpy().astype(np.float32),
        )

    def read(self, scores: Float[Tensor, "K H W"]) -> Float[Tensor, "P 3"]:
        """X, y and belief of each landmark of an image."""
        return read_beliefs(scores[: self.landmarks], self.sigma, PIXELS, self.decoder)

    def validator(self) -> Validator:
        """Mean error and PCK over the labelled landmarks that lie in their image."""
        from atrous.tasks.validators import LandmarkValidator  # torchmetrics is slow to import

        return LandmarkValidator(self)

    def evaluator(self, class_names: Sequence[str], *, boundary: bool = True) -> Evaluator:
        """Every measure of `atrous.metrics.landmarks`, with intervals."""
        from atrous.tasks.landmark_evaluator import LandmarkEvaluator

        self.check_names(class_names)
        return LandmarkEvaluator(
            class_names,
            threshold=self.threshold,
            reference=self.length,
            share=self.pck,
            pixel_size=self.pixel_size,
        )

    def files(self, class_names: Sequence[str], colors: Sequence[Color]) -> list[Output]:
        """No mask: landmarks stand in tables; the belief map of each where it is asked for."""
        return [belief(number, folder) for number, folder in enumerate(folder_names(class_names))]

    def tables(self, class_names: Sequence[str]) -> list[ResultTable]:
        """`landmarks.csv`, a line for each landmark, and `landmarks.json`, key points in COCO's form of results."""

        def rows(prediction: Prediction) -> list[tuple[object, ...]]:
            assert prediction.keypoints is not None
            points = zip(class_names, prediction.keypoints.tolist(), strict=True)
            return [
                (name, f"{x:.3f}", f"{y:.3f}", f"{score:.4f}", int(score >= self.threshold))
                for name, (x, y, score) in points
            ]

        columns = ("name", "x", "y", "belief", "found")
        return [ResultTable("landmarks.csv", "landmarks", columns, rows, {"landmarks.json": coco_results})]

    def draw(self, prediction: Prediction, image: np.ndarray, colors: Sequence[Color]) -> np.ndarray:
        """The found landmarks over the image, with their names where the prediction knows them."""
        assert prediction.keypoints is not None
        found = prediction.keypoints[:, 2] >= self.threshold
        points = np.where(found[:, None], prediction.keypoints[:, :2], np.nan)
        return drawing.mark(drawing.to_display(image), points, colors, prediction.class_names)

    @classmethod
    def accepts(cls, data: LabelledFolder) -> None:
        """Folders of landmarks that show one person or animal in each image."""
        if not data.landmarks:
            raise DataError(
                f"{data.root}: its images have no landmarks, which task 'landmarks' learns from; add a landmarks.csv, "
                "or train with task.name=segmentation."
            )
        for split in ("train", "val"):
            images = Counter(pair.image for pair in data.splits.get(split, ()))
            if crowded := [image for image, count in images.items() if count > 1]:
                raise DataError(
                    f"{crowded[0]}: shows {images[crowded[0]]} persons or animals, as {len(crowded)} of {len(images)} "
                    f"images of the split {split!r} show several, and one map for each landmark tells no two apart. "
                    "Cut out each one into an image of its own, or keep those images that show one."
                )

    @classmethod
    def propose(cls, facts: ProposalFacts) -> Proposal | None:
        """Where images have landmarks and no masks."""
        if not facts.landmarks:
            return None
        return Proposal({"name": "landmarks"}, "the images have landmarks, each of which gets a belief map")


def coco_results(rows: Sequence[Sequence[str]]) -> str:
    """Lines of the table in COCO's form of results: x, y and belief of every landmark, one after the other.

    An image has the number that its file's name is, as in COCO, and else the name; a page is added to it.
    """
    images: dict[tuple[str, str], list[Sequence[str]]] = {}
    for row in rows:
        images.setdefault((row[0], row[1]), []).append(row)
    results = []
    for (file, page), lines in images.items():
        stem = PurePath(file).stem
        name: int | str = (
            int(stem) if stem.isascii() and stem.isdigit() and not page else file + (f"#{page}" * bool(page))
        )
        beliefs = [float(line[5]) for line in lines]
        points = [float(value) for line in lines for value in line[3:6]]
        score = round(sum(beliefs) / len(beliefs), 4)
        results.append({"image_id": name, "category_id": 1, "keypoints": points, "score": score})
    return json.dumps(results, indent=1) + "\n"


def _grids(output: str, size: tuple[int, int], image: Sequence[int], batch: Sample) -> tuple[CellGrid, CellGrid]:
    """Where the rows and the columns of a stage's cells stand; evenly over the image where its grid is None.

    Raises:
        UsageError: if that is not said, and the cells do not divide the image.
    """
    grids = batch.get("grids", {})
    given = grids.get(output)
    if given is not None:
        return given, given
    if output not in grids and (image[0] % size[0] or image[1] % size[1]):
        raise UsageError(
            f"the output {output!r} has {size[0]} x {size[1]} cells for {image[0]} x {image[1]} pixels, and nobody "
            "says where they stand: a model says it in `grids`, which the batch hands on; task.losses(outputs, batch | "
            '{"grids": model.grids}).'
        )
    rows, columns = (CellGrid.centred(Fraction(length, count)) for length, count in zip(image, size, strict=True))
    return rows, columns
