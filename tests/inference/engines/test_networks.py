"""Every network of the lineage, converted and proven at sizes that it was not traced at; a later one falls in."""

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


@pytest.mark.parametrize("name", MODELS)
def test_a_network_is_proven_or_says_why_it_stays_with_torch(name, unchecked, tmp_path):
    model = build(name)
    if name in REFUSED:
        with pytest.raises(EngineError, match=REFUSED[name]):
            convert(model, "openvino", tmp_path / name)
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
