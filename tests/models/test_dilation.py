"""Facts of Dilation: counts, the unpadded front end and its mirror, the context module that starts as the identity."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atrous.analysis import alignment, receptive_field
from atrous.encoders import vgg, vgg_dense
from atrous.encoders.base import Weights
from atrous.errors import ModelError
from atrous.layers import mirror
from atrous.models import create_model
from atrous.models.dilation import CONTEXT_DILATIONS, Context, dilation

NARROW = {"encoder": {"name": "vgg16", "width": 2, "channels": 4}}
LARGE = (2, 2, 4, 8, 16, 32, 32)
UPSAMPLING = 19 * 16 * 16  # the Cityscapes network's fixed transposed convolution, an interpolation here


def on_meta(num_classes=21, **arguments):
    with torch.device("meta"):
        return dilation(num_classes, **arguments)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def context_module(classes=4, depth=8, *, large=False, noise=0.0):
    dilations = CONTEXT_DILATIONS[depth]
    return Context(classes, dilations, LARGE if large else [1] * len(dilations), noise)


@pytest.mark.parametrize(("num_classes", "parameters"), [(21, 134_346_581), (19, 134_338_387), (11, 134_305_611)])
def test_parameters_of_the_front_end(num_classes, parameters):
    assert count(on_meta(num_classes, context="none")) == parameters


@pytest.mark.parametrize(("context", "parameters"), [("basic", 28_392), ("large", 6_803_139)])
def test_parameters_of_the_context_module(context, parameters):
    assert count(on_meta(context=context).context) == parameters


@pytest.mark.parametrize(
    ("num_classes", "context", "depth", "parameters"),
    [
        (21, "large", 8, 141_149_720),  # VOC
        (19, "basic", 10, 134_373_043 - UPSAMPLING),  # Cityscapes
        (11, "basic", 8, 134_313_443),  # CamVid
        (11, "basic", 7, 134_312_343),  # KITTI
    ],
)
def test_parameters_of_the_released_networks(num_classes, context, depth, parameters):
    assert count(on_meta(num_classes, context=context, depth=depth)) == parameters


def test_the_defaults_are_the_network_for_voc():
    assert count(on_meta()) == 141_149_720


def test_sizes_of_the_front_end():
    trunk = on_meta(context="none").encoder
    seen = []
    for stage in trunk.stages:
        stage.register_forward_hook(lambda module, args, output: seen.append(output.shape[-1]))
    assert trunk.core(torch.empty(1, 3, 900, 900, device="meta")).shape == (1, 4096, 66, 66)
    assert seen == [896, 444, 216, 102, 90]
    assert trunk.margin == 186
    assert trunk.core(torch.empty(1, 3, 380, 388, device="meta")).shape[-2:] == (1, 2)
    with pytest.raises(RuntimeError):
        trunk.core(torch.empty(1, 3, 370, 380, device="meta"))


def test_the_front_end_s_own_reach_is_its_margin():
    """A cell sees 380 pixels: its own 8 and 186 on each side."""
    model = create_model("dilation", num_classes=2, **NARROW, context="none")
    assert alignment(model) == model.alignment == 8

    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk, self.in_channels = model.encoder, 3

        def forward(self, image):
            return self.trunk(image)[0]

    field = receptive_field(Cell()).vertical
    assert (field.left, field.right, field.size) == (186, 193, 380)


@pytest.mark.parametrize(("depth", "field"), [(7, 35), (8, 67), (10, 259)])
def test_reach_of_the_context_module(depth, field):
    for large in (False, True) if depth == 8 else (False,):
        assert receptive_field(context_module(depth=depth, large=large), in_channels=4).vertical.size == field


def test_layers_of_the_context_module():
    for depth, rates in ((7, [1, 1, 2, 4, 8, 1]), (8, [1, 1, 2, 4, 8, 16, 1]), (10, [1, 1, 2, 4, 8, 16, 32, 64, 1])):
        module = on_meta(depth=depth, context="basic").context
        convs = [layer for layer in module.layers if isinstance(layer, nn.Conv2d)]
        assert len(convs) == depth
        assert [conv.dilation[0] for conv in convs] == [*rates, 1]
        assert [conv.padding[0] for conv in convs] == [*rates, 0]
    convs = [layer for layer in on_meta().context.layers if isinstance(layer, nn.Conv2d)]
    assert [conv.out_channels for conv in convs] == [42, 42, 84, 168, 336, 672, 672, 21]  # of the VOC release
    assert not isinstance(on_meta().context.layers[-1], nn.ReLU)


@pytest.mark.parametrize("large", [False, True])
def test_the_context_module_starts_as_the_identity_of_what_is_not_negative(large):
    torch.manual_seed(0)
    scores = torch.rand(2, 4, 70, 9)
    module = context_module(large=large)
    assert torch.allclose(module(scores), scores, atol=1e-6)
    assert torch.allclose(module(-scores), torch.zeros_like(scores))  # its ReLUs stop the others


def test_the_large_module_starts_near_the_identity_with_noise_that_parts_the_copies():
    torch.manual_seed(0)
    module = create_model("dilation", num_classes=4, **NARROW).context
    scores = torch.rand(2, 4, 40, 40) + 1
    passed = module(scores)
    assert 0 < (passed - scores).abs().mean() < 0.15
    first = module.layers[0].weight
    assert first[0, 0, 1, 1] == first[1, 0, 1, 1] == 0.5
    assert first[2, 1, 1, 1] == first[3, 1, 1, 1] == 0.5
    elsewhere = torch.cat([first[:2, 1:].flatten(), first[2:, 0].flatten()])
    assert elsewhere.std().item() == pytest.approx(0.005, rel=0.25)
    widest = module.layers[12].weight  # 32 C from 32 C
    assert widest[:, :, 0].std().item() == pytest.approx(0.01 / 32, rel=0.05)  # beside the centre
    assert not torch.equal(first[0], first[1])


def test_the_basic_module_is_exactly_the_identity():
    module = create_model("dilation", num_classes=4, **NARROW, context="basic").context
    for layer in module.layers:
        if isinstance(layer, nn.Conv2d):
            middle = layer.kernel_size[0] // 2
            assert torch.equal(layer.weight[:, :, middle, middle], torch.eye(4))
            assert layer.weight.count_nonzero() == 4
            assert not layer.bias.any()


@pytest.mark.parametrize("size", [1, 5, 8, 40])
def test_an_image_is_mirrored_by_what_the_convolutions_eat(size):
    torch.manual_seed(0)
    model = create_model("dilation", num_classes=2, **NARROW, context="none").double().eval()
    image = torch.randn(1, 3, size, 8, dtype=torch.float64)
    whole = -(-size // 8) * 8
    with torch.inference_mode():
        fitted = F.pad(image, (0, 0, 0, whole - size), mode="replicate")
        cells = model.head(model.encoder.core(mirror(fitted, 186, 186, 186, 186)))
        assert cells.shape[-2:] == (whole // 8, 1)
        scores = F.interpolate(cells, size=(whole, 8), mode="bilinear")
        assert torch.allclose(model(image)["out"], scores[:, :, :size], atol=1e-9)


def test_the_interpolation_is_the_transposed_convolution_of_the_cityscapes_network():
    """16x16 bilinear, stride 8, padding 4; beyond the border the one repeats, the other fades."""
    cells = torch.rand(1, 1, 6, 7)
    ramp = 1 - (torch.arange(16) - 7.5).abs() / 8
    kernel = (ramp[:, None] * ramp)[None, None]
    there = F.conv_transpose2d(cells, kernel, stride=8, padding=4)
    here = F.interpolate(cells, size=(48, 56), mode="bilinear")
    close = ((here - there).abs() < 1e-5)[0, 0]
    assert close[4:-4, 4:-4].all()
    assert not close[:4].any()
    assert not close[:, -4:].any()


def test_the_training_output_front_is_what_the_context_module_reads():
    torch.manual_seed(0)
    model = create_model("dilation", num_classes=3, **NARROW, aux=True).train()
    read = []
    model.context.register_forward_pre_hook(lambda module, args: read.append(args[0]))
    outputs = model(torch.rand(2, 3, 33, 40))
    assert outputs.keys() == {"out", "front"}
    assert outputs["front"].shape == (2, 3, 5, 5)
    assert torch.equal(outputs["front"], read[0])
    assert model.eval()(torch.rand(1, 3, 33, 40)).keys() == {"out"}


def test_initialisation_and_dropout():
    torch.manual_seed(0)
    model = create_model("dilation", num_classes=64, encoder={"name": "vgg16", "width": 2, "channels": 256})
    assert model.head.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert [module.p for module in model.encoder.classifier if isinstance(module, nn.Dropout)] == [0.5, 0.5]


def test_pretrained_fills_the_front_end(monkeypatch):
    torch.manual_seed(0)
    trunk = vgg.vgg_stages(3, width=2).state_dict()
    classifier = {
        "fc1.weight": torch.randn(8, 16, 7, 7),
        "fc1.bias": torch.randn(8),
        "fc2.weight": torch.randn(8, 8, 1, 1),
        "fc2.bias": torch.randn(8),
    }
    state = {f"features.{key}": value for key, value in trunk.items()}
    state |= {f"pre_logits.{key}": value for key, value in classifier.items()}
    known = ((1.0,) * 3, (2.0,) * 3)
    for module in (vgg, vgg_dense):
        monkeypatch.setattr(module, "timm_weights", lambda name, **asked: Weights(state, known))
    model = dilation(2, encoder={"name": "vgg16", "width": 2, "channels": 8}, pretrained=True)
    assert torch.equal(model.encoder.stages[2][2].weight, trunk["2.2.weight"])
    assert torch.equal(model.encoder.classifier.fc6.weight, classifier["fc1.weight"])
    assert torch.equal(model.encoder.classifier.fc7.bias, classifier["fc2.bias"])
    assert model.encoder.pretrained_normalization == known


def test_another_encoder_replaces_the_front_end():
    model = create_model("dilation", num_classes=2, encoder={"name": "resnet18", "width": 4}, context="basic")
    assert max(level.stride for level in model.encoder.levels) == 8
    assert model.head.in_channels == 32
    assert model(torch.rand(2, 3, 30, 20))["out"].shape == (2, 2, 30, 20)


def test_options_of_the_front_end_are_checked():
    with pytest.raises(ModelError, match="encoder 'vgg16', chanels: ValidVGG takes no argument 'chanels'"):
        create_model("dilation", num_classes=2, encoder={"name": "vgg16", "chanels": 8})


def test_padding_once_differs_up_to_33_cells_from_the_border():
    """So far a cell of the context module sees: of a VOC image, which has 63 cells, no cell is the same."""
    torch.manual_seed(0)
    layers = Context(2, CONTEXT_DILATIONS[8], [2] * 7, noise=0.3).double()
    once = Context(2, CONTEXT_DILATIONS[8], [2] * 7, noise=0.3, once=True).double()
    once.load_state_dict(layers.state_dict())
    with torch.no_grad():
        for layer in (*layers.layers, *once.layers):
            if isinstance(layer, nn.Conv2d):
                layer.bias.fill_(0.2)
        scores = torch.rand(1, 2, 80, 80, dtype=torch.float64)
        different = ((layers(scores) - once(scores)).abs() > 1e-12).any(1)[0]
        x = F.pad(scores, [33] * 4)  # the paper's words: padding once, then layers that eat it
        for layer in once.layers:
            is_conv = isinstance(layer, nn.Conv2d)
            x = F.conv2d(x, layer.weight, layer.bias, dilation=layer.dilation) if is_conv else x.relu()
        assert torch.allclose(once(scores), x)
        voc = ((layers(scores[..., :63, :63]) - once(scores[..., :63, :63])).abs() > 1e-12).any(1)
    assert not different[33:-33, 33:-33].any()
    assert different[32].any()
    assert voc.float().mean() > 0.9


def test_the_padding_is_an_argument_and_changes_no_weight():
    with torch.device("meta"):
        once, layers = dilation(21, padding="once"), dilation(21)
    assert once.context.margin == 33
    assert layers.context.margin == 0
    assert once.state_dict().keys() == layers.state_dict().keys()
    with torch.device("meta"):
        assert [dilation(19, depth=depth, padding="once").context.margin for depth in (7, 10)] == [17, 129]
        assert once(torch.empty(1, 3, 500, 500)).keys() == {"out"}
