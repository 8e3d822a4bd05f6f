"""Files of predictions: which images are meant, where each file goes, and how it is written."""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from atrous.data import list_images
from atrous.disk import write_errors, writing
from atrous.errors import DataError, UsageError
from atrous.images import open_source, write_image
from atrous.images.files import ARRAY_SUFFIXES, SUFFIXES
from atrous.tasks import Output

if TYPE_CHECKING:
    from atrous.inference.predictor import Predictor
    from atrous.types import Prediction

__all__ = ["FileWriter", "PredictionFiles", "find_images"]

INSTEAD = "choose another place with -o"
OVERLAY = Path("overlay")


@dataclass(frozen=True)
class PredictionFiles:
    """What is written for every image `NAME.suffix`, under the folder OUT.

    Beside the mask, the bundle's task may write more of its own accord: OUT/instances/NAME, the number of each pixel's
    object, as 16-bit PNG or int32 TIFF; OUT/labels/CLASS/NAME, 255 where a class is that may overlap others.

    Attributes:
        format: OUT/NAME.png or OUT/NAME.tif holds the class numbers: 8 bits with the classes' colours as palette, 16
            bits above 256 classes.
        overlay: also OUT/overlay/NAME.jpg, the classes in colour over the image, with lines between objects.
        confidence: also OUT/confidence/NAME, the score of the decided class: as 8-bit PNG (255 = certain), or as
            float32 TIFF (1 = certain) where the format is tif.
        skip_existing: leave images alone whose files are all there.
        uncertainty: also OUT/uncertainty/NAME, how much the passes of the view mc:N differ: as float32 TIFF the
            variance of the scores, mean over the classes; as 8-bit PNG its square root, where 255 is the largest there
            can be. `predict` sets it where that view is asked for.
    """

    format: Literal["png", "tif"] = "png"
    overlay: bool = False
    confidence: bool = False
    skip_existing: bool = False
    uncertainty: bool = False


class FileWriter:
    """Writes the files of a task for one image after the other.

    Args:
        out: the folder.
        outputs: what was asked for.
        files: what the task stores, the mask first; see `atrous.tasks.Task.files`.
    """

    def __init__(self, out: Path, outputs: PredictionFiles, files: Sequence[Output]) -> None:
        self.out, self.outputs = out, outputs
        self.files = [file for file in files if not file.option or getattr(outputs, file.option)]

    def places(self, stem: str) -> list[Path]:
        """The files of one image, in the order of `files`; the overlay, if any, last."""
        places = [self.out / file.folder / f"{stem}.{self.outputs.format}" for file in self.files]
        return [*places, self.out / OVERLAY / f"{stem}.jpg"] if self.outputs.overlay else places

    def plan(self, images: Sequence[Path]) -> list[Path]:
        """The images to predict, after it is sure that no file falls on another.

        Raises:
            UsageError: if two images would give the same file, or a file would fall on an image.
        """
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out}: is a file; name a folder with -o.")
        sources: dict[str, Path] = {}
        for image in images:
            # Some file systems do not tell upper from lower case.
            twin = sources.setdefault(image.stem.lower(), image)
            if twin is not image:
                file = self.places(image.stem)[0]
                raise UsageError(
                    f"{twin} and {image} would both give {file}; rename one, or segment them into two folders."
                )
        inputs = {image.resolve() for image in images}
        for image in images:
            for file in self.places(image.stem):
                if file.resolve() in inputs:
                    raise UsageError(f"{file}: the result would replace an image; name another folder with -o.")
        if not self.outputs.skip_existing:
            return list(images)
        return [image for image in images if not all(file.exists() for file in self.places(image.stem))]

    def write(self, prediction: "Prediction", image: Path, predictor: "Predictor") -> Path:
        """Write the files of one image, the mask last: where it is, all are.

        Raises:
            DataError: if a format cannot hold what was predicted, or the disk refuses.
        """
        places = self.places(image.stem)
        for place in places:
            with write_errors(place, error=DataError, instead=INSTEAD):
                place.parent.mkdir(parents=True, exist_ok=True)
        if self.outputs.overlay:
            self._draw(prediction, image, predictor, places[len(self.files)])
        exact = self.outputs.format == "tif"
        for place, file in reversed(list(zip(places, self.files, strict=False))):
            try:
                array = file.make(prediction, exact)
            except DataError as error:
                raise DataError(f"{place}: {error}") from error
            write_image(place, array, palette=file.palette)
        return places[0]

    def _draw(self, prediction: "Prediction", image: Path, predictor: "Predictor", place: Path) -> None:
        from PIL import Image

        with open_source(image, exif=predictor.exif) as source:
            shown = source.whole()
        drawn = predictor.task.draw(prediction, shown.visible(), predictor.colors)
        with writing(place, error=DataError, instead=INSTEAD) as beside:
            Image.fromarray(drawn).save(beside, "JPEG", quality=90)


def find_images(images: str | Path | Sequence[str | Path]) -> list[Path]:
    """Files, the images in folders, and what patterns match, in order and without doubles.

    Raises:
        UsageError: if something named is not there, or holds no image.
    """
    named = [images] if isinstance(images, str | Path) else list(images)
    return list(dict.fromkeys(path for item in named for path in _expand(str(item))))


def _expand(item: str) -> Iterator[Path]:
    path = Path(item)
    if path.exists():
        yield from list_images(path)
        return
    if not glob.has_magic(item):
        raise UsageError(f"{item}: there is no such file or folder; check the name, or quote a pattern: 'scans/*.tif'.")
    matches = sorted(Path(p) for p in glob.glob(item, recursive=True))  # noqa: PTH207  (patterns may be absolute)
    arrays = [p for p in matches if p.suffix.lower() in ARRAY_SUFFIXES]  # those of Zarr are folders
    found = sorted([*arrays, *(p for p in matches if p.is_file() and p.suffix.lower() in SUFFIXES)])
    if not found:
        suffixes = ", ".join((*SUFFIXES, *ARRAY_SUFFIXES))
        raise UsageError(f"{item}: no image matches this pattern; atrous reads {suffixes}.")
    yield from found
