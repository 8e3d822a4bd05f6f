"""Other libraries' weights in our networks: outputs agree, and what does not fit is told."""

import pytest
import torch
from torch import nn

from atrous.errors import ModelError
from atrous.models import create_model
from atrous.surgery.weights import load_weights, read_weights
from tests.models.weights import difference, shuffle_norms

torchvision = pytest.importorskip("torchvision")


def theirs_and_ours(theirs, name, **arguments):
    """Another library's network with norms that are not zero and one, and ours with its weights."""
    torch.manual_seed(0)
    shuffle_norms(theirs)
    ours = create_model(name, num_classes=5, **arguments)
    loaded = load_weights(ours, theirs.state_dict())
    ours.set_normalization([0.0] * ours.in_channels, [1.0] * ours.in_channels)
    return theirs.eval(), ours.eval(), loaded


def segmentation(name, **arguments):
    build = getattr(torchvision.models.segmentation, name)
    return build(weights=None, weights_backbone=None, num_classes=5, **arguments)


# ---------- torchvision's segmenters


@pytest.mark.parametrize(
    ("there", "here", "arguments"),
    [
        ("fcn_resnet50", "fcn", {}),
        ("deeplabv3_resnet50", "deeplabv3_torchvision", {"encoder": "resnet50"}),
        ("deeplabv3_mobilenet_v3_large", "deeplabv3_torchvision",
         {"encoder": "mobilenetv3_large_100", "output_stride": 16}),
    ],
)  # fmt: skip
def test_torchvisions_segmenters(there, here, arguments):
    aux = "resnet" in there  # torchvision's auxiliary head on MobileNet reads a finer map than ours
    theirs, ours, loaded = theirs_and_ours(segmentation(there, aux_loss=aux), here, aux=aux, **arguments)
    assert (loaded.fresh, loaded.unused, loaded.misfits) == ((), (), ())
    assert difference(ours, theirs, (64, 96)) < 1e-4


def test_weights_without_a_place_are_listed():
    theirs = segmentation("fcn_resnet50", aux_loss=True)
    _, _, loaded = theirs_and_ours(theirs, "fcn")
    assert {name.split(".")[0] for name in loaded.unused} == {"aux_classifier"}
    assert "these were not used: aux_classifier.0.weight" in str(loaded)


def test_other_classes_and_channels_start_fresh_and_are_told():
    theirs = segmentation("fcn_resnet50").state_dict()
    ours = create_model("fcn", num_classes=2, in_channels=1)
    before = ours.head.weight.clone()
    loaded = load_weights(ours, theirs)
    assert set(loaded.fresh) == {"head.weight", "head.bias", "encoder.body.conv1.weight"}
    assert "head.weight (5, 512, 1, 1) there, (2, 512, 1, 1) here" in loaded.misfits
    assert torch.equal(ours.head.weight, before)
    assert ours.mean.tolist() == [0.0]  # one channel is not normalised as ImageNet's three


def test_the_images_are_normalised_as_the_weights_expect():
    ours = create_model("fcn", num_classes=5)
    load_weights(ours, segmentation("fcn_resnet50").state_dict())
    assert torch.allclose(ours.mean, torch.tensor([123.675, 116.28, 103.53]))
    assert torch.allclose(ours.std, torch.tensor([58.395, 57.12, 57.375]))


# ---------- classifiers


def features_of(vgg, image):
    """torchvision's maps before each pooling."""
    maps, x = [], image
    for layer in vgg.features:
        if isinstance(layer, nn.MaxPool2d):
            maps.append(x)
        x = layer(x)
    return maps


@pytest.mark.parametrize("name", ["segnet", "segnet_bayesian", "deconvnet"])
def test_vgg_with_norms_onto_the_encoders_that_have_them(name):
    with torch.device("meta"):
        ours = create_model(name, num_classes=5)
    ours = nn.ModuleDict({"encoder": ours.encoder}).to_empty(device="cpu")  # the decoder is not needed, and large
    ours.spec = type("Spec", (), {"name": name})
    vgg = torchvision.models.vgg16_bn(weights=None)
    vgg.classifier = nn.Sequential()
    shuffle_norms(vgg)
    loaded = load_weights(ours, vgg.state_dict())
    assert loaded.fresh == ()
    assert loaded.unused == ()
    image = torch.rand(1, 3, 32, 32)
    expected, x = features_of(vgg.eval(), image), image
    with torch.inference_mode():
        for i, stage in enumerate(ours.eval().encoder):
            x = stage(x if i == 0 else nn.functional.max_pool2d(x, 2))
            assert torch.allclose(x, expected[i], atol=1e-4)


def test_vgg_without_norms_onto_an_encoder_with_them_takes_the_convolutions():
    ours = create_model("segnet", num_classes=2)
    vgg = torchvision.models.vgg16(weights=None)
    vgg.classifier = nn.Sequential()
    loaded = load_weights(ours, vgg.state_dict())
    assert len(loaded.taken) == 2 * 13
    assert torch.equal(ours.encoder[4][6].weight, vgg.features[28].weight)


@pytest.mark.parametrize(("name", "first", "last"), [
    ("fcn8s", "conv1_1.weight", "conv5_3.weight"),
    ("deeplabv1", "encoder.stages.0.0.weight", "encoder.stages.4.4.weight"),
    ("dilation", "encoder.stages.0.0.weight", "encoder.stages.4.4.weight"),
])  # fmt: skip
def test_vgg_onto_the_networks_of_its_time(name, first, last):
    with torch.device("meta"):
        ours = create_model(name, num_classes=2)
    ours.to_empty(device="cpu")  # the fully connected layers are large, and are not touched
    vgg = torchvision.models.vgg16(weights=None)
    vgg.classifier = nn.Sequential()
    loaded = load_weights(ours, vgg.state_dict())
    own = ours.state_dict()
    assert len(loaded.taken) == 2 * 13
    assert loaded.unused == ()
    assert torch.equal(own[first], vgg.features[0].weight)
    assert torch.equal(own[last], vgg.features[28].weight)


def test_fully_connected_layers_become_convolutions():
    """fc6 of the window that it covers is the classifier's layer of the flattened window."""
    small = create_model("fcn_alexnet", num_classes=2, width=6, fc_width=8)
    numbers = {name: value for name, value in small.state_dict().items() if name.startswith("fc")}
    channels = small.conv5.out_channels
    weights = {f"features.{i}.{kind}": getattr(getattr(small, f"conv{n}"), kind).detach() + 1
               for n, i in enumerate((0, 3, 6, 8, 10), start=1) for kind in ("weight", "bias")}  # fmt: skip
    weights |= {"classifier.1.weight": torch.rand(8, channels * 36), "classifier.1.bias": torch.rand(8)}
    weights |= {"classifier.4.weight": torch.rand(8, 8), "classifier.4.bias": torch.rand(8)}
    loaded = load_weights(small, weights)
    assert set(loaded.taken) >= numbers.keys()
    window = torch.rand(1, channels, 6, 6)
    expected = nn.functional.linear(window.flatten(1), weights["classifier.1.weight"], weights["classifier.1.bias"])
    assert torch.allclose(small.fc6(window).flatten(1), expected, atol=1e-5)


def test_torchvisions_alexnet_is_not_caffes():
    alexnet = torchvision.models.alexnet(weights=None).state_dict()
    with pytest.raises(ModelError, match=r"first layer, conv1\.weight, has 64 kernels there and 96 here"):
        load_weights(create_model("fcn_alexnet", num_classes=2, fc_width=8), alexnet)


def test_torchvisions_alexnet_fits_the_form_of_its_name():
    classifier = torchvision.models.alexnet(weights=None).eval()
    model = create_model("fcn_alexnet", num_classes=2, form="torchvision").eval()
    loaded = load_weights(model, classifier.state_dict())
    assert {name.split(".")[0] for name in loaded.fresh} == {"score_fr", "upscore"}
    assert set(loaded.unused) == {"classifier.6.weight", "classifier.6.bias"}
    # A window in the middle, far from both networks' borders, of the fifth convolution.
    image = torch.rand(1, 3, 499, 499)
    seen = {}
    model.conv5.register_forward_hook(lambda module, args, out: seen.update(ours=out))
    with torch.inference_mode():
        model.set_normalization([0.0] * 3, [1.0] * 3)
        model(image)
        theirs = classifier.features[:11](torch.nn.functional.pad(image, [98] * 4))
    assert torch.allclose(seen["ours"][..., 5:27, 5:27], theirs[..., 5:27, 5:27], atol=1e-5)


@pytest.mark.parametrize("wrapped", [False, True])
def test_hrnet_of_timm_and_of_its_authors(wrapped):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model("hrnet_w18", pretrained=False)
    shuffle_norms(theirs)
    weights = dict(theirs.state_dict())
    if wrapped:  # the authors' checkpoints hold the whole of their training
        weights = {"state_dict": {f"model.{name}": value for name, value in weights.items()}, "epoch": 484}
    ours = create_model("hrnet", num_classes=2, encoder="hrnet_w18")
    loaded = load_weights(ours, weights)
    assert {name.split(".")[0] for name in loaded.fresh} == {"decoder", "head"}
    assert {name.split(".")[0] for name in loaded.unused} == {
        "incre_modules", "downsamp_modules", "final_layer", "classifier",
    }  # fmt: skip
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        found = ours.encoder.eval()(image)[0]
        stem = theirs.eval().act1(theirs.bn1(theirs.conv1(image)))
    assert found.isfinite().all()
    with torch.inference_mode():
        assert torch.allclose(ours.encoder.bn1(ours.encoder.conv1(image)).relu(), stem, atol=1e-5)


def test_the_authors_hrnet_for_segmentation_brings_its_head():
    with torch.device("meta"):
        ours = create_model("hrnet", num_classes=4, encoder="hrnet_w18")
    ours = ours.to_empty(device="cpu")
    weights = {}
    for name, value in ours.state_dict().items():
        place = name.removeprefix("encoder.")
        for mine, authors in (
            ("decoder.conv", "last_layer.0"),
            ("decoder.norm", "last_layer.1"),
            ("head", "last_layer.3"),
        ):
            place = authors + place.removeprefix(mine) if place.startswith(f"{mine}.") else place
        weights[place] = torch.rand_like(value) if value.is_floating_point() else torch.zeros_like(value)
    loaded = load_weights(ours, weights)
    assert loaded.fresh == ()
    assert torch.equal(ours.head.weight, weights["last_layer.3.weight"])


@pytest.mark.parametrize("name", ["pspnet", "gcn", "unet"])
def test_a_resnet_onto_any_model_that_has_it(name):
    ours = create_model(name, num_classes=2, encoder="resnet18")
    theirs = torchvision.models.resnet18(weights=None)
    shuffle_norms(theirs)
    loaded = load_weights(ours, theirs.state_dict())
    assert not any(".layer" in place and place.startswith("encoder.") for place in loaded.fresh)
    assert {place.split(".")[0] for place in loaded.unused} == {"fc"}
    assert not any(place.startswith("encoder") for place in loaded.fresh)


# ---------- segmentation_models_pytorch


@pytest.mark.parametrize(
    ("there", "here", "options", "arguments"),
    [
        ("Unet", "unet", {}, {}),
        ("PSPNet", "pspnet_smp", {}, {}),
        ("DeepLabV3", "deeplabv3_smp", {}, {}),
        ("DeepLabV3", "deeplabv3_smp", {"decoder_aspp_separable": True}, {"separable": True}),
        ("DeepLabV3Plus", "deeplabv3plus_smp", {}, {}),
        ("DeepLabV3Plus", "deeplabv3plus_smp", {"decoder_aspp_separable": False}, {"separable": False}),
    ],
)
def test_smps_networks(there, here, options, arguments):
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    network = getattr(smp, there)("resnet18", encoder_weights=None, classes=5, **options)
    theirs, ours, loaded = theirs_and_ours(network, here, encoder="resnet18", **arguments)
    assert loaded.fresh == ()
    deep = {name for name in network.state_dict() if name.startswith(("encoder.layer3", "encoder.layer4"))}
    assert set(loaded.unused) == (deep if here == "pspnet_smp" else set())  # which it never uses there either
    assert difference(ours, theirs, (64, 96)) < 1e-4


# ---------- files, and what is refused


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_a_file_is_read(kind, tmp_path):
    from safetensors.torch import save_file

    source = create_model("segnet_basic", num_classes=2, width=4)
    path = tmp_path / f"weights.{kind}"
    if kind == "pth":
        torch.save({"state_dict": source.state_dict(), "epoch": 3}, path)
    else:
        save_file(source.state_dict(), path)
    ours = create_model("segnet_basic", num_classes=2, width=4)
    loaded = load_weights(ours, path)
    assert loaded.fresh == ()
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), ours.parameters(), strict=True))


def test_a_file_that_names_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("ran",)

    torch.save({"weights": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match=r"evil\.pth: cannot be read as weights"):
        read_weights(tmp_path / "evil.pth")


def test_what_is_refused_says_why(tmp_path):
    ours = create_model("segnet_basic", num_classes=2, width=4)
    with pytest.raises(ModelError, match=r"none\.pth: there is no such file"):
        load_weights(ours, tmp_path / "none.pth")
    (tmp_path / "bad.safetensors").write_text("no weights")
    with pytest.raises(ModelError, match=r"bad\.safetensors: cannot be read as weights"):
        load_weights(ours, tmp_path / "bad.safetensors")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelError, match="holds list, not weights by name"):
        load_weights(ours, tmp_path / "list.pth")
    with pytest.raises(ModelError, match="holds no weights by name"):
        load_weights(ours, {"epoch": 3})
    with pytest.raises(
        ModelError, match=r"its names \(such as 'x\.weight'\) are not known; model 'segnet_basic' takes"
    ):
        load_weights(ours, {"x.weight": torch.zeros(2, 2)})


def test_weights_of_another_network_are_named():
    theirs = segmentation("fcn_resnet50").state_dict()
    with pytest.raises(
        ModelError, match="weights of torchvision's FCN; model 'unet' takes: segmentation_models_pytorch's"
    ):
        load_weights(create_model("unet", num_classes=2), theirs)


def test_weights_of_another_width_are_refused():
    vgg = torchvision.models.vgg16(weights=None)
    vgg.classifier = nn.Sequential()
    with pytest.raises(ModelError, match="has 64 kernels there and 8 here"):
        load_weights(create_model("segnet", num_classes=2, width=8), vgg.state_dict())


SMALL_HRNET = {"name": "hrnet_w18", "width": 4, "modules": [1, 1, 1], "blocks": 1, "bottlenecks": 1}
OCR_NAMES = [  # the authors' names of the context of objects, and ours
    ("aux_head", "context.regions"),
    ("conv3x3_ocr", "context.pixels"),
    ("ocr_distri_head.object_context_block.f_pixel.0", "context.attention.query.0.0"),
    ("ocr_distri_head.object_context_block.f_pixel.1.0", "context.attention.query.0.1"),
    ("ocr_distri_head.object_context_block.f_pixel.2", "context.attention.query.1.0"),
    ("ocr_distri_head.object_context_block.f_pixel.3.0", "context.attention.query.1.1"),
    ("ocr_distri_head.object_context_block.f_object.0", "context.attention.key.0.0"),
    ("ocr_distri_head.object_context_block.f_object.1.0", "context.attention.key.0.1"),
    ("ocr_distri_head.object_context_block.f_object.2", "context.attention.key.1.0"),
    ("ocr_distri_head.object_context_block.f_object.3.0", "context.attention.key.1.1"),
    ("ocr_distri_head.object_context_block.f_down.0", "context.attention.value.0"),
    ("ocr_distri_head.object_context_block.f_down.1.0", "context.attention.value.1"),
    ("ocr_distri_head.object_context_block.f_up.0", "context.attention.up.0"),
    ("ocr_distri_head.object_context_block.f_up.1.0", "context.attention.up.1"),
    ("ocr_distri_head.conv_bn_dropout.0", "context.fuse.0"),
    ("ocr_distri_head.conv_bn_dropout.1.0", "context.fuse.1"),
    ("cls_head", "head"),
]
ATTENTION_NAMES = [
    (f"scale_attn.{there}", f"attention.{here}")
    for there, here in (("conv0", "0.0"), ("bn0", "0.1"), ("conv1", "1.0"), ("bn1", "1.1"), ("conv2", "2"))
]


@pytest.mark.parametrize(("name", "prefix"), [("hrnet_ocr", ""), ("hmsa", "module.")])
def test_ocr_of_its_authors_and_of_nvidia(name, prefix):
    sizes = {"width": 8, "key_width": 4} | ({"attention_width": 4} if name == "hmsa" else {})
    torch.manual_seed(1)
    trained = create_model(name, num_classes=3, encoder=SMALL_HRNET, **sizes).eval()
    trunk, blocks = ("backbone.", "ocr.") if name == "hmsa" else ("", "")
    names = [("encoder", trunk.rstrip(".")), *((ours, blocks + theirs) for theirs, ours in OCR_NAMES)]
    names += [(ours, theirs) for theirs, ours in ATTENTION_NAMES] if name == "hmsa" else []
    theirs = {}
    for key, value in trained.state_dict().items():
        found = [(ours, there) for ours, there in names if key.startswith(f"{ours}.")]
        if found:
            ours, there = max(found, key=lambda pair: len(pair[0]))
            theirs[prefix + f"{there}.{key.removeprefix(ours + '.')}".lstrip(".")] = value
    model = create_model(name, num_classes=3, encoder=SMALL_HRNET, **sizes).eval()
    loaded = load_weights(model, theirs)
    assert (loaded.fresh, loaded.unused) == ((), ())
    image = torch.rand(1, 3, 64, 64)
    trained.set_normalization(model.mean, model.std)
    with torch.inference_mode():
        assert torch.equal(model(image)["out"], trained(image)["out"])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda x: x * float("nan"), "has numbers that are not finite; the file is damaged: copy it again"),
        (lambda x: x.to(torch.int8), "is int8, as in a quantised network; give the weights that it was made from"),
    ],
)
def test_weights_that_nothing_can_be_computed_with_are_refused(change, text):
    model = create_model("unet2015", num_classes=2, width=2)
    state = dict(model.state_dict())
    name = next(name for name in state if name.endswith("weight"))
    with pytest.raises(ModelError) as caught:
        load_weights(model, {**state, name: change(state[name])})
    assert str(caught.value) == f"the state dict: {name} {text}"
