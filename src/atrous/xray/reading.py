"""Volumes of scanners: NIfTI, and a folder of a DICOM series.

The patient's axes are DICOM's everywhere: x to the left, y to the back, z to the head. NIfTI's go to the right and to
the front, so two of them change their sign.

Reference:
    https://nifti.nimh.nih.gov/nifti-1.
    DICOM PS3.3 C.7.6.2, Image Plane Module: positions and directions; C.11.1.1.2: rescaling to Hounsfield units.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from atrous.errors import DataError, UsageError
from atrous.images.limits import must_fit
from atrous.images.nifti import SUFFIXES, count_slices, decode_slice
from atrous.images.nifti_space import read_space
from atrous.xray.volume import Volume, attenuation

__all__ = ["Unit", "read_volume"]

Unit = Literal["hu", "mu"]

UNEVEN = 0.05
"""Of the distance of slices: how much two distances may differ."""
TAGS = (
    "SeriesInstanceUID", "SeriesDescription", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows",
    "Columns", "NumberOfFrames", "SamplesPerPixel", "SOPInstanceUID",
)  # fmt: skip


def read_volume(path: str | Path, *, unit: Unit = "hu", series: str | None = None) -> Volume:
    """Read a volume.

    Args:
        path: a NIfTI file (.nii, .nii.gz), or a folder with the files of a DICOM series.
        unit: of the voxels: Hounsfield units, or attenuation per millimetre. DICOM is always rescaled first.
        series: which series of a folder with several, by the end of its SeriesInstanceUID or by its description.

    Raises:
        DataError: if the file or folder cannot be read as a volume, or does not say where its voxels lie.
        FindingError: if it needs more memory than there is.
        UsageError: if the unit is unknown, or DICOM is to be read without pydicom.
    """
    path = Path(path)
    if unit not in ("hu", "mu"):
        raise UsageError(f"unit {unit!r}: say hu (Hounsfield units) or mu (attenuation per millimetre).")
    if not path.exists():
        raise DataError(f"{path}: is not there. Check the name.")
    if path.is_dir():
        values, affine = _read_dicom(path, series)
    elif path.name.lower().endswith(SUFFIXES):
        values, affine = _read_nifti(path)
    else:
        raise DataError(f"{path}: is no volume that is known. Give a .nii or .nii.gz file, or a folder of DICOM files.")
    if not np.isfinite(values).all():
        raise DataError(f"{path}: holds voxels that are not numbers. Replace them by air (-1000), for instance.")
    if unit == "hu":
        if values.max() < 10:
            raise DataError(
                f"{path}: its largest number is {values.max():.4g}, so that all is thinner than water. If its numbers "
                "are attenuations per millimetre, say so: unit mu."
            )
        values = attenuation(values)
    elif values.min() < 0 or values.max() > 10:
        low, high = values.min(), values.max()
        raise DataError(
            f"{path}: its numbers are {low:.4g} to {high:.4g}, which are no attenuations per millimetre (water has "
            "0.02). If they are Hounsfield units, say so: unit hu."
        )
    return Volume(values, affine)


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        values = np.stack([decode_slice(path, number).array[..., 0] for number in range(count_slices(path))])
        space = read_space(path)
    except (ValueError, OSError, EOFError) as problem:
        raise DataError(f"{path}: cannot be read as NIfTI: {problem}.") from None
    if space is None:
        raise DataError(
            f"{path}: its header does not say where its voxels lie (neither sform nor qform). Write it anew."
        )
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = space.steps, space.origin
    affine[:2] *= -1
    return values, affine


def _read_dicom(folder: Path, series: str | None) -> tuple[np.ndarray, np.ndarray]:
    slices = _series(folder, series)
    first = slices[0]
    across, down = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(across, down)
    places = np.array([np.array(each.ImagePositionPatient, float) for each in slices])
    order = np.argsort(places @ normal)
    slices, places = [slices[n] for n in order], places[order]
    step = _step(folder, places, normal)
    must_fit(4 * first.Rows * first.Columns * len(slices), folder, (len(slices), first.Rows, first.Columns))
    values = np.stack([_hounsfield(each) for each in slices])
    apart_rows, apart_columns = (float(part) for part in first.PixelSpacing)
    affine = np.eye(4)
    affine[:3] = np.column_stack([across * apart_columns, down * apart_rows, step, places[0]])
    return values, affine


def _series(folder: Path, wanted: str | None) -> list[Any]:
    """The headers of the files of one series, which all have one size and lie in parallel planes."""
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
    except ImportError:
        raise UsageError(
            f"{folder}: DICOM needs a package that is not installed: pip install 'atrous[xray]'."
        ) from None
    found: dict[str, list[Any]] = defaultdict(list)
    for file in sorted(folder.iterdir()):
        if not file.is_file() or file.name.upper() == "DICOMDIR":
            continue
        try:
            head = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))
        except (InvalidDicomError, OSError, EOFError):
            continue
        if "ImagePositionPatient" in head or "NumberOfFrames" in head:
            found[str(head.get("SeriesInstanceUID", ""))].append((file, head))
    if not found:
        raise DataError(f"{folder}: has no file of a DICOM series of slices.")
    named = {uid: str(files[0][1].get("SeriesDescription", "")) for uid, files in found.items()}
    if wanted is not None:
        found = {uid: files for uid, files in found.items() if uid.endswith(wanted) or named[uid] == wanted}
    if len(found) != 1:
        listed = "; ".join(f"{uid[-12:]} ({name or 'no description'})" for uid, name in named.items())
        raise DataError(
            f"{folder}: has the series {listed}. Name one: series, the end of its number or its description."
        )
    (files,) = found.values()
    file, head = files[0]
    for other, its in files:
        if int(its.get("NumberOfFrames", 1)) > 1 or int(its.get("SamplesPerPixel", 1)) != 1:
            raise DataError(
                f"{other}: holds several frames or colours. Convert the series to NIfTI, by dcm2niix for one."
            )
        for tag in ("ImageOrientationPatient", "PixelSpacing", "ImagePositionPatient"):
            if its.get(tag) is None:
                raise DataError(f"{other}: does not say where its pixels lie: it has no {tag}.")
        same = np.allclose(head.ImageOrientationPatient, its.ImageOrientationPatient, atol=1e-3)
        if (its.Rows, its.Columns) != (head.Rows, head.Columns) or not same or its.PixelSpacing != head.PixelSpacing:
            raise DataError(f"{other}: has another size, direction or pixel spacing than {file.name}. Take it out.")
    return [pydicom.dcmread(each) for each, _ in files]


def _step(folder: Path, places: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """From a slice to the next, in millimetres; a tilted scanner's go aside as well."""
    if len(places) < 2:
        raise DataError(f"{folder}: has a single slice, and a volume needs two or more.")
    steps = np.diff(places, axis=0)
    apart = steps @ normal
    usual = float(np.median(apart))
    if apart.min() < 1e-3:
        number = int(apart.argmin())
        raise DataError(
            f"{folder}: has two slices in one place, {places[number].round(2).tolist()} mm. Keep one of them."
        )
    if np.abs(apart - usual).max() > UNEVEN * usual:
        number = int(np.abs(apart - usual).argmax())
        raise DataError(
            f"{folder}: slices are {usual:.4g} mm apart, but {apart[number]:.4g} mm behind "
            f"{places[number].round(2).tolist()} mm: one may be missing. Complete the series."
        )
    return (places[-1] - places[0]) / (len(places) - 1)


def _hounsfield(image: Any) -> np.ndarray:
    try:
        pixels = image.pixel_array.astype(np.float32)
    except (AttributeError, NotImplementedError, RuntimeError, ValueError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise DataError(
            f"{image.filename}: its pixels cannot be decoded ({reason}). Decompress it, by dcmdjpeg for one."
        ) from None
    return pixels * float(image.get("RescaleSlope", 1)) + float(image.get("RescaleIntercept", 0))
