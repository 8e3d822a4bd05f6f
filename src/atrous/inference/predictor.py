"""A network and an image of any size become a prediction."""

import threading
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import nn

from atrous.bundle import Bundle, load_bundle
from atrous.data.classes import Classes
from atrous.errors import BundleError, ModelError, UsageError, did_you_mean
from atrous.images.colors import default_colors
from atrous.images.source import Source, open_source
from atrous.inference.agreement import must_be_numbers, must_fit, say_how_brought
from atrous.inference.canvas import Canvas
from atrous.inference.engines.base import read_engine
from atrous.inference.engines.store import NetworkOrigin
from atrous.inference.reach import Margin, context, reach_of
from atrous.inference.refining import Refining, ScoredTile
from atrous.inference.scorer import ModelScorer, PixelScorer
from atrous.inference.seams import Seams
from atrous.inference.tiles import Span, spans
from atrous.inference.views import Passes, looking, read_views
from atrous.postprocess.clean import Cleaning, read_clean
from atrous.postprocess.refine import Refiner, read_refine
from atrous.tables import Place
from atrous.tasks import TASKS, Task
from atrous.types import DTYPES, Prediction, Progress

__all__ = ["Predictor", "SeamWarning"]

ONE_PASS = 4 * 1024 * 1024
"""Pixels up to which an image is predicted in one pass unless a tile is asked for."""

TILE = 1024
"""Side of the tiles of larger images."""


class SeamWarning(UserWarning):
    """Tiles cannot give the answer of one pass, because the network sees the whole image; says how far they are off."""


@dataclass(frozen=True)
class _Tiling:
    """How an image is cut, whether that gives the answer of one pass, the same in words, and what would mend it."""

    rows: list[Span]
    columns: list[Span]
    exact: bool
    text: str
    cure: str = ""


class Predictor:
    """Predicts images of any size. Holds no state between calls, and threads may share it.

    Args:
        model: a `DenseModel`, of which a private copy is made, or any `PixelScorer`.
        task: a name in `TASKS`, or a task.
        class_names: one per class.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        precision: "auto" takes the fastest that the device has in hardware (bfloat16 on most); "float32" is exact.
        colors: one per class, 0..255; a palette where none are given.
        dtype: what the numbers of the images are: "uint8", "uint16" or "float32".
        refine: what scores are refined by where a call says nothing else: see `__call__`.
        engine: what computes the network on a CPU: "torch", "openvino" or "onnxruntime"; "auto" is torch for a model
            that comes from no bundle.

    Raises:
        UsageError: if the arguments do not go together, or the machine has no such device or engine.

    Attributes:
        class_names: one per class.
        colors: one per class, 0..255.
        dtype: what the numbers of the images are.
        refiner: what scores are refined by where a call says nothing else, or None.
        cleaning: what is cleaned away from decided classes, or None; a bundle says it.
        exif: whether images are turned as the camera's orientation says: see `open_source`; a bundle says it.
        classes: what the masks of the training held for each class, or None; a bundle says it.
        flip_pairs: classes that are each other's mirror image, such as left and right hand: views that mirror exchange
            their scores; a bundle says it.
    """

    def __init__(
        self,
        model: nn.Module | PixelScorer,
        *,
        task: str | Task = "segmentation",
        class_names: Sequence[str],
        device: str = "auto",
        precision: str = "auto",
        colors: Sequence[tuple[int, int, int]] | None = None,
        dtype: str = "uint8",
        refine: Any = None,
        engine: str = "auto",
    ) -> None:
        count = getattr(model, "num_classes", None)
        if not isinstance(count, int):
            raise ModelError(f"{type(model).__name__} has no num_classes: give a DenseModel, see atrous.create_model")
        if isinstance(task, str):
            if task not in TASKS:
                raise UsageError(f"unknown task {task!r}. {did_you_mean(task, TASKS)}")
            task = TASKS[task](count)  # type: ignore[call-arg]
        count -= task.extra_maps
        if len(class_names) != count or (colors is not None and len(colors) != count):
            given = f"{len(class_names)} class names" + (f" and {len(colors)} colors" if colors is not None else "")
            raise UsageError(f"the model decides between {count} classes, but {given} came: give one per class")
        if dtype not in DTYPES:
            raise UsageError(f"unknown kind of image {dtype!r}. {did_you_mean(dtype, DTYPES)}")
        task.check_names(class_names)
        self.task = task
        self.class_names = tuple(class_names)
        self.colors = tuple(colors) if colors is not None else tuple(default_colors(class_names))
        self.dtype = dtype
        self.refiner = read_refine(refine)
        self.cleaning: Cleaning | None = None
        self.classes: Classes | None = None
        self.exif = "oriented"
        self.flip_pairs: tuple[tuple[int, int], ...] = ()
        self.scorer: PixelScorer = (
            ModelScorer(model, task, device=device, precision=precision, engine=engine)
            if isinstance(model, nn.Module)
            else model
        )
        self._notes = threading.local()
        self._warned = False
        self._told: set[str] = set()

    @classmethod
    def load(
        cls,
        bundle: str | Path,
        device: str = "auto",
        precision: str = "auto",
        refine: Any = None,
        engine: str | None = None,
    ) -> Self:
        """A predictor from a bundle: its folder, the folder of a run, or "owner/name" on the Hugging Face Hub.

        It refines and cleans as the bundle says, unless `refine` says otherwise (see `__call__`). What computes the
        network on a CPU is `engine`: "torch", "openvino" or "onnxruntime", or "auto", which is torch at first, and
        OpenVINO once enough has been predicted to be worth a conversion, or where the bundle was converted before;
        None does what the bundle says, "auto" unless it says something.

        Raises:
            BundleError: if there is no bundle, or it is damaged.
            UsageError: if the machine does not have the device, the precision or the engine, or an engine that was
                asked for by name cannot compute the network.
        """
        return cls.from_bundle(load_bundle(bundle), device, precision, refine, engine)

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        device: str = "auto",
        precision: str = "auto",
        refine: Any = None,
        engine: str | None = None,
    ) -> Self:
        """A predictor from a bundle that has been loaded; see `load`. The bundle's own model stays as it is."""
        place = Place(str(bundle.path / "recipe.yaml"))
        if refine is None:
            refine = read_refine(bundle.recipe.get("refine"), place=place / "refine", error=BundleError)
        if engine is None:
            engine = read_engine(bundle.recipe.get("engine"), place=place / "engine", error=BundleError)
        arguments = {key: value for key, value in bundle.task.items() if key not in ("name", "loss", "aux_weight")}
        task = TASKS[bundle.task["name"]](bundle.model.num_classes, **arguments)  # type: ignore[call-arg]
        origin = NetworkOrigin.of(bundle.path, bundle.model)
        predictor = cls(
            ModelScorer(bundle.model, task, device=device, precision=precision, engine=engine, origin=origin),
            task=task,
            class_names=bundle.class_names,
            colors=bundle.colors or None,
            dtype=bundle.dtype,
            refine=refine,
        )
        predictor.classes = bundle.classes
        predictor.exif = (bundle.recipe.get("data") or {}).get("exif", "oriented")
        predictor.flip_pairs = bundle.flip_pairs
        predictor.cleaning = read_clean(
            bundle.recipe.get("clean"), classes=len(bundle.class_names), place=place / "clean", error=BundleError
        )
        return predictor

    @property
    def device(self) -> str:
        """Where the network runs."""
        return str(getattr(self.scorer, "device", "cpu"))

    @property
    def precision(self) -> str:
        """What the next image is computed in."""
        return str(getattr(self.scorer, "precision", "float32"))

    @property
    def engine(self) -> str:
        """What computes the next image: "torch", "openvino" or "onnxruntime"."""
        return str(getattr(self.scorer, "engine", "torch"))

    def settle(self) -> None:
        """Let one engine compute all images from now on, so that figures can be compared with each other.

        "auto" then takes what an earlier call has converted, and else stays with torch.
        """
        settle = getattr(self.scorer, "settle", None)
        if settle is not None:
            settle()

    @property
    def fill(self) -> np.ndarray | None:
        """(C,) what the network is shown where an image has no data: the mean of its training images."""
        return getattr(self.scorer, "fill", None)

    @property
    def last_note(self) -> str:
        """What there is to say about the last image that this thread predicted: how it was cut, and what that cost."""
        return getattr(self._notes, "text", "")

    def __call__(
        self,
        image: Any,
        *,
        tile: int | None = None,
        margin: Margin = "exact",
        views: Iterable[str] = (),
        refine: Any = None,
        scores: bool | Literal["auto"] = "auto",
        progress: Progress | None = None,
    ) -> Prediction:
        """Predict an image.

        Tiles with the exact margin give the answer of one pass, to rounding. Where the network sees the whole image,
        that cannot be: then 128 pixels of context are used, and a `SeamWarning` says once by how much the scores of
        neighbouring tiles differ at their seams; `last_note` says it for every image. With views, the promise holds
        for images whose sides are multiples of the model's alignment. Tiles are refined with context of their own
        beyond the margin; a dense CRF is connected over the whole image, and tiles cut it there: note and warning say
        how many pixels at the seams the tiles decide differently.

        Args:
            image: a path, the bytes of a file, an array of (H, W) or (H, W, C), or whatever else `images.open_source`
                takes.
            tile: side of the tiles; None takes one pass up to 4 megapixels, and tiles of 1024 above.
            margin: context around a tile (halo): "exact" as far as the network sees, "auto" half of it and at most 256
                pixels, with the error at the seams measured, or a number of pixels.
            views: test-time augmentation: names in `VIEWS`; scores are averaged over the image and these. "mc:N"
                averages over N passes with dropout active, and fills `uncertainty`; "mc:N:SEED" draws others. What a
                pass draws is a function of the seed and the place in the image: the same again, and in tiles.
            refine: a name in `REFINERS`, {"name": ..., its arguments} or text such as "crf:bilateral_xy=60"; scores are
                refined once, after the views. None does what the predictor was made with, "none" nothing.
            scores: keep them in the prediction; "auto" keeps up to 1 GB.
            progress: called with the number of tiles done and of all.

        Returns:
            The prediction. Pixels without data (nodata, NaN) get a class like all others, and confidence 0.

        Raises:
            DataError: if the image cannot be read.
            BundleError: if it is not of the kind and channels that the model was trained on.
            UsageError: if an argument is none of the above, or the memory does not hold a tile.
        """
        names, passes = self.check_views(views)
        refiner = self.refiner if refine is None else read_refine(refine)
        if scores not in (True, False, "auto"):
            raise UsageError(f"scores is {scores!r}: say True, False or 'auto'")
        with open_source(image, channels=self.scorer.in_channels, exif=self.exif) as source:
            self.check_source(source)
            plan = self._plan(source.shape[:2], tile, margin, bool(names), refiner)
            prediction, seams = self._run(source, plan, (names, passes), refiner, scores, progress)
        if self.cleaning is not None:
            prediction = self.cleaning(prediction)
        self._report(plan, seams, warn=margin == "exact")
        return replace(prediction, class_names=self.class_names, colors=self.colors)

    def explain(
        self, image_shape: Sequence[int], tile: int | None = None, margin: Margin = "exact", refine: Any = None
    ) -> str:
        """How an image of some shape (H, W, ...) would be cut, and whether the answer is that of one pass."""
        refiner = self.refiner if refine is None else read_refine(refine)
        return self._plan((int(image_shape[0]), int(image_shape[1])), tile, margin, False, refiner).text

    def check_views(self, views: Iterable[str]) -> tuple[tuple[str, ...], Passes]:
        """The flips and turns among the views, and the passes.

        Raises:
            UsageError: if a name is unknown, or passes are asked of a network without dropout.
        """
        names, passes = read_views(views)
        if passes.number and not getattr(self.scorer, "dropouts", None):
            raise UsageError(
                f"view {passes} draws the dropouts of a network again and again, but this one has none that its "
                f"predictions pass: use a model trained with dropout, for example segnet_bayesian"
            )
        return names, passes

    def check_source(self, source: Source) -> None:
        """Refuse an image of another kind or number of channels than the model was made for.

        Raises:
            BundleError: naming both.
        """
        must_fit(source, self.dtype, self.scorer.in_channels)
        say_how_brought(source, self._told)

    def _plan(
        self, size: tuple[int, int], tile: int | None, margin: Margin, views: bool, refiner: Refiner | None
    ) -> _Tiling:
        if tile is not None and (not isinstance(tile, int) or tile < 1):
            raise UsageError(f"tile is {tile!r}: give a number of pixels, or None for whole images")
        if margin not in ("exact", "auto") and (not isinstance(margin, int) or margin < 0):
            raise UsageError(f"margin is {margin!r}: say 'exact', 'auto' or a number of pixels")
        height, width = size
        if tile is None and height * width > ONE_PASS:
            tile = TILE
        if tile is None or tile >= max(size):
            rows, columns = ([Span(slice(0, length), slice(0, length))] for length in size)
            return _Tiling(rows, columns, True, f"{height} x {width} pixels in one pass")
        reach, sight = reach_of(self.scorer, margin, views=views)
        before, after = context(reach, margin)
        exact, cure = reach is not None and before >= reach[0] and after >= reach[1], "A larger margin="
        if refiner is not None:
            before, after = before + refiner.reach, after + refiner.reach
            if exact and not refiner.exact:
                exact, cure = False, f"A larger context, as crf:margin={2 * refiner.reach or TILE},"
                sight = f"{refiner.name} joins all pixels of an image, and here those within {refiner.reach} of a tile"
        rows, columns = (spans(length, tile, (before, after), self.scorer.alignment) for length in size)
        high, wide = (max(span.read.stop - span.read.start for span in axis) for axis in (rows, columns))
        text = (
            f"{height} x {width} pixels in {len(rows) * len(columns)} tiles of {tile}, read with {before} pixels "
            f"before and {after} after (up to {high} x {wide}): "
            + ("the answer of one pass" if exact else f"not the answer of one pass, as {sight}")
        )
        return _Tiling(rows, columns, exact, text, cure)

    def _run(
        self,
        source: Source,
        plan: _Tiling,
        views: tuple[tuple[str, ...], Passes],
        refiner: Refiner | None,
        keep_scores: bool | str,
        progress: Progress | None,
    ) -> tuple[Prediction, Seams | None]:
        size = source.shape[:2]
        canvas = Canvas(self.task, self.scorer.num_classes, size, keep_scores)
        seams = None if plan.exact else Seams()
        fill, look = self.fill, looking(self.scorer, *views, self.flip_pairs, size)
        refining = None if refiner is None else Refining(refiner, source, (plan.rows, plan.columns))
        tiles = [(rows, columns) for rows in plan.rows for columns in plan.columns]
        for done, (rows, columns) in enumerate(tiles):
            if progress is not None:
                progress(done, len(tiles))
            window = source.read(rows.read, columns.read)
            numbers = window.as_floats(fill)
            # (h, w, C) -> (1, C, h, w), which is channels_last in memory without a copy
            image = torch.from_numpy(numbers).permute(2, 0, 1)[None]
            scores, uncertainty = look(image, rows.read, columns.read)
            must_be_numbers(scores, source.name, self.precision)
            if uncertainty is not None:
                canvas.put_uncertainty(rows, columns, uncertainty)
            part = ScoredTile(rows, columns, scores, window.valid)
            if refining is not None:
                part = refining(part, numbers)
            if seams is not None:
                seams.see(part.rows, part.columns, part.scores)
            canvas.put(*part)
        return canvas.prediction(), seams

    def _report(self, plan: _Tiling, seams: Seams | None, *, warn: bool) -> None:
        text = plan.text
        if seams is not None:
            measured = (
                f"at {seams.count} seams the scores of neighbouring tiles differ by at most {seams.largest:.2g}, and "
                f"{100 * seams.changed:.2g} % of the pixels are decided differently"
                if seams.count
                else "no two tiles read the same pixel, so the error at the seams could not be measured"
            )
            text = f"{text}; {measured}"
        self._notes.text = text
        if seams is not None and warn and not self._warned:
            self._warned = True
            warnings.warn(f"{text}. {plan.cure} makes it smaller.", SeamWarning, stacklevel=3)
