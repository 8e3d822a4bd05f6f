"""Networks with random weights that mean something, for the tests of prediction and post-processing."""

import numpy as np
import pytest
import torch

from atrous.models import create_model


def made_image(height, width, channels=1, seed=0):
    """Smooth blobs and a little noise, 8 bits."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    layers = []
    for _ in range(channels):
        waves = sum(
            np.sin(rows * rng.uniform(0.02, 0.3) + columns * rng.uniform(0.02, 0.3) + rng.uniform(0, 6))
            for _ in range(5)
        )
        layers.append(127 + 20 * waves + rng.normal(0, 12, (height, width)))
    return np.clip(np.stack(layers, -1), 0, 255).astype(np.uint8)


def experienced(name, num_classes=3, in_channels=1, **arguments):
    """A model with random weights whose norms have seen images, so that their running statistics mean something."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=num_classes, in_channels=in_channels, **arguments)
    model.set_normalization([120.0] * in_channels, [60.0] * in_channels)
    model.train()
    with torch.no_grad():
        for seed in range(3):
            image = made_image(96, 96, in_channels, seed)
            model(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    return _outspoken(model.eval())


def _outspoken(model):
    """Scale the head so that the classes compete everywhere: a random one says the same of every pixel."""
    image = torch.from_numpy(made_image(200, 200, model.in_channels, 9)).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        logits = model(image)["out"][0].flatten(1)
        scale = 2 / logits.std(1)
        model.head.bias.copy_((model.head.bias - logits.mean(1)) * scale)
        model.head.weight.mul_(scale[:, None, None, None])
    return model


MODELS = {
    "unet2015": {"width": 4},
    "unet": {"encoder": "resnet18", "decoder_channels": (32, 32, 16, 16, 8)},
    "fcn": {"encoder": "resnet18"},
}


@pytest.fixture(scope="session", params=MODELS)
def any_model(request):
    return experienced(request.param, **MODELS[request.param])


@pytest.fixture(scope="session")
def small_model():
    return experienced("unet2015", width=2)
