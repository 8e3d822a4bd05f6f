"""Benchmarks of microscopy: slices of a brain, films of cells, nuclei one file each.

- ISBI 2012 (Arganda-Carreras et al., Frontiers in Neuroanatomy 2015): train-volume.tif and train-labels.tif, 30 slices
  of 512 x 512; 0 is membrane and 255 is cell. Slices that follow each other are alike, so the last ones are validation.
- Cell Tracking Challenge (Ulman et al., Nature Methods 2017): films 01/, 02/ of tNNN.tif; objects in
  01_GT/SEG/man_segNNN.tif, for some frames only, and in 3-D as man_seg_NNN_ZZZ.tif for some slices; a marker for every
  cell in 01_GT/TRA/man_trackNNN.tif. A marker that no drawn cell touches says that there is a cell of unknown outline:
  its pixels are ignored. The last film is validation; of a single film, its end.
- Data Science Bowl 2018 (Caicedo et al., Nature Methods 2019): stage1_train/ID/images/ID.png, and one mask file per
  nucleus in stage1_train/ID/masks/.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atrous.data.datasets.base import (
    Dataset,
    Division,
    Found,
    PageImage,
    PageMask,
    absent,
    class_table,
    complete,
    files,
    folders,
    hold_out,
    no_partner,
    pages_or_tell,
)
from atrous.data.datasets.plane_files import where_present
from atrous.data.splits import Pair
from atrous.findings import Finding, FindingError, error
from atrous.images.colors import default_colors
from atrous.images.derived import DerivedMask
from atrous.images.files import ImageFile, read_mask
from atrous.types import IGNORE_INDEX

__all__ = ["CTC", "DSB2018", "ISBI2012", "NucleusFiles"]

_TIFF = (".tif", ".tiff")


def _fits_isbi(root: Path) -> bool:
    return all((root / f"train-{part}.tif").is_file() for part in ("volume", "labels"))


def _read_isbi(root: Path, division: Division) -> Found:
    findings: list[Finding] = []
    splits = {"train": _slices(root, "train", findings)}
    if (root / "test-volume.tif").is_file():
        splits["test"] = _slices(root, "test", findings)
    names = ("membrane", "cell")
    table = class_table(names, default_colors(("background", "cell")), (0, 255), ignore=())
    return Found(complete(splits, division, by=hold_out), tuple(findings), table)


def _slices(root: Path, split: str, findings: list[Finding]) -> list[Pair]:
    """The slices of a volume with their labels; the labels of the test volume were never given out."""
    images, masks = root / f"{split}-volume.tif", root / f"{split}-labels.tif"
    count = pages_or_tell(images, findings)
    labelled = masks.is_file()
    if labelled and count and pages_or_tell(masks, findings) != count:
        message = f"holds {pages_or_tell(masks, findings)} slices, and {images.name} holds {count}"
        findings.append(error("size_mismatch", masks, message, "Copy both again from the data set."))
        return []
    return [
        Pair(f"{split}_{page:02}", PageImage(images, page), PageMask(masks, page) if labelled else None)
        for page in range(count)
    ]


@dataclass(frozen=True)
class _WithMarkers(DerivedMask):
    """Cell or background, and 255 at the markers of cells that nobody has outlined."""

    cells: Path
    markers: ImageFile | DerivedMask
    page: int | None = None

    @property
    def place(self) -> Path:
        """The file of outlines."""
        return self.cells

    def read(self) -> np.ndarray:
        """0 background, 1 cell, 255 unknown."""
        cells = read_mask(self.cells)
        markers = self.markers.read() if isinstance(self.markers, DerivedMask) else read_mask(Path(str(self.markers)))
        if markers.shape != cells.shape:
            message = f"has {cells.shape[0]} x {cells.shape[1]} pixels, and {self.markers} has others"
            raise FindingError(error("size_mismatch", self.cells, message, "Copy both again from the data set."))
        outlined = np.unique(markers[cells > 0])
        unknown = (markers > 0) & ~np.isin(markers, outlined)
        return np.where(cells > 0, 1, np.where(unknown, IGNORE_INDEX, 0)).astype(np.uint8)


def _films(root: Path) -> list[Path]:
    return [path for path in folders(root) if re.fullmatch(r"\d\d", path.name)]


def _fits_ctc(root: Path) -> bool:
    return any((root / f"{film.name}_GT" / "SEG").is_dir() for film in _films(root))


def _read_ctc(root: Path, division: Division) -> Found:
    findings: list[Finding] = []
    films = [_film(film, findings) for film in _films(root)]
    films = [pairs for pairs in films if pairs]
    if len(films) > 1 and division.val_fraction > 0:
        splits = {"train": [pair for film in films[:-1] for pair in film], "val": films[-1]}
    else:
        splits = {"train": [pair for film in films for pair in film]}
    table = class_table(("background", "cell"), default_colors(("background", "cell")))
    return Found(complete(splits, division, by=hold_out), tuple(findings), table)


def _film(film: Path, findings: list[Finding]) -> list[Pair]:
    """The frames of one film that somebody has outlined."""
    truth = film.with_name(f"{film.name}_GT")
    frames = {re.sub(r"\D", "", name): path for name, path in files(film, _TIFF).items()}
    markers = {re.sub(r"\D", "", name): path for name, path in files(truth / "TRA", _TIFF).items()}
    pairs = []
    for name, cells in files(truth / "SEG", _TIFF).items():
        found = re.fullmatch(r"man_seg_?(\d+)(?:_(\d+))?", name)
        if found is None or found[1] not in frames:
            findings.append(absent(cells, film / f"t{found[1] if found else '*'}.tif"))
            continue
        frame, time = frames[found[1]], found[1]
        page = None if found[2] is None else int(found[2])
        image: ImageFile = frame if page is None else PageImage(frame, page)
        mask: Path | DerivedMask = cells
        if time in markers:
            mask = _WithMarkers(cells, markers[time] if page is None else PageMask(markers[time], page))
        else:
            mask = _Cells(cells)
        pairs.append(Pair(f"{film.name}_{name.removeprefix('man_seg').strip('_')}", image, mask, cells))
    return pairs


@dataclass(frozen=True)
class _Cells(DerivedMask):
    """Cell or background where there are no markers."""

    cells: Path

    @property
    def place(self) -> Path:
        """The file of outlines."""
        return self.cells

    def read(self) -> np.ndarray:
        """0 background, 1 cell."""
        return (read_mask(self.cells) > 0).astype(np.uint8)


@dataclass(frozen=True)
class NucleusFiles(DerivedMask):
    """An instance map from a folder of binary masks, one object each; where two overlap, the later name is on top."""

    folder: Path

    @property
    def place(self) -> Path:
        """The folder."""
        return self.folder

    def read(self) -> np.ndarray:
        """Numbers of the objects in the order of their files, 0 where there is none."""
        found = list(files(self.folder).values())
        if not found:
            message = "holds no mask, and one file per object is needed"
            raise FindingError(error("missing_mask", self.folder, message, "Copy it again, or take the image out."))
        numbers: np.ndarray | None = None
        for number, path in enumerate(found, start=1):
            inside = where_present(read_mask(path), path)
            numbers = np.zeros(inside.shape, np.int32) if numbers is None else numbers
            if inside.shape != numbers.shape:
                message = f"has {inside.shape[0]} x {inside.shape[1]} pixels, and {found[0].name} beside it has others"
                raise FindingError(error("size_mismatch", path, message, "Export it again."))
            numbers[inside] = number
        assert numbers is not None
        return numbers


def _dsb_base(root: Path) -> Path:
    return next((root / name for name in ("stage1_train", "train") if (root / name).is_dir()), root)


def _fits_dsb(root: Path) -> bool:
    some = folders(_dsb_base(root))[:3]
    return bool(some) and all((one / "images").is_dir() and (one / "masks").is_dir() for one in some) and all(
        len(files(one / "images")) == 1 and not files(one) for one in some
    )  # fmt: skip


def _read_dsb(root: Path, division: Division) -> Found:
    findings: list[Finding] = []
    splits = {"train": _nuclei(_dsb_base(root), findings, labelled=True)}
    tests = [folder for folder in (root / "stage1_test", root / "stage2_test_final", root / "test") if folder.is_dir()]
    if tests:
        splits["test"] = [pair for folder in tests for pair in _nuclei(folder, findings, labelled=False)]
    table = class_table(("background", "nucleus"), default_colors(("background", "nucleus")), ignore=(IGNORE_INDEX,))
    return Found(complete(splits, division), tuple(findings), table)


def _nuclei(base: Path, findings: list[Finding], *, labelled: bool) -> list[Pair]:
    pairs = []
    for one in folders(base):
        images = files(one / "images")
        if len(images) != 1:
            message = f"holds {len(images)} images, and one is needed"
            findings.append(error("missing_image", one / "images", message, "Copy it again, or take it out."))
            continue
        image, masks = next(iter(images.values())), one / "masks"
        if labelled and not masks.is_dir():
            findings.append(no_partner(image, one, "masks/*.png"))
            continue
        pairs.append(Pair(one.name, image, None, NucleusFiles(masks) if masks.is_dir() else None))
    return pairs


ISBI2012 = Dataset("ISBI 2012 EM", "train-volume.tif and train-labels.tif", _fits_isbi, _read_isbi)
CTC = Dataset("Cell Tracking Challenge", "01/t000.tif and 01_GT/SEG/man_seg000.tif", _fits_ctc, _read_ctc)
DSB2018 = Dataset(
    "Data Science Bowl 2018", "stage1_train/ID/images/ID.png and stage1_train/ID/masks/*.png", _fits_dsb, _read_dsb
)
