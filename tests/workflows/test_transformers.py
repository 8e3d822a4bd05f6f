"""A whole run with a transformer as encoder: from a folder of images to predictions of odd sizes."""

import numpy as np
import pytest
import torch

import atrous
from atrous.inference.prepare import prepare


@pytest.mark.parametrize("encoder", ["test_vit", "hiera_tiny_224"])
def test_a_run_from_a_folder_to_predictions_of_odd_sizes(encoder, data, tmp_path):
    overrides = [
        *(f"model.encoder={encoder}", "model.decoder_channels=[16,16,8,8,8]", "model.pretrained=false"),
        *("data.crop=[40,72]", "data.batch_size=2", "data.workers=0", "training.max_steps=2"),
    ]
    atrous.train(data, recipe="unet", out=tmp_path / "run", overrides=overrides, evaluate=False)
    image = np.random.default_rng(0).integers(0, 255, (71, 45), np.uint8)
    exact = atrous.Predictor.load(tmp_path / "run" / "bundle", precision="float32")(image).classes
    assert exact.shape == (71, 45)
    model = atrous.load_bundle(tmp_path / "run" / "bundle").model.eval()
    with torch.inference_mode():
        logits = model(torch.from_numpy(image)[None, None].float())["out"]
        with torch.autocast("cpu", torch.bfloat16):
            short = prepare(model, torch.bfloat16, torch.device("cpu"))(torch.from_numpy(image)[None, None].float())
    assert np.mean(exact == logits[0].argmax(0).numpy()) > 0.99
    assert (short["out"] - logits).abs().mean() < 0.1 * logits.std()
