import pytest
import torch
from torch import nn

from atrous.errors import BundleError
from atrous.training.finetune import load_matching


def network(classes: int) -> nn.ModuleDict:
    return nn.ModuleDict({"body": nn.Conv2d(1, 4, 3), "norm": nn.BatchNorm2d(4), "head": nn.Conv2d(4, classes, 1)})


def test_what_fits_is_taken_and_the_rest_reported():
    source, model = network(2), network(3)
    nn.init.constant_(source["norm"].running_mean, 7.0)
    head = model["head"].weight.clone()
    found = load_matching(model, source.state_dict(), source="old.bundle")
    assert torch.equal(model["body"].weight, source["body"].weight)
    assert torch.equal(model["norm"].running_mean, source["norm"].running_mean)
    assert torch.equal(model["head"].weight, head)
    assert found.fresh == ("head.weight", "head.bias") == found.unused
    assert "took over 7 of 9 weights; these start fresh: head.weight, head.bias" in str(found)


def test_a_network_fits_inside_a_model_around_it():
    source, inner = network(2), network(2)
    model = nn.ModuleDict({"network": inner, "crf": nn.Conv2d(2, 2, 1)})
    found = load_matching(model, source.state_dict(), source="old.bundle")
    assert torch.equal(inner["body"].weight, source["body"].weight)
    assert found.fresh == ("crf.weight", "crf.bias")
    assert found.unused == ()


def test_the_normalisation_is_left_alone():
    class Normalized(nn.Conv2d):
        def __init__(self) -> None:
            super().__init__(1, 2, 1)
            self.register_buffer("mean", torch.zeros(1))

    source, model = Normalized(), Normalized()
    source.mean.fill_(3.0)
    load_matching(model, source.state_dict(), source="old.bundle")
    assert float(model.mean) == 0


def test_nothing_in_common_is_an_error():
    with pytest.raises(BundleError, match=r"old\.bundle: not one of its kernels fits") as caught:
        load_matching(network(2), {"trunk.weight": torch.zeros(3), "trunk.bias": torch.zeros(1)}, source="old.bundle")
    assert "'trunk.weight' there" in str(caught.value)


@pytest.mark.parametrize("name", ["norm.num_batches_tracked", "norm.bias", "head.bias"])
def test_what_fits_by_chance_is_no_fit(name):
    with pytest.raises(BundleError):
        load_matching(network(2), {name: network(2).state_dict()[name]}, source="old.bundle")


@pytest.mark.parametrize("average", [{"ema": 0.9}, {"swa": 0.5}])
def test_a_frozen_encoder_is_bit_for_bit_what_it_started_from(tmp_path, average):
    """Through steps, weight decay, averages and statistics measured anew."""
    from atrous.bundle import load_bundle
    from atrous.made import make_scenes
    from atrous.models import create_model
    from atrous.workflows.training import train

    scenes = make_scenes(tmp_path / "scenes", count=4, size=32)
    model = ["model.encoder=tf_efficientnet_lite0", "model.pretrained=true", "model.decoder_channels=[8, 8, 8, 8, 8]"]
    steps = ["training.max_steps=3", "training.validate_every=1", "data.crop=32", "data.batch_size=2", "data.workers=0"]
    groups = ["optimizer.groups={encoder: {frozen: true}}", "optimizer.weight_decay=0.5"]
    overrides = [*model, *steps, *groups, *(f"training.{key}={value}" for key, value in average.items())]
    done = train(scenes, recipe="unet_small", out=tmp_path / "run", overrides=overrides, evaluate=False, progress=False)
    trained = load_bundle(done.bundle).model
    began = create_model("unet", num_classes=trained.num_classes, encoder="tf_efficientnet_lite0", pretrained=True)
    own = trained.encoder.state_dict()
    assert all(torch.equal(own[key], value) for key, value in began.encoder.state_dict().items())


def test_two_stages_train_the_head_first_and_then_everything(tmp_path):
    from atrous.bundle import load_bundle
    from atrous.made import make_scenes
    from atrous.workflows.training import train

    scenes = make_scenes(tmp_path / "scenes", count=4, size=32)
    stages = "stages=[{name: head, optimizer: {groups: {encoder: {frozen: true}}}}, {name: all}]"
    steps = ["training.max_steps=2", "training.validate_every=1", "data.crop=32", "data.batch_size=2", "data.workers=0"]
    model = ["model.encoder=tf_efficientnet_lite0", "model.pretrained=true", "model.decoder_channels=[8, 8, 8, 8, 8]"]
    done = train(scenes, recipe="unet_small", out=tmp_path / "run", overrides=[*model, *steps, stages],
                 evaluate=False, progress=False)  # fmt: skip
    head, last = (load_bundle(path).model for path in (tmp_path / "run" / "stages" / "1-head", done.bundle))
    name = "encoder.body.conv_stem.weight"
    assert not torch.equal(head.state_dict()[name], last.state_dict()[name])
    assert head.mean.tolist() == last.mean.tolist() == [127.0] * 3
