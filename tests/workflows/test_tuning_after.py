"""What `tune` of a recipe writes: sections of the bundle, and each class before and after, for people too."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from atrous.bundle import load_bundle, save_bundle, update_bundle
from atrous.data import open_folder
from atrous.errors import RecipeError
from atrous.images import write_image
from atrous.inference.scorer import ModelScorer
from atrous.models import create_model
from atrous.workflows import train
from atrous.workflows.tuning_after import tune_after

NAMES = ("sky", "road", "sign")


def street(folder: Path) -> Path:
    """Skies over roads with small signs; an image shows what `read_off` makes of it: patches of road in the sky."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    rows = ", ".join(f"{{name: {name}, value: {number}}}" for number, name in enumerate(NAMES))
    (folder / "classes.yaml").write_text(f"classes: [{rows}]\n")
    names: list[str] = []
    for number in range(8):
        truth = np.zeros((96, 128), np.uint8)
        truth[48:] = 1
        seen = truth.copy()
        for left in range(4, 120, 12):
            top = rng.integers(2, 36)
            truth[top : top + 6, left : left + 6] = 2
            seen[top : top + 2, left : left + 2] = 2
        for top, left in rng.integers(0, (42, 124), (60, 2)):
            patch = seen[top : top + 4, left : left + 4]
            patch[patch == 0] = 1
        write_image(folder / f"images/{number}.png", 100 + 3 * seen[..., None])
        write_image(folder / f"masks/{number}.png", truth)
        names.append(f"images/{number}.png")
    (folder / "train.txt").write_text("\n".join(names[:4]))
    (folder / "val.txt").write_text("\n".join(names[4:]))
    return folder


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """A bundle whose network reads the classes off the image."""

    def read_off(self: ModelScorer, network: object, image: torch.Tensor) -> torch.Tensor:
        wanted = ((image[:, 0] - 100) / 3).round().long()
        return torch.nn.functional.one_hot(wanted, 3).permute(0, 3, 1, 2).float() * 0.4 + 0.2

    monkeypatch.setattr(ModelScorer, "_scores", read_off)
    model = create_model("unet2015", num_classes=3, in_channels=1, width=2).eval()
    return lambda: save_bundle(tmp_path / "x.bundle", model, class_names=NAMES)


def test_no_class_is_erased_and_every_class_is_told(
    bundle: Callable[[], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place, folder = bundle(), open_folder(street(tmp_path / "street"))
    with caplog.at_level(logging.INFO, logger="atrous"):
        tuned = tune_after(load_bundle(place), folder, ("crf", "min_size"))
    again = load_bundle(place)
    assert again.recipe["clean"] == tuned.recipe["clean"]
    sizes = again.recipe["clean"]["min_size"]
    assert sizes[2] <= 4 < 16 < sizes[1]
    figures = again.metrics["tuned"]
    assert figures == tuned.metrics["tuned"]
    assert figures["chosen"] == ["min_size"]
    for name in NAMES:
        assert figures["after"][name] >= figures["before"][name] - 0.01
    assert figures["before"]["sign"] > 0.1
    lost = figures["left_out"]["crf"]["sign"]
    assert lost[0] > 0.1 > lost[1]
    card = (place / "README.md").read_text()
    for text in (card, caplog.text):
        assert "min_size" in text
        assert f"{figures['before']['road']:.3f}" in text
        assert f"{figures['after']['road']:.3f}" in text
    assert "Chosen by 4 validation images: min_size." in card
    assert f"crf (sign from {lost[0]:.4f} to {lost[1]:.4f})" in card
    assert (
        f"crf raises the mean and is left out, because it costs sign IoU {lost[0]:.3f} to {lost[1]:.3f}" in caplog.text
    )


def test_where_nothing_is_chosen_that_is_told_too(
    bundle: Callable[[], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place, data = bundle(), street(tmp_path / "street")
    half = (np.arange(96) >= 48).astype(np.uint8)[:, None].repeat(128, 1)
    for mask in (data / "masks").iterdir():
        write_image(data / "images" / mask.name, 100 + 3 * half[..., None])
        write_image(mask, half)
    with caplog.at_level(logging.INFO, logger="atrous"):
        tuned = tune_after(load_bundle(place), open_folder(data), ("min_size",))
    assert "clean" not in tuned.recipe
    assert "min_size does no good and is left out" in caplog.text
    assert "Chosen by 4 validation images: nothing." in (place / "README.md").read_text()
    assert np.isnan(load_bundle(place).metrics["tuned"]["before"]["sign"])


def test_sizes_that_do_not_fit_the_classes_are_refused_before_the_first_step(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: {name: unet2015, width: 2}\nclean: {min_size: [3, 4]}\ntraining: {device: cpu}\n")
    with pytest.raises(RecipeError, match=r"line 2, clean\.min_size: got 2 sizes for 3 classes"):
        train(street(tmp_path / "street"), recipe=recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_report_shows_each_class(run: Path, tmp_path: Path) -> None:
    import shutil

    from atrous.workflows import report

    own = Path(shutil.copytree(run, tmp_path / "own"))
    names = load_bundle(own).class_names
    lost = {names[1]: [0.5, 0.25]}
    figures = {"images": 5, "chosen": [], "left_out": {"crf": lost}, "settings": {}}
    figures |= {"before": dict.fromkeys(names, 0.123), "after": dict.fromkeys(names, 0.456)}
    update_bundle(own, sections={}, metrics={"tuned": figures})
    page = report(own, device="cpu").read_text()
    assert "What post-processing changed" in page
    assert page.count("0.123") == page.count("0.456") == len(names)
    assert f"{names[1]} (0.500 to 0.250)" in page
