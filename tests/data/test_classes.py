"""Class tables: written, discovered, wrong; and masks turned into classes."""

import json
import pickle

import cv2
import numpy as np
import pytest
import tifffile

from atrous.data import FolderDataset, check_folder, open_folder
from atrous.data.class_table import load_classes
from atrous.data.classes import Classes
from atrous.data.discovery import discover_classes
from atrous.errors import DataError
from atrous.images.colors import default_colors
from atrous.images.files import write_image

TABLE = """\
classes:
  - {name: soil, value: 0, color: "#785a28"}
  - {name: crop, value: 1}
  - name: weed
    value: [2, 3]
ignore: [255, 9, "#ff00ff"]
"""


@pytest.fixture
def table(tmp_path):
    """Writes a class table and loads it."""

    def load(text):
        (tmp_path / "classes.yaml").write_text(text)
        return load_classes(tmp_path / "classes.yaml")

    return load


def save_masks(folder, *masks, palette=None):
    folder.mkdir(exist_ok=True)
    for number, mask in enumerate(masks):
        write_image(folder / f"{number}.png", np.asarray(mask), palette=palette)
    return sorted(folder.glob("*.png"))


def test_a_table_is_read_and_merges_and_ignores(table):
    classes = table(TABLE)
    assert classes.names == ("soil", "crop", "weed")
    assert classes.values == ((0,), (1,), (2, 3))
    assert classes.ignore == (255, 9)
    assert classes.colors[0] == (0x78, 0x5A, 0x28)
    raw = np.array([[0, 1, 2, 3, 9, 255]], np.uint8)
    encoded = classes.encode(raw, file="m.png")
    assert encoded.tolist() == [[0, 1, 2, 2, 255, 255]]
    assert encoded.dtype == np.uint8
    assert classes.encode(raw.astype(np.int64), file="m.png").tolist() == encoded.tolist()
    assert classes.encode(raw.astype(np.uint16), file="m.png").tolist() == encoded.tolist()


def test_colours_are_decoded(table):
    classes = table(TABLE.replace("value: 1}", 'value: 1, color: "#00ff00"}'))
    raw = np.array([[[0x78, 0x5A, 0x28], [0, 255, 0], [255, 0, 255]]], np.uint8)
    assert classes.encode(raw, file="m.png").tolist() == [[0, 1, 255]]


def test_grey_rgb_masks_are_read_by_their_value(table):
    raw = np.repeat(np.array([[0, 1, 3]], np.uint8)[..., None], 3, axis=2)
    assert table(TABLE).encode(raw, file="m.png").tolist() == [[0, 1, 2]]
    assert table("classes: [{name: a, value: [0, 1]}, {name: b, value: 3}]").encode(raw, file="m").tolist() == [
        [0, 0, 1]
    ]


def test_black_and_white_colours_are_read_in_both_ways(table):
    classes = table(
        'classes: [{name: back, color: "#000000"}, {name: line, color: "#ffffff"}, {name: x, color: "#ff0000"}]'
    )
    assert classes.values == ((0,), (255,), ())
    assert classes.ignore == ()
    grey = np.array([[0, 255]], np.uint8)
    assert classes.encode(grey, file="m").tolist() == [[0, 1]]
    assert classes.encode(np.dstack([grey] * 3), file="m").tolist() == [[0, 1]]


def test_labels_outside_the_table_are_named_with_their_counts(table):
    with pytest.raises(DataError) as caught:
        table(TABLE).encode(np.array([[0, 7, 7, 40]], np.uint8), file="masks/a.png")
    assert str(caught.value) == (
        "masks/a.png: label 7 (2 pixels), 40 (1 pixels) is not in the class table, which has 0-3 and ignores 9, 255. "
        "Correct the mask, or put the value into classes.yaml, as a class or under 'ignore'."
    )
    with pytest.raises(DataError, match=r"label -1 \(1 pixels\)"):
        table(TABLE).encode(np.array([[0, -1]], np.int32), file="a.tif")
    with pytest.raises(DataError, match=r"label 70000 \(1 pixels\)"):
        table(TABLE).encode(np.array([[0, 70000]], np.int64), file="a.tif")


def test_colours_outside_the_table_are_named_with_their_counts(table):
    raw = np.full((4, 5, 3), (0x78, 0x5A, 0x28), np.uint8)
    raw[0, :3] = (1, 2, 3)
    with pytest.raises(
        DataError, match=r"masks/a\.png: colour #010203 \(3 pixels\) of 20 pixels is not in the colour table"
    ):
        table(TABLE).encode(raw, file="masks/a.png")


def test_an_rgb_mask_without_a_table_shows_the_lines_to_paste(table):
    raw = np.full((4, 5, 3), (10, 20, 30), np.uint8)
    raw[0, 0] = (255, 0, 0)
    with pytest.raises(DataError) as caught:
        table("classes: [{name: a, value: 0}]").encode(raw, file="masks/a.png")
    assert "masks/a.png: is an RGB mask of 2 colours, and there is no colour table" in str(caught.value)
    assert 'classes: [{name: class 0, color: "#0a141e"}, {name: class 1, color: "#ff0000"}]' in str(caught.value)
    noisy = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    with pytest.raises(DataError, match=r"So many colours come from JPEG or from smooth edges"):
        table("classes: [{name: a, value: 0}]").encode(noisy, file="masks/a.png")


def test_the_lines_to_paste_are_a_table(table):
    raw = np.full((4, 5, 3), (10, 20, 30), np.uint8)
    raw[0, 0] = (255, 0, 0)
    with pytest.raises(DataError) as caught:
        table("classes: [{name: a, value: 0}]").encode(raw, file="masks/a.png")
    text = str(caught.value)
    pasted = table(text[text.index("classes: [") : text.rindex(" (shares")])
    assert pasted.encode(raw, file="m").tolist()[0] == [1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"classes\.yaml: holds no class table\. Write: classes: \["),
        ("clases: []", r"line 1: unknown key 'clases'\. Did you mean 'classes'\?"),
        ("ignore: [255]", r"line 1: 'classes' must be a list"),
        (
            "classes:\n- {name: a, value: 0}\n- {nmae: b, value: 1}",
            r"line 3: unknown key 'nmae'\. Did you mean 'name'\?",
        ),
        ("classes:\n- {value: 0}", r"line 2: a class has no name"),
        ("classes:\n- {name: a, value: 0}\n- {name: b}", r"line 3: class 'b' has neither value nor color"),
        ("classes:\n- {name: a, value: 0}\n- {name: a, value: 1}", r"line 3: class 'a' stands twice"),
        (
            "classes:\n- {name: a, value: 0}\n- {name: b, value: 0}",
            r"mask value 0 means both 'a' and 'b'\. Give it to one",
        ),
        ("classes:\n- {name: a, value: 255}\nignore: [255]", r"mask value 255 means both 'ignore' and 'a'"),
        ("classes:\n- {name: a, value: x}", r"line 2: a mask value must be a whole number, not 'x'"),
        ("classes:\n- {name: a, value: 1.5}", r"line 2: a mask value must be a whole number, not '1\.5'"),
        ("classes:\n- {name: a, value: -1}", r"mask value -1 is not within 0 to 65535"),
        ("classes:\n- name: a\n  color: #ff0000", r"line 3: a color must be \"#rrggbb\", not nothing\..* in quotes"),
        ('classes:\n- {name: a, color: "red"}', r"line 2: a color must be \"#rrggbb\", not 'red'"),
        (
            'classes:\n- {name: a, color: "#ff0000"}\n- {name: b, color: "#ff0000"}',
            r"line 3: class 'b' has the color of another",
        ),
        ("classes:\n- {name: a, name: b, value: 0}", r"line 2: key 'name' stands twice"),
        ("classes: [", r"classes\.yaml line 1: is not YAML: "),
        ("classes:\n- soil", r"line 2: a class must be a mapping"),
        *[
            (f"classes: [{{name: l, value: 0}}, {{name: r, value: 1}}]\nflip_pairs: {pairs}", message)
            for pairs, message in [
                ("l", r"line 2: 'flip_pairs' must be a list of pairs\. Write: flip_pairs: \[\[left hand"),
                ("[l, r]", r"line 2: one of 'flip_pairs' is no pair of class names"),
                ("[[l]]", r"line 2: one of 'flip_pairs' is no pair of class names"),
                ("[[l, right]]", r"line 2: 'flip_pairs' names 'right', which is no class"),
                ("[[l, l]]", r"line 2: 'flip_pairs' names 'l' twice\. A class has one mirror image"),
                ("[[l, r], [r, l]]", r"line 2: 'flip_pairs' names 'r' twice"),
            ]
        ],
        (
            "classes: [" + ", ".join(f"{{name: c{i}, value: {i}}}" for i in range(256)) + "]",
            r"1 to 255 classes, not 256",
        ),
    ],
)
def test_what_is_wrong_in_a_table_is_told_with_its_line(table, text, message):
    with pytest.raises(DataError, match=message) as caught:
        table(text)
    assert "classes.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"no\.yaml: cannot be read \(No such file"):
        load_classes(tmp_path / "no.yaml")


def test_names_are_taken_as_written(table):
    assert table("classes: [{name: no, value: 0}, {name: 17, value: 1}]").names == ("no", "17")


def test_255_is_ignored_unless_it_is_a_class(table):
    assert table("classes: [{name: a, value: 0}]").ignore == (255,)
    assert table("classes: [{name: a, value: 0}, {name: b, value: 255}]").ignore == ()
    assert table("classes: [{name: a, value: 0}]\nignore: []").ignore == ()


@pytest.mark.parametrize(
    ("masks", "names", "values", "ignore"),
    [
        ([[[0, 255]]], ("background", "foreground"), ((0,), (255,)), ()),
        ([[[0, 1]]], ("background", "foreground"), ((0,), (1,)), (255,)),
        ([[[0, 0]], [[0, 1]]], ("background", "foreground"), ((0,), (1,)), (255,)),
        ([[[0, 1, 255]]], ("background", "foreground"), ((0,), (1,)), (255,)),
        ([[[0, 1, 2]], [[3, 3, 255]]], tuple(f"class {i}" for i in range(4)), ((0,), (1,), (2,), (3,)), (255,)),
        ([[[0, 1, 3]]], tuple(f"class {i}" for i in range(4)), ((0,), (1,), (2,), (3,)), (255,)),  # 2 was not seen
        ([[[0, 100, 200]]], ("class 0", "class 100", "class 200"), ((0,), (100,), (200,)), (255,)),
    ],
)
def test_classes_are_discovered(tmp_path, masks, names, values, ignore):
    files = save_masks(tmp_path / "masks", *(np.array(mask, np.uint8) for mask in masks))
    classes = discover_classes(files, file=tmp_path)
    assert (classes.names, classes.values, classes.ignore) == (names, values, ignore)
    assert classes.discovered


def test_a_palettes_colours_are_taken(tmp_path):
    palette = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
    files = save_masks(tmp_path / "masks", np.array([[0, 1, 2]], np.uint8), palette=palette)
    assert discover_classes(files, file=tmp_path).colors == tuple(palette)


def test_discovery_refuses_instance_maps_and_colours(tmp_path):
    many = np.arange(300, dtype=np.uint16).reshape(10, 30)
    with pytest.raises(DataError, match=r"masks hold 299 values.*rename masks/ to instances/"):
        discover_classes(save_masks(tmp_path / "a", many), file=tmp_path)
    rgb = np.zeros((4, 5, 3), np.uint8)
    rgb[0, 0] = (1, 2, 3)
    with pytest.raises(DataError, match=r"0\.png: is an RGB mask of 2 colours"):
        discover_classes(save_masks(tmp_path / "b", rgb), file=tmp_path)


def test_255_classes_are_the_most(tmp_path):
    mask = np.arange(255, dtype=np.uint8)[None]
    classes = discover_classes(save_masks(tmp_path / "a", mask), file=tmp_path)
    assert len(classes) == 255
    np.testing.assert_array_equal(classes.encode(mask, file="m"), mask)


def test_a_table_survives_json_and_pickle(table):
    classes = table(TABLE)
    assert Classes.from_dict(json.loads(json.dumps(classes.to_dict()))) == classes
    assert pickle.loads(pickle.dumps(classes)) == classes


def test_pairs_of_mirror_images_are_read_and_survive_json_and_pickle(table):
    rows = ", ".join(f"{{name: {name}, value: {value}}}" for value, name in enumerate("abcde"))
    classes = table(f"classes: [{rows}]\nflip_pairs: [[d, b], [c, e]]")
    assert classes.flip_pairs == ((3, 1), (2, 4))
    assert Classes.from_dict(json.loads(json.dumps(classes.to_dict()))) == classes
    assert pickle.loads(pickle.dumps(classes)) == classes
    with pytest.raises(DataError, match="flip_pairs names class 7 of 2"):
        Classes(("l", "r"), ((0, 0, 0), (9, 9, 9)), ((0,), (1,)), flip_pairs=((0, 7),))
    with pytest.raises(DataError, match="flip_pairs names 'l' twice"):
        Classes(("l", "r"), ((0, 0, 0), (9, 9, 9)), ((0,), (1,)), flip_pairs=((0, 0),))


def test_default_colours_differ():
    names = ["background", *map(str, range(40))]
    assert len(set(default_colors(names))) == 41
    assert default_colors(names)[0] == (0, 0, 0)


@pytest.mark.shared
def test_voc_palette_masks(shared):
    folder = shared / "voc2012" / "SegmentationClass"
    files = sorted(folder.glob("*.png"))
    classes = discover_classes(files, file=folder)
    assert len(classes) == 21
    assert classes.ignore == (255,)
    assert classes.colors[1] == (128, 0, 0)
    encoded = classes.encode(cv2.imread(str(files[0]), cv2.IMREAD_GRAYSCALE) * 0, file=files[0])
    assert (encoded == 0).all()


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.float32])
def test_negative_values_are_ignored_by_the_words_that_the_doctor_advises(make_folder, suffix, dtype):
    if suffix == ".tif" and dtype == np.int64:
        pytest.skip("tifffile writes no such images for viewers")
    root = make_folder(4)
    for path in list((root / "masks").iterdir()):
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(dtype)
        mask[:4] = -1
        path.unlink()
        np.save(path.with_suffix(suffix), mask) if suffix == ".npy" else tifffile.imwrite(
            path.with_suffix(suffix), mask
        )
    with pytest.raises(DataError) as caught:
        open_folder(root)
    assert "its masks hold -1, which is no class. If it means unlabelled, write classes.yaml: cl" in str(caught.value)
    advice = str(caught.value).partition("write classes.yaml: ")[2].partition(". (Read")[0].rstrip(".")
    (root / "classes.yaml").write_text(advice.replace(" and ignore", "\nignore"))
    opened = open_folder(root, val_fraction=0)
    for sample in FolderDataset(opened, "train"):
        mask = sample["mask"].numpy()
        assert (mask[:4] == 255).all()
        assert set(np.unique(mask[4:])) == {0, 1, 2}
    assert not check_folder(root).errors
    (root / "classes.yaml").write_text("classes: [{name: a, value: 0}, {name: b, value: 1}, {name: c, value: 2}]")
    (finding, *_) = check_folder(root).errors
    assert finding.message.startswith("label -1 (128 pixels) is not in the class table")
    assert finding.fix == "Correct the mask, or put -1 under 'ignore' in classes.yaml: ignore: [255, -1]."
    with (root / "classes.yaml").open("a") as file:
        file.write("\nignore: [255, -1]\n")
    assert not check_folder(root).errors


def test_a_table_with_far_values(tmp_path):
    classes = Classes(("a", "b"), ((0, 0, 0), (1, 1, 1)), ((0,), (1,)), ignore=(255, -1, 2**32 - 1))
    raw = np.array([[0, 1, 255], [-1, 2**32 - 1, 1]], np.int64)
    assert classes.encode(raw, file="m").tolist() == [[0, 1, 255], [255, 255, 1]]
    with pytest.raises(DataError, match=r"label -2 \(1 pixels\).*ignores -1, 255, 4294967295\. .*ignore: \[255, -2\]"):
        classes.encode(np.array([[-2]]), file="m")
    with pytest.raises(DataError, match=r"mask value -1 is not within 0 to 65535, as .*\. Put it under 'ignore'"):
        Classes(("a",), ((0, 0, 0),), ((-1,),))
    assert Classes.from_dict(classes.to_dict()).ignore == classes.ignore
