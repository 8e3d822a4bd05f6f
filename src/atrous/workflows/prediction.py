"""Masks for new images: files, folders and patterns in, one mask per image out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from atrous.disk import write_errors, writing
from atrous.errors import AtrousError, DataError, UsageError

if TYPE_CHECKING:
    from atrous.inference import Predictor
    from atrous.types import Prediction

__all__ = ["Outputs", "find_images", "predict"]

NAMED = 3
INSTEAD = "choose another place with -o"
"""Failed images that the closing error names."""


@dataclass(frozen=True)
class Outputs:
    """What is written for every image `NAME.suffix`, under the folder OUT.

    Attributes:
        format: OUT/NAME.png or OUT/NAME.tif holds the class numbers: 8 bits with the classes' colours as palette, 16
            bits above 256 classes.
        overlay: also OUT/overlay/NAME.jpg, the classes in colour over the image.
        confidence: also OUT/confidence/NAME, the score of the decided class: as 8-bit PNG (255 = certain), or as
            float32 TIFF (1 = certain) where the format is tif.
        uncertainty: also OUT/uncertainty/NAME, how much the passes of the view mc:N differ: as float32 TIFF the
            variance of the scores, mean over the classes; as 8-bit PNG its square root, where 255 is the largest there
            can be. `predict` sets it where that view is asked for.
        instances: also OUT/instances/NAME, the number of each pixel's object: as 16-bit PNG, or as int32 TIFF where
            the format is tif. `predict` sets it where the bundle tells objects apart.
        labels: classes that may overlap; also OUT/labels/CLASS/NAME for each, 255 where it is, else 0. `predict`
            sets it where the bundle decides each class for itself.
        skip_existing: leave images alone whose files are all there.
    """

    format: Literal["png", "tif"] = "png"
    overlay: bool = False
    confidence: bool = False
    skip_existing: bool = False
    uncertainty: bool = False
    instances: bool = False
    labels: tuple[str, ...] = ()

    def files(self, out: Path, stem: str) -> list[Path]:
        """The files of one image, its mask first."""
        files = [out / f"{stem}.{self.format}"]
        if self.overlay:
            files.append(out / "overlay" / f"{stem}.jpg")
        if self.confidence:
            files.append(out / "confidence" / f"{stem}.{self.format}")
        if self.uncertainty:
            files.append(out / "uncertainty" / f"{stem}.{self.format}")
        if self.instances:
            files.append(out / "instances" / f"{stem}.{self.format}")
        for name in self.labels:
            folder = "".join(letter if letter.isalnum() or letter in " -_." else "_" for letter in name)
            files.append(out / "labels" / folder / f"{stem}.{self.format}")
        return files


def predict(
    bundle: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    outputs: Outputs = Outputs(),
    tile: int | None = None,
    margin: int | Literal["exact", "auto"] = "exact",
    views: Sequence[str] = (),
    refine: Any = None,
    device: str = "auto",
    precision: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Segment images and write a mask of the same name for each.

    An image that cannot be segmented is reported at the end; all others are done. With `tile` the memory in use depends
    on the tile and the size of the mask alone, save that an overlay needs the whole image.

    Args:
        bundle: a bundle, a run folder, or a Hugging Face Hub id.
        images: files, folders of images, and patterns such as "scans/*.tif".
        out: the folder for the masks; it is made if it is not there.
        outputs: what to write.
        tile: side of the tiles, or None for whole images at once.
        margin: context around a tile: "exact" for the same answer as without tiles, "auto", or pixels.
        views: names of flips and turns to average over, and "mc:N" for N passes with dropout: their uncertainty is
            written too.
        refine: what the scores are refined by, such as "crf:bilateral_xy=60"; None does what the bundle says, "none"
            nothing.
        device: "auto", "cpu", "cuda", ...
        precision: "auto", "float32", "bfloat16" or "float16".
        progress: called with the number of images done and of all.

    Returns:
        The written masks.

    Raises:
        UsageError: before anything is done, if no image is found, two would give the same file, or a mask would fall on
            an image.
        DataError: after all images, if some could not be segmented.
    """
    from atrous.workflows.runs import check_refine, check_tile

    if outputs.format not in ("png", "tif"):
        raise UsageError(f"--format {outputs.format}: masks are written as png or tif.")
    check_tile(tile, margin)
    check_refine(refine)
    outputs = replace(outputs, uncertainty=any(view.split(":")[0] == "mc" for view in views))
    folder, found = Path(out), find_images(images)
    if not _plan(found, folder, outputs):
        return []
    from atrous.inference import Predictor
    from atrous.tasks import Instances, MultiLabel

    predictor = Predictor.load(bundle, device=device, precision=precision, refine=refine)
    names = predictor.class_names if isinstance(predictor.task, MultiLabel) else ()
    outputs = replace(outputs, instances=isinstance(predictor.task, Instances), labels=names)
    todo = _plan(found, folder, outputs)
    predictor.check_views(views)

    def segment(image: Path) -> "Prediction":
        return predictor(image, tile=tile, margin=margin, views=tuple(views), scores=False)

    written, failed = [], []
    for done, image in enumerate(todo):
        if progress is not None:
            progress(done, len(todo))
        try:
            written.append(_write(segment(image), image, predictor, folder, outputs))
        except AtrousError as error:
            failed.append(error)
    if progress is not None:
        progress(len(todo), len(todo))
    if failed:
        raise DataError(_complaint(failed, len(todo)))
    return written


def find_images(images: str | Path | Sequence[str | Path]) -> list[Path]:
    """Files, the images in folders, and what patterns match, in order and without doubles.

    Raises:
        UsageError: if something named is not there, or holds no image.
    """
    named = [images] if isinstance(images, str | Path) else list(images)
    return list(dict.fromkeys(path for item in named for path in _expand(str(item))))


def _expand(item: str) -> Iterator[Path]:
    import glob

    from atrous.data import list_images
    from atrous.images.files import SUFFIXES

    path = Path(item)
    if path.exists():
        yield from list_images(path)
        return
    if not glob.has_magic(item):
        raise UsageError(f"{item}: there is no such file or folder; check the name, or quote a pattern: 'scans/*.tif'.")
    matches = sorted(Path(p) for p in glob.glob(item, recursive=True))  # noqa: PTH207  (patterns may be absolute)
    found = [p for p in matches if p.is_file() and p.suffix.lower() in SUFFIXES]
    if not found:
        raise UsageError(f"{item}: no image matches this pattern; atrous reads {', '.join(SUFFIXES)}.")
    yield from found


def _plan(images: list[Path], out: Path, outputs: Outputs) -> list[Path]:
    """The images to segment, after it is sure that no file falls on another."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; name a folder with -o.")
    sources: dict[str, Path] = {}
    for image in images:
        # Some file systems do not tell upper from lower case.
        twin = sources.setdefault(image.stem.lower(), image)
        if twin is not image:
            file = outputs.files(out, image.stem)[0]
            raise UsageError(
                f"{twin} and {image} would both give {file}; rename one, or segment them into two folders."
            )
    inputs = {image.resolve() for image in images}
    for image in images:
        for file in outputs.files(out, image.stem):
            if file.resolve() in inputs:
                raise UsageError(f"{file}: the result would replace an image; name another folder with -o.")
    if not outputs.skip_existing:
        return images
    return [image for image in images if not all(file.exists() for file in outputs.files(out, image.stem))]


def _write(prediction: "Prediction", image: Path, predictor: "Predictor", out: Path, outputs: Outputs) -> Path:
    """Write the files of one image, the mask last: where it is, all are."""
    from atrous.images import write_image

    mask, *others = outputs.files(out, image.stem)
    for file in (mask, *others):
        with write_errors(file, error=DataError, instead=INSTEAD):
            file.parent.mkdir(parents=True, exist_ok=True)
    exact = outputs.format == "tif"
    if outputs.labels and prediction.labels is not None:
        places, others = others[-len(outputs.labels) :], others[: -len(outputs.labels)]
        for place, plane in zip(places, prediction.labels, strict=True):
            write_image(place, plane.astype(np.uint8) * 255)
    if outputs.instances and prediction.instances is not None:
        _write_instances(others.pop(), prediction.instances, exact=exact)
    if outputs.uncertainty and prediction.uncertainty is not None:
        count, variance = len(predictor.class_names), prediction.uncertainty
        share = np.sqrt(variance / max((1 - 1 / count) / count, 1e-12)).clip(0, 1)
        write_image(others.pop(), variance if exact else np.rint(share * 255).astype(np.uint8))
    if outputs.overlay:
        _write_overlay(out / "overlay" / f"{image.stem}.jpg", image, prediction, predictor)
    if outputs.confidence:
        score = prediction.confidence.astype(np.float32)
        write_image(others[-1], score if exact else np.rint(score * 255).astype(np.uint8))
    few = len(predictor.class_names) <= 256
    classes = prediction.classes.astype(np.uint8 if few else np.uint16)
    palette = list(predictor.colors)
    if outputs.labels:  # 255 is a value too: no class is there
        palette += [(0, 0, 0)] * (256 - len(palette))
    write_image(mask, classes, palette=palette if few else None)
    return mask


def _write_instances(path: Path, instances: np.ndarray, *, exact: bool) -> None:
    from atrous.images import write_image

    most = int(instances.max())
    if not exact and most >= 2**16:
        raise DataError(f"{path}: {most} objects are more than a PNG can number; write --format tif.")
    write_image(path, instances.astype(np.int32 if exact else np.uint16))


def _write_overlay(path: Path, image: Path, prediction: "Prediction", predictor: "Predictor") -> None:
    from PIL import Image

    from atrous.images import read_image
    from atrous.reports import overlay, to_display

    mixed = overlay(to_display(read_image(image).array), prediction.classes, predictor.colors)
    with writing(path, error=DataError, instead=INSTEAD) as beside:
        Image.fromarray(mixed).save(beside, "JPEG", quality=90)


def _complaint(failed: list[AtrousError], count: int) -> str:
    if len(failed) == 1 == count:
        return str(failed[0])
    reasons = "; ".join(str(error).rstrip(".") for error in failed[:NAMED])
    more = f"; and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
    return f"{len(failed)} of {count} images could not be segmented, the others are done: {reasons}{more}."
