"""A network in 8-bit integers: made from a handful of images, used where it is asked for, and nowhere else."""

import numpy as np
import pytest

from atrous.bundle import save_bundle
from atrous.errors import UsageError
from atrous.inference import Predictor
from atrous.inference.engines import quantize, quantizing
from tests.networks import experienced, made_image

for package in ("openvino", "onnxruntime"):
    pytest.importorskip(package)
NAMES = ["a", "b", "c"]


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "cache"))
    return save_bundle(tmp_path / "cells", experienced("unet2015", width=4), class_names=NAMES)


def test_int8_is_made_for_these_weights_and_used_where_it_is_asked_for(bundle, unchecked):
    folder = quantize(bundle, [made_image(80, 96, seed=seed) for seed in range(4)])
    assert folder.parent == bundle.with_name(".cells.engines")
    assert folder.name.startswith("int8-")
    assert (folder / "network.xml").read_text().count('type="FakeQuantize"') > 10
    short, exact = (Predictor.load(bundle, device="cpu", precision=name) for name in ("int8", "float32"))
    assert (short.engine, short.precision) == ("openvino", "int8")
    image = made_image(150, 170, seed=9)
    found, expected = short(image), exact(image)
    assert (found.classes == expected.classes).mean() > 0.95
    assert not np.allclose(found.scores, expected.scores, atol=1e-4)
    usual = Predictor.load(bundle, device="cpu")
    usual.settle()
    assert usual.engine == "torch"  # never without being asked for
    save_bundle(bundle, experienced("unet2015", width=5), class_names=NAMES)
    with pytest.raises(UsageError, match=r"has no network in int8; make one by engines\.quantize"):
        Predictor.load(bundle, device="cpu", precision="int8")


@pytest.mark.parametrize(
    ("images", "text"),
    [
        ([], "int8: no images came; give 10 to 40"),
        ([np.zeros((8, 8, 3), np.uint8)], r"an image has the shape \(8, 8, 3\); give \(H, W, 1\)"),
    ],
)
def test_what_cannot_be_quantised_is_refused(bundle, images, text):
    with pytest.raises(UsageError, match=text):
        quantize(bundle, images)


def test_int8_has_one_engine_and_needs_a_bundle_and_its_packages(bundle, monkeypatch):
    with pytest.raises(UsageError, match="precision int8: torch has none; say engine openvino or auto"):
        Predictor.load(bundle, device="cpu", precision="int8", engine="torch")
    with pytest.raises(UsageError, match="precision int8: a model that comes from no bundle has none"):
        Predictor(experienced("unet2015", width=4), class_names=NAMES, device="cpu", precision="int8")
    monkeypatch.setattr(quantizing, "is_installed", lambda name: name != "onnxscript")
    with pytest.raises(UsageError, match=r"int8: onnxscript is not installed; run `pip install atrous\[fast\]`"):
        quantize(bundle, [made_image(8, 8)])
