"""Facts of the FCN paper and its release: parameters, sizes, crops, what is frozen and where it starts."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atrous.analysis import alignment, receptive_field
from atrous.errors import ModelError
from atrous.layers.upsample import BilinearUpsample, bilinear_kernel
from atrous.models import MODELS, create_model, paper
from atrous.training.finetune import load_matching

KEYS = ["fcn32s", "fcn16s", "fcn8s", "fcn8s_atonce", "fcn_alexnet"]
# Counted layer by layer in the release's train.prototxt at 21 classes: all, and what trains.
COUNTS = {
    "fcn32s": (136_152_917, 134_346_581),
    "fcn16s": (134_815_994, 134_357_354),
    "fcn8s": (134_489_759, 134_362_751),
    "fcn8s_atonce": (134_490_527, 134_362_751),
    "fcn_alexnet": (58_704_590, 56_954_261),
}


def small(name, num_classes=3, **arguments):
    size = {"width": 6} if name == "fcn_alexnet" else {"encoder": {"name": "vgg16", "width": 4}}
    return create_model(name, num_classes=num_classes, fc_width=8, **size, **arguments)


def begun(name, **arguments):
    """A small model whose scores do not start at zero."""
    torch.manual_seed(0)
    model = small(name, **arguments).eval()
    for key, weight in model.named_parameters():
        if key.startswith("score"):
            nn.init.normal_(weight, std=0.5)
    return model


@pytest.mark.parametrize("name", KEYS)
def test_parameter_counts_of_the_release(name):
    with torch.device("meta"):
        model = MODELS[name](21)
    total = sum(weight.numel() for weight in model.parameters())
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert (total, trainable) == COUNTS[name]
    assert paper(name).parameters == total


def shapes(model, size):
    """Height of the map behind every part."""
    seen = {}

    def note(name):
        def hook(module, args, out):
            seen[name] = out.shape[-2]

        return hook

    for name, part in model.named_children():
        part.register_forward_hook(note(name))
    with torch.device("meta"):
        out = model(torch.empty(1, 3, *size))["out"]
    assert out.shape[-2:] == size
    return seen


def test_sizes_of_the_release_for_an_image_of_500():
    with torch.device("meta"):
        models = {name: MODELS[name](21) for name in KEYS}
    seen = {name: shapes(model, (500, 500)) for name, model in models.items()}
    trunk = [seen["fcn8s"][f"conv{level}_1"] for level in range(1, 6)]
    assert trunk == [698, 349, 175, 88, 44]
    for name in KEYS[:4]:
        assert (seen[name]["fc6"], seen[name]["fc7"], seen[name]["score_fr"]) == (16, 16, 16)
    assert seen["fcn32s"]["upscore"] == 544
    assert (seen["fcn16s"]["upscore2"], seen["fcn16s"]["score_pool4"], seen["fcn16s"]["upscore16"]) == (34, 44, 560)
    for name in ("fcn8s", "fcn8s_atonce"):
        parts = ("upscore2", "upscore_pool4", "score_pool3", "upscore8")
        assert [seen[name][part] for part in parts] == [34, 70, 88, 568]
    alexnet = seen["fcn_alexnet"]
    assert [alexnet[f"conv{n}"] for n in (1, 2, 3, 4, 5)] == [173, 86, 43, 43, 43]
    assert (alexnet["fc6"], alexnet["upscore"]) == (16, 543)


@pytest.mark.parametrize("name", KEYS)
def test_every_size_has_a_score_and_comes_back(name):
    with torch.device("meta"):
        model = small(name)
        for size in [*range(1, 70), 366]:
            assert model(torch.empty(1, 3, size, 500 - size))["out"].shape == (1, 3, size, 500 - size)


@pytest.mark.parametrize(
    ("name", "size"), [("fcn32s", 436), ("fcn16s", 468), ("fcn8s", 468), ("fcn8s_atonce", 468), ("fcn_alexnet", 387)]
)
def test_a_pixel_sees_as_far_to_every_side(name, size):
    """A score sees 404 pixels (355 in AlexNet); two, or three, a stride of 32 apart, make a pixel. Crops centre it."""
    field = receptive_field(small(name))
    for reach in (field.vertical, field.horizontal):
        assert reach.size == size
        assert reach.left == reach.right
    assert alignment(small(name)) == 32


def released(model, image, stride):
    """The release's network in plain operations: padding of 100 in the first convolution, dense kernels, slices."""
    state = model.state_dict()

    def conv(x, name, padding):
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)

    def up(x, name, stride):
        return F.conv_transpose2d(x, state[f"{name}.weight"], stride=stride)

    x, pools = model.normalize(image), {}
    for level, depth in enumerate((2, 2, 3, 3, 3), start=1):
        for number in range(1, depth + 1):
            name = f"conv{level}_{number}"
            x = F.relu(conv(x, name, 100 if name == "conv1_1" else 1))
        x = pools[level] = F.max_pool2d(x, 2, 2, ceil_mode=True)
    if "scale_pool4.weight" in state:
        pools[4], pools[3] = 0.01 * pools[4], 0.0001 * pools[3]
    x = conv(F.relu(conv(F.relu(conv(x, "fc6", 0)), "fc7", 0)), "score_fr", 0)
    height, width = image.shape[-2:]
    if stride < 32:
        x = up(x, "upscore2", 2)
        x = x + conv(pools[4], "score_pool4", 0)[:, :, 5 : 5 + x.shape[2], 5 : 5 + x.shape[3]]
    if stride < 16:
        x = up(x, "upscore_pool4", 2)
        x = x + conv(pools[3], "score_pool3", 0)[:, :, 9 : 9 + x.shape[2], 9 : 9 + x.shape[3]]
    last, offset = {32: ("upscore", 19), 16: ("upscore16", 27), 8: ("upscore8", 31)}[stride]
    return up(x, last, stride)[:, :, offset : offset + height, offset : offset + width]


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize(("name", "stride"), [("fcn32s", 32), ("fcn16s", 16), ("fcn8s", 8), ("fcn8s_atonce", 8)])
def test_the_numbers_are_those_of_the_release(name, stride, learned):
    if stride == 32 and learned:
        pytest.skip("fcn32s has no up-sampling between strides")
    model = begun(name, **({"learned": True} if learned else {}))
    image = torch.rand(2, 3, 53, 70)
    with torch.inference_mode():
        out = model(image)["out"]
        assert torch.allclose(out, released(model, image, stride), atol=1e-5)
    assert out.std() > 1e-3


def test_alexnet_normalises_responses_after_pooling_over_five_channels():
    model = begun("fcn_alexnet")
    x = torch.rand(1, 16, 3, 3) * 300
    squares = F.pad(x.square(), (0, 0, 0, 0, 2, 2)).unfold(1, 5, 1).sum(-1)
    assert torch.allclose(model.norm(x), x / (1 + 1e-4 / 5 * squares) ** 0.75, rtol=1e-4)
    order = []
    for name, part in model.named_children():
        part.register_forward_hook(lambda module, args, out, name=name: order.append((name, out.shape[-1])))
    model(torch.rand(1, 3, 33, 33))
    assert [name for name, _ in order[:5]] == ["conv1", "norm", "conv2", "norm", "conv3"]
    assert order[0][1] > order[1][1] == order[2][1]


def test_alexnet_has_two_groups_and_a_kernel_of_63():
    with torch.device("meta"):
        model = MODELS["fcn_alexnet"](21)
    assert [getattr(model, f"conv{n}").groups for n in (1, 2, 3, 4, 5)] == [1, 2, 1, 2, 2]
    assert model.fc6.weight.shape == (4096, 256, 6, 6)
    assert model.upscore.weight.shape == (21, 21, 63, 63)


@pytest.mark.parametrize("name", KEYS)
def test_scores_start_at_zero_and_up_sampling_is_frozen_and_bilinear(name):
    model = small(name)
    scores = [part for key, part in model.named_children() if key.startswith("score")]
    assert len(scores) == {"fcn32s": 1, "fcn16s": 2, "fcn_alexnet": 1}.get(name, 3)
    assert not any(weight.any() for part in scores for weight in part.parameters())
    ups = [part for part in model.children() if isinstance(part, BilinearUpsample)]
    assert len(ups) == len(scores)
    for part in ups:
        assert not part.weight.requires_grad
        assert torch.equal(part.weight[1, 1], bilinear_kernel(part.weight.shape[-1]))
        assert not part.weight[0, 1].any()


def test_the_paper_learns_the_up_sampling_between_strides_alone():
    model = small("fcn8s", learned=True)
    trained = [key for key, weight in model.named_parameters() if "up" in key and weight.requires_grad]
    assert trained == ["upscore2.weight", "upscore_pool4.weight"]


def test_at_once_scales_the_finer_maps_by_fixed_factors():
    model = small("fcn8s_atonce")
    assert model.scale_pool4.weight.unique().tolist() == pytest.approx([0.01])
    assert model.scale_pool3.weight.unique().tolist() == pytest.approx([0.0001])
    assert (model.scale_pool4.weight.numel(), model.scale_pool3.weight.numel()) == (32, 16)
    assert not model.scale_pool4.weight.requires_grad


def test_dropout_of_one_half_behind_fc6_and_fc7():
    for name in KEYS:
        model, seen = small(name).train(), []
        model.dropout.register_forward_hook(lambda module, args, out, seen=seen: seen.append(out.shape[1]))
        model(torch.rand(1, 3, 8, 8))
        assert model.dropout.p == 0.5
        assert seen == [8, 8]


@pytest.mark.parametrize(("coarse", "fine"), [("fcn32s", "fcn16s"), ("fcn16s", "fcn8s")])
def test_a_finer_net_starts_from_the_coarser_one(coarse, fine):
    """All but the new score layer and the last up-sampling is taken over, so that the answer hardly changes."""
    source, target = begun(coarse), small(fine).eval()
    loaded = load_matching(target, source.state_dict(), source="coarse")
    assert all(name.startswith(("score_pool", "upscore")) for name in loaded.fresh)
    assert all(name.startswith("upscore") for name in loaded.unused)
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before, after = source(image)["out"], target(image)["out"]
    # Bilinear twice by 2 and 16 is nearly bilinear once by 32: the new scores are zero.
    assert (before - after).abs().mean() < 0.1 * before.abs().mean()


@pytest.mark.parametrize("name", KEYS[:4])
def test_another_encoder_brings_its_own_strides(name):
    model = create_model(name, num_classes=3, encoder={"name": "resnet18", "width": 4}).eval()
    assert type(model).__name__ == "EncoderDecoder"
    strides = [model.encoder.levels[index].stride for index in model.decoder.indices]
    assert strides == {"fcn32s": [32], "fcn16s": [32, 16]}.get(name, [32, 16, 8])
    assert model.decoder.scales == ([1.0, 0.01, 0.0001] if name == "fcn8s_atonce" else [1.0] * len(strides))
    image = torch.rand(1, 3, 33, 47)
    assert model(image)["out"].shape == (1, 3, 33, 47)
    assert not model(image)["out"].any()
    assert create_model(name, num_classes=3, encoder="vgg16_bn").decoder.indices[0] == 5


def test_what_cannot_be_built_is_named():
    with pytest.raises(ModelError, match="width 20: give a multiple of 6, for example 18"):
        create_model("fcn_alexnet", num_classes=2, width=20)
    with pytest.raises(ModelError, match="maps at strides 16, 32, 32, one at 8 is needed: choose another encoder"):
        create_model("fcn8s", num_classes=2, encoder="shvit_s1")
