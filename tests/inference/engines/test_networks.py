"""Every network of the lineage, converted and proven at sizes that it was not traced at; a later one falls in.

Each takes seconds, so `make test` tries those that differ most; `pytest -m exhaustive` tries the others.
"""

import logging

import pytest
import torch

from atrous.inference.engines.base import EngineError
from atrous.inference.engines.converting import compile_made, convert, maps_of
from atrous.inference.engines.proof import LARGEST, likeness, proof_image
from atrous.models import MODELS
from tests.models.test_contract import REMEMBERING, build

pytest.importorskip("openvino")
REFUSED = {"crfrnn": "OpenVINO"}
"""Networks that stay with torch, and a word of why: an operation that is ours alone."""
SMALLER = [(64, 64), (35, 41), (97, 130)]


ALWAYS = ("unet", "deeplabv3plus", "pspnet", "hrnet", "fcn8s", "segnet", "attention_unet", "crfrnn")


@pytest.mark.parametrize(
    "name", [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.exhaustive) for name in MODELS]
)
def test_a_network_is_proven_or_says_why_it_stays_with_torch(name, unchecked, tmp_path):
    model = build(name)
    if name in REFUSED:
        level = logging.getLogger().level
        with pytest.raises(EngineError, match=REFUSED[name]):
            convert(model, "openvino", tmp_path / name)
        assert logging.getLogger().level == level  # which OpenVINO raises to ERROR, for good where it fails
        return
    made = convert(model, "openvino", tmp_path / name)
    assert made.proofs["float32"]["alike"] > 0.999
    assert made.remembering == (name in REMEMBERING)
    exact = maps_of(compile_made(made, "openvino", "float32", 1))
    for size in SMALLER:
        image = proof_image(model.mean, model.std, size, seed=5)
        with torch.no_grad():
            proof = likeness(model(image), exact(image))
        assert proof.alike > 0.99
        assert proof.largest < LARGEST or made.remembering
