"""Volumes and landmarks of files, against the numbers that were written."""

import gzip
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from atrous.errors import DataError, UsageError
from atrous.xray import Projector, c_arm
from atrous.xray.markups import read_markups
from atrous.xray.reading import read_volume
from tests.nifti import placed

VALUES = np.random.default_rng(0).integers(0, 200, (5, 4, 6)).astype(np.uint8)


def test_nifti_lies_where_its_header_says(tmp_path: Path) -> None:
    rows = [[2, 0, 0, -9], [0, 2, 0, 4], [0, 0, 5, 1]]  # to the right, front and head
    (tmp_path / "a.nii").write_bytes(placed(VALUES, sform=rows))
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.values, 0.02 * (1 + VALUES / 1000.0), rtol=1e-6)
    np.testing.assert_allclose(volume.affine[:3], [[-2, 0, 0, 9], [0, -2, 0, -4], [0, 0, 5, 1]])
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(placed(VALUES, sform=rows)))
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii.gz").values, volume.values)


def test_the_same_body_stored_along_other_axes_gives_the_same_picture(tmp_path: Path) -> None:
    (tmp_path / "ras.nii").write_bytes(placed(VALUES, sform=[[2, 0, 0, -5], [0, 2, 0, -3], [0, 0, 5, -10]]))
    turned = VALUES[:, ::-1, ::-1]
    (tmp_path / "lps.nii").write_bytes(placed(turned, sform=[[-2, 0, 0, 5], [0, -2, 0, 3], [0, 0, 5, -10]]))
    one, other = (
        Projector(read_volume(tmp_path / f"{name}.nii"))(c_arm(20, 10, size=32, pitch=1)) for name in ("ras", "lps")
    )
    assert one.max() > 0.1
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    ("unit", "values", "message"),
    [("mu", VALUES, "no attenuations per millimetre"), ("hu", VALUES // 100, "unit mu")],
)
def test_numbers_of_another_unit_are_refused(tmp_path: Path, unit: str, values: np.ndarray, message: str) -> None:
    (tmp_path / "a.nii").write_bytes(placed(values, sform=np.eye(4)[:3]))
    with pytest.raises(DataError, match=message):
        read_volume(tmp_path / "a.nii", unit=unit)


def test_what_is_no_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        read_volume(tmp_path / "none.nii")
    (tmp_path / "a.nii").write_bytes(placed(VALUES))
    with pytest.raises(DataError, match="neither sform nor qform"):
        read_volume(tmp_path / "a.nii")
    (tmp_path / "cut.nii").write_bytes(placed(VALUES, sform=np.eye(4)[:3])[:-9])
    with pytest.raises(DataError, match=r"cut.nii: cannot be read as NIfTI: it is cut off"):
        read_volume(tmp_path / "cut.nii")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="no volume that is known"):
        read_volume(tmp_path / "a.png")
    with pytest.raises(UsageError, match="say hu"):
        read_volume(tmp_path / "a.nii", unit="kV")


def write_slice(folder: Path, number: int, pixels: np.ndarray, series: str, **more: object) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    file = folder / f"{(number * 7) % 11:02d}-{series[-3:]}.dcm"  # names are in no order
    image = FileDataset(str(file), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    image.SeriesInstanceUID, image.SeriesDescription = series, f"bone {series[-1]}"
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    image.RescaleSlope, image.RescaleIntercept = 2, -1024
    image.PixelSpacing = [0.5, 0.75]  # between rows, between columns
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.ImagePositionPatient = [-10.0, -20.0, 30.0 + 2.5 * number]
    for key, value in more.items():
        setattr(image, key, value)
    image.PixelData = pixels.astype("<u2").tobytes()
    image.save_as(file, enforce_file_format=True)


@pytest.fixture
def series(tmp_path: Path) -> tuple[Path, np.ndarray]:
    stored = np.random.default_rng(1).integers(0, 1500, (5, 4, 6))
    for number, pixels in enumerate(stored):
        write_slice(tmp_path, number, pixels, "1.2.3.101")
    (tmp_path / "notes.txt").write_text("of the radiographer")
    return tmp_path, stored


def test_a_dicom_series_is_sorted_rescaled_and_placed(series: tuple[Path, np.ndarray]) -> None:
    folder, stored = series
    volume = read_volume(folder)
    np.testing.assert_allclose(volume.values, np.maximum(0.02 * (1 + (2 * stored - 1024) / 1000), 0), atol=1e-7)
    np.testing.assert_allclose(volume.affine[:3], [[0.75, 0, 0, -10], [0, 0.5, 0, -20], [0, 0, 2.5, 30]])


def test_a_folder_of_two_series_is_asked_which(series: tuple[Path, np.ndarray]) -> None:
    folder, stored = series
    for number in range(2):
        write_slice(folder, number, stored[number] + 1, "1.2.3.202")
    with pytest.raises(DataError, match=r"has the series 1.2.3.101 \(bone 1\); 1.2.3.202 \(bone 2\). Name one"):
        read_volume(folder)
    assert len(read_volume(folder, series="202").values) == 2
    assert len(read_volume(folder, series="bone 1").values) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ImagePositionPatient": [-10.0, -20.0, 60.0]}, "one may be missing"),
        ({"ImagePositionPatient": [-10.0, -20.0, 32.5]}, "two slices in one place"),
        ({"PixelSpacing": [1, 1]}, "another size, direction or pixel spacing"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, 1]}, "another size, direction or pixel spacing"),
        ({"NumberOfFrames": 3}, "several frames"),
        ({"PixelSpacing": None}, "no PixelSpacing"),
    ],
)
def test_incomplete_series_are_refused(
    series: tuple[Path, np.ndarray], change: dict[str, object], message: str
) -> None:
    folder, stored = series
    write_slice(folder, 5, stored[0], "1.2.3.101", **change)
    with pytest.raises(DataError, match=message):
        read_volume(folder)


def test_a_folder_without_a_series_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no")
    with pytest.raises(DataError, match="no file of a DICOM series"):
        read_volume(tmp_path)
    write_slice(tmp_path, 0, VALUES[0], "1.2.3")
    with pytest.raises(DataError, match="a single slice"):
        read_volume(tmp_path)
    assert pydicom.__version__ >= "3"


def test_landmarks_of_slicer_and_of_tables(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,x,y,z\ntip,1,2,3\n")
    (tmp_path / "a.fcsv").write_text(
        "# Markups fiducial file version = 4.11\n# CoordinateSystem = RAS\n"
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
        "vtkMRMLMarkupsFiducialNode_0,-1,-2,3,0,0,0,1,1,1,0,tip,,\n"
    )
    points = [
        {"label": "tip", "position": [1, 2, 3]},
        {"label": "lost", "position": [0, 0, 0], "positionStatus": "undefined"},
    ]
    whole = {"markups": [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": points}]}
    (tmp_path / "a.mrk.json").write_text(json.dumps(whole))
    for name in ("a.csv", "a.fcsv", "a.mrk.json"):
        found = read_markups(tmp_path / name)
        assert list(found) == ["tip"]
        assert found["tip"].tolist() == [1, 2, 3], name


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "[]", "no list of points of 3D Slicer"),
        ("a.json", '{"markups": []}', "holds no landmark"),
        ("a.fcsv", "# CoordinateSystem = IJK\n1,2,3,4,0,0,0,1,1,1,0,a\n", "its coordinate system is 'IJK'"),
        ("a.fcsv", "1,2,3\n", "has not the cells x, y, z and label"),
        ("a.fcsv", "1,2,x,4,0,0,0,1,1,1,0,a\n", "three numbers are needed"),
        ("a.fcsv", "1,2,3,4,0,0,0,1,1,1,0,a\n2,2,3,4,0,0,0,1,1,1,0,a\n", "'a' has two places"),
    ],
)
def test_bad_markups_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_markups(tmp_path / name)
