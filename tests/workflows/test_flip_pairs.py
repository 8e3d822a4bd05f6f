"""Pairs of mirror images from the data folder to the bundle, and from there to predictions and ensembles."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from atrous.bundle import load_bundle, update_bundle
from atrous.errors import BundleError, DataError
from atrous.inference import Predictor
from atrous.workflows import ensemble, train

TABLE = "classes: [{name: background, value: 0}, {name: left, value: 1}, {name: right, value: 2}]\n"
PAIRS = "flip_pairs: [[left, right]]\n"
RECIPE = """\
model:     {name: unet2015, width: 2}
data:      {crop: 32, batch_size: 2, workers: 0, augment: [{name: horizontal_flip}, {name: copy_paste}]}
training:  {max_steps: 2, device: cpu, precision: float32}
"""


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., Path]:
    """Trains two steps on hands, and gives the run."""

    def make(name: str, table: str = TABLE + PAIRS, *, resume: bool = False) -> Path:
        data = tmp_path / "hands"
        for folder in ("images", "masks"):
            (data / folder).mkdir(parents=True, exist_ok=True)
        (data / "classes.yaml").write_text(table)
        (tmp_path / "recipe.yaml").write_text(RECIPE)
        mask = np.zeros((40, 40), np.uint8)
        mask[10:20, 5:15], mask[10:20, 25:35] = 1, 2
        for number in range(6):
            cv2.imwrite(str(data / "images" / f"{number}.png"), 100 * mask + 20 + number)
            cv2.imwrite(str(data / "masks" / f"{number}.png"), mask)
        return train(data, recipe=tmp_path / "recipe.yaml", out=tmp_path / name, evaluate=False, resume=resume).out

    return make


def test_a_bundle_carries_them_and_its_predictor_knows_them(trained: Callable[..., Path], tmp_path: Path) -> None:
    run = trained("one")
    file = run / "bundle" / "classes.json"
    assert json.loads(file.read_text())["flip_pairs"] == [["left", "right"]]
    update_bundle(run, sections={"clean": {"min_size": 3}})
    bundle = load_bundle(run)
    assert bundle.classes is not None
    assert bundle.classes.flip_pairs == ((1, 2),)
    predictor = Predictor.from_bundle(bundle, device="cpu", precision="float32")
    image = np.random.default_rng(0).integers(0, 255, (32, 32), np.uint8)
    plain, mirrored = (predictor(each, scores=True).scores for each in (image, np.ascontiguousarray(image[:, ::-1])))
    assert plain is not None
    assert mirrored is not None
    found = predictor(image, views=["hflip"], scores=True).scores
    assert np.allclose(found, (plain + mirrored[[0, 2, 1], :, ::-1]) / 2, atol=1e-5)
    both = ensemble([run, run], tmp_path / "both")
    assert Predictor.load(both, device="cpu").flip_pairs == ((1, 2),)
    content = json.loads(file.read_text())
    for damage in ([["left"]], [["left", "hand"]], [["left", "left"]], "left", [[1, 2]]):
        file.write_text(json.dumps({**content, "flip_pairs": damage}))
        with pytest.raises(BundleError, match=r"classes\.json: the mask values do not fit, or the flip_pairs"):
            load_bundle(run)


def test_an_older_bundle_has_them_where_its_flips_did(trained: Callable[..., Path]) -> None:
    run = trained("one", TABLE)
    assert Predictor.load(run, device="cpu").flip_pairs == ()
    recipe = load_bundle(run).recipe
    flip = {"name": "horizontal_flip", "swap": [[1, 2]]}
    update_bundle(run, sections={"data": {**recipe["data"], "augment": ["elastic", flip]}})
    assert Predictor.load(run, device="cpu").flip_pairs == ((1, 2),)
    for swap in (3, [3], [[1]], [[1, 9]], [["a", "b"]], None):
        update_bundle(run, sections={"data": {**recipe["data"], "augment": [{**flip, "swap": swap}]}})
        assert Predictor.load(run, device="cpu").flip_pairs == ()


def test_members_of_an_ensemble_agree_and_a_resumed_run_keeps_them(
    trained: Callable[..., Path], tmp_path: Path
) -> None:
    one, other = trained("one"), trained("other", TABLE)
    with pytest.raises(BundleError, match=r"mirror images, flip_pairs of classes\.yaml, are not those of"):
        ensemble([one, other], tmp_path / "both")
    with pytest.raises(DataError, match="was trained on other data"):
        trained("one", TABLE, resume=True)
