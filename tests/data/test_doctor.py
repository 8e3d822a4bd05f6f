"""The doctor finds every problem at once, and counts right."""

import json
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from atrous.data.doctor import check_folder, quick_check
from atrous.data.folder import open_folder
from atrous.errors import DataError
from atrous.findings import CheckReport, FindingError, error
from atrous.images.files import write_image


def found(report, severity=None):
    return sorted(f.code for f in report.findings if severity in (None, f.severity))


def one(report, code):
    matches = [finding for finding in report.findings if finding.code == code]
    assert len(matches) == 1, report
    return matches[0]


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_a_sound_folder_has_no_findings(make_folder):
    report = check_folder(make_folder(6))
    assert report.findings == ()
    assert report.errors == report.warnings == ()
    report.raise_errors()
    assert report.summary["complete"]
    assert report.summary["splits"] == {"train": 5, "val": 1}
    assert report.summary["sizes"] == {"min": [24, 32], "median": [24, 32], "max": [24, 32], "distinct": 1}
    assert report.summary["kinds"] == {"uint8": 6}
    assert report.summary["channels"] == {"3": 6}
    json.dumps(report.to_dict())
    assert "no problem found" in str(report)
    assert "5 train, 1 val" in str(report)


def test_counts_follow_the_published_example(tmp_path):
    """Label maps A and B of specs/losses.md: counts 11, 3, 2; totals 16, 8, 8; an ignored pixel counts in neither."""
    maps = {"a": [[0, 0, 0, 1], [0, 0, 1, 1]], "b": [[0, 0, 2, 2], [0, 0, 0, 0]], "c": [[0, 0, 0, 1], [2, 2, 1, 1]]}
    for side in ("images", "masks"):
        (tmp_path / side).mkdir()
    for number, (name, mask) in enumerate(maps.items()):
        write_image(
            tmp_path / "masks" / f"{name}.png", np.pad(np.array(mask, np.uint8), ((0, 1), (0, 0)), constant_values=255)
        )
        image = np.random.default_rng(number).integers(0, 255, (3, 4), dtype=np.uint8)
        write_image(tmp_path / "images" / f"{name}.png", image)
    (tmp_path / "train.txt").write_text("a\nb\n")
    (tmp_path / "val.txt").write_text("c\n")
    report = check_folder(tmp_path)
    assert report.frequencies() == {"pixels": [11, 3, 2], "totals": [16, 8, 8]}
    assert [row["images"] for row in report.summary["classes"]] == [2, 1, 1]
    assert report.summary["pixels"] == {"train": [11, 3, 2], "val": [3, 3, 2]}
    assert report.summary["ignored"] == {"train": 8, "val": 4}
    assert report.summary["classes"][0]["share"] == 11 / 16


@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 3), (np.uint16, 1), (np.float32, 6)])
def test_mean_and_deviation_are_those_of_all_training_pixels(make_folder, picture, dtype, channels):
    root = make_folder(5)
    shutil.rmtree(root / "images")
    (root / "images").mkdir()
    arrays = {}
    for number in range(5):
        array = picture(channels=channels, seed=number, dtype=dtype)
        arrays[f"{number:03}"] = array // 2 + 100 if np.dtype(dtype).kind == "u" else array + dtype(100)
        write_image(root / "images" / f"{number:03}.tif", arrays[f"{number:03}"])
    report = check_folder(root)
    train = [pair.name for pair in open_folder(root).splits["train"]]
    pixels = np.concatenate([arrays[name].reshape(-1, channels) for name in train]).astype(np.float64)
    np.testing.assert_allclose(report.summary["mean"], pixels.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(report.summary["std"], pixels.std(axis=0), rtol=1e-6)


def test_invalid_pixels_count_in_nothing(make_folder):
    root = make_folder(2, channels=1)
    (root / "images" / "000.png").unlink()
    (root / "images" / "001.png").unlink()
    rng = np.random.default_rng(0)
    for number in range(2):
        array = rng.random((24, 32)).astype(np.float32)
        array[:12] = np.nan
        tifffile.imwrite(root / "images" / f"{number:03}.tif", array)
    report = check_folder(root)
    assert found(report) == ["invalid_pixels", "invalid_pixels"]
    assert "50 % of its pixels are nodata" in report.findings[0].message
    assert sum(report.frequencies()["pixels"]) == 12 * 32
    name = open_folder(root).splits["train"][0].image
    np.testing.assert_allclose(report.summary["mean"], [np.nanmean(tifffile.imread(name), dtype=np.float64)])


def test_all_problems_at_once(make_folder, picture):
    root = make_folder(12)
    images, masks = root / "images", root / "masks"
    (masks / "000.png").unlink()
    write_image(masks / "001.png", np.zeros((20, 30), np.uint8))
    data = (images / "002.png").read_bytes()
    (images / "002.png").write_bytes(data[: len(data) // 2])
    (root / "classes.yaml").write_text("classes: [{name: a, value: 0}, {name: b, value: 1}, {name: c, value: 2}]")
    mask = read(masks / "003.png")
    mask[0, :3] = 77
    write_image(masks / "003.png", mask)
    write_image(masks / "004.png", np.full((24, 32, 3), (10, 20, 30), np.uint8))
    write_image(masks / "005.png", np.full((24, 32), 255, np.uint8))
    tifffile.imwrite(images / "006.png", picture(channels=5), photometric="minisblack", planarconfig="contig")
    write_image(images / "007.png", picture(dtype=np.uint16))
    write_image(images / "008.png", np.full((24, 32, 3), 9, np.uint8))
    (masks / "lonely.png").write_bytes((masks / "009.png").read_bytes())
    report = check_folder(root)
    assert found(report, "error") == [
        "missing_mask",
        "mixed_channels",
        "mixed_kinds",
        "out_of_range_label",
        "rgb_mask",
        "size_mismatch",
        "unreadable",
    ]
    assert found(report, "warning") == ["all_ignored", "constant_image", "missing_image"]
    for finding in report.findings:
        assert finding.fix.endswith((".", "?"))
        assert "\n" not in str(finding)
        assert str(root) in finding.file
    assert one(report, "out_of_range_label").message.startswith("label 77 (3 pixels) is not in the class table")
    assert Path(one(report, "unreadable").file).name == "002.png"
    with pytest.raises(DataError, match=r"6 more: run `atrous check .*` to list them all"):
        report.raise_errors()
    text = str(report)
    assert "7 errors and 3 warnings" in text
    assert text.index("error [") < text.index("warning [")


def test_copies_across_splits_are_errors_and_within_one_warnings(make_folder, picture):
    root = make_folder(8)
    folder = open_folder(root)
    train, val = folder.splits["train"], folder.splits["val"]
    write_image(val[0].image, read(train[0].image)[..., ::-1])  # other bytes, the same pixels
    shutil.copy(train[1].image, train[2].image)
    report = check_folder(root)
    assert found(report, "error") == ["duplicate_across_splits"]
    assert found(report, "warning") == ["duplicate_image"]
    finding = one(report, "duplicate_across_splits")
    assert finding.message == f"has the same pixels as {train[0].image}, which is in train, and is itself in val"


def test_0_255_masks_say_how_they_are_read(make_folder):
    report = check_folder(make_folder(4, values=(0, 255)))
    assert found(report) == ["mask_0_255"]
    assert "masks hold 0 and 255: read as background and foreground" in one(report, "mask_0_255").message
    assert [row["name"] for row in report.summary["classes"]] == ["background", "foreground"]
    assert report.summary["ignored"]["train"] == 0


def test_a_written_table_for_0_and_255_is_not_asked_about(make_folder):
    root = make_folder(4, values=(0, 255))
    (root / "classes.yaml").write_text("classes: [{name: background, value: 0}, {name: foreground, value: 255}]")
    assert check_folder(root).findings == ()


def test_rgb_masks_without_a_table_show_what_to_write(make_folder):
    root = make_folder(4)
    for path in (root / "masks").iterdir():
        write_image(path, np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)[read(path)])
    report = check_folder(root)
    assert found(report) == ["rgb_mask"]
    assert '{name: class 1, color: "' in one(report, "rgb_mask").fix
    assert report.summary["classes"] == []
    assert report.summary["sizes"]["distinct"] == 1  # images were read all the same
    text = "".join(f'  - {{name: c{i}, color: "{c}"}}\n' for i, c in enumerate(("#000000", "#ff0000", "#0000ff")))
    (root / "classes.yaml").write_text(f"classes:\n{text}")
    report = check_folder(root)
    assert report.findings == ()
    assert all(row["pixels"] > 0 for row in report.summary["classes"])


def test_a_wrong_table_is_one_finding_and_the_images_are_read(make_folder):
    root = make_folder(4)
    (root / "classes.yaml").write_text("clases: []")
    report = check_folder(root)
    assert found(report) == ["classes"]
    assert "Did you mean 'classes'?" in str(report)
    assert report.summary["kinds"] == {"uint8": 4}


def test_classes_that_training_never_shows(make_folder):
    root = make_folder(6)
    (root / "classes.yaml").write_text(
        "classes: [" + ", ".join(f"{{name: {name}, value: {value}}}" for value, name in enumerate("abcde")) + "]"
    )
    mask = open_folder(root).splits["val"][0].mask
    array = read(mask)
    array[0, 0] = 3
    write_image(mask, array)
    report = check_folder(root)
    assert found(report) == ["class_never_seen", "class_never_seen"]
    messages = [finding.message for finding in report.findings]
    assert messages[0] == "class 'd' occurs in val and in no training image, so it cannot be learnt"
    assert messages[1] == "class 'e' occurs nowhere"


def test_training_without_labels_or_with_one_class(make_folder):
    root = make_folder(4)
    for path in (root / "masks").iterdir():
        write_image(path, np.full((24, 32), 255, np.uint8))
    (root / "classes.yaml").write_text("classes: [{name: a, value: 0}, {name: b, value: 1}]")
    report = check_folder(root)
    assert found(report, "error") == ["no_labels"]
    assert found(report, "warning") == ["all_ignored"] * 4
    for path in (root / "masks").iterdir():
        write_image(path, np.zeros((24, 32), np.uint8))
    assert "one_class" in found(check_folder(root), "error")


def test_one_class_almost_everywhere(make_folder):
    root = make_folder(4)
    for path in (root / "masks").iterdir():
        mask = np.zeros((24, 32), np.uint8)
        mask[0, 0] = 1
        write_image(path, mask)
    report = check_folder(root)
    assert found(report) == ["imbalance"]
    assert "99.87 % of the labelled training pixels are 'background'" in one(report, "imbalance").message


def test_jpeg_masks_are_pointed_out(make_folder):
    root = make_folder(4)
    (root / "classes.yaml").write_text(
        f"classes: [{{name: a, value: {list(range(128))}}}, {{name: b, value: {list(range(128, 256))}}}]"
    )
    for path in list((root / "masks").iterdir()):
        cv2.imwrite(str(path.with_suffix(".jpg")), read(path) * 100)
        path.unlink()
    report = check_folder(root)
    assert found(report) == ["lossy_mask"]
    assert "as are 4 masks in all" in one(report, "lossy_mask").message


def test_classes_are_not_discovered_in_jpeg_masks(make_folder):
    root = make_folder(4, values=(0, 255, 0))
    for path in list((root / "masks").iterdir()):
        cv2.imwrite(str(path.with_suffix(".jpg")), read(path), [cv2.IMWRITE_JPEG_QUALITY, 50])
        path.unlink()
    report = check_folder(root)
    assert found(report, "error") == ["lossy_mask"]
    assert "Export the masks again as PNG." in str(report)


def test_an_unreadable_image_does_not_hide_its_mask(make_folder):
    root = make_folder(4)
    (root / "classes.yaml").write_text("classes: [{name: a, value: [0, 1, 2]}]")
    (root / "images" / "001.png").write_bytes(b"")
    (root / "masks" / "001.png").write_bytes(b"")
    report = check_folder(root)
    assert [f.code for f in report.errors if "001" in f.file] == ["unreadable", "unreadable"]


def test_an_image_with_alpha_among_others(make_folder, picture):
    root = make_folder(6)
    rgba = np.dstack([picture(seed=9), np.full((24, 32), 255, np.uint8)])
    write_image(root / "images" / "000.png", rgba)
    assert check_folder(root).findings == ()
    rgba[0, 0, 3] = 9
    write_image(root / "images" / "000.png", rgba)
    report = check_folder(root)
    assert (found(report), report.summary["num_channels"]) == (["alpha_left_out"], 3)
    assert str(report.findings[0]).startswith(
        f"{root}/images/000.png: has an alpha channel that varies, and others have none: it is left out."
    )


def test_progress_is_told_and_a_stop_is_heard(make_folder):
    root = make_folder(8)
    told = []
    check_folder(root, progress=lambda done, total: told.append((done, total)))
    assert told == [(n, 8) for n in range(1, 9)]
    stop = threading.Event()
    report = check_folder(root, progress=lambda done, total: stop.set() if done == 2 else None, stop=stop)
    assert not report.summary["complete"]
    assert report.summary["read"]["train"] == 2
    assert report.findings == ()


def test_an_open_folder_may_be_checked(make_folder):
    root = make_folder(6)
    folder = open_folder(root)
    assert check_folder(folder).summary == check_folder(root).summary


def test_quick_check_reads_headers_of_all_and_a_few_pairs(make_folder, picture):
    root = make_folder(12)
    folder = open_folder(root)
    report = quick_check(folder, pairs=4)
    assert report.summary["read"] == {"train": 3, "val": 1}
    assert report.findings == ()
    assert len(report.summary["mean"]) == 3
    assert sum(report.frequencies()["pixels"]) == 3 * 24 * 32
    write_image(folder.splits["train"][5].image, picture(channels=1))
    report = quick_check(folder, pairs=2)
    assert found(report) == ["grey_images"]
    assert quick_check(root, pairs=100).summary["complete"]


def test_a_report_lists_at_most_ten_of_a_kind():
    findings = tuple(error("size_mismatch", f"{n}.png", "is small", "Enlarge it.") for n in range(25))
    text = str(CheckReport(findings, {"root": "data", "splits": {"train": 25}}))
    assert text.count("is small") == 10
    assert "error [size_mismatch] ... and 15 more" in text
    assert text.endswith("25 errors and 0 warnings")


def test_an_error_is_built_again_from_its_text():
    """As a loader worker does."""
    import pickle

    original = FindingError(error("unreadable", "a.png", "is cut", "Copy it."))
    assert str(pickle.loads(pickle.dumps(original))) == str(original) == "a.png: is cut. Copy it."
    assert str(FindingError(f"Caught: {original}")).startswith("Caught: a.png")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "codes"),
    [("isbi2012_em", ["mask_0_255"]), ("cwfid", []), ("dsb2018_nuclei", [])],
)
def test_real_folders_are_sound(shared, name, codes):
    report = check_folder(shared / name)
    assert found(report) == codes
    assert report.summary["complete"]


@pytest.mark.shared
def test_real_cwfid_shares(shared):
    report = check_folder(shared / "cwfid", val_fraction=0)
    shares = [round(100 * row["share"], 1) for row in report.summary["classes"]]
    assert shares[1:] == [1.5, 5.8]
