"""Made X-ray pictures of made pelvises: a data folder with landmarks, views and places in three dimensions.

Images are drawn phantom by phantom. Validation and test show other phantoms than training, and the test also other
views: the spherical segment is divided into fields, and every fifth field belongs to the test alone.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from atrous.disk import writing_folder
from atrous.errors import DataError, UsageError
from atrous.images.files import write_image
from atrous.xray.anatomy import LANDMARKS
from atrous.xray.camera import ConeBeam, c_arm, segment_views
from atrous.xray.exposure import Tube, expose, to_grey
from atrous.xray.phantom import Phantom, make_phantom
from atrous.xray.tables import write_places, write_views

__all__ = ["Exposure", "draw_view", "is_test_view", "make_xray", "split_of_phantom"]

VIEWS = 10
"""Pictures of a phantom."""
FIELD = 440.0
"""Larger side of the detector, in millimetres; it shows 330 mm of the body."""
DISTANCES = (1200.0, 900.0)
"""From the source to the detector, and to the pelvis."""
MIDDLE = (0.0, 12.0, 25.0)
"""Of a pelvis, between its landmarks."""
FINEST, COARSEST = 2.0, 5.0
"""Voxels of a body, in millimetres; within these, as large as two pixels show of it."""
SMALLEST = 32


class Exposure(NamedTuple):
    """A picture.

    Attributes:
        image: grey levels.
        beam: the view.
        angles: LAO and cranial, in degrees.
        points: (23, 2) x and y of the landmarks in pixels, also where they lie outside the picture.
    """

    image: UInt8[np.ndarray, "H W"]
    beam: ConeBeam
    angles: tuple[float, float]
    points: np.ndarray


def make_xray(out: str | Path, *, count: int = 60, size: int | tuple[int, int] = 256, seed: int = 0) -> Path:
    """Write a data folder of made radiographs of pelvises with 23 landmarks.

    Args:
        out: the folder to make; absent or empty.
        count: how many images, ten of each phantom. More images continue fewer.
        size: side, or (height, width), in pixels, at least 32. The detector keeps its larger side of 440 mm.
        seed: another seed, other phantoms and views.

    Returns:
        The folder: images/; landmarks.csv, where what lies outside the picture is absent; views.csv with the geometry
        of each image, and landmarks_3d.csv with the places of each phantom's landmarks in millimetres (see `tables`);
        and train.txt, val.txt, test.txt.

    Raises:
        DataError: if `out` is a file or not empty.
        UsageError: if count or size is too small.
    """
    out = Path(out)
    height, width = (size, size) if isinstance(size, int) else size
    if count < 1:
        raise UsageError(f"count is {count}, but at least 1 picture must be made.")
    if min(height, width) < SMALLEST:
        raise UsageError(f"size is {height}x{width} pixels, but made pictures need at least {SMALLEST} on each side.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        what = "is a folder with files in it" if out.is_dir() else "is a file"
        raise DataError(f"{out}: {what}; made data needs a new or empty folder: choose another name.")
    with writing_folder(out, error=DataError, instead="choose another folder") as building:
        (building / "images").mkdir()
        taken: list[tuple[str, str, Exposure]] = []
        places: dict[str, np.ndarray] = {}
        splits: dict[str, list[str]] = {}
        spacing = float(np.clip(2 * FIELD * DISTANCES[1] / DISTANCES[0] / max(height, width), FINEST, COARSEST))
        for number in range(-(-count // VIEWS)):
            name, split = f"phantom_{number:04d}", split_of_phantom(number)
            phantom = make_phantom((seed, number), spacing=spacing)
            places[name] = phantom.landmarks
            tube = Tube(phantom.volume, kilovolts=float(np.random.default_rng((seed, number, 1)).uniform(80, 125)))
            for view in range(min(VIEWS, count - number * VIEWS)):
                rng = np.random.default_rng((seed, number, 2, view))
                shot = draw_view(rng, phantom, tube, (height, width), test=split == "test")
                stem = f"xray_{number:04d}_{view:02d}"
                write_image(building / "images" / f"{stem}.png", shot.image)
                taken.append((f"images/{stem}.png", name, shot))
                splits.setdefault(split, []).append(stem)
        _write_landmarks(building / "landmarks.csv", [(file, shot) for file, _, shot in taken])
        write_views(building / "views.csv", [(file, name, shot.angles, shot.beam) for file, name, shot in taken])
        write_places(building / "landmarks_3d.csv", places, LANDMARKS)
        for split, stems in splits.items():
            _write(building / f"{split}.txt", stems)
    return out


def split_of_phantom(number: int) -> str:
    """The part of the data that a phantom belongs to: 7, 1 and 2 of every 10; each has one of the first 3."""
    return {1: "val", 2: "test", 7: "test"}.get(number % 10, "train")


def is_test_view(lao: float, cranial: float) -> bool:
    """Whether a view, in degrees, belongs to the test alone: every fifth of the fields of 12 x 10 degrees does.

    Example:
        >>> is_test_view(5.0, 5.0), is_test_view(17.0, 5.0)
        (True, False)
    """
    return (int(np.floor(lao / 12)) + 2 * int(np.floor(cranial / 10))) % 5 == 0


def draw_view(
    rng: np.random.Generator, phantom: Phantom, tube: Tube, size: tuple[int, int], *, test: bool = False
) -> Exposure:
    """A picture of a phantom from somewhere on the segment, with varying dose, blur and scatter.

    Args:
        rng: draws them.
        phantom: the body.
        tube: of its volume.
        size: height and width, in pixels.
        test: from a field of the segment that belongs to the test, or else from one of the others.
    """
    lao, cranial = segment_views(rng, 1)[0].tolist()
    while is_test_view(lao, cranial) != test:
        lao, cranial = segment_views(rng, 1)[0].tolist()
    beam = c_arm(
        lao,
        cranial,
        centre=(rng.normal(0, 9, 3) + MIDDLE).tolist(),
        roll=float(rng.normal(0, 5)),
        distances=(float(rng.uniform(0.97, 1.03)) * DISTANCES[0], float(rng.uniform(0.97, 1.03)) * DISTANCES[1]),
        pitch=FIELD / max(size),
        size=size,
    )
    photons = float(np.exp(rng.uniform(np.log(4e4), np.log(4e5))))
    fine = max(size) / 256  # a finer detector of the same side has the same blur in millimetres
    seen = expose(
        tube(beam), rng, photons=photons, blur=float(rng.uniform(0.3, 0.8)) * fine, scatter=float(rng.uniform(0.1, 0.5))
    )
    return Exposure(to_grey(seen, photons=photons), beam, (lao, cranial), beam.project(phantom.landmarks))


def _write_landmarks(path: Path, shots: Sequence[tuple[str, Exposure]]) -> None:
    """The table that `atrous.annotations.landmark_csv` reads."""

    def rows() -> Iterable[str]:
        yield ",".join(["file", *(f"{name}_{part}" for name in LANDMARKS for part in ("x", "y", "visible"))])
        for file, shot in shots:
            cells = [file]
            for x, y in shot.points.tolist():
                inside = -0.5 <= x < shot.beam.width - 0.5 and -0.5 <= y < shot.beam.height - 0.5
                cells += [f"{x:.3f}", f"{y:.3f}", "2"] if inside else ["", "", "0"]
            yield ",".join(cells)

    _write(path, rows())


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
