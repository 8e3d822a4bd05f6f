"""What all kinds of made pictures need: smooth random fields, lens and sensor, and a finished data folder."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from atrous.disk import writing_folder
from atrous.errors import DataError, UsageError
from atrous.images.colors import Color
from atrous.images.files import write_image

__all__ = ["check_place", "fractal", "smooth_noise", "split_of", "to_bytes", "write_folder", "write_lines"]

Pictures = Mapping[str, np.ndarray]
SMALLEST = 32


def smooth_noise(rng: np.random.Generator, height: int, width: int, grain: float) -> np.ndarray:
    """A random field of about unit spread whose features are `grain` pixels wide."""
    rows, columns = int(np.ceil(height / grain)) + 3, int(np.ceil(width / grain)) + 3
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    # An affine map and not a resize: the grain is then the same in both directions and for every image size.
    to_coarse = np.array([[1 / grain, 0, 1], [0, 1 / grain, 1]], np.float32)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    field = cv2.warpAffine(coarse, to_coarse, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return field * np.float32(1.35)  # interpolation averages, which costs spread


def fractal(rng: np.random.Generator, height: int, width: int, grain: float, octaves: int = 3) -> np.ndarray:
    """Smooth noise at several scales, each half as wide and half as strong as the one before; about unit spread."""
    field = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        field += smooth_noise(rng, height, width, max(grain / 2**octave, 1.0)) * np.float32(0.5**octave)
    return field * np.float32(0.87)


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Round an image of 0..1 to 8 bits."""
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def split_of(index: int) -> str:
    """The part of the data that image `index` belongs to: 14, 3 and 3 of every 20; each has one of the first 3."""
    place = index % 20
    return "val" if place in (1, 8, 14) else "test" if place in (2, 9, 15) else "train"


def write_folder(
    out: str | Path,
    draw: Callable[[np.random.Generator, int, int], Pictures],
    *,
    name: str,
    count: int,
    size: int | tuple[int, int],
    seed: int,
    classes: Mapping[str, Color],
    ignore: Sequence[int] = (),
) -> Path:
    """Draw `count` pictures into a folder that appears under its name only when it is complete.

    Args:
        out: the folder; it must be absent or empty.
        draw: called with a generator of its own for each picture, and the size; gives arrays by subfolder name.
        name: start of the file names.
        count: how many pictures; a larger count continues a smaller one.
        size: side, or height and width, in pixels.
        seed: picture i depends on the seed, i and the size alone.
        classes: names and colours, in the order of their values in the masks.
        ignore: mask values that stand for no class.

    Raises:
        DataError: if something is in the way at `out`, or the disk refuses.
        UsageError: if count or size is too small.
    """
    out = Path(out)
    height, width = check_place(out, count, size)
    colors = list(classes.values())
    palette = colors + [(0, 0, 0)] * (256 - len(colors))
    with writing_folder(out, error=DataError, instead="choose another folder") as building:
        names: dict[str, list[str]] = {}
        for index in range(count):
            stem = f"{name}_{index:05d}"
            pictures = draw(np.random.default_rng((seed, index)), height, width)
            for folder, array in pictures.items():
                (building / folder).mkdir(exist_ok=True)
                write_image(building / folder / f"{stem}.png", array, palette=palette if folder == "masks" else None)
            names.setdefault(split_of(index), []).append(stem)
        write_lines(building / "classes.yaml", _class_table(classes, ignore))
        for split, stems in names.items():
            write_lines(building / f"{split}.txt", stems)
    return out


def check_place(out: Path, count: int, size: int | tuple[int, int]) -> tuple[int, int]:
    """The (height, width) of pictures, after it is sure that they can be made there.

    Raises:
        DataError: if something is in the way at `out`.
        UsageError: if count or size is too small.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if count < 1:
        raise UsageError(f"count is {count}, but at least 1 picture must be made.")
    if min(height, width) < SMALLEST:
        raise UsageError(f"size is {height}x{width} pixels, but made pictures need at least {SMALLEST} on each side.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        what = "is a folder with files in it" if out.is_dir() else "is a file"
        raise DataError(
            f"{out}: {what}; made data needs a new or empty folder: choose another name, or remove it first."
        )
    return height, width


def _class_table(classes: Mapping[str, Color], ignore: Sequence[int]) -> Iterable[str]:
    yield "classes:"
    for value, (name, (red, green, blue)) in enumerate(classes.items()):
        yield f'  - {{name: {name}, value: {value}, color: "#{red:02x}{green:02x}{blue:02x}"}}'
    if ignore:
        yield f"ignore: {list(ignore)}"


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text of lines, ended alike on every system."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
