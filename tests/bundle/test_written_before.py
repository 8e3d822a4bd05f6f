"""A bundle that an earlier version wrote still loads and still decides the same."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from atrous import Predictor, load_bundle
from atrous.bundle import update_bundle

PLACE = Path(__file__).parent / "written_before"


def test_it_says_what_it_said() -> None:
    bundle = load_bundle(PLACE)
    assert bundle.model.spec.name == "unet2015"
    assert bundle.model.spec.arguments["width"] == 1
    assert bundle.task == {"name": "segmentation", "loss": ["cross_entropy", "dice"]}
    assert bundle.class_names == ("background", "cell")
    assert (bundle.dtype, bundle.channels) == ("uint8", 1)
    assert bundle.recipe["clean"] == {"min_size": 3}
    assert bundle.recipe["training"] == {"max_steps": 12}
    assert bundle.metrics["val_mean_iou"] == 0.5
    assert math.isnan(bundle.metrics["seg"])


@pytest.mark.parametrize("updated", [False, True])
def test_it_decides_what_it_decided(tmp_path: Path, updated: bool) -> None:
    place = shutil.copytree(PLACE, tmp_path / "old")
    if updated:
        update_bundle(place, sections={}, metrics={"mean_iou": 0.25})
    expected = np.load(PLACE.with_suffix(".npz"))
    found = Predictor.load(place, device="cpu", precision="float32")(expected["image"], scores=True)
    assert (found.classes == expected["classes"]).mean() > 0.999  # a score of one half may round either way
    np.testing.assert_allclose(found.scores[:, ::8, ::8], expected["scores"], atol=1e-4)
