"""Annotations of labelling tools to a data folder, and a data folder to annotations, as one call."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from atrous.annotations.parsing import Gathered
from atrous.data import open_folder
from atrous.data.class_table import load_classes
from atrous.data.convert import LANDMARK_TARGETS, TARGETS, LandmarkFormat, bring_in, choose_format
from atrous.disk import writing_folder
from atrous.errors import UsageError, did_you_mean

__all__ = ["Conversion", "convert", "write_annotations"]


@dataclass(frozen=True)
class Conversion:
    """What was written.

    Attributes:
        out: the folder.
        title: the format that was read, or written.
        images: how many.
        classes: their names in the order of their numbers, or those of the landmarks.
        notes: what was left out, and how often.
        named: what these are the names of.
    """

    out: Path
    title: str
    images: int
    classes: tuple[str, ...]
    notes: dict[str, int]
    named: str = "classes"

    def __str__(self) -> str:
        lines = [f"{self.out}: {self.images} images, {len(self.classes)} {self.named}: {', '.join(self.classes)}"]
        lines += [f"left out: {count} {what}" for what, count in self.notes.items()]
        return "\n".join(lines)


def convert(
    source: str | Path,
    out: str | Path,
    *,
    format: str | None = None,
    images: str | Path | None = None,
    classes: str | Path | None = None,
    ignore: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> Conversion:
    """Convert the annotations of a labelling tool, a key of `atrous.data.convert.FORMATS`, to a data folder.

    Args:
        source: a file or a folder.
        out: a folder that is not there yet, or is empty; gets images/, masks/, classes.yaml, and instances/ where
            single objects were drawn; the first three within train/, val/ and test/ where there are several splits.
            From points, it gets images/ and landmarks.csv, or train.csv, val.csv and test.csv.
        format: a key of `FORMATS`; None looks at the source.
        images: the folder of the annotated images, where they are not beside the annotations.
        classes: a classes.yaml with the names and their order; None takes "background" and the labels.
        ignore: labels that count for nothing.
        progress: called with the number of images done.

    Returns:
        What was written; `str()` of it is the text that `atrous convert` prints.

    Raises:
        DataError: if something in the source is wrong; the text names the file and the key of every entry, one a line.
            Nothing is left behind.
        UsageError: if `out` holds something, or there is no such folder of images.
    """
    if images is not None and not Path(images).is_dir():
        raise UsageError(f"{images}: there is no such folder of images.")
    source, out = Path(source), Path(out)
    chosen = choose_format(source, format)
    table = load_classes(classes) if classes is not None else None
    gathered, folder = Gathered(), Path(images) if images is not None else None
    with _filling(out) as beside:
        count, names = bring_in(
            chosen, (source, folder), beside, gathered, classes=table, ignore=ignore, progress=progress
        )
        gathered.raise_all()
        if not count:
            raise UsageError(f"{source}: holds no annotated image ({chosen.title}); annotate some and export again.")
    return Conversion(out, chosen.title, count, names, gathered.left_out, _named(isinstance(chosen, LandmarkFormat)))


def write_annotations(
    data: str | Path,
    out: str | Path,
    *,
    to: str,
    layout: str | None = None,
    classes: str | Path | None = None,
    tolerance: float = 0.0,
    progress: Callable[[int], None] | None = None,
) -> Conversion:
    """Write the masks or landmarks of a data folder as annotations that labelling tools open.

    Args:
        data: a data folder.
        out: as in `convert`; the images are copied into it.
        to: "coco" or "labelme".
        layout: a key of `DATASETS`; None looks at the folder.
        classes: a classes.yaml to use instead of the folder's own.
        tolerance: how far a simplified polygon may be from the outline of its mask, in pixels; 0 keeps every corner.
        progress: called with the number of images done.

    Raises:
        DataError: if the data folder is wrong, or its classes overlap.
        UsageError: if `out` holds something, or there is no such format.
    """
    if to not in TARGETS:
        raise UsageError(f"there is no format {to!r} to write. {did_you_mean(to, (*TARGETS, 'folder'))}")
    if not 0 <= tolerance <= 100:
        raise UsageError(f"tolerance is in pixels, 0 to 100, not {tolerance:g}. Take 0 or 1.")
    out = Path(out)
    folder = open_folder(data, classes=classes, val_fraction=0, layout=layout)
    gathered = Gathered()
    with _filling(out) as beside:
        writers = LANDMARK_TARGETS if folder.landmarks else TARGETS
        count = writers[to](folder, beside, gathered, tolerance=tolerance, progress=progress)
        gathered.raise_all()
    return Conversion(out, to, count, folder.classes.names, gathered.left_out, _named(folder.landmarks))


def _named(landmarks: bool) -> str:
    return "landmarks" if landmarks else "classes"


@contextmanager
def _filling(out: Path) -> Iterator[Path]:
    """A folder beside the final place, which is renamed when all went well and removed when not.

    Raises:
        UsageError: if the place holds something, or the disk refuses.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: is there already and not empty; choose another place with -o.")
    with writing_folder(out, instead="choose another place with -o") as beside:
        yield beside
