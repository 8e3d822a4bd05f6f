"""Files of predictions: where each goes, and how it is written."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from atrous.disk import write_errors, writing
from atrous.errors import DataError, UsageError
from atrous.findings import readable
from atrous.images import open_source
from atrous.images.georeference import georeference, nodata_tag
from atrous.images.writing import WRITTEN, Page, writing_pages
from atrous.inference.coding import MaskCoding, class_coding
from atrous.inference.counting import NAME, ClassCount, CountsFile, count_classes
from atrous.inference.inputs import ImageInput
from atrous.inference.row_files import TableFile
from atrous.tasks import Output, ResultTable

if TYPE_CHECKING:
    from atrous.images.files import ImageFile
    from atrous.inference.predictor import Predictor
    from atrous.types import Prediction

__all__ = ["FileWriter", "PredictionFiles", "PutPage", "counts_path", "file_of", "row_name", "suffix_of"]

INSTEAD = "choose another place with -o"
OVERLAY = Path("overlay")
_TIFF = (".tif", ".tiff")
Sink = Callable[[np.ndarray], None]


class PutPage(Protocol):
    """Takes the predictions of an image's pages, one after the other."""

    def __call__(self, prediction: "Prediction", page: "ImageFile") -> None:
        """The next one, and the page that it is of."""


@dataclass(frozen=True)
class PredictionFiles:
    """What is written for every image `NAME.suffix`, under the folder OUT.

    Beside the mask, or instead of one, the bundle's task may write more of its own accord: OUT/instances/NAME, the
    number of each pixel's object, as 16-bit PNG or int32 TIFF; OUT/labels/CLASS/NAME, 255 where a class is that may
    overlap others. OUT also gets counts.csv: pixels, share and objects of each class in each mask. Of landmarks, OUT
    gets landmarks.csv and landmarks.json, key points in COCO's form of results, and no mask.

    Attributes:
        format: "png" or "tif"; "auto" writes what is most like the image: TIFF with as many pages of a stack, TIFF with
            the georeference of a georeferenced image, a NIfTI volume of one, PNG of all others.
        overlay: also OUT/overlay/NAME.jpg, the classes in colour over the image, with lines between objects.
        confidence: also OUT/confidence/NAME, the score of the decided class: as 8-bit PNG (255 = certain), or as
            float32 TIFF or NIfTI (1 = certain).
        skip_existing: leave images alone whose files are all there.
        uncertainty: also OUT/uncertainty/NAME, how much the passes of the view mc:N differ: as float32 TIFF or NIfTI
            the variance of the scores, mean over the classes; as 8-bit PNG its square root, where 255 is the largest
            there can be. `predict` sets it where that view is asked for.
        maps: also the belief map of each landmark, OUT/maps/LANDMARK/NAME: as 8-bit PNG (255 = 1), or as float32 TIFF.
        values: what masks hold: "data", the values of the training masks where the bundle knows them, with the classes'
            colours as palette where they fit into 8 bits; or "index", the numbers of the classes, 0, 1, 2, ...

    Raises:
        UsageError: if format or values are none of these.
    """

    format: Literal["auto", "png", "tif"] = "auto"
    overlay: bool = False
    confidence: bool = False
    skip_existing: bool = False
    uncertainty: bool = False
    maps: bool = False
    values: Literal["data", "index"] = "data"

    def __post_init__(self) -> None:
        if self.format not in ("auto", "png", "tif"):
            raise UsageError(f"--format {self.format}: masks are written as auto, png or tif.")
        if self.values not in ("data", "index"):
            raise UsageError(f"--values {self.values}: masks hold the values of the data, or index numbers.")


class FileWriter:
    """Writes the files of a task for one image after the other.

    Args:
        out: the folder; or, of a single image, the mask's file, see `file_of`.
        outputs: what was asked for.
        files: what the task stores, the mask first; see `atrous.tasks.Task.files`.
        coding: what the masks hold.
        tables: what the task tells of every image; see `atrous.tasks.Task.tables`.

    Raises:
        UsageError: if the file of the counts is there and holds something else.
    """

    def __init__(
        self,
        out: Path,
        outputs: PredictionFiles,
        files: Sequence[Output],
        coding: MaskCoding | None = None,
        tables: Sequence[ResultTable] = (),
    ) -> None:
        self.file = file_of(out)
        self.out, self.outputs = out if self.file is None else out.parent, outputs
        self.files = [file for file in files if not file.option or getattr(outputs, file.option)]
        self.coding = class_coding([]) if coding is None else coding
        self.masks = any(file.classes for file in files)
        if self.file is not None and not self.masks:
            raise UsageError(f"{self.file}: the bundle's task writes no masks but tables; name a folder with -o.")
        self.counts = CountsFile(counts_path(out))
        self.tables = [TableFile(self.out, table) for table in tables]

    def places(self, image: ImageInput) -> list[Path]:
        """The files of one image, in the order of `files`; the overlays, if any, last."""
        name, suffix = image.name, image.suffix if self.outputs.format == "auto" else f".{self.outputs.format}"
        if self.file is not None:
            name, suffix = _stem(self.file), self.file.name[len(_stem(self.file)) :]
        places = [self.out / file.folder / f"{name}{suffix}" for file in self.files]
        if not self.outputs.overlay:
            return places
        pages = [name] if len(image.pages) == 1 else [f"{name}_{page:04}" for page in range(len(image.pages))]
        return [*places, *(self.out / OVERLAY / f"{page}.jpg" for page in pages)]

    def plan(self, images: Sequence[ImageInput]) -> list[ImageInput]:
        """The images to predict, after it is sure that no file falls on another.

        Raises:
            UsageError: if two images would give the same file, a file would fall on an image, or a format cannot hold
                what an image needs.
        """
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out}: is a file; name a folder with -o.")
        if self.file is not None and len(images) > 1:
            raise UsageError(f"{self.file}: is one file, and {len(images)} images came; name a folder with -o.")
        sources: dict[str, ImageInput] = {}
        for image in images:
            # Some file systems do not tell upper from lower case.
            twin = sources.setdefault(image.name.lower(), image)
            if twin is not image:
                file = self.places(image)[0]
                raise UsageError(
                    f"{twin.place} and {image.place} would both give {file}; rename one, or segment them into two "
                    "folders."
                )
            self._must_hold(image)
        inputs = {image.place.resolve() for image in images}
        for image in images:
            for file in self.places(image):
                if file.resolve() in inputs:
                    raise UsageError(f"{file}: the result would replace an image; name another folder with -o.")
        if not self.outputs.skip_existing:
            return list(images)
        told = [table.images for table in self.tables]
        return [
            image
            for image in images
            if not all(file.exists() for file in self.places(image))
            or not all(readable(row_name(image)) in names for names in told)
        ]

    def begin(self, images: Sequence[ImageInput]) -> None:
        """Take out what the tables say of images that are made anew."""
        if self.masks:
            self.counts.begin({self.places(image)[0].name for image in images})
        for table in self.tables:
            table.begin({row_name(image) for image in images})

    def finish(self) -> list[Path]:
        """Write what is made of whole tables, and name their files."""
        return [path for table in self.tables for path in table.finish()]

    def _must_hold(self, image: ImageInput) -> None:
        if not self.files:
            return
        suffix, count = suffix_of(self.places(image)[0]), len(image.pages)
        if suffix == ".png" and count > 1:
            raise UsageError(f"{image.place}: is a stack of {count} images, and a PNG holds one; write --format tif.")
        if suffix in (".nii", ".nii.gz") and not image.suffix.startswith(".nii"):
            raise UsageError(f"{self.places(image)[0]}: only a NIfTI volume gives a NIfTI mask; write a .tif or .png.")

    @contextmanager
    def writing(self, image: ImageInput, predictor: "Predictor") -> Iterator[PutPage]:
        """Write the files of one image page by page, the mask last: where it is, all are.

        Yields:
            What takes the next page's prediction.

        Raises:
            DataError: if a format cannot hold what was predicted, or the disk refuses.
        """
        places = self.places(image)
        values = [*self.coding.values, self.coding.nodata]
        rows: list[ClassCount] = []
        told: list[tuple[str, str, Prediction]] = []
        with ExitStack() as opened:  # closes the mask last
            sinks: list[Sink] = []
            done = 0

            def put(prediction: "Prediction", page: "ImageFile") -> None:
                nonlocal done
                sinks.extend(self._open(opened, places, image) if not done else ())
                if self.outputs.overlay:
                    self._draw(prediction, page, predictor, places[len(self.files) + done])
                for sink, file, place in reversed(list(zip(sinks, self.files, places, strict=False))):
                    sink(self._array(file, prediction, place))
                number = str(done) if len(image.pages) > 1 else ""
                if self.masks:
                    found = count_classes(prediction, predictor.class_names, values, mask=places[0].name, page=number)
                    rows.extend(found)
                told.append((row_name(image), number, replace(prediction, scores=None)))
                done += 1

            yield put
            if self.masks:
                self.counts.add(rows)
            for table in self.tables:
                table.path.parent.mkdir(parents=True, exist_ok=True)
                table.add(told)

    def _open(self, opened: ExitStack, places: Sequence[Path], image: ImageInput) -> Iterator[Sink]:
        """What takes the arrays of each file."""
        for place in places:
            with write_errors(place, error=DataError, instead=INSTEAD):
                place.parent.mkdir(parents=True, exist_ok=True)
        for place, file in zip(places, self.files, strict=False):
            page = self._page(file, place, image)
            yield opened.enter_context(writing_pages(place, page, count=len(image.pages), like=image.place))

    def _array(self, file: Output, prediction: "Prediction", place: Path) -> np.ndarray:
        try:
            array = file.make(prediction, place.suffix.lower() != ".png")
        except DataError as error:
            raise DataError(f"{place}: {error}") from error
        if not file.classes:
            return array
        painted = self._painted(place)
        return (self.coding.paint if painted else self.coding.encode)(array, prediction.valid)

    def _painted(self, place: Path) -> bool:
        """Whether a mask holds colours, because some class has no value and there is no palette to say it."""
        long = place.suffix.lower() == ".png" and not self.coding.short
        return self.coding.colored and (place.suffix.lower() in _TIFF or long)

    def _page(self, file: Output, place: Path, image: ImageInput) -> Page:
        tags: tuple[Any, ...] = (
            georeference(image.place) if place.suffix.lower() in _TIFF and image.suffix == ".tif" else ()
        )
        if not file.classes:
            return Page(file.palette, file.dtype, tags)
        if self._painted(place):
            return Page(tags=tags)
        nifti = place.suffix.lower() not in (*_TIFF, ".png")
        tags = (*tags, nodata_tag(self.coding.nodata)) if tags else ()
        return Page(None if nifti else self.coding.palette, tags=tags)

    def _draw(self, prediction: "Prediction", page: "ImageFile", predictor: "Predictor", place: Path) -> None:
        from PIL import Image

        with open_source(page, exif=predictor.exif) as source:
            shown = source.whole()
        drawn = predictor.task.draw(prediction, shown.visible(), predictor.colors)
        with writing(place, error=DataError, instead=INSTEAD) as beside:
            Image.fromarray(drawn).save(beside, "JPEG", quality=90)


def row_name(image: ImageInput) -> str:
    """What tables call an image: its name with the suffix of its file."""
    return f"{image.name}{image.place.suffix}"


def counts_path(out: Path) -> Path:
    """The file of the counts in a folder, or beside the mask's file."""
    file = file_of(out)
    return out / NAME if file is None else file.with_name(f"{_stem(file)}.{NAME}")


def suffix_of(path: Path) -> str:
    """The ending of a file that is written, which may have two dots; "" of any other."""
    return next((suffix for suffix in WRITTEN[::-1] if path.name.lower().endswith(suffix)), "")


def file_of(out: Path) -> Path | None:
    """The mask's file where one was named instead of a folder."""
    return out if suffix_of(out) and not out.is_dir() else None


def _stem(file: Path) -> str:
    """The name of a file that is written, without its ending."""
    return file.name[: len(file.name) - len(suffix_of(file))]
