"""Training shows the network what prediction shows it where an image has no data: the mean that it takes off."""

import numpy as np
import pytest
import tifffile
import torch

from atrous.data import open_folder
from atrous.images import write_image
from atrous.inference import Predictor
from atrous.models import create_model
from atrous.recipe import load_recipe
from atrous.tasks import TASKS
from atrous.training.engine import carry_out, find_checkpoint
from atrous.training.fitting import make_plan
from atrous.training.resolved import resolve
from atrous.training.start import initialize

RECIPE = """\
model: {name: unet2015, width: 2}
data: {crop: 32, batch_size: 2, workers: 0, augment: [horizontal_flip, {name: rotation, degrees: 20}, cutmix]}
optimizer: {name: adamw, lr: 0.01}
training: {device: cpu, precision: float32, max_steps: 6, validate_every: 3, checkpoint_every: 2, log_every: 1}
"""


@pytest.fixture
def folder(tmp_path):
    """Heights with a stripe of nodata in each image."""
    for part in ("images", "masks"):
        (tmp_path / "set" / part).mkdir(parents=True)
    for number in range(5):
        rng = np.random.default_rng(number)
        image = rng.normal(500, 20, (48, 56)).astype(np.float32)
        image[:, 20:28] = -9999
        tags = [(42113, "s", 0, "-9999", True)]
        tifffile.imwrite(tmp_path / f"set/images/{number}.tif", image, tile=(16, 16), extratags=tags)
        write_image(tmp_path / f"set/masks/{number}.png", rng.integers(0, 2, (48, 56)).astype(np.uint8))
    return open_folder(tmp_path / "set")


@pytest.fixture
def plan_for(folder, tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    recipe = resolve(load_recipe(tmp_path / "recipe.yaml"))

    def make(*, mean: float | None = None):
        torch.manual_seed(0)
        model = create_model("unet2015", num_classes=2, in_channels=1, width=2)
        if mean is None:
            initialize(model, folder, None)
        else:
            model.set_normalization([mean], [20.0])
        return make_plan(model, TASKS["segmentation"](2), folder, recipe)

    return make


def test_samples_of_training_and_validation_hold_what_prediction_shows(plan_for, folder):
    plan = plan_for()
    mean = plan.model.mean.item()
    assert 490 < mean < 510  # no statistic knows of -9999, nor of what stands in its place
    for data, split in ((plan.train, "train"), (plan.val, "val")):
        for index, pair in enumerate(folder.splits[split]):
            image, mask = data[index]["image"][0], data[index]["mask"]
            assert (image[:, 20:28] == np.float32(mean)).all()
            assert (mask[:, 20:28] == 255).all()
            predictor = Predictor(
                plan.model, class_names=["a", "b"], dtype="float32", device="cpu", precision="float32"
            )
            with torch.no_grad():
                wanted = plan.model.eval()(image[None, None])["out"][0].argmax(0).numpy()
            np.testing.assert_array_equal(predictor(pair.image).classes, wanted)


def test_a_killed_run_resumes_to_the_same_bits(plan_for, tmp_path):
    """Also where the model that the plan is made for has another mean: that of the checkpoint counts."""
    whole = plan_for()
    carry_out(whole, tmp_path / "whole", progress=False)

    class KilledError(Exception):
        pass

    def watch():
        if killed.state.step == 4:
            raise KilledError

    killed = plan_for()
    with pytest.raises(KilledError):
        carry_out(killed, tmp_path / "killed", watch=watch, progress=False)
    for mean in (None, 3.0):
        resumed = plan_for(mean=mean)
        carry_out(resumed, tmp_path / f"resumed{mean}", saved=find_checkpoint(tmp_path / "killed"), progress=False)
        assert resumed.train.fill == whole.train.fill == whole.model.mean.tolist()
        assert resumed.val.fill == whole.val.fill
        for (name, one), other in zip(
            whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True
        ):
            assert torch.equal(one, other), name
