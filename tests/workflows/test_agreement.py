"""A bundle is measured on masks that mean what those of its training meant, or it is refused with both tables."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atrous import create_model, save_bundle
from atrous.data import Classes, open_folder
from atrous.errors import BundleError
from atrous.images import write_image
from atrous.workflows import ensemble, evaluate, tune_crf

Folder = Callable[..., Path]


@pytest.fixture
def make_data(tmp_path: Path) -> Folder:
    """Makes a folder of three images whose masks hold some values, perhaps with a palette and a class table."""

    def make(name: str, values: tuple[int, ...], palette: list[int] | None = None, table: str = "") -> Path:
        root = tmp_path / name
        rng = np.random.default_rng(0)
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True)
        for number in range(3):
            write_image(root / f"images/{number}.png", rng.integers(0, 256, (24, 24), dtype=np.uint8))
            mask = Image.fromarray(np.asarray(values, np.uint8)[np.arange(576).reshape(24, 24) * len(values) // 576])
            if palette:
                mask.putpalette(palette)
            mask.save(root / f"masks/{number}.png")
        if table:
            (root / "classes.yaml").write_text(table)
        return root

    return make


def bundle_of(data: Path, out: Path) -> Path:
    """An untrained bundle that knows the class table of a folder."""
    folder = open_folder(data)
    model = create_model("unet2015", num_classes=len(folder.classes), in_channels=folder.channels, width=2)
    return save_bundle(out, model.eval(), class_names=folder.classes, dtype=folder.dtype)


def test_255_that_was_ignored_is_no_foreground_elsewhere(make_data: Folder, tmp_path: Path) -> None:
    bundle = bundle_of(make_data("trained", (0, 1, 255)), tmp_path / "b")
    other = make_data("other", (0, 255))
    with pytest.raises(BundleError) as caught:
        evaluate(bundle, other)
    assert str(caught.value) == (
        f"{bundle}: was trained on masks of other values or colours than those of {other}. Bundle: background 0, "
        "foreground 1; ignored 255. Data: background 0, foreground 255; ignored nothing. If the values of the data do "
        "mean these classes, say so with --classes FILE."
    )
    with pytest.raises(BundleError, match="was trained on masks of other values"):
        tune_crf(bundle, other)


def test_a_report_shows_no_masks_of_other_values(make_data: Folder, tmp_path: Path) -> None:
    from atrous import Predictor, load_bundle
    from atrous.workflows.pictured import gather_pictures

    bundle = load_bundle(bundle_of(make_data("trained", (0, 1, 255)), tmp_path / "b"))
    shown = gather_pictures(make_data("other", (0, 255)), None, bundle, Predictor.from_bundle(bundle), None)
    assert "was trained on masks of other values" in shown.lacking


def test_who_says_what_the_values_mean_is_believed(make_data: Folder, tmp_path: Path) -> None:
    bundle = bundle_of(make_data("trained", (0, 1, 255)), tmp_path / "b")
    other = make_data("other", (0, 255))
    (tmp_path / "c.yaml").write_text("classes: [{name: background, value: 0}, {name: foreground, value: 255}]")
    assert evaluate(bundle, other, classes=tmp_path / "c.yaml").class_names == ("background", "foreground")


def test_the_order_of_values_and_merged_ones_count(make_data: Folder, tmp_path: Path) -> None:
    table = "classes: [{name: cell, value: 1}, {name: background, value: 0}]"
    bundle = bundle_of(make_data("trained", (0, 1), table=table), tmp_path / "b")
    assert evaluate(bundle, make_data("same", (0, 1), table=table)).class_names == ("cell", "background")
    turned = make_data("turned", (0, 1), table="classes: [{name: cell, value: 0}, {name: background, value: 1}]")
    with pytest.raises(BundleError, match=r"Bundle: cell 1, background 0; .* Data: cell 0, background 1;"):
        evaluate(bundle, turned)
    merged = make_data("m", (0, 1, 2), table="classes: [{name: cell, value: [2, 1]}, {name: background, value: 0}]")
    with pytest.raises(BundleError, match=r"Data: cell 2 or 1, background 0;"):
        evaluate(bundle, merged)


def test_palettes_that_give_a_value_another_color_disagree(make_data: Folder, tmp_path: Path) -> None:
    bundle = bundle_of(make_data("trained", (0, 1), [0, 0, 0, 200, 0, 0]), tmp_path / "b")
    with pytest.raises(BundleError, match="other values or colours"):
        evaluate(bundle, make_data("green", (0, 1), [0, 0, 0, 0, 200, 0]))
    assert evaluate(bundle, make_data("grey", (0, 1))).class_names  # no palette says nothing


def test_colors_of_rgb_masks_count(make_data: Folder, tmp_path: Path) -> None:
    table = 'classes: [{name: soil, color: "#785a28"}, {name: crop, color: "#00ff00"}]'
    red = table.replace("#00ff00", "#ff0000")
    colors = {"one": [0x78, 0x5A, 0x28, 0, 255, 0], "other": [0x78, 0x5A, 0x28, 255, 0, 0]}
    bundle = bundle_of(make_data("one", (0, 1), colors["one"], table), tmp_path / "b")
    with pytest.raises(BundleError, match=r"crop #00ff00; ignored 255\. Data: soil #785a28, crop #ff0000"):
        evaluate(bundle, make_data("other", (0, 1), colors["other"], red))


def test_a_bundle_of_names_alone_is_compared_by_names(make_bundle, make_data: Folder) -> None:
    data = make_data("data", (0, 255), table="classes: [{name: c0, value: 0}, {name: c1, value: 255}]")
    assert evaluate(make_bundle(), data).class_names == ("c0", "c1")


def test_members_of_an_ensemble_learnt_from_the_same_masks(make_data: Folder, tmp_path: Path) -> None:
    one, other = (bundle_of(make_data(str(v), (0, v)), tmp_path / f"b{v}") for v in (1, 255))
    with pytest.raises(BundleError, match=r"background 0, foreground 255.*background 0, foreground 1"):
        ensemble([one, other], tmp_path / "e")
    from atrous import load_bundle

    assert load_bundle(ensemble([one, one], tmp_path / "e")).classes == load_bundle(one).classes


def test_a_table_in_one_line() -> None:
    many = Classes(tuple(f"c{k}" for k in range(30)), ((0, 0, 0),) * 30, tuple((k,) for k in range(30)))
    assert many.describe().endswith("c23 23 and 6 more; ignored 255")
